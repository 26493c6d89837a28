//! One act: a system is started, loaded, broken by a plan, healed, and checked.

use std::{
    collections::{BTreeSet, HashMap},
    sync::Arc,
    time::Duration,
};

use chat_domain::ChannelId;
use chat_test_support::{http_api::HttpApi, system::TestUser};
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
    listener::{Listener, Progress, listen, listen_through_client},
    load::{Sender, supplied},
    plan::{Round, Strike, plan},
    world::{INSTANCES, MESSAGE_SERVERS, SERVERS, World},
};

/// How long listeners go on listening when they have everything: longer than heads are compared apart.
const AFTERMATH: Duration = Duration::from_secs(3);
/// How often the servers and their memory are looked at.
const SAMPLE_EVERY: Duration = Duration::from_millis(500);
/// Of ten listeners or senders, so many use the supplied client. As many listeners take breaks.
const OF_TEN: usize = 2;

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

/// The memory of a server over the act, in bytes.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Memory {
    pub(crate) server: String,
    pub(crate) first: u64,
    pub(crate) most: u64,
    pub(crate) last: u64,
}

pub(crate) async fn perform(script: &Script) -> Outcome {
    let mut world = World::start(script).await;
    let (channels, users) = stage(&world, script).await;
    let clock = ActClock::start();
    let (no_more_breaks, no_more_sends) = (CancellationToken::new(), CancellationToken::new());
    let (give_up, stop) = (CancellationToken::new(), CancellationToken::new());

    let mut progress = Vec::new();
    let mut listening = JoinSet::new();
    for listener in listeners(&world, script, &channels, &users, clock) {
        progress.push(Arc::clone(&listener.progress));
        if is_supplied(listening.len()) {
            listening.spawn(listen_through_client(listener, stop.clone()));
        } else {
            listening.spawn(listen(listener, no_more_breaks.clone(), stop.clone()));
        }
    }
    let mut sending = JoinSet::new();
    for sender in senders(&world, script, &channels, &users, clock) {
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

/// Channels that everybody may hear, and users who all may send to them: one per sender, and one for all listeners.
async fn stage(world: &World, script: &Script) -> (Vec<ChannelId>, Vec<TestUser>) {
    let mut users = Vec::new();
    for number in 0..=script.senders {
        users.push(world.system.user(&format!("chaos-{number}")).await);
    }
    let mut channels = Vec::new();
    for number in 0..script.channels {
        let members: Vec<_> = users.iter().skip(1).map(|user| user.id).collect();
        channels.push(users[0].api.create_channel("PUBLIC", &format!("chaos {number}"), &members).await);
    }
    (channels, users)
}

fn listeners(
    world: &World,
    script: &Script,
    channels: &[ChannelId],
    users: &[TestUser],
    clock: ActClock,
) -> Vec<Listener> {
    let urls: Vec<_> = (0..INSTANCES).map(|index| world.system.websocket_url(index)).collect();
    (0..script.listeners)
        .map(|number| {
            // Everyone begins elsewhere, so that all channels and all instances are listened to alike.
            let open = (0..script.open_channels).map(|step| (number + step * step) % channels.len());
            let mut open: Vec<_> = open.collect();
            open.sort_unstable();
            open.dedup();
            let progress = Arc::new(Progress::new(open.iter().copied()));
            let mut urls = urls.clone();
            if !script.crowded {
                urls.rotate_left(number % INSTANCES);
            }
            Listener {
                name: format!("listener-{number}"),
                token: users[0].token.clone(),
                urls,
                channels: open.into_iter().map(|index| (index, channels[index])).collect(),
                takes_breaks: takes_breaks(number),
                crowds: script.crowded,
                seed: script.seed.wrapping_add(number as u64),
                clock,
                progress,
            }
        })
        .collect()
}

const fn is_supplied(number: usize) -> bool {
    number % 10 < OF_TEN
}

const fn takes_breaks(number: usize) -> bool {
    number % 10 >= 10 - OF_TEN
}

fn senders(world: &World, script: &Script, channels: &[ChannelId], users: &[TestUser], clock: ActClock) -> Vec<Sender> {
    let urls: Vec<_> = (0..MESSAGE_SERVERS).map(|index| world.system.http_url(index)).collect();
    let each = Duration::from_secs_f64(script.senders as f64 / f64::from(script.rate));
    let sender = |(number, user): (usize, &TestUser)| Sender {
        servers: urls.iter().map(|url| user.api_at(url.clone())).collect::<Vec<HttpApi>>(),
        supplied: is_supplied(number).then(|| supplied(&urls[number % MESSAGE_SERVERS], &user.token)),
        channels: channels.to_vec(),
        interval: each,
        seed: script.seed.wrapping_mul(31).wrapping_add(number as u64),
        clock,
    };
    users.iter().skip(1).enumerate().map(sender).collect()
}

/// Goes through the plan. A fault that takes longer than planned to begin or to heal moves all that follow.
async fn break_and_heal(world: &mut World, script: &Script, clock: ActClock) -> (Vec<Round>, Vec<Memory>) {
    let mut watch = MemoryWatch::default();
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

#[derive(Default)]
struct MemoryWatch {
    servers: Vec<Memory>,
}

impl MemoryWatch {
    async fn sample_until(&mut self, world: &mut World, clock: ActClock, moment: Duration) {
        let until = clock.at(moment);
        loop {
            self.sample(world);
            let next = Instant::now() + SAMPLE_EVERY;
            sleep_until(next.min(until)).await;
            if next >= until {
                return;
            }
        }
    }

    fn sample(&mut self, world: &mut World) {
        world.look_for_crashes();
        for index in 0..SERVERS {
            let (server, process) = world.any_server(index);
            let Some(now) = process.resident_bytes() else { continue };
            match self.servers.iter_mut().find(|memory| memory.server == server) {
                Some(memory) => (memory.most, memory.last) = (memory.most.max(now), now),
                None => self.servers.push(Memory { server, first: now, most: now, last: now }),
            }
        }
    }
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
