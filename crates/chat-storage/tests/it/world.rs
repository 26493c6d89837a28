//! A store of its own for each test, and short words for what the tests do with it.

use std::sync::{
    Arc,
    atomic::{AtomicI64, Ordering},
};

use chat_domain::{
    Actor, Channel, ChannelDetails, ChannelId, ChannelType, ClientMessageId, Command, EventId, MessageContent,
    MessageId, Refusal, Subject, Timestamp, UserId,
    ledger::{Action, NewMessage},
    message::Text,
    ports::{Appended, Created, LoggedEvent, NewChannel, Storage},
};
use chat_storage::{DatabaseConfig, open};
use chat_test_support::postgres::Database;
use sqlx::{AssertSqlSafe, Connection, Executor};
use tempfile::TempDir;

/// Which adapter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Sqlite,
    Postgres,
}

/// Where a store is, or will be.
pub(crate) enum Place {
    File(TempDir),
    Database(Database),
}

impl Place {
    pub(crate) async fn new(kind: Kind) -> Self {
        match kind {
            Kind::Sqlite => Self::File(tempfile::tempdir().unwrap()),
            Kind::Postgres => Self::Database(Database::create().await),
        }
    }

    fn url(&self) -> String {
        match self {
            Self::File(directory) => format!("sqlite://{}", directory.path().join("chat.db").display()),
            Self::Database(database) => database.url(),
        }
    }

    pub(crate) fn config(&self) -> DatabaseConfig {
        DatabaseConfig { url: self.url().into(), max_connections: 6, ..DatabaseConfig::default() }
    }
}

/// An empty store.
pub(crate) struct World {
    pub(crate) store: Arc<dyn Storage>,
    place: Place,
    clock: AtomicI64,
}

impl World {
    pub(crate) async fn new(kind: Kind) -> Self {
        let place = Place::new(kind).await;
        let store = open(&place.config()).await.unwrap();
        Self { store, place, clock: AtomicI64::new(1_800_000_000_000) }
    }

    /// The configuration that opens this store again.
    pub(crate) fn config(&self) -> DatabaseConfig {
        self.place.config()
    }

    /// Another instance on the same store, as another process has one.
    pub(crate) async fn open_another(&self) -> Arc<dyn Storage> {
        open(&self.config()).await.unwrap()
    }

    pub(crate) fn url(&self) -> String {
        self.place.url()
    }

    /// Breaks the connections there are.
    pub(crate) async fn cut_connections(&self) {
        if let Place::Database(database) = &self.place {
            database.cut_connections().await;
        }
    }

    /// Runs a statement behind the store's back.
    pub(crate) async fn execute(&self, sql: &str) {
        let sql = AssertSqlSafe(sql.to_owned());
        match &self.place {
            Place::File(_) => {
                let mut connection = sqlx::SqliteConnection::connect(&self.url()).await.unwrap();
                connection.execute(sql).await.unwrap();
                connection.close().await.unwrap();
            }
            Place::Database(_) => {
                let mut connection = sqlx::PgConnection::connect(&self.url()).await.unwrap();
                connection.execute(sql).await.unwrap();
                connection.close().await.unwrap();
            }
        }
    }

    /// A new moment, later than all before.
    pub(crate) fn now(&self) -> Timestamp {
        Timestamp::from_millis(self.clock.fetch_add(1, Ordering::Relaxed))
    }

    pub(crate) async fn user(&self, name: &str) -> UserId {
        let id = UserId::new(self.now());
        self.store.ensure_user(id, name, self.now()).await.unwrap();
        id
    }

    pub(crate) async fn users<const N: usize>(&self, names: [&str; N]) -> [UserId; N] {
        let mut ids = [UserId::from(uuid::Uuid::nil()); N];
        for (id, name) in ids.iter_mut().zip(names) {
            *id = self.user(name).await;
        }
        ids
    }

    pub(crate) fn new_channel(&self, channel_type: ChannelType, creator: UserId, others: &[UserId]) -> NewChannel {
        let name = (channel_type != ChannelType::Direct).then(|| "room".to_owned());
        let details = ChannelDetails { name, description: None };
        let at = self.now();
        let channel = Channel::new(ChannelId::new(at), channel_type, details, creator, at);
        NewChannel { channel, creator, others: others.to_vec() }
    }

    pub(crate) async fn create(&self, channel_type: ChannelType, creator: UserId, others: &[UserId]) -> Created {
        self.store.create(self.new_channel(channel_type, creator, others)).await.unwrap()
    }

    pub(crate) async fn group(&self, creator: UserId, others: &[UserId]) -> ChannelId {
        self.create(ChannelType::Group, creator, others).await.channel.id
    }

    pub(crate) fn command(&self, action: Action) -> Command {
        let at = self.now();
        Command { event_id: EventId::new(at), at, trace_id: Some("trace".into()), traceparent: None, action }
    }

    pub(crate) fn send(&self, channel_id: ChannelId, sender_id: UserId, text: &str) -> Command {
        self.command(Action::Send(self.message(channel_id, sender_id, text)))
    }

    /// A send with the sender's own id.
    pub(crate) fn send_once(&self, channel_id: ChannelId, sender_id: UserId, text: &str, id: &str) -> Command {
        let client_message_id = Some(ClientMessageId::new(id).unwrap());
        self.command(Action::Send(NewMessage { client_message_id, ..self.message(channel_id, sender_id, text) }))
    }

    pub(crate) fn message(&self, channel_id: ChannelId, sender_id: UserId, text: &str) -> NewMessage {
        NewMessage {
            id: MessageId::new(self.now()),
            channel_id,
            sender_id,
            content: MessageContent::Text(Text { text: text.into() }),
            client_message_id: None,
            reply_to: None,
        }
    }

    pub(crate) fn add(&self, channel_id: ChannelId, actor: UserId, user_id: UserId) -> Command {
        self.command(Action::AddMember { channel_id, actor: Actor::user(actor), user_id })
    }

    pub(crate) fn remove(&self, channel_id: ChannelId, actor: UserId, user_id: UserId) -> Command {
        self.command(Action::RemoveMember { channel_id, actor: Actor::user(actor), user_id })
    }

    pub(crate) fn rename(&self, channel_id: ChannelId, actor: UserId, name: &str) -> Command {
        let actor = Actor::user(actor);
        self.command(Action::ChangeDetails { channel_id, actor, name: Some(name.into()), description: None })
    }

    pub(crate) fn deactivate(&self, channel_id: ChannelId, actor: UserId) -> Command {
        self.command(Action::Close { channel_id, actor: Actor::user(actor) })
    }

    pub(crate) async fn append(&self, commands: Vec<Command>) -> Vec<Result<Appended, Refusal>> {
        self.store.append(&commands).await.unwrap()
    }

    /// Carries out one command that must be accepted.
    pub(crate) async fn accept(&self, command: Command) -> Appended {
        self.append(vec![command]).await.remove(0).unwrap()
    }

    /// Carries out one command that must be refused.
    pub(crate) async fn refuse(&self, command: Command) -> Refusal {
        self.append(vec![command]).await.remove(0).unwrap_err()
    }

    /// The whole log of a channel.
    pub(crate) async fn log(&self, channel: ChannelId) -> Vec<LoggedEvent> {
        self.store.replay(channel, 0, 1_000_000).await.unwrap()
    }

    /// Asserts that a log has no hole, begins at 1, and ends at the head. Returns its length.
    pub(crate) async fn assert_no_holes(&self, channel: ChannelId) -> u64 {
        let seqs: Vec<u64> = self.log(channel).await.iter().map(|event| event.seq).collect();
        let head = self.store.heads(&[channel]).await.unwrap()[0].head_seq;
        assert_eq!(seqs, (1..=head).collect::<Vec<_>>());
        head
    }
}

/// The event that an accepted command became.
pub(crate) fn event(answer: &Result<Appended, Refusal>) -> &LoggedEvent {
    answer.as_ref().unwrap().event.as_ref().unwrap()
}

/// The message that an accepted command is about.
pub(crate) fn message_of(appended: &Appended) -> &chat_domain::Message {
    match &appended.subject {
        Subject::Message(message) => message,
        other => panic!("not a message: {other:?}"),
    }
}
