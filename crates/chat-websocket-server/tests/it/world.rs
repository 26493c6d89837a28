use std::{sync::Arc, time::Duration};

use chat_domain::{
    Actor, Channel, ChannelDetails, ChannelId, ChannelType, Command, EventId, MessageContent, MessageId, SystemClock,
    Timestamp, UserId,
    ledger::{Action, NewMessage},
    message::Text,
    ports::{Access, NewChannel, Storage},
};
use chat_events::{
    Topic,
    bus::{
        Publication, Publisher,
        memory::MemoryBus,
        redis::{RedisConfig, RedisKeys, RedisMetrics},
    },
};
use chat_storage::DatabaseConfig;
use chat_test_support::{redis::RedisServer, wait_for};
use chat_websocket_server::{
    frame::Frames,
    hub::{Directory, Hub, Registered},
    inquiries::Inquiries,
    metrics::Metrics,
    outbox::{Outbox, OutboxLimits, Taken},
    protocol::Position,
    reader::{LogReader, ReadLimits},
    registry::{Registry, RegistryLimits},
    room::{RoomContext, RoomLimits, control::Join},
    session::SessionHandle,
};
use common_logging::trace::Tracer;
use common_server::Lifecycle;
use futures_util::FutureExt;
use serde_json::Value;
use tempfile::TempDir;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

pub(crate) const AT: Timestamp = Timestamp::from_millis(1_795_338_000_000);
pub(crate) const DEADLINE: Duration = Duration::from_secs(20);
pub(crate) const LINGER: Duration = Duration::from_millis(100);

/// A log, a bus, and a hub over both. `alice` owns the channel, `bob` is a member.
pub(crate) struct World {
    pub(crate) storage: Arc<dyn Storage>,
    pub(crate) inquiries: Arc<Inquiries>,
    pub(crate) bus: Arc<MemoryBus>,
    pub(crate) hub: Arc<Hub>,
    pub(crate) directory: Arc<Directory>,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) registry: Arc<Registry>,
    pub(crate) channel: ChannelId,
    pub(crate) alice: UserId,
    pub(crate) bob: UserId,
    _lifecycle: Lifecycle,
    _folder: TempDir,
}

/// A session without a socket: what it would be sent is read from its outbox.
pub(crate) struct Session {
    pub(crate) handle: Arc<SessionHandle>,
    pub(crate) registered: Registered,
}

impl World {
    pub(crate) async fn new() -> Self {
        Self::with(RoomLimits::default()).await
    }

    pub(crate) async fn with(limits: RoomLimits) -> Self {
        Self::build(limits, None).await
    }

    /// One of several instances whose registries share this Redis.
    pub(crate) async fn sharing(redis: &RedisServer) -> Self {
        Self::build(RoomLimits::default(), Some(redis.url())).await
    }

    async fn build(limits: RoomLimits, redis: Option<String>) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let url = format!("sqlite://{}", folder.path().join("chat.db").display()).into();
        let storage = chat_storage::open(&DatabaseConfig { url, ..DatabaseConfig::default() }).await.unwrap();
        let (alice, bob) = (UserId::new(AT), UserId::new(AT));
        for user in [alice, bob] {
            storage.ensure_user(user, "somebody", AT).await.unwrap();
        }
        let channel_id = create_channel(&*storage, alice, bob).await;
        let (bus, directory) = (Arc::<MemoryBus>::default(), Arc::<Directory>::default());
        let metrics = Arc::<Metrics>::default();
        let (heard, counted) = (Arc::clone(&directory), Arc::clone(&metrics));
        let sink = Box::new(move |delivery| heard.deliver(delivery, &counted));
        let subscriber = bus.subscriber(Duration::ZERO, sink);
        let lifecycle = Lifecycle::new(Duration::from_secs(1));
        let registry = registry(&bus, &directory, redis.as_deref(), &lifecycle);
        let reads = ReadLimits { repairs: 2, replays: 2, page_bytes: 32 * 1024 * 1024 };
        let inquiries = Arc::new(Inquiries::new(&storage, &lifecycle));
        let context = RoomContext {
            inquiries: Arc::clone(&inquiries),
            reader: Arc::new(LogReader::new(Arc::clone(&storage), Arc::clone(&metrics), reads)),
            tasks: lifecycle.background().clone(),
            metrics: Arc::clone(&metrics),
            clock: Arc::new(SystemClock),
            tracer: Tracer::default(),
            compare_heads: Arc::clone(&directory.compare_heads),
            registry: Arc::clone(&registry),
            subscriber,
            limits: RoomLimits { linger: LINGER, ..limits },
        };
        let hub = Arc::new(Hub::new(Arc::clone(&directory), context, 100_000));
        Self {
            storage,
            inquiries,
            bus,
            hub,
            directory,
            metrics,
            registry,
            channel: channel_id,
            alice,
            bob,
            _lifecycle: lifecycle,
            _folder: folder,
        }
    }

    pub(crate) async fn access(&self, user: UserId) -> Access {
        self.access_to(self.channel, user).await
    }

    pub(crate) async fn access_to(&self, channel_id: ChannelId, user: UserId) -> Access {
        self.storage.access(&[(user, channel_id)]).await.unwrap().remove(0).1
    }

    /// Another channel like the first, with so many messages that were not published.
    pub(crate) async fn channel_with(&self, messages: usize) -> ChannelId {
        let channel_id = create_channel(&*self.storage, self.alice, self.bob).await;
        self.send_many(channel_id, messages).await;
        channel_id
    }

    /// Commits so many messages, publishing none.
    pub(crate) async fn send_many(&self, channel_id: ChannelId, messages: usize) {
        let command = || Command {
            event_id: EventId::new(AT),
            at: AT,
            trace_id: None,
            traceparent: None,
            action: self.message(channel_id),
        };
        for result in self.storage.append(&(0..messages).map(|_| command()).collect::<Vec<_>>()).await.unwrap() {
            result.unwrap();
        }
    }

    /// Commits an action, and publishes it if `published`. Returns its `seq`.
    pub(crate) async fn act(&self, action: Action, published: bool) -> u64 {
        let command = Command { event_id: EventId::new(AT), at: AT, trace_id: None, traceparent: None, action };
        let event = self.storage.append(&[command]).await.unwrap().remove(0).unwrap().event.unwrap();
        if published {
            let publication = Publication { topic: Topic::Room(self.channel), payload: event.body };
            self.bus.publish(vec![publication]).await.unwrap();
        }
        event.seq
    }

    pub(crate) async fn send(&self, published: bool) -> u64 {
        self.act(self.message(self.channel), published).await
    }

    fn message(&self, channel_id: ChannelId) -> Action {
        Action::Send(NewMessage {
            id: MessageId::new(AT),
            channel_id,
            sender_id: self.alice,
            content: MessageContent::Text(Text { text: "hello".into() }),
            client_message_id: None,
            reply_to: None,
        })
    }

    pub(crate) async fn remove_bob(&self, published: bool) -> u64 {
        let (channel_id, actor) = (self.channel, Actor::user(self.alice));
        self.act(Action::RemoveMember { channel_id, actor, user_id: self.bob }, published).await
    }

    pub(crate) async fn add_bob(&self, published: bool) -> u64 {
        let (channel_id, actor) = (self.channel, Actor::user(self.alice));
        self.act(Action::AddMember { channel_id, actor, user_id: self.bob }, published).await
    }

    pub(crate) fn session(&self, user: UserId) -> Session {
        let outbox = Outbox::new(OutboxLimits { frames: 1_024, bytes: 1024 * 1024 });
        let changes = Arc::clone(self.registry.changes());
        let handle = Arc::new(SessionHandle::new(Uuid::new_v4(), user, AT, outbox, changes));
        let registered = self.hub.add_session(&handle).ok().unwrap();
        Session { handle, registered }
    }

    /// Joins the room of the channel that the access is to.
    pub(crate) fn join(&self, session: &Session, access: Access, after: Option<u64>) {
        let channel_id = access.head.channel_id;
        session.handle.add_channel(channel_id, 10);
        let position = after.map(|seq| Position { seq, epoch: None });
        let (session, read_at) = (Arc::clone(&session.handle), Instant::now());
        let join = Join { session, request_id: None, position, access, read_at, presence: false };
        self.hub.join(channel_id, join).unwrap();
    }
}

/// A session to which the events up to `head` are sent.
pub(crate) struct Returning {
    pub(crate) session: Session,
    /// The last event that it got.
    pub(crate) last: u64,
    head: u64,
    pub(crate) subscribed: bool,
}

impl Returning {
    pub(crate) fn new(session: Session, last: u64, head: u64) -> Self {
        Self { session, last, head, subscribed: false }
    }

    /// Takes what waits, and checks that it is what comes next. Returns how many events it was.
    pub(crate) fn take(&mut self) -> u64 {
        let before = self.last;
        for frame in self.session.take() {
            if frame.contains("\"SUBSCRIBED\"") {
                assert_eq!(self.last, self.head, "it is told behind the last event");
                self.subscribed = true;
                continue;
            }
            let (_, rest) = frame.split_once("\"seq\":").unwrap();
            let seq = rest[..rest.find(',').unwrap()].parse().unwrap();
            assert_eq!(self.last + 1, seq, "in order, each once");
            self.last = seq;
        }
        assert_eq!(self.session.handle.outbox.closed(), None);
        self.last - before
    }
}

impl Session {
    /// What waits to be sent, as if it were written then.
    pub(crate) fn take(&self) -> Vec<String> {
        let mut taken = Taken::default();
        self.handle.outbox.take(&mut taken).now_or_never().unwrap();
        let texts = taken.backlog.waiting.iter().flat_map(Frames::texts).map(str::to_owned).collect();
        self.handle.outbox.written(&mut taken);
        texts
    }

    /// What is sent up to and with the first frame of this type, each as its type and `seq`, if it has one.
    pub(crate) async fn until(&self, frame_type: &str) -> Vec<(String, Option<u64>)> {
        let mut seen = Vec::new();
        wait_for(frame_type, DEADLINE, async || {
            for frame in self.take() {
                let frame: Value = serde_json::from_str(&frame).unwrap();
                let found = frame["type"].as_str().unwrap().to_owned();
                seen.push((found, frame["seq"].as_u64()));
            }
            seen.iter().any(|(found, _)| found == frame_type).then_some(())
        })
        .await;
        seen
    }
}

/// A registry over this Redis, or one that never reaches any.
fn registry(
    bus: &Arc<MemoryBus>,
    directory: &Arc<Directory>,
    redis: Option<&str>,
    lifecycle: &Lifecycle,
) -> Arc<Registry> {
    let url = redis.map_or_else(|| RedisConfig::default().url, Into::into);
    let (config, stop) = (RedisConfig { url, ..RedisConfig::default() }, CancellationToken::new());
    let (keys, follow) = RedisKeys::connect(&config, &RedisMetrics::default(), stop.clone()).unwrap();
    let limits = RegistryLimits {
        lease_ttl: DEADLINE,
        presence_grace: DEADLINE,
        sweep_interval: DEADLINE,
        connections_per_user: 100_000,
    };
    let (bus, directory) = (Arc::clone(bus) as _, Arc::clone(directory));
    let registry = Arc::new(Registry::new(Uuid::new_v4(), keys, bus, directory, Arc::new(SystemClock), limits));
    if redis.is_some() {
        let kept = Arc::clone(&registry);
        lifecycle.background().spawn("registry connections", follow);
        lifecycle.background().spawn("registry", async move { kept.run(stop).await });
    }
    registry
}

async fn create_channel(storage: &dyn Storage, alice: UserId, bob: UserId) -> ChannelId {
    let details = ChannelDetails { name: Some("room".into()), description: None };
    let channel = Channel::new(ChannelId::new(AT), ChannelType::Group, details, alice, AT);
    let channel_id = channel.id;
    storage.create(NewChannel { channel, creator: alice, others: vec![bob] }).await.unwrap();
    channel_id
}

/// A frame, as [`Session::until`] tells it.
pub(crate) fn frame(frame_type: &str, seq: impl Into<Option<u64>>) -> (String, Option<u64>) {
    (frame_type.to_owned(), seq.into())
}
