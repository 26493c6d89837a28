//! `chat-message-server`: the process.

use std::{
    error::Error,
    io::{self, Write},
    process::ExitCode,
    sync::Arc,
    time::Duration,
};

use chat_domain::SystemClock;
use chat_events::bus::{
    Delivery, Echo, Publisher, Subscriber,
    redis::{RedisMetrics, RedisPublisher, RedisSubscriber},
};
use chat_message_server::{Backends, Config, config::INFO, serve};
use common_logging::{
    LogHandle,
    trace::{Service, Tracer},
};
use common_server::{
    ComponentHealth, Health, Lifecycle, Management, Readiness,
    config::{self, Task},
    http::listen,
    raise_file_limit, write_address_file,
};
use mimalloc::MiMalloc;
use prometheus_client::registry::Registry;
use tokio::{
    net::TcpListener,
    time::{sleep, timeout},
};
use uuid::Uuid;

#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

/// How long the start waits for Redis, so that what is sent first is published too. Then it goes on without.
const REDIS_PATIENCE: Duration = Duration::from_secs(2);
const REDIS_POLL: Duration = Duration::from_millis(10);
/// Clients that come back with a place in the log as it was before are sent RESET.
const RENEW_EPOCHS: Task = Task {
    flag: "renew-epochs",
    help: "Give each channel's log a new epoch, and end: to be done once after storage was restored from a backup",
};

#[tokio::main]
async fn main() -> ExitCode {
    let (config, task): (Config, _) = match config::load_with_tasks(INFO, &[RENEW_EPOCHS]) {
        Ok(start) => start,
        Err(code) => return code,
    };
    let Ok(logs) = common_logging::init(&config.log) else { return ExitCode::FAILURE };
    let ended = if task == Some(RENEW_EPOCHS.flag) { renew_epochs(&config).await } else { run(&config, logs).await };
    ended.unwrap_or_else(|error| {
        tracing::error!(error.message = %chain(error.as_ref()), "cannot start");
        ExitCode::FAILURE
    })
}

async fn renew_epochs(config: &Config) -> Result<ExitCode, Box<dyn Error>> {
    let storage = chat_storage::open(&config.database).await?;
    let channels = storage.renew_epochs().await?;
    storage.close().await;
    // With standard output closed there is nobody to tell, and the exit code stays true.
    let _ = writeln!(io::stdout(), "renewed the epochs of {channels} channels");
    Ok(ExitCode::SUCCESS)
}

async fn run(config: &Config, logs: LogHandle) -> Result<ExitCode, Box<dyn Error>> {
    raise_file_limit();
    let lifecycle = Lifecycle::new(config.process.drain);
    let mut registry = Registry::default();
    let redis = RedisMetrics::register(&mut registry);
    let backends = open(config, &mut registry, &redis, &lifecycle).await?;
    let listener = bind("http.listen", config.http.listen)?;
    let management = bind("management.listen", config.management.listen)?;
    let (http, probes) = (listener.local_addr()?, management.local_addr()?);

    serve(listener, config, &backends, &mut registry, &lifecycle)?;
    let readiness = Readiness::new(&lifecycle);
    registry.register("chat_ready", "1 while traffic is welcome", readiness.clone());
    let health = pub_sub(config, &redis, &backends, &lifecycle)?;
    Management::new(INFO, readiness, health, registry).loggers(logs).serve(management, &lifecycle);
    if let Some(path) = &config.process.address_file {
        write_address_file(path, &[("http", http), ("management", probes)])?;
    }
    tracing::info!(http.address = %http, management.address = %probes, "ready");

    let code = lifecycle.run_to_end().await;
    backends.close().await;
    Ok(code)
}

async fn open(
    config: &Config,
    registry: &mut Registry,
    redis: &RedisMetrics,
    lifecycle: &Lifecycle,
) -> Result<Backends, Box<dyn Error>> {
    let storage = chat_storage::open_measured(&config.database, registry).await?;
    let (publisher, follow) = RedisPublisher::connect(&config.redis, redis, lifecycle.soft_token().clone())?;
    lifecycle.spawn_essential("bus", follow);
    let reached = async {
        while publisher.ping().await.is_err() {
            sleep(REDIS_POLL).await;
        }
    };
    if timeout(REDIS_PATIENCE, reached).await.is_err() {
        tracing::warn!("Redis is not reachable; going on without, readers repair from the log");
    }
    let instance_id = Uuid::now_v7().to_string();
    let service = Service { name: INFO.name, version: INFO.version, instance_id: &instance_id };
    let tracer = Tracer::start(&config.trace, &service)?;
    Ok(Backends { storage, publisher: Arc::new(publisher), clock: Arc::new(SystemClock), tracer })
}

/// The health of the backends, and whether what is published comes back: this server hears nothing else.
fn pub_sub(
    config: &Config,
    redis: &RedisMetrics,
    backends: &Backends,
    lifecycle: &Lifecycle,
) -> Result<Health, Box<dyn Error>> {
    let echo = Arc::new(Echo::new(Uuid::now_v7()));
    let hears = echo.clone();
    let sink = Box::new(move |delivery| {
        if let Delivery::Payload { payload, .. } = delivery {
            hears.hear(&payload);
        }
    });
    let stop = lifecycle.background().stopping().clone();
    let (subscriber, run) = RedisSubscriber::connect(&config.redis, redis, sink, stop)?;
    lifecycle.spawn_essential_background("probe of the bus", run);
    let interest = Arc::new(subscriber.interest(echo.topic()));
    let publisher = backends.publisher.clone();
    Ok(backends.health().component("pubSub", move || {
        let (echo, publisher, interest) = (echo.clone(), publisher.clone(), interest.clone());
        async move {
            match echo.check(&*publisher, &interest).await {
                Ok(took) => ComponentHealth::up().detail("roundTripMs", took.as_secs_f64() * 1_000.0),
                Err(error) => ComponentHealth::degraded(error.to_string()),
            }
        }
    }))
}

fn bind(key: &str, address: std::net::SocketAddr) -> Result<TcpListener, io::Error> {
    let named = |error: io::Error| io::Error::new(error.kind(), format!("{key} = {address}: {error}"));
    listen(address).map_err(named)
}

/// The error with its causes, in one line.
fn chain(error: &dyn Error) -> String {
    let causes = std::iter::successors(error.source(), |&cause| cause.source());
    causes.fold(error.to_string(), |line, cause| format!("{line}: {cause}"))
}
