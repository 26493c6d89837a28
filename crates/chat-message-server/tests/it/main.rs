//! The API as callers see it: a real server in this process, with a real Redis and both real stores.

#![expect(clippy::unwrap_used, clippy::panic, reason = "the helpers of tests fail as tests do")]

mod auth;
mod bad_input;
mod channels;
mod drain;
mod events;
mod history;
mod members;
mod messages;
mod overload;
mod public;
mod revocation;
mod users;
mod world;
