//! An instance dies, and all its clients come to another one at once: live traffic there does not starve.

use std::time::Duration;

use chat_domain::ChannelId;
use chat_test_support::system::{Storage, System};
use rand::{RngExt, SeedableRng, rngs::StdRng};
use rstest::rstest;
use serde_json::{Value, json};
use tokio::sync::{Mutex, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout};

use crate::stock::{DEADLINE, Stock};
use crate::traffic::{Load, Watcher, quantile};

const CLIENTS: usize = 1_000;
const USERS: usize = 100;
const ROOMS: usize = 20;
const ROOMS_PER_CLIENT: usize = 3;
const MISSED_PER_ROOM: usize = 30;
const INTERVAL: Duration = Duration::from_millis(20);
/// The first delay of the documented backoff: each client waits a random part of it.
const BACKOFF: Duration = Duration::from_millis(250);
const ALL_ARE_BACK: Duration = Duration::from_secs(20);
const WORST_P99: Duration = Duration::from_millis(1_000);

/// On two processors the coming of one case's thousand clients is most of what another case's live room would wait for.
static ONE_AT_A_TIME: Mutex<()> = Mutex::const_new(());

/// A room with the last event that the client knows of.
type Positions = Vec<(ChannelId, u64)>;

#[rstest]
#[case::sqlite(Storage::Sqlite)]
#[case::postgres(Storage::Postgres)]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn live_traffic_goes_on_while_a_thousand_clients_come_back(#[case] storage: Storage) {
    let _others_wait = ONE_AT_A_TIME.lock().await;
    let mut system = System::builder()
        .storage(storage)
        .message_setting("CHAT_LIMITS_REQUESTS_PER_SECOND", "0")
        .websocket_setting("CHAT_LIMITS_CONNECTIONS_PER_ADDRESS", "5000")
        .start()
        .await;
    let alice = system.user("alice").await;
    let rooms = alice.api.create_public_channels(ROOMS).await;
    let live = alice.api.create_channel("PUBLIC", "live", &[]).await;
    let mut session = Stock::sign_in(&system.websocket_url(1), &alice.token).await;
    session.subscribe(live).await;
    let watcher = Watcher::start(session);

    let (urls, go) = ([system.websocket_url(0), system.websocket_url(1)], watch::Sender::new(false));
    let (connected, mut all_connected) = tokio::sync::mpsc::channel(CLIENTS);
    let mut tokens = Vec::new();
    for index in 0..USERS {
        tokens.push(system.user(&format!("user-{index}")).await.token);
    }
    let mut clients = JoinSet::new();
    for index in 0..CLIENTS {
        let mine = (0..ROOMS_PER_CLIENT).map(|n| rooms[(index + 7 * n) % ROOMS]).collect();
        let (urls, token, connected, mut go) =
            (urls.clone(), tokens[index % USERS].clone(), connected.clone(), go.subscribe());
        let delay = StdRng::seed_from_u64(index as u64).random_range(Duration::ZERO..BACKOFF);
        clients.spawn(async move {
            let (session, positions) = leaves(&urls[0], &token, mine).await;
            connected.send(()).await.unwrap();
            go.wait_for(|go| *go).await.unwrap();
            drop(session);
            sleep(delay).await;
            comes_back(&urls[1], &token, positions).await;
        });
    }
    for _ in 0..CLIENTS {
        timeout(2 * DEADLINE, all_connected.recv()).await.expect("all connect in time").expect("all connect");
    }

    let load = Load::start(std::slice::from_ref(&alice.api), &[live], INTERVAL);
    let calm = Instant::now();
    sleep(Duration::from_secs(1)).await;
    system.websocket_server(0).kill();
    for room in &rooms {
        for number in 0..MISSED_PER_ROOM {
            alice.api.send(*room, &number.to_string()).await;
        }
    }
    let died = Instant::now();
    go.send_replace(true);
    timeout(DEADLINE, clients.join_all()).await.expect("all come back");
    let back = Instant::now();
    println!("{CLIENTS} clients came back within {:?}", back - died);
    assert!(back - died < ALL_ARE_BACK);

    let delays = watcher.delays(&load.stop().await, DEADLINE).await;
    let part = |from: Instant, to: Instant, part| {
        let phase = delays.iter().filter(|(at, _)| (from..to).contains(at));
        quantile(phase.map(|(_, delay)| *delay), part)
    };
    for (phase, from, to) in [("calm", calm, died), ("return", died, back)] {
        let at = |quantile| part(from, to, quantile);
        println!("live room, {phase}: p50 {:?}, p99 {:?}, max {:?}", at(0.5), at(0.99), at(1.0));
    }
    assert!(part(died, back, 0.99) < WORST_P99);
}

/// Connects and subscribes from now on: where the client stands when its instance dies.
async fn leaves(url: &str, token: &str, rooms: Vec<ChannelId>) -> (Stock, Positions) {
    let mut session = Stock::sign_in(url, token).await;
    let mut positions = Positions::new();
    for room in rooms {
        let head = session.subscribe(room).await["headSeq"].as_u64().unwrap();
        positions.push((room, head));
    }
    (session, positions)
}

/// Connects and catches up, as a client that does what it is told: what is refused for now is asked for again later.
async fn comes_back(url: &str, token: &str, mut positions: Positions) {
    let mut session = Stock::sign_in(url, token).await;
    let ends: Vec<_> = positions.iter().map(|(room, seq)| (*room, seq + MISSED_PER_ROOM as u64)).collect();
    let mut wanted = positions.clone();
    while !wanted.is_empty() {
        let wish = |(room, seq): &(ChannelId, u64)| json!({"channelId": room, "afterSeq": seq});
        let channels: Vec<Value> = wanted.iter().map(wish).collect();
        session.send(json!({"type": "SUBSCRIBE", "channels": channels})).await;
        let mut wait = Duration::ZERO;
        let mut answers = wanted.len();
        while answers > 0 {
            let frame = session.next().await.expect("the session stays");
            if frame["type"] == "ERROR" {
                assert_eq!(frame["retryable"], true, "{frame}");
                wait = Duration::from_millis(frame["retryAfterMs"].as_u64().unwrap());
                // It is about one channel, or about all that was asked for.
                answers = if frame["channelId"].is_null() { 0 } else { answers - 1 };
                continue;
            }
            let room: ChannelId = frame["channelId"].as_str().unwrap_or_else(|| panic!("{frame}")).parse().unwrap();
            let known = &mut positions.iter_mut().find(|(one, _)| *one == room).unwrap().1;
            if frame["type"] == "SUBSCRIBED" {
                wanted.retain(|(one, _)| *one != room);
                answers -= 1;
                continue;
            }
            assert_eq!(frame["seq"], *known + 1, "{frame}");
            *known += 1;
        }
        sleep(wait).await;
    }
    assert_eq!(positions, ends, "all that was missed came, and nothing else");
}
