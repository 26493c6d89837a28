//! A filter as a table of loggers and their levels.

use std::{collections::BTreeMap, fmt};

use tracing::level_filters::LevelFilter;

use crate::LogError;

#[cfg(test)]
mod tests;

/// The logger that all others take their level from.
pub const ROOT: &str = "ROOT";

/// Longest name of a logger that is taken.
const MAX_NAME: usize = 200;

/// What a filter says about each logger. A logger is a module with all that is in it, or more exactly everything whose
/// module path begins with the logger's name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Levels {
    /// The root has the empty name here: every module path begins with it.
    loggers: BTreeMap<String, LevelFilter>,
    /// Directives about spans and fields, which have no place in such a table.
    rest: Vec<String>,
}

impl Levels {
    /// Reads what a filter prints.
    pub(crate) fn of(filter: &str) -> Self {
        let mut levels = Self { loggers: BTreeMap::new(), rest: Vec::new() };
        for directive in filter.split(',').filter(|it| !it.is_empty()) {
            let (target, level) = directive.rsplit_once('=').unwrap_or(("", directive));
            match level.parse() {
                Ok(level) if !target.contains('[') => _ = levels.loggers.insert(target.to_owned(), level),
                _ => levels.rest.push(directive.to_owned()),
            }
        }
        levels
    }

    /// The loggers that have a level of their own.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.loggers.keys().map(|name| if name.is_empty() { ROOT } else { name })
    }

    /// The level that the logger itself was given.
    pub fn configured(&self, logger: &str) -> Option<LevelFilter> {
        self.loggers.get(key(logger)).copied()
    }

    /// The level in force: that of the longest name which the logger's begins with.
    pub fn effective(&self, logger: &str) -> LevelFilter {
        let mut around = self.loggers.iter().filter(|(name, _)| key(logger).starts_with(name.as_str()));
        // Names that begin the same text sort by their length.
        around.next_back().map_or(LevelFilter::OFF, |(_, level)| *level)
    }

    /// Gives the logger a level, or lets it take that of the loggers around it.
    pub(crate) fn set(&mut self, logger: &str, level: Option<LevelFilter>) {
        match level {
            Some(level) => _ = self.loggers.insert(key(logger).to_owned(), level),
            None => _ = self.loggers.remove(key(logger)),
        }
    }
}

/// The filter again.
impl fmt::Display for Levels {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let loggers = self.loggers.iter().map(|(name, level)| match name.as_str() {
            "" => level.to_string(),
            name => format!("{name}={level}"),
        });
        let directives: Vec<_> = loggers.chain(self.rest.iter().cloned()).collect();
        f.write_str(&directives.join(","))
    }
}

/// Can a logger have this name?
///
/// # Errors
/// It is no module path, or too long.
pub fn check_name(logger: &str) -> Result<(), LogError> {
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | ':' | '-' | '.');
    let sound = (1..=MAX_NAME).contains(&logger.len()) && !logger.starts_with('.') && logger.chars().all(allowed);
    if sound { Ok(()) } else { Err(LogError::Name) }
}

fn key(logger: &str) -> &str {
    if logger == ROOT { "" } else { logger }
}
