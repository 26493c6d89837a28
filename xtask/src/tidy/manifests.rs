//! Rules of the manifests.

use std::fs;

use serde_json::Value;

use crate::outcome::{Outcome, While};

/// Shared dependencies in the root manifest whose line has no comment right above it. Crates of this workspace need
/// no reason.
pub(super) fn dependencies_without_reason(manifest: &str) -> Vec<String> {
    let mut problems = Vec::new();
    let mut explained = false;
    for line in shared_dependencies(manifest) {
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

/// Shared dependencies that no member takes.
pub(super) fn dependencies_without_user(manifest: &str, members: &[Manifest]) -> Vec<String> {
    let is_used = |name: &str| {
        let (short, long) = (format!("{name}.workspace = true"), format!("{name} = {{ workspace = true"));
        members.iter().flat_map(|member| member.text.lines()).any(|line| line == short || line.starts_with(&long))
    };
    let entries = shared_dependencies(manifest).filter(|line| is_entry(line)).filter_map(|line| line.split_once(" = "));
    let unused = entries.filter(|(name, _)| !is_used(name));
    unused.map(|(name, _)| format!("Cargo.toml: no crate takes the shared dependency {name}")).collect()
}

/// Members whose manifest does not take over the lints of the workspace.
pub(super) fn members_without_lints(members: &[Manifest]) -> Vec<String> {
    let without = members.iter().filter(|member| !inherits_lints(&member.text));
    without.map(|member| format!("{} does not inherit the lints: [lints] workspace = true", member.path)).collect()
}

/// A member's manifest.
pub(super) struct Manifest {
    path: String,
    text: String,
}

/// The manifests of all members, by the output of `cargo metadata`.
pub(super) fn members(metadata: &Value) -> Outcome<Vec<Manifest>> {
    let members = metadata["workspace_members"].as_array();
    let is_member = |package: &&Value| members.is_some_and(|members| members.contains(&package["id"]));
    let packages = metadata["packages"].as_array().into_iter().flatten().filter(is_member);
    let paths = packages.filter_map(|package| package["manifest_path"].as_str());
    paths
        .map(|path| Ok(Manifest { path: path.to_owned(), text: fs::read_to_string(path).while_doing(path)? }))
        .collect()
}

fn shared_dependencies(manifest: &str) -> impl Iterator<Item = &str> {
    let section = manifest.lines().skip_while(|line| *line != "[workspace.dependencies]").skip(1);
    section.take_while(|line| !line.starts_with('['))
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
        let members = [manifest("with", "[lints]\nworkspace = true\n"), manifest("without", "[package]\n")];
        assert_eq!(members_without_lints(&members), ["without does not inherit the lints: [lints] workspace = true"]);
    }

    #[test]
    fn a_shared_dependency_needs_a_user() {
        let root =
            "[workspace.dependencies]\n# Bytes.\nbytes = \"1\"\n# Time.\njiff = \"1\"\n# Runtime.\ntokio = \"1\"\n";
        let member =
            manifest("a", "[dependencies]\nbytes.workspace = true\ntokio = { workspace = true, features = [] }\n");
        let found = dependencies_without_user(root, &[member]);
        assert_eq!(found, ["Cargo.toml: no crate takes the shared dependency jiff"]);
    }

    #[test]
    fn only_members_are_read() {
        let path = std::env::temp_dir().join(format!("xtask-manifest-{}.toml", std::process::id()));
        fs::write(&path, "[package]\n").unwrap();
        let package = |id: &str| serde_json::json!({ "id": id, "manifest_path": path });
        let metadata = serde_json::json!({ "workspace_members": ["a"], "packages": [package("a"), package("other")] });
        let found = members(&metadata).unwrap();
        fs::remove_file(&path).unwrap();
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].text, "[package]\n");
    }

    fn manifest(path: &str, text: &str) -> Manifest {
        Manifest { path: path.to_owned(), text: text.to_owned() }
    }
}
