//! The configuration of this server.

use std::{net::SocketAddr, num::NonZeroU32, time::Duration};

use chat_events::bus::redis::RedisConfig;
use chat_storage::DatabaseConfig;
use common_auth::AuthConfig;
use common_logging::{LogConfig, trace::TraceConfig};
use common_server::config::{ConfigError, ManagementConfig, ProcessConfig, Settings, comma_list, duration};
use serde::{Deserialize, Serialize};

/// Everything that can be configured.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Where clients come in.
    pub websocket: WebSocketConfig,
    /// Where probes and metrics are answered.
    pub management: ManagementConfig,
    /// The log.
    pub database: DatabaseConfig,
    /// Pub/sub.
    pub redis: RedisConfig,
    /// Tokens.
    pub auth: AuthConfig,
    /// Logs.
    pub log: LogConfig,
    /// Traces.
    pub trace: TraceConfig,
    /// The process.
    pub process: ProcessConfig,
    /// The bounds.
    pub limits: LimitsConfig,
    /// What the instances share about their sessions.
    pub registry: RegistryConfig,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            websocket: WebSocketConfig::default(),
            management: ManagementConfig { listen: SocketAddr::from(([127, 0, 0, 1], 21_002)) },
            database: DatabaseConfig::default(),
            redis: RedisConfig::default(),
            auth: AuthConfig::default(),
            log: LogConfig::default(),
            trace: TraceConfig::default(),
            process: ProcessConfig::default(),
            limits: LimitsConfig::default(),
            registry: RegistryConfig::default(),
        }
    }
}

impl Settings for Config {
    fn check(&self) -> Result<(), ConfigError> {
        self.auth.check().map_err(|error| ConfigError::invalid(&error))?;
        self.database.check().map_err(|error| ConfigError::invalid(&error))?;
        self.redis.check().map_err(|error| ConfigError::invalid(&error))?;
        self.trace.check().map_err(|error| ConfigError::invalid(&error))?;
        self.limits.check()?;
        self.registry.check()
    }
}

/// The section `[websocket]`.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct WebSocketConfig {
    /// Where clients come in. Port 0 lets the kernel choose.
    pub listen: SocketAddr,
    /// Origins that browsers may come from, such as `https://chat.example`. Empty: any, since tokens are not cookies.
    #[serde(deserialize_with = "comma_list")]
    pub allowed_origins: Vec<String>,
}

impl Default for WebSocketConfig {
    fn default() -> Self {
        Self { listen: SocketAddr::from(([127, 0, 0, 1], 20_002)), allowed_origins: Vec::new() }
    }
}

/// The section `[limits]`.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct LimitsConfig {
    /// Connections of this instance. Default 20 000.
    pub connections: usize,
    /// Connections from one address. Default 256.
    pub connections_per_address: usize,
    /// Connections of one user, over all instances. Default 16.
    pub connections_per_user: usize,
    /// Channels that a session may have open. Default 256.
    pub channels_per_session: usize,
    /// Largest frame from a client, in bytes; with all that its pieces come in, twice as much. Default 16 KiB.
    pub frame_bytes: usize,
    /// Frames from a client per second, in the long run; pings and pongs count. Default 20.
    pub frames_per_second: NonZeroU32,
    /// Frames from a client at once. Default 60.
    pub frame_burst: NonZeroU32,
    /// Frames that may wait to be sent to a session. Default 1 024.
    pub outbox_frames: usize,
    /// Bytes that may wait to be sent to a session. Default 1 MiB.
    pub outbox_bytes: usize,
    /// Most events that are replayed in one channel. Default 5 000.
    pub replay_events: u64,
    /// Between two pings. Default 25 seconds.
    #[serde(with = "duration")]
    pub heartbeat: Duration,
    /// How long a client may take to authenticate. Default 10 seconds.
    #[serde(with = "duration")]
    pub auth_timeout: Duration,
    /// How long one write may take. Default 10 seconds.
    #[serde(with = "duration")]
    pub write_timeout: Duration,
    /// How long missing events may take to come by themselves before the log is read. Default 50 ms.
    #[serde(with = "duration")]
    pub reorder_window: Duration,
    /// How often the heads of open rooms are compared with the log. Default 2 seconds.
    #[serde(with = "duration")]
    pub reconcile_interval: Duration,
    /// The same while Redis is known to be away. Default 500 ms.
    #[serde(with = "duration")]
    pub reconcile_interval_without_redis: Duration,
    /// How long a room stays open after its last session left. Default 15 seconds.
    #[serde(with = "duration")]
    pub room_linger: Duration,
    /// How long a room with many events and many sessions collects events for one write; zero for never. Default 8 ms.
    #[serde(with = "duration")]
    pub coalesce: Duration,
    /// Whether what the bus lost is read from the log. Always true, but for tests that prove that they notice a loss.
    pub repair: bool,
}

impl Default for LimitsConfig {
    fn default() -> Self {
        Self {
            connections: 20_000,
            connections_per_address: 256,
            connections_per_user: 16,
            channels_per_session: 256,
            frame_bytes: 16 * 1024,
            frames_per_second: const { NonZeroU32::new(20).unwrap() },
            frame_burst: const { NonZeroU32::new(60).unwrap() },
            outbox_frames: 1_024,
            outbox_bytes: 1024 * 1024,
            replay_events: 5_000,
            heartbeat: Duration::from_secs(25),
            auth_timeout: Duration::from_secs(10),
            write_timeout: Duration::from_secs(10),
            reorder_window: Duration::from_millis(50),
            reconcile_interval: Duration::from_secs(2),
            reconcile_interval_without_redis: Duration::from_millis(500),
            room_linger: Duration::from_secs(15),
            coalesce: Duration::from_millis(8),
            repair: true,
        }
    }
}

impl LimitsConfig {
    fn check(&self) -> Result<(), ConfigError> {
        at_least("frame_bytes", self.frame_bytes, 256)?;
        // Replays fill half of the outbox at most, and a turn of a room takes up to a quarter.
        at_least("outbox_frames", self.outbox_frames, 1_024)?;
        at_least("outbox_bytes", self.outbox_bytes, 1024 * 1024)?;
        at_least("connections", self.connections, 1)?;
        at_least("connections_per_address", self.connections_per_address, 1)?;
        at_least("connections_per_user", self.connections_per_user, 1)?;
        at_least("channels_per_session", self.channels_per_session, 1)?;
        may_repair_be(self.repair, cfg!(debug_assertions))?;
        within("heartbeat", self.heartbeat, Duration::from_millis(100))?;
        within("auth_timeout", self.auth_timeout, Duration::from_millis(100))?;
        within("write_timeout", self.write_timeout, Duration::from_millis(100))?;
        within("reorder_window", self.reorder_window, Duration::ZERO)?;
        within("room_linger", self.room_linger, Duration::ZERO)?;
        allowed("limits.coalesce", self.coalesce, Duration::ZERO, Duration::from_millis(100))?;
        let least = Duration::from_millis(50);
        within("reconcile_interval", self.reconcile_interval, least)?;
        within("reconcile_interval_without_redis", self.reconcile_interval_without_redis, least)
    }
}

/// The section `[registry]`.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct RegistryConfig {
    /// How long an instance counts as alive after its last sign of life; then the others take its sessions out. It shows
    /// itself ten times as often. The same on all instances. Default 15 seconds.
    #[serde(with = "duration")]
    pub lease_ttl: Duration,
    /// How long a user counts as here after its last session left. Default 10 seconds.
    #[serde(with = "duration")]
    pub presence_grace: Duration,
    /// How often it is looked whether Redis still has what was written. Default 5 seconds.
    #[serde(with = "duration")]
    pub sweep_interval: Duration,
}

impl Default for RegistryConfig {
    fn default() -> Self {
        Self {
            lease_ttl: Duration::from_secs(15),
            presence_grace: Duration::from_secs(10),
            sweep_interval: Duration::from_secs(5),
        }
    }
}

impl RegistryConfig {
    fn check(&self) -> Result<(), ConfigError> {
        let second = Duration::from_secs(1);
        allowed("registry.lease_ttl", self.lease_ttl, second, LONGEST)?;
        allowed("registry.presence_grace", self.presence_grace, Duration::ZERO, LONGEST)?;
        allowed("registry.sweep_interval", self.sweep_interval, second / 10, LONGEST)
    }
}

fn at_least(key: &str, value: usize, least: usize) -> Result<(), ConfigError> {
    if value < least {
        return Err(ConfigError::invalid(&format!("limits.{key} = {value}; allowed: at least {least}")));
    }
    Ok(())
}

/// The longest that anything may be configured to take: a moment that lies further ahead may be none at all.
const LONGEST: Duration = Duration::from_secs(24 * 3_600);

fn within(key: &str, value: Duration, least: Duration) -> Result<(), ConfigError> {
    allowed(&format!("limits.{key}"), value, least, LONGEST)
}

fn allowed(key: &str, value: Duration, least: Duration, most: Duration) -> Result<(), ConfigError> {
    if value < least || value > most {
        return Err(ConfigError::invalid(&format!("{key} = {value:?}; allowed: {least:?} to {most:?}")));
    }
    Ok(())
}

fn may_repair_be(repair: bool, debug_build: bool) -> Result<(), ConfigError> {
    if repair || debug_build {
        return Ok(());
    }
    Err(ConfigError::invalid("limits.repair = false; allowed: true (a debug build also takes false, for tests)"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_duration_that_no_clock_can_add_is_refused() {
        let limits = |reconcile_interval| LimitsConfig { reconcile_interval, ..LimitsConfig::default() };
        assert!(limits(LONGEST).check().is_ok());
        for interval in [Duration::MAX, Duration::ZERO] {
            let refused = limits(interval).check().unwrap_err().to_string();
            assert!(refused.contains("limits.reconcile_interval = "), "{refused}");
        }
    }

    #[test]
    fn only_a_debug_build_goes_without_repair() {
        assert!(LimitsConfig::default().repair);
        assert!(may_repair_be(false, true).is_ok());
        assert!(may_repair_be(true, false).is_ok());
        let refused = may_repair_be(false, false).unwrap_err().to_string();
        assert!(refused.contains("limits.repair = false; allowed: true"), "{refused}");
    }
}
