//! Which store, and the way in.

use std::{path::PathBuf, sync::Arc, time::Duration};

use chat_domain::ports::Storage;
use prometheus_client::registry::Registry;
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Serialize, Serializer};
use thiserror::Error;
use url::Url;

use crate::{postgres::PostgresStorage, sqlite::SqliteStorage};

/// Section `[database]`.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct DatabaseConfig {
    /// `sqlite://FILE` (made if missing) or `postgres://USER:PASSWORD@HOST:PORT/DATABASE`.
    #[serde(serialize_with = "masked_url")]
    pub url: SecretString,
    /// A PostgreSQL read replica. It may lag, so it serves only lists, and the history before a given message if it has that
    /// message. None by default.
    #[serde(serialize_with = "masked_optional_url", skip_serializing_if = "Option::is_none")]
    pub replica_url: Option<SecretString>,
    /// Most connections that this process holds, at least 1. A call waits `acquire_timeout` for one, then fails.
    pub max_connections: u32,
    /// How long a call waits for a connection, or with SQLite for its turn to write.
    #[serde(with = "humantime_serde")]
    pub acquire_timeout: Duration,
    /// How long one statement may take.
    #[serde(with = "humantime_serde")]
    pub statement_timeout: Duration,
}

impl Default for DatabaseConfig {
    fn default() -> Self {
        Self {
            url: "sqlite://chat.db".into(),
            replica_url: None,
            max_connections: 16,
            acquire_timeout: Duration::from_secs(5),
            statement_timeout: Duration::from_secs(10),
        }
    }
}

impl DatabaseConfig {
    /// Are the values within their bounds?
    ///
    /// # Errors
    /// The first key whose value is not allowed, and what is.
    pub fn check(&self) -> Result<(), OpenError> {
        if self.max_connections == 0 {
            return Err(OpenError::Config("database.max_connections = 0; allowed: at least 1"));
        }
        if self.acquire_timeout.is_zero() {
            return Err(OpenError::Config("database.acquire_timeout = 0s; allowed: more than nothing"));
        }
        if self.statement_timeout.is_zero() {
            return Err(OpenError::Config("database.statement_timeout = 0s; allowed: more than nothing"));
        }
        match (self.scheme(), &self.replica_url) {
            ("sqlite", Some(_)) => Err(OpenError::Config("database.replica_url is for PostgreSQL only")),
            ("sqlite" | "postgres" | "postgresql", _) => Ok(()),
            _ => Err(OpenError::Config("database.url is not allowed; allowed: sqlite://… or postgres://…")),
        }
    }

    fn scheme(&self) -> &str {
        self.url.expose_secret().split(':').next().unwrap_or_default()
    }

    /// The longest that one call may take, whatever happens: the wait for a connection, and time for two slow statements.
    pub(crate) fn call_timeout(&self) -> Duration {
        self.acquire_timeout.saturating_add(self.statement_timeout.saturating_mul(2))
    }
}

/// Connects to the store, in at most about `acquire_timeout`, and brings its schema up to date. Several processes may do
/// this with the same store at the same moment.
///
/// # Errors
/// When the configuration makes no sense, the store cannot be reached, or its schema is of a newer version.
pub async fn open(config: &DatabaseConfig) -> Result<Arc<dyn Storage>, OpenError> {
    open_measured(config, &mut Registry::default()).await
}

/// The same, with metrics of each operation and of the connections in `registry`.
///
/// # Errors
/// As those of [`open`].
pub async fn open_measured(config: &DatabaseConfig, registry: &mut Registry) -> Result<Arc<dyn Storage>, OpenError> {
    config.check()?;
    if config.scheme() == "sqlite" {
        return Ok(Arc::new(SqliteStorage::open(config, registry).await?));
    }
    Ok(Arc::new(PostgresStorage::open(config, registry).await?))
}

/// Why a store could not be opened. Shows no secret.
#[derive(Debug, Error)]
pub enum OpenError {
    /// A value of the configuration makes no sense.
    #[error("{0}")]
    Config(&'static str),
    /// The SQLite file cannot be made because its directory is not there.
    #[error("the directory of the SQLite file does not exist: {}", .0.display())]
    NoDirectory(PathBuf),
    /// The store does not answer, or refuses.
    #[error("cannot open {store}")]
    Unreachable {
        /// The URL, masked.
        store: String,
        /// What went wrong.
        source: sqlx::Error,
    },
    /// The schema cannot be brought up to date.
    #[error("cannot migrate {store}")]
    Migration {
        /// The URL, masked.
        store: String,
        /// What went wrong.
        source: sqlx::migrate::MigrateError,
    },
}

/// A URL as it may be shown: without password and query, both of which may hold secrets.
pub(crate) fn masked(url: &SecretString) -> String {
    let url = url.expose_secret();
    let scheme = url.split(':').next().unwrap_or_default();
    if scheme == "sqlite" {
        return url.split('?').next().unwrap_or_default().to_owned();
    }
    let Ok(mut url) = Url::parse(url) else { return "***".to_owned() };
    if url.password().is_some() && url.set_password(Some("***")).is_err() {
        return "***".to_owned();
    }
    url.set_query(None);
    url.set_fragment(None);
    url.into()
}

fn masked_url<S: Serializer>(url: &SecretString, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&masked(url))
}

fn masked_optional_url<S: Serializer>(url: &Option<SecretString>, serializer: S) -> Result<S::Ok, S::Error> {
    match url {
        Some(url) => serializer.serialize_str(&masked(url)),
        None => serializer.serialize_none(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(url: &str) -> String {
        masked(&url.into())
    }

    #[test]
    fn a_shown_url_has_no_secret() {
        assert_eq!(shown("postgres://chat:hunter2@db:5432/chat?password=hunter2"), "postgres://chat:***@db:5432/chat");
        assert_eq!(shown("postgres://db/chat"), "postgres://db/chat");
        assert_eq!(shown("sqlite:///var/lib/chat.db?mode=rwc"), "sqlite:///var/lib/chat.db");
        assert_eq!(shown("hunter2"), "***");
    }

    #[test]
    fn debug_and_serialised_forms_have_no_secret() {
        let config = DatabaseConfig {
            url: "postgres://chat:hunter2@db/chat".into(),
            replica_url: Some("postgres://chat:hunter3@db/chat".into()),
            ..DatabaseConfig::default()
        };
        let shown = format!("{config:?} {}", serde_json::to_string(&config).unwrap());
        assert!(!shown.contains("hunter"), "{shown}");
        assert!(shown.contains(r#""acquire_timeout":"5s""#), "{shown}");
    }

    #[test]
    fn values_have_bounds() {
        assert!(DatabaseConfig::default().check().is_ok());
        let refused = [
            DatabaseConfig { max_connections: 0, ..DatabaseConfig::default() },
            DatabaseConfig { url: "mysql://db/chat".into(), ..DatabaseConfig::default() },
            DatabaseConfig { replica_url: Some("postgres://db/chat".into()), ..DatabaseConfig::default() },
        ];
        for config in refused {
            assert!(matches!(config.check(), Err(OpenError::Config(_))), "{config:?}");
        }
    }

    #[test]
    fn unknown_keys_are_refused() {
        let read = serde_json::from_str::<DatabaseConfig>(r#"{"acquire_timeout":"250ms"}"#).unwrap();
        assert_eq!(read.acquire_timeout, Duration::from_millis(250));
        assert!(serde_json::from_str::<DatabaseConfig>(r#"{"urll":"sqlite://a"}"#).is_err());
    }
}
