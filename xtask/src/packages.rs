//! Getting missing programs with the platform's package manager.

use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::outcome::{Outcome, failure};
use crate::shell;
use crate::ui::say;

/// What a program is called in each package manager's collection.
pub(crate) struct Packages {
    pub(crate) apt: &'static [&'static str],
    pub(crate) dnf: &'static [&'static str],
    pub(crate) brew: &'static [&'static str],
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Manager {
    Apt,
    Dnf,
    Brew,
}

/// Whether packages may be installed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Policy {
    Install,
    OnlySay,
}

/// Installs what `what` needs, or fails with the line that would do it.
pub(crate) fn install(what: &str, packages: &Packages, policy: Policy) -> Outcome {
    let Some(manager) = Manager::of_this_machine() else {
        return failure(format!("{what} is missing, and there is no apt-get, dnf or brew to install it with"));
    };
    let commands = manager.commands(packages, elevation());
    let line = commands.iter().map(|words| words.join(" ")).collect::<Vec<_>>().join(" && ");
    if policy == Policy::OnlySay {
        return failure(format!("{what} is missing; install it with: {line}"));
    }
    say(format!("{what} is missing; running: {line}"));
    for words in commands {
        // One refresh of the package lists is enough for all that is installed by one command.
        static REFRESHED: AtomicBool = AtomicBool::new(false);
        if words.contains(&"update") && REFRESHED.swap(true, Ordering::Relaxed) {
            continue;
        }
        shell::run(Command::new(words[0]).args(&words[1..]))?;
    }
    Ok(())
}

/// `sudo` for who is not root and has it.
fn elevation() -> &'static [&'static str] {
    if shell::is_root() || shell::program(&["sudo"]).is_none() { &[] } else { &["sudo"] }
}

impl Manager {
    fn of_this_machine() -> Option<Self> {
        let known = [("apt-get", Self::Apt), ("dnf", Self::Dnf), ("brew", Self::Brew)];
        known.into_iter().find(|(program, _)| shell::program(&[program]).is_some()).map(|(_, manager)| manager)
    }

    fn commands<'a>(self, packages: &Packages, elevation: &[&'a str]) -> Vec<Vec<&'a str>> {
        let install: (&[&str], &[&str]) = match self {
            Self::Apt => (
                &["env", "DEBIAN_FRONTEND=noninteractive", "apt-get", "install", "-y", "--no-install-recommends"],
                packages.apt,
            ),
            Self::Dnf => (&["dnf", "install", "-y", "--setopt=install_weak_deps=False"], packages.dnf),
            Self::Brew => (&["brew", "install"], packages.brew),
        };
        // Homebrew refuses to run as root.
        let elevation = if self == Self::Brew { &[] } else { elevation };
        let command = [elevation, install.0, install.1].concat();
        match self {
            Self::Apt => vec![[elevation, &["apt-get", "update", "-q"]].concat(), command],
            Self::Dnf | Self::Brew => vec![command],
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const REDIS: Packages = Packages { apt: &["redis-server"], dnf: &["valkey"], brew: &["redis"] };

    #[test]
    fn apt_refreshes_its_lists_first() {
        let lines: Vec<_> = Manager::Apt.commands(&REDIS, &["sudo"]).iter().map(|words| words.join(" ")).collect();
        let install = "sudo env DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends redis-server";
        assert_eq!(lines, ["sudo apt-get update -q", install]);
    }

    #[test]
    fn brew_is_never_elevated() {
        assert_eq!(Manager::Brew.commands(&REDIS, &["sudo"]), [["brew", "install", "redis"]]);
    }

    #[test]
    fn dnf_has_names_of_its_own() {
        let commands = Manager::Dnf.commands(&REDIS, &[]);
        assert_eq!(commands, [["dnf", "install", "-y", "--setopt=install_weak_deps=False", "valkey"]]);
    }
}
