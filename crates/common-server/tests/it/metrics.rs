//! `/actuator/metrics` and `/actuator/prometheus`.

use reqwest::{Client, StatusCode};
use serde_json::{Value, json};

use crate::port::{ACTUATOR_JSON, Port, taken_apart};

/// What every process on Linux has, by its name for a scraper.
const OF_THE_PROCESS: [&str; 11] = [
    "process_cpu_seconds_total",
    "process_max_fds",
    "process_open_fds",
    "process_resident_memory_bytes",
    "process_start_time_seconds",
    "process_threads",
    "process_virtual_memory_bytes",
    "tokio_alive_tasks",
    "tokio_global_queue_depth",
    "tokio_worker_busy_seconds_total",
    "tokio_workers",
];

#[tokio::test]
async fn the_names_are_sorted() {
    let (status, body) = Port::open().await.json("/actuator/metrics").await;
    assert_eq!(status, StatusCode::OK);
    let names: Vec<_> = body["names"].as_array().unwrap().iter().map(|name| name.as_str().unwrap()).collect();
    assert!(names.is_sorted(), "{names:?}");
    for name in ["greetings", "guests", "stay_seconds"].into_iter().chain(OF_THE_PROCESS) {
        let present = names.contains(&name.trim_end_matches("_total"));
        assert!(present || (name.starts_with("process_") && cfg!(not(target_os = "linux"))), "{name} in {names:?}");
    }
}

#[tokio::test]
async fn a_metric_has_measurements_and_tags() {
    let port = Port::open().await;
    let (_, media_type, body) = port.get("/actuator/metrics/greetings").await;
    assert_eq!(media_type, ACTUATOR_JSON);
    let mut shown = vec![serde_json::from_str::<Value>(&body).unwrap()];
    for path in ["greetings?tag=language:de", "guests", "stay_seconds"] {
        shown.push(port.json(&format!("/actuator/metrics/{path}")).await.1);
    }
    insta::assert_json_snapshot!(shown);
}

#[tokio::test]
async fn a_metric_or_tag_that_is_not_there_is_a_problem() {
    let port = Port::open().await;
    for path in ["nothing", "greetings_total", "greetings?tag=language:fr", "greetings?tag=language:de&tag=a:b"] {
        let (status, problem) = port.json(&format!("/actuator/metrics/{path}")).await;
        assert_eq!((status, &problem["code"]), (StatusCode::NOT_FOUND, &json!("NOT_FOUND")), "{path}");
    }
    let (status, problem) = port.json("/actuator/metrics/greetings?tag=language").await;
    assert_eq!((status, &problem["code"]), (StatusCode::BAD_REQUEST, &json!("INVALID_PARAMETER")));
}

#[tokio::test]
async fn a_scraper_gets_the_form_that_it_asks_for() {
    let port = Port::open().await;
    let (_, media_type, text) = port.get("/actuator/prometheus").await;
    assert_eq!(media_type, "application/openmetrics-text; version=1.0.0; charset=utf-8");
    assert!(text.contains("# TYPE greetings counter\ngreetings_total{language="), "{text}");
    assert!(text.ends_with("# EOF\n"), "{text}");

    let older = Client::new().get(port.url("/actuator/prometheus")).header("accept", "text/plain;version=0.0.4");
    let (_, media_type, text) = taken_apart(older).await;
    assert_eq!(media_type, "text/plain; version=0.0.4; charset=utf-8");
    assert!(text.contains("# TYPE greetings_total counter\ngreetings_total{language="), "{text}");
    assert!(text.contains("stay_seconds_bucket{le=\"+Inf\"} 2\n") && !text.contains("# EOF"), "{text}");
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn the_process_tells_about_itself() {
    let port = Port::open().await;
    let value = async |name: &str| {
        let (_, metric) = port.json(&format!("/actuator/metrics/{}", name.trim_end_matches("_total"))).await;
        metric["measurements"][0]["value"].as_f64().unwrap()
    };
    for name in OF_THE_PROCESS.into_iter().filter(|name| !name.contains("queue") && !name.contains("cpu")) {
        assert!(value(name).await > 0.0, "{name}");
    }
    assert!(value("process_cpu_seconds_total").await >= 0.0);
    assert!(value("process_open_fds").await <= value("process_max_fds").await);
    assert!(value("process_resident_memory_bytes").await < value("process_virtual_memory_bytes").await);
    // The test runs on a single thread; between 2020 and 2100.
    assert_eq!(value("tokio_workers").await, 1.0);
    assert!((1.6e9..4.1e9).contains(&value("process_start_time_seconds").await));
}
