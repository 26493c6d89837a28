//! Many sessions, or one with many channels, that come back at once.

use std::sync::Arc;

use chat_events::{Topic, bus::Delivery};
use chat_test_support::{wait_for, wait_until};
use chat_websocket_server::reader::{Log, LogReader, ReadLimits};

use crate::world::{DEADLINE, Returning, Session, World, frame};

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
            live.take().iter().any(|frame| frame.contains(&format!("\"seq\":{seq},"))).then_some(())
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

#[tokio::test]
async fn a_page_that_is_needed_now_displaces_a_popular_one() {
    const TURNS: usize = 20;
    let world = World::new().await;
    let (popular, needed) = (world.channel_with(128).await, world.channel_with(128).await);
    // Room for one page.
    let limits = ReadLimits { repairs: 1, replays: 1, page_bytes: 64 * 1024 };
    let reader = LogReader::new(Arc::clone(&world.storage), Arc::clone(&world.metrics), limits);

    for channel_id in [popular, needed] {
        let log = Log { channel_id, epoch: world.access_to(channel_id, world.bob).await.head.epoch };
        for _ in 0..TURNS {
            assert!(reader.page(log, 1, 128).await.is_some());
        }
    }

    assert_eq!(world.metrics.page_reads.get(), 2);
}

/// The room's task and this one share a thread, so the room hears of the publication only where it lets others work.
#[tokio::test]
async fn what_is_published_does_not_wait_for_all_who_come_back() {
    const MISSED: usize = 100;
    let world = World::new().await;
    let live = world.session(world.alice);
    world.join(&live, world.access(world.alice).await, None);
    live.until("SUBSCRIBED").await;
    for _ in 0..MISSED {
        world.send(true).await;
    }
    wait_until("the room remembers them", DEADLINE, async || {
        world.directory.open_room(world.channel).is_some_and(|room| room.delivered >= MISSED as u64)
    })
    .await;
    let access = world.access(world.bob).await;
    let next = world.send(false).await;
    let payload = world.storage.replay(world.channel, next - 1, 1).await.unwrap().remove(0).body;

    let returning: Vec<_> = (0..20).map(|_| world.session(world.bob)).collect();
    for session in &returning {
        world.join(session, access, Some(0));
    }
    // The room begins with them, and is here again when it lets others work.
    tokio::task::yield_now().await;
    world.directory.deliver(Delivery::Payload { topic: Topic::Room(world.channel), payload }, &world.metrics);

    let missed = async |session: &Session| {
        let sent = session.until("SUBSCRIBED").await;
        sent.iter().take_while(|(frame_type, _)| frame_type != "SUBSCRIBED").any(|sent| *sent == frame("MESSAGE", next))
    };
    assert!(!missed(&returning[0]).await, "it was back before");
    assert!(missed(&returning[19]).await, "it came behind what was published meanwhile");
}
