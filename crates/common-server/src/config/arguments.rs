//! The command line that all servers have.

use std::{ffi::OsString, path::PathBuf};

use clap::{Arg, ArgAction, Args, Command, FromArgMatches, error::ErrorKind};

use super::{ConfigError, Start, Task, sources::CONFIG_FILE};
use crate::ServerInfo;

#[derive(Args)]
pub(super) struct Arguments {
    /// The configuration file (TOML).
    #[arg(long, value_name = "FILE")]
    pub(super) config: Option<PathBuf>,
    /// Print the effective configuration, secrets masked, and end.
    #[arg(long)]
    pub(super) print_config: bool,
    /// What to do instead of serving.
    #[arg(skip)]
    pub(super) task: Option<&'static str>,
}

impl Arguments {
    pub(super) fn parse(
        info: ServerInfo,
        tasks: &[Task],
        arguments: impl IntoIterator<Item = OsString>,
    ) -> Result<Start<Self>, ConfigError> {
        let task = |task: &Task| Arg::new(task.flag).long(task.flag).help(task.help).action(ArgAction::SetTrue);
        let command = Self::augment_args(Command::new(info.name).version(info.version).after_help(after_help(info)))
            .args(tasks.iter().map(task));
        let parsed = command.try_get_matches_from(arguments).and_then(|matches| {
            let task = tasks.iter().map(|task| task.flag).find(|flag| matches.get_flag(flag));
            Ok(Self { task, ..Self::from_arg_matches(&matches)? })
        });
        match parsed {
            Ok(arguments) => Ok(Start::Run(arguments)),
            Err(asked) if matches!(asked.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion) => {
                Ok(Start::Print(asked.to_string()))
            }
            Err(error) => Err(ConfigError::Usage(error.to_string())),
        }
    }
}

fn after_help(info: ServerInfo) -> String {
    let prefix = info.env_prefix;
    format!(
        "Every key can be set in the environment: {prefix}SECTION_KEY. {prefix}{CONFIG_FILE} names the file as --config does."
    )
}
