//! A room that is open: what it does with what it hears and is asked.

mod join;

use std::{
    collections::VecDeque,
    future::Future,
    pin::{Pin, pin},
    sync::Arc,
};

use chat_domain::{
    ChannelType, Epoch, UserId,
    ports::{Head, LoggedEvent, StorageError},
};
use common_logging::trace::SpanKind;
use futures_util::future::OptionFuture;
use tokio::time::{Instant, sleep, sleep_until};
use tracing::warn;
use uuid::Uuid;

use super::{
    Room, RoomStatus,
    control::{Answer, Control},
    delivery::{Courier, Parcel},
    departures::Departures,
    event::{Effect, Published, RoomEvent, Traced},
    heat::Heat,
    presence::Presence,
    recent::Recent,
    sequencer::{Sequencer, Verdict},
    share::Share,
    subscribers::Subscribers,
    turn::{self, Turn},
};
use crate::{
    frame::UncheckedFrame,
    protocol::{CloseReason, ServerFrame, UnsubscribeReason},
    reader::LogReader,
    session::SessionHandle,
};

type LogRead = Pin<Box<dyn Future<Output = ReadEnd> + Send>>;

/// How a read of the log ended.
struct ReadEnd {
    /// When it began.
    began: Instant,
    /// The last event before those that were read.
    after: u64,
    result: Result<Vec<LoggedEvent>, StorageError>,
}

pub(super) struct OpenRoom {
    room: Room,
    epoch: Epoch,
    sequencer: Sequencer,
    recent: Recent,
    subscribers: Subscribers,
    departures: Departures,
    /// Known from the first join on.
    channel_type: Option<ChannelType>,
    closed: bool,
    replays: u64,
    empty_since: Option<Instant>,
    /// Events on their way out; kept for its memory.
    ready: Vec<RoomEvent>,
    /// What its sessions were given to write.
    turn: Turn,
    /// Frames that those who came were given since others last had the processor for it.
    given: u64,
    courier: Courier,
    held: Share,
    remembered: Share,
    /// When there were last events to remember.
    remembered_at: Instant,
    /// When it looks whether to forget them.
    remembers_until: Option<Instant>,
    heat: Heat,
    /// A read of the log that is under way.
    read: Option<LogRead>,
    presence: Presence,
}

impl OpenRoom {
    /// A room that delivers every event after `head`.
    pub(super) fn new(room: Room, head: Head) -> Self {
        let limits = room.context.limits;
        let mut this = Self {
            turn: Turn::default(),
            given: 0,
            courier: Courier::new(Arc::clone(&room.context.metrics), Arc::clone(&room.context.clock)),
            heat: Heat::new(limits.coalesce, Instant::now()),
            held: Share::held_back(&room.context.metrics),
            remembered: Share::remembered(&room.context.metrics),
            remembered_at: Instant::now(),
            remembers_until: None,
            presence: Presence::new(
                room.channel_id,
                Arc::clone(&room.context.registry),
                Arc::clone(&room.context.subscriber),
            ),
            room,
            epoch: head.epoch,
            sequencer: Sequencer::new(head.head_seq, limits.sequencer),
            recent: Recent::new(head.head_seq, limits.recent),
            subscribers: Subscribers::default(),
            departures: Departures::since(head.head_seq),
            channel_type: None,
            closed: false,
            replays: 0,
            empty_since: Some(Instant::now()),
            ready: Vec::new(),
            read: None,
        };
        this.settle();
        this
    }

    pub(super) async fn serve(mut self, may_end: impl Fn() -> bool) {
        let inbox = Arc::clone(&self.room.handle.inbox);
        // One for all turns of the loop, most of which change nothing about it.
        let mut timer = pin!(sleep_until(Instant::now()));
        loop {
            let ends_at = self.empty_since.map(|since| since + self.room.context.limits.linger);
            let wake_at = [self.sequencer.read_at(), ends_at, self.presence.wake_at(), self.remembers_until];
            let wake_at = wake_at.into_iter().flatten().min();
            if let Some(at) = wake_at.filter(|at| *at != timer.deadline()) {
                timer.as_mut().reset(at);
            }
            tokio::select! {
                () = inbox.filled() => {
                    self.collect().await;
                    self.turn.go_on(Instant::now());
                    self.take_inbox().await;
                }
                Some(end) = OptionFuture::from(self.read.as_mut()) => {
                    self.read = None;
                    self.turn.go_on(Instant::now());
                    self.end_read(end).await;
                }
                Some(listed) = OptionFuture::from(self.presence.read()) => {
                    self.presence.end_read(listed, &mut self.subscribers, Instant::now());
                }
                () = timer.as_mut(), if wake_at.is_some() => {}
            }
            let now = Instant::now();
            self.presence.settle(&mut self.subscribers, now);
            if self.remembers_until.is_some_and(|until| until <= now) {
                self.forget_if_idle(now);
            }
            if let Some(after) = self.sequencer.begin_read(now) {
                self.read = Some(self.read_log(after));
            }
            if ends_at.is_some_and(|at| at <= now) && self.empty_since.is_some() && may_end() {
                return;
            }
        }
    }

    /// If the room is hot, waits until there are more events to deliver together.
    async fn collect(&mut self) {
        if let Some(wait) = self.heat.wait(self.subscribers.len(), Instant::now()) {
            self.room.context.metrics.coalesced.inc();
            sleep(wait).await;
        }
    }

    async fn take_inbox(&mut self) {
        let waiting = self.room.handle.inbox.take();
        if waiting.overrun {
            self.room.context.metrics.overruns.inc();
            self.doubt();
        }
        self.hear_all(waiting.payloads).await;
        for control in waiting.controls {
            self.obey(control);
            // When thousands come back, each is given what it has missed: others have their time meanwhile, and what is
            // published does not wait for all who come.
            if self.given >= turn::FRAMES as u64 {
                self.given = 0;
                tokio::task::yield_now().await;
                self.hear_all(self.room.handle.inbox.take_payloads()).await;
            }
        }
        if waiting.presence_lost {
            self.presence.doubt(&mut self.subscribers);
        }
        if let Err(error) = self.presence.hear(waiting.presences, &mut self.subscribers, Instant::now()) {
            self.skip(&error);
        }
        self.settle();
    }

    fn skip(&self, reason: &dyn std::error::Error) {
        self.room.context.metrics.malformed.inc();
        warn!(channel.id = %self.room.channel_id, reason = %reason, "payload skipped");
    }

    async fn hear_all(&mut self, mut payloads: VecDeque<UncheckedFrame>) {
        self.heat.add(payloads.len(), Instant::now());
        while !payloads.is_empty() {
            let some = payloads.len().min(turn::FRAMES);
            for payload in payloads.drain(..some) {
                self.hear(payload).await;
            }
            self.deliver_ready().await;
        }
    }

    async fn hear(&mut self, payload: UncheckedFrame) {
        let metrics = &self.room.context.metrics;
        match Published::parse(self.room.channel_id, payload) {
            Ok(Published::Event(event)) => match self.sequencer.offer(event, Instant::now(), &mut self.ready) {
                Verdict::InOrder => {}
                Verdict::Duplicate => {
                    metrics.duplicates.inc();
                }
                Verdict::HeldBack | Verdict::Forgotten => {
                    metrics.out_of_order.inc();
                }
            },
            Ok(Published::Signal(frame)) => {
                self.deliver_ready().await;
                self.turn.add(frame.len());
                self.courier.deliver(Parcel::signal(frame), self.subscribers.list()).await;
                self.turn.give_way(&self.subscribers).await;
            }
            Err(reason) => self.skip(&reason),
        }
    }

    fn obey(&mut self, control: Control) {
        match control {
            Control::Join(join) => self.join(join),
            Control::Leave { session_id, answer } => self.leave(session_id, answer),
            Control::CaughtUp { session_id, replay, from, after, page } => {
                if let Some(subscriber) = self.subscribers.take_caught_up(session_id, replay) {
                    // Who is not alone here is hardly the only one to come back, and the others need not read.
                    if !self.subscribers.is_empty() {
                        self.recent.reach_back(after, page.events(from, after));
                        self.remember_for_a_while();
                    }
                    self.catch_up(subscriber, after);
                }
            }
            Control::Head(head) => self.learn_head(head),
            // Once they are gone, the room is soon.
            Control::Gone if self.subscribers.is_empty() => {}
            Control::Gone => {
                warn!(channel.id = %self.room.channel_id, "the log is not there any more, its sessions start anew");
                self.subscribers.close(CloseReason::TryAgainLater);
            }
        }
    }

    fn leave(&mut self, session_id: Uuid, answer: Option<Answer>) {
        self.subscribers.remove(session_id);
        let Some(Answer { session, request_id: id, .. }) = answer else { return };
        let channel_id = self.room.channel_id;
        // If the join came here after the client had changed its mind, it noted the channel again.
        session.forget_channel(channel_id);
        let frame = ServerFrame::Unsubscribed { id, channel_id, reason: UnsubscribeReason::Requested };
        session.outbox.push(frame.encode());
    }

    fn unsubscribe(&self, session: &Arc<SessionHandle>, reason: UnsubscribeReason) {
        let channel_id = self.room.channel_id;
        session.forget_channel(channel_id);
        session.outbox.push(ServerFrame::Unsubscribed { id: None, channel_id, reason }.encode());
    }

    /// The log goes up to here. If it is another log, restored from a backup, or has no longer what this room would deliver
    /// next, the sessions are sent away: when they come back, they are checked against the memberships of that log, and told
    /// if something is gone for good.
    pub(super) fn learn_head(&mut self, head: Head) {
        let has_next = head.oldest_seq <= self.sequencer.delivered() + 1;
        if head.epoch == self.epoch && has_next {
            return self.sequencer.observe_head(head.head_seq, Instant::now());
        }
        let what = if has_next { "replaced" } else { "cut off before what comes next" };
        warn!(channel.id = %self.room.channel_id, "the log was {what}, its sessions start anew");
        let limits = self.room.context.limits;
        self.subscribers.close(CloseReason::TryAgainLater);
        self.epoch = head.epoch;
        self.sequencer = Sequencer::new(head.head_seq, limits.sequencer);
        self.recent = Recent::new(head.head_seq, limits.recent);
        self.departures = Departures::since(head.head_seq);
        self.closed = false;
        self.read = None;
    }

    /// What this room knows of the log may be wrong: it is compared with it soon.
    fn doubt(&self) {
        self.room.handle.confirmation.lock().doubt(Instant::now());
        self.room.context.compare_heads.notify_one();
    }

    fn read_log(&self, after: u64) -> LogRead {
        if !self.room.context.limits.repair {
            // A read that never ends: no other one begins.
            return Box::pin(std::future::pending());
        }
        let (reader, channel_id) = (Arc::clone(&self.room.context.reader), self.room.channel_id);
        Box::pin(async move {
            let began = Instant::now();
            ReadEnd { began, after, result: reader.repair(channel_id, after).await }
        })
    }

    async fn end_read(&mut self, end: ReadEnd) {
        let ReadEnd { began, after, result } = end;
        let now = Instant::now();
        let metrics = Arc::clone(&self.room.context.metrics);
        match result {
            Ok(logged) => {
                // An entry that does not decode leaves a hole, which is read again and again, and never skipped.
                let events = logged.iter().filter_map(|event| RoomEvent::from_log(event).ok()).collect();
                let log_end = LogReader::end(&logged, after);
                let repair = self.sequencer.read_done(events, log_end, now, &mut self.ready);
                metrics.repaired.inc_by(repair.events);
                if repair.events == 0 && self.sequencer.read_at().is_some() {
                    // What has to come next is not there: perhaps it is no longer kept.
                    self.doubt();
                } else if log_end.is_some() {
                    self.room.handle.confirmation.lock().confirm(began);
                }
                if repair.disproved {
                    metrics.disproved.inc();
                    warn!(channel.id = %self.room.channel_id, "the bus brought an event that the log does not have");
                }
                self.deliver_ready().await;
            }
            Err(error) => {
                warn!(channel.id = %self.room.channel_id, error = %error, "a hole cannot be read from the log yet");
                self.sequencer.read_failed(now);
            }
        }
        self.settle();
    }

    /// Delivers what is ready: runs of events go to each session together, and an event that ends somebody's listening
    /// is the last that it gets. Between turns the sessions write.
    async fn deliver_ready(&mut self) {
        let mut ready = std::mem::take(&mut self.ready);
        let mut rest = ready.as_slice();
        while !rest.is_empty() {
            let run;
            (run, rest) = self.turn.cut(rest);
            self.deliver(run).await;
            self.turn.give_way(&self.subscribers).await;
        }
        ready.clear();
        // After a burst the memory goes back: thousands of rooms would keep it.
        ready.shrink_to(turn::FRAMES);
        self.ready = ready;
    }

    /// Delivers events of which only the last may have an effect.
    async fn deliver(&mut self, run: &[RoomEvent]) {
        for event in run {
            self.recent.push(event.frame.clone());
        }
        self.remember_for_a_while();
        let metrics = &self.room.context.metrics;
        metrics.events.inc_by(run.len() as u64);
        self.courier.deliver(Parcel::events(run), self.subscribers.list()).await;
        for event in run {
            if let Some(traced) = &event.traced {
                self.record(event.seq, traced);
            }
        }
        match run.last() {
            Some(RoomEvent { seq, effect: Some(Effect::Left(user_id)), .. }) => self.part_with(*user_id, *seq),
            Some(RoomEvent { effect: Some(Effect::Closed), .. }) => self.close(),
            _ => {}
        }
    }

    /// Records that an event was delivered, from when it was heard until now.
    fn record(&self, seq: u64, traced: &Traced) {
        let Some(span) = self.room.context.tracer.span(traced.publication, SpanKind::Consumer, "deliver") else {
            return;
        };
        let mut span = span.since(traced.heard_at.into_std());
        span.set("messaging.system", "redis");
        span.set("messaging.operation.type", "process");
        span.set("chat.channel.id", self.room.channel_id.to_string());
        span.set("chat.seq", i64::try_from(seq).unwrap_or(i64::MAX));
        span.set("chat.sessions", i64::try_from(self.subscribers.receivers(seq)).unwrap_or(i64::MAX));
    }

    fn part_with(&mut self, user_id: UserId, seq: u64) {
        self.departures.add(seq, user_id);
        if self.channel_type == Some(ChannelType::Public) {
            return;
        }
        if !self.subscribers.is_back(user_id, seq) {
            self.room.context.registry.withdraw(user_id, self.room.channel_id);
        }
        for session_id in self.subscribers.of_departed(user_id, seq) {
            if let Some(subscriber) = self.subscribers.remove(session_id) {
                self.unsubscribe(&subscriber.session, UnsubscribeReason::Removed);
            }
        }
    }

    /// Who is still being caught up is told when that is done.
    fn close(&mut self) {
        self.closed = true;
        let live: Vec<_> = self.subscribers.live().map(|one| one.session.id).collect();
        for session_id in live {
            if let Some(subscriber) = self.subscribers.remove(session_id) {
                self.unsubscribe(&subscriber.session, UnsubscribeReason::ChannelClosed);
            }
        }
    }

    /// The moment at which it looks is not moved with each event: then it sees that there were some.
    fn remember_for_a_while(&mut self) {
        let now = Instant::now();
        self.remembered_at = now;
        self.remembers_until.get_or_insert(now + self.room.context.limits.recent.idle);
    }

    fn forget_if_idle(&mut self, now: Instant) {
        let until = self.remembered_at + self.room.context.limits.recent.idle;
        self.remembers_until = (until > now).then_some(until);
        if self.remembers_until.is_none() {
            self.forget();
        }
    }

    /// Who comes back is brought on from the log.
    fn forget(&mut self) {
        self.recent.forget();
        self.remembered.set(0);
    }

    /// Lets others see how far the room is, and starts or stops its linger.
    fn settle(&mut self) {
        self.empty_since = match (self.subscribers.is_empty(), self.empty_since) {
            (false, _) => None,
            (true, since) => since.or_else(|| Some(Instant::now())),
        };
        if !self.held.set(self.sequencer.held_bytes()) {
            self.sequencer.forget_held();
            self.held.set(0);
        }
        if !self.remembered.set(self.recent.memory()) {
            self.forget();
        }
        let (delivered, sessions) = (self.sequencer.delivered(), self.subscribers.len());
        let status = RoomStatus { delivered, epoch: self.epoch, sessions };
        *self.room.handle.status.lock() = Some(status);
    }
}
