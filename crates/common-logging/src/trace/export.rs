//! The way of spans to the collector: a bounded queue, and a thread that posts what is in it.

use std::{
    sync::atomic::{AtomicU64, Ordering},
    thread,
    time::Duration,
};

use opentelemetry::{InstrumentationScope, KeyValue};
use opentelemetry_otlp::{Protocol, RetryPolicy, WithExportConfig, WithHttpConfig};
use opentelemetry_sdk::{
    Resource,
    error::OTelSdkResult,
    trace::{BatchConfigBuilder, BatchSpanProcessor, SpanData, SpanExporter, SpanProcessor},
};
use reqwest::{blocking::Client, header::AUTHORIZATION, redirect::Policy};
use url::Url;

use super::{Service, TraceError};
use crate::mask_url;

/// Spans that wait, about a KB each. More are dropped: tracing never holds up what it looks at.
const QUEUE: usize = 4_096;
/// Spans in one request to the collector.
const BATCH: usize = 512;
/// How long a span waits for others at most.
const DELAY: Duration = Duration::from_secs(1);
/// How long the collector may take. What it does not take then is lost.
const EXPORT_TIMEOUT: Duration = Duration::from_secs(3);
/// How long shut-down waits for the last spans to go out.
const FLUSH_TIMEOUT: Duration = Duration::from_secs(2);

/// Takes spans that have ended.
#[derive(Debug)]
pub(super) struct Pipeline {
    processor: BatchSpanProcessor,
    scope: InstrumentationScope,
}

impl Pipeline {
    pub(super) fn start(collector: Url, service: &Service<'_>) -> Result<Self, TraceError> {
        // A blocking client must not be made on a thread of the runtime.
        let made = thread::spawn(|| exporter(collector)).join();
        let inner = made.unwrap_or_else(|_| Err(TraceError::Exporter("making it panicked".to_owned())))?;
        let exporter = LastingExporter { inner, lost: AtomicU64::new(0) };
        let bounds = BatchConfigBuilder::default()
            .with_max_queue_size(QUEUE)
            .with_max_export_batch_size(BATCH)
            .with_scheduled_delay(DELAY)
            .build();
        let mut processor = BatchSpanProcessor::new(exporter, bounds);
        processor.set_resource(&resource(service));
        let scope = InstrumentationScope::builder(service.name.to_owned()).with_version(service.version).build();
        Ok(Self { processor, scope })
    }

    pub(super) fn take(&self, span: SpanData) {
        self.processor.on_end(span);
    }

    pub(super) fn scope(&self) -> InstrumentationScope {
        self.scope.clone()
    }

    pub(super) fn shut_down(&self) {
        if let Err(error) = self.processor.shutdown_with_timeout(FLUSH_TIMEOUT) {
            tracing::warn!(error = %error, "the last traces did not go out in time");
        }
    }
}

fn resource(service: &Service<'_>) -> Resource {
    Resource::builder_empty()
        .with_attributes([
            KeyValue::new("service.name", service.name.to_owned()),
            KeyValue::new("service.version", service.version.to_owned()),
            KeyValue::new("service.instance.id", service.instance_id.to_owned()),
        ])
        .build()
}

fn exporter(collector: Url) -> Result<opentelemetry_otlp::SpanExporter, TraceError> {
    let client = Client::builder().timeout(EXPORT_TIMEOUT).no_proxy().redirect(Policy::none()).build()?;
    // It makes a header of user and password in the URL.
    let request = client.post(collector).build()?;
    let authorization = request.headers().get(AUTHORIZATION).and_then(|value| value.to_str().ok());
    let headers = authorization.map(|value| (AUTHORIZATION.to_string(), value.to_owned()));
    opentelemetry_otlp::SpanExporter::builder()
        .with_http()
        .with_http_client(client)
        .with_headers(headers.into_iter().collect())
        .with_protocol(Protocol::HttpBinary)
        .with_endpoint(request.url().as_str())
        .with_timeout(EXPORT_TIMEOUT)
        .with_retry_policy(RetryPolicy::disabled())
        .build()
        .map_err(|error| TraceError::Exporter(mask_url(&error.to_string()).into_owned()))
}

/// An exporter that outlasts its collector. Logs when the collector goes and when it is back, not each batch that is lost.
#[derive(Debug)]
struct LastingExporter {
    inner: opentelemetry_otlp::SpanExporter,
    lost: AtomicU64,
}

impl SpanExporter for LastingExporter {
    async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
        let count = batch.len() as u64;
        match self.inner.export(batch).await {
            Ok(()) => match self.lost.swap(0, Ordering::Relaxed) {
                0 => {}
                lost => tracing::info!(spans.lost = lost, "the collector takes traces again"),
            },
            Err(error) if self.lost.fetch_add(count, Ordering::Relaxed) == 0 => {
                tracing::warn!(error = %error, "the collector takes no traces; they are lost until it does");
            }
            Err(_) => {}
        }
        Ok(())
    }

    fn set_resource(&mut self, resource: &Resource) {
        self.inner.set_resource(resource);
    }
}
