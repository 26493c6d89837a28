//! Messages at a steady rate on a fixed timetable, to rooms that all have as many readers.

use std::time::{Duration, Instant};

use futures_util::future::try_join_all;
use hdrhistogram::Histogram;

use crate::failure::{Failure, While};
use crate::fleet::tally::{Tally, marked_text, microseconds};
use crate::fleet::{Fleet, Seat};
use crate::http::{Sender, Target};
use crate::timetable::Timetable;
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
    /// Whether it is taken note how long each message takes. Otherwise readers are in no hurry.
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
        let fleet = if timed {
            Fleet::join(seats, Tally::with_delays(origin)?).await?
        } else {
            Fleet::join_aloof(seats, Tally::default()).await?
        };
        Ok(Self {
            fleet,
            senders: Sender::several(senders, world.message_server()?).await?,
            targets: channels.iter().map(|room| Target::channel(&world.user.token, *room)).collect(),
            readers,
            origin,
            text: TEXT_BYTES,
        })
    }

    /// Sends at this rate for so long and waits until everybody has everything.
    pub(crate) async fn steady(&mut self, per_second: f64, duration: Duration) -> Result<Sent, Failure> {
        let timetable = Timetable::new(self.origin, per_second, duration);
        let goal = self.fleet.tally.delivered() + (timetable.count * self.readers) as u64;
        let Self { senders, targets, text, .. } = self;
        let turns = timetable.announce(senders.len());
        let sending = senders.iter_mut().zip(turns).map(async |(sender, mut turns)| {
            let mut late = microseconds()?;
            while let Some(number) = turns.recv().await {
                late.saturating_record(u64::try_from(timetable.late(number).as_micros()).unwrap_or(u64::MAX));
                // Whoever is late, counts from the timetable: the wait for a slow answer is part of the delay.
                let text = marked_text(timetable.moment(number), *text);
                sender.send(&targets[number % targets.len()], &text).await?;
            }
            Ok::<_, Failure>(late)
        });
        let mut late = microseconds()?;
        for of_sender in try_join_all(sending).await? {
            late.add(of_sender).while_doing("the delays of a sender")?;
        }
        self.fleet.tally.reach(goal).await?;
        Ok(Sent { messages: timetable.count, late })
    }

    /// The same, and how long each delivery took, in microseconds.
    pub(crate) async fn delays(&mut self, per_second: f64, duration: Duration) -> Result<Histogram<u64>, Failure> {
        self.fleet.tally.take_delays();
        self.steady(per_second, duration).await?;
        self.taken()
    }

    /// How long each delivery took since this was last taken, in microseconds.
    pub(crate) fn taken(&self) -> Result<Histogram<u64>, Failure> {
        let delays = self.fleet.tally.take_delays().filter(|delays| !delays.is_empty());
        delays.ok_or_else(|| Failure::new("no delay was measured"))
    }
}

/// What was sent.
pub(crate) struct Sent {
    pub(crate) messages: usize,
    /// How long after its moment each request began, in microseconds. A sender is late too while it still waits for the
    /// answer to its last request.
    pub(crate) late: Histogram<u64>,
}
