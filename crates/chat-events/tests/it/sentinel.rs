//! Publisher and subscriber follow the master that the Sentinels name, whatever becomes of the former one.

use std::time::{Duration, Instant};

use chat_events::bus::Interruption;
use chat_test_support::wait_until;

use crate::harness::{Bus, DEADLINE, room};

/// Everything is heard over the new master so soon after there is one, on a machine that has other things to do too.
const SOON: Duration = Duration::from_secs(8);

/// The former master may still be alive, and take publications: only what goes over the new one counts.
async fn expect_followed(bus: &mut Bus) {
    let started = Instant::now();
    let topic = room(1).to_string();
    let master = bus.sentinels().master().await;
    wait_until("the subscriber is at the new master", DEADLINE, async || {
        master.execute(&["PUBSUB", "NUMSUB", &topic]).await.ends_with(":1\r\n")
    })
    .await;
    bus.until_heard(room(1)).await;
    assert!(started.elapsed() < SOON, "heard again only after {:?}", started.elapsed());
    let told = bus.take_told();
    assert_eq!((told.first(), told.last()), (Some(&Interruption::Lost), Some(&Interruption::Restored)), "{told:?}");

    bus.publish(room(1), (0..1_000).map(|n| n.to_string())).await;
    for n in 0..1_000 {
        assert_eq!(bus.next_text().await, (room(1), n.to_string()));
    }
}

#[tokio::test]
async fn a_failover_is_followed_and_told() {
    let mut bus = Bus::sentinel().await;
    let _interest = bus.listen(room(1)).await;
    bus.sentinels().failover().await;
    expect_followed(&mut bus).await;

    // The former master becomes a replica some seconds later, which concerns nobody.
    bus.sentinels().until_replica_follows().await;
    bus.publish(room(1), ["still heard".into()]).await;
    assert_eq!(bus.next_text().await.1, "still heard");
}

#[tokio::test]
async fn a_killed_master_is_followed_and_told() {
    let mut bus = Bus::sentinel().await;
    let _interest = bus.listen(room(1)).await;
    let former = bus.sentinels().master_port().await;
    bus.sentinels().master().await.kill();
    bus.sentinels().until_master_is_not(former).await;
    expect_followed(&mut bus).await;

    // It comes back as what it was when it died: a master, for some seconds.
    bus.sentinels().replica().await.restart().await;
    bus.publish(room(1), ["not there".into()]).await;
    assert_eq!(bus.next_text().await.1, "not there");
}

#[tokio::test]
async fn a_master_that_hangs_is_followed_and_stays_left_when_it_goes_on() {
    let mut bus = Bus::sentinel().await;
    let _interest = bus.listen(room(1)).await;
    let former = bus.sentinels().master_port().await;
    bus.sentinels().master().await.pause();
    bus.sentinels().until_master_is_not(former).await;
    expect_followed(&mut bus).await;
    bus.sentinels().replica().await.resume();
    bus.publish(room(1), ["not there".into()]).await;
    assert_eq!(bus.next_text().await.1, "not there");
}

#[tokio::test]
async fn a_master_that_goes_on_just_when_it_was_replaced_is_left() {
    let mut bus = Bus::sentinel().await;
    let _interest = bus.listen(room(1)).await;
    let former = bus.sentinels().master_port().await;
    bus.sentinels().master().await.pause();
    bus.sentinels().until_master_is_not(former).await;
    // No connection broke, and it takes itself for the master.
    bus.sentinels().replica().await.resume();
    expect_followed(&mut bus).await;
}

#[tokio::test]
async fn sentinels_that_are_gone_or_hang_are_passed_over() {
    let mut bus = Bus::sentinel().await;
    let _interest = bus.listen(room(1)).await;
    bus.sentinels().sentinel(1).kill();
    let former = bus.sentinels().master_port().await;
    bus.sentinels().failover().await;
    expect_followed(&mut bus).await;
    bus.sentinels().sentinel(1).restart().await;
    bus.sentinels().sentinel(2).pause();
    assert_ne!(bus.sentinels().master_port().await, former);
    bus.sentinels().failover().await;
    expect_followed(&mut bus).await;
}
