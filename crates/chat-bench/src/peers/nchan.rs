//! nchan: two servers of nginx, one for those who listen and one for those who send.

use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use chat_test_support::redis::RedisServer;
use tokio::time::sleep;

use super::{Programs, Versions, found, told};
use crate::daemon::{Daemon, free_address};
use crate::failure::{Failure, While};

/// Messages of a room that are kept for those who lag behind: those of a burst and some more.
const KEPT: usize = 64;
const REDIS_TIMEOUT: Duration = Duration::from_secs(10);

pub(super) async fn start(
    programs: &Programs,
    redis: &RedisServer,
    folder: &Path,
    core: Option<usize>,
) -> Result<(Daemon, Daemon), Failure> {
    let nginx = found(programs.nginx.as_ref(), "nginx")?;
    let module = found(programs.nchan_module.as_ref(), "nchan")?;
    let launch = async |name: &str, core| {
        let (address, place) = (free_address(), folder.join(name));
        fs::create_dir(&place)?;
        let file = place.join("nginx.conf");
        fs::write(&file, configuration(module, &place, address, &redis.url()))?;
        let daemon = Daemon::start(nginx, core, address, place.join("log"), |command: &mut Command| {
            command.arg("-p").arg(&place).arg("-c").arg(&file);
        })
        .await?;
        until_redis_is_there(address).await?;
        Ok::<_, Failure>(daemon)
    };
    Ok((launch("instance", core).await?, launch("publisher", None).await?))
}

/// nchan keeps its messages in Redis. With this they, and what is published, wait for the disk.
pub(super) async fn make_durable(redis: &RedisServer) -> Result<(), Failure> {
    for [setting, value] in [["appendonly", "yes"], ["appendfsync", "always"]] {
        let answer = redis.execute(&["CONFIG", "SET", setting, value]).await;
        if !answer.starts_with("+OK") {
            return Err(Failure(format!("Redis does not take {setting} {value}: {answer}")));
        }
    }
    Ok(())
}

/// It refuses everybody until then.
async fn until_redis_is_there(server: SocketAddr) -> Result<(), Failure> {
    let began = Instant::now();
    while field(&status(server).await?, "redis connected servers") != Some("1") {
        if began.elapsed() > REDIS_TIMEOUT {
            return Err(Failure::new("nchan does not connect to Redis"));
        }
        sleep(Duration::from_millis(20)).await;
    }
    Ok(())
}

/// One worker, as one process of the others has one core.
fn configuration(module: &Path, place: &Path, address: SocketAddr, redis: &str) -> String {
    let (module, place) = (module.display(), place.display());
    let temporary = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"];
    let temporary: String = temporary.iter().map(|kind| format!("  {kind}_temp_path {place}/{kind};\n")).collect();
    format!(
        r#"load_module {module};
daemon off;
worker_processes 1;
worker_rlimit_nofile 20000;
pid {place}/pid;
error_log stderr error;
events {{ worker_connections 19000; }}
http {{
  access_log off;
{temporary}  upstream redis {{ nchan_redis_server {redis}; }}
  server {{
    listen {address} backlog=4096;
    keepalive_timeout 1h;
    keepalive_requests 1000000000;
    location ~ ^/subscribe/(\w+)$ {{
      nchan_subscriber websocket;
      nchan_channel_id $1;
      nchan_redis_pass redis;
      nchan_subscriber_first_message newest;
      nchan_websocket_ping_interval 25s;
    }}
    location ~ ^/publish/(\w+)$ {{
      nchan_publisher;
      nchan_channel_id $1;
      nchan_redis_pass redis;
      nchan_message_buffer_length {KEPT};
      nchan_message_timeout 10s;
    }}
    location = /status {{ nchan_stub_status; }}
  }}
}}
"#
    )
}

/// How many connections are subscribed.
pub(super) async fn subscribed(instance: SocketAddr) -> Result<usize, Failure> {
    let status = status(instance).await?;
    let count = field(&status, "subscribers").and_then(|count| count.parse().ok());
    count.ok_or_else(|| Failure::new("nchan does not tell how many are subscribed"))
}

pub(super) async fn versions(programs: &Programs, instance: SocketAddr) -> Result<Versions, Failure> {
    let nginx = told(Command::new(found(programs.nginx.as_ref(), "nginx")?).arg("-v"))?;
    let nginx = nginx.rsplit('/').next().unwrap_or_default().to_owned();
    let status = status(instance).await?;
    let nchan = field(&status, "nchan version").unwrap_or_default().to_owned();
    Ok(Versions::from([("nginx".to_owned(), nginx), ("nchan".to_owned(), nchan)]))
}

async fn status(instance: SocketAddr) -> Result<String, Failure> {
    let answer = async { reqwest::get(format!("http://{instance}/status")).await?.text().await };
    answer.await.while_doing("the status of nchan")
}

fn field<'a>(status: &'a str, name: &str) -> Option<&'a str> {
    status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_is_lines_of_names_and_values() {
        let status = "channels: 1\nsubscribers: 5\nredis pending commands: 0\nnchan version: 1.3.6\n";
        assert_eq!((field(status, "subscribers"), field(status, "nchan version")), (Some("5"), Some("1.3.6")));
        assert_eq!(field(status, "pending commands"), None);
    }
}
