//! An instance, put together and running.

use std::{io, net::SocketAddr, sync::Arc, time::Duration};

use chat_domain::{Clock, SystemClock, ports::Storage};
use chat_events::bus::{
    Delivery, Echo, Publisher, Subscriber,
    redis::{RedisKeys, RedisMetrics, RedisPublisher, RedisSubscriber},
};
use common_auth::TokenVerifier;
use common_logging::{
    LogHandle,
    trace::{Service, TraceError, Tracer},
};
use common_server::{
    ComponentHealth, Health, Latch, Lifecycle, Management, Readiness, ServerInfo,
    http::{self, HttpLimits},
    write_address_file,
};
use prometheus_client::registry::Registry as MetricsRegistry;
use thiserror::Error;
use tokio::{net::TcpListener, time::Instant};
use tracing::{info, warn};
use uuid::Uuid;

use crate::{
    chatrooms::ChatRooms,
    config::{Config, LimitsConfig},
    hub::{Directory, Hub},
    inquiries::Inquiries,
    metrics::{Live, Metrics},
    outbox::OutboxLimits,
    pace::Intervals,
    reader::{LogReader, ReadLimits},
    reconcile,
    registry::{Registry, RegistryLimits},
    room::{RoomContext, RoomLimits, SequencerLimits},
    session::{SessionContext, SessionLimits},
    standing,
    upgrade::{Entrance, SlotLimits},
};

/// What this process is.
pub const INFO: ServerInfo = ServerInfo {
    name: env!("CARGO_PKG_NAME"),
    version: env!("CARGO_PKG_VERSION"),
    env_prefix: "CHAT_",
    git: option_env!("BUILD_GIT"),
};

/// Fewer than the connections to storage that reads have by default: 12, for 4 of 16 are set aside for sending. Inquiries take
/// up to six more, and comparisons two; who comes too many waits for a connection.
///
/// With messages of 200 characters the pages are the 5 000 newest events of about twenty rooms.
const READS: ReadLimits = ReadLimits { repairs: 4, replays: 4, page_bytes: 32 * 1024 * 1024 };
/// How often readiness looks at storage.
const STORAGE_CHECK: Duration = Duration::from_secs(2);

/// Why an instance does not start.
#[derive(Debug, Error)]
pub enum StartError {
    /// A port cannot be opened.
    #[error("cannot listen on {key} = {address}: {source}")]
    Listen {
        /// The configuration key.
        key: &'static str,
        /// Its value.
        address: SocketAddr,
        /// Why not.
        source: io::Error,
    },
    /// The address file cannot be written.
    #[error("cannot write process.address_file: {0}")]
    AddressFile(io::Error),
    /// The store cannot be opened.
    #[error("storage: {0}")]
    Storage(#[from] chat_storage::OpenError),
    /// Redis cannot be used as configured.
    #[error("redis: {0}")]
    Bus(#[from] chat_events::bus::BusError),
    /// Tokens cannot be checked as configured.
    #[error("{0}")]
    Auth(#[from] common_auth::AuthConfigError),
    /// Nothing can be traced as configured.
    #[error("{0}")]
    Trace(#[from] TraceError),
}

/// Starts an instance: when this returns, it takes connections. It ends with the lifecycle, and its tracer is to be shut
/// down after that.
pub async fn start(config: Config, lifecycle: &Lifecycle, logs: LogHandle) -> Result<Tracer, StartError> {
    let instance_id = Uuid::now_v7();
    let service = Service { name: INFO.name, version: INFO.version, instance_id: &instance_id.to_string() };
    let tracer = Tracer::start(&config.trace, &service)?;
    let websocket = listen("websocket.listen", config.websocket.listen)?;
    let management = listen("management.listen", config.management.listen)?;
    let mut instruments = MetricsRegistry::default();
    let storage = chat_storage::open_measured(&config.database, &mut instruments).await?;

    let metrics = Arc::new(Metrics::default());
    let directory = Arc::new(Directory::default());
    let clock = Arc::new(SystemClock) as Arc<dyn Clock>;
    metrics.register(&mut instruments);
    let live = Live { directory: Arc::clone(&directory), most_frames: config.limits.outbox_frames };
    instruments.register_collector(Box::new(live));
    let redis = RedisMetrics::register(&mut instruments);
    let bus = connect_bus(&config, instance_id, &redis, &directory, &metrics, lifecycle)?;
    let registry = keep_registry(&config, instance_id, &redis, &bus, &directory, &clock, lifecycle)?;
    registry.metrics().register(&mut instruments);
    let readiness = Readiness::new(lifecycle);
    instruments.register("chat_ready", "1 while traffic is welcome", readiness.clone());
    watch_storage(Arc::clone(&storage), readiness.latch("storage"), lifecycle);
    if config.limits.repair {
        reconcile_heads(&config.limits, &directory, &storage, &metrics, lifecycle);
    } else {
        warn!("limits.repair is off: what the bus loses stays lost");
    }

    watch_standing(&directory, &storage, &metrics, lifecycle);

    let inquiries = Arc::new(Inquiries::new(&storage, lifecycle));
    let rooms = RoomContext {
        registry: Arc::clone(&registry),
        subscriber: Arc::clone(&bus.subscriber) as _,
        reader: Arc::new(LogReader::new(Arc::clone(&storage), Arc::clone(&metrics), READS)),
        inquiries: Arc::clone(&inquiries),
        tasks: lifecycle.background().clone(),
        metrics: Arc::clone(&metrics),
        clock: Arc::clone(&clock),
        tracer: tracer.clone(),
        compare_heads: Arc::clone(&directory.compare_heads),
        limits: room_limits(&config.limits),
    };
    let context = Arc::new(SessionContext {
        instance_id,
        hub: Arc::new(Hub::new(Arc::clone(&directory), rooms, config.limits.connections_per_user)),
        registry: Arc::clone(&registry),
        inquiries,
        verifier: TokenVerifier::new(&config.auth)?,
        clock,
        metrics: Arc::clone(&metrics),
        drain: lifecycle.soft_token().clone(),
        limits: session_limits(&config.limits, config.process.drain),
    });
    ask_to_leave(&directory, lifecycle);
    info!(instance.id = %instance_id, "instance starts");

    let addresses = [("websocket", address(&websocket)), ("management", address(&management))];
    let chatrooms = ChatRooms { directory, registry }.into_router();
    Management::new(INFO, readiness, health(Arc::clone(&storage), bus), instruments)
        .loggers(logs)
        .endpoint("chatrooms", chatrooms)
        .link("chatrooms-channelId", "chatrooms/{channelId}")
        .serve(management, lifecycle);

    let slots = SlotLimits { total: config.limits.connections, per_address: config.limits.connections_per_address };
    let entrance = Entrance::new(context, lifecycle.work().clone(), config.websocket.allowed_origins, slots);
    let bounds = HttpLimits::default();
    let served = http::serve(websocket, entrance.into_router(), bounds, lifecycle.work().clone());
    lifecycle.spawn_essential("websocket port", served);

    for (name, address) in addresses {
        info!(listener.name = name, listener.address = %address, "listening");
    }
    if let Some(path) = &config.process.address_file {
        write_address_file(path, &addresses).map_err(StartError::AddressFile)?;
    }
    Ok(tracer)
}

fn listen(key: &'static str, address: SocketAddr) -> Result<TcpListener, StartError> {
    http::listen(address).map_err(|source| StartError::Listen { key, address, source })
}

fn address(listener: &TcpListener) -> SocketAddr {
    // A bound socket has an address; if the kernel says otherwise, 0.0.0.0:0 shows it.
    listener.local_addr().unwrap_or(SocketAddr::from(([0, 0, 0, 0], 0)))
}

/// Both sides of the bus, and the proof that what goes in comes out.
struct Bus {
    subscriber: Arc<RedisSubscriber>,
    publisher: Arc<dyn Publisher>,
    echo: Arc<Echo>,
}

fn connect_bus(
    config: &Config,
    instance_id: Uuid,
    redis: &RedisMetrics,
    directory: &Arc<Directory>,
    metrics: &Arc<Metrics>,
    lifecycle: &Lifecycle,
) -> Result<Bus, StartError> {
    let (directory, metrics) = (Arc::clone(directory), Arc::clone(metrics));
    let echo = Arc::new(Echo::new(instance_id));
    let (probed, probe) = (Arc::clone(&echo), echo.topic());
    let sink = Box::new(move |delivery| match delivery {
        Delivery::Payload { topic, payload } if topic == probe => probed.hear(&payload),
        delivery => directory.deliver(delivery, &metrics),
    });
    let stop = lifecycle.background().stopping().clone();
    let (subscriber, run) = RedisSubscriber::connect(&config.redis, redis, sink, stop.clone())?;
    lifecycle.spawn_essential_background("bus", run);
    let (publisher, follow) = RedisPublisher::connect(&config.redis, redis, stop)?;
    lifecycle.spawn_essential_background("publisher", follow);
    Ok(Bus { subscriber: Arc::new(subscriber), publisher: Arc::new(publisher), echo })
}

/// Shares with the other instances which sessions are here.
fn keep_registry(
    config: &Config,
    instance_id: Uuid,
    redis: &RedisMetrics,
    bus: &Bus,
    directory: &Arc<Directory>,
    clock: &Arc<dyn Clock>,
    lifecycle: &Lifecycle,
) -> Result<Arc<Registry>, StartError> {
    let stop = lifecycle.background().stopping().clone();
    let (keys, follow) = RedisKeys::connect(&config.redis, redis, stop.clone())?;
    lifecycle.spawn_essential_background("registry connections", follow);
    let limits = RegistryLimits {
        lease_ttl: config.registry.lease_ttl,
        presence_grace: config.registry.presence_grace,
        sweep_interval: config.registry.sweep_interval,
        connections_per_user: config.limits.connections_per_user,
    };
    let (publisher, clock) = (Arc::clone(&bus.publisher), Arc::clone(clock));
    let registry = Arc::new(Registry::new(instance_id, keys, publisher, Arc::clone(directory), clock, limits));
    let kept = Arc::clone(&registry);
    lifecycle.spawn_essential_background("registry", async move { kept.run(stop).await });
    Ok(registry)
}

/// When the instance drains, sessions leave, each at its own time.
fn ask_to_leave(directory: &Arc<Directory>, lifecycle: &Lifecycle) {
    let (directory, drain) = (Arc::clone(directory), lifecycle.soft_token().clone());
    lifecycle.background().spawn("drain", async move {
        drain.cancelled().await;
        let now = Instant::now();
        directory.sessions().iter().for_each(|session| session.outbox.ask_to_leave(now));
    });
}

/// Without storage nobody can be let in, so no traffic is sent here while it is away.
fn watch_storage(storage: Arc<dyn Storage>, latch: Latch, lifecycle: &Lifecycle) {
    let stop = lifecycle.background().stopping().clone();
    lifecycle.background().spawn("storage watch", async move {
        let watch = async {
            loop {
                match storage.ping().await {
                    Ok(()) => latch.set_ready(),
                    Err(error) => latch.set_unready(error.to_string()),
                }
                tokio::time::sleep(STORAGE_CHECK).await;
            }
        };
        let _: Option<std::convert::Infallible> = stop.run_until_cancelled(watch).await;
        storage.close().await;
    });
}

fn reconcile_heads(
    limits: &LimitsConfig,
    directory: &Arc<Directory>,
    storage: &Arc<dyn Storage>,
    metrics: &Arc<Metrics>,
    lifecycle: &Lifecycle,
) {
    let intervals =
        Intervals { with_bus: limits.reconcile_interval, without_bus: limits.reconcile_interval_without_redis };
    let run = reconcile::run(Arc::clone(directory), Arc::clone(storage), Arc::clone(metrics), intervals);
    let stop = lifecycle.background().stopping().clone();
    lifecycle.spawn_essential_background("reconciler", async move {
        let _: Option<()> = stop.run_until_cancelled(run).await;
    });
}

/// Also where repair is off: it is about events, not about who may hear them.
fn watch_standing(
    directory: &Arc<Directory>,
    storage: &Arc<dyn Storage>,
    metrics: &Arc<Metrics>,
    lifecycle: &Lifecycle,
) {
    let run = standing::run(Arc::clone(directory), Arc::clone(storage), Arc::clone(metrics), standing::INTERVALS);
    let stop = lifecycle.background().stopping().clone();
    lifecycle.spawn_essential_background("standing watch", async move {
        let _: Option<()> = stop.run_until_cancelled(run).await;
    });
}

fn room_limits(limits: &LimitsConfig) -> RoomLimits {
    RoomLimits {
        replay: limits.replay_events,
        linger: limits.room_linger,
        coalesce: limits.coalesce,
        repair: limits.repair,
        sequencer: SequencerLimits { reorder_window: limits.reorder_window, ..SequencerLimits::default() },
        ..RoomLimits::default()
    }
}

/// The bounds of a session, in a process that has so long to drain.
pub fn session_limits(limits: &LimitsConfig, drain: Duration) -> SessionLimits {
    SessionLimits {
        frame_bytes: limits.frame_bytes,
        outbox: OutboxLimits { frames: limits.outbox_frames, bytes: limits.outbox_bytes },
        channels: limits.channels_per_session,
        frames_per_second: limits.frames_per_second,
        frame_burst: limits.frame_burst,
        heartbeat: limits.heartbeat,
        auth_timeout: limits.auth_timeout,
        write_timeout: limits.write_timeout,
        // What is left of the drain time is for those who do not listen.
        drain_window: drain.mul_f64(0.7),
    }
}

fn health(storage: Arc<dyn Storage>, bus: Bus) -> Health {
    let Bus { subscriber, publisher, echo } = bus;
    let interest = Arc::new(subscriber.interest(echo.topic()));
    Health::default()
        .component("db", move || {
            let storage = Arc::clone(&storage);
            async move {
                match storage.ping().await {
                    Ok(()) => ComponentHealth::up(),
                    Err(error) => ComponentHealth::down(error.to_string()),
                }
            }
        })
        .component("redis", move || {
            let connected = subscriber.is_connected();
            async move {
                if connected {
                    return ComponentHealth::up();
                }
                // Slower, nothing lost: events come from the log.
                ComponentHealth::degraded("not connected; events are read from the log")
            }
        })
        .component("pubSub", move || {
            let (echo, publisher, interest) = (Arc::clone(&echo), Arc::clone(&publisher), Arc::clone(&interest));
            async move {
                match echo.check(&*publisher, &interest).await {
                    Ok(took) => ComponentHealth::up().detail("roundTripMs", took.as_secs_f64() * 1_000.0),
                    Err(error) => ComponentHealth::degraded(error.to_string()),
                }
            }
        })
}
