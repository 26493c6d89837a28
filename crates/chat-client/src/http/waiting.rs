//! Who sends next: one message of a channel at a time, in the order in which they came.

use std::{collections::HashMap, sync::Arc};

use chat_domain::ChannelId;
use parking_lot::Mutex;
use tokio::sync::{OwnedMutexGuard, OwnedSemaphorePermit, Semaphore};

use super::HttpError;

/// A fair lock for each channel in which somebody sends.
#[derive(Debug)]
pub(super) struct Waiting {
    lines: Arc<Mutex<Lines>>,
    /// The bound of all that wait or send. Who comes when it is reached is refused at once.
    places: Arc<Semaphore>,
}

type Lines = HashMap<ChannelId, Arc<tokio::sync::Mutex<()>>>;

/// The right to send in a channel.
#[derive(Debug)]
pub(super) struct Turn {
    _place: OwnedSemaphorePermit,
    _lock: OwnedMutexGuard<()>,
    _in_line: InLine,
}

/// Somebody who waits or sends: the last one takes the line away.
#[derive(Debug)]
struct InLine {
    channel: ChannelId,
    lines: Arc<Mutex<Lines>>,
}

impl Waiting {
    pub(super) fn new(most: usize) -> Self {
        let places = Arc::new(Semaphore::new(most.clamp(1, Semaphore::MAX_PERMITS)));
        Self { lines: Arc::default(), places }
    }

    /// Waits behind those who came before.
    pub(super) async fn turn(&self, channel: ChannelId) -> Result<Turn, HttpError> {
        let place = Arc::clone(&self.places).try_acquire_owned().map_err(|_| HttpError::TooManyWaiting)?;
        let line = Arc::clone(self.lines.lock().entry(channel).or_default());
        let in_line = InLine { channel, lines: Arc::clone(&self.lines) };
        let lock = line.lock_owned().await;
        Ok(Turn { _place: place, _lock: lock, _in_line: in_line })
    }
}

impl Drop for InLine {
    fn drop(&mut self) {
        let mut lines = self.lines.lock();
        // Only the map holds it: nobody waits, and nobody can begin to while the map is locked.
        if lines.get(&self.channel).is_some_and(|line| Arc::strong_count(line) == 1) {
            lines.remove(&self.channel);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{future::poll_fn, pin::pin, task::Poll};

    use super::*;

    fn channel(number: u128) -> ChannelId {
        uuid::Uuid::from_u128(number).into()
    }

    #[tokio::test]
    async fn one_at_a_time_in_order_and_nothing_is_left_behind() {
        let waiting = Waiting::new(3);
        let first = waiting.turn(channel(1)).await.unwrap();
        let mut second = pin!(waiting.turn(channel(1)));
        let mut third = pin!(waiting.turn(channel(1)));
        poll_fn(|context| {
            assert!(second.as_mut().poll(context).is_pending());
            assert!(third.as_mut().poll(context).is_pending());
            Poll::Ready(())
        })
        .await;
        assert!(matches!(waiting.turn(channel(2)).await, Err(HttpError::TooManyWaiting)));

        drop(first);
        poll_fn(|context| {
            assert!(third.as_mut().poll(context).is_pending(), "the second is before the third");
            Poll::Ready(())
        })
        .await;
        drop(second.await.unwrap());
        drop(third.await.unwrap());
        assert!(waiting.lines.lock().is_empty());
    }

    #[tokio::test]
    async fn channels_do_not_wait_for_each_other() {
        let waiting = Waiting::new(3);
        let _first = waiting.turn(channel(1)).await.unwrap();
        let other = waiting.turn(channel(2)).await.unwrap();
        assert_eq!(waiting.lines.lock().len(), 2);
        drop(other);
        assert_eq!(waiting.lines.lock().len(), 1);
    }
}
