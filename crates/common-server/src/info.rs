//! What this process is.

/// What a server is called and where it is configured.
#[derive(Clone, Copy, Debug)]
pub struct ServerInfo {
    /// The name of the binary.
    pub name: &'static str,
    /// The version of the binary.
    pub version: &'static str,
    /// What the names of its environment variables begin with, such as `APP_`.
    pub env_prefix: &'static str,
}
