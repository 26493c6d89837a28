//! Redis in each of its forms, and what can be done to it.

use chat_test_support::redis::{RedisCluster, RedisSentinels, RedisServer};

use crate::fault::Redis;

/// Acknowledged by a master that dies before its replica has it.
const LOST_KEY: &str = "chaos:lost";

/// A running Redis.
pub(super) struct RunningRedis {
    form: Form,
    /// The ports of the servers that faults have taken down.
    struck: Vec<u16>,
}

enum Form {
    Standalone(RedisServer),
    Sentinel(RedisSentinels),
    Cluster(RedisCluster),
}

impl RunningRedis {
    pub(super) async fn start(redis: Redis) -> Self {
        let form = match redis {
            Redis::Standalone => Form::Standalone(RedisServer::start().await),
            Redis::Sentinel => Form::Sentinel(RedisSentinels::start().await),
            Redis::Cluster => Form::Cluster(RedisCluster::start().await),
        };
        Self { form, struck: Vec::new() }
    }

    pub(super) fn url(&self) -> String {
        match &self.form {
            Form::Standalone(server) => server.url(),
            Form::Sentinel(sentinels) => sentinels.url(),
            Form::Cluster(cluster) => cluster.url(),
        }
    }

    /// Takes a server down: the master of Sentinels, one of a Cluster's.
    pub(super) async fn strike(&mut self, target: usize, change: impl Fn(&mut RedisServer)) {
        let server = match &mut self.form {
            Form::Standalone(server) => server,
            Form::Sentinel(sentinels) => sentinels.master().await,
            Form::Cluster(cluster) => cluster.node(target % 3),
        };
        self.struck.push(server.port());
        change(server);
    }

    /// Starts again what was killed.
    pub(super) async fn restart_struck(&mut self) {
        for port in std::mem::take(&mut self.struck) {
            self.on(port).restart().await;
        }
    }

    /// Lets go on what was frozen.
    pub(super) fn resume_struck(&mut self) {
        for port in std::mem::take(&mut self.struck) {
            self.on(port).resume();
        }
    }

    /// Some master has to do it; one that another fault has frozen or killed does not answer.
    pub(super) async fn command(&mut self, command: &[&str]) -> Result<(), String> {
        let servers = match &mut self.form {
            Form::Standalone(server) => vec![&*server],
            Form::Sentinel(sentinels) => vec![&*sentinels.master().await],
            Form::Cluster(cluster) => cluster.nodes().iter().collect(),
        };
        let mut replies = Vec::new();
        for server in servers {
            replies.extend(server.try_execute(command).await);
        }
        let has_done = |reply: &String| reply.starts_with("+OK") || reply.starts_with(':') && !reply.starts_with(":0");
        if replies.iter().any(has_done) { Ok(()) } else { Err(format!("{command:?} did nothing: {replies:?}")) }
    }

    pub(super) async fn fail_over(&self) {
        if let Form::Sentinel(sentinels) = &self.form {
            sentinels.failover().await;
        }
    }

    /// Kills the master when its replica does not have all that it acknowledged, and waits for the new one.
    pub(super) async fn fail_over_with_loss(&mut self) -> Result<(), String> {
        let Form::Sentinel(sentinels) = &mut self.form else { return Ok(()) };
        let master = sentinels.master_port().await;
        sentinels.replica().await.pause();
        // What its kernel has taken in would reach it later, unless its link to the master is gone.
        let cut = sentinels.server(master).execute(&["CLIENT", "KILL", "TYPE", "replica"]).await;
        let written = sentinels.server(master).execute(&["SET", LOST_KEY, "1"]).await;
        sentinels.server(master).kill();
        sentinels.replica().await.resume();
        sentinels.until_master_is_not(master).await;
        self.struck.push(master);

        let read = sentinels.master().await.execute(&["GET", LOST_KEY]).await;
        sentinels.master().await.execute(&["DEL", LOST_KEY]).await;
        if written == "+OK\r\n" && read.starts_with("$-1") {
            return Ok(());
        }
        Err(format!("a failover lost nothing: cut {cut:?}, written {written:?}, read {read:?}"))
    }

    pub(super) fn kill_sentinel(&mut self, target: usize) {
        if let Form::Sentinel(sentinels) = &mut self.form {
            sentinels.sentinel(target % 3).kill();
        }
    }

    pub(super) async fn restart_sentinel(&mut self, target: usize) {
        if let Form::Sentinel(sentinels) = &mut self.form {
            sentinels.sentinel(target % 3).restart().await;
        }
    }

    fn on(&mut self, port: u16) -> &mut RedisServer {
        match &mut self.form {
            Form::Standalone(server) => server,
            Form::Sentinel(sentinels) => sentinels.server(port),
            Form::Cluster(cluster) => cluster.server(port),
        }
    }
}
