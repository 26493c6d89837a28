//! One act: a system is started, loaded, broken by a plan, healed, and checked.

mod cast;
mod watch;

use std::{
    collections::{BTreeSet, HashMap},
    sync::Arc,
    time::Duration,
};

use serde::Serialize;
use tokio::{
    task::JoinSet,
    time::{Instant, sleep, sleep_until, timeout, timeout_at},
};
use tokio_util::sync::CancellationToken;

use crate::{
    checker::{self, Violation},
    fault::{Fault, Redis, Storage},
    history::{Acknowledged, ActClock, Journal, Sent},
    listener::{Progress, listen},
    plan::{Round, Strike, plan},
    world::World,
};
use cast::Cast;
use watch::Watch;

pub(crate) use watch::Memory;

/// How long listeners go on listening when they have everything: longer than heads are compared apart.
const AFTERMATH: Duration = Duration::from_secs(3);

/// What an act consists of.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Script {
    pub(crate) storage: Storage,
    pub(crate) redis: Redis,
    pub(crate) seed: u64,
    pub(crate) duration: Duration,
    pub(crate) faults: Vec<Fault>,
    /// What acts before this one have done.
    pub(crate) done: BTreeSet<Fault>,
    /// How long each fault lasts, if that is not left to the seed.
    pub(crate) length: Option<Duration>,
    /// How long the listeners get at the end.
    pub(crate) catch_up: Duration,
    /// Messages per second.
    pub(crate) rate: u32,
    pub(crate) senders: usize,
    pub(crate) listeners: usize,
    pub(crate) channels: usize,
    /// How many of the channels each listener has open.
    pub(crate) open_channels: usize,
    /// All listeners are at one instance, as long as it is there.
    pub(crate) crowded: bool,
    pub(crate) repair: bool,
}

/// What came of an act.
#[derive(Debug)]
pub(crate) struct Outcome {
    /// The rounds as they really were.
    pub(crate) rounds: Vec<Round>,
    pub(crate) sent: Sent,
    pub(crate) journals: Vec<Journal>,
    pub(crate) violations: Vec<Violation>,
    /// What is no broken promise, and may not happen either.
    pub(crate) complaints: Vec<String>,
    pub(crate) memory: Vec<Memory>,
    /// What the servers logged.
    pub(crate) logs: Vec<(String, String)>,
}

pub(crate) async fn perform(script: &Script) -> Outcome {
    let mut world = World::start(script).await;
    let cast = Cast::enter(&world, script).await;
    let clock = ActClock::start();
    let (no_more_breaks, no_more_sends) = (CancellationToken::new(), CancellationToken::new());
    let (give_up, stop) = (CancellationToken::new(), CancellationToken::new());

    let mut progress = Vec::new();
    let mut listening = JoinSet::new();
    for listener in cast.listeners(script, clock) {
        progress.push(Arc::clone(&listener.progress));
        listening.spawn(listen(listener, no_more_breaks.clone(), stop.clone()));
    }
    let mut sending = JoinSet::new();
    for sender in cast.senders(script, clock) {
        sending.spawn(sender.run(no_more_sends.clone(), give_up.clone()));
    }

    let (rounds, memory) = break_and_heal(&mut world, script, clock).await;
    sleep_until(clock.at(script.duration)).await;
    no_more_sends.cancel();
    no_more_breaks.cancel();
    let sent = all_sent(sending, &give_up, script.catch_up).await;
    until_received(&sent.acknowledged, &progress, script.catch_up).await;
    // What should not come at all may come now.
    sleep(AFTERMATH).await;
    world.look_for_crashes();
    stop.cancel();
    let journals = listening.join_all().await;

    let violations = checker::check(&sent, &journals);
    let logs = world.logs();
    let complaints = complaints(world.complaints, &sent, &journals, &logs);
    Outcome { rounds, sent, journals, violations, complaints, memory, logs }
}

/// Waits until all senders have their acknowledgements. After `patience` they give up what they still try.
async fn all_sent(mut sending: JoinSet<Sent>, give_up: &CancellationToken, patience: Duration) -> Sent {
    let mut sent = Sent::default();
    let until = Instant::now() + patience;
    while !sending.is_empty() {
        match timeout_at(until, sending.join_next()).await {
            Ok(Some(one)) => sent = merge(sent, one.expect("a sender does not panic")),
            Ok(None) => {}
            Err(_) => give_up.cancel(),
        }
        if give_up.is_cancelled() {
            return std::mem::take(&mut sending).join_all().await.into_iter().fold(sent, merge);
        }
    }
    sent
}

/// Whatever may not happen beside a broken promise.
fn complaints(of_world: Vec<String>, sent: &Sent, journals: &[Journal], logs: &[(String, String)]) -> Vec<String> {
    let panics = logs.iter().filter(|(_, log)| log.contains("panicked at"));
    let panics = panics.map(|(name, _)| format!("{name} panicked, see its log"));
    let of_listeners =
        journals.iter().flat_map(|one| one.complaints.iter().map(|text| format!("{}: {text}", one.listener)));
    of_world.into_iter().chain(panics).chain(sent.complaints.iter().cloned()).chain(of_listeners).collect()
}

/// Goes through the plan. A fault that takes longer than planned to begin or to heal moves all that follow.
async fn break_and_heal(world: &mut World, script: &Script, clock: ActClock) -> (Vec<Round>, Vec<Memory>) {
    let mut watch = Watch::default();
    let mut late = Duration::ZERO;
    let mut done = Vec::new();
    for round in plan(script.seed, script.duration, &script.faults, &script.done, script.length) {
        if round.to() + late > script.duration {
            break;
        }
        let mut moments: Vec<_> = (0..round.strikes.len()).flat_map(|index| [(index, true), (index, false)]).collect();
        moments.sort_by_key(|(index, begins)| planned(&round.strikes[*index], *begins));
        let mut real = round.clone();
        for (index, begins) in moments {
            let at = planned(&round.strikes[index], begins) + late;
            watch.sample_until(world, clock, at).await;
            let strike = &mut real.strikes[index];
            if begins {
                strike.from = Duration::from_micros(clock.now());
                world.strike(strike).await;
            } else {
                world.heal(strike).await;
                strike.to = Duration::from_micros(clock.now());
            }
        }
        late += real.to().saturating_sub(round.to() + late);
        tell(&real, world);
        done.push(real);
    }
    watch.sample_until(world, clock, script.duration).await;
    (done, watch.servers)
}

const fn planned(strike: &Strike, begins: bool) -> Duration {
    if begins { strike.from } else { strike.to }
}

#[expect(clippy::print_stderr, reason = "progress for who waits")]
fn tell(round: &Round, world: &mut World) {
    let faults: Vec<_> = round.strikes.iter().map(|strike| world.describe(strike)).collect();
    let (from, to) = (round.from().as_secs_f64(), round.to().as_secs_f64());
    eprintln!("  {from:>6.1} s to {to:>6.1} s  {}", faults.join(" + "));
}

fn merge(mut all: Sent, one: Sent) -> Sent {
    all.acknowledged.extend(one.acknowledged);
    all.complaints.extend(one.complaints);
    all.retried += one.retried;
    all.repeated += one.repeated;
    all
}

/// Waits until every listener has what was acknowledged. Who does not get it in time has lost it.
async fn until_received(acknowledged: &[Acknowledged], progress: &[Arc<Progress>], catch_up: Duration) {
    let mut heads = HashMap::new();
    for one in acknowledged {
        let head = heads.entry(one.channel).or_default();
        *head = one.seq.max(*head);
    }
    let _late = timeout(catch_up, async {
        while !progress.iter().all(|progress| progress.has_reached(&heads)) {
            sleep(Duration::from_millis(50)).await;
        }
    })
    .await;
}
