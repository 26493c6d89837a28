//! The HTTP API: checks a request, appends to the durable log, publishes.
//!
//! - [`config`]: what can be configured.
//! - [`serve`]: the server on a listener, over [`Backends`].
//!
//! Inside: `routes` is the table of routes, each in a file of its own; `extract` takes requests apart, `views` is what is
//! answered, `error` gives every failure its status and code. `appender` commits what arrives in groups, `outbox`
//! publishes it; `layers` is what happens to every request.

mod accounts;
mod app;
mod appender;
pub mod config;
mod cursor;
mod demo;
mod docs;
mod error;
mod extract;
mod layers;
mod limits;
mod metrics;
mod openapi;
mod outbox;
mod revocation;
mod routes;
mod schema;
mod server;
mod tokens;
mod views;

pub use config::Config;
pub use server::{Backends, serve};
