//! A span while it lasts.

use std::{
    sync::Arc,
    time::{Instant, SystemTime},
};

use opentelemetry::{
    KeyValue, Value,
    trace::{SpanContext, SpanId, SpanKind, Status, TraceFlags, TraceState},
};
use opentelemetry_sdk::trace::SpanData;

use super::{Place, export::Pipeline};
use crate::{
    MASK,
    mask::{is_secret_name, mask_url},
};

/// Something that takes time in a request that is traced. It ends when it is dropped.
#[derive(Debug)]
pub struct Span {
    pipeline: Arc<Pipeline>,
    place: Place,
    parent: Parent,
    kind: SpanKind,
    name: std::borrow::Cow<'static, str>,
    began: Instant,
    attributes: Vec<KeyValue>,
    failure: Option<String>,
}

/// What a span hangs under.
#[derive(Clone, Copy, Debug)]
pub(super) enum Parent {
    None,
    Here(SpanId),
    Elsewhere(SpanId),
}

impl Span {
    pub(super) fn begin(
        pipeline: Arc<Pipeline>,
        place: Place,
        parent: Parent,
        kind: SpanKind,
        name: impl Into<std::borrow::Cow<'static, str>>,
    ) -> Self {
        let (began, name) = (Instant::now(), name.into());
        Self { pipeline, place, parent, kind, name, began, attributes: Vec::new(), failure: None }
    }

    /// Where it is: what hangs under it needs this.
    pub fn place(&self) -> Place {
        self.place
    }

    /// A span under this one that begins now.
    #[must_use]
    pub fn child(&self, kind: SpanKind, name: &'static str) -> Self {
        self.child_at(self.place.another(), kind, name)
    }

    /// The same at a place of which others have heard already.
    #[must_use]
    pub fn child_at(&self, place: Place, kind: SpanKind, name: &'static str) -> Self {
        Self::begin(Arc::clone(&self.pipeline), place, Parent::Here(self.place.span), kind, name)
    }

    /// It began at this moment, earlier than now.
    #[must_use]
    pub fn since(mut self, began: Instant) -> Self {
        self.began = began;
        self
    }

    /// Says more about it. Never put a message's text or a name into a span.
    pub fn set(&mut self, key: &'static str, value: impl Into<Value>) {
        let value = match value.into() {
            _ if is_secret_name(key) => MASK.into(),
            Value::String(text) => mask_url(text.as_str()).into_owned().into(),
            other => other,
        };
        self.attributes.push(KeyValue::new(key, value));
    }

    /// What it is about did not work.
    pub fn fail(&mut self, why: impl Into<String>) {
        self.failure = Some(mask_url(&why.into()).into_owned());
    }
}

impl Drop for Span {
    fn drop(&mut self) {
        #[expect(clippy::disallowed_methods, reason = "spans of several processes are compared by the microsecond")]
        let end_time = SystemTime::now();
        let flags = TraceFlags::SAMPLED;
        let (parent_span_id, parent_span_is_remote) = match self.parent {
            Parent::None => (SpanId::INVALID, false),
            Parent::Here(span) => (span, false),
            Parent::Elsewhere(span) => (span, true),
        };
        self.pipeline.take(SpanData {
            span_context: SpanContext::new(self.place.trace, self.place.span, flags, false, TraceState::default()),
            parent_span_id,
            parent_span_is_remote,
            span_kind: self.kind.clone(),
            name: std::mem::take(&mut self.name),
            // Not the clock of the wall at the beginning: it may have been set since.
            start_time: end_time - self.began.elapsed(),
            end_time,
            attributes: std::mem::take(&mut self.attributes),
            dropped_attributes_count: 0,
            events: Default::default(),
            links: Default::default(),
            status: self.failure.take().map_or(Status::Unset, Status::error),
            instrumentation_scope: self.pipeline.scope(),
        });
    }
}
