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
    recent: Mutex<Recent>,
}

#[derive(Default)]
struct Recent {
    accounts: HashMap<UserId, Account>,
    /// How often one of them was forgotten. Who asked storage before the last time may have an answer from before the
    /// change, and nobody is to go on with that.
    forgotten: u64,
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
        let (known, forgotten) = self.recent(id);
        if let Some(user) = known {
            return Ok(user);
        }
        let asked_at = Instant::now();
        let fallback = id.to_string();
        let name = proposed_name.filter(|name| check_username(name).is_ok()).unwrap_or(&fallback);
        let user = Arc::new(self.storage.ensure_user(id, name, self.clock.now()).await?);
        self.remember(user.clone(), asked_at + TTL, forgotten);
        Ok(user)
    }

    /// Makes the next request look again. To be called after the change.
    pub(crate) fn forget(&self, id: UserId) {
        let mut recent = self.recent.lock();
        recent.accounts.remove(&id);
        recent.forgotten += 1;
    }

    /// What is known of the user, and how often something was forgotten until now.
    fn recent(&self, id: UserId) -> (Option<Arc<User>>, u64) {
        let recent = self.recent.lock();
        let fresh = recent.accounts.get(&id).filter(|account| account.fresh_until > Instant::now());
        (fresh.map(|account| account.user.clone()), recent.forgotten)
    }

    /// Remembers an answer of storage, unless something was forgotten since it was asked: that is rare, and asking once more
    /// costs less than to know whom it was about.
    fn remember(&self, user: Arc<User>, fresh_until: Instant, forgotten: u64) {
        let now = Instant::now();
        let mut recent = self.recent.lock();
        if recent.forgotten != forgotten {
            return;
        }
        let accounts = &mut recent.accounts;
        if accounts.len() >= CAPACITY {
            accounts.retain(|_, account| account.fresh_until > now);
        }
        if accounts.len() < CAPACITY {
            accounts.insert(user.id, Account { user, fresh_until });
        }
    }
}

#[cfg(test)]
mod tests {
    use chat_domain::Timestamp;
    use chat_storage::DatabaseConfig;

    use super::*;

    const AT: Timestamp = Timestamp::from_millis(1_800_000_000_000);

    /// A request reads the row, and what it read comes to be remembered after the change was made and the user forgotten.
    #[tokio::test]
    async fn what_was_read_before_a_change_is_not_remembered_after_it() {
        let folder = tempfile::tempdir().unwrap();
        let url = format!("sqlite://{}", folder.path().join("chat.db").display());
        let storage = chat_storage::open(&DatabaseConfig { url: url.into(), ..Default::default() }).await.unwrap();
        let accounts = Accounts::new(storage.clone(), Arc::new(AT));
        let [alice, bob] = [(); 2].map(|()| UserId::new(AT));
        let known = |user: &User| accounts.recent(user.id).0.is_some();

        let (_, forgotten) = accounts.recent(alice);
        let read = Arc::new(storage.ensure_user(alice, "alice", AT).await.unwrap());
        storage.revoke_tokens(alice, AT).await.unwrap();
        accounts.forget(alice);
        accounts.remember(read.clone(), Instant::now() + TTL, forgotten);
        assert!(!known(&read));
        assert_eq!(accounts.user(alice, None).await.unwrap().tokens_valid_from, Some(AT));

        assert!(known(&read), "what was read after it is");
        assert!(known(&accounts.user(bob, None).await.unwrap()));
    }
}
