//! `/actuator/health`.

use common_server::ComponentHealth;
use reqwest::StatusCode;
use serde_json::{Value, json};

use crate::port::{ACTUATOR_JSON, Port};

#[tokio::test]
async fn the_whole_has_components_and_groups() {
    let port = Port::open().await;
    let (status, media_type, body) = port.get("/actuator/health").await;
    assert_eq!((status, media_type.as_str()), (StatusCode::OK, ACTUATOR_JSON));
    let mut body: Value = serde_json::from_str(&body).unwrap();
    let disk = body["components"]["diskSpace"]["details"].as_object_mut().unwrap();
    assert_eq!(disk["path"], std::env::current_dir().unwrap().to_string_lossy().as_ref());
    for stays_not in ["free", "path", "total"] {
        disk[stays_not] = json!(stays_not);
    }
    insta::assert_json_snapshot!(body);
}

#[tokio::test]
async fn a_component_can_be_asked_for_alone() {
    let port = Port::open().await;
    let up = json!({"status": "UP", "details": {"connections": 3}});
    assert_eq!(port.json("/actuator/health/db").await, (StatusCode::OK, up));
    for path in ["/actuator/health/cache", "/actuator/health/db/more", "/actuator/health/readiness/db"] {
        let (status, problem) = port.json(path).await;
        assert_eq!((status, &problem["instance"]), (StatusCode::NOT_FOUND, &json!(path)));
    }
}

#[tokio::test]
async fn what_is_slower_is_served_and_what_is_down_is_not() {
    let port = Port::open_with(ComponentHealth::degraded("slow")).await;
    let (status, body) = port.json("/actuator/health").await;
    assert_eq!((status, &body["status"]), (StatusCode::OK, &json!("DEGRADED")));
    assert_eq!(port.get("/actuator/health/db").await.0, StatusCode::OK);

    let port = Port::open_with(ComponentHealth::down("gone")).await;
    let (status, body) = port.json("/actuator/health").await;
    assert_eq!((status, &body["status"]), (StatusCode::SERVICE_UNAVAILABLE, &json!("DOWN")));
    let down = json!({"status": "DOWN", "details": {"reason": "gone"}});
    assert_eq!(port.json("/actuator/health/db").await, (StatusCode::SERVICE_UNAVAILABLE, down));
    assert_eq!(port.get("/actuator/health/diskSpace").await.0, StatusCode::OK);
}

#[tokio::test]
async fn the_groups_are_those_that_orchestrators_ask_for() {
    let port = Port::open().await;
    let alive = json!({"status": "UP", "components": {"livenessState": {"status": "UP"}}});
    assert_eq!(port.json("/actuator/health/liveness").await, (StatusCode::OK, alive));

    let starting = json!({"status": "OUT_OF_SERVICE", "details": {"reason": "starting"}});
    let out = json!({
        "status": "OUT_OF_SERVICE", "components": {"readinessState": {"status": "UP"}, "storage": starting},
    });
    assert_eq!(port.json("/actuator/health/readiness").await, (StatusCode::SERVICE_UNAVAILABLE, out));
    let one = port.json("/actuator/health/readiness/storage").await;
    assert_eq!(one, (StatusCode::SERVICE_UNAVAILABLE, starting));

    port.storage.set_ready();
    let ready =
        json!({"status": "UP", "components": {"readinessState": {"status": "UP"}, "storage": {"status": "UP"}}});
    assert_eq!(port.json("/actuator/health/readiness").await, (StatusCode::OK, ready));

    port.lifecycle.shut_down();
    let (status, body) = port.json("/actuator/health/readiness").await;
    let draining = json!({"status": "OUT_OF_SERVICE", "details": {"reason": "draining"}});
    assert_eq!((status, &body["components"]["readinessState"]), (StatusCode::SERVICE_UNAVAILABLE, &draining));
    assert_eq!(port.get("/actuator/health/liveness").await.0, StatusCode::OK);
}
