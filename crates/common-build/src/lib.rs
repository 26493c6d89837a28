//! What the build script of a server finds out.
//!
//! It belongs to the servers and to no library, so that a commit makes cargo build no more than those again; and to
//! release builds, so that it does not even do that while somebody works.

use std::{
    path::{Path, PathBuf},
    process::Command,
};

/// Sets `BUILD_GIT` for the package that is built, in a release build from a git repository: the commit, its time, and
/// the branch if there is one, separated by spaces. Where any of that is not to be had the variable is not set.
#[expect(clippy::print_stdout, reason = "a build script speaks to cargo like this")]
#[expect(clippy::disallowed_methods, reason = "cargo tells a build script about the build like this")]
pub fn git() {
    // Without it, cargo would run the script again whenever a file of the package changes.
    println!("cargo::rerun-if-changed=build.rs");
    if std::env::var("PROFILE").as_deref() != Ok("release") {
        return;
    }
    let Some(found) = Found::at(Path::new(".")) else { return };
    println!("cargo::rustc-env=BUILD_GIT={}", found.built_from);
    for path in found.changes_with {
        println!("cargo::rerun-if-changed={}", path.display());
    }
}

#[derive(Debug)]
struct Found {
    built_from: String,
    /// Files that git writes at each commit and checkout. A file that is not there would mean "build always".
    changes_with: Vec<PathBuf>,
}

impl Found {
    /// Looks at the repository of the package in this folder.
    fn at(package: &Path) -> Option<Self> {
        // A source archive may lie in somebody's repository, whose commit says nothing about it.
        git_says(package, &["ls-files", "--error-unmatch", "Cargo.toml"])?;
        let commit = git_says(package, &["log", "-1", "--date=format-local:%Y-%m-%dT%H:%M:%SZ", "--format=%H %cd"])?;
        let branch = git_says(package, &["symbolic-ref", "--quiet", "--short", "HEAD"]);
        let changes_with = ["HEAD", "logs/HEAD"].into_iter().filter_map(|file| {
            let path = package.join(git_says(package, &["rev-parse", "--git-path", file])?);
            path.exists().then_some(path)
        });
        let built_from = branch.map_or_else(|| commit.clone(), |branch| format!("{commit} {branch}"));
        Some(Self { built_from, changes_with: changes_with.collect() })
    }
}

/// The one line that git answers. `None` without git, without a repository, or if git refuses.
fn git_says(folder: &Path, arguments: &[&str]) -> Option<String> {
    let output = git_in(folder).args(arguments).output().ok().filter(|output| output.status.success())?;
    Some(String::from_utf8(output.stdout).ok()?.trim().to_owned())
}

fn git_in(folder: &Path) -> Command {
    let mut command = Command::new("git");
    command.current_dir(folder).env("TZ", "UTC0");
    // A build that a git hook starts would look at the hook's repository.
    for variable in ["GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_COMMON_DIR"] {
        command.env_remove(variable);
    }
    command
}

#[cfg(test)]
mod tests {
    use super::*;

    const COMMIT: [&str; 10] = [
        "-c",
        "user.name=a",
        "-c",
        "user.email=a@b",
        "-c",
        "commit.gpgsign=false",
        "commit",
        "--quiet",
        "--no-verify",
        "--message=one",
    ];

    fn git(folder: &Path, arguments: &[&str]) {
        let mut command = git_in(folder);
        command.args(arguments).env("GIT_COMMITTER_DATE", "2026-01-02T03:04:05+02:00");
        assert!(command.status().unwrap().success(), "git {arguments:?}");
    }

    #[test]
    fn a_committed_package_names_its_commit_and_branch() {
        let folder = tempfile::tempdir().unwrap();
        let package = folder.path().join("package");
        std::fs::create_dir(&package).unwrap();
        std::fs::write(package.join("Cargo.toml"), "").unwrap();
        assert!(Found::at(&package).is_none(), "there is no repository");

        git(folder.path(), &["init", "--quiet", "--initial-branch=some/branch"]);
        assert!(Found::at(&package).is_none(), "the repository does not know the package");

        git(folder.path(), &["add", "."]);
        assert!(Found::at(&package).is_none(), "there is no commit");

        git(folder.path(), &COMMIT);
        let found = Found::at(&package).unwrap();
        let words: Vec<_> = found.built_from.split(' ').collect();
        assert_eq!(words[1..], ["2026-01-02T01:04:05Z", "some/branch"]);
        assert!(words[0].len() >= 40 && words[0].bytes().all(|b| b.is_ascii_hexdigit()), "{words:?}");
        assert_eq!(found.changes_with.len(), 2, "{found:?}");

        git(folder.path(), &["checkout", "--quiet", "--detach"]);
        assert_eq!(Found::at(&package).unwrap().built_from, words[..2].join(" "));
    }
}
