//! Setting the logs up, and changing them at run time.

use tracing::{Subscriber, level_filters::LevelFilter, subscriber::SetGlobalDefaultError};
use tracing_subscriber::{
    EnvFilter, Registry,
    filter::ParseError,
    fmt::MakeWriter,
    layer::SubscriberExt,
    reload::{self, Handle},
};

use crate::{
    Levels, LogConfig,
    levels::{ROOT, check_name},
    line::LineLayer,
    targets::Targets,
};

/// Every event that was not seen before is compared with each directive.
const MAX_DIRECTIVES: usize = 128;
const MAX_FILTER_BYTES: usize = 8 * 1024;

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
    let targets = Targets::default();
    let lines = LineLayer::new(config.format, writer);
    // Outermost, so that the targets of what the filter drops are known too.
    let subscriber = Registry::default().with(filter).with(lines).with(targets.clone());
    Ok((subscriber, LogHandle { handle, targets }))
}

/// Reads and changes the filter while the process runs.
#[derive(Clone, Debug)]
pub struct LogHandle {
    handle: Handle<EnvFilter, Registry>,
    targets: Targets,
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
    /// The text is no filter, or too long; the old one stays in force.
    pub fn set_filter(&self, filter: &str) -> Result<(), LogError> {
        Ok(self.handle.reload(checked(filter)?)?)
    }

    /// The filter in force as a table of loggers.
    ///
    /// # Errors
    /// The logs of this process are gone.
    pub fn levels(&self) -> Result<Levels, LogError> {
        Ok(Levels::of(&self.filter()?))
    }

    /// Gives one logger a level, or with `None` lets it take the level of the loggers around it.
    ///
    /// # Errors
    /// No logger can have this name, [`ROOT`] was to lose its level, or the filter would be too long; nothing changes.
    pub fn set_level(&self, logger: &str, level: Option<LevelFilter>) -> Result<(), LogError> {
        check_name(logger)?;
        if logger == ROOT && level.is_none() {
            return Err(LogError::RootWithoutLevel);
        }
        let mut changed = Ok(());
        // Read and written under one lock, so that of two changes at once none is lost.
        self.handle.modify(|filter| {
            let mut levels = Levels::of(&filter.to_string());
            levels.set(logger, level);
            changed = checked(&levels.to_string()).map(|new| *filter = new);
        })?;
        changed
    }

    /// The modules that the process has come across as it logged, with the modules around them.
    pub fn targets(&self) -> Vec<&'static str> {
        self.targets.list()
    }
}

fn checked(filter: &str) -> Result<EnvFilter, LogError> {
    if filter.split(',').count() > MAX_DIRECTIVES || filter.len() > MAX_FILTER_BYTES {
        return Err(LogError::TooLong);
    }
    Ok(EnvFilter::try_new(filter)?)
}

/// Why the logs could not be set up or changed.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// The filter cannot be read.
    #[error("log.filter: {0}; allowed: such as `info` or `info,some_module=debug`")]
    Filter(#[from] ParseError),
    /// A filter that is set at run time has more directives, or is longer, than a running process takes.
    #[error("a filter has at most {MAX_DIRECTIVES} directives and {MAX_FILTER_BYTES} bytes")]
    TooLong,
    /// No logger can have this name.
    #[error("a logger is named by {ROOT} or by a module path such as `some_crate::some_module`")]
    Name,
    /// Something has to be in force where nothing else is said.
    #[error("{ROOT} needs a level; OFF silences it")]
    RootWithoutLevel,
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
