//! `/actuator/loggers`.

use reqwest::StatusCode;
use serde_json::{Value, json};

use crate::port::{ACTUATOR_JSON, Port};

const JSON: &str = "application/json";

async fn refused(port: &Port, path: &str, media_type: &str, body: &str) -> (StatusCode, String) {
    let answer = port.post(path, media_type, body).await;
    let status = answer.status();
    assert_eq!(answer.headers()["content-type"], "application/problem+json", "{body}");
    (status, answer.json::<Value>().await.unwrap()["code"].as_str().unwrap().to_owned())
}

#[tokio::test]
async fn a_level_is_given_and_taken_away() {
    let port = Port::open().await;
    let (status, media_type, body) = port.get("/actuator/loggers").await;
    assert_eq!((status, media_type.as_str()), (StatusCode::OK, ACTUATOR_JSON));
    insta::assert_json_snapshot!(serde_json::from_str::<Value>(&body).unwrap());

    let debug = r#"{"configuredLevel":"DEBUG"}"#;
    assert_eq!(port.post("/actuator/loggers/app::db", ACTUATOR_JSON, debug).await.status(), StatusCode::NO_CONTENT);
    assert_eq!(port.post("/actuator/loggers/ROOT", JSON, r#"{"configuredLevel":"warn"}"#).await.status(), 204);
    let (_, all) = port.json("/actuator/loggers").await;
    assert_eq!(all["filter"], "app::db=debug,warn");
    let own = json!({"configuredLevel": "DEBUG", "effectiveLevel": "DEBUG"});
    assert_eq!(all["loggers"]["app::db"], own);
    assert_eq!(all["loggers"]["ROOT"], json!({"configuredLevel": "WARN", "effectiveLevel": "WARN"}));
    assert_eq!(port.json("/actuator/loggers/app::db").await.1, own);
    assert_eq!(port.json("/actuator/loggers/app::db::sql").await.1, json!({"effectiveLevel": "DEBUG"}));

    for nothing in [r#"{"configuredLevel":null}"#, "{}"] {
        assert_eq!(port.post("/actuator/loggers/app::db", JSON, nothing).await.status(), StatusCode::NO_CONTENT);
        assert_eq!(port.json("/actuator/loggers/app::db").await.1, json!({"effectiveLevel": "WARN"}));
    }
}

#[tokio::test]
async fn a_bad_level_or_name_changes_nothing() {
    let port = Port::open().await;
    let (bad, debug) = (StatusCode::BAD_REQUEST, r#"{"configuredLevel":"DEBUG"}"#);
    let long = format!("/actuator/loggers/{}", "a".repeat(201));
    for (path, media_type, body, refusal) in [
        ("/actuator/loggers/app", JSON, r#"{"configuredLevel":"LOUD"}"#, (bad, "LOG_LEVEL_INVALID")),
        ("/actuator/loggers/app", JSON, r#"{"configuredLevel":"5"}"#, (bad, "LOG_LEVEL_INVALID")),
        ("/actuator/loggers/ROOT", JSON, r#"{"configuredLevel":null}"#, (bad, "LOG_LEVEL_INVALID")),
        ("/actuator/loggers/a%3Db,c", JSON, debug, (bad, "LOGGER_NAME_INVALID")),
        (&long, JSON, debug, (bad, "LOGGER_NAME_INVALID")),
        ("/actuator/loggers/app", JSON, "{", (bad, "INVALID_BODY")),
        ("/actuator/loggers/app", JSON, r#"{"configuredLevel":5}"#, (bad, "INVALID_BODY")),
        ("/actuator/loggers/app", JSON, r#"{"level":"DEBUG"}"#, (bad, "INVALID_BODY")),
        ("/actuator/loggers/app", "text/plain", debug, (StatusCode::UNSUPPORTED_MEDIA_TYPE, "INVALID_BODY")),
        ("/actuator/loggers", JSON, &" ".repeat(20_000), (StatusCode::PAYLOAD_TOO_LARGE, "INVALID_BODY")),
    ] {
        let (status, code) = refused(&port, path, media_type, body).await;
        assert_eq!((status, code.as_str()), refusal, "{path} {body}");
    }
    assert_eq!(port.json("/actuator/loggers").await.1["filter"], "info");
    assert_eq!(port.get("/actuator/loggers/a%3Db").await.0, bad);
}

#[tokio::test]
async fn the_filter_is_changed_as_a_whole_and_a_broken_one_refused() {
    let port = Port::open().await;
    let set = async |filter: &str| port.post("/actuator/loggers", JSON, &json!({"filter": filter}).to_string()).await;
    assert_eq!(set("[request{id}]=debug,warn").await.status(), StatusCode::NO_CONTENT);
    assert_eq!(port.post("/actuator/loggers/app", JSON, r#"{"configuredLevel":"OFF"}"#).await.status(), 204);
    let filter = port.json("/actuator/loggers").await.1["filter"].as_str().unwrap().to_owned();
    assert!(filter.contains("[{id}]") || filter.contains("[request{id}]"), "what is no logger stays: {filter}");

    for filter in [&json!({"filter": "a=loud"}), &json!({"filter": "a=info,".repeat(200)})] {
        let refusal = refused(&port, "/actuator/loggers", JSON, &filter.to_string()).await;
        assert_eq!(refusal, (StatusCode::BAD_REQUEST, "LOG_FILTER_INVALID".to_owned()));
    }
    assert_eq!(port.json("/actuator/loggers").await.1["filter"], filter);
}

#[tokio::test]
async fn the_number_of_loggers_has_a_bound() {
    let port = Port::open().await;
    for number in 0..200 {
        let path = format!("/actuator/loggers/m{number}");
        let answer = port.post(&path, JSON, r#"{"configuredLevel":"DEBUG"}"#).await;
        if answer.status() == StatusCode::BAD_REQUEST {
            assert_eq!(answer.json::<Value>().await.unwrap()["code"], "LOG_FILTER_INVALID");
            return;
        }
        assert_eq!(answer.status(), StatusCode::NO_CONTENT);
    }
    panic!("200 loggers were added");
}
