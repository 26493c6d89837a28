//! The management port as a whole: probes, links, errors, and its end.

use common_server::Ending;
use reqwest::{Client, Method, StatusCode};
use serde_json::{Value, json};

use crate::port::{ACTUATOR_JSON, Port};

#[tokio::test]
async fn the_probes_follow_the_latches_but_the_process_lives() {
    let port = Port::open().await;
    let starting = json!({"ready": false, "unready": {"storage": "starting"}});
    assert_eq!(port.json("/readyz").await, (StatusCode::SERVICE_UNAVAILABLE, starting));
    assert_eq!(port.get("/livez").await.0, StatusCode::OK);

    port.storage.set_ready();
    assert_eq!(port.json("/readyz").await, (StatusCode::OK, json!({"ready": true})));
}

#[tokio::test]
async fn every_link_of_the_actuator_leads_somewhere() {
    let port = Port::open().await;
    let (_, media_type, body) = port.get("/actuator").await;
    assert_eq!(media_type, ACTUATOR_JSON);
    let body = body.replace(&port.address.to_string(), "HOST");
    insta::assert_json_snapshot!(serde_json::from_str::<Value>(&body).unwrap());

    let links: Value = serde_json::from_str(&body.replace("HOST", &port.address.to_string())).unwrap();
    for (name, link) in links["_links"].as_object().unwrap() {
        let examples = [("{*path}", "liveness"), ("{requiredMetricName}", "guests"), ("{name}", "ROOT"), ("{id}", "7")];
        let href = link["href"].as_str().unwrap();
        let url = examples.iter().fold(href.to_owned(), |url, (variable, example)| url.replace(variable, example));
        assert_eq!(link["templated"], url != href, "{name}");
        assert_eq!(reqwest::get(&url).await.unwrap().status(), StatusCode::OK, "{name} at {url}");
    }
    assert_eq!(port.get("/actuator/rooms/7").await.2, "one room");
}

#[tokio::test]
async fn a_path_or_method_that_is_not_there_is_a_problem() {
    let port = Port::open().await;
    for path in ["/", "/actuator/beans", "/actuator/info/more", "/actuator/rooms/7/8", "/actuator/loggers/a/b"] {
        let (status, media_type, body) = port.get(path).await;
        assert_eq!((status, media_type.as_str()), (StatusCode::NOT_FOUND, "application/problem+json"), "{path}");
        let problem: Value = serde_json::from_str(&body).unwrap();
        assert_eq!((&problem["code"], &problem["instance"]), (&json!("NOT_FOUND"), &json!(path)));
    }
    for (method, path, allowed) in [
        (Method::POST, "/actuator/health", "GET,HEAD"),
        (Method::DELETE, "/actuator/loggers/ROOT", "GET,HEAD,POST"),
        (Method::PUT, "/actuator/rooms", "GET,HEAD"),
    ] {
        let answer = Client::new().request(method, port.url(path)).send().await.unwrap();
        assert_eq!(answer.status(), StatusCode::METHOD_NOT_ALLOWED, "{path}");
        assert_eq!(answer.headers()["allow"], allowed, "{path}");
        let problem: Value = answer.json().await.unwrap();
        assert_eq!((&problem["code"], &problem["instance"]), (&json!("METHOD_NOT_ALLOWED"), &json!(path)));
    }
}

#[tokio::test]
async fn info_says_what_was_built_from_what() {
    let info = json!({
        "build": {"artifact": "test-server", "name": "test-server", "version": "1.2.3"},
        "git": {"branch": "main", "commit": {"id": "0123abcd", "time": "2026-01-02T03:04:05Z"}},
    });
    assert_eq!(Port::open().await.json("/actuator/info").await, (StatusCode::OK, info));
}

#[tokio::test]
async fn the_port_answers_while_the_process_drains_and_closes_at_the_end() {
    let port = Port::open().await;
    port.storage.set_ready();
    let (finish, finished) = tokio::sync::oneshot::channel::<()>();
    port.lifecycle.spawn("work", async move {
        // Closed without a word would be an end too.
        let _ = finished.await;
    });

    let lifecycle = port.lifecycle.clone();
    let end = async { lifecycle.run_to_end_with(async || std::future::pending().await).await };
    let ask = async {
        port.lifecycle.shut_down();
        let draining = json!({"ready": false, "unready": {"lifecycle": "draining"}});
        assert_eq!(port.json("/readyz").await, (StatusCode::SERVICE_UNAVAILABLE, draining));
        assert_eq!(port.get("/livez").await.0, StatusCode::OK);
        finish.send(()).unwrap();
    };
    let (ending, ()) = tokio::join!(end, ask);

    assert_eq!(ending, Ending::Drained);
    let refused = reqwest::get(port.url("/livez")).await.unwrap_err();
    assert!(refused.is_connect(), "{refused}");
}
