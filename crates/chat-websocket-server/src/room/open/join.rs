//! How a session comes into a room: at its position, brought on from there, or told that it has to begin anew.

use std::{iter, sync::Arc};

use chat_domain::{ChannelType, ports::Head};
use tokio_util::sync::CancellationToken;

use super::OpenRoom;
use crate::{
    protocol::{ErrorCode, Position, RequestId, ResetReason, ServerFrame, UnsubscribeReason},
    reader::Log,
    room::{
        control::Join,
        replay::Replay,
        subscribers::{Progress, Subscriber, Watch},
    },
    session::SessionHandle,
};

impl OpenRoom {
    pub(super) fn join(&mut self, join: Join) {
        let Join { session, request_id, position, access, read_at, presence } = join;
        self.subscribers.remove(session.id);
        // Whoever closes the session afterwards finds the channel noted and takes it out here again.
        session.add_channel(self.room.channel_id, usize::MAX);
        if session.outbox.closed().is_some() {
            return;
        }
        let seq = access.head.head_seq;
        if access.head.epoch != self.epoch {
            // Either this room or what was read is out of date; the comparison with the log will tell.
            self.doubt();
            return self.turn_away(&session, request_id);
        }
        self.channel_type = Some(access.channel_type);
        self.learn_head(access.head);
        self.room.handle.confirmation.lock().confirm(read_at);
        self.closed |= !access.active && self.sequencer.delivered() >= seq;

        if access.channel_type != ChannelType::Public && self.departures.may_have_left(session.user_id, seq) {
            // When it asks again, storage knows.
            return self.turn_away(&session, request_id);
        }
        let watch = if presence { Watch::Owed } else { Watch::No };
        let subscriber =
            Subscriber { session, request_id, progress: Progress::Live(0), checked_at: seq, replayed: 0, watch };
        let Some(position) = position else { return self.go_live(subscriber, self.sequencer.delivered()) };
        match self.useless(&position, access.head) {
            Some(reason) => self.reset(subscriber, reason, access.head),
            None => self.catch_up(subscriber, position.seq),
        }
    }

    /// Why the log cannot bring a client on from this position, if so.
    fn useless(&self, position: &Position, head: Head) -> Option<ResetReason> {
        let newest = head.head_seq.max(self.sequencer.delivered());
        let other_epoch = position.epoch.as_ref().is_some_and(|epoch| *epoch != self.epoch.to_string());
        if other_epoch || position.seq > newest {
            return Some(ResetReason::EpochChanged);
        }
        if position.seq + 1 < head.oldest_seq {
            return Some(ResetReason::TooOld);
        }
        (newest - position.seq > self.room.context.limits.replay).then_some(ResetReason::TooMany)
    }

    /// Brings a session from `after` to where the room is: from memory if possible, else from the log.
    pub(super) fn catch_up(&mut self, mut subscriber: Subscriber, after: u64) {
        let delivered = self.sequencer.delivered();
        if after >= delivered {
            // It may even be ahead of this room: what it has is not sent again.
            return self.go_live(subscriber, after);
        }
        let missing = delivered - after;
        subscriber.replayed += missing;
        let caught_up = self.recent.after(after).is_some_and(|frames| {
            // With what says that this was all, so that both go out in one write.
            let frames = frames.cloned().chain(iter::once(subscriber.subscribed(self.log(), delivered)));
            subscriber.session.outbox.push_if_space(frames)
        });
        if caught_up {
            self.given += missing;
            return self.let_in(subscriber, delivered);
        }
        self.replays += 1;
        let ended = CancellationToken::new();
        let replay = Replay {
            log: self.log(),
            number: self.replays,
            after,
            upto: delivered,
            ended: ended.clone(),
            room: Arc::clone(&self.room.handle.inbox),
        };
        subscriber.session.replays.add(replay, &subscriber.session, &self.room.context);
        subscriber.progress = Progress::CatchingUp { replay: self.replays, _ended: ended.drop_guard() };
        self.subscribers.insert(subscriber);
    }

    fn go_live(&mut self, subscriber: Subscriber, has: u64) {
        subscriber.session.outbox.push(subscriber.subscribed(self.log(), has));
        self.let_in(subscriber, has);
    }

    /// From now on a session that was told so is sent what the room delivers.
    fn let_in(&mut self, mut subscriber: Subscriber, has: u64) {
        if self.closed && has >= self.sequencer.delivered() {
            return self.unsubscribe(&subscriber.session, UnsubscribeReason::ChannelClosed);
        }
        self.given += 1;
        subscriber.request_id = None;
        subscriber.progress = Progress::Live(has + 1);
        self.subscribers.insert(subscriber);
    }

    fn reset(&mut self, subscriber: Subscriber, reason: ResetReason, head: Head) {
        let head_seq = self.sequencer.delivered();
        let (channel_id, epoch) = (self.room.channel_id, self.epoch);
        let reset = ServerFrame::Reset { channel_id, reason, head_seq, oldest_seq: head.oldest_seq, epoch };
        subscriber.session.outbox.push(reset.encode());
        self.go_live(subscriber, head_seq);
    }

    fn turn_away(&self, session: &Arc<SessionHandle>, id: Option<RequestId>) {
        let channel_id = self.room.channel_id;
        session.forget_channel(channel_id);
        let error = ServerFrame::error(id, Some(channel_id), ErrorCode::Unavailable, "the room is busy, try again");
        session.outbox.push(error.encode());
    }

    const fn log(&self) -> Log {
        Log { channel_id: self.room.channel_id, epoch: self.epoch }
    }
}
