//! The programs that the commands need: found, or installed.

mod cargo_deny;
mod node;
mod peers;
mod python;

use std::path::{Path, PathBuf};

pub(crate) use cargo_deny::cargo_deny;
pub(crate) use node::node;
pub(crate) use peers::{nchan, socketio};
pub(crate) use python::typos;

use crate::outcome::{Failure, Outcome};
use crate::packages::{Packages, Policy, install};
use crate::shell::{program_in, target};

/// redis-server or valkey-server.
pub(crate) fn redis(policy: Policy) -> Outcome<PathBuf> {
    let packages = Packages { apt: &["redis-server"], dnf: &["valkey"], brew: &["redis"] };
    let find = || program_in(&["redis-server", "valkey-server"], &search_path());
    found_or_installed("redis-server (or valkey-server)", find, &packages, policy)
}

/// The folder with initdb and postgres.
pub(crate) fn postgres(policy: Policy) -> Outcome<PathBuf> {
    let packages = Packages { apt: &["postgresql"], dnf: &["postgresql-server"], brew: &["postgresql@17"] };
    let find = || program_in(&["initdb"], &search_path()).map(|file| file.canonicalize().unwrap_or(file));
    let initdb = found_or_installed("PostgreSQL", find, &packages, policy)?;
    Ok(initdb.parent().unwrap_or(Path::new("/")).to_owned())
}

/// Chromium and the chromedriver of the same version.
pub(crate) fn chromium(policy: Policy) -> Outcome<(PathBuf, PathBuf)> {
    let packages = Packages {
        apt: &["chromium", "chromium-driver"],
        dnf: &["chromium", "chromedriver"],
        brew: &["--cask", "chromium", "chromedriver"],
    };
    let browser = || program_in(&["chromium", "chromium-browser", "google-chrome"], &search_path());
    let both = || Some((browser()?, program_in(&["chromedriver"], &search_path())?));
    found_or_installed("Chromium with chromedriver", both, &packages, policy)
}

/// Prometheus and its promtool. The package of Debian also has a service, which starts where services do, on a port and in
/// a folder of its own: the tests neither use it nor get in its way.
pub(crate) fn prometheus(policy: Policy) -> Outcome<(PathBuf, PathBuf)> {
    let packages = Packages { apt: &["prometheus"], dnf: &["golang-github-prometheus"], brew: &["prometheus"] };
    let find = |name| program_in(&[name], &search_path());
    let both = || Some((find("prometheus")?, find("promtool")?));
    found_or_installed("Prometheus with promtool", both, &packages, policy)
}

/// Where downloaded tools are kept.
fn tools_folder() -> PathBuf {
    target().join("tools")
}

fn found_or_installed<T>(what: &str, find: impl Fn() -> Option<T>, packages: &Packages, policy: Policy) -> Outcome<T> {
    if let Some(found) = find() {
        return Ok(found);
    }
    install(what, packages, policy)?;
    find().ok_or_else(|| Failure(format!("{what} was installed and still cannot be found")))
}

/// PATH, and where packages put servers that are not for every user's PATH. A newer PostgreSQL comes first.
fn search_path() -> Vec<PathBuf> {
    let path = crate::shell::variable("PATH").unwrap_or_default();
    let mut folders: Vec<PathBuf> = std::env::split_paths(&path).collect();
    folders.extend(["/usr/sbin", "/usr/local/bin", "/opt/homebrew/bin", "/usr/local/sbin"].map(PathBuf::from));
    folders.extend(versioned(Path::new("/usr/lib/postgresql"), "bin"));
    folders.extend(versioned(Path::new("/opt/homebrew/opt"), "bin"));
    folders
}

/// `{folder}/{version}/{inner}` of each version, the highest first.
fn versioned(folder: &Path, inner: &str) -> Vec<PathBuf> {
    let mut versions: Vec<PathBuf> =
        std::fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path()).collect();
    versions.sort_by_key(|path| {
        let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        std::cmp::Reverse(name.parse::<u32>().unwrap_or(0))
    });
    versions.into_iter().map(|path| path.join(inner)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_highest_version_comes_first() {
        let folder = std::env::temp_dir().join(format!("xtask-versions-{}", std::process::id()));
        for version in ["9", "15", "17"] {
            std::fs::create_dir_all(folder.join(version)).unwrap();
        }
        let found = versioned(&folder, "bin");
        std::fs::remove_dir_all(&folder).unwrap();
        assert_eq!(found, ["17", "15", "9"].map(|version| folder.join(version).join("bin")));
    }
}
