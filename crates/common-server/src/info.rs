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
    /// The commit that it was built from, its time and its branch if it had one, separated by spaces.
    /// A build script that calls `common_build::git` leaves them in `option_env!("BUILD_GIT")`.
    pub git: Option<&'static str>,
}
