//! How often what is live here is compared with storage, which knows what the bus was silent about.
//!
//! A pass comes twice in an interval and leaves out what storage has confirmed since, so that a quiet thing is asked about
//! once in an interval, and one that was read for another reason less often. Nothing waits longer than 1.15 intervals.
//! What is in doubt is compared at once.

use std::time::Duration;

use rand::RngExt;
use tokio::{
    sync::Notify,
    time::{Instant, sleep_until},
};

use crate::hub::Directory;

/// Passes come at least this far apart, however often they are asked for and however slow storage is.
const SHORTEST: Duration = Duration::from_millis(50);

/// No confirmation is too old: what is compared is what is in doubt.
const ONLY_DOUBTED: Duration = Duration::MAX;

/// How often something is compared with storage.
#[derive(Clone, Copy, Debug)]
pub struct Intervals {
    /// While the bus lives.
    pub with_bus: Duration,
    /// While the bus is known to be away, and for a moment after its return.
    pub without_bus: Duration,
}

/// When a pass comes, and what it leaves out.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Pace {
    wait: Duration,
    age: Duration,
}

impl Pace {
    /// Parts of an interval between two passes, at random: instances that started together do not ask together.
    const PASSES: std::ops::Range<f64> = 0.45..0.55;
    /// Parts of an interval for which a confirmation holds. More than a pass, so that what is quiet is due at each second
    /// one only.
    const HOLDS: f64 = 0.6;

    /// `at` is where in [`Self::PASSES`] the wait lies, from 0 to 1.
    fn new(intervals: Intervals, bus_in_doubt: bool, at: f64) -> Self {
        if bus_in_doubt {
            // Nothing is heard: each pass is the only source of news.
            return Self { wait: intervals.without_bus.mul_f64(0.75 + at / 2.0), age: Duration::ZERO };
        }
        let passes = Self::PASSES.start + at * (Self::PASSES.end - Self::PASSES.start);
        Self { wait: intervals.with_bus.mul_f64(passes), age: intervals.with_bus.mul_f64(Self::HOLDS) }
    }
}

/// The passes of one comparer, one after the other.
pub(crate) struct Passes {
    intervals: Intervals,
    next: Instant,
}

impl Passes {
    /// The first one comes after a wait.
    pub(crate) fn new(intervals: Intervals, directory: &Directory) -> Self {
        let mut passes = Self { intervals, next: Instant::now() };
        passes.next += passes.pace(directory).wait;
        passes
    }

    fn pace(&self, directory: &Directory) -> Pace {
        Pace::new(self.intervals, directory.bus_in_doubt(Instant::now()), rand::rng().random())
    }

    /// Waits for the next pass, which comes at its time or when it is wished for. Returns how old a confirmation has to
    /// be to be renewed.
    pub(crate) async fn next(&mut self, directory: &Directory, wished: &Notify) -> Duration {
        // Storage that is slower than the passes gets a pause all the same.
        let earliest = Instant::now() + SHORTEST;
        let timed = tokio::select! {
            biased;
            () = sleep_until(self.next.max(earliest)) => true,
            () = wished.notified() => {
                sleep_until(earliest).await;
                // However often a pass is wished for, the one that looks at everything comes at its time.
                self.next <= Instant::now()
            }
        };
        let pace = self.pace(directory);
        let next = Instant::now() + pace.wait;
        // If the bus is away from now on, passes come faster; wishes alone do not put them off.
        self.next = if timed { next } else { self.next.min(next) };
        if timed { pace.age } else { ONLY_DOUBTED }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::room::Confirmation;

    const LIMITS: Intervals = Intervals { with_bus: Duration::from_secs(2), without_bus: Duration::from_millis(500) };

    /// Plays passes over one room and returns, for each comparison, how long after the one before it came.
    fn gaps(at: impl Fn(u32) -> f64) -> Vec<Duration> {
        let (mut now, mut room, mut gaps) = (Instant::now(), Confirmation::default(), Vec::new());
        room.confirm(now);
        let mut confirmed_at = now;
        for pass in 0..1_000 {
            let pace = Pace::new(LIMITS, false, at(pass));
            now += pace.wait;
            if room.is_due(now, pace.age, None) {
                gaps.push(now - confirmed_at);
                room.confirm(now);
                confirmed_at = now;
            }
        }
        gaps
    }

    #[test]
    fn a_lost_last_event_is_found_in_time_and_a_quiet_room_is_asked_about_once_in_an_interval() {
        let uneven = |pass: u32| f64::from(pass * 37 % 101) / 100.0;
        for gaps in [gaps(|_| 0.0), gaps(|_| 1.0), gaps(|pass| f64::from(pass % 2)), gaps(uneven)] {
            let longest = *gaps.iter().max().unwrap();
            assert!(longest <= Duration::from_millis(2_300), "{longest:?}");
            let mean = gaps.iter().sum::<Duration>() / u32::try_from(gaps.len()).unwrap();
            assert!(mean >= LIMITS.with_bus.mul_f64(0.89), "{mean:?}");
        }
    }

    #[test]
    fn without_the_bus_each_pass_compares_every_room() {
        for at in [0.0, 1.0] {
            let pace = Pace::new(LIMITS, true, at);
            assert_eq!(pace.age, Duration::ZERO);
            assert!(pace.wait <= Duration::from_millis(625));
        }
    }
}
