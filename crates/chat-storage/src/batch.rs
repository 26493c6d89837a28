//! What a batch of commands becomes: an answer for each, and the rows to write for all of them together.

use std::borrow::Cow;

use chat_domain::{
    Applied, Channel, ChannelId, Command, Ledger, Member, Message, Refusal, Subject, Timestamp, UserId,
    ledger::Entry,
    ports::{Appended, LoggedEvent},
};
use chat_events::Event;
use uuid::Uuid;

/// A batch after it was applied to what had been loaded.
pub(crate) struct Batch {
    /// One for each command, in the order of the commands.
    pub(crate) answers: Vec<Result<Appended, Refusal>>,
    /// What is to be written.
    pub(crate) changes: Changes,
}

/// The rows that a batch changes.
#[derive(Default)]
pub(crate) struct Changes {
    /// New messages.
    pub(crate) messages: Vec<NewMessage>,
    /// New events, at least one for each changed channel.
    pub(crate) events: Vec<NewEvent>,
    /// Channels as they are now.
    pub(crate) channels: Vec<Channel>,
    /// Memberships as they are now, new or changed.
    pub(crate) members: Vec<Member>,
    /// Memberships that have ended.
    pub(crate) ended: Vec<(ChannelId, UserId)>,
}

/// A message and the payload that is stored for it.
pub(crate) struct NewMessage {
    pub(crate) message: Message,
    pub(crate) payload: String,
}

/// A row of `channel_events`.
pub(crate) struct NewEvent {
    pub(crate) channel_id: Uuid,
    pub(crate) seq: u64,
    pub(crate) event_id: Uuid,
    pub(crate) event_type: String,
    pub(crate) body: String,
    pub(crate) at: Timestamp,
}

impl Batch {
    /// Applies the commands in their order. A refused one leaves no trace.
    pub(crate) fn apply(mut ledger: Ledger, commands: &[Command]) -> Result<Self, sqlx::Error> {
        let mut changes = Changes::default();
        let mut answers = Vec::with_capacity(commands.len());
        for command in commands {
            let answer = match ledger.apply(command.clone()) {
                Ok(applied) => Ok(changes.add(applied)?),
                Err(refusal) => Err(refusal),
            };
            answers.push(answer);
        }
        changes.channels = ledger.changed_channels().cloned().collect();
        for (key, member) in ledger.changed_members() {
            match member {
                Some(member) => changes.members.push(member.clone()),
                None => changes.ended.push(key),
            }
        }
        Ok(Self { answers, changes })
    }
}

impl Changes {
    /// True if every command was refused or had been fulfilled before.
    pub(crate) fn is_empty(&self) -> bool {
        self.events.is_empty()
    }

    /// True if nothing but messages is new: of channels and members, then, only counters have changed.
    pub(crate) fn are_sends(&self) -> bool {
        self.messages.len() == self.events.len()
    }

    /// The message, event, channel and marker of a batch that is a single send and changes nothing else.
    pub(crate) fn as_single_send(&self) -> Option<(&NewMessage, &NewEvent, &Channel, &Member)> {
        match (&*self.messages, &*self.events, &*self.channels, &*self.members, &*self.ended) {
            ([message], [event], [channel], [marker], []) => Some((message, event, channel, marker)),
            _ => None,
        }
    }

    fn add(&mut self, applied: Applied) -> Result<Appended, sqlx::Error> {
        let Applied { subject, entry } = applied;
        let Some(entry) = entry else { return Ok(Appended { subject, event: None }) };
        if let Subject::Message(message) = &subject {
            let payload = serde_json::to_string(&message.content).map_err(encode)?;
            self.messages.push(NewMessage { message: message.clone(), payload });
        }
        let event = self.add_event(entry)?;
        Ok(Appended { subject, event: Some(event) })
    }

    fn add_event(&mut self, entry: Entry) -> Result<LoggedEvent, sqlx::Error> {
        let Entry { event_id, channel_id, seq, at, .. } = entry;
        let event = Event::from(entry);
        let body = event.to_json();
        self.events.push(NewEvent {
            channel_id: channel_id.as_uuid(),
            seq,
            event_id: event_id.as_uuid(),
            event_type: type_name(&event)?,
            body: std::str::from_utf8(&body).map_err(encode)?.to_owned(),
            at,
        });
        Ok(LoggedEvent { channel_id, seq, body })
    }
}

fn type_name(event: &Event) -> Result<String, sqlx::Error> {
    match serde_json::to_value(event.event_type) {
        Ok(serde_json::Value::String(name)) => Ok(name),
        Ok(other) => Err(encode(format!("an event type is not a name: {other}"))),
        Err(error) => Err(encode(error)),
    }
}

fn encode(source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> sqlx::Error {
    sqlx::Error::Encode(source.into())
}

/// A text as every store can keep it. PostgreSQL has no NUL in its texts, and one such text would take its whole batch
/// with it. JSON columns are not touched by this: there a NUL is written as an escape.
pub(crate) fn storable(text: &str) -> Cow<'_, str> {
    if !text.contains('\0') {
        return Cow::Borrowed(text);
    }
    Cow::Owned(text.replace('\0', "\u{fffd}"))
}
