//! Pages of history and of a log.

use bytes::Bytes;
use chat_domain::Epoch;
use chat_events::EventHeader;
use serde::Deserialize;
use serde_json::value::RawValue;

use super::{HttpError, StoredMessage};
use crate::Event;

/// Where a page of history begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HistoryPlace<'a> {
    /// The newest messages.
    Latest,
    /// Those before a page: its [`HistoryPage::prev`].
    Before(&'a str),
    /// Those after a page: its [`HistoryPage::next`].
    After(&'a str),
}

impl<'a> HistoryPlace<'a> {
    pub(super) const fn parameter(self) -> Option<(&'static str, &'a str)> {
        match self {
            Self::Latest => None,
            Self::Before(cursor) => Some(("before", cursor)),
            Self::After(cursor) => Some(("after", cursor)),
        }
    }
}

/// A page of a channel's messages.
#[derive(Clone, Debug)]
pub struct HistoryPage {
    /// Oldest first.
    pub messages: Vec<StoredMessage>,
    /// The place of newer ones; `None` if there are none.
    pub next: Option<String>,
    /// The place of older ones; `None` if there are none.
    pub prev: Option<String>,
}

/// A part of a channel's log.
#[derive(Clone, Debug)]
pub struct EventPage {
    /// In order.
    pub events: Vec<Event>,
    /// `seq` of the newest event of the log.
    pub head_seq: u64,
    /// `seq` of the oldest event that can still be had.
    pub oldest_seq: u64,
    /// The incarnation of the log.
    pub epoch: Epoch,
    /// Is there more after the last one?
    pub has_next: bool,
}

#[derive(Deserialize)]
struct Links {
    next: Option<String>,
    prev: Option<String>,
    #[serde(rename = "hasNext")]
    has_next: bool,
}

pub(super) fn history(answer: &[u8]) -> Result<HistoryPage, HttpError> {
    #[derive(Deserialize)]
    struct Wire {
        items: Vec<StoredMessage>,
        page: Links,
    }
    let Wire { items, page } = serde_json::from_slice(answer).map_err(|error| bad(&error))?;
    Ok(HistoryPage { messages: items, next: page.next, prev: page.prev })
}

pub(super) fn events(answer: &[u8]) -> Result<EventPage, HttpError> {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Wire<'a> {
        #[serde(borrow)]
        items: Vec<&'a RawValue>,
        head_seq: u64,
        oldest_seq: u64,
        epoch: Epoch,
        page: Links,
    }
    let Wire { items, head_seq, oldest_seq, epoch, page } = serde_json::from_slice(answer).map_err(|e| bad(&e))?;
    let events = items.into_iter().map(event).collect::<Result<_, _>>()?;
    Ok(EventPage { events, head_seq, oldest_seq, epoch, has_next: page.has_next })
}

fn event(raw: &RawValue) -> Result<Event, HttpError> {
    let header = EventHeader::parse(raw.get().as_bytes()).map_err(|error| bad(&error))?;
    let EventHeader { event_type, channel_id, seq: Some(seq), .. } = header else {
        return Err(HttpError::BadAnswer("an event has no seq".to_owned()));
    };
    // A copy, so that an event that is kept does not keep its page.
    Ok(Event { channel_id, seq, event_type, body: Bytes::copy_from_slice(raw.get().as_bytes()) })
}

fn bad(error: &impl std::fmt::Display) -> HttpError {
    HttpError::BadAnswer(error.to_string())
}
