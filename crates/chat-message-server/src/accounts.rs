//! Who is asking, with what status: a short-lived cache before the users of the store.

use std::{collections::HashMap, sync::Arc, time::Duration};

use chat_domain::{
    Clock, User, UserId,
    ports::{Storage, StorageError},
    user::check_username,
};
use parking_lot::Mutex;
use tokio::time::Instant;

/// How old may be what is known of a user, counted from when storage was asked: so long after a ban or a revocation of
/// tokens a request may pass that another server should have refused. What is sent or changed in a channel is checked
/// against the status in its transaction anyway; void tokens are refused here only. Servers hear no user's topic, and one
/// look a second at a row by its key, for those users alone who ask something, costs less than to hear of every user.
const TTL: Duration = Duration::from_secs(1);
/// Users remembered. When more come within a TTL, they are looked up each time.
const CAPACITY: usize = 16_384;

/// The users that asked lately.
pub(crate) struct Accounts {
    storage: Arc<dyn Storage>,
    clock: Arc<dyn Clock>,
    recent: Mutex<HashMap<UserId, Account>>,
}

struct Account {
    user: Arc<User>,
    fresh_until: Instant,
}

impl Accounts {
    pub(crate) fn new(storage: Arc<dyn Storage>, clock: Arc<dyn Clock>) -> Self {
        Self { storage, clock, recent: Mutex::default() }
    }

    /// The user, made at its first request: by the name that its token proposes, or by its id.
    pub(crate) async fn user(&self, id: UserId, proposed_name: Option<&str>) -> Result<Arc<User>, StorageError> {
        if let Some(user) = self.recent(id) {
            return Ok(user);
        }
        let asked_at = Instant::now();
        let fallback = id.to_string();
        let name = proposed_name.filter(|name| check_username(name).is_ok()).unwrap_or(&fallback);
        let user = Arc::new(self.storage.ensure_user(id, name, self.clock.now()).await?);
        self.remember(user.clone(), asked_at + TTL);
        Ok(user)
    }

    /// Makes the next request look again.
    pub(crate) fn forget(&self, id: UserId) {
        self.recent.lock().remove(&id);
    }

    fn recent(&self, id: UserId) -> Option<Arc<User>> {
        let recent = self.recent.lock();
        let account = recent.get(&id)?;
        (account.fresh_until > Instant::now()).then(|| account.user.clone())
    }

    fn remember(&self, user: Arc<User>, fresh_until: Instant) {
        let now = Instant::now();
        let mut recent = self.recent.lock();
        if recent.len() >= CAPACITY {
            recent.retain(|_, account| account.fresh_until > now);
        }
        if recent.len() < CAPACITY {
            recent.insert(user.id, Account { user, fresh_until });
        }
    }
}
