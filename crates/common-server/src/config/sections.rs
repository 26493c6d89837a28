//! Sections that every server has.

use std::{net::SocketAddr, path::PathBuf, time::Duration};

use serde::{Deserialize, Serialize};

/// The section `[management]`. Its default is the server's own.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct ManagementConfig {
    /// Where probes and metrics are answered. Port 0 lets the kernel choose.
    pub listen: SocketAddr,
}

/// The section `[process]`.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct ProcessConfig {
    /// How long a shut-down may take before what is left is forced. Default 15 seconds.
    #[serde(with = "super::duration")]
    pub drain: Duration,
    /// After all ports are open, their addresses are written to this file as JSON. Not written by default.
    pub address_file: Option<PathBuf>,
}

impl Default for ProcessConfig {
    fn default() -> Self {
        Self { drain: Duration::from_secs(15), address_file: None }
    }
}
