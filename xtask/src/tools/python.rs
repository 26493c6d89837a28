//! Tools from the Python package index, in a virtual environment of the target folder.

use std::path::{Path, PathBuf};
use std::process::Command;

use super::tools_folder;
use crate::outcome::Outcome;
use crate::packages::{Packages, Policy, install};
use crate::shell::{output, program, run};
use crate::ui::say;

/// The spelling checker.
pub(crate) fn typos(policy: Policy) -> Outcome<PathBuf> {
    if let Some(installed) = program(&["typos"]) {
        return Ok(installed);
    }
    let tool = environment(policy)?.join("bin/typos");
    if !tool.is_file() {
        pip_install("typos==1.52.0", policy)?;
    }
    Ok(tool)
}

/// Installs a package into the virtual environment.
pub(super) fn pip_install(package: &str, policy: Policy) -> Outcome {
    let pip = environment(policy)?.join("bin/pip");
    say(format!("installing {package} with pip into {}", tools_folder().display()));
    output(Command::new(pip).args(["install", "--quiet", "--disable-pip-version-check", package])).map(drop)
}

/// The folder of the virtual environment, made when it is not there.
pub(super) fn environment(policy: Policy) -> Outcome<PathBuf> {
    let folder = tools_folder().join("python");
    if folder.join("bin/pip").is_file() {
        return Ok(folder);
    }
    if !make_environment(&folder) {
        let packages = Packages { apt: &["python3-venv"], dnf: &["python3"], brew: &["python"] };
        install("Python with venv", &packages, policy)?;
        run(Command::new("python3").args(["-m", "venv", "--clear"]).arg(&folder))?;
    }
    Ok(folder)
}

/// Debian's python3 has a venv module that fails for want of pip, so trying is the only check.
fn make_environment(folder: &Path) -> bool {
    output(Command::new("python3").args(["-m", "venv", "--clear"]).arg(folder)).is_ok()
}
