//! What `cargo xtask test` tells the tests about this machine.

use std::path::PathBuf;

/// Ends every complaint about a missing server.
pub(crate) const HOW_TO_GET_IT: &str = "run: cargo xtask test";

/// The value of a variable that the test command sets.
pub(crate) fn variable(name: &str) -> Option<String> {
    #[expect(clippy::disallowed_methods, reason = "the one place where tests read their environment")]
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

/// The first of these programs that is on PATH.
pub(crate) fn program_on_path(names: &[&str]) -> Option<PathBuf> {
    let path = variable("PATH")?;
    names
        .iter()
        .find_map(|name| std::env::split_paths(&path).map(|folder| folder.join(name)).find(|file| file.is_file()))
}

/// Whether a variable would configure a server: what surrounds the tests must not.
pub(crate) fn is_configuration(name: &std::ffi::OsStr) -> bool {
    name.to_str().is_some_and(|name| name.starts_with("CHAT_") && !name.starts_with("CHAT_TEST_"))
}
