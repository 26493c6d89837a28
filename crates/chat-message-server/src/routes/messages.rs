//! `/api/v1/messages`, and the messages of a channel.

pub(super) mod get;
pub(super) mod health;
pub(super) mod history;
pub(super) mod send;
