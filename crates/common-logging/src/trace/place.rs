//! Where in which trace.

use std::fmt;

use opentelemetry::trace::{SpanId, TraceId};

use crate::traceparent::Traceparent;

/// A span of a request that is traced, as others refer to it. Whoever has one records spans under it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    pub(super) trace: TraceId,
    pub(super) span: SpanId,
}

impl Place {
    /// The place that a `traceparent` names; `None` if it is broken, or if its trace is not recorded.
    pub fn from_traceparent(text: &str) -> Option<Self> {
        let parent = Traceparent::parse(text).filter(|parent| parent.sampled)?;
        Some(Self { trace: TraceId::from_hex(parent.trace).ok()?, span: SpanId::from_hex(parent.span).ok()? })
    }

    /// A new place in the same trace, for a span that begins later than others hear of it.
    #[must_use]
    pub fn another(&self) -> Self {
        Self::new_in(self.trace)
    }

    pub(super) fn new_in(trace: TraceId) -> Self {
        // All zeros means "no span".
        Self { trace, span: SpanId::from(rand::random::<u64>().max(1)) }
    }
}

/// As a `traceparent` that says: sampled.
impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "00-{}-{}-01", self.trace, self.span)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    #[test]
    fn a_place_is_written_as_it_was_read() {
        assert_eq!(Place::from_traceparent(TEXT).unwrap().to_string(), TEXT);
    }

    #[test]
    fn what_is_not_recorded_is_no_place() {
        assert_eq!(Place::from_traceparent(&TEXT.replace("-01", "-00")), None);
        assert_eq!(Place::from_traceparent("x"), None);
    }

    #[test]
    fn another_place_is_in_the_same_trace() {
        let place = Place::from_traceparent(TEXT).unwrap();
        let another = place.another();
        assert_eq!(another.trace, place.trace);
        assert_ne!(another.span, place.span);
    }
}
