//! `traceparent` of W3C trace context.

/// The fields of a `traceparent`: `00-{32 hex}-{16 hex}-{2 hex}`, lower case, ids not all zeros. Later versions than 00 may
/// carry more fields behind these.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Traceparent<'a> {
    /// 32 digits.
    pub(crate) trace: &'a str,
    /// 16 digits: the span that calls.
    pub(crate) span: &'a str,
    /// The caller records its part of the trace.
    pub(crate) sampled: bool,
}

impl<'a> Traceparent<'a> {
    /// `None` for everything that is not well-formed.
    pub(crate) fn parse(header: &'a str) -> Option<Self> {
        let mut parts = header.trim().split('-');
        let (version, trace, span, flags) = (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
        let well_formed = is_hex(version, 2) && is_hex(trace, 32) && is_hex(span, 16) && is_hex(flags, 2);
        let known = version != "ff" && (version != "00" || parts.next().is_none());
        let real = trace.bytes().any(|b| b != b'0') && span.bytes().any(|b| b != b'0');
        let sampled = u8::from_str_radix(flags, 16).is_ok_and(|flags| flags & 1 == 1);
        (well_formed && known && real).then_some(Self { trace, span, sampled })
    }
}

/// Is the text so many hexadecimal digits in lower case?
pub(crate) fn is_hex(text: &str, len: usize) -> bool {
    text.len() == len && text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_flag_says_whether_the_caller_records() {
        let sampled = |flags: &str| {
            let header = format!("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-{flags}");
            Traceparent::parse(&header).map(|parent| parent.sampled)
        };
        assert_eq!(
            [sampled("00"), sampled("01"), sampled("02"), sampled("03")].map(Option::unwrap),
            [false, true, false, true]
        );
        assert_eq!(sampled("0g"), None);
    }
}
