//! The ports over PostgreSQL 14 or newer.

mod append;
mod channels;
mod lane;
mod memory;
mod messages;
mod pool;
mod single;
mod users;
mod write;

use std::str::FromStr;

use async_trait::async_trait;
use chat_domain::{
    ChannelId, Command, Message, MessageId, Refusal, Timestamp, User, UserId, UserStatus,
    ports::{
        Access, Appended, ChannelCursor, ChannelLog, ChannelRepository, ChannelScope, ChannelSummary, ChannelView,
        CommandError, Created, Head, HistoryAnchor, HistoryPage, LoggedEvent, MemberView, MessageRepository,
        NewChannel, Standing, Storage, StorageError, UserRepository,
    },
};
use prometheus_client::registry::Registry;
use secrecy::{ExposeSecret, SecretString};
use sqlx::{
    ConnectOptions, Connection, PgConnection,
    migrate::Migrator,
    postgres::{PgConnectOptions, PgPoolOptions},
};
use uuid::Uuid;

use self::{lane::Lane, pool::Pool};
use crate::{
    bounded::{Bounds, timed_out, with_retries},
    config::{DatabaseConfig, OpenError, masked},
    metrics::{Metrics, Pools},
};

static MIGRATIONS: Migrator = sqlx::migrate!("migrations/postgres");

/// How long a process waits for another one that is migrating the same database.
const MIGRATION_LOCK_TIMEOUT: &str = "60s";

/// How long the server keeps a transaction in which nothing happens. Ours never wait for anybody between two statements,
/// so one that does belongs to a process that stalled or vanished, and others wait for the channels that it has locked.
const IDLE_IN_TRANSACTION_TIMEOUT: &str = "3s";

/// How long a statement waits for a lock. Longer than an idle transaction is kept: who waits for a process that vanished
/// gets through. Shorter than a statement may take by default: a queue for one channel does not use up the pool.
const LOCK_TIMEOUT: &str = "5s";

/// For batches, which look rows up by their keys. The planner would rather read all of a table that was small when it looked
/// last, and of a channel that is written to there are thousands of old versions between two vacuums. And it would plan a
/// short batch anew each time, which takes longer than to write it.
const BY_KEYS: &[(&str, &str)] = &[("enable_seqscan", "off"), ("plan_cache_mode", "force_generic_plan")];

/// For whatever is written, where the database or the role would have it answered before it is on disk: a crash of the server
/// would take back what was acknowledged.
const DURABLE: &[(&str, &str)] = &[("synchronous_commit", "on")];

/// How the server finds out that a client's host is gone, which takes it hours otherwise: it asks after 10 s of silence,
/// three times, 5 s apart, and what it sent may stay unacknowledged for 15 s.
const KEEPALIVE: [(&str, &str); 4] = [
    ("tcp_keepalives_idle", "10"),
    ("tcp_keepalives_interval", "5"),
    ("tcp_keepalives_count", "3"),
    ("tcp_user_timeout", "15000"),
];

/// A database, and perhaps a replica of it.
#[derive(Debug)]
pub(crate) struct PostgresStorage {
    primary: Pool,
    /// For sending: however many read, a batch finds a connection.
    appends: Lane,
    /// For what may lag: older history, lists and members.
    replica: Option<Pool>,
    bounds: Bounds,
}

impl PostgresStorage {
    /// Connects and migrates.
    pub(crate) async fn open(config: &DatabaseConfig, registry: &mut Registry) -> Result<Self, OpenError> {
        let mut connection = connect(config, &config.url).await?;
        migrate(&mut connection, &config.url).await?;
        let durable = durability(connection).await.map_err(|source| unreachable(&config.url, source))?;
        let of_appends = connections_of_appends(config.max_connections);
        let primary = pool(config, &config.url, config.max_connections - of_appends, durable)?;
        let appends = match of_appends {
            0 => primary.clone(),
            _ => pool(config, &config.url, of_appends, &[BY_KEYS, durable].concat())?,
        };
        let replica = match &config.replica_url {
            None => None,
            Some(url) => {
                // A wrong address is found out now, not when the first list is asked for.
                let probe = connect(config, url).await?;
                probe.close().await.map_err(|source| unreachable(url, source))?;
                Some(pool(config, url, config.max_connections, &[])?)
            }
        };
        // Appends that share the primary's are not shown a second time.
        let mut pools = vec![("primary", primary.clone())];
        pools.extend((of_appends > 0).then(|| ("appends", appends.clone())));
        pools.extend(replica.clone().map(|pool| ("replica", pool)));
        let look = move || pools.iter().map(|(name, pool)| pool.state(name)).collect();
        registry.register_collector(Box::new(Pools(look)));
        let bounds = Bounds { limit: config.call_timeout(), metrics: Metrics::register(registry) };
        Ok(Self { primary, appends: Lane::new(appends, of_appends > 0), replica, bounds })
    }

    /// For what may lag: the primary where there is no replica.
    fn lagging(&self) -> &Pool {
        self.replica.as_ref().unwrap_or(&self.primary)
    }
}

/// One connection outside of any pool: a pool keeps trying and then knows only that it ran out of time.
async fn connect(config: &DatabaseConfig, url: &SecretString) -> Result<PgConnection, OpenError> {
    let options = options(url)?.options([("lock_timeout", MIGRATION_LOCK_TIMEOUT)]);
    let connected = tokio::time::timeout(config.acquire_timeout, options.connect()).await;
    connected.unwrap_or_else(|_| Err(timed_out())).map_err(|source| unreachable(url, source))
}

/// Brings the schema up to date. sqlx holds an advisory lock meanwhile.
async fn migrate(connection: &mut PgConnection, url: &SecretString) -> Result<(), OpenError> {
    let migrated = MIGRATIONS.run_direct(None, connection, false).await;
    migrated.map_err(|source| OpenError::Migration { store: masked(url), source })
}

/// The settings with which an answered commit is on disk. None but where nobody waits for the disk: the other values are as
/// good, and some wait for a standby as well.
async fn durability(mut connection: PgConnection) -> Result<&'static [(&'static str, &'static str)], sqlx::Error> {
    let configured: String = sqlx::query_scalar("SHOW synchronous_commit").fetch_one(&mut connection).await?;
    connection.close().await?;
    if configured != "off" {
        return Ok(&[]);
    }
    tracing::warn!("synchronous_commit is off for this role or database; connections of the chat set it to on");
    Ok(DURABLE)
}

/// A quarter is for sending, opened when it is needed: batches go one after the other, but a connection that broke may take
/// its time to be noticed. With one connection in all there is none to spare.
fn connections_of_appends(max_connections: u32) -> u32 {
    (max_connections / 4).max(1).min(max_connections.saturating_sub(1))
}

fn pool(
    config: &DatabaseConfig,
    url: &SecretString,
    connections: u32,
    settings: &[(&str, &str)],
) -> Result<Pool, OpenError> {
    let statement_timeout = config.statement_timeout.as_millis().max(1).to_string();
    let bounds = [
        ("statement_timeout", statement_timeout.as_str()),
        ("lock_timeout", LOCK_TIMEOUT),
        ("idle_in_transaction_session_timeout", IDLE_IN_TRANSACTION_TIMEOUT),
    ];
    let options = options(url)?.options(bounds).options(settings.iter().copied());
    let bounds = PgPoolOptions::new().max_connections(connections).acquire_timeout(config.acquire_timeout);
    Ok(Pool::new(bounds, options, config.statement_timeout))
}

fn options(url: &SecretString) -> Result<PgConnectOptions, OpenError> {
    let options = PgConnectOptions::from_str(url.expose_secret()).map_err(|source| unreachable(url, source))?;
    Ok(options.application_name("chat").options(KEEPALIVE))
}

fn unreachable(url: &SecretString, source: sqlx::Error) -> OpenError {
    OpenError::Unreachable { store: masked(url), source }
}

/// Begins a transaction in which each statement sees what was committed before it, whatever the server's default is: what
/// is read after a lock was granted must include what its last holder wrote.
const BEGIN: &str = "BEGIN ISOLATION LEVEL READ COMMITTED";

#[async_trait]
impl Storage for PostgresStorage {
    async fn ping(&self) -> Result<(), StorageError> {
        let ping = async { self.primary.connection().await?.ping().await };
        self.bounds.run("ping", ping).await
    }

    async fn close(&self) {
        tokio::join!(self.lagging().close(), self.appends.close(), self.primary.close());
    }
}

#[async_trait]
impl ChannelLog for PostgresStorage {
    async fn append(&self, commands: &[Command]) -> Result<Vec<Result<Appended, Refusal>>, StorageError> {
        let append = with_retries(|| append::append(&self.appends, commands));
        self.bounds.run("append", append).await
    }

    async fn heads(&self, channels: &[ChannelId]) -> Result<Vec<Head>, StorageError> {
        self.bounds.run("heads", channels::heads(&self.primary, channels)).await
    }

    async fn replay(&self, channel: ChannelId, after_seq: u64, limit: u32) -> Result<Vec<LoggedEvent>, StorageError> {
        self.bounds.run("replay", messages::replay(&self.primary, channel, after_seq, limit)).await
    }

    async fn access(&self, wishes: &[(UserId, ChannelId)]) -> Result<Vec<(UserId, Access)>, StorageError> {
        self.bounds.run("access", channels::access(&self.primary, wishes)).await
    }

    async fn renew_epochs(&self) -> Result<u64, StorageError> {
        let (mut renewed, mut last) = (0, Uuid::nil());
        loop {
            let batch = with_retries(|| channels::renew_epochs(&self.primary, last));
            let ids = self.bounds.run("renew_epochs", batch).await?;
            let Some(greatest) = ids.iter().max() else { return Ok(renewed) };
            (renewed, last) = (renewed + ids.len() as u64, *greatest);
        }
    }
}

#[async_trait]
impl MessageRepository for PostgresStorage {
    async fn message(&self, id: MessageId) -> Result<Option<Message>, StorageError> {
        self.bounds.run("message", messages::message(&self.primary, id)).await
    }

    async fn history(&self, channel: ChannelId, from: HistoryAnchor, limit: u32) -> Result<HistoryPage, StorageError> {
        let history = async {
            // Who asks for others may do so to catch up, and must not miss what was acknowledged.
            if let (HistoryAnchor::Before(seq), Some(replica)) = (from, &self.replica)
                && let Some(page) = messages::older_history(replica, channel, seq, limit).await?
            {
                return Ok(page);
            }
            messages::history(&mut *self.primary.connection().await?, channel, from, limit).await
        };
        self.bounds.run("history", history).await
    }
}

#[async_trait]
impl ChannelRepository for PostgresStorage {
    async fn create(&self, channel: NewChannel) -> Result<Created, CommandError> {
        let create = with_retries(|| channels::create(&self.primary, channel.clone()));
        Ok(self.bounds.run("create", create).await??)
    }

    async fn channel(&self, id: ChannelId, user: UserId) -> Result<Option<ChannelView>, StorageError> {
        self.bounds.run("channel", channels::channel(&self.primary, id, user)).await
    }

    async fn channels(
        &self,
        user: UserId,
        scope: ChannelScope,
        after: Option<ChannelCursor>,
        limit: u32,
    ) -> Result<Vec<ChannelSummary>, StorageError> {
        self.bounds.run("channels", channels::channels(self.lagging(), user, scope, after, limit)).await
    }

    async fn members(
        &self,
        channel: ChannelId,
        after: Option<UserId>,
        limit: u32,
    ) -> Result<Vec<MemberView>, StorageError> {
        self.bounds.run("members", channels::members(self.lagging(), channel, after, limit)).await
    }
}

#[async_trait]
impl UserRepository for PostgresStorage {
    async fn ensure_user(&self, id: UserId, username: &str, at: Timestamp) -> Result<User, StorageError> {
        self.bounds.run("ensure_user", users::ensure(&self.primary, id, username, at)).await
    }

    async fn user(&self, id: UserId) -> Result<Option<User>, StorageError> {
        self.bounds.run("user", users::user(&self.primary, id)).await
    }

    async fn restricted(&self, users: &[UserId]) -> Result<Vec<Standing>, StorageError> {
        self.bounds.run("restricted", users::restricted(&self.primary, users)).await
    }

    async fn update_profile(
        &self,
        id: UserId,
        username: Option<&str>,
        email: Option<&str>,
        at: Timestamp,
    ) -> Result<Option<User>, StorageError> {
        self.bounds.run("update_profile", users::update_profile(&self.primary, id, username, email, at)).await
    }

    async fn change_status(&self, id: UserId, to: UserStatus, at: Timestamp) -> Result<User, CommandError> {
        let change = with_retries(|| users::change_status(&self.primary, id, to, at));
        Ok(self.bounds.run("change_status", change).await??)
    }

    async fn revoke_tokens(&self, id: UserId, before: Timestamp) -> Result<Timestamp, CommandError> {
        let revoke = with_retries(|| users::revoke_tokens(&self.primary, id, before));
        Ok(self.bounds.run("revoke_tokens", revoke).await??)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use chat_domain::{
        Channel, ChannelDetails, ChannelType, EventId, MessageContent,
        ledger::{Action, NewMessage},
        message::Text,
    };
    use chat_test_support::postgres::Database;
    use rstest::rstest;
    use sqlx::{AssertSqlSafe, Executor};
    use tokio::time::timeout;

    use super::*;

    const AT: Timestamp = Timestamp::from_millis(1_800_000_000_000);

    #[test]
    fn connections_are_shared_out() {
        let shared = [1, 2, 4, 6, 16].map(connections_of_appends);
        assert_eq!(shared, [0, 1, 1, 1, 4]);
    }

    #[rstest]
    #[case::given_up_for_speed("off", "on")]
    #[case::stronger("remote_apply", "remote_apply")]
    #[tokio::test]
    async fn what_is_acknowledged_is_on_disk(
        #[case] configured: &str,
        #[case] holds: &str,
        #[values(1, 4)] max_connections: u32,
    ) {
        let database = Database::create().await;
        let mut connection = PgConnection::connect(&database.url()).await.unwrap();
        let configure = format!(
            "DO $$ BEGIN EXECUTE format('ALTER DATABASE %I SET synchronous_commit = {configured}', current_database()); \
             END $$"
        );
        connection.execute(AssertSqlSafe(configure)).await.unwrap();
        connection.close().await.unwrap();

        let config = DatabaseConfig { url: database.url().into(), max_connections, ..Default::default() };
        let store = PostgresStorage::open(&config, &mut Registry::default()).await.unwrap();
        let shown = || sqlx::query_scalar::<_, String>("SHOW synchronous_commit");
        assert_eq!(shown().fetch_one(store.appends.connection().await.unwrap().get()).await.unwrap(), holds);
        assert_eq!(shown().fetch_one(&mut *store.primary.connection().await.unwrap()).await.unwrap(), holds);
    }

    #[tokio::test]
    async fn readers_that_hold_all_they_may_do_not_hold_up_a_batch() {
        let database = Database::create().await;
        let acquire_timeout = Duration::from_millis(300);
        let config =
            DatabaseConfig { url: database.url().into(), max_connections: 4, acquire_timeout, ..Default::default() };
        let store = PostgresStorage::open(&config, &mut Registry::default()).await.unwrap();
        let mut readers = Vec::new();
        for _ in 0..3 {
            readers.push(store.primary.connection().await.unwrap());
        }
        assert!(matches!(store.heads(&[]).await, Err(StorageError::Unavailable { .. })));
        assert!(store.append(&[]).await.unwrap().is_empty());
    }

    #[tokio::test]
    async fn a_process_that_stalls_in_a_transaction_holds_up_others_for_a_moment_only() {
        let database = Database::create().await;
        let config = DatabaseConfig { url: database.url().into(), ..DatabaseConfig::default() };
        let stalled = PostgresStorage::open(&config, &mut Registry::default()).await.unwrap();
        let other = PostgresStorage::open(&config, &mut Registry::default()).await.unwrap();
        let alice = UserId::new(AT);
        other.ensure_user(alice, "alice", AT).await.unwrap();
        let details = ChannelDetails { name: Some("room".into()), description: None };
        let channel = Channel::new(ChannelId::new(AT), ChannelType::Group, details, alice, AT);
        let channel_id = channel.id;
        other.create(NewChannel { channel, creator: alice, others: Vec::new() }).await.unwrap();

        let mut connection = stalled.primary.connection().await.unwrap();
        let mut transaction = connection.begin_with(BEGIN).await.unwrap();
        sqlx::query("SELECT 1 FROM channels FOR UPDATE").execute(&mut *transaction).await.unwrap();

        let message = NewMessage {
            id: MessageId::new(AT),
            channel_id,
            sender_id: alice,
            content: MessageContent::Text(Text { text: "hi".into() }),
            client_message_id: None,
            reply_to: None,
        };
        let send = Command {
            event_id: EventId::new(AT),
            at: AT,
            trace_id: None,
            traceparent: None,
            action: Action::Send(message),
        };
        let sent = timeout(Duration::from_secs(20), other.append(&[send])).await.expect("bounded");
        assert!(sent.unwrap()[0].is_ok());

        let late = sqlx::query("SELECT 1").execute(&mut *transaction).await.unwrap_err();
        let late = crate::error::storage_error("append", late);
        assert!(matches!(late, StorageError::Unavailable { .. }), "{late:?}");
    }
}
