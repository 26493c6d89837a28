//! cargo-deny, built once into the target folder.

use std::path::PathBuf;

use super::tools_folder;
use crate::outcome::Outcome;
use crate::shell::{cargo, program, run};
use crate::ui::say;

/// Pinned, so that a new release cannot turn a green build red.
const VERSION: &str = "0.20.2";

/// The checker of licences, sources and banned crates.
pub(crate) fn cargo_deny() -> Outcome<PathBuf> {
    if let Some(installed) = program(&["cargo-deny"]) {
        return Ok(installed);
    }
    let folder = tools_folder().join("cargo-deny");
    let tool = folder.join("bin/cargo-deny");
    if !tool.is_file() {
        say(format!("building cargo-deny {VERSION} into {} (once)", folder.display()));
        run(cargo()
            .args(["install", "cargo-deny", "--locked", "--debug", "--version", VERSION, "--root"])
            .arg(&folder))?;
    }
    Ok(tool)
}
