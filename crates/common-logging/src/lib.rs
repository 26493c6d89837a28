//! Structured logs with trace ids, and traces.
//!
//! [`init`] sets the process up from its [`LogConfig`]: one line per event on standard error, as JSON or for people,
//! with the fields of the spans around the event (`trace.id`, `user.id`, `request.id`). The [`LogHandle`] changes the
//! filter, or the level of one logger, while the process runs. A [`TraceId`] follows a request from header to log, event
//! and answer. [`trace`] sends spans of a share of the requests to a collector. [`mask_url`] keeps passwords and tokens out
//! of what is written.

mod config;
mod handle;
mod levels;
mod line;
mod mask;
mod targets;
pub mod trace;
mod trace_id;
mod traceparent;

pub use config::{LogConfig, LogFormat};
pub use handle::{LogError, LogHandle, init, subscriber};
pub use levels::{Levels, ROOT, check_name};
pub use mask::{MASK, is_secret_name, mask_url};
pub use trace_id::TraceId;
