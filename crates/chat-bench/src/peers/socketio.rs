//! Socket.IO: two programs of `peers/socketio`.

use std::fs;
use std::path::Path;
use std::process::Command;

use chat_test_support::redis::RedisServer;
use serde_json::Value;

use super::{Programs, Versions, found, told};
use crate::daemon::{Daemon, free_address};
use crate::failure::{Failure, While};

pub(super) async fn start(
    programs: &Programs,
    redis: &RedisServer,
    database: Option<String>,
    folder: &Path,
    core: Option<usize>,
) -> Result<(Daemon, Daemon), Failure> {
    let (node, home) = (found(programs.node.as_ref(), "Node")?, found(programs.socketio.as_ref(), "Socket.IO")?);
    let launch = async |file: &str, core| {
        let address = free_address();
        Daemon::start(node, core, address, folder.join(format!("{file}.log")), |command: &mut Command| {
            command.arg(home.join(file)).current_dir(home);
            command.env("NODE_ENV", "production").env("REDIS_URL", redis.url()).env("PORT", address.port().to_string());
            command.envs(database.iter().map(|url| ("DATABASE_URL", url)));
        })
        .await
    };
    Ok((launch("instance.js", core).await?, launch("publisher.js", None).await?))
}

pub(super) fn versions(programs: &Programs) -> Result<Versions, Failure> {
    let (node, home) = (found(programs.node.as_ref(), "Node")?, found(programs.socketio.as_ref(), "Socket.IO")?);
    let package = fs::read(home.join("node_modules/socket.io/package.json")).while_doing("the package of Socket.IO")?;
    let package: Value = serde_json::from_slice(&package).while_doing("the package of Socket.IO")?;
    let version = package["version"].as_str().unwrap_or_default().to_owned();
    let node = told(Command::new(node).arg("--version"))?;
    Ok(Versions::from([("Socket.IO".to_owned(), version), ("Node".to_owned(), node)]))
}
