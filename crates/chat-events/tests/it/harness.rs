use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::Bytes;
use chat_events::{
    Topic,
    bus::{
        Delivery, Interest, Interruption, Publication, Publisher, Sink, Subscriber,
        memory::MemoryBus,
        redis::{RedisConfig, RedisMetrics, RedisPublisher, RedisSubscriber},
    },
};
use chat_test_support::redis::{RedisCluster, RedisSentinels, RedisServer};
use tokio::sync::mpsc;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

/// Nothing in these tests takes so long on a machine that works.
pub(crate) const DEADLINE: Duration = Duration::from_secs(20);
pub(crate) const LINGER: Duration = Duration::from_millis(200);

#[derive(Clone, Copy, Debug)]
pub(crate) enum Kind {
    Memory,
    Redis,
    Sentinel,
    Cluster,
}

/// The Redis of a bus.
pub(crate) enum Redis {
    None,
    One(RedisServer),
    Sentinels(RedisSentinels),
    Cluster(RedisCluster),
}

impl Redis {
    pub(crate) async fn start(kind: Kind) -> Self {
        match kind {
            Kind::Memory => Self::None,
            Kind::Redis => Self::One(RedisServer::start().await),
            Kind::Sentinel => Self::Sentinels(RedisSentinels::start().await),
            Kind::Cluster => Self::Cluster(RedisCluster::start().await),
        }
    }

    pub(crate) fn url(&self) -> String {
        match self {
            Self::None => panic!("the bus in memory has no URL"),
            Self::One(server) => server.url(),
            Self::Sentinels(sentinels) => sentinels.url(),
            Self::Cluster(cluster) => cluster.url(),
        }
    }

    pub(crate) fn servers(&self) -> &[RedisServer] {
        match self {
            Self::None => &[],
            Self::One(server) => std::slice::from_ref(server),
            Self::Sentinels(sentinels) => sentinels.servers(),
            Self::Cluster(cluster) => cluster.nodes(),
        }
    }
}

/// A bus with one publisher and one subscriber.
pub(crate) struct Bus {
    pub(crate) publisher: Arc<dyn Publisher>,
    pub(crate) subscriber: Arc<dyn Subscriber>,
    pub(crate) heard: mpsc::Receiver<Delivery>,
    /// Interruptions that were taken on the way to something else.
    told: Vec<Interruption>,
    pub(crate) redis: Redis,
    stop: CancellationToken,
}

impl Bus {
    pub(crate) async fn start(kind: Kind) -> Self {
        match kind {
            Kind::Memory => Self::memory(),
            _ => Self::over(Redis::start(kind).await, 16_384, |_| {}).await,
        }
    }

    fn memory() -> Self {
        let (sink, heard) = sink(|_| {});
        let bus = Arc::new(MemoryBus::default());
        let subscriber = bus.subscriber(LINGER, sink);
        Self { publisher: bus, subscriber, heard, told: Vec::new(), redis: Redis::None, stop: CancellationToken::new() }
    }

    /// `first` sees every delivery on the reading task, before it is queued.
    pub(crate) async fn redis(receive_buffer: usize, first: impl Fn(&Delivery) + Send + Sync + 'static) -> Self {
        Self::over(Redis::start(Kind::Redis).await, receive_buffer, first).await
    }

    pub(crate) async fn sentinel() -> Self {
        Self::start(Kind::Sentinel).await
    }

    pub(crate) async fn cluster() -> Self {
        Self::start(Kind::Cluster).await
    }

    async fn over(redis: Redis, receive_buffer: usize, first: impl Fn(&Delivery) + Send + Sync + 'static) -> Self {
        Self::connect(&redis.url(), redis, receive_buffer, first).await
    }

    pub(crate) async fn connect(
        url: &str,
        redis: Redis,
        receive_buffer: usize,
        first: impl Fn(&Delivery) + Send + Sync + 'static,
    ) -> Self {
        let config = RedisConfig { url: url.into(), linger: LINGER, receive_buffer, ..RedisConfig::default() };
        let (sink, heard) = sink(first);
        let stop = CancellationToken::new();
        let (subscriber, run) =
            RedisSubscriber::connect(&config, &RedisMetrics::default(), sink, stop.clone()).unwrap();
        let (publisher, follow) = RedisPublisher::connect(&config, &RedisMetrics::default(), stop.clone()).unwrap();
        let tasks = TaskTracker::new();
        tasks.spawn(run);
        tasks.spawn(follow);
        let mut bus = Self {
            publisher: Arc::new(publisher),
            subscriber: Arc::new(subscriber),
            heard,
            told: Vec::new(),
            redis,
            stop,
        };
        bus.until_reachable().await;
        assert_eq!(bus.next().await, Delivery::Interrupted(Interruption::Restored), "what a bus says first");
        bus
    }

    pub(crate) fn server(&mut self) -> &mut RedisServer {
        let Redis::One(server) = &mut self.redis else { panic!("this bus has no single server") };
        server
    }

    pub(crate) fn sentinels(&mut self) -> &mut RedisSentinels {
        let Redis::Sentinels(sentinels) = &mut self.redis else { panic!("this bus has no Sentinels") };
        sentinels
    }

    pub(crate) fn nodes(&mut self) -> &mut RedisCluster {
        let Redis::Cluster(cluster) = &mut self.redis else { panic!("this bus has no Cluster") };
        cluster
    }

    /// Another topic on the same connection: what is published to both is heard in that order.
    pub(crate) async fn neighbour_of(&self, topic: Topic) -> Topic {
        let connection = |topic: Topic| topic.share(RedisConfig::default().subscriber_connections);
        for other in (1_000_000..).map(room).filter(|other| connection(*other) == connection(topic)) {
            let Redis::Cluster(cluster) = &self.redis else { return other };
            if cluster.owner_of(&other.to_string()).await == cluster.owner_of(&topic.to_string()).await {
                return other;
            }
        }
        unreachable!("each connection has some of the topics")
    }

    pub(crate) async fn until_reachable(&self) {
        let started = Instant::now();
        while self.publisher.ping().await.is_err() {
            assert!(started.elapsed() < DEADLINE, "the bus cannot be reached");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// An interest that is heard.
    pub(crate) async fn listen(&self, topic: Topic) -> Interest {
        let interest = self.subscriber.interest(topic);
        tokio::time::timeout(DEADLINE, interest.heard()).await.expect("the topic is heard in time");
        interest
    }

    pub(crate) async fn publish(&self, topic: Topic, texts: impl IntoIterator<Item = String>) {
        let batch = texts.into_iter().map(|text| Publication { topic, payload: Bytes::from(text) }).collect();
        self.publisher.publish(batch).await.unwrap();
    }

    /// Publishes to the topic again and again until it is heard and nothing is lost, and takes all that came meanwhile.
    pub(crate) async fn until_heard(&mut self, topic: Topic) {
        let started = Instant::now();
        loop {
            assert!(started.elapsed() < DEADLINE, "the topic is not heard again; told {:?}", self.told);
            let attempt = format!("attempt {:?}", started.elapsed());
            let batch = vec![Publication { topic, payload: attempt.clone().into() }];
            let published = self.publisher.publish(batch).await.is_ok();
            let patience = Duration::from_millis(if published { 200 } else { 20 });
            let mut heard = false;
            while let Ok(Some(delivery)) = tokio::time::timeout(patience, self.heard.recv()).await {
                match delivery {
                    Delivery::Payload { payload, .. } => heard |= payload == attempt,
                    Delivery::Interrupted(interruption) => self.told.push(interruption),
                }
                if heard && self.told.last() != Some(&Interruption::Lost) {
                    return;
                }
            }
        }
    }

    /// The interruptions that were told during [`Self::until_heard`].
    pub(crate) fn take_told(&mut self) -> Vec<Interruption> {
        std::mem::take(&mut self.told)
    }

    pub(crate) async fn next(&mut self) -> Delivery {
        tokio::time::timeout(DEADLINE, self.heard.recv()).await.expect("something is heard in time").unwrap()
    }

    /// The next payload's topic and text.
    pub(crate) async fn next_text(&mut self) -> (Topic, String) {
        match self.next().await {
            Delivery::Payload { topic, payload } => (topic, String::from_utf8(payload.to_vec()).unwrap()),
            interrupted @ Delivery::Interrupted(_) => panic!("expected a payload, got {interrupted:?}"),
        }
    }
}

impl Drop for Bus {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

fn sink(first: impl Fn(&Delivery) + Send + Sync + 'static) -> (Sink, mpsc::Receiver<Delivery>) {
    let (sender, receiver) = mpsc::channel(100_000);
    let sink = Box::new(move |delivery| {
        first(&delivery);
        sender.try_send(delivery).expect("no test hears so much");
    });
    (sink, receiver)
}

pub(crate) fn room(n: u32) -> Topic {
    Topic::Room(format!("018f4e7a-0000-7000-8000-{n:012}").parse().unwrap())
}
