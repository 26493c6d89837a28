use chat_domain::{
    Channel, ChannelDetails, ChannelId, ChannelType, Clock, EventId, MessageContent, MessageId, SystemClock, UserId,
    ledger::NewMessage, message::Text, ports::NewChannel,
};
use chat_events::{
    EventHeader, Topic,
    bus::{Delivery, Subscriber, memory::MemoryBus},
};
use chat_storage::DatabaseConfig;
use common_server::Ending;
use parking_lot::Mutex;
use prometheus_client::registry::Registry;
use tempfile::TempDir;

use super::*;

const DRAIN: Duration = Duration::from_secs(10);

/// An appender over a real SQLite file, with one channel and its owner.
struct World {
    appender: Appender,
    lifecycle: Lifecycle,
    registry: Registry,
    bus: Arc<MemoryBus>,
    channel: ChannelId,
    owner: UserId,
    _folder: TempDir,
}

impl World {
    async fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let url = format!("sqlite://{}", folder.path().join("chat.db").display());
        let storage = chat_storage::open(&DatabaseConfig { url: url.into(), ..Default::default() }).await.unwrap();
        let now = SystemClock.now();
        let owner = UserId::new(now);
        storage.ensure_user(owner, "owner", now).await.unwrap();
        let details = ChannelDetails { name: Some("room".into()), description: None };
        let channel = Channel::new(ChannelId::new(now), ChannelType::Public, details, owner, now);
        let channel = NewChannel { channel, creator: owner, others: Vec::new() };
        let channel = storage.create(channel).await.unwrap().channel.id;

        let (lifecycle, mut registry, bus) =
            (Lifecycle::new(DRAIN), Registry::default(), Arc::new(MemoryBus::default()));
        let metrics = Arc::new(Metrics::register(&mut registry));
        let outbox = Outbox::start(bus.clone(), metrics.clone(), 1_024, &lifecycle);
        let appender = Appender::start(storage, outbox, metrics, 1_024, &lifecycle);
        Self { appender, lifecycle, registry, bus, channel, owner, _folder: folder }
    }

    fn send(&self, text: &str) -> Command {
        let at = SystemClock.now();
        let message = NewMessage {
            id: MessageId::new(at),
            channel_id: self.channel,
            sender_id: self.owner,
            content: MessageContent::Text(Text { text: text.into() }),
            client_message_id: None,
            reply_to: None,
        };
        Command { event_id: EventId::new(at), at, trace_id: None, traceparent: None, action: Action::Send(message) }
    }

    fn metric(&self, name: &str) -> f64 {
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &self.registry).unwrap();
        let line = text.lines().find_map(|line| line.strip_prefix(&format!("{name} "))).unwrap();
        line.parse().unwrap()
    }
}

#[tokio::test]
async fn what_waits_is_committed_together_and_published_in_order() {
    const COMMANDS: usize = 100;
    let world = World::new().await;
    let heard: Arc<Mutex<Vec<u64>>> = Arc::default();
    let sink = heard.clone();
    let subscriber = world.bus.subscriber(
        Duration::ZERO,
        Box::new(move |delivery| {
            let Delivery::Payload { payload, .. } = delivery else { return };
            sink.lock().extend(EventHeader::parse(&payload).unwrap().seq);
        }),
    );
    let _interest = subscriber.interest(Topic::Room(world.channel));

    let mut waiting = tokio::task::JoinSet::new();
    for number in 0..COMMANDS {
        let (appender, command) = (world.appender.clone(), world.send(&number.to_string()));
        waiting.spawn(async move { appender.append(command, None).await.unwrap().event.unwrap().seq });
    }
    let mut answered = waiting.join_all().await;
    answered.sort_unstable();
    let all: Vec<u64> = (1..=COMMANDS as u64).collect();
    assert_eq!(answered, all);
    assert!(world.metric("chat_append_batch_size_count") < 10.0, "nearly every command had a commit of its own");

    let World { appender, lifecycle, .. } = world;
    drop(appender);
    lifecycle.shut_down();
    assert_eq!(lifecycle.run_to_end_with(async || std::future::pending().await).await, Ending::Drained);
    assert_eq!(*heard.lock(), all);
}

#[tokio::test]
async fn a_refused_command_fails_alone() {
    let world = World::new().await;
    let mut elsewhere = world.send("nowhere");
    if let Action::Send(message) = &mut elsewhere.action {
        message.channel_id = ChannelId::new(SystemClock.now());
    }
    let (first, refused, last) = tokio::join!(
        world.appender.append(world.send("first"), None),
        world.appender.append(elsewhere, None),
        world.appender.append(world.send("last"), None),
    );
    assert_eq!((first.unwrap().event.unwrap().seq, last.unwrap().event.unwrap().seq), (1, 2));
    assert!(matches!(refused, Err(AppendError::Refused(Refusal::ChannelNotFound))));
}

/// The queue empties also when nobody waits for the answers any more.
#[tokio::test]
async fn callers_that_go_away_do_no_harm() {
    let world = World::new().await;
    {
        let mut gone = Box::pin(world.appender.append(world.send("gone"), None));
        // Polled once, the command is in the queue.
        let pending = std::future::poll_fn(|context| std::task::Poll::Ready(gone.as_mut().poll(context).is_pending()));
        assert!(pending.await);
    }
    assert_eq!(world.appender.append(world.send("next"), None).await.unwrap().event.unwrap().seq, 2);
}
