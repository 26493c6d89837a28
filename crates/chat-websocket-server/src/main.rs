//! The chat-websocket-server process.

use std::process::ExitCode;

use chat_websocket_server::{app, config::Config};
use common_server::{Lifecycle, config, raise_file_limit};
use mimalloc::MiMalloc;
use tracing::error;

#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

#[tokio::main]
async fn main() -> ExitCode {
    let config: Config = match config::load(app::INFO) {
        Ok(config) => config,
        Err(code) => return code,
    };
    let logs = match common_logging::init(&config.log) {
        Ok(logs) => logs,
        Err(_) => return ExitCode::FAILURE,
    };
    raise_file_limit();

    let lifecycle = Lifecycle::new(config.process.drain);
    let tracer = match app::start(config, &lifecycle, logs).await {
        Ok(tracer) => tracer,
        Err(error) => {
            error!(error = %error, "cannot start");
            return ExitCode::FAILURE;
        }
    };
    let code = lifecycle.run_to_end().await;
    tracer.shut_down();
    code
}
