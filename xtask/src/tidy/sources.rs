//! Rules of the source files.

use std::fs;
use std::path::Path;

use crate::outcome::{Outcome, While};
use crate::shell::root;

/// More is two files.
const MOST_LINES: usize = 500;
/// The JavaScript client is one module without a build step, so that it can be served and copied as it is.
const LONG_BY_CONTRACT: &str = "crates/chat-message-server/web/chat-client.js";
const EXTENSIONS: [&str; 6] = ["css", "html", "js", "mjs", "rs", "sql"];
const TOPICS: [&str; 6] = ["chat:room:", "chat:user:", "chat:presence:", "chat:probe:", "chat:typing:", "chat:read:"];
/// Some of the registry's keys begin like topics.
const KEYS: &str = "crates/chat-websocket-server/src/registry/keys.rs";

/// Every source file that breaks a rule.
pub(super) fn problems() -> Outcome<Vec<String>> {
    let mut problems = Vec::new();
    visit(&root().join("crates"), &mut |path, text| {
        let name = path.strip_prefix(root()).unwrap_or(path).to_string_lossy().into_owned();
        problems.extend(too_long(&name, text));
        problems.extend(spelled_topics(&name, text));
    })?;
    Ok(problems)
}

fn visit(folder: &Path, look: &mut impl FnMut(&Path, &str)) -> Outcome {
    let mut entries: Vec<_> = fs::read_dir(folder).while_doing(folder.display())?.flatten().collect();
    entries.sort_by_key(fs::DirEntry::path);
    for path in entries.iter().map(fs::DirEntry::path) {
        if path.is_dir() {
            visit(&path, look)?;
        } else if path.extension().and_then(|it| it.to_str()).is_some_and(|it| EXTENSIONS.contains(&it)) {
            look(&path, &fs::read_to_string(&path).while_doing(path.display())?);
        }
    }
    Ok(())
}

fn too_long(name: &str, text: &str) -> Option<String> {
    let lines = text.lines().count();
    let fits = lines <= MOST_LINES || name == LONG_BY_CONTRACT;
    (!fits).then(|| format!("{name} has {lines} lines, more than {MOST_LINES}"))
}

/// Topics have one home. Comments may speak of them, and the registry's keys (`chat:room:{id}:sessions`) are no topics.
fn spelled_topics(name: &str, text: &str) -> Vec<String> {
    if name.starts_with("crates/chat-events/") || name == KEYS {
        return Vec::new();
    }
    let lines = text.lines().enumerate().filter(|(_, line)| !is_comment(line) && !line.contains(":sessions"));
    let hits = lines.filter(|(_, line)| TOPICS.iter().any(|topic| line.contains(topic)));
    hits.map(|(index, _)| format!("{name}:{} spells a topic, which chat-events alone does", index + 1)).collect()
}

fn is_comment(line: &str) -> bool {
    ["//", "*", "/*", "<!--", "--"].iter().any(|mark| line.trim_start().starts_with(mark))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_topic_is_spelled_in_chat_events_alone() {
        let code = "/// Hears `chat:room:{id}`.\nlet topic = format!(\"chat:room:{id}\");\n";
        assert_eq!(spelled_topics("crates/chat-events/src/topic.rs", code), [""; 0]);
        let found = spelled_topics("crates/chat-client/src/lib.rs", code);
        assert_eq!(found, ["crates/chat-client/src/lib.rs:2 spells a topic, which chat-events alone does"]);
    }

    #[test]
    fn a_registry_key_is_no_topic() {
        let code = "let key = format!(\"chat:room:{id}:sessions\");";
        assert_eq!(spelled_topics("crates/chat-websocket-server/src/registry.rs", code), [""; 0]);
        let code = "let key = format!(\"chat:room:{id}:users\");";
        assert_eq!(spelled_topics(KEYS, code), [""; 0]);
    }

    #[test]
    fn a_long_file_is_found() {
        assert_eq!(too_long("crates/a.rs", &"\n".repeat(MOST_LINES)), None);
        let long = "\n".repeat(MOST_LINES + 1);
        assert!(too_long("crates/a.rs", &long).unwrap().contains("501 lines"));
        assert_eq!(too_long(LONG_BY_CONTRACT, &long), None);
    }
}
