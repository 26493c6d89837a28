use tracing_subscriber::EnvFilter;

use super::*;

const FILTER: &str = "a::b=debug,a=warn,[request{id=7}]=trace,info";

fn levels(filter: &str) -> Levels {
    Levels::of(&EnvFilter::try_new(filter).unwrap().to_string())
}

#[test]
fn the_longest_name_decides() {
    let levels = levels(FILTER);
    for (logger, configured, effective) in [
        (ROOT, Some(LevelFilter::INFO), LevelFilter::INFO),
        ("a", Some(LevelFilter::WARN), LevelFilter::WARN),
        ("a::b", Some(LevelFilter::DEBUG), LevelFilter::DEBUG),
        ("a::b::c", None, LevelFilter::DEBUG),
        ("a::c", None, LevelFilter::WARN),
        ("another", None, LevelFilter::WARN),
        ("b", None, LevelFilter::INFO),
    ] {
        assert_eq!(levels.configured(logger), configured, "{logger}");
        assert_eq!(levels.effective(logger), effective, "{logger}");
    }
    assert_eq!(levels.names().collect::<Vec<_>>(), [ROOT, "a", "a::b"]);
}

#[test]
fn a_filter_without_a_root_is_off() {
    assert_eq!(levels("a=debug").effective(ROOT), LevelFilter::OFF);
    assert_eq!(levels("a=debug").configured(ROOT), None);
}

#[test]
fn one_level_changes_and_the_rest_stays() {
    let mut levels = levels(FILTER);
    levels.set("b", Some(LevelFilter::ERROR));
    levels.set("a", None);
    levels.set(ROOT, Some(LevelFilter::WARN));
    assert_eq!(levels.to_string(), "warn,a::b=debug,b=error,[request{id=7}]=trace");
    assert_eq!(self::levels(&levels.to_string()), levels);
}

#[test]
fn names_have_a_bound_and_an_alphabet() {
    for name in ["ROOT", "chat_storage", "chat_storage::append", "tower-http", "info", &"a".repeat(MAX_NAME)] {
        assert!(check_name(name).is_ok(), "{name}");
        let filter = format!("{name}=debug");
        assert_eq!(levels(&filter).to_string(), filter);
    }
    for name in ["", "a b", "a=b", "a,b", "a[b]", ".", "ä", &"a".repeat(MAX_NAME + 1)] {
        assert!(check_name(name).is_err(), "{name}");
    }
}
