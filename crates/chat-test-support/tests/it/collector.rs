//! A collector of traces that keeps what it receives.

use std::sync::{Arc, Mutex};

use axum::{Router, body::Bytes, extract::State, http::StatusCode, routing::post};
use chat_test_support::wait_until;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::{KeyValue, any_value::Value};
use opentelemetry_proto::tonic::trace::v1::Span;
use prost::Message;
use tokio::net::TcpListener;
use tokio::task::JoinSet;

use crate::stock::DEADLINE;

/// Takes OTLP over HTTP until it is dropped.
pub(crate) struct Collector {
    url: String,
    bodies: Arc<Mutex<Vec<Bytes>>>,
    _server: JoinSet<()>,
}

/// A span, and what its process says of itself.
#[derive(Debug)]
pub(crate) struct Received {
    pub(crate) span: Span,
    resource: Vec<KeyValue>,
}

impl Collector {
    pub(crate) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let bodies = Arc::<Mutex<Vec<Bytes>>>::default();
        let router = Router::new().route("/v1/traces", post(take)).with_state(bodies.clone());
        let mut server = JoinSet::new();
        server.spawn(async move { axum::serve(listener, router).await.unwrap() });
        Self { url, bodies, _server: server }
    }

    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    /// All spans, once there are so many.
    pub(crate) async fn until(&self, count: usize) -> Vec<Received> {
        wait_until(&format!("{count} spans are received"), DEADLINE, async || self.received().len() >= count).await;
        self.received()
    }

    pub(crate) fn received(&self) -> Vec<Received> {
        let mut received = Vec::new();
        for body in &*self.bodies.lock().unwrap() {
            for of_process in ExportTraceServiceRequest::decode(&**body).unwrap().resource_spans {
                let resource = of_process.resource.unwrap().attributes;
                let spans = of_process.scope_spans.into_iter().flat_map(|of_scope| of_scope.spans);
                received.extend(spans.map(|span| Received { span, resource: resource.clone() }));
            }
        }
        received
    }

    /// Is this text anywhere in what was received?
    pub(crate) fn has_received(&self, text: &str) -> bool {
        let has = |body: &Bytes| body.windows(text.len()).any(|window| window == text.as_bytes());
        self.bodies.lock().unwrap().iter().any(has)
    }
}

async fn take(State(bodies): State<Arc<Mutex<Vec<Bytes>>>>, body: Bytes) -> StatusCode {
    bodies.lock().unwrap().push(body);
    StatusCode::OK
}

impl Received {
    pub(crate) fn trace(&self) -> String {
        hex(&self.span.trace_id)
    }

    pub(crate) fn id(&self) -> String {
        hex(&self.span.span_id)
    }

    /// Empty if it has none.
    pub(crate) fn parent(&self) -> String {
        hex(&self.span.parent_span_id)
    }

    pub(crate) fn attribute(&self, key: &str) -> String {
        text(&self.span.attributes, key)
    }

    pub(crate) fn resource(&self, key: &str) -> String {
        text(&self.resource, key)
    }
}

fn text(of: &[KeyValue], key: &str) -> String {
    let value = of.iter().find(|one| one.key == key).and_then(|one| one.value.clone()?.value);
    match value.unwrap_or_else(|| panic!("no {key} in {of:?}")) {
        Value::StringValue(text) => text,
        Value::IntValue(number) => number.to_string(),
        other => panic!("{key} is {other:?}"),
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
