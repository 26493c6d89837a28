//! A user with exactly the rights that docs/configuration.md asks for.

use chat_events::Topic;
use chat_test_support::{redis::RedisServer, wait_until};
use rstest::rstest;

use crate::{
    harness::{Bus, DEADLINE, Kind, Redis, room},
    interruptions::expect_heard,
};

const COMMON: [&str; 14] = [
    "ACL",
    "SETUSER",
    "chat",
    "on",
    ">word",
    "resetkeys",
    "resetchannels",
    "&chat:*",
    "-@all",
    "+hello",
    "+ping",
    "+client",
    "+info",
    "+quit",
];

async fn give_rights(servers: &[RedisServer], commands: &[&str]) {
    for server in servers {
        let command = [&COMMON[..], commands].concat();
        assert_eq!(server.execute(&command).await, "+OK\r\n");
        assert_eq!(server.execute(&["CONFIG", "RESETSTAT"]).await, "+OK\r\n");
    }
}

async fn expect_nothing_refused(servers: &[RedisServer]) {
    for server in servers {
        let errors = server.execute(&["INFO", "errorstats"]).await;
        assert!(!errors.contains("NOPERM") && !errors.contains("NOAUTH"), "{errors}");
    }
}

#[rstest]
#[tokio::test]
async fn a_user_needs_no_more_than_is_written(#[values(Kind::Redis, Kind::Sentinel, Kind::Cluster)] kind: Kind) {
    let redis = Redis::start(kind).await;
    let commands: &[&str] = match kind {
        Kind::Cluster => &["+ssubscribe", "+sunsubscribe", "+spublish", "+cluster|slots"],
        _ => &["+subscribe", "+unsubscribe", "+publish"],
    };
    give_rights(redis.servers(), commands).await;
    // Sentinels have users of their own, here none.
    let url = redis.url().replace("://", "://chat:word@");
    let mut bus = Bus::connect(&url, redis, 16_384, |_| {}).await;
    let interest = bus.listen(room(1)).await;
    expect_heard(&mut bus, room(1), "allowed").await;
    drop(interest);
    until_unsubscribed(&mut bus, room(1)).await;
    bus.publisher.close().await;
    expect_nothing_refused(bus.redis.servers()).await;
}

async fn until_unsubscribed(bus: &mut Bus, topic: Topic) {
    let topic = topic.to_string();
    wait_until("nobody hears the topic", DEADLINE, async || {
        for server in bus.redis.servers() {
            let heard = [
                server.execute(&["PUBSUB", "NUMSUB", &topic]).await,
                server.execute(&["PUBSUB", "SHARDNUMSUB", &topic]).await,
            ];
            if heard.iter().any(|reply| reply.ends_with(":1\r\n")) {
                return false;
            }
        }
        true
    })
    .await;
}
