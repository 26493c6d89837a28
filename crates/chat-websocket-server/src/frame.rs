//! Text frames as they go over the wire: encoded once, and then the same bytes for every session.
//!
//! The WebSocket library reads and does the handshakes and control frames. A text frame from the server is two to ten
//! bytes and the text (RFC 6455, 5.2: not masked, not fragmented), so that what is shared needs no copy for each session.

use std::{
    fmt,
    str::{self, Utf8Error},
};

use bytes::{BufMut, Bytes, BytesMut};

/// FIN, and that it is text.
const TEXT: u8 = 0x81;
/// FIN, and that it is a ping; of no length.
const PING: &[u8] = &[0x89, 0];
/// Lengths up to here stand in the second byte.
const SHORT: usize = 125;
/// There instead of a length: it follows in two bytes.
const IN_TWO_BYTES: u8 = 126;
/// The same in eight bytes.
const IN_EIGHT_BYTES: u8 = 127;

/// One text frame. Cloning it shares the bytes.
#[derive(Clone, PartialEq, Eq)]
pub struct TextFrame(Bytes);

impl TextFrame {
    /// A frame with this text, which is checked to be one.
    pub fn from_utf8(text: &[u8]) -> Result<Self, Utf8Error> {
        UncheckedFrame::new(text).check()
    }

    /// Its text.
    pub fn text(&self) -> &str {
        str::from_utf8(payload(&self.0)).unwrap_or_default()
    }

    /// Its length on the wire, in bytes.
    #[expect(clippy::len_without_is_empty, reason = "it has a header")]
    pub const fn len(&self) -> usize {
        self.0.len()
    }
}

impl From<&str> for TextFrame {
    fn from(text: &str) -> Self {
        Self(encode(text.as_bytes()))
    }
}

impl Default for TextFrame {
    fn default() -> Self {
        Self::from("")
    }
}

impl fmt::Debug for TextFrame {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self.text(), f)
    }
}

/// A frame with a payload of which nobody knows yet whether it is text.
#[derive(Clone, Debug)]
pub struct UncheckedFrame(Bytes);

impl UncheckedFrame {
    /// Copies the payload: it may lie in a much larger buffer, which it would keep.
    pub fn new(payload: &[u8]) -> Self {
        Self(encode(payload))
    }

    /// The payload.
    pub fn payload(&self) -> &[u8] {
        payload(&self.0)
    }

    /// A text frame, if the payload is UTF-8.
    pub fn check(self) -> Result<TextFrame, Utf8Error> {
        str::from_utf8(self.payload())?;
        Ok(TextFrame(self.0))
    }
}

/// Frames that go out together, as one piece of memory.
#[derive(Clone, PartialEq, Eq)]
pub struct Frames {
    wire: Bytes,
    count: usize,
}

impl Frames {
    /// These frames, behind one another. One alone is not copied.
    pub fn join<'a>(frames: impl ExactSizeIterator<Item = &'a TextFrame> + Clone) -> Self {
        let count = frames.len();
        if let (1, Some(frame)) = (count, frames.clone().next()) {
            return frame.clone().into();
        }
        let mut wire = BytesMut::with_capacity(frames.clone().map(TextFrame::len).sum());
        frames.for_each(|frame| wire.extend_from_slice(&frame.0));
        Self { wire: wire.freeze(), count }
    }

    /// How many there are.
    pub const fn count(&self) -> usize {
        self.count
    }

    /// All their bytes.
    pub const fn wire(&self) -> &Bytes {
        &self.wire
    }

    /// A ping.
    pub const fn ping() -> Self {
        Self { wire: Bytes::from_static(PING), count: 1 }
    }

    /// Whole frames of whatever kind, as they go over the wire.
    pub fn encoded(wire: &[u8]) -> Self {
        let (mut rest, mut count) = (wire, 0);
        while !rest.is_empty() {
            rest = split(rest).1;
            count += 1;
        }
        Self { wire: Bytes::copy_from_slice(wire), count }
    }

    /// What is left when this many bytes are written: the rest of the frame in the middle of which they end, which is
    /// nothing if they end with a frame, and the frames behind it.
    pub fn after(&self, written: usize) -> (Bytes, Option<Self>) {
        let (mut rest, mut count) = (&self.wire[..], self.count);
        while self.wire.len() - rest.len() < written {
            rest = split(rest).1;
            count -= 1;
        }
        let begin = self.wire.len() - rest.len();
        let behind = (count > 0).then(|| Self { wire: self.wire.slice(begin..), count });
        (self.wire.slice(written..begin), behind)
    }

    /// Their texts.
    pub fn texts(&self) -> Vec<&str> {
        let mut rest = &self.wire[..];
        let mut texts = Vec::with_capacity(self.count);
        while !rest.is_empty() {
            let (text, others) = split(rest);
            texts.push(str::from_utf8(text).unwrap_or_default());
            rest = others;
        }
        texts
    }
}

impl From<TextFrame> for Frames {
    fn from(frame: TextFrame) -> Self {
        Self { wire: frame.0, count: 1 }
    }
}

impl fmt::Debug for Frames {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.texts()).finish()
    }
}

fn encode(payload: &[u8]) -> Bytes {
    let mut wire = BytesMut::with_capacity(10 + payload.len());
    wire.put_u8(TEXT);
    let length = payload.len();
    match (u8::try_from(length), u16::try_from(length)) {
        (Ok(short), _) if length <= SHORT => wire.put_u8(short),
        (_, Ok(long)) => {
            wire.put_u8(IN_TWO_BYTES);
            wire.put_u16(long);
        }
        _ => {
            wire.put_u8(IN_EIGHT_BYTES);
            wire.put_u64(length as u64);
        }
    }
    wire.put_slice(payload);
    wire.freeze()
}

fn payload(frame: &[u8]) -> &[u8] {
    split(frame).0
}

/// The payload of the first of these frames, and the others.
fn split(frames: &[u8]) -> (&[u8], &[u8]) {
    let number = |bytes: &[u8]| bytes.iter().fold(0, |number, byte| number << 8 | usize::from(*byte));
    let (begin, length) = match frames[1] {
        IN_TWO_BYTES => (4, number(&frames[2..4])),
        IN_EIGHT_BYTES => (10, number(&frames[2..10])),
        short => (2, usize::from(short)),
    };
    (&frames[begin..begin + length], &frames[begin + length..])
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use tokio_tungstenite::tungstenite::protocol::{Message, Role, WebSocket};

    use super::*;

    const LENGTHS: [usize; 8] = [0, 1, 125, 126, 127, 65_535, 65_536, 70_000];

    /// What a client reads.
    fn read(wire: &[u8]) -> Vec<String> {
        let mut client = WebSocket::from_raw_socket(Cursor::new(wire.to_vec()), Role::Client, None);
        let messages = std::iter::from_fn(|| match client.read() {
            Ok(Message::Text(text)) => Some(text.to_string()),
            _ => None,
        });
        messages.collect()
    }

    #[test]
    fn a_client_reads_what_was_encoded() {
        for length in LENGTHS {
            let text = "x".repeat(length);
            let frame = TextFrame::from(&*text);
            assert_eq!(frame.text(), text);
            assert_eq!(read(Frames::from(frame).wire()), [text]);
        }
    }

    #[test]
    fn frames_are_joined_and_told_apart() {
        let texts: Vec<_> = LENGTHS.iter().map(|length| "é".repeat(*length)).collect();
        let frames: Vec<_> = texts.iter().map(|text| TextFrame::from(&**text)).collect();
        let joined = Frames::join(frames.iter());
        assert_eq!((joined.count(), joined.texts()), (texts.len(), texts.iter().map(String::as_str).collect()));
        assert_eq!(read(joined.wire()), texts);
        assert_eq!(joined.wire().len(), frames.iter().map(TextFrame::len).sum::<usize>());
    }

    #[test]
    fn a_frame_that_was_begun_is_finished() {
        let frames = ["ab", "cde", "f"].map(TextFrame::from);
        let joined = Frames::join(frames.iter());
        let left = (0..=joined.wire().len()).map(|written| joined.after(written));
        let (unfinished, behind): (Vec<_>, Vec<_>) =
            left.map(|(rest, behind)| (rest.len(), behind.map_or(0, |frames| frames.count()))).unzip();
        assert_eq!(unfinished, [0, 3, 2, 1, 0, 4, 3, 2, 1, 0, 2, 1, 0]);
        assert_eq!(behind, [3, 2, 2, 2, 2, 1, 1, 1, 1, 1, 0, 0, 0]);
    }

    #[test]
    fn control_frames_are_frames() {
        let joined = Frames::encoded(&[PING, &encode(b"ab"), PING].concat());
        assert_eq!((joined.count(), joined.after(3).1.map(|behind| behind.count())), (3, Some(1)));
        let mut client = WebSocket::from_raw_socket(Cursor::new(joined.wire().to_vec()), Role::Client, None);
        assert_eq!(client.read().unwrap(), Message::Ping(Bytes::new()));
        assert_eq!(client.read().unwrap(), Message::Text("ab".into()));
    }

    #[test]
    fn one_frame_is_shared() {
        let frame = TextFrame::from("a");
        let joined = Frames::join([&frame].into_iter());
        assert_eq!(joined.wire().as_ptr(), frame.0.as_ptr());
    }

    #[test]
    fn what_is_no_text_is_no_text_frame() {
        assert!(TextFrame::from_utf8(b"x\xff").is_err());
        assert_eq!(TextFrame::from_utf8("café".as_bytes()).unwrap().text(), "café");
        let unchecked = UncheckedFrame::new(b"\xff");
        assert_eq!(unchecked.payload(), b"\xff");
        assert!(unchecked.check().is_err());
    }
}
