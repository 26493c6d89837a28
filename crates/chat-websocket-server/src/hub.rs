//! Everything that is live in this instance: its open rooms and its users' sessions, and the way from the bus to them.

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
};

use bytes::Bytes;
use chat_domain::{ChannelId, UserId};
use chat_events::{
    Topic, UserSignal,
    bus::{Delivery, Interest, Interruption, Subscriber},
};
use dashmap::DashMap;
use tokio::sync::Notify;
use tokio_tungstenite::tungstenite::Utf8Bytes;
use tracing::warn;
use uuid::Uuid;

use crate::{
    metrics::Metrics,
    protocol::CloseReason,
    room::{
        Busy, Room, RoomContext, RoomHandle,
        control::{Control, Join},
    },
    session::SessionHandle,
};

/// The rooms and users that the bus delivers to.
#[derive(Default)]
pub struct Directory {
    rooms: DashMap<ChannelId, Arc<RoomHandle>>,
    users: DashMap<UserId, UserSessions>,
    bus_lost: AtomicBool,
    /// Asks for a comparison of all heads with the log.
    pub compare_heads: Arc<Notify>,
}

struct UserSessions {
    sessions: HashMap<Uuid, Arc<SessionHandle>>,
    /// That the user's topic is heard.
    _interest: Interest,
}

impl Directory {
    /// Takes what comes from the bus. Quick and never blocking: it only queues.
    pub fn deliver(&self, delivery: Delivery, metrics: &Metrics) {
        match delivery {
            Delivery::Payload { topic: Topic::Room(channel_id), payload } => {
                // Without a room it is the linger of one that has just ended.
                if let Some(room) = self.rooms.get(&channel_id) {
                    room.inbox.publish(payload);
                }
            }
            Delivery::Payload { topic: Topic::User(user_id), payload } => self.signal_user(user_id, &payload, metrics),
            Delivery::Interrupted(interruption) => {
                metrics.interruptions.inc();
                match interruption {
                    Interruption::Lost => self.bus_lost.store(true, Ordering::Relaxed),
                    Interruption::Restored => self.bus_lost.store(false, Ordering::Relaxed),
                    Interruption::Overrun(_) => {}
                }
                self.compare_heads.notify_one();
            }
        }
    }

    /// Is the bus known to be away?
    pub fn bus_lost(&self) -> bool {
        self.bus_lost.load(Ordering::Relaxed)
    }

    /// The open rooms, with the way to each.
    pub fn rooms(&self) -> Vec<(ChannelId, Arc<RoomHandle>)> {
        self.rooms.iter().map(|room| (*room.key(), Arc::clone(room.value()))).collect()
    }

    fn signal_user(&self, user_id: UserId, payload: &Bytes, metrics: &Metrics) {
        let signal = serde_json::from_slice::<UserSignal>(payload).ok().filter(|signal| signal.user_id() == user_id);
        let frame = Utf8Bytes::try_from(Bytes::copy_from_slice(payload)).ok();
        let (Some(signal), Some(frame)) = (signal, frame) else {
            metrics.malformed.inc();
            warn!(user.id = %user_id, "signal to a user skipped: it does not decode");
            return;
        };
        let forbidden = matches!(signal, UserSignal::UserStatusChanged { status, .. } if !status.may_read());
        let Some(user) = self.users.get(&user_id) else { return };
        for session in user.sessions.values() {
            session.outbox.push(frame.clone());
            if forbidden {
                session.outbox.close(CloseReason::Forbidden);
            }
        }
    }
}

/// The live side of this instance.
pub struct Hub {
    directory: Arc<Directory>,
    subscriber: Arc<dyn Subscriber>,
    context: RoomContext,
    sessions: AtomicUsize,
    connections_per_user: usize,
}

/// The user has as many connections as it may have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TooManyConnections;

impl Hub {
    /// A hub without rooms and sessions, which hears through `subscriber` what the bus delivers to `directory`.
    pub fn new(
        directory: Arc<Directory>,
        subscriber: Arc<dyn Subscriber>,
        context: RoomContext,
        connections_per_user: usize,
    ) -> Self {
        Self { directory, subscriber, context, sessions: AtomicUsize::new(0), connections_per_user }
    }

    /// Takes in an authenticated session.
    pub fn add_session(&self, session: &Arc<SessionHandle>) -> Result<(), TooManyConnections> {
        let mut user = self.directory.users.entry(session.user_id).or_insert_with(|| UserSessions {
            sessions: HashMap::new(),
            _interest: self.subscriber.interest(Topic::User(session.user_id)),
        });
        if user.sessions.len() >= self.connections_per_user {
            return Err(TooManyConnections);
        }
        user.sessions.insert(session.id, Arc::clone(session));
        self.sessions.fetch_add(1, Ordering::Relaxed);
        self.context.metrics.sessions.inc();
        Ok(())
    }

    /// Lets go of a session that was taken in, and takes it out of its rooms.
    pub fn remove_session(&self, session: &SessionHandle) {
        for channel_id in session.take_channels() {
            let Some(room) = self.directory.rooms.get(&channel_id) else { continue };
            // A room too busy for this finds the outbox closed; it lets go of the session when it ends.
            let _ = room.inbox.control(Control::Leave { session_id: session.id, answer: None });
        }
        if let Some(mut user) = self.directory.users.get_mut(&session.user_id) {
            user.sessions.remove(&session.id);
        }
        self.directory.users.remove_if(&session.user_id, |_, user| user.sessions.is_empty());
        self.sessions.fetch_sub(1, Ordering::Relaxed);
        self.context.metrics.sessions.dec();
    }

    /// Brings a session that may listen into the channel's room, which is opened if it is not open.
    pub fn join(&self, channel_id: ChannelId, join: Join) -> Result<(), Busy> {
        // The entry stays locked until the wish is queued, so that the room does not end in between.
        let room = self.directory.rooms.entry(channel_id).or_insert_with(|| self.open(channel_id));
        room.inbox.control(Control::Join(join))
    }

    /// Asks the channel's room for something, if it is open.
    pub fn ask(&self, channel_id: ChannelId, control: Control) -> Result<(), Busy> {
        let Some(room) = self.directory.rooms.get(&channel_id) else { return Ok(()) };
        room.inbox.control(control)
    }

    fn open(&self, channel_id: ChannelId) -> Arc<RoomHandle> {
        let handle = Arc::new(RoomHandle::default());
        let room = Room {
            channel_id,
            handle: Arc::clone(&handle),
            interest: self.subscriber.interest(Topic::Room(channel_id)),
            context: self.context.clone(),
        };
        let directory = Arc::clone(&self.directory);
        let may_end = move || directory.rooms.remove_if(&channel_id, |_, room| room.inbox.is_idle()).is_some();
        self.context.tasks.spawn("room", room.run(may_end));
        handle
    }
}
