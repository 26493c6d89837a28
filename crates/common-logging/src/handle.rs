//! Setting the logs up, and changing them at run time.

use tracing::{Subscriber, subscriber::SetGlobalDefaultError};
use tracing_subscriber::{
    EnvFilter, Registry,
    filter::ParseError,
    fmt::MakeWriter,
    layer::SubscriberExt,
    reload::{self, Handle},
};

use crate::{LogConfig, line::LineLayer};

/// Sends the logs of the whole process to standard error, and panics too, as log lines.
///
/// # Errors
/// The filter cannot be read, or the process has been set up already.
pub fn init(config: &LogConfig) -> Result<LogHandle, LogError> {
    let (subscriber, handle) = subscriber(config, std::io::stderr)?;
    tracing::subscriber::set_global_default(subscriber)?;
    log_panics();
    Ok(handle)
}

/// What [`init`] installs, with a writer of choice.
///
/// # Errors
/// The filter cannot be read.
pub fn subscriber<W>(
    config: &LogConfig,
    writer: W,
) -> Result<(impl Subscriber + Send + Sync + use<W>, LogHandle), LogError>
where
    W: for<'w> MakeWriter<'w> + Send + Sync + 'static,
{
    let (filter, handle) = reload::Layer::new(EnvFilter::try_new(&config.filter)?);
    let subscriber = Registry::default().with(filter).with(LineLayer::new(config.format, writer));
    Ok((subscriber, LogHandle { handle }))
}

/// Reads and changes the filter while the process runs.
#[derive(Clone, Debug)]
pub struct LogHandle {
    handle: Handle<EnvFilter, Registry>,
}

impl LogHandle {
    /// The filter in force.
    ///
    /// # Errors
    /// The logs of this process are gone.
    pub fn filter(&self) -> Result<String, LogError> {
        Ok(self.handle.with_current(ToString::to_string)?)
    }

    /// Replaces the filter for everything logged from now on.
    ///
    /// # Errors
    /// The text is no filter; the old one stays in force.
    pub fn set_filter(&self, filter: &str) -> Result<(), LogError> {
        Ok(self.handle.reload(EnvFilter::try_new(filter)?)?)
    }
}

/// Why the logs could not be set up or changed.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// The filter cannot be read.
    #[error("log.filter: {0}; allowed: such as `info` or `info,some_module=debug`")]
    Filter(#[from] ParseError),
    /// The process has its logs already.
    #[error("the logs are set up already")]
    Installed(#[from] SetGlobalDefaultError),
    /// The subscriber that the handle belongs to is gone.
    #[error("the logs are gone")]
    Gone(#[from] reload::Error),
}

/// A panic is a log line too: whoever collects JSON lines must not be left with a plain one.
fn log_panics() {
    std::panic::set_hook(Box::new(|info| {
        let location = info.location().map(ToString::to_string).unwrap_or_default();
        let message = info.payload_as_str().unwrap_or("no message");
        tracing::error!(error.location = location, error.message = message, "panicked");
    }));
}
