//! How many requests a user may make.

use std::{num::NonZeroU32, time::Duration};

use chat_domain::UserId;
use governor::{
    DefaultKeyedRateLimiter, Quota, RateLimiter,
    clock::{Clock, DefaultClock},
};

use crate::config::LimitsConfig;

/// Counts requests by user.
pub(crate) struct RequestLimits {
    /// `None` if requests are not limited.
    limiter: Option<DefaultKeyedRateLimiter<UserId>>,
    clock: DefaultClock,
    burst: u32,
}

/// The request was one too many.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Throttled {
    /// Requests allowed at once.
    pub(crate) burst: u32,
    /// Time until the next one is.
    pub(crate) wait: Duration,
}

impl RequestLimits {
    /// Limits as configured.
    pub(crate) fn new(config: &LimitsConfig) -> Self {
        let quota = NonZeroU32::new(config.requests_per_second).map(|rate| {
            let burst = NonZeroU32::new(config.burst).unwrap_or(rate);
            Quota::per_second(rate).allow_burst(burst)
        });
        Self {
            burst: quota.map_or(0, |quota| quota.burst_size().get()),
            limiter: quota.map(RateLimiter::dashmap),
            clock: DefaultClock::default(),
        }
    }

    /// Counts a request of this user.
    pub(crate) fn check(&self, user_id: UserId) -> Result<(), Throttled> {
        let Some(limiter) = &self.limiter else { return Ok(()) };
        limiter
            .check_key(&user_id)
            .map_err(|until| Throttled { burst: self.burst, wait: until.wait_time_from(self.clock.now()) })
    }

    /// Forgets who has not asked lately. Called now and then, so that what is remembered are the users of the last
    /// seconds, each of whom showed a valid token.
    pub(crate) fn forget_idle(&self) {
        if let Some(limiter) = &self.limiter {
            limiter.retain_recent();
            limiter.shrink_to_fit();
        }
    }

    #[cfg(test)]
    fn remembered(&self) -> usize {
        self.limiter.as_ref().map_or(0, RateLimiter::len)
    }
}

#[cfg(test)]
mod tests {
    use chat_domain::Timestamp;

    use super::*;

    fn limits(requests_per_second: u32, burst: u32) -> RequestLimits {
        RequestLimits::new(&LimitsConfig { requests_per_second, burst, ..LimitsConfig::default() })
    }

    #[test]
    fn a_user_may_burst_and_then_has_to_wait_while_others_may_go_on() {
        let limits = limits(1, 3);
        let (one, other) = (UserId::new(Timestamp::from_millis(0)), UserId::new(Timestamp::from_millis(0)));

        for _ in 0..3 {
            assert_eq!(limits.check(one), Ok(()));
        }
        let throttled = limits.check(one).unwrap_err();
        assert_eq!(throttled.burst, 3);
        assert!(throttled.wait <= Duration::from_secs(1));
        assert_eq!(limits.check(other), Ok(()));
    }

    #[test]
    fn zero_means_no_limit() {
        let limits = limits(0, 0);
        let user = UserId::new(Timestamp::from_millis(0));
        assert!((0..10_000).all(|_| limits.check(user).is_ok()));
        limits.forget_idle();
    }

    #[test]
    fn idle_users_are_forgotten() {
        let limits = limits(1_000_000, 1);
        for millis in 0..50 {
            limits.check(UserId::new(Timestamp::from_millis(millis))).unwrap();
        }
        let deadline = std::time::Instant::now() + Duration::from_secs(5);
        while limits.remembered() > 0 && std::time::Instant::now() < deadline {
            limits.forget_idle();
        }
        assert_eq!(limits.remembered(), 0);
    }
}
