//! Redis dies under load: chat goes on through the log, slower, and nobody is sent away.

use std::time::Duration;

use chat_test_support::system::{Storage, System};
use chat_test_support::wait_until;
use rstest::rstest;
use tokio::time::{Instant, sleep_until};

use crate::scene::Scene;
use crate::traffic::{Load, Watcher, quantile};

const ROOMS: usize = 5;
const INTERVAL: Duration = Duration::from_millis(40);
const BEFORE: Duration = Duration::from_secs(1);
const AWAY: Duration = Duration::from_secs(6);
/// By then everything is as before.
const RECOVERY: Duration = Duration::from_secs(5);
const AFTERWARDS: Duration = Duration::from_secs(2);
const DEADLINE: Duration = Duration::from_secs(10);

const MEDIAN_WHILE_AWAY: Duration = Duration::from_millis(1_500);
const MEDIAN_AFTERWARDS: Duration = Duration::from_millis(50);

#[rstest]
#[case::sqlite(Storage::Sqlite)]
#[case::postgres(Storage::Postgres)]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn chat_goes_on_through_the_log_while_redis_is_away(#[case] storage: Storage) {
    let builder = System::builder().storage(storage).message_setting("CHAT_LIMITS_REQUESTS_PER_SECOND", "0");
    let mut scene = Scene::start(builder).await;
    let mut bob = scene.bob_listens().await;
    let rooms = scene.alice.api.create_public_channels(ROOMS).await;
    bob.subscribe_to_all(&rooms).await;
    let watcher = Watcher::start(bob);
    let load = Load::start(std::slice::from_ref(&scene.alice.api), &rooms, INTERVAL);

    let killed = Instant::now() + BEFORE;
    sleep_until(killed).await;
    scene.system.redis().kill();
    let returns = killed + AWAY;
    let mut degraded = 0;
    while Instant::now() < returns {
        degraded = if both_are_degraded_and_ready(&mut scene.system).await { degraded + 1 } else { 0 };
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert!(degraded > 0, "nobody noticed that Redis is away");
    scene.system.redis().restart().await;
    let recovered = Instant::now() + RECOVERY;
    sleep_until(recovered + AFTERWARDS).await;
    let acknowledged = load.stop().await;

    let delays = watcher.delays(&acknowledged, DEADLINE).await;
    let median = |from: Instant, to: Instant| {
        let (phase, more) = (delays.iter().filter(|(at, _)| (from..to).contains(at)), "median, p99, max");
        let phase: Vec<_> = phase.map(|(_, delay)| *delay).collect();
        let at = |part| quantile(phase.iter().copied(), part);
        println!("{} messages, {more}: {:?} {:?} {:?}", phase.len(), at(0.5), at(0.99), at(1.0));
        at(0.5)
    };
    median(killed - BEFORE, killed);
    assert!(median(killed, returns) < MEDIAN_WHILE_AWAY);
    assert!(median(recovered, Instant::now()) < MEDIAN_AFTERWARDS);
}

#[tokio::test]
async fn a_redis_that_does_not_answer_degrades_and_no_more() {
    let mut scene = Scene::start(System::builder()).await;
    scene.system.redis().pause();
    wait_until("both know that Redis is away", DEADLINE, async || both_are_degraded_and_ready(&mut scene.system).await)
        .await;
    scene.system.redis().resume();
    scene.goes_on().await;
}

/// Both servers have to be ready at any moment; whether both know that they are degraded.
async fn both_are_degraded_and_ready(system: &mut System) -> bool {
    let urls = [system.message_server(0).management_url(), system.websocket_server(0).management_url()];
    let mut degraded = true;
    for url in urls {
        let ready = reqwest::get(format!("{url}/readyz")).await.unwrap();
        assert_eq!(ready.status(), 200, "{url} is not ready");
        let health = reqwest::get(format!("{url}/actuator/health")).await.unwrap();
        assert_eq!(health.status(), 200, "{url} is down");
        degraded &= health.text().await.unwrap().contains("\"DEGRADED\"");
    }
    degraded
}
