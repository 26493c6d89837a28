use std::{
    io::{Read, Write},
    net::TcpListener,
    thread,
};

use super::*;

const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";

/// A tracer whose collector is away: that changes nothing for those who ask it.
fn tracer(sample: f64) -> Tracer {
    started("http://127.0.0.1:9", sample)
}

fn started(endpoint: &str, sample: f64) -> Tracer {
    let config = TraceConfig { otlp_endpoint: Some(endpoint.into()), sample };
    Tracer::start(&config, &Service { name: "a-server", version: "1", instance_id: "i" }).unwrap()
}

fn place(tracer: &Tracer, traceparent: Option<&str>, x_trace_id: &str) -> Option<Place> {
    let trace_id = TraceId::from_headers(traceparent, Some(x_trace_id));
    Some(tracer.request(traceparent, &trace_id, "GET", "/x")?.place())
}

#[test]
fn a_traceparent_decides_and_chance_does_without_one() {
    let sampled = format!("00-{TRACE}-00f067aa0ba902b7-01");
    let unsampled = format!("00-{TRACE}-00f067aa0ba902b7-00");
    let (always, never) = (tracer(1.0), tracer(0.0));
    for tracer in [&always, &never] {
        assert_eq!(place(tracer, Some(&sampled), "x").unwrap().trace.to_string(), TRACE);
        assert_eq!(place(tracer, Some(&unsampled), "x"), None);
    }
    assert!(place(&always, None, "x").is_some() && place(&always, Some("broken"), "x").is_some());
    assert!(place(&never, None, "x").is_none() && place(&never, Some("broken"), "x").is_none());
}

#[test]
fn half_of_the_requests_is_about_half() {
    let tracer = tracer(0.5);
    let traced = (0..1_000).filter(|_| place(&tracer, None, "x").is_some()).count();
    assert!((400..600).contains(&traced), "{traced}");
}

#[test]
fn the_trace_has_the_id_of_the_log_lines_where_it_can() {
    let tracer = tracer(1.0);
    assert_eq!(place(&tracer, None, TRACE).unwrap().trace.to_string(), TRACE);
    for other in ["req-1", "4BF92F3577B34DA6A3CE929D0E0E4736", &"0".repeat(32)] {
        let trace = place(&tracer, None, other).unwrap().trace;
        assert!(trace != OtelTraceId::INVALID && trace.to_string() != other.to_lowercase(), "{other}");
    }
}

#[test]
fn without_a_collector_nothing_is_traced() {
    let tracer = Tracer::start(
        &TraceConfig { otlp_endpoint: None, sample: 1.0 },
        &Service { name: "a-server", version: "1", instance_id: "i" },
    );
    let tracer = tracer.unwrap();
    let parent = format!("00-{TRACE}-00f067aa0ba902b7-01");
    assert_eq!(place(&tracer, Some(&parent), "x"), None);
    assert!(tracer.span(Place::from_traceparent(&parent).unwrap(), SpanKind::Consumer, "deliver").is_none());
    tracer.shut_down();
}

/// What is sent to a collector, as bytes.
#[test]
fn a_password_becomes_a_header_and_secrets_become_nothing() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let endpoint = format!("http://user:p%40ss@{}/otlp", listener.local_addr().unwrap());
    let collector = thread::spawn(move || {
        let (mut socket, _) = listener.accept().unwrap();
        let mut request = Vec::new();
        // The span's name stands in the body, which comes last.
        while !String::from_utf8_lossy(&request).contains("the failure") {
            let mut some = [0; 4_096];
            let count = socket.read(&mut some).unwrap();
            assert_ne!(count, 0, "the request ended before its body");
            request.extend(&some[..count]);
        }
        socket.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").unwrap();
        String::from_utf8_lossy(&request).into_owned()
    });

    let tracer = started(&endpoint, 1.0);
    let mut span = tracer.request(None, &TraceId::random(), "GET", "/x").unwrap();
    span.set("auth.token", "hush1");
    span.set("url.full", "/ws?access_token=hush2");
    span.fail("the failure of redis://u:hush3@h");
    drop(span);
    tracer.shut_down();

    let request = collector.join().unwrap();
    assert!(request.starts_with("POST /otlp/v1/traces HTTP/1.1\r\n"), "{request}");
    // base64 of user:p@ss
    assert!(request.to_lowercase().contains("authorization: basic dxnlcjpwqhnz"), "{request}");
    assert!(!request.contains("hush") && !request.contains("p%40ss"), "{request}");
    assert_eq!(request.matches("***").count(), 3, "{request}");
}
