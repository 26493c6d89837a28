//! The configuration: a section a concern, defaults on the fields' documentation.

use std::{net::SocketAddr, time::Duration};

use chat_events::bus::redis::RedisConfig;
use chat_storage::DatabaseConfig;
use common_auth::AuthConfig;
use common_logging::{LogConfig, trace::TraceConfig};
use common_server::{
    ServerInfo,
    config::{self, ConfigError, ManagementConfig, ProcessConfig, Settings},
    http::HttpLimits,
};
use serde::{Deserialize, Serialize};

/// What this server is called.
pub const INFO: ServerInfo = ServerInfo {
    name: "chat-message-server",
    version: env!("CARGO_PKG_VERSION"),
    env_prefix: "CHAT_",
    git: option_env!("BUILD_GIT"),
};

/// Everything that can be configured.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// The API.
    pub http: HttpConfig,
    /// Probes and metrics. Default `127.0.0.1:21001`.
    pub management: ManagementConfig,
    /// The durable log.
    pub database: DatabaseConfig,
    /// The bus.
    pub redis: RedisConfig,
    /// Tokens.
    pub auth: AuthConfig,
    /// Logs.
    pub log: LogConfig,
    /// Traces.
    pub trace: TraceConfig,
    /// The process itself.
    pub process: ProcessConfig,
    /// Bounds of what waits and of what a user may ask.
    pub limits: LimitsConfig,
    /// The demo page.
    pub demo: DemoConfig,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            http: HttpConfig::default(),
            management: ManagementConfig { listen: local(21_001) },
            database: DatabaseConfig::default(),
            redis: RedisConfig::default(),
            auth: AuthConfig::default(),
            log: LogConfig::default(),
            trace: TraceConfig::default(),
            process: ProcessConfig::default(),
            limits: LimitsConfig::default(),
            demo: DemoConfig::default(),
        }
    }
}

impl Settings for Config {
    fn check(&self) -> Result<(), ConfigError> {
        self.auth.check().map_err(|error| ConfigError::invalid(&error))?;
        self.database.check().map_err(|error| ConfigError::invalid(&error))?;
        self.redis.check().map_err(|error| ConfigError::invalid(&error))?;
        self.trace.check().map_err(|error| ConfigError::invalid(&error))?;
        self.http.check()?;
        self.limits.check()
    }
}

/// Section `[http]`.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct HttpConfig {
    /// Where the API is served. Port 0 lets the kernel choose. Default `127.0.0.1:20001`.
    pub listen: SocketAddr,
    /// Longest body in bytes. Default 65 536.
    pub max_body: usize,
    /// How long one request may take. Default 10 seconds.
    #[serde(with = "config::duration")]
    pub request_timeout: Duration,
    /// Connections at the same time; more wait in the kernel's queue. Default 10 000.
    pub max_connections: usize,
    /// Origins of other sites whose pages may call the API, such as `https://app.example`. Default none.
    #[serde(deserialize_with = "config::comma_list")]
    pub allowed_origins: Vec<String>,
}

impl Default for HttpConfig {
    fn default() -> Self {
        Self {
            listen: local(20_001),
            max_body: 64 * 1024,
            request_timeout: Duration::from_secs(10),
            max_connections: 10_000,
            allowed_origins: Vec::new(),
        }
    }
}

impl HttpConfig {
    fn check(&self) -> Result<(), ConfigError> {
        at_least_one("http.max_body", self.max_body)?;
        at_least_one("http.max_connections", self.max_connections)?;
        if self.request_timeout.is_zero() {
            return Err(ConfigError::invalid("http.request_timeout = 0s; allowed: more than 0s"));
        }
        match self.allowed_origins.iter().find(|origin| !is_origin(origin)) {
            Some(origin) => Err(ConfigError::invalid(&format!(
                "http.allowed_origins has {origin:?}; allowed: scheme and host, such as https://app.example"
            ))),
            None => Ok(()),
        }
    }

    pub(crate) fn limits(&self) -> HttpLimits {
        HttpLimits { connections: self.max_connections, ..HttpLimits::default() }
    }
}

/// Browsers send scheme, host and port: what has more, or a wildcard, would never be equal.
fn is_origin(text: &str) -> bool {
    let host = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://")).unwrap_or_default();
    !host.is_empty() && host.bytes().all(|byte| byte.is_ascii_graphic() && !matches!(byte, b'/' | b'*' | b'?' | b'#'))
}

/// Section `[limits]`.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct LimitsConfig {
    /// Requests of one user in a second, 0 for no limit. Default 100.
    pub requests_per_second: u32,
    /// Requests of one user at once, after it asked nothing for a while. Default 200.
    pub burst: u32,
    /// Commands that wait for a commit; more are answered with 503. Default 4 096.
    pub append_queue: usize,
    /// Publications that wait for Redis; more are dropped, and readers repair from the log. An event has up to about 60 KB.
    /// Default 8 192.
    pub publish_queue: usize,
}

impl Default for LimitsConfig {
    fn default() -> Self {
        Self { requests_per_second: 100, burst: 200, append_queue: 4_096, publish_queue: 8_192 }
    }
}

impl LimitsConfig {
    fn check(&self) -> Result<(), ConfigError> {
        at_least_one("limits.append_queue", self.append_queue)?;
        at_least_one("limits.publish_queue", self.publish_queue)?;
        if self.requests_per_second > 0 && self.burst == 0 {
            return Err(ConfigError::invalid("limits.burst = 0; allowed: at least 1"));
        }
        Ok(())
    }
}

/// Section `[demo]`.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct DemoConfig {
    /// Serves the demo page, on which anyone signs in as a demo user. Never switch it on where others can reach it.
    /// Default false.
    pub enabled: bool,
    /// WebSocket URLs that the page may use, such as `ws://127.0.0.1:20002/ws/chat`. Default none.
    #[serde(deserialize_with = "config::comma_list")]
    pub instances: Vec<String>,
}

fn local(port: u16) -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], port))
}

fn at_least_one(key: &str, value: usize) -> Result<(), ConfigError> {
    if value == 0 {
        return Err(ConfigError::invalid(&format!("{key} = 0; allowed: at least 1")));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::ffi::OsString;

    use common_server::config::{Start, load_from};

    use super::*;

    const SECRET: &str = "a secret of at least thirty-two bytes";

    fn load(environment: &[(&str, &str)]) -> Result<Config, String> {
        let variables = environment.iter().map(|(name, value)| ((*name).to_owned(), OsString::from(value)));
        match load_from(INFO, ["chat-message-server".into()], variables) {
            Ok(Start::Run(config)) => Ok(config),
            Ok(Start::Print(text)) => Err(text),
            Err(error) => Err(error.to_string()),
        }
    }

    #[test]
    fn a_secret_is_all_that_is_needed() {
        let config = load(&[("CHAT_AUTH_SECRET", SECRET)]).unwrap();
        assert_eq!(config.http.listen.port(), 20_001);
        assert_eq!(config.management.listen.port(), 21_001);
        assert!(load(&[]).unwrap_err().contains("auth.secret"));
    }

    #[test]
    fn the_environment_reaches_every_section() {
        let config = load(&[
            ("CHAT_AUTH_SECRET", SECRET),
            ("CHAT_HTTP_LISTEN", "127.0.0.1:0"),
            ("CHAT_HTTP_REQUEST_TIMEOUT", "250ms"),
            ("CHAT_HTTP_ALLOWED_ORIGINS", "https://a.example, http://b.example:81"),
            ("CHAT_LIMITS_REQUESTS_PER_SECOND", "0"),
            ("CHAT_TRACE_OTLP_ENDPOINT", "http://127.0.0.1:4318"),
            ("CHAT_TRACE_SAMPLE", "0.5"),
            ("CHAT_DEMO_ENABLED", "true"),
            ("CHAT_DEMO_INSTANCES", "ws://127.0.0.1:1/ws/chat,ws://127.0.0.1:2/ws/chat"),
        ])
        .unwrap();
        assert_eq!(config.http.request_timeout, Duration::from_millis(250));
        assert_eq!(config.http.allowed_origins, ["https://a.example", "http://b.example:81"]);
        assert_eq!(config.limits.requests_per_second, 0);
        assert_eq!((config.trace.otlp_endpoint.is_some(), config.trace.sample), (true, 0.5));
        assert!(config.demo.enabled);
        assert_eq!(config.demo.instances.len(), 2);
    }

    #[test]
    fn bad_values_are_named() {
        let cases = [
            ("CHAT_HTTP_MAX_BODY", "0", "http.max_body"),
            ("CHAT_HTTP_REQUEST_TIMEOUT", "0s", "http.request_timeout"),
            ("CHAT_HTTP_REQUEST_TIMEOUT", "soon", "http.request_timeout"),
            ("CHAT_HTTP_ALLOWED_ORIGINS", "*", "http.allowed_origins"),
            ("CHAT_HTTP_ALLOWED_ORIGINS", "https://a.example/", "http.allowed_origins"),
            ("CHAT_LIMITS_APPEND_QUEUE", "0", "limits.append_queue"),
            ("CHAT_LIMITS_BURST", "0", "limits.burst"),
            ("CHAT_DATABASE_URL", "mysql://db/chat", "database.url"),
            ("CHAT_REDIS_COMMAND_TIMEOUT", "1ms", "redis.command_timeout"),
            ("CHAT_TRACE_SAMPLE", "2", "trace.sample"),
            ("CHAT_TRACE_SAMPLE", "often", "trace.sample"),
            ("CHAT_TRACE_OTLP_ENDPOINT", "https://collector", "trace.otlp_endpoint"),
            ("CHAT_HTTP_LISTN", "127.0.0.1:0", "http.listn"),
        ];
        for (name, value, key) in cases {
            let error = load(&[("CHAT_AUTH_SECRET", SECRET), (name, value)]).unwrap_err();
            assert!(error.contains(key), "{error}");
        }
    }
}
