//! `chat-message-server`: the process.

use std::{error::Error, io, process::ExitCode, sync::Arc, time::Duration};

use chat_domain::SystemClock;
use chat_events::bus::{Publisher, redis::RedisPublisher};
use chat_message_server::{Backends, Config, config::INFO, serve};
use common_logging::LogHandle;
use common_server::{Lifecycle, Management, Readiness, config, raise_file_limit, write_address_file};
use prometheus_client::registry::Registry;
use tokio::{
    net::TcpListener,
    time::{sleep, timeout},
};

/// How long the start waits for Redis, so that what is sent first is published too. Then it goes on without.
const REDIS_PATIENCE: Duration = Duration::from_secs(2);
const REDIS_POLL: Duration = Duration::from_millis(10);
/// How long the backends may take to close.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(2);

#[tokio::main]
async fn main() -> ExitCode {
    let config: Config = match config::load(INFO) {
        Ok(config) => config,
        Err(code) => return code,
    };
    match common_logging::init(&config.log) {
        Ok(logs) => run(&config, logs).await.unwrap_or_else(|error| {
            tracing::error!(error.message = %chain(error.as_ref()), "cannot start");
            ExitCode::FAILURE
        }),
        Err(_) => ExitCode::FAILURE,
    }
}

async fn run(config: &Config, logs: LogHandle) -> Result<ExitCode, Box<dyn Error>> {
    raise_file_limit();
    let lifecycle = Lifecycle::new(config.process.drain);
    let backends = open(config).await?;
    let listener = bind("http.listen", config.http.listen).await?;
    let management = bind("management.listen", config.management.listen).await?;
    let (http, probes) = (listener.local_addr()?, management.local_addr()?);

    let mut registry = Registry::default();
    serve(listener, config, &backends, &mut registry, &lifecycle)?;
    Management::new(INFO, Readiness::new(&lifecycle), backends.health(), Arc::new(registry))
        .loggers(logs)
        .serve(management, &lifecycle);
    if let Some(path) = &config.process.address_file {
        write_address_file(path, &[("http", http), ("management", probes)])?;
    }
    tracing::info!(http.address = %http, management.address = %probes, "ready");

    let code = lifecycle.run_to_end().await;
    if timeout(CLOSE_TIMEOUT, backends.close()).await.is_err() {
        tracing::warn!("storage or Redis did not close in time");
    }
    Ok(code)
}

async fn open(config: &Config) -> Result<Backends, Box<dyn Error>> {
    let storage = chat_storage::open(&config.database).await?;
    let publisher = Arc::new(RedisPublisher::connect(&config.redis)?);
    let reached = async {
        while publisher.ping().await.is_err() {
            sleep(REDIS_POLL).await;
        }
    };
    if timeout(REDIS_PATIENCE, reached).await.is_err() {
        tracing::warn!("Redis is not reachable; going on without, readers repair from the log");
    }
    Ok(Backends { storage, publisher, clock: Arc::new(SystemClock) })
}

async fn bind(key: &str, address: std::net::SocketAddr) -> Result<TcpListener, io::Error> {
    let named = |error: io::Error| io::Error::new(error.kind(), format!("{key} = {address}: {error}"));
    TcpListener::bind(address).await.map_err(named)
}

/// The error with its causes, in one line.
fn chain(error: &dyn Error) -> String {
    let causes = std::iter::successors(error.source(), |&cause| cause.source());
    causes.fold(error.to_string(), |line, cause| format!("{line}: {cause}"))
}
