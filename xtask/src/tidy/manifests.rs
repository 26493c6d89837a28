//! Rules of the manifests.

use std::fs;

use serde_json::Value;

use crate::outcome::{Outcome, While};

/// Shared dependencies in the root manifest whose line has no comment right above it. Crates of this workspace need
/// no reason.
pub(super) fn dependencies_without_reason(manifest: &str) -> Vec<String> {
    let section = manifest.lines().skip_while(|line| *line != "[workspace.dependencies]").skip(1);
    let mut problems = Vec::new();
    let mut explained = false;
    for line in section.take_while(|line| !line.starts_with('[')) {
        if let Some((name, value)) = line.split_once(" = ").filter(|_| is_entry(line))
            && !explained
            && !value.contains("path = ")
        {
            problems.push(format!("Cargo.toml: {name} has no reason in a comment above it"));
        }
        explained = line.starts_with('#');
    }
    problems
}

/// Members whose manifest does not take over the lints of the workspace.
pub(super) fn members_without_lints(metadata: &Value) -> Outcome<Vec<String>> {
    let members = metadata["workspace_members"].as_array();
    let is_member = |package: &&Value| members.is_some_and(|members| members.contains(&package["id"]));
    let mut problems = Vec::new();
    for package in metadata["packages"].as_array().into_iter().flatten().filter(is_member) {
        let path = package["manifest_path"].as_str().unwrap_or_default();
        if !inherits_lints(&fs::read_to_string(path).while_doing(path)?) {
            problems.push(format!("{path} does not inherit the lints: [lints] workspace = true"));
        }
    }
    Ok(problems)
}

fn is_entry(line: &str) -> bool {
    line.starts_with(|first: char| first.is_ascii_alphanumeric())
}

fn inherits_lints(manifest: &str) -> bool {
    let mut lines = manifest.lines().map(str::trim).skip_while(|line| *line != "[lints]").skip(1);
    lines.find(|line| !line.is_empty()) == Some("workspace = true")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dependency_needs_a_reason_of_its_own() {
        let manifest = "[workspace.dependencies]\n\
            ours = { path = \"crates/ours\" }\n\n\
            # Shared bytes.\nbytes = \"1\"\ntokio = { version = \"1\", features = [\n    \"net\",\n] }\n\
            [workspace.lints]\nrust = 1\n";
        let found = dependencies_without_reason(manifest);
        assert_eq!(found, ["Cargo.toml: tokio has no reason in a comment above it"]);
    }

    #[test]
    fn lints_are_inherited_or_not() {
        assert!(inherits_lints("[package]\nname = \"a\"\n\n[lints]\nworkspace = true\n"));
        assert!(!inherits_lints("[package]\nname = \"a\"\n[dependencies]\n"));
        assert!(!inherits_lints("[lints]\n[lints.rust]\nunsafe_code = \"allow\"\n"));
    }

    #[test]
    fn a_member_without_lints_is_named() {
        let path = std::env::temp_dir().join(format!("xtask-manifest-{}.toml", std::process::id()));
        fs::write(&path, "[package]\nname = \"a\"\n").unwrap();
        let package = |id: &str| serde_json::json!({ "id": id, "manifest_path": path });
        let metadata = serde_json::json!({ "workspace_members": ["a"], "packages": [package("a"), package("other")] });
        let found = members_without_lints(&metadata).unwrap();
        fs::remove_file(&path).unwrap();
        assert_eq!(found.len(), 1);
    }
}
