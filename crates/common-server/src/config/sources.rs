//! Where values come from.

use std::{
    ffi::OsString,
    fs,
    path::{Path, PathBuf},
};

use figment::{
    Error, Metadata, Profile, Provider,
    value::{Dict, Map, Value},
};

use super::ConfigError;

/// Behind the prefix: the variable that names the configuration file.
pub(super) const CONFIG_FILE: &str = "CONFIG";
/// Behind the prefix: variables that belong to the tests of the workspace.
const TESTS: &str = "TEST_";

/// Values from one place.
pub(super) struct Source {
    name: String,
    values: Dict,
}

impl Source {
    /// The values of a TOML file.
    pub(super) fn file(path: &Path) -> Result<Self, ConfigError> {
        let refuse = |why: String| ConfigError::invalid(&format!("the file {}: {why}", path.display()));
        let text = fs::read_to_string(path).map_err(|error| refuse(error.to_string()))?;
        let table: toml::Table = toml::from_str(&text).map_err(|error| refuse(syntax_error(&text, &error)))?;
        match Value::serialize(table) {
            Ok(Value::Dict(_, values)) => Ok(Self { name: path.display().to_string(), values }),
            Ok(_) => Err(refuse("not a table".to_owned())),
            Err(error) => Err(refuse(error.to_string())),
        }
    }
}

impl Provider for Source {
    fn metadata(&self) -> Metadata {
        Metadata::named(self.name.clone())
    }

    fn data(&self) -> Result<Map<Profile, Dict>, Error> {
        Ok(Map::from([(Profile::Default, self.values.clone())]))
    }
}

/// What the environment says: values, and perhaps which file to read.
pub(super) struct Environment {
    pub(super) values: Source,
    pub(super) config_file: Option<PathBuf>,
}

impl Environment {
    /// Takes the variables that are ours. An empty variable counts as not set, as Compose files write it.
    pub(super) fn read(
        prefix: &str,
        variables: impl IntoIterator<Item = (String, OsString)>,
    ) -> Result<Self, ConfigError> {
        let mut values = Dict::new();
        let mut config_file = None;
        for (name, value) in variables {
            let Some(own_name) = name.strip_prefix(prefix) else { continue };
            if own_name.starts_with(TESTS) || value.is_empty() {
                continue;
            }
            if own_name == CONFIG_FILE {
                config_file = Some(value.into());
                continue;
            }
            let Some((section, key)) = section_and_key(own_name) else {
                return Err(ConfigError::invalid(&format!("{name} is no key; allowed: {prefix}SECTION_KEY")));
            };
            let Ok(value) = value.into_string() else {
                return Err(ConfigError::invalid(&format!("{name} is not UTF-8 text")));
            };
            let section = values.entry(section).or_insert_with(|| Dict::new().into());
            if let Value::Dict(_, keys) = section {
                keys.insert(key, value.into());
            }
        }
        Ok(Self { values: Source { name: "the environment".to_owned(), values }, config_file })
    }
}

/// `DATABASE_REPLICA_URL` is `replica_url` of the section `database`: no section has `_` in its name.
fn section_and_key(name: &str) -> Option<(String, String)> {
    let (section, key) = name.split_once('_')?;
    (!section.is_empty() && !key.is_empty()).then(|| (section.to_lowercase(), key.to_lowercase()))
}

/// Without the line itself, which may hold a secret.
fn syntax_error(text: &str, error: &toml::de::Error) -> String {
    let before = error.span().and_then(|span| text.get(..span.start)).unwrap_or_default();
    let message = error.message().lines().collect::<Vec<_>>().join(" ");
    format!("line {}: {message}", before.matches('\n').count() + 1)
}
