//! The books of instances that share a real Redis.

use chat_domain::{ChannelId, UserId};
use chat_test_support::{redis::RedisServer, wait_until};
use chat_websocket_server::registry::Counts;
use tokio::time::Instant;

use crate::world::{AT, DEADLINE, Session, World};

const MANY: usize = 5_000;
const USERS: usize = 500;
const ROOMS: usize = 100;

/// A session that has been taken in and has this room open.
async fn comes(world: &World, user_id: UserId, room: ChannelId) -> Session {
    let session = world.session(user_id);
    world.registry.admit(&session.handle).await.ok().unwrap();
    assert!(session.handle.add_channel(room, 1));
    session
}

#[tokio::test]
async fn sessions_are_counted_by_user_and_by_room_and_in_all() {
    let redis = RedisServer::start().await;
    let (here, there) = (World::sharing(&redis).await, World::sharing(&redis).await);
    let (user, other, room, quiet) = (UserId::new(AT), UserId::new(AT), ChannelId::new(AT), ChannelId::new(AT));
    let kept = [comes(&here, user, room).await, comes(&here, other, room).await, comes(&there, user, room).await];
    let leaving = comes(&there, user, room).await;

    let says = |local, cluster| Counts { local, cluster: Some(cluster) };
    wait_until("all are counted", DEADLINE, async || {
        here.registry.sessions_in(&[room, quiet]).await == Some(vec![4, 0])
    })
    .await;
    assert_eq!((here.registry.sessions().await, there.registry.sessions().await), (says(2, 4), says(2, 4)));
    assert_eq!(
        (here.registry.sessions_of(user).await, there.registry.sessions_of(user).await),
        (says(1, 3), says(2, 3))
    );
    assert_eq!(there.registry.sessions_of(other).await, says(0, 1));

    drop(leaving);
    wait_until("one is gone", DEADLINE, async || here.registry.sessions_in(&[room]).await == Some(vec![3])).await;
    assert_eq!(here.registry.sessions_of(user).await, says(1, 2));
    drop(kept);
    wait_until("all are gone", DEADLINE, async || here.registry.sessions().await == says(0, 0)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn thousands_of_sessions_are_written_anew_in_seconds() {
    let redis = RedisServer::start().await;
    let world = World::sharing(&redis).await;
    let users: Vec<_> = (0..USERS).map(|_| UserId::new(AT)).collect();
    let rooms: Vec<_> = (0..ROOMS).map(|_| ChannelId::new(AT)).collect();
    let mut sessions = Vec::with_capacity(MANY);
    for index in 0..MANY {
        sessions.push(comes(&world, users[index % USERS], rooms[index % ROOMS]).await);
    }
    let in_each = Some(vec![(MANY / ROOMS) as u64; ROOMS]);
    let are_listed = async || world.registry.sessions_in(&rooms).await == in_each;
    wait_until("all are listed", DEADLINE, are_listed).await;

    redis.execute(&["FLUSHALL"]).await;
    let flushed = Instant::now();
    wait_until("all are listed again", DEADLINE, are_listed).await;
    println!("{MANY} sessions were listed again {:?} after Redis had lost them", flushed.elapsed());
}
