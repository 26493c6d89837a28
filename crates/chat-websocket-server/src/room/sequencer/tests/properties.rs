//! A log that grows, a bus that loses, repeats, delays and forges, and reads that take their time and fail.
//!
//! A failure prints the smallest case found and a line `cc …` with its seed, which is also added to a file beside the sources,
//! `proptest-regressions/room/sequencer/tests/properties.txt`: while the line is there, the case runs first. To run all cases of
//! a run again, give both the same `PROPTEST_RNG_SEED=1`; `PROPTEST_CASES=100000` runs more of them.

use std::collections::VecDeque;

use proptest::prelude::*;

use super::*;

/// Tight, so that both bounds are met often.
const TIGHT: SequencerLimits = SequencerLimits { held_events: 5, held_bytes: 40, ..LIMITS };
/// Forged events are behind all real ones: one in the place of a real one cannot be told from it.
const FORGED: u64 = 1_000_000;

/// What may happen to a published event on its way.
#[derive(Clone, Copy, Debug)]
enum Fate {
    Arrives,
    Lost,
    Twice(u8),
    /// Comes so many steps later.
    Late(u8),
}

#[derive(Clone, Copy, Debug)]
enum Step {
    /// An event is written to the log and published.
    Commit(Fate),
    /// The bus brings an event that does not exist.
    Forge(u64),
    /// Storage is asked for the head.
    Observe,
    /// The instance is short of memory.
    Forget,
    Wait,
}

/// How a read goes: how many steps it takes, and how many events it brings at most, or that it fails.
type ReadPlan = (u8, Option<usize>);

fn fate() -> impl Strategy<Value = Fate> {
    prop_oneof![
        6 => Just(Fate::Arrives),
        2 => Just(Fate::Lost),
        1 => (0..20u8).prop_map(Fate::Twice),
        2 => (1..40u8).prop_map(Fate::Late),
    ]
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        12 => fate().prop_map(Step::Commit),
        1 => (0..5u64).prop_map(|by| Step::Forge(FORGED + by)),
        1 => Just(Step::Forge(u64::MAX)),
        2 => Just(Step::Observe),
        1 => Just(Step::Forget),
        3 => Just(Step::Wait),
    ]
}

/// Reads as they come, or a long time in which each of them fails.
fn reads() -> impl Strategy<Value = Vec<ReadPlan>> {
    let mixed = prop::collection::vec((0..10u8, prop::option::weighted(0.7, 1..10usize)), 0..30);
    let outage = prop::collection::vec((0..10u8, Just(None)), 30..60);
    prop_oneof![3 => mixed, 1 => outage]
}

/// A read under way: when it ends, and what of the log it saw when it began.
struct Reading {
    ends_at: usize,
    after: u64,
    saw: u64,
    brings: Option<usize>,
}

struct World {
    sequencer: Sequencer,
    now: Instant,
    step: usize,
    log: u64,
    /// When an event arrives, and which.
    on_the_way: Vec<(usize, u64)>,
    plans: VecDeque<ReadPlan>,
    reading: Option<Reading>,
    reads: usize,
    delivered: Vec<RoomEvent>,
}

impl World {
    fn new(plans: Vec<ReadPlan>) -> Self {
        Self {
            sequencer: Sequencer::new(0, TIGHT),
            now: Instant::now(),
            step: 0,
            log: 0,
            on_the_way: Vec::new(),
            plans: plans.into(),
            reading: None,
            reads: 0,
            delivered: Vec::new(),
        }
    }

    fn take(&mut self, step: Step) {
        match step {
            Step::Commit(fate) => {
                self.log += 1;
                let arrivals: &[u8] = match fate {
                    Fate::Arrives => &[0],
                    Fate::Lost => &[],
                    Fate::Twice(by) => &[0, by],
                    Fate::Late(by) => &[by],
                };
                self.on_the_way.extend(arrivals.iter().map(|by| (self.step + usize::from(*by), self.log)));
            }
            Step::Forge(seq) => self.on_the_way.push((self.step, seq)),
            Step::Observe => self.sequencer.observe_head(self.log, self.now),
            Step::Forget => self.sequencer.forget_held(),
            Step::Wait => {}
        }
    }

    /// Lets arrive what is due, ends and begins reads.
    fn go_on(&mut self) {
        let due: Vec<_> = self.on_the_way.extract_if(.., |(at, _)| *at <= self.step).collect();
        for (_, seq) in due {
            self.sequencer.offer(event(seq), self.now, &mut self.delivered);
        }
        if let Some(reading) = self.reading.take_if(|reading| reading.ends_at <= self.step) {
            self.end_read(&reading);
        }
        if let Some(after) = self.sequencer.begin_read(self.now) {
            let (steps, brings) = self.plans.pop_front().unwrap_or((0, Some(usize::MAX)));
            self.reads += 1;
            self.reading = Some(Reading { ends_at: self.step + usize::from(steps), after, saw: self.log, brings });
        }
        self.step += 1;
    }

    fn end_read(&mut self, reading: &Reading) {
        let Some(limit) = reading.brings else { return self.sequencer.read_failed(self.now) };
        let events: Vec<_> = (reading.after + 1..=reading.saw).take(limit).map(event).collect();
        let log_end = (events.len() < limit).then_some(reading.saw);
        self.sequencer.read_done(events, log_end, self.now, &mut self.delivered);
    }
}

proptest! {
    /// Whatever the bus and the reads do: each event of the log is delivered exactly once, in order, what is held back is
    /// bounded, and when nothing happens any more, nothing is read any more.
    #[test]
    fn exactly_once_in_order(
        steps in prop::collection::vec(step(), 1..120),
        reads in reads(),
        step_ms in 1..80u64,
    ) {
        let mut world = World::new(reads);
        for step in steps {
            world.take(step);
            world.go_on();
            world.now += Duration::from_millis(step_ms);
            prop_assert!(world.sequencer.held.len() <= TIGHT.held_events);
            prop_assert!(world.sequencer.held_bytes <= TIGHT.held_bytes);
            let held: usize = world.sequencer.held.values().map(|event| event.frame.len()).sum();
            prop_assert_eq!(held, world.sequencer.held_bytes);
        }
        // Nothing new happens; a comparison finds what was lost last; what was late arrives while that is repaired.
        world.sequencer.observe_head(world.log, world.now);
        let most = world.reads + world.plans.len() + 60;
        for _ in 0..2_000 {
            world.go_on();
            world.now = world.sequencer.read_at().unwrap_or(world.now).max(world.now) + Duration::from_millis(step_ms);
        }
        prop_assert_eq!(seqs(&world.delivered), (1..=world.log).collect::<Vec<_>>());
        prop_assert_eq!((world.sequencer.read_at(), world.reading.is_none()), (None, true));
        prop_assert_eq!((world.sequencer.held.len(), world.sequencer.held_bytes), (0, 0));
        prop_assert!(world.reads <= most, "{} reads", world.reads);
    }
}
