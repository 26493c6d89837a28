use std::time::Duration;

use chat_test_support::redis::{RedisCluster, RedisSentinels, RedisServer};
use chat_test_support::wait_until;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

const DEADLINE: Duration = Duration::from_secs(20);

#[tokio::test]
async fn a_restarted_server_is_empty_and_on_the_same_port() {
    let mut redis = RedisServer::start().await;
    assert_eq!(redis.execute(&["SET", "key", "value"]).await, "+OK\r\n");
    assert_eq!(redis.execute(&["GET", "key"]).await, "$5\r\nvalue\r\n");
    let port = redis.port();

    redis.restart().await;

    assert_eq!(redis.port(), port);
    assert_eq!(redis.execute(&["GET", "key"]).await, "$-1\r\n");
}

#[tokio::test]
async fn a_frozen_server_answers_only_after_it_goes_on() {
    let mut redis = RedisServer::start().await;
    let mut connection = TcpStream::connect(("127.0.0.1", redis.port())).await.unwrap();
    redis.pause();
    connection.write_all(b"PING\r\n").await.unwrap();
    let mut answer = [0; 7];
    assert!(tokio::time::timeout(Duration::from_millis(100), connection.read_exact(&mut answer)).await.is_err());
    redis.resume();
    connection.read_exact(&mut answer).await.unwrap();
    assert_eq!(&answer, b"+PONG\r\n");
}

#[tokio::test]
async fn a_dropped_server_is_gone() {
    let redis = RedisServer::start().await;
    let address = ("127.0.0.1", redis.port());
    drop(redis);
    assert!(TcpStream::connect(address).await.is_err());
}

#[tokio::test]
async fn sentinels_fail_over_and_take_the_former_master_back_as_a_replica() {
    let mut redis = RedisSentinels::start().await;
    let first = redis.master_port().await;
    assert_eq!(redis.master().await.execute(&["SET", "key", "value"]).await, "+OK\r\n");
    // A replica hears of it later.
    wait_until("the replica has it", DEADLINE, async || {
        redis.replica().await.execute(&["GET", "key"]).await == "$5\r\nvalue\r\n"
    })
    .await;

    redis.failover().await;
    assert_eq!(redis.replica().await.port(), first);
    let second = redis.master_port().await;
    redis.until_replica_follows().await;

    redis.master().await.kill();
    redis.until_master_is_not(second).await;
    assert_eq!(redis.master_port().await, first);
    assert_eq!(redis.master().await.execute(&["GET", "key"]).await, "$5\r\nvalue\r\n");
    redis.replica().await.restart().await;
    redis.until_replica_follows().await;
}

#[tokio::test]
async fn a_restarted_node_joins_its_cluster_again() {
    let mut redis = RedisCluster::start().await;
    let owner = redis.owner_of("key").await;
    redis.node(owner).kill();
    wait_until("the others notice", DEADLINE, async || {
        redis.node((owner + 1) % 3).execute(&["CLUSTER", "INFO"]).await.contains("cluster_slots_fail:5")
    })
    .await;
    redis.node(owner).restart().await;
    redis.until_ok().await;
    assert_eq!(redis.owner_of("key").await, owner);
}

#[tokio::test]
async fn a_slot_moves_to_another_node() {
    let redis = RedisCluster::start().await;
    let other = (redis.owner_of("key").await + 1) % 3;
    redis.move_slot_of("key", other).await;
    assert_eq!(redis.owner_of("key").await, other);
    redis.until_ok().await;
}
