use std::{net::SocketAddr, time::Duration};

use common_logging::{MASK, mask_url};
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Serializer};

use super::*;

const INFO: ServerInfo = ServerInfo { name: "test-server", version: "1.2.3", env_prefix: "APP_", git: None };

#[derive(Debug, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
struct Config {
    http: Http,
    database: Database,
    process: ProcessConfig,
    management: ManagementConfig,
}

impl Default for Config {
    fn default() -> Self {
        let management = ManagementConfig { listen: ([127, 0, 0, 1], 21001).into() };
        Self { http: Http::default(), database: Database::default(), process: ProcessConfig::default(), management }
    }
}

#[derive(Debug, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
struct Http {
    listen: SocketAddr,
    workers: u16,
    cors: bool,
    mode: Mode,
    #[serde(deserialize_with = "comma_list")]
    origins: Vec<String>,
}

impl Default for Http {
    fn default() -> Self {
        Self { listen: ([127, 0, 0, 1], 20001).into(), workers: 4, cors: false, mode: Mode::Fast, origins: Vec::new() }
    }
}

#[derive(Debug, PartialEq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
enum Mode {
    Fast,
    Safe,
}

#[derive(Debug, Default, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
struct Database {
    #[serde(serialize_with = "masked_url")]
    url: SecretString,
    #[serde(serialize_with = "masked_url")]
    replica_url: SecretString,
    #[serde(serialize_with = "masked")]
    password: SecretString,
}

fn masked<S: Serializer>(_: &SecretString, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(MASK)
}

fn masked_url<S: Serializer>(url: &SecretString, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&mask_url(url.expose_secret()))
}

impl Settings for Config {
    fn check(&self) -> Result<(), ConfigError> {
        if self.http.workers == 0 {
            return Err(ConfigError::invalid("http.workers = 0; allowed: 1 to 65535"));
        }
        Ok(())
    }
}

/// The file's text, the environment, further arguments.
fn start(file: &str, environment: &[(&str, &str)], arguments: &[&str]) -> Result<Start<Config>, ConfigError> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("server.toml");
    std::fs::write(&path, file).unwrap();
    let mut all: Vec<OsString> = vec!["test-server".into(), "--config".into(), path.clone().into()];
    all.extend(arguments.iter().map(OsString::from));
    let environment = environment.iter().map(|(name, value)| ((*name).to_owned(), value.into()));
    load_from(INFO, all, environment).map_err(|error| match error {
        ConfigError::Invalid(line) => ConfigError::Invalid(line.replace(path.to_str().unwrap(), "FILE")),
        usage @ ConfigError::Usage(_) => usage,
    })
}

fn config(file: &str, environment: &[(&str, &str)]) -> Config {
    match start(file, environment, &[]).unwrap() {
        Start::Run(config) => config,
        Start::Print(text) => panic!("printed {text}"),
    }
}

fn refusal(file: &str, environment: &[(&str, &str)]) -> String {
    let error = start(file, environment, &[]).unwrap_err();
    assert_eq!(format!("{:?}", error.exit_code()), format!("{:?}", ExitCode::from(78)));
    let line = error.to_string();
    assert_eq!(line.lines().count(), 1, "{line}");
    line.strip_prefix("bad configuration: ").unwrap().to_owned()
}

#[test]
fn without_anything_there_are_defaults() {
    let config = config("", &[]);
    assert_eq!(config.http.listen.to_string(), "127.0.0.1:20001");
    assert_eq!(config.process.drain, Duration::from_secs(15));
    assert_eq!(config.management.listen.port(), 21001);
}

#[test]
fn the_environment_wins_over_the_file_and_the_file_over_defaults() {
    let file = "[http]\nlisten = \"0.0.0.0:1\"\nworkers = 2\norigins = [\"a\", \"b\"]\n[process]\ndrain = \"1m\"\n";
    let config = config(file, &[("APP_HTTP_WORKERS", "8"), ("APP_HTTP_CORS", "true"), ("APP_HTTP_MODE", "safe")]);
    assert_eq!(config.http.listen.to_string(), "0.0.0.0:1");
    assert_eq!(config.http.workers, 8);
    assert!(config.http.cors);
    assert_eq!(config.http.mode, Mode::Safe);
    assert_eq!(config.http.origins, ["a", "b"]);
    assert_eq!(config.process.drain, Duration::from_mins(1));
}

#[test]
fn the_first_underscore_parts_section_and_key() {
    let config = config("", &[("APP_DATABASE_REPLICA_URL", "postgres://replica"), ("APP_HTTP_ORIGINS", "a, b,,c")]);
    assert_eq!(config.database.replica_url.expose_secret(), "postgres://replica");
    assert_eq!(config.http.origins, ["a", "b", "c"]);
}

#[test]
fn text_that_looks_like_a_number_stays_text() {
    let config = config("", &[("APP_DATABASE_PASSWORD", "0123456789"), ("APP_DATABASE_URL", "true")]);
    assert_eq!(config.database.password.expose_secret(), "0123456789");
    assert_eq!(config.database.url.expose_secret(), "true");
}

#[test]
fn empty_foreign_and_test_variables_are_not_read() {
    let config = config("", &[("APP_HTTP_WORKERS", ""), ("APP_TEST_ANYTHING", "1"), ("PATH", "/"), ("APPLE_PIE", "1")]);
    assert_eq!(config.http.workers, 4);
}

#[test]
fn the_file_may_be_named_by_the_environment() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("server.toml");
    std::fs::write(&path, "[http]\nworkers = 7").unwrap();
    let environment = [("APP_CONFIG".to_owned(), path.into_os_string())];
    let Start::Run(config) = load_from::<Config>(INFO, ["test-server".into()], environment).unwrap() else {
        panic!("nothing was to be printed")
    };
    assert_eq!(config.http.workers, 7);
}

#[test]
fn a_bad_value_names_key_value_source_and_what_is_allowed() {
    assert_eq!(
        refusal("", &[("APP_HTTP_LISTEN", "nowhere")]),
        "http.listen = \"nowhere\" (from the environment): allowed: ADDRESS:PORT such as 127.0.0.1:8080 or [::1]:0"
    );
    assert_eq!(
        refusal("[http]\nworkers = -1", &[]),
        "http.workers = -1 (from FILE): allowed: a whole number from 0 to 65535"
    );
    assert_eq!(
        refusal("", &[("APP_HTTP_WORKERS", "many")]),
        "http.workers = \"many\" (from the environment): allowed: a whole number from 0 to 65535"
    );
    assert_eq!(refusal("[http]\nmode = \"slow\"", &[]), "http.mode = \"slow\" (from FILE): allowed: fast, safe");
    assert_eq!(
        refusal("[process]\ndrain = \"soon\"", &[]),
        "process.drain = \"soon\" (from FILE): allowed: a duration such as 250ms, 10s or 5m"
    );
    assert_eq!(
        refusal("[http]\norigins = 3", &[]),
        "http.origins = 3 (from FILE): allowed: a list of texts, or one text with commas"
    );
    assert_eq!(refusal("[http]\nworkers = 0", &[]), "http.workers = 0; allowed: 1 to 65535");
}

#[test]
fn a_mistyped_key_is_an_error_in_file_and_environment() {
    let keys = "allowed: listen, workers, cors, mode, origins";
    assert_eq!(refusal("[http]\nlisen = \"x\"", &[]), format!("http.lisen (from FILE) is no key; {keys}"));
    assert_eq!(refusal("", &[("APP_HTTP_LISEN", "x")]), format!("http.lisen (from the environment) is no key; {keys}"));
    let sections = "allowed: http, database, process, management";
    assert_eq!(refusal("[htp]\nlisten = \"x\"", &[]), format!("htp (from FILE) is no key; {sections}"));
    assert_eq!(refusal("", &[("APP_HTP_LISTEN", "x")]), format!("htp (from the environment) is no key; {sections}"));
    assert_eq!(refusal("", &[("APP_HTTP", "x")]), "APP_HTTP is no key; allowed: APP_SECTION_KEY");
}

#[test]
fn a_missing_key_is_named() {
    assert_eq!(refusal("[management]", &[]), "management.listen is missing; set it in the file or the environment");
}

#[test]
fn a_broken_file_is_named_with_its_line_and_without_its_text() {
    let line = refusal("[http]\nworkers = 1\n[database]\npassword = \"hush", &[]);
    assert!(line.starts_with("the file FILE: line 4: "), "{line}");
    assert!(!line.contains("hush"), "{line}");

    let missing = load_from::<Config>(INFO, ["s", "--config", "/does/not/exist"].map(Into::into), []).unwrap_err();
    assert!(missing.to_string().starts_with("bad configuration: the file /does/not/exist: "), "{missing}");
}

#[test]
fn errors_hold_no_secret() {
    assert!(!refusal("[database]\npassword = 123456789", &[]).contains("123456789"));
    assert!(!refusal("[database]\npassword = [\"hush\"]", &[]).contains("hush"));
    let line = refusal("", &[("APP_HTTP_LISTEN", "redis://u:hush@h")]);
    assert!(line.contains("redis://u:***@h") && !line.contains("hush"), "{line}");
}

#[test]
fn the_effective_configuration_is_printed_with_secrets_masked_and_can_be_read_back() {
    let environment = [
        ("APP_DATABASE_URL", "postgres://app:hush@db/app"),
        ("APP_DATABASE_REPLICA_URL", "postgres://app:hush@replica/app"),
        ("APP_DATABASE_PASSWORD", "hush"),
        ("APP_PROCESS_DRAIN", "250ms"),
    ];
    let Start::Print(text) = start("", &environment, &["--print-config"]).unwrap() else { panic!("it was to print") };
    assert!(!text.contains("hush"), "{text}");
    for line in [
        "url = \"postgres://app:***@db/app\"",
        "replica_url = \"postgres://app:***@replica/app\"",
        "password = \"***\"",
        "drain = \"250ms\"",
        "[management]\nlisten = \"127.0.0.1:21001\"",
    ] {
        assert!(text.contains(line), "{line} is not in {text}");
    }
    assert_eq!(config(&text, &[]).process.drain, Duration::from_millis(250));
}

#[test]
fn version_and_help_are_printed_and_a_bad_argument_is_no_configuration_error() {
    let run = |argument: &str| load_from::<Config>(INFO, ["test-server", argument].map(Into::into), []);
    assert!(matches!(run("--version").unwrap(), Start::Print(text) if text == "test-server 1.2.3\n"));
    assert!(matches!(run("--help").unwrap(), Start::Print(text) if text.contains("APP_CONFIG")));
    let error = run("--unknown").unwrap_err();
    assert_eq!(format!("{:?}", error.exit_code()), format!("{:?}", ExitCode::from(2)));
}

#[test]
fn a_task_is_a_flag_beside_the_others() {
    const TASKS: [Task; 2] = [Task { flag: "sweep", help: "Sweep." }, Task { flag: "mop", help: "Mop." }];
    let read = |arguments: &[&str]| {
        let arguments = std::iter::once("test-server").chain(arguments.iter().copied()).map(Into::into);
        read::<Config>(INFO, &TASKS, arguments, [])
    };
    let task = |arguments: &[&str]| match read(arguments).unwrap() {
        Start::Run((_, task)) => task,
        Start::Print(text) => panic!("{text}"),
    };
    assert_eq!(task(&[]), None);
    assert_eq!(task(&["--mop"]), Some("mop"));
    let Start::Print(help) = read(&["--help"]).unwrap() else { panic!("it was to print") };
    assert!(help.contains("--sweep") && help.contains("Mop."), "{help}");
    assert!(matches!(
        load_from::<Config>(INFO, ["test-server", "--mop"].map(Into::into), []),
        Err(ConfigError::Usage(_))
    ));
}
