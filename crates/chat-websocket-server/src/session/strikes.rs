use std::{num::NonZeroU32, time::Duration};

use governor::{
    Quota, RateLimiter,
    clock::{Clock, MonotonicClock},
    middleware::NoOpMiddleware,
    state::{InMemoryState, NotKeyed},
};

use crate::protocol::{CloseReason, ErrorCode, RequestId, ServerFrame, id_of};

/// Bad frames that are answered; the next one ends the session.
const BAD_FRAMES: u32 = 5;
/// Frames over the rate that are answered; the next one ends the session.
const FRAMES_OVER_RATE: u32 = 20;

/// By the clock of the standard library: the default one asks the processor what it is, for each session.
type Rate = RateLimiter<NotKeyed, InMemoryState, MonotonicClock, NoOpMiddleware<<MonotonicClock as Clock>::Instant>>;

/// How much misbehaviour a client is allowed: the first few times it is told, then the session ends.
#[derive(Debug)]
pub(super) struct Strikes {
    rate: Rate,
    over_rate: u32,
    bad: u32,
}

impl Strikes {
    pub(super) fn new(per_second: NonZeroU32, burst: NonZeroU32) -> Self {
        let quota = Quota::per_second(per_second).allow_burst(burst);
        Self { rate: RateLimiter::direct_with_clock(quota, MonotonicClock), over_rate: 0, bad: 0 }
    }

    /// Counts a frame. `Ok(Some(_))` is the refusal to send instead of serving it.
    pub(super) fn count_frame(&mut self, text: &str) -> Result<Option<ServerFrame>, CloseReason> {
        let Some(wait) = self.over_the_rate()? else { return Ok(None) };
        Ok(Some(ServerFrame::Error {
            id: id_of(text),
            channel_id: None,
            code: ErrorCode::RateLimited,
            message: "too many frames; this one was not served".into(),
            retryable: true,
            retry_after_ms: Some(u64::try_from(wait.as_millis()).unwrap_or(u64::MAX).max(1)),
        }))
    }

    /// Counts a ping or pong, which nobody serves: it takes time all the same.
    pub(super) fn count_sign_of_life(&mut self) -> Result<(), CloseReason> {
        self.over_the_rate().map(drop)
    }

    /// If a frame is over the rate: how long to wait until one is not.
    fn over_the_rate(&mut self) -> Result<Option<Duration>, CloseReason> {
        let Err(until) = self.rate.check() else {
            self.over_rate = 0;
            return Ok(None);
        };
        self.over_rate += 1;
        if self.over_rate > FRAMES_OVER_RATE {
            return Err(CloseReason::RateLimited);
        }
        Ok(Some(until.wait_time_from(MonotonicClock.now())))
    }

    /// Counts a frame that is not understood, and answers it.
    pub(super) fn bad_frame(&mut self, code: ErrorCode, message: &str) -> Result<ServerFrame, CloseReason> {
        self.bad += 1;
        if self.bad > BAD_FRAMES {
            return Err(if code == ErrorCode::UnknownFrame {
                CloseReason::UnknownFrame
            } else {
                CloseReason::BadFrame
            });
        }
        Ok(ServerFrame::error(None::<RequestId>, None, code, message))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn strikes(per_second: u32, burst: u32) -> Strikes {
        Strikes::new(NonZeroU32::new(per_second).unwrap(), NonZeroU32::new(burst).unwrap())
    }

    #[test]
    fn a_burst_is_served_then_refused_then_ended() {
        let mut strikes = strikes(1, 3);
        for _ in 0..3 {
            assert!(strikes.count_frame("{}").unwrap().is_none());
        }
        for _ in 0..FRAMES_OVER_RATE {
            assert!(matches!(
                strikes.count_frame("{}"),
                Ok(Some(ServerFrame::Error { code: ErrorCode::RateLimited, .. }))
            ));
        }
        assert_eq!(strikes.count_frame("{}").unwrap_err(), CloseReason::RateLimited);
    }

    #[test]
    fn bad_frames_are_answered_then_ended_with_their_own_code() {
        let mut strikes = strikes(100, 100);
        for _ in 0..BAD_FRAMES {
            assert!(strikes.bad_frame(ErrorCode::BadFrame, "no").is_ok());
        }
        assert_eq!(strikes.bad_frame(ErrorCode::UnknownFrame, "no").unwrap_err(), CloseReason::UnknownFrame);
        assert_eq!(strikes.bad_frame(ErrorCode::BadFrame, "no").unwrap_err(), CloseReason::BadFrame);
    }
}
