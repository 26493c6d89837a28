//! One fault at a time under a steady load, in a system whose every part can be broken: everything acknowledged comes, once
//! and in order, on connections that stay.

use std::time::Duration;

use chat_test_support::proxy::TcpProxy;
use chat_test_support::system::{Server, Storage, System};
use rstest::rstest;
use tokio::time::sleep;

use crate::scene::Scene;
use crate::stock::DEADLINE;
use crate::traffic::{Load, Watcher, quantile};

const MESSAGE_SERVERS: usize = 2;
const ROOMS: usize = 4;
const INTERVAL: Duration = Duration::from_millis(40);
const BEFORE: Duration = Duration::from_millis(500);
const FAULT: Duration = Duration::from_secs(4);
const AFTERWARDS: Duration = Duration::from_secs(1);
/// What a message may wait for once nothing is broken any more, or if the log is within reach: the comparison of heads
/// and the repair.
const REPAIR: Duration = Duration::from_secs(3);

#[derive(Debug, Clone, Copy)]
enum Fault {
    /// The instance's connections to Redis are black holes.
    InstanceDeaf,
    InstanceCutOffFromRedis,
    MessageServersCutOffFromRedis,
    RedisFrozen,
    /// Its subscribers are thrown out, and its keys flushed, over and over.
    RedisThrowsOut,
    InstanceFrozen,
    MessageServerFrozen,
    InstanceCutOffFromStorage,
    InstanceCutOffFromBoth,
    MessageServerCutOffFromStorage,
}

impl Fault {
    /// Whether the instance can read neither way as long as it lasts.
    fn isolates_the_instance(self) -> bool {
        matches!(self, Self::InstanceFrozen | Self::InstanceCutOffFromBoth)
    }

    async fn strike(self, system: &mut System) {
        match self {
            Self::InstanceDeaf => to_redis(system.websocket_server(0)).stall(),
            Self::InstanceCutOffFromRedis => to_redis(system.websocket_server(0)).cut(),
            Self::MessageServersCutOffFromRedis => {
                (0..MESSAGE_SERVERS).for_each(|n| to_redis(system.message_server(n)).cut())
            }
            Self::RedisFrozen => system.redis().pause(),
            Self::InstanceFrozen => system.websocket_server(0).pause(),
            Self::MessageServerFrozen => system.message_server(0).pause(),
            Self::InstanceCutOffFromStorage => to_storage(system.websocket_server(0)).cut(),
            Self::InstanceCutOffFromBoth => {
                to_redis(system.websocket_server(0)).cut();
                to_storage(system.websocket_server(0)).cut();
            }
            Self::MessageServerCutOffFromStorage => to_storage(system.message_server(0)).cut(),
            Self::RedisThrowsOut => {
                for _ in 0..8 {
                    system.redis().execute(&["CLIENT", "KILL", "TYPE", "pubsub"]).await;
                    system.redis().execute(&["FLUSHALL"]).await;
                    sleep(FAULT / 8).await;
                }
                return;
            }
        }
        sleep(FAULT).await;
    }
}

/// Whatever was done, nothing of it lasts.
fn mend(system: &mut System) {
    system.redis().resume();
    for index in 0..MESSAGE_SERVERS {
        mend_server(system.message_server(index));
    }
    mend_server(system.websocket_server(0));
}

fn mend_server(server: &mut Server) {
    server.resume();
    to_redis(server).mend();
    to_storage(server).mend();
}

fn to_redis(server: &Server) -> &TcpProxy {
    server.link_to_redis().unwrap()
}

fn to_storage(server: &Server) -> &TcpProxy {
    server.link_to_storage().unwrap()
}

#[rstest]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_fault_costs_time_and_nothing_else(
    #[values(
        Fault::InstanceDeaf,
        Fault::InstanceCutOffFromRedis,
        Fault::MessageServersCutOffFromRedis,
        Fault::RedisFrozen,
        Fault::RedisThrowsOut,
        Fault::InstanceFrozen,
        Fault::MessageServerFrozen,
        Fault::InstanceCutOffFromStorage,
        Fault::InstanceCutOffFromBoth,
        Fault::MessageServerCutOffFromStorage
    )]
    fault: Fault,
) {
    let builder = System::builder()
        .storage(Storage::Postgres)
        .message_servers(MESSAGE_SERVERS)
        .links()
        .message_setting("CHAT_LIMITS_REQUESTS_PER_SECOND", "0");
    let mut scene = Scene::start(builder).await;
    let mut bob = scene.bob_listens().await;
    let rooms = scene.alice.api.create_public_channels(ROOMS).await;
    bob.subscribe_to_all(&rooms).await;
    let watcher = Watcher::start(bob);
    let servers = [scene.alice.api.clone(), scene.alice.api_at(scene.system.http_url(1))];
    let load = Load::start(&servers, &rooms, INTERVAL);

    sleep(BEFORE).await;
    fault.strike(&mut scene.system).await;
    mend(&mut scene.system);
    sleep(AFTERWARDS).await;
    let delays = watcher.delays(&load.stop().await, DEADLINE).await;
    let part = |part| quantile(delays.iter().map(|(_, delay)| *delay), part);
    println!("{fault:?}: {} messages, p50 {:?}, p99 {:?}, max {:?}", delays.len(), part(0.5), part(0.99), part(1.0));
    let bound = if fault.isolates_the_instance() { FAULT + REPAIR } else { REPAIR };
    assert!(part(1.0) < bound, "{:?}", part(1.0));
}
