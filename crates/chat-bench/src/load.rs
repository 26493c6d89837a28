//! Messages at a steady rate on a fixed timetable, to rooms that all have as many readers.

use std::time::{Duration, Instant};

use futures_util::future::try_join_all;
use tokio::time::sleep_until;

use crate::failure::Failure;
use crate::fleet::tally::{Tally, marked_text};
use crate::fleet::{Fleet, Seat};
use crate::http::{Sender, Target};
use crate::world::{TEXT_BYTES, World};

/// Who sends and who receives.
pub(crate) struct Load {
    pub(crate) fleet: Fleet,
    /// Many, so that a slow answer does not hold up the next send.
    pub(crate) senders: Vec<Sender>,
    /// The rooms, which get their messages in turn.
    pub(crate) targets: Vec<Target>,
    /// In each room.
    pub(crate) readers: usize,
    /// What the times in the messages are counted from.
    pub(crate) origin: Instant,
    /// Length of a text.
    pub(crate) text: usize,
}

/// Rooms of the chat, and who is there.
#[derive(Clone, Copy)]
pub(crate) struct Crowd {
    /// That serves the readers.
    pub(crate) instance: usize,
    pub(crate) rooms: usize,
    /// In each room.
    pub(crate) readers: usize,
    pub(crate) senders: usize,
    /// Whether it is taken note how long each message takes.
    pub(crate) timed: bool,
}

impl Load {
    /// Makes the rooms and connects everybody. In neighbouring seats are users of different rooms.
    pub(crate) async fn on_chat(world: &mut World, crowd: Crowd) -> Result<Self, Failure> {
        let Crowd { instance, rooms, readers, senders, timed } = crowd;
        let channels = world.create_rooms(rooms).await?;
        let instance = world.instance(instance)?;
        let places = channels.iter().cycle().take(rooms * readers).enumerate();
        let seats = places.map(|(number, room)| Seat::in_room(instance, &world.token(number), *room)).collect();
        let origin = Instant::now();
        let tally = if timed { Tally::with_delays(origin)? } else { Tally::default() };
        Ok(Self {
            fleet: Fleet::join(seats, tally).await?,
            senders: Sender::several(senders, world.message_server()?).await?,
            targets: channels.iter().map(|room| Target::channel(&world.user.token, *room)).collect(),
            readers,
            origin,
            text: TEXT_BYTES,
        })
    }

    /// Sends at this rate for so long and waits until everybody has everything. Returns how many messages it were.
    pub(crate) async fn steady(&mut self, per_second: f64, duration: Duration) -> Result<usize, Failure> {
        let messages = messages(per_second, duration);
        let goal = self.fleet.tally.delivered() + (messages * self.readers) as u64;
        let Self { senders, targets, origin, text, .. } = self;
        let (first, count) = (origin.elapsed(), senders.len());
        let sending = senders.iter_mut().enumerate().map(async |(number, sender)| {
            for message in (number..messages).step_by(count) {
                // Whoever is late, counts from the timetable: the wait for a slow answer is part of the delay.
                let meant_at = first + Duration::from_secs_f64(message as f64 / per_second);
                sleep_until((*origin + meant_at).into()).await;
                sender.send(&targets[message % targets.len()], &marked_text(meant_at, *text)).await?;
            }
            Ok::<_, Failure>(())
        });
        try_join_all(sending).await?;
        self.fleet.tally.reach(goal).await?;
        Ok(messages)
    }
}

/// At least one.
fn messages(per_second: f64, duration: Duration) -> usize {
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a small number that is not negative")]
    let messages = (per_second * duration.as_secs_f64()).round() as usize;
    messages.max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_are_as_many_messages_as_fit_into_the_time() {
        assert_eq!(messages(200.0, Duration::from_millis(1_500)), 300);
        assert_eq!(messages(0.4, Duration::from_secs(10)), 4);
        assert_eq!(messages(0.4, Duration::from_secs(1)), 1);
    }
}
