//! Traces: what one request did in every process, as spans that a collector puts together.
//!
//! There are few spans, begun by hand where something crosses a queue or a process. Whoever begins one needs a [`Place`] or
//! a [`Span`], and there is none in a request that is not traced: it pays for one look at an `Option`.

use std::sync::Arc;

pub use opentelemetry::trace::SpanKind;
use opentelemetry::trace::{SpanId, TraceId as OtelTraceId};

use crate::{
    TraceId,
    traceparent::{Traceparent, is_hex},
};

mod config;
mod export;
mod place;
mod span;
#[cfg(test)]
mod tests;

pub use config::TraceConfig;
pub use place::Place;
pub use span::Span;

use export::Pipeline;
use span::Parent;

/// Begins spans, or does not, where no collector is configured. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Tracer {
    active: Option<Active>,
}

#[derive(Clone, Debug)]
struct Active {
    pipeline: Arc<Pipeline>,
    sample: f64,
}

/// Who the spans are of.
#[derive(Clone, Copy, Debug)]
pub struct Service<'a> {
    /// `service.name`
    pub name: &'static str,
    /// `service.version`
    pub version: &'static str,
    /// `service.instance.id`, which is new at each start.
    pub instance_id: &'a str,
}

impl Tracer {
    /// A tracer as configured. It need not find its collector: spans are lost until it does.
    ///
    /// # Errors
    /// The configuration is bad, or no HTTP client can be made.
    pub fn start(config: &TraceConfig, service: &Service<'_>) -> Result<Self, TraceError> {
        config.check()?;
        let Some(collector) = config.collector()? else { return Ok(Self::default()) };
        let pipeline = Arc::new(Pipeline::start(collector, service)?);
        Ok(Self { active: Some(Active { pipeline, sample: config.sample }) })
    }

    /// Begins the span of an HTTP request, if it is to be traced: as its `traceparent` says, or by chance without one.
    pub fn request(&self, traceparent: Option<&str>, trace_id: &TraceId, method: &str, route: &str) -> Option<Span> {
        let active = self.active.as_ref()?;
        let (trace, parent) = match traceparent.and_then(Traceparent::parse) {
            Some(parent) if !parent.sampled => return None,
            Some(parent) => (parent.trace, Parent::Elsewhere(SpanId::from_hex(parent.span).ok()?)),
            None if rand::random::<f64>() >= active.sample => return None,
            None => (trace_id.as_str(), Parent::None),
        };
        // An X-Trace-Id may be any text; then the span says it, and the log lines are found by it.
        let trace = if is_hex(trace, 32) { OtelTraceId::from_hex(trace).ok() } else { None };
        let trace = trace.filter(|trace| *trace != OtelTraceId::INVALID);
        let place = Place::new_in(trace.unwrap_or_else(|| OtelTraceId::from(rand::random::<u128>().max(1))));
        let name = format!("{method} {route}");
        let mut span = Span::begin(Arc::clone(&active.pipeline), place, parent, SpanKind::Server, name);
        span.set("http.request.method", method.to_owned());
        span.set("http.route", route.to_owned());
        if trace.is_none() {
            span.set("chat.trace.id", trace_id.to_string());
        }
        Some(span)
    }

    /// Begins a span under one of another process.
    pub fn span(&self, parent: Place, kind: SpanKind, name: &'static str) -> Option<Span> {
        let active = self.active.as_ref()?;
        Some(Span::begin(Arc::clone(&active.pipeline), parent.another(), Parent::Elsewhere(parent.span), kind, name))
    }

    /// Sends what still waits, and takes at most two seconds for it. What ends later is lost.
    pub fn shut_down(&self) {
        if let Some(active) = &self.active {
            active.pipeline.shut_down();
        }
    }
}

/// Why nothing can be traced.
#[derive(Debug, thiserror::Error)]
pub enum TraceError {
    /// A value is not allowed.
    #[error("{0}")]
    Config(String),
    /// The way to the collector cannot be set up.
    #[error("traces cannot be exported: {0}")]
    Exporter(String),
}

impl From<reqwest::Error> for TraceError {
    fn from(error: reqwest::Error) -> Self {
        Self::Exporter(error.without_url().to_string())
    }
}
