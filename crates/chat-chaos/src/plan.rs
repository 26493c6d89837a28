//! When what is broken: made from a seed alone, so that a run can be repeated.

use std::{collections::BTreeSet, time::Duration};

use rand::{RngExt, SeedableRng, rngs::StdRng, seq::SliceRandom};
use serde::Serialize;

use crate::fault::{Fault, Part};

/// Before the first fault: the load gets going.
const LEAD: Duration = Duration::from_secs(2);
/// After a fault: what it delayed is delivered, and the normal delay is seen again.
const RECOVERY: Duration = Duration::from_secs(4);
const SHORTEST: f64 = 1.5;
const LONGEST: f64 = 6.0;
/// How often a second fault overlaps the first.
const OVERLAPS: f64 = 0.4;
/// A server is started again only after what it needs is back.
const SETTLED: Duration = Duration::from_millis(300);

/// One fault, or two that overlap, and the time until the next.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Round {
    pub(crate) strikes: Vec<Strike>,
}

/// One fault from its beginning to its healing, counted from the start of the act.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Strike {
    pub(crate) fault: Fault,
    /// Which of the servers, modulo how many there are.
    pub(crate) target: usize,
    pub(crate) from: Duration,
    pub(crate) to: Duration,
}

impl Round {
    pub(crate) fn from(&self) -> Duration {
        self.strikes.iter().map(|strike| strike.from).min().unwrap_or_default()
    }

    pub(crate) fn to(&self) -> Duration {
        self.strikes.iter().map(|strike| strike.to).max().unwrap_or_default()
    }

    pub(crate) fn name(&self) -> String {
        self.strikes.iter().map(|strike| strike.fault.name()).collect::<Vec<_>>().join(" + ")
    }
}

/// Fills `duration` with faults. Each comes once before any comes again, those that were not `done` elsewhere first;
/// `length` fixes how long each lasts.
pub(crate) fn plan(
    seed: u64,
    duration: Duration,
    faults: &[Fault],
    done: &BTreeSet<Fault>,
    length: Option<Duration>,
) -> Vec<Round> {
    let mut bag = Bag { random: StdRng::seed_from_u64(seed), faults, left: Vec::new() };
    bag.fill(|fault| done.contains(&fault));
    bag.fill(|fault| !done.contains(&fault));
    let mut rounds = Vec::new();
    let mut at = LEAD;
    while let Some(fault) = bag.draw(|_| true) {
        let mut strikes = vec![bag.strike(fault, at, length)];
        if bag.random.random_bool(OVERLAPS)
            && let Some(second) = bag.draw(|other| fault.part().may_meet(other.part()))
        {
            let half = (strikes[0].to - strikes[0].from) / 2;
            strikes.push(bag.strike(second, at + half, length));
        }
        let round = Round { strikes: with_storage_first(strikes) };
        if round.to() + RECOVERY > duration {
            break;
        }
        at = round.to() + RECOVERY;
        rounds.push(round);
    }
    rounds
}

fn with_storage_first(mut strikes: Vec<Strike>) -> Vec<Strike> {
    let takes_storage_away = |strike: &&Strike| strike.fault.part().takes_storage_away();
    let back = strikes.iter().filter(takes_storage_away).map(|strike| strike.to + SETTLED).max();
    for strike in &mut strikes {
        if strike.fault.part().restarts_servers() {
            strike.to = strike.to.max(back.unwrap_or_default());
        }
    }
    strikes
}

/// The faults that are still to come before all begin anew.
struct Bag<'a> {
    random: StdRng,
    faults: &'a [Fault],
    left: Vec<Fault>,
}

impl Bag<'_> {
    /// Puts in, on top, those that are wanted, in an order of their own.
    fn fill(&mut self, wanted: impl Fn(Fault) -> bool) {
        let mut more: Vec<_> = self.faults.iter().copied().filter(|fault| wanted(*fault)).collect();
        more.shuffle(&mut self.random);
        self.left.extend(more);
    }

    fn draw(&mut self, fits: impl Fn(Fault) -> bool) -> Option<Fault> {
        if self.left.is_empty() {
            self.fill(|_| true);
        }
        let place = self.left.iter().rposition(|fault| fits(*fault))?;
        Some(self.left.remove(place))
    }

    fn strike(&mut self, fault: Fault, from: Duration, length: Option<Duration>) -> Strike {
        let random = Duration::from_secs_f64(self.random.random_range(SHORTEST..LONGEST));
        // Every server in turn takes some time of its own.
        let length = length.unwrap_or(if fault.part() == Part::AllServers { Duration::ZERO } else { random });
        Strike { fault, target: self.random.random_range(0..6), from, to: from + length }
    }
}

#[cfg(test)]
mod tests {
    use clap::ValueEnum;

    use super::*;
    use crate::fault::{Redis, Storage};

    const TEN_MINUTES: Duration = Duration::from_secs(600);

    fn every_fault(seed: u64) -> Vec<Round> {
        plan(seed, TEN_MINUTES, Fault::value_variants(), &BTreeSet::new(), None)
    }

    fn faults_of(rounds: &[Round]) -> BTreeSet<Fault> {
        rounds.iter().flat_map(|round| &round.strikes).map(|strike| strike.fault).collect()
    }

    #[test]
    fn a_seed_is_a_plan() {
        assert_eq!(every_fault(7), every_fault(7));
        assert_ne!(every_fault(7), every_fault(8));
    }

    #[test]
    fn ten_minutes_on_three_kinds_of_redis_have_every_fault() {
        for seed in 0..20 {
            let mut done = BTreeSet::new();
            for redis in [Redis::Sentinel, Redis::Cluster, Redis::Standalone] {
                let all = Fault::value_variants().iter().copied();
                let faults: Vec<_> = all.filter(|fault| fault.applies(Storage::Postgres, redis)).collect();
                let rounds = plan(seed, TEN_MINUTES / 3, &faults, &done, None);
                assert!(rounds.iter().any(|round| round.strikes.len() == 2));
                assert!(rounds.last().unwrap().to() + RECOVERY <= TEN_MINUTES / 3);
                done.extend(faults_of(&rounds));
            }
            assert_eq!(done.len(), Fault::value_variants().len(), "seed {seed}");
        }
    }

    #[test]
    fn what_was_not_done_elsewhere_comes_first() {
        let faults = [Fault::RedisKill, Fault::InstanceKill, Fault::RedisPause, Fault::InstancePause];
        let done = BTreeSet::from([Fault::RedisKill, Fault::RedisPause]);
        for seed in 0..20 {
            let rounds = plan(seed, Duration::from_secs(30), &faults, &done, None);
            let first = rounds[0].strikes[0].fault;
            assert!(!done.contains(&first), "{first:?}");
        }
    }

    #[test]
    fn rounds_leave_time_to_recover() {
        for pair in every_fault(3).windows(2) {
            assert!(pair[1].from() >= pair[0].to() + RECOVERY);
        }
    }

    #[test]
    fn a_server_starts_again_only_when_storage_is_back() {
        for round in (0..20).flat_map(every_fault) {
            let parts = |wanted: fn(Part) -> bool| round.strikes.iter().filter(move |one| wanted(one.fault.part()));
            for storage in parts(Part::takes_storage_away) {
                assert!(parts(Part::restarts_servers).all(|server| server.to >= storage.to + SETTLED));
            }
        }
    }

    #[test]
    fn a_length_can_be_fixed() {
        let length = Duration::from_secs(30);
        for round in plan(1, TEN_MINUTES, &[Fault::RedisKill], &BTreeSet::new(), Some(length)) {
            assert!(round.strikes.iter().all(|strike| strike.to - strike.from == length));
        }
    }
}
