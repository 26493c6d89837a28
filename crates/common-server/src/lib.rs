//! Process plumbing, without a word of what the process is for.
//!
//! A `main` reads like this: [`config::load`], [`common_logging::init`], [`raise_file_limit`], build the parts on a
//! [`Lifecycle`], [`http::serve`] them, open the management port with [`Management`], write the address file, and
//! return what [`Lifecycle::run_to_end`] returns.

mod address_file;
pub mod config;
mod disk_space;
mod file_limit;
mod health;
pub mod http;
mod info;
mod lifecycle;
mod management;
mod metrics;
mod problem;
mod readiness;
pub mod trace;

pub use address_file::write_address_file;
pub use file_limit::raise_file_limit;
pub use health::{ComponentHealth, Health, HealthStatus};
pub use info::ServerInfo;
pub use lifecycle::{Ending, Lifecycle, Scope, TaskResult};
pub use management::Management;
pub use problem::{FieldError, Problem};
pub use readiness::{Latch, Readiness};
