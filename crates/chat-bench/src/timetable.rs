//! When what is to be sent is to be sent.

use std::thread;
use std::time::{Duration, Instant};

use tokio::sync::mpsc::{self, Receiver};

/// Moments at equal distances, from now on.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Timetable {
    /// What moments are counted from.
    origin: Instant,
    first: Duration,
    per_second: f64,
    /// Of moments.
    pub(crate) count: usize,
}

impl Timetable {
    /// As many moments as fit into this time, at least one.
    pub(crate) fn new(origin: Instant, per_second: f64, duration: Duration) -> Self {
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "small and not negative")]
        let count = (per_second * duration.as_secs_f64()).round() as usize;
        Self { origin, first: origin.elapsed(), per_second, count: count.max(1) }
    }

    /// A moment, from the origin.
    pub(crate) fn moment(&self, number: usize) -> Duration {
        self.first + Duration::from_secs_f64(number as f64 / self.per_second)
    }

    /// How long a moment is over.
    pub(crate) fn late(&self, number: usize) -> Duration {
        self.origin.elapsed().saturating_sub(self.moment(number))
    }

    /// Tells so many listeners, by turns, when it is time, until none is left. It does that on a thread of its own: the
    /// timers of a runtime are exact to a millisecond or two, which would be much of what is measured.
    pub(crate) fn announce(self, listeners: usize) -> Vec<Receiver<usize>> {
        // There is room for all, so that who is slow does not hold up the next one.
        let room = self.count.div_ceil(listeners.max(1)).max(1);
        let (tell, listen): (Vec<_>, Vec<_>) = (0..listeners).map(|_| mpsc::channel(room)).unzip();
        thread::spawn(move || {
            for number in 0..self.count {
                let ahead = self.moment(number).saturating_sub(self.origin.elapsed());
                thread::sleep(ahead);
                if tell[number % listeners].blocking_send(number).is_err() {
                    return;
                }
            }
        });
        listen
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_are_as_many_moments_as_fit_into_the_time() {
        let count =
            |per_second, millis| Timetable::new(Instant::now(), per_second, Duration::from_millis(millis)).count;
        assert_eq!(count(200.0, 1_500), 300);
        assert_eq!(count(0.4, 10_000), 4);
        assert_eq!(count(0.4, 1_000), 1);
    }

    #[tokio::test]
    async fn nobody_is_told_before_it_is_time() {
        let timetable = Timetable::new(Instant::now(), 1_000.0, Duration::from_millis(20));
        let mut told = Vec::new();
        for mut listener in timetable.announce(3) {
            while let Some(number) = listener.recv().await {
                assert!(timetable.origin.elapsed() >= timetable.moment(number));
                told.push(number);
            }
        }
        told.sort_unstable();
        assert_eq!(told, (0..20).collect::<Vec<_>>());
        assert!(timetable.late(0) >= timetable.moment(19) - timetable.moment(0));
    }
}
