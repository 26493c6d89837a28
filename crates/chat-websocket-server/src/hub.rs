//! Everything that is live in this instance: its open rooms and its users' sessions, and the way from the bus to them.

mod users;

use std::{collections::HashMap, sync::Arc, time::Duration};

use bytes::Bytes;
use chat_domain::{ChannelId, Timestamp, UserId, ports::Head};
use chat_events::{
    Topic, UserSignal,
    bus::{Delivery, Interest, Interruption},
};
use dashmap::DashMap;
use parking_lot::Mutex;
use tokio::{sync::Notify, time::Instant};
use tracing::warn;
use uuid::Uuid;

use crate::{
    frame::TextFrame,
    metrics::{Metrics, Queues},
    protocol::CloseReason,
    room::{
        Busy, Confirmation, Room, RoomContext, RoomHandle, RoomStatus,
        control::{Answer, Control, Join},
    },
    session::SessionHandle,
};

/// After a loss publishers come back within this time of the instances: theirs is the same server, and they try about
/// every second.
const PUBLISHERS_RETURN: Duration = Duration::from_secs(3);

/// Does the bus deliver?
#[derive(Clone, Copy, Debug)]
enum Bus {
    Lost,
    HeardSince(Instant),
}

/// The rooms and users that the bus delivers to.
pub struct Directory {
    rooms: DashMap<ChannelId, Arc<RoomHandle>>,
    users: DashMap<UserId, UserSessions>,
    /// Until the bus says otherwise, nothing is heard.
    bus: Mutex<Bus>,
    /// When something for any room was last lost.
    doubted_at: Mutex<Option<Instant>>,
    /// Asks for a comparison of heads with the log, of the rooms that are due.
    pub compare_heads: Arc<Notify>,
    /// Asks for a comparison of users' statuses with storage, of those that are due.
    pub compare_users: Notify,
}

/// Which rooms are to be compared with the log.
pub struct Due {
    /// Those that are open and due, with the way to each.
    pub rooms: Vec<(ChannelId, Arc<RoomHandle>)>,
    /// How many others are open.
    pub skipped: u64,
}

impl Default for Directory {
    fn default() -> Self {
        Self {
            rooms: DashMap::new(),
            users: DashMap::new(),
            bus: Mutex::new(Bus::Lost),
            doubted_at: Mutex::default(),
            compare_heads: Arc::default(),
            compare_users: Notify::new(),
        }
    }
}

struct UserSessions {
    sessions: HashMap<Uuid, Arc<SessionHandle>>,
    /// That the user's topic is heard.
    interest: Interest,
    /// When storage last said that the user may be here.
    confirmation: Confirmation,
}

impl Directory {
    /// Takes what comes from the bus. Quick and never blocking: it only queues.
    pub fn deliver(&self, delivery: Delivery, metrics: &Metrics) {
        match delivery {
            Delivery::Payload { topic: Topic::Room(channel_id), payload } => {
                // Without a room it is the linger of one that has just ended.
                if let Some(room) = self.rooms.get(&channel_id) {
                    room.inbox.publish(&payload);
                }
            }
            Delivery::Payload { topic: Topic::User(user_id), payload } => self.signal_user(user_id, &payload, metrics),
            Delivery::Payload { topic: Topic::Presence(channel_id), payload } => {
                if let Some(room) = self.rooms.get(&channel_id) {
                    room.inbox.tell_presence(&payload);
                }
            }
            // Whoever publishes probes takes them before they come here.
            Delivery::Payload { topic: Topic::Probe(_), .. } => {}
            Delivery::Interrupted(interruption) => {
                metrics.interruptions.inc();
                *self.doubted_at.lock() = Some(Instant::now());
                match interruption {
                    Interruption::Lost => *self.bus.lock() = Bus::Lost,
                    Interruption::Restored => *self.bus.lock() = Bus::HeardSince(Instant::now()),
                    Interruption::Overrun(_) => {}
                }
                if interruption != Interruption::Lost {
                    // Who came and went meanwhile was not heard.
                    self.rooms.iter().for_each(|room| room.inbox.doubt_presence());
                }
                self.compare_heads.notify_one();
                self.compare_users.notify_one();
            }
        }
    }

    /// Is it known that the bus is away?
    pub fn bus_is_lost(&self) -> bool {
        matches!(*self.bus.lock(), Bus::Lost)
    }

    /// Is the bus away, or back so lately that publishers may still be on their way to it?
    pub fn bus_in_doubt(&self, now: Instant) -> bool {
        match *self.bus.lock() {
            Bus::Lost => true,
            Bus::HeardSince(since) => now < since + PUBLISHERS_RETURN,
        }
    }

    /// The open rooms, with the way to each.
    pub fn rooms(&self) -> Vec<(ChannelId, Arc<RoomHandle>)> {
        self.rooms.iter().map(|room| (*room.key(), Arc::clone(room.value()))).collect()
    }

    /// How far each open room is.
    pub fn open_rooms(&self) -> Vec<(ChannelId, RoomStatus)> {
        self.rooms.iter().filter_map(|room| Some((*room.key(), (*room.status.lock())?))).collect()
    }

    /// How far a room is, if it is open.
    pub fn open_room(&self, channel_id: ChannelId) -> Option<RoomStatus> {
        *self.rooms.get(&channel_id)?.status.lock()
    }

    /// The open rooms that are in doubt, or that storage has not confirmed for `age`.
    pub fn due(&self, now: Instant, age: Duration) -> Due {
        let doubted_at = *self.doubted_at.lock();
        let mut due = Due { rooms: Vec::new(), skipped: 0 };
        for room in &self.rooms {
            // A room that is opening reads its head itself.
            let is_open = room.status.lock().is_some();
            if is_open && room.confirmation.lock().is_due(now, age, doubted_at) {
                due.rooms.push((*room.key(), Arc::clone(room.value())));
            } else {
                due.skipped += u64::from(is_open);
            }
        }
        due
    }

    /// What waits for the sessions that are here.
    pub fn queues(&self) -> Queues {
        let mut queues = Queues::default();
        for user in &self.users {
            for session in user.sessions.values() {
                let (frames, bytes) = session.outbox.size();
                queues.frames += frames;
                queues.bytes += bytes;
                queues.most_frames = queues.most_frames.max(frames);
            }
        }
        queues
    }

    /// How long ago storage confirmed the open room whose turn that was first; nothing while none was confirmed.
    pub fn reconcile_lag(&self, now: Instant) -> Duration {
        let ages = self.rooms.iter().filter_map(|room| room.confirmation.lock().age(now));
        ages.max().unwrap_or_default()
    }

    fn signal_user(&self, user_id: UserId, payload: &Bytes, metrics: &Metrics) {
        let signal = serde_json::from_slice::<UserSignal>(payload).ok().filter(|signal| signal.user_id() == user_id);
        let frame = TextFrame::from_utf8(payload).ok();
        let (Some(signal), Some(frame)) = (signal, frame) else {
            metrics.malformed.inc();
            warn!(user.id = %user_id, "signal to a user skipped: it does not decode");
            return;
        };
        if let Some(user) = self.users.get(&user_id) {
            user.tell(&signal, &frame);
            if let UserSignal::ChannelRemoved { channel_id, .. } = signal {
                // The room may not be open anywhere, to see it itself.
                user.withdraw(channel_id);
            }
        }
    }
}

/// The live side of this instance.
pub struct Hub {
    directory: Arc<Directory>,
    context: RoomContext,
    connections_per_user: usize,
}

/// A session that was taken in. Dropping it, however that comes about, takes the session out of its rooms.
pub struct Registered {
    hub: Arc<Hub>,
    session: Arc<SessionHandle>,
}

impl Drop for Registered {
    fn drop(&mut self) {
        // Closed first: a room that is about to take the session in sees that, or finds itself among its channels.
        self.session.outbox.close(CloseReason::Normal);
        self.hub.remove_session(&self.session);
    }
}

/// The user has as many connections as it may have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TooManyConnections;

impl Hub {
    /// A hub without rooms and sessions, which hears through the context's subscriber what the bus delivers to `directory`.
    pub fn new(directory: Arc<Directory>, context: RoomContext, connections_per_user: usize) -> Self {
        Self { directory, context, connections_per_user }
    }

    /// Takes in an authenticated session, until the returned value is dropped.
    pub fn add_session(self: &Arc<Self>, session: &Arc<SessionHandle>) -> Result<Registered, TooManyConnections> {
        let mut user = self.directory.users.entry(session.user_id).or_insert_with(|| UserSessions {
            sessions: HashMap::new(),
            interest: self.context.subscriber.interest(Topic::User(session.user_id)),
            confirmation: Confirmation::default(),
        });
        if user.sessions.len() >= self.connections_per_user {
            return Err(TooManyConnections);
        }
        user.sessions.insert(session.id, Arc::clone(session));
        self.context.metrics.sessions.inc();
        Ok(Registered { hub: Arc::clone(self), session: Arc::clone(session) })
    }

    /// Waits until what concerns this user is heard, but no longer than a room would: without the bus, life goes on.
    pub async fn hear_user(&self, user_id: UserId) {
        if self.directory.bus_is_lost() {
            return;
        }
        let heard = self.directory.users.get(&user_id).map(|user| user.interest.heard());
        if let Some(heard) = heard {
            let _ = tokio::time::timeout(self.context.limits.subscribe_timeout, heard).await;
        }
    }

    /// Storage was asked at this moment, and the user may be here with tokens that are valid.
    pub fn confirm_user(&self, user_id: UserId, tokens_valid_from: Option<Timestamp>, read_at: Instant) {
        self.directory.confirm_user(user_id, tokens_valid_from, read_at);
    }

    fn remove_session(&self, session: &Arc<SessionHandle>) {
        for channel_id in session.end() {
            if let Some(room) = self.directory.rooms.get(&channel_id) {
                room.inbox.report(Control::Leave { session_id: session.id, answer: None });
            }
        }
        if let Some(mut user) = self.directory.users.get_mut(&session.user_id) {
            user.sessions.remove(&session.id);
        }
        self.directory.users.remove_if(&session.user_id, |_, user| user.sessions.is_empty());
        self.context.metrics.sessions.dec();
    }

    /// Brings a session that may listen into the channel's room, which is opened if it is not open.
    pub fn join(&self, channel_id: ChannelId, join: Join) -> Result<(), Busy> {
        // The entry stays locked until the wish is queued, so that the room does not end in between.
        let since = join.access.head;
        let room = self.directory.rooms.entry(channel_id).or_insert_with(|| self.open(channel_id, since));
        room.inbox.control(Control::Join(join))
    }

    /// Takes a session out of the channel's room, which answers. False if the room is not open.
    pub fn leave(&self, channel_id: ChannelId, session_id: Uuid, answer: Answer) -> bool {
        let Some(room) = self.directory.rooms.get(&channel_id) else { return false };
        room.inbox.report(Control::Leave { session_id, answer: Some(answer) });
        true
    }

    fn open(&self, channel_id: ChannelId, since: Head) -> Arc<RoomHandle> {
        let handle = Arc::new(RoomHandle::default());
        let room = Room {
            channel_id,
            handle: Arc::clone(&handle),
            since,
            waits: !self.directory.bus_is_lost(),
            interest: self.context.subscriber.interest(Topic::Room(channel_id)),
            context: self.context.clone(),
        };
        let listed = Listed { directory: Arc::clone(&self.directory), channel_id, handle: Arc::clone(&handle) };
        let directory = Arc::clone(&self.directory);
        let may_end = move || directory.rooms.remove_if(&channel_id, |_, room| room.inbox.is_idle()).is_some();
        self.context.tasks.spawn("room", async move {
            room.run(may_end).await;
            drop(listed);
        });
        handle
    }
}

/// The entry of a room whose task runs. However the task ends, nobody is sent to a room that is not there.
struct Listed {
    directory: Arc<Directory>,
    channel_id: ChannelId,
    handle: Arc<RoomHandle>,
}

impl Drop for Listed {
    fn drop(&mut self) {
        self.directory.rooms.remove_if(&self.channel_id, |_, room| Arc::ptr_eq(room, &self.handle));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bus_is_in_doubt_until_publishers_had_time_to_return() {
        let (directory, metrics) = (Directory::default(), Metrics::default());
        assert!(directory.bus_in_doubt(Instant::now()), "nothing was heard yet");
        directory.deliver(Delivery::Interrupted(Interruption::Restored), &metrics);
        assert!(directory.bus_in_doubt(Instant::now()));
        assert!(!directory.bus_in_doubt(Instant::now() + PUBLISHERS_RETURN));
        directory.deliver(Delivery::Interrupted(Interruption::Lost), &metrics);
        assert!(directory.bus_in_doubt(Instant::now() + PUBLISHERS_RETURN));
    }
}
