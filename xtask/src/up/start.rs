//! Starting the processes and waiting until they are ready.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use rustix::process::Signal;

use super::plan::{Plan, instance_name, management_port};
use super::{Running, Storage};
use crate::child::Server;
use crate::cluster::{self, Durability};
use crate::http::Request;
use crate::interrupt::Interrupt;
use crate::outcome::{Outcome, While, failure};
use crate::shell::target;
use crate::ui::Step;

const READY_DEADLINE: Duration = Duration::from_secs(60);
const POLL_INTERVAL: Duration = Duration::from_millis(20);
/// Short: on a developer's machine nobody waits for sessions to move elsewhere.
const DRAIN: &str = "2s";

impl Running {
    /// Starts everything; returns when every server says that it is ready.
    pub(super) fn start(
        &mut self,
        plan: &Plan,
        secret: &str,
        redis: &Path,
        postgres: Option<&Path>,
        interrupt: &Interrupt,
    ) -> Outcome {
        let step = Step::begin("Redis");
        self.stores.push(start_redis(plan, redis)?);
        step.done();
        if let Some(binaries) = postgres {
            let step = Step::begin("PostgreSQL");
            let folder = plan.data.join("postgres");
            self.stores.push(cluster::start(binaries, &folder, plan.postgres_port, Durability::Full)?);
            step.done();
        }

        let step = Step::begin("message server");
        self.servers.push(start_message_server(plan, secret)?);
        self.wait_until_ready(management_port(plan.http_port), "the message server", interrupt)?;
        step.done();
        let step = Step::begin(format!("{} WebSocket instances", plan.ws_ports.len()));
        for (index, &port) in plan.ws_ports.iter().enumerate() {
            self.servers.push(start_instance(plan, secret, index, port)?);
        }
        for (index, &port) in plan.ws_ports.iter().enumerate() {
            self.wait_until_ready(management_port(port), &instance_name(index), interrupt)?;
        }
        step.done();
        Ok(())
    }

    fn wait_until_ready(&mut self, port: u16, name: &str, interrupt: &Interrupt) -> Outcome {
        let started = Instant::now();
        while started.elapsed() < READY_DEADLINE {
            if interrupt.came() {
                return failure("interrupted");
            }
            self.all_run()?;
            let request = Request { port, method: "GET", path: "/readyz", token: None, body: None };
            if matches!(request.send(), Ok((200, _))) {
                return Ok(());
            }
            std::thread::sleep(POLL_INTERVAL);
        }
        let tail = self.servers.last().map(Server::tail).unwrap_or_default();
        failure(format!("{name} was not ready within {READY_DEADLINE:?}:\n{tail}"))
    }
}

fn start_redis(plan: &Plan, program: &Path) -> Outcome<Server> {
    let folder = plan.data.join("redis");
    fs::create_dir_all(&folder).while_doing(folder.display())?;
    let mut command = Command::new(program);
    // Nothing in it outlives the run: what must last is in the storage.
    command.args(["--bind", "127.0.0.1", "--save", "", "--appendonly", "no", "--port", &plan.redis_port.to_string()]);
    command.arg("--dir").arg(folder);
    Server::start("Redis", command, plan.data.join("logs/redis.log"), Signal::TERM)
}

fn start_message_server(plan: &Plan, secret: &str) -> Outcome<Server> {
    let mut command = server_command("chat-message-server", plan, secret, plan.http_port);
    command
        .env("CHAT_HTTP_LISTEN", format!("127.0.0.1:{}", plan.http_port))
        .env("CHAT_DEMO_ENABLED", "true")
        .env("CHAT_DEMO_INSTANCES", plan.websocket_urls().join(","));
    Server::start("the message server", command, plan.data.join("logs/message-server.log"), Signal::TERM)
}

fn start_instance(plan: &Plan, secret: &str, index: usize, port: u16) -> Outcome<Server> {
    let mut command = server_command("chat-websocket-server", plan, secret, port);
    command.env("CHAT_WEBSOCKET_LISTEN", format!("127.0.0.1:{port}"));
    let log = plan.data.join(format!("logs/websocket-{}.log", index + 1));
    Server::start(instance_name(index), command, log, Signal::TERM)
}

fn server_command(program: &str, plan: &Plan, secret: &str, port: u16) -> Command {
    let database = match plan.storage {
        Storage::Sqlite => format!("sqlite://{}", plan.data.join("chat.db").display()),
        Storage::Postgres => cluster::url(plan.postgres_port),
    };
    let mut command = Command::new(target().join("release").join(program));
    command
        .env("CHAT_MANAGEMENT_LISTEN", format!("127.0.0.1:{}", management_port(port)))
        .env("CHAT_DATABASE_URL", database)
        .env("CHAT_REDIS_URL", format!("redis://127.0.0.1:{}", plan.redis_port))
        .env("CHAT_AUTH_SECRET", secret)
        .env("CHAT_PROCESS_DRAIN", DRAIN);
    command
}
