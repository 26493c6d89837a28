//! What is running here?

use std::sync::Arc;

use axum::{extract::State as Extract, response::Response};
use serde_json::{Value, json};

use super::{State, answer};

/// Name, version and commit.
pub(super) async fn show(Extract(state): Extract<Arc<State>>) -> Response {
    let info = &state.info;
    let mut shown = json!({"build": {"artifact": info.name, "name": info.name, "version": info.version}});
    if let Some(git) = info.git.and_then(git) {
        shown["git"] = git;
    }
    answer::ok(&shown)
}

fn git(built_from: &str) -> Option<Value> {
    let mut words = built_from.splitn(3, ' ');
    let mut git = json!({"commit": {"id": words.next()?, "time": words.next()?}});
    if let Some(branch) = words.next().filter(|branch| !branch.is_empty()) {
        git["branch"] = branch.into();
    }
    Some(git)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_branch_is_shown_if_there_was_one() {
        let commit = json!({"id": "abc", "time": "2026-01-02T03:04:05Z"});
        assert_eq!(git("abc 2026-01-02T03:04:05Z main"), Some(json!({"branch": "main", "commit": commit})));
        assert_eq!(git("abc 2026-01-02T03:04:05Z"), Some(json!({"commit": commit})));
        assert_eq!(git(""), None);
    }
}
