//! The binary `dev-token`, as a person or a script calls it.

#![expect(clippy::unwrap_used, clippy::expect_used, reason = "a helper that cannot do its work fails the test")]

use std::process::{Command, Output};

use common_auth::{AuthConfig, Principal, Role, TokenVerifier, UnixTime, development_user_id};

const SECRET: &str = "a development secret of 32 bytes!";

#[test]
fn a_name_becomes_a_user_with_roles() {
    let principal = principal(&["--user", "Alice", "--role", "ADMIN", "--role", "USER", "--ttl", "1h"]);
    assert_eq!(principal.user_id, development_user_id("alice"));
    assert_eq!(principal.username.as_deref(), Some("alice"));
    assert_eq!(principal.roles, [Role::Admin, Role::User]);
}

#[test]
fn a_user_id_is_taken_as_it_is() {
    let id = development_user_id("whoever").to_string();
    assert_eq!(principal(&["--user", &id]).user_id.to_string(), id);
}

#[test]
fn the_secret_may_come_from_a_file() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("secret");
    std::fs::write(&path, format!("{SECRET}\n")).unwrap();
    let mut command = command(&["--user", "alice", "--secret-file", path.to_str().unwrap()]);
    let token = stdout(&command.env_remove("CHAT_AUTH_SECRET").output().unwrap());
    assert!(verify(&token).is_some());
}

#[test]
fn a_missing_or_short_secret_and_an_unknown_role_are_one_clear_line() {
    let failure = |args: &[&str], secret: Option<&str>| {
        let mut command = command(args);
        match secret {
            Some(secret) => command.env("CHAT_AUTH_SECRET", secret),
            None => command.env_remove("CHAT_AUTH_SECRET"),
        };
        let output = command.output().unwrap();
        assert!(!output.status.success() && output.stdout.is_empty());
        String::from_utf8(output.stderr).unwrap()
    };
    assert_eq!(failure(&["--user", "a"], None), "dev-token: set CHAT_AUTH_SECRET or give --secret-file\n");
    assert_eq!(
        failure(&["--user", "a"], Some("short")),
        "dev-token: auth.secret has 5 bytes; allowed: at least 32 bytes\n"
    );
    let unknown = failure(&["--user", "a", "--role", "KING"], Some(SECRET));
    assert!(unknown.contains("unknown role, known are ADMIN, SERVICE and USER"), "{unknown}");
}

fn principal(args: &[&str]) -> Principal {
    let token = stdout(&command(args).env("CHAT_AUTH_SECRET", SECRET).output().unwrap());
    verify(&token).expect("an accepted token")
}

fn command(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_dev-token"));
    command.args(args);
    command
}

fn stdout(output: &Output) -> String {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout.clone()).unwrap().trim_end().to_owned()
}

fn verify(token: &str) -> Option<Principal> {
    let verifier = TokenVerifier::new(&AuthConfig { secret: SECRET.into(), ..AuthConfig::default() }).unwrap();
    verifier.verify(token, now()).ok()
}

#[expect(clippy::disallowed_methods, reason = "the tool under test reads the wall clock")]
fn now() -> UnixTime {
    let since_1970 = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    UnixTime::from_secs(i64::try_from(since_1970.as_secs()).unwrap())
}
