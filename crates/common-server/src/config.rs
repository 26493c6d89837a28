//! Configuration: defaults, then the TOML file, then the environment.
//!
//! A server has one struct with one field per section; every section is its own struct with `#[serde(default,
//! deny_unknown_fields)]`. [`load`] reads it at start and answers `--help`, `--version` and `--print-config`.

use std::{ffi::OsString, io::Write, process::ExitCode};

use figment::Figment;
use serde::{Serialize, de::DeserializeOwned};

mod arguments;
mod error;
mod fields;
mod sections;
mod sources;
#[cfg(test)]
mod tests;

pub use error::{BAD_CONFIGURATION, ConfigError};
pub use fields::comma_list;
pub use humantime_serde as duration;
pub use sections::{ManagementConfig, ProcessConfig};

use crate::ServerInfo;
use arguments::Arguments;

/// The whole configuration of a server. It is printed as its `Serialize` shows it, so that must mask secrets.
pub trait Settings: Serialize + DeserializeOwned {
    /// Checks what a single field cannot say of itself, such as bounds.
    ///
    /// # Errors
    /// The first value that is not allowed.
    fn check(&self) -> Result<(), ConfigError>;
}

/// What the command line asks for.
#[derive(Debug)]
pub enum Start<C> {
    /// Run with this configuration.
    Run(C),
    /// Print this text and end.
    Print(String),
}

/// Something that a server's program does once, instead of serving, when its flag is given.
#[derive(Clone, Copy, Debug)]
pub struct Task {
    /// The flag, without its two hyphens.
    pub flag: &'static str,
    /// One line for `--help`.
    pub help: &'static str,
}

/// Reads the configuration from the process's arguments and environment.
///
/// # Errors
/// The process is to end with this code: something was printed as asked, or the configuration is bad
/// ([`BAD_CONFIGURATION`]), which one line on standard error explains.
pub fn load<C: Settings>(info: ServerInfo) -> Result<C, ExitCode> {
    load_with_tasks(info, &[]).map(|(config, _)| config)
}

/// As [`load`], for a program that has tasks beside serving; with the flag of the one that is asked for.
///
/// # Errors
/// As those of [`load`].
pub fn load_with_tasks<C: Settings>(info: ServerInfo, tasks: &[Task]) -> Result<(C, Option<&'static str>), ExitCode> {
    let environment = std::env::vars_os().filter_map(|(name, value)| Some((name.into_string().ok()?, value)));
    // With standard output or error closed there is nobody to tell, and the exit code stays true.
    match read(info, tasks, std::env::args_os(), environment) {
        Ok(Start::Run(start)) => Ok(start),
        Ok(Start::Print(text)) => {
            let _ = write!(std::io::stdout(), "{text}");
            Err(ExitCode::SUCCESS)
        }
        Err(error) => {
            let _ = writeln!(std::io::stderr(), "{}: {error}", info.name);
            Err(error.exit_code())
        }
    }
}

/// As [`load`], with arguments (the program's name first) and environment from elsewhere.
///
/// # Errors
/// The command line or a value is not allowed, or the file cannot be read.
pub fn load_from<C: Settings>(
    info: ServerInfo,
    arguments: impl IntoIterator<Item = OsString>,
    environment: impl IntoIterator<Item = (String, OsString)>,
) -> Result<Start<C>, ConfigError> {
    Ok(match read(info, &[], arguments, environment)? {
        Start::Run((config, _)) => Start::Run(config),
        Start::Print(text) => Start::Print(text),
    })
}

fn read<C: Settings>(
    info: ServerInfo,
    tasks: &[Task],
    arguments: impl IntoIterator<Item = OsString>,
    environment: impl IntoIterator<Item = (String, OsString)>,
) -> Result<Start<(C, Option<&'static str>)>, ConfigError> {
    let environment = sources::Environment::read(info.env_prefix, environment)?;
    let arguments = match Arguments::parse(info, tasks, arguments)? {
        Start::Run(arguments) => arguments,
        Start::Print(text) => return Ok(Start::Print(text)),
    };

    let mut figment = Figment::new();
    if let Some(path) = arguments.config.or(environment.config_file) {
        figment = figment.merge(sources::Source::file(&path)?);
    }
    figment = figment.merge(environment.values);

    let config: C = figment.extract_lossy().map_err(|error| ConfigError::from_figment(&error, &figment))?;
    config.check()?;
    if arguments.print_config {
        let text = toml::to_string(&config).map_err(|error| ConfigError::invalid(&error))?;
        return Ok(Start::Print(text));
    }
    Ok(Start::Run((config, arguments.task)))
}
