//! `cargo xtask tidy`: rules of this workspace that neither the compiler nor clippy knows.

mod layers;
mod manifests;
mod sources;

use std::fs;

use crate::outcome::{Outcome, While, failure};
use crate::shell::{cargo, output, root};
use crate::ui::say;

pub(crate) fn tidy() -> Outcome {
    let metadata = output(cargo().current_dir(root()).args(["metadata", "--format-version", "1", "--locked"]))?;
    let metadata = serde_json::from_str(&metadata).while_doing("reading cargo metadata")?;
    let manifest = root().join("Cargo.toml");
    let manifest = fs::read_to_string(&manifest).while_doing(manifest.display())?;

    let mut problems = layers::problems(&layers::Graph::from_metadata(&metadata));
    problems.extend(manifests::dependencies_without_reason(&manifest));
    let members = manifests::members(&metadata)?;
    problems.extend(manifests::dependencies_without_user(&manifest, &members));
    problems.extend(manifests::members_without_lints(&members));
    problems.extend(sources::problems()?);
    if !problems.is_empty() {
        return failure(format!("the workspace is not tidy:\n  {}", problems.join("\n  ")));
    }
    say("tidy: layers, shared dependencies, lints, topic names and file lengths are right");
    Ok(())
}
