//! The section `[log]` of a server's configuration.

use serde::{Deserialize, Deserializer, Serialize, de};
use tracing_subscriber::EnvFilter;

/// What is logged, and how it looks.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct LogConfig {
    /// `pretty` for people, `json` for machines. Default `pretty`.
    pub format: LogFormat,
    /// Levels by module, such as `info` or `info,chat_storage=debug`. Default `info`.
    #[serde(deserialize_with = "filter")]
    pub filter: String,
}

impl Default for LogConfig {
    fn default() -> Self {
        Self { format: LogFormat::default(), filter: "info".to_owned() }
    }
}

/// The form of a log line.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// `time LEVEL module: message key=value …`
    #[default]
    Pretty,
    /// One flat JSON object with dotted keys.
    Json,
}

fn filter<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    let text = String::deserialize(deserializer)?;
    match EnvFilter::try_new(&text) {
        Ok(_) => Ok(text),
        Err(error) => Err(de::Error::custom(format!("{error}; allowed: such as `info` or `info,some_module=debug`"))),
    }
}
