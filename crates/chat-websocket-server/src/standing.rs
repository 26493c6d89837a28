//! Compares the users who are here with storage, so that who may not listen any more, or goes by a token that was revoked,
//! is sent away although the signal that says so was lost. These are no events of a channel, so no log tells of them.
//!
//! Within 5 seconds, or one while the bus is known to be away. An answer that does not come is no reason to send anybody
//! away: the next pass is the retry. Users whom storage does not know stay, as they were let in.

use std::{collections::HashMap, sync::Arc, time::Duration};

use chat_domain::{
    UserId,
    ports::{Standing, Storage},
};
use futures_util::StreamExt;
use tokio::time::Instant;
use tracing::{info, warn};

use crate::{
    hub::Directory,
    in_time::in_time,
    metrics::Metrics,
    pace::{Intervals, Passes},
};

/// How often each user is compared: 20 000 of them are 5 queries per second, or 25 without the bus.
pub const INTERVALS: Intervals =
    Intervals { with_bus: Duration::from_secs(4), without_bus: Duration::from_millis(800) };

/// Most users in one query.
const USERS_PER_QUERY: usize = 1_000;
/// Queries at once: one that is slow holds up only every second one.
const QUERIES: usize = 2;
/// How long a query may take. Its users stay due, so the next pass is the retry.
const QUERY_TIMEOUT: Duration = Duration::from_secs(3);

/// Compares users for as long as it is polled: at each pass, and whenever the directory asks for it.
pub async fn run(directory: Arc<Directory>, storage: Arc<dyn Storage>, metrics: Arc<Metrics>, intervals: Intervals) {
    let mut passes = Passes::new(intervals, &directory);
    loop {
        let age = passes.next(&directory, &directory.compare_users).await;
        compare_due(&directory, &*storage, &metrics, age).await;
    }
}

/// One pass, over the users that are in doubt or that storage has not confirmed for `age`.
pub async fn compare_due(directory: &Directory, storage: &dyn Storage, metrics: &Metrics, age: Duration) {
    let due = directory.users_due(Instant::now(), age);
    let queries: Vec<_> =
        due.chunks(USERS_PER_QUERY).map(|users| compare(users, directory, storage, metrics)).collect();
    futures_util::stream::iter(queries).buffer_unordered(QUERIES).collect::<()>().await;
}

async fn compare(users: &[UserId], directory: &Directory, storage: &dyn Storage, metrics: &Metrics) {
    let began = Instant::now();
    let restricted = match in_time("restricted", QUERY_TIMEOUT, storage.restricted(users)).await {
        Ok(restricted) => restricted,
        Err(error) => {
            warn!(error = %error, "users cannot be compared with storage");
            return;
        }
    };
    metrics.users_compared.inc_by(users.len() as u64);
    let restricted: HashMap<_, _> = restricted.into_iter().map(|standing| (standing.user_id, standing)).collect();
    for &user_id in users {
        let standing = restricted.get(&user_id);
        if let Some(Standing { status, .. }) = standing.filter(|standing| !standing.status.may_read()) {
            if directory.send_away(user_id, *status, began) {
                metrics.bans_found.inc();
                info!(user.id = %user_id, user.status = status.as_str(), "user sent away: the signal was not heard");
            }
        } else if directory.confirm_user(user_id, standing.and_then(|standing| standing.tokens_valid_from), began) {
            metrics.revocations_found.inc();
            info!(user.id = %user_id, "sessions with revoked tokens ended: the signal was not heard");
        }
    }
}
