//! As much of the WebSocket protocol as it takes to count messages at little cost.

/// A frame of a server, which is never masked.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Frame<'a> {
    Text(&'a [u8]),
    Ping(&'a [u8]),
    Close(&'a [u8]),
    Other,
}

const FINAL: u8 = 0x80;
const MASKED: u8 = 0x80;
const TEXT: u8 = 1;
const CLOSE: u8 = 8;
const PING: u8 = 9;
const PONG: u8 = 10;

/// Splits off the first frame; none if it is not whole.
pub(super) fn split(bytes: &[u8]) -> Option<(Frame<'_>, &[u8])> {
    let (&[first, second], rest) = bytes.split_first_chunk()?;
    let (length, rest) = match second {
        126 => rest.split_first_chunk().map(|(length, rest)| (u64::from(u16::from_be_bytes(*length)), rest))?,
        127 => rest.split_first_chunk().map(|(length, rest)| (u64::from_be_bytes(*length), rest))?,
        short => (u64::from(short), rest),
    };
    let (payload, rest) = rest.split_at_checked(usize::try_from(length).ok()?)?;
    let frame = match first & !FINAL {
        TEXT => Frame::Text(payload),
        PING => Frame::Ping(payload),
        CLOSE => Frame::Close(payload),
        _ => Frame::Other,
    };
    Some((frame, rest))
}

/// A whole text frame of a server.
pub(crate) fn text(payload: &[u8]) -> Vec<u8> {
    let mut frame = head(TEXT, 0, payload.len());
    frame.extend(payload);
    frame
}

/// A whole text frame of a client.
pub(super) fn text_of_client(payload: &[u8]) -> Vec<u8> {
    masked(TEXT, payload)
}

/// The answer of a client to a ping.
pub(super) fn pong(ping: &[u8]) -> Vec<u8> {
    masked(PONG, ping)
}

/// Masked with zeros, which change nothing.
fn masked(kind: u8, payload: &[u8]) -> Vec<u8> {
    let mut frame = head(kind, MASKED, payload.len());
    frame.extend([0; 4]);
    frame.extend(payload);
    frame
}

fn head(kind: u8, mask: u8, length: usize) -> Vec<u8> {
    let mut head = vec![FINAL | kind];
    match (u8::try_from(length), u16::try_from(length)) {
        (Ok(length @ ..126), _) => head.push(mask | length),
        (_, Ok(length)) => {
            head.push(mask | 126);
            head.extend(length.to_be_bytes());
        }
        _ => {
            head.push(mask | 127);
            head.extend((length as u64).to_be_bytes());
        }
    }
    head
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_of_all_lengths_are_read_back() {
        for length in [0, 1, 125, 126, 65_535, 65_536] {
            let payload = vec![b'x'; length];
            let mut bytes = text(&payload);
            bytes.push(42);
            assert_eq!(split(&bytes), Some((Frame::Text(&payload), &[42][..])), "{length}");
            assert_eq!(split(&bytes[..bytes.len() - 2]), None, "{length}, but not whole");
        }
        assert_eq!((split(&[]), split(&[0x81])), (None, None));
    }

    #[test]
    fn control_frames_are_told_apart() {
        assert_eq!(split(&[0x89, 1, 7]), Some((Frame::Ping(&[7]), &[][..])));
        assert_eq!(split(&[0x88, 2, 3, 232]), Some((Frame::Close(&[3, 232]), &[][..])));
        assert_eq!(split(&[0x82, 0]), Some((Frame::Other, &[][..])));
    }

    #[test]
    fn a_client_masks_with_zeros() {
        assert_eq!(pong(&[7, 8]), [0x8A, 0x82, 0, 0, 0, 0, 7, 8]);
        let long = text_of_client(&[b'x'; 300]);
        assert_eq!((&long[..8], long.len()), (&[0x81, 0xFE, 1, 44, 0, 0, 0, 0][..], 308));
    }
}
