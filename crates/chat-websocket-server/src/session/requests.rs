//! What a client asks for, and what it is answered.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
    time::Duration,
};

use chat_domain::{ChannelId, Clock, Timestamp, UserId, ports::Access};
use common_auth::{Principal, UnixTime};
use rand::RngExt;
use tokio::time::Instant;
use tokio_tungstenite::tungstenite::Utf8Bytes;

use super::{
    Session,
    socket::Received,
    welcome::{check_status, issued_at, token_refused, verify},
};
use crate::{
    inquiries::{Answer, STORAGE_TIMEOUT},
    metrics::FrameType,
    protocol::{
        ChannelRequest, ClientFrame, CloseReason, ErrorCode, FrameError, RequestId, ServerFrame, UnsubscribeReason,
        VERSION,
    },
    room::control::Join,
};

/// Sessions that are sent away come back within this time, not all at once.
const RETURN_WINDOW: Duration = Duration::from_secs(1);

/// A token that never ends is looked at again after this long: a year, in milliseconds.
const LONGEST: i64 = 365 * 24 * 3_600 * 1_000;

/// When the session ends unless its token is renewed.
fn ends_at(expires_at: UnixTime, now: Timestamp) -> Timestamp {
    Timestamp::from_millis(expires_at.as_millis().min(now.as_millis() + LONGEST))
}

/// The same on the clock that timers go by.
pub(super) fn expiry(expires_at: UnixTime, clock: &dyn Clock) -> Instant {
    let now = clock.now();
    let left = ends_at(expires_at, now).as_millis().saturating_sub(now.as_millis());
    Instant::now() + Duration::from_millis(u64::try_from(left).unwrap_or(0))
}

impl Session {
    pub(super) async fn receive(&mut self, received: Received) -> Result<(), CloseReason> {
        match received {
            Received::Text(text) => self.obey(&text).await,
            Received::Binary => {
                self.context.metrics.received(FrameType::Bad);
                let error = self.strikes.bad_frame(ErrorCode::BadFrame, "binary frames are not understood")?;
                self.answer(&error);
                Ok(())
            }
            Received::Life => self.strikes.count_sign_of_life(),
        }
    }

    async fn obey(&mut self, text: &Utf8Bytes) -> Result<(), CloseReason> {
        if let Some(refusal) = self.strikes.count_frame(text)? {
            self.context.metrics.received(FrameType::RateLimited);
            self.answer(&refusal);
            return Ok(());
        }
        let frame = ClientFrame::parse(text);
        self.context.metrics.received(FrameType::of(&frame));
        match frame {
            Ok(ClientFrame::Auth { token }) => self.renew(&token).await?,
            Ok(ClientFrame::Subscribe { id, channels }) => self.subscribe(id, channels).await?,
            Ok(ClientFrame::Unsubscribe { id, channel_ids }) => self.unsubscribe(id.as_ref(), &channel_ids),
            Ok(ClientFrame::Ping { id }) => self.answer(&ServerFrame::Pong { id }),
            Err(error @ FrameError::Bad(_)) => {
                let answer = self.strikes.bad_frame(ErrorCode::BadFrame, &error.to_string())?;
                self.answer(&answer);
            }
            Err(error @ FrameError::Unknown(_)) => {
                let answer = self.strikes.bad_frame(ErrorCode::UnknownFrame, &error.to_string())?;
                self.answer(&answer);
            }
        }
        Ok(())
    }

    pub(super) fn hello(&self) -> ServerFrame {
        let limits = &self.context.limits;
        ServerFrame::Hello {
            protocol: VERSION,
            session_id: self.handle.id,
            user_id: self.handle.user_id,
            instance_id: self.context.instance_id,
            heartbeat_ms: u64::try_from(limits.heartbeat.as_millis()).unwrap_or(u64::MAX),
            max_frame_bytes: limits.frame_bytes,
            expires_at: ends_at(self.token_expires_at, self.context.clock.now()),
        }
    }

    /// A new token for the same user. A bad one changes nothing, nor does one that comes while storage is away: the old
    /// one goes on until it expires.
    async fn renew(&mut self, token: &str) -> Result<(), CloseReason> {
        let user_id = self.handle.user_id;
        let context = Arc::clone(&self.context);
        let standing = match self.meanwhile(check_status(user_id, &context, STORAGE_TIMEOUT)).await? {
            Ok(standing) => standing,
            Err(CloseReason::TryAgainLater) => {
                let message = "storage is away; the old token goes on";
                self.answer(&ServerFrame::error(None, None, ErrorCode::Unavailable, message));
                return Ok(());
            }
            Err(reason) => return Err(reason),
        };
        match verify(&self.context, token) {
            Ok(principal) if UserId::from(principal.user_id) != user_id => {
                let message = "the token is another user's";
                self.answer(&ServerFrame::error(None, None, ErrorCode::TokenInvalid, message));
            }
            Ok(principal) => match standing.check_token(&principal) {
                Ok(()) => self.go_by(&principal),
                Err(error) => self.answer(&token_refused(&error)),
            },
            Err(error) => self.answer(&token_refused(&error)),
        }
        // Only now: who comes with a new token in time stays, although the old one is void.
        self.context.hub.confirm_user(user_id, standing.tokens_valid_from, standing.read_at);
        Ok(())
    }

    fn go_by(&mut self, principal: &Principal) {
        self.handle.set_token_issued_at(issued_at(principal));
        self.expires_at = expiry(principal.expires_at, &*self.context.clock);
        self.token_expires_at = principal.expires_at;
        self.answer(&self.hello());
    }

    /// Channels that the request's address named, for clients that send no frames.
    pub(super) async fn subscribe_at_once(&mut self, channels: Vec<ChannelId>) -> Result<(), CloseReason> {
        let from_now = |channel_id| ChannelRequest { channel_id, after_seq: None, epoch: None, presence: false };
        self.subscribe(None, channels.into_iter().map(from_now).collect()).await
    }

    async fn subscribe(&mut self, id: Option<RequestId>, channels: Vec<ChannelRequest>) -> Result<(), CloseReason> {
        if channels.len() > self.context.limits.channels {
            let message = format!("at most {} channels may be open", self.context.limits.channels);
            self.answer(&ServerFrame::error(id, None, ErrorCode::TooManyChannels, &message));
            return Ok(());
        }
        let ids: Vec<_> = channels.iter().map(|channel| channel.channel_id).collect();
        if ids.iter().collect::<HashSet<_>>().len() < ids.len() {
            let message = "a channel is named twice; nothing was opened";
            self.answer(&ServerFrame::error(id, None, ErrorCode::BadFrame, message));
            return Ok(());
        }
        let (context, wish) = (Arc::clone(&self.context), (self.handle.user_id, ids));
        let asked = self.meanwhile(context.inquiries.access.ask(wish, STORAGE_TIMEOUT)).await?;
        let Some(Answer { answer, asked_at }) = asked else {
            let message = "storage is away; nothing was opened";
            self.answer(&ServerFrame::error(id, None, ErrorCode::Unavailable, message));
            return Ok(());
        };
        let access: HashMap<_, _> = answer.into_iter().map(|access| (access.head.channel_id, access)).collect();
        for channel in channels {
            let channel_id = channel.channel_id;
            if let Err((code, message)) = self.open(id.clone(), channel, access.get(&channel_id).copied(), asked_at) {
                self.answer(&ServerFrame::error(id.clone(), Some(channel_id), code, message));
            }
        }
        Ok(())
    }

    fn open(
        &self,
        request_id: Option<RequestId>,
        channel: ChannelRequest,
        access: Option<Access>,
        read_at: Instant,
    ) -> Result<(), (ErrorCode, &'static str)> {
        let access =
            access.filter(Access::may_listen).ok_or((ErrorCode::ChannelNotFound, "there is no such channel"))?;
        let channel_id = channel.channel_id;
        if !self.handle.add_channel(channel_id, self.context.limits.channels) {
            return Err((ErrorCode::TooManyChannels, "as many channels are open as may be"));
        }
        // A channel that stays noted because the room is busy is noted in vain until the next try, or the end.
        let (session, presence) = (Arc::clone(&self.handle), channel.presence);
        let join = Join { session, request_id, position: channel.position(), access, read_at, presence };
        self.context.hub.join(channel_id, join).map_err(|_| (ErrorCode::Unavailable, "the room is busy, try again"))
    }

    fn unsubscribe(&self, id: Option<&RequestId>, channels: &[ChannelId]) {
        for &channel_id in channels {
            let Some(answer) = self.handle.answer(id.cloned()) else {
                let message = "the rooms are busy, try again";
                self.answer(&ServerFrame::error(id.cloned(), Some(channel_id), ErrorCode::Unavailable, message));
                continue;
            };
            self.handle.forget_channel(channel_id);
            // The room answers, behind the last event that it queued. Without a room there is nothing to be behind of.
            if !self.context.hub.leave(channel_id, self.handle.id, answer) {
                let reason = UnsubscribeReason::Requested;
                self.answer(&ServerFrame::Unsubscribed { id: id.cloned(), channel_id, reason });
            }
        }
    }

    /// When this session leaves an instance that drains from this moment on: sessions leave spread over the window. Who hears
    /// of it late may have to leave at once, or the instance would end before.
    pub(super) fn pick_leaving(&self, from: Instant) -> Instant {
        from + self.context.limits.drain_window.mul_f64(rand::rng().random_range(0.0..1.0))
    }

    /// Tells the client to come back, to another instance.
    pub(super) async fn send_away(&mut self) -> Result<(), CloseReason> {
        let after = RETURN_WINDOW.mul_f64(rand::rng().random_range(0.0..1.0));
        self.answer(&ServerFrame::Reconnect { after_ms: u64::try_from(after.as_millis()).unwrap_or(0) });
        self.send_waiting().await
    }

    fn answer(&self, frame: &ServerFrame) {
        self.handle.outbox.push(frame.encode());
    }
}
