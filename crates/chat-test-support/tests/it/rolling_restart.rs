//! A deploy: every server is replaced, one after the other, under load.

use std::time::Duration;

use chat_test_support::system::{Storage, System};
use chat_test_support::wait_until;
use rstest::rstest;
use tokio::task::JoinSet;

use crate::listener::{Listener, read_log};
use crate::stock::{DEADLINE, Stock};
use crate::traffic::{Load, quantile};

const MESSAGE_SERVERS: usize = 2;
const INSTANCES: usize = 3;
const ROOMS: usize = 6;
const LISTENERS: usize = 12;
const INTERVAL: Duration = Duration::from_millis(50);
/// No listener waits longer for a message than this, whatever is replaced.
const WORST_STALL: Duration = Duration::from_secs(5);

#[rstest]
#[case::sqlite(Storage::Sqlite)]
#[case::postgres(Storage::Postgres)]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rolling_restart_of_everything_is_hardly_noticed(#[case] storage: Storage) {
    let mut system = System::builder()
        .storage(storage)
        .message_servers(MESSAGE_SERVERS)
        .websocket_servers(INSTANCES)
        .setting("CHAT_PROCESS_DRAIN", "3s")
        .message_setting("CHAT_LIMITS_REQUESTS_PER_SECOND", "0")
        .start()
        .await;
    let alice = system.user("alice").await;
    let rooms = alice.api.create_public_channels(ROOMS).await;
    let mut listeners = Vec::new();
    for index in 0..LISTENERS {
        let user = system.user(&format!("listener-{index}")).await;
        let urls: Vec<_> = (0..INSTANCES).map(|n| system.websocket_url((index + n) % INSTANCES)).collect();
        listeners.push(Listener::start(&urls, &user.token, rooms.iter().copied()));
    }
    let servers: Vec<_> = (0..MESSAGE_SERVERS).map(|index| alice.api_at(system.http_url(index))).collect();
    let load = Load::start(&servers, &rooms, INTERVAL);

    for index in 0..INSTANCES {
        let deaf = stays_to_the_end(Stock::sign_in(&system.websocket_url(index), &alice.token).await);
        let mut deaf_ones = JoinSet::new();
        deaf_ones.spawn(deaf);
        system.websocket_server(index).ask_to_stop();
        wait_until("the instance ends", DEADLINE, async || system.websocket_server(index).ended().is_some()).await;
        system.websocket_server(index).restart().await;
        assert_eq!(deaf_ones.join_all().await, [(true, Some(4022))], "RECONNECT, and then 4022");
    }
    for index in 0..MESSAGE_SERVERS {
        system.message_server(index).ask_to_stop();
        wait_until("the message server ends", DEADLINE, async || system.message_server(index).ended().is_some()).await;
        system.message_server(index).restart().await;
    }
    let acknowledged = load.stop().await;

    for room in &rooms {
        let log = read_log(&alice.api, *room).await;
        for listener in &listeners {
            listener.has_heard(*room, &log, DEADLINE).await;
        }
    }
    let delays = || {
        let each = listeners.iter().flat_map(|listener| acknowledged.iter().map(move |one| (listener, one)));
        each.map(|(listener, one)| listener.arrival(one.message).saturating_duration_since(one.at))
    };
    let part = |part| quantile(delays(), part);
    println!(
        "{} messages to {LISTENERS} listeners: p50 {:?}, p99 {:?}, worst stall {:?}",
        acknowledged.len(),
        part(0.5),
        part(0.99),
        part(1.0)
    );
    assert!(part(1.0) < WORST_STALL, "{:?}", part(1.0));
    let moved = listeners.iter().filter(|listener| listener.connections() > 1).count();
    assert_eq!(moved, LISTENERS, "every instance was replaced, so every listener had to move");
}

/// A client that does not go when it is asked to: whether it was asked, and the close code.
async fn stays_to_the_end(mut session: Stock) -> (bool, Option<u16>) {
    let mut asked = false;
    loop {
        match session.next().await {
            Ok(frame) => asked |= frame["type"] == "RECONNECT",
            Err(code) => return (asked, code),
        }
    }
}
