//! Which sessions there are, as the instances share it in Redis: right after each crash, and nothing leaks.

use std::collections::BTreeSet;
use std::time::Duration;

use chat_domain::ChannelId;
use chat_test_support::redis::{RedisCluster, RedisServer};
use chat_test_support::system::{Builder, Server, System};
use chat_test_support::wait_until;
use serde_json::Value;
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::scene::counter;
use crate::stock::{DEADLINE, Stock};

const LEASE: Duration = Duration::from_secs(3);
/// What reaping and counting may take beyond the time of a lease.
const REAPING: Duration = Duration::from_secs(2);
const INSTANCES: usize = 3;
const CLIENTS: usize = 600;
const ROOMS: usize = 12;

fn builder() -> Builder {
    System::builder()
        .websocket_servers(INSTANCES)
        .message_setting("CHAT_LIMITS_REQUESTS_PER_SECOND", "0")
        .websocket_setting("CHAT_LIMITS_CONNECTIONS_PER_ADDRESS", "10000")
        .websocket_setting("CHAT_LIMITS_CONNECTIONS_PER_USER", "10000")
        // Nobody here answers pings.
        .websocket_setting("CHAT_LIMITS_HEARTBEAT", "10m")
        .websocket_setting("CHAT_REGISTRY_LEASE_TTL", format!("{}s", LEASE.as_secs()))
        .websocket_setting("CHAT_REGISTRY_PRESENCE_GRACE", "500ms")
        .websocket_setting("CHAT_REGISTRY_SWEEP_INTERVAL", "500ms")
}

/// Sessions on all instances, `ROOMS` rooms among them.
struct Crowd {
    rooms: Vec<ChannelId>,
    /// By instance.
    sessions: Vec<Vec<Stock>>,
}

impl Crowd {
    async fn gather(system: &System) -> Self {
        let alice = system.user("alice").await;
        let rooms = alice.api.create_public_channels(ROOMS).await;
        let mut connecting = JoinSet::new();
        for index in 0..CLIENTS {
            let (instance, room) = (index % INSTANCES, rooms[index % ROOMS]);
            let (url, token) = (system.websocket_url(instance), alice.token.clone());
            connecting.spawn(async move {
                let mut session = Stock::sign_in(&url, &token).await;
                session.subscribe(room).await;
                (instance, session)
            });
        }
        let mut sessions: Vec<_> = (0..INSTANCES).map(|_| Vec::new()).collect();
        for (instance, session) in connecting.join_all().await {
            sessions[instance].push(session);
        }
        Self { rooms, sessions }
    }

    fn len(&self) -> usize {
        self.sessions.iter().map(Vec::len).sum()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_instance_that_is_killed_is_taken_out_within_the_time_of_a_lease() {
    let mut system = builder().start().await;
    let mut crowd = Crowd::gather(&system).await;
    until_counted(&mut system, CLIENTS).await;
    // A third of the rooms is here, and nobody of them is elsewhere.
    let all_in_each = [(CLIENTS / ROOMS) as u64; ROOMS / INSTANCES];
    wait_until("the rooms are counted", DEADLINE, async || {
        let (local, cluster) = room_counts(system.websocket_server(1)).await;
        local == all_in_each && cluster == all_in_each
    })
    .await;

    let killed = Instant::now();
    system.websocket_server(0).kill();
    drop(crowd.sessions.remove(0));
    for survivor in 1..INSTANCES {
        until_count_is(system.websocket_server(survivor), crowd.len()).await;
    }
    let took = killed.elapsed();
    println!("counts were right {took:?} after an instance was killed");
    assert!(took < LEASE + REAPING, "{took:?}");
    let audit = Audit::of(system.redis()).await;
    assert_eq!((audit.instances, audit.leases), (INSTANCES - 1, INSTANCES - 1));
    audit.has(crowd.len());
    let mut reaped = 0;
    for survivor in 1..INSTANCES {
        reaped += counter(system.websocket_server(survivor), "chat_registry_reaped_sessions_total").await;
    }
    assert!(reaped >= (CLIENTS / INSTANCES) as u64, "{reaped}");

    // It comes back as another instance, and empty.
    system.websocket_server(0).restart().await;
    until_count_is(system.websocket_server(0), crowd.len()).await;
    drop(crowd);
    until_count_is(system.websocket_server(0), 0).await;
    until_empty(system.redis()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_redis_that_lost_everything_is_told_everything_again() {
    // What is lost in parts is found by looking at some of it at random.
    let mut system = builder().websocket_setting("CHAT_REGISTRY_SWEEP_INTERVAL", "100ms").start().await;
    let crowd = Crowd::gather(&system).await;
    until_counted(&mut system, CLIENTS).await;

    system.redis().execute(&["FLUSHALL"]).await;
    until_counted(&mut system, CLIENTS).await;
    until_consistent([&*system.redis()], CLIENTS).await;

    system.redis().restart().await;
    until_counted(&mut system, CLIENTS).await;
    until_consistent([&*system.redis()], CLIENTS).await;

    let room = format!("chat:room:{}:sessions", crowd.rooms[0]);
    system.redis().execute(&["DEL", &room]).await;
    until_consistent([&*system.redis()], CLIENTS).await;
    let stranger = "018f4e7a-0000-7000-8000-000000000001";
    system.redis().execute(&["SADD", &room, stranger]).await;
    until_consistent([&*system.redis()], CLIENTS).await;
    assert_eq!(crowd.len(), CLIENTS);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_half_written_when_the_network_broke_is_put_right() {
    let mut system = builder().links().start().await;
    let alice = system.user("alice").await;
    let rooms = alice.api.create_public_channels(ROOMS).await;
    let url = system.websocket_url(0);
    let (mut staying, mut served) = (Vec::new(), 0);
    for round in 0..12 {
        let link = system.websocket_server(0).link_to_redis().unwrap();
        match round % 3 {
            0 => link.cut(),
            1 => link.mend(),
            _ => link.stall(),
        }
        for number in 0..4 {
            let mut session = Stock::sign_in(&url, &alice.token).await;
            session.subscribe(rooms[(round + number) % ROOMS]).await;
            session.subscribe(rooms[(round + number + 1) % ROOMS]).await;
            served += 1;
            if number % 2 == 0 {
                staying.push(session);
            }
        }
    }
    assert_eq!(served, 48, "everybody was served, Redis or not");
    system.websocket_server(0).link_to_redis().unwrap().mend();
    until_count_is(system.websocket_server(0), staying.len()).await;
    until_consistent([&*system.redis()], staying.len()).await;
    let audit = Audit::of(system.redis()).await;
    assert_eq!(audit.in_rooms, 2 * staying.len());

    // Let in by a command that was on its way until the session had ended.
    let ghost = "018f4e7a-0000-7000-8000-000000000001";
    system.redis().execute(&["SADD", &format!("chat:user:{}:sessions", alice.id), ghost]).await;
    until_consistent([&*system.redis()], staying.len()).await;
    drop(staying);
    until_empty(system.redis()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_instance_that_was_silent_for_long_is_whole_again() {
    let mut system = builder().start().await;
    let crowd = Crowd::gather(&system).await;
    until_counted(&mut system, CLIENTS).await;
    system.websocket_server(0).pause();
    until_count_is(system.websocket_server(1), CLIENTS - CLIENTS / INSTANCES).await;
    system.websocket_server(0).resume();
    until_counted(&mut system, CLIENTS).await;
    until_consistent([&*system.redis()], CLIENTS).await;
    assert!(counter(system.websocket_server(0), "chat_registry_lease_losses_total").await >= 1);
    drop(crowd);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cluster_keeps_the_same_books() {
    let mut cluster = RedisCluster::start().await;
    let mut system = builder().redis_at(cluster.url()).start().await;
    let mut crowd = Crowd::gather(&system).await;
    until_counted(&mut system, CLIENTS).await;
    until_consistent(cluster.nodes(), CLIENTS).await;

    system.websocket_server(0).kill();
    drop(crowd.sessions.remove(0));
    until_count_is(system.websocket_server(1), crowd.len()).await;
    until_consistent(cluster.nodes(), crowd.len()).await;

    // A node that loses its keys.
    cluster.node(1).restart().await;
    cluster.until_ok().await;
    until_count_is(system.websocket_server(1), crowd.len()).await;
    until_consistent(cluster.nodes(), crowd.len()).await;
}

/// As `docs/configuration.md` says.
const RIGHTS: &str = "on >secret resetchannels &chat:* ~chat:* -@all +hello +ping +client +info +quit +subscribe +unsubscribe \
    +publish +eval +get +set +del +exists +expire +hset +hget +hgetall +hexists +hdel +sadd +srem +scard +smembers \
    +srandmember +sscan +zadd +zrem +zscore +zrangebyscore";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_instance_needs_no_more_rights_than_are_documented() {
    let redis = RedisServer::start().await;
    let command: Vec<_> = ["ACL", "SETUSER", "chat"].into_iter().chain(RIGHTS.split_whitespace()).collect();
    assert_eq!(redis.execute(&command).await, "+OK\r\n");
    let url = redis.url().replace("redis://", "redis://chat:secret@");
    let mut system = builder().redis_at(url).start().await;
    let mut crowd = Crowd::gather(&system).await;
    until_counted(&mut system, CLIENTS).await;
    // Reaping, leaving, and being refused for one connection too many.
    system.websocket_server(0).kill();
    drop(crowd.sessions.remove(0));
    until_count_is(system.websocket_server(1), crowd.len()).await;
    drop(crowd);
    until_empty(&redis).await;
    let denied = redis.execute(&["ACL", "LOG"]).await;
    assert_eq!(denied, "*0\r\n", "{denied}");
}

#[tokio::test]
async fn idle_sessions_cost_redis_nothing_each() {
    let mut system = builder().start().await;
    let few = commands_in_ten_seconds(&mut system).await;
    let crowd = Crowd::gather(&system).await;
    until_counted(&mut system, CLIENTS).await;
    let many = commands_in_ten_seconds(&mut system).await;
    println!("commands in 10 s: {few} without sessions, {many} with {CLIENTS}");
    // The look at a few sessions each half a second is in it, on three instances: 16 sessions with 8 commands each, and 16
    // members of three sets.
    let looks = 20 * (16 * 8 + 3 * 16 + 8) * INSTANCES as u64;
    assert!(many < few + looks + looks / 4, "{few} and {many}");
    drop(crowd);
}

async fn commands_in_ten_seconds(system: &mut System) -> u64 {
    let before = commands(system.redis()).await;
    tokio::time::sleep(Duration::from_secs(10)).await;
    commands(system.redis()).await - before
}

async fn commands(redis: &RedisServer) -> u64 {
    let info = redis.execute(&["INFO", "stats"]).await;
    let line = info.lines().find_map(|line| line.strip_prefix("total_commands_processed:")).unwrap();
    line.trim().parse().unwrap()
}

/// What `/actuator/chatrooms` says.
pub(crate) async fn chatrooms(server: &Server, query: &str) -> Value {
    let url = format!("{}/actuator/chatrooms{query}", server.management_url());
    reqwest::get(url).await.unwrap().json().await.unwrap()
}

async fn until_counted(system: &mut System, sessions: usize) {
    for instance in 0..INSTANCES {
        until_count_is(system.websocket_server(instance), sessions).await;
    }
}

async fn until_count_is(server: &Server, sessions: usize) {
    let what = format!("{} says that there are {sessions} sessions", server.management_url());
    wait_until(&what, DEADLINE, async || chatrooms(server, "").await["activeSessions"]["cluster"] == sessions as u64)
        .await;
}

/// Of the rooms with local sessions: how many there are here, and on all instances.
async fn room_counts(server: &Server) -> (Vec<u64>, Vec<u64>) {
    let answer = chatrooms(server, "?size=100").await;
    let rooms = answer["rooms"].as_array().unwrap();
    let open: Vec<_> = rooms.iter().filter(|room| room["localSessions"] != 0).collect();
    let numbers = |field: &str| open.iter().map(|room| room[field].as_u64().unwrap()).collect();
    (numbers("localSessions"), numbers("clusterSessions"))
}

/// What is counted may be written a moment before the rest, on each of a Cluster's nodes at another moment.
async fn until_consistent(nodes: impl IntoIterator<Item = &RedisServer> + Clone, sessions: usize) {
    let began = Instant::now();
    loop {
        let audit = Audit::of_each(nodes.clone()).await;
        if audit.is_consistent() && audit.sessions.len() == sessions {
            return;
        }
        assert!(began.elapsed() < DEADLINE, "{sessions} sessions expected: {}", audit.differences());
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

async fn until_empty(redis: &RedisServer) {
    wait_until("nothing is left of sessions that ended", DEADLINE, async || {
        let keys = keys(redis, "chat:*").await;
        let of_instances = |key: &&String| key.starts_with("chat:instance") || key.ends_with(":seen");
        keys.iter().all(|key| of_instances(&key)) && Audit::of(redis).await.sessions.is_empty()
    })
    .await;
}

/// All that Redis has of sessions.
struct Audit {
    /// Those with a hash.
    sessions: BTreeSet<String>,
    of_instances: BTreeSet<String>,
    of_users: BTreeSet<String>,
    of_rooms: BTreeSet<String>,
    /// Sessions in rooms, each in each.
    in_rooms: usize,
    /// The same by the hashes.
    rooms_in_hashes: usize,
    instances: usize,
    leases: usize,
}

impl Audit {
    async fn of(redis: &RedisServer) -> Self {
        Self::of_each([redis]).await
    }

    async fn of_each(nodes: impl IntoIterator<Item = &RedisServer>) -> Self {
        let mut audit = Self {
            sessions: BTreeSet::new(),
            of_instances: BTreeSet::new(),
            of_users: BTreeSet::new(),
            of_rooms: BTreeSet::new(),
            in_rooms: 0,
            rooms_in_hashes: 0,
            instances: 0,
            leases: 0,
        };
        for node in nodes {
            for key in keys(node, "chat:*").await {
                audit.look_at(node, &key).await;
            }
        }
        audit
    }

    async fn look_at(&mut self, node: &RedisServer, key: &str) {
        if let Some(id) = key.strip_prefix("chat:session:") {
            self.sessions.insert(id.to_owned());
            let fields = list(&node.execute(&["HKEYS", key]).await);
            self.rooms_in_hashes += fields.iter().filter(|field| field.starts_with("room:")).count();
        } else if key == "chat:instances" {
            self.instances += members(node, key).await.len();
        } else if key.starts_with("chat:instance:") && key.ends_with(":sessions") {
            self.of_instances.extend(members(node, key).await);
        } else if key.starts_with("chat:instance:") {
            self.leases += 1;
        } else if key.ends_with(":sessions") {
            let members = members(node, key).await;
            let is_room = key.split(':').nth(1) == Some("room");
            if is_room {
                self.in_rooms += members.len();
            }
            let set = if is_room { &mut self.of_rooms } else { &mut self.of_users };
            set.extend(members);
        }
    }

    fn is_consistent(&self) -> bool {
        let sets = [&self.of_instances, &self.of_users, &self.of_rooms];
        sets.into_iter().all(|set| *set == self.sessions) && self.in_rooms == self.rooms_in_hashes
    }

    fn differences(&self) -> String {
        let Self { sessions, in_rooms, rooms_in_hashes, .. } = self;
        let sets = [&self.of_instances, &self.of_users, &self.of_rooms];
        let [instances, users, rooms] = sets.map(|set| set.symmetric_difference(sessions).collect::<Vec<_>>());
        format!(
            "{} described, other than those of instances {instances:?}, of users {users:?}, of rooms {rooms:?}; \
             {in_rooms} in rooms, {rooms_in_hashes} by the sessions",
            sessions.len()
        )
    }

    fn has(&self, sessions: usize) {
        let Self { of_instances, of_users, of_rooms, .. } = self;
        assert_eq!(self.sessions.len(), sessions);
        assert!(of_instances == &self.sessions, "the instances' sets differ");
        assert!(of_users == &self.sessions, "the users' sets differ");
        assert!(of_rooms == &self.sessions, "the rooms' sets differ");
        assert_eq!(self.in_rooms, self.rooms_in_hashes);
    }
}

async fn keys(redis: &RedisServer, pattern: &str) -> Vec<String> {
    list(&redis.execute(&["KEYS", pattern]).await)
}

async fn members(redis: &RedisServer, key: &str) -> Vec<String> {
    list(&redis.execute(&["SMEMBERS", key]).await)
}

/// The texts in a reply that is a list of them.
fn list(reply: &str) -> Vec<String> {
    reply.lines().filter(|line| !line.starts_with(['*', '$', ':', '-'])).map(str::to_owned).collect()
}
