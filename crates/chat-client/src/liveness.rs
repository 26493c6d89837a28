//! Is the other side still there? After half a heartbeat of silence it is asked; after another half it counts as gone.

use std::time::Duration;

use tokio::time::Instant;

#[derive(Clone, Copy, Debug)]
pub(crate) struct Liveness {
    patience: Duration,
    since: Instant,
    asked: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Silence {
    /// Not long enough to mean anything.
    Short,
    /// Ask for a sign of life.
    Ask,
    /// It did not answer.
    Dead,
}

impl Liveness {
    pub(crate) fn new(heartbeat: Duration, now: Instant) -> Self {
        // A heartbeat of zero would make a loop that only pings.
        Self { patience: (heartbeat / 2).max(Duration::from_millis(50)), since: now, asked: false }
    }

    /// Something was heard, and all of it is dealt with: time spent on waiting for the owner is not silence.
    pub(crate) fn heard(&mut self, now: Instant) {
        self.since = now;
        self.asked = false;
    }

    /// When to look again.
    pub(crate) fn due(&self) -> Instant {
        self.since + self.patience
    }

    /// What the silence means; [`Silence::Ask`] is said once.
    pub(crate) fn check(&mut self, now: Instant) -> Silence {
        if now < self.due() {
            return Silence::Short;
        }
        if self.asked {
            return Silence::Dead;
        }
        self.asked = true;
        self.since = now;
        Silence::Ask
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn silence_is_asked_about_once_and_then_final() {
        let start = Instant::now();
        let at = |millis| start + Duration::from_millis(millis);
        let mut liveness = Liveness::new(Duration::from_secs(2), start);

        assert_eq!(liveness.check(at(999)), Silence::Short);
        assert_eq!(liveness.check(at(1_000)), Silence::Ask);
        assert_eq!(liveness.check(at(1_999)), Silence::Short);
        assert_eq!(liveness.check(at(2_000)), Silence::Dead);
    }

    #[tokio::test(start_paused = true)]
    async fn an_answer_starts_it_anew() {
        let start = Instant::now();
        let at = |millis| start + Duration::from_millis(millis);
        let mut liveness = Liveness::new(Duration::from_secs(2), start);

        liveness.check(at(1_000));
        liveness.heard(at(1_500));
        assert_eq!(liveness.check(at(2_499)), Silence::Short);
        assert_eq!(liveness.check(at(2_500)), Silence::Ask);
    }
}
