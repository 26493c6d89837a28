//! The id that follows a request through every process.

use std::{fmt, sync::Arc};

use crate::traceparent::Traceparent;

/// Longest id that is taken over from a caller.
const MAX_LEN: usize = 64;

/// Names one request in logs, events and answers. Cheap to clone.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct TraceId(Arc<str>);

impl TraceId {
    /// The caller's id, from `traceparent` (W3C trace context) or else from `X-Trace-Id`; a new one if neither
    /// header has a valid value.
    pub fn from_headers(traceparent: Option<&str>, x_trace_id: Option<&str>) -> Self {
        traceparent
            .and_then(Self::from_traceparent)
            .or_else(|| x_trace_id.and_then(Self::from_x_trace_id))
            .unwrap_or_else(Self::random)
    }

    /// A new id of 32 hexadecimal digits.
    pub fn random() -> Self {
        // All zeros means "no trace" in W3C trace context.
        Self(format!("{:032x}", rand::random::<u128>().max(1)).into())
    }

    /// The id in a `traceparent` header, if that is well-formed.
    pub fn from_traceparent(header: &str) -> Option<Self> {
        Traceparent::parse(header).map(|parent| Self(parent.trace.into()))
    }

    /// The id in an `X-Trace-Id` header: 1 to 64 characters of `A-Z a-z 0-9 . _ -`.
    pub fn from_x_trace_id(header: &str) -> Option<Self> {
        let header = header.trim();
        let sound = header.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-'));
        (sound && (1..=MAX_LEN).contains(&header.len())).then(|| Self(header.into()))
    }

    /// The id as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for TraceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::traceparent::is_hex;

    const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";

    #[test]
    fn traceparent_is_taken_over() {
        let id = TraceId::from_traceparent(&format!("00-{TRACE}-00f067aa0ba902b7-01")).unwrap();
        assert_eq!(id.as_str(), TRACE);
        assert!(TraceId::from_traceparent(&format!("01-{TRACE}-00f067aa0ba902b7-01-more")).is_some());
    }

    #[test]
    fn broken_traceparents_are_not() {
        for header in [
            String::new(),
            TRACE.to_owned(),
            format!("00-{TRACE}-00f067aa0ba902b7"),
            format!("00-{TRACE}-00f067aa0ba902b7-01-more"),
            format!("ff-{TRACE}-00f067aa0ba902b7-01"),
            format!("00-{}-00f067aa0ba902b7-01", TRACE.to_uppercase()),
            format!("00-{}-00f067aa0ba902b7-01", "0".repeat(32)),
            format!("00-{TRACE}-0000000000000000-01"),
            format!("00-{}-00f067aa0ba902b7-01", &TRACE[1..]),
        ] {
            assert_eq!(TraceId::from_traceparent(&header), None, "{header}");
        }
    }

    #[test]
    fn x_trace_id_has_a_bound_and_an_alphabet() {
        assert_eq!(TraceId::from_x_trace_id("req_1.a-B").unwrap().as_str(), "req_1.a-B");
        assert!(TraceId::from_x_trace_id(&"a".repeat(64)).is_some());
        for header in ["", " ", "a b", "a\nb", "ä", "{}", &"a".repeat(65)] {
            assert_eq!(TraceId::from_x_trace_id(header), None, "{header:?}");
        }
    }

    #[test]
    fn traceparent_wins_and_nothing_valid_gives_a_new_id() {
        let parent = format!("00-{TRACE}-00f067aa0ba902b7-01");
        assert_eq!(TraceId::from_headers(Some(&parent), Some("x")).as_str(), TRACE);
        assert_eq!(TraceId::from_headers(Some("broken"), Some("x")).as_str(), "x");
        let fresh = TraceId::from_headers(Some("broken"), Some("not valid"));
        assert!(is_hex(fresh.as_str(), 32));
        assert_ne!(fresh, TraceId::from_headers(None, None));
    }
}
