//! Many sessions, or one with many channels, that come back at once.

use chat_test_support::{wait_for, wait_until};

use crate::world::{DEADLINE, Returning, World};

const HOT_SESSIONS: usize = 2_000;
const HOT_EVENTS: usize = 600;
const ROOMS: usize = 200;
const ROOM_SESSIONS: usize = 2;
const ROOM_EVENTS: usize = 140;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn thousands_come_back_with_a_handful_of_reads_while_a_room_stays_live() {
    let world = World::new().await;
    let live = world.session(world.alice);
    world.join(&live, world.access(world.alice).await, None);
    live.until("SUBSCRIBED").await;

    let mut returning = Vec::new();
    let mut come_back = async |sessions: usize, events: usize| {
        let channel = world.channel_with(events).await;
        let access = world.access_to(channel, world.bob).await;
        for _ in 0..sessions {
            let session = world.session(world.bob);
            world.join(&session, access, Some(0));
            returning.push(Returning::new(session, 0, access.head.head_seq));
        }
    };
    for _ in 0..ROOMS {
        come_back(ROOM_SESSIONS, ROOM_EVENTS).await;
    }
    come_back(HOT_SESSIONS, HOT_EVENTS).await;

    let (mut events, mut live_events) = (0, 0);
    while !returning.iter().all(|one| one.subscribed) {
        events += returning.iter_mut().map(Returning::take).sum::<u64>();
        // In the middle of it all, what is live comes through.
        let seq = world.send(true).await;
        wait_for("a live event", DEADLINE, async || {
            let frames = live.handle.outbox.take();
            frames.iter().any(|frame| frame.contains(&format!("\"seq\":{seq},"))).then_some(())
        })
        .await;
        live_events += 1;
    }

    assert_eq!(events, (HOT_SESSIONS * HOT_EVENTS + ROOMS * ROOM_SESSIONS * ROOM_EVENTS) as u64);
    assert!(live_events >= 3, "a replay takes several turns: {live_events}");
    let pages = HOT_EVENTS.div_ceil(128) + ROOMS * ROOM_EVENTS.div_ceil(128);
    assert_eq!(world.metrics.page_reads.get(), pages as u64, "each page once");
    assert!(world.metrics.page_hits.get() >= (HOT_SESSIONS * HOT_EVENTS / 128) as u64);
    wait_until("the replays end", DEADLINE, async || world.metrics.replaying.get() == 0).await;
}
