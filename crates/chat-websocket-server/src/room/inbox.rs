//! What waits for a room's task: payloads from the bus, and wishes of sessions, replays and the reconciler.
//!
//! Payloads are hints: the ones that do not fit are dropped, and the room is told to compare heads with the log. Wishes are
//! never dropped silently: who makes one is told that the room is busy.

use std::collections::VecDeque;

use bytes::Bytes;
use parking_lot::Mutex;
use tokio::sync::Notify;

use super::control::Control;
use crate::frame::UncheckedFrame;

/// Most payloads that wait. A room takes all of them at once, so this is what comes in while it serves the ones before.
const PAYLOADS: usize = 1_024;
/// Most bytes of payloads that wait.
const PAYLOAD_BYTES: usize = 1024 * 1024;
/// Most signals of who came and went that wait. What does not fit is dropped, and the whole is asked for again.
const PRESENCES: usize = 256;
/// Most wishes that wait, but for reports: more than the sessions of an instance make while a room opens.
const WISHES: usize = 16_384;

/// The bounded queue of one room.
#[derive(Debug, Default)]
pub struct Inbox {
    state: Mutex<State>,
    filled: Notify,
}

#[derive(Debug, Default)]
struct State {
    waiting: Waiting,
    payload_bytes: usize,
}

/// What was waiting for a room.
#[derive(Debug, Default)]
pub struct Waiting {
    /// Payloads in the order in which they came.
    pub payloads: VecDeque<UncheckedFrame>,
    /// Wishes in the order in which they came.
    pub controls: VecDeque<Control>,
    /// Payloads were dropped.
    pub overrun: bool,
    /// Signals of who came and went.
    pub presences: Vec<Bytes>,
    /// Some of these were lost.
    pub presence_lost: bool,
}

/// The room has too much to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Busy;

impl Inbox {
    /// Queues a payload from the bus, or takes note that it was dropped. It is copied, as the frame that goes out.
    pub fn publish(&self, payload: &[u8]) {
        let mut state = self.state.lock();
        let full = state.waiting.payloads.len() >= PAYLOADS || state.payload_bytes + payload.len() > PAYLOAD_BYTES;
        if full {
            state.waiting.overrun = true;
        } else {
            state.payload_bytes += payload.len();
            state.waiting.payloads.push_back(UncheckedFrame::new(payload));
        }
        drop(state);
        self.filled.notify_one();
    }

    /// Queues a signal of who came and went.
    pub fn tell_presence(&self, payload: &[u8]) {
        let mut state = self.state.lock();
        if state.waiting.presences.len() < PRESENCES {
            state.waiting.presences.push(Bytes::copy_from_slice(payload));
        } else {
            state.waiting.presence_lost = true;
        }
        drop(state);
        self.filled.notify_one();
    }

    /// Takes note that such signals may have been lost.
    pub fn doubt_presence(&self) {
        self.state.lock().waiting.presence_lost = true;
        self.filled.notify_one();
    }

    /// Queues a wish.
    pub fn control(&self, control: Control) -> Result<(), Busy> {
        let mut state = self.state.lock();
        if state.waiting.controls.len() >= WISHES {
            return Err(Busy);
        }
        state.waiting.controls.push_back(control);
        drop(state);
        self.filled.notify_one();
        Ok(())
    }

    /// Queues what the room must learn: that a session leaves or is gone, that a replay is done. Sessions bound how many
    /// answers they are owed; of the others there is at most one for every wish that was taken in.
    pub fn report(&self, control: Control) {
        self.state.lock().waiting.controls.push_back(control);
        self.filled.notify_one();
    }

    /// Waits until there is something to take.
    pub async fn filled(&self) {
        self.filled.notified().await;
    }

    /// Takes all that waits.
    pub fn take(&self) -> Waiting {
        let mut state = self.state.lock();
        state.payload_bytes = 0;
        std::mem::take(&mut state.waiting)
    }

    /// Takes the payloads that wait, and nothing else.
    pub fn take_payloads(&self) -> VecDeque<UncheckedFrame> {
        let mut state = self.state.lock();
        state.payload_bytes = 0;
        std::mem::take(&mut state.waiting.payloads)
    }

    /// Does nobody wish anything?
    pub fn is_idle(&self) -> bool {
        self.state.lock().waiting.controls.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn payloads_that_do_not_fit_are_dropped_and_told() {
        let inbox = Inbox::default();
        for _ in 0..PAYLOADS {
            inbox.publish(b"x");
        }
        assert!(!inbox.state.lock().waiting.overrun);
        inbox.publish(b"x");
        let waiting = inbox.take();
        assert_eq!((waiting.payloads.len(), waiting.overrun), (PAYLOADS, true));
        inbox.publish(b"x");
        assert_eq!(inbox.take_payloads().len(), 1);
        assert!(!inbox.take().overrun, "there is room again");
    }

    #[test]
    fn payload_bytes_are_bounded_too() {
        let inbox = Inbox::default();
        inbox.publish(&vec![0; PAYLOAD_BYTES]);
        inbox.publish(b"x");
        let waiting = inbox.take();
        assert_eq!((waiting.payloads.len(), waiting.overrun), (1, true));
    }

    #[test]
    fn wishes_that_do_not_fit_are_refused() {
        let inbox = Inbox::default();
        let leave = || Control::Leave { session_id: uuid::Uuid::nil(), answer: None };
        for _ in 0..WISHES {
            assert_eq!(inbox.control(leave()), Ok(()));
        }
        assert_eq!(inbox.control(leave()), Err(Busy));
        inbox.report(leave());
        assert_eq!(inbox.state.lock().waiting.controls.len(), WISHES + 1, "a report is never refused");
        assert!(!inbox.is_idle());
        inbox.take();
        assert!(inbox.is_idle());
    }
}
