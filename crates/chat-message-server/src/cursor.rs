//! Page cursors. Callers must not look inside: the layout may change with any version.

use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use chat_domain::{ChannelId, Timestamp, UserId, ports::ChannelCursor};
use uuid::Uuid;

use crate::error::ApiError;

/// A place in a list that travels through the caller as text.
pub(crate) trait Cursor: Sized {
    /// Tells the cursors of the lists apart, so that one of another list is refused.
    const KIND: u8;

    /// The place, as bytes.
    fn to_bytes(&self) -> Vec<u8>;

    /// The place that [`Self::to_bytes`] made these bytes of.
    fn from_bytes(bytes: &[u8]) -> Option<Self>;

    /// The text for the caller.
    fn encode(&self) -> String {
        let mut bytes = vec![Self::KIND];
        bytes.extend(self.to_bytes());
        BASE64_URL_SAFE_NO_PAD.encode(bytes)
    }

    /// Reads back what the caller returned.
    fn decode(text: &str) -> Result<Self, ApiError> {
        let bytes = BASE64_URL_SAFE_NO_PAD.decode(text).map_err(|_| ApiError::InvalidCursor)?;
        match bytes.split_first() {
            Some((&kind, place)) if kind == Self::KIND => Self::from_bytes(place).ok_or(ApiError::InvalidCursor),
            _ => Err(ApiError::InvalidCursor),
        }
    }
}

/// A place in a channel's history: the `seq` that the page is before or after.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct HistoryCursor(pub(crate) u64);

impl Cursor for HistoryCursor {
    const KIND: u8 = 1;

    fn to_bytes(&self) -> Vec<u8> {
        self.0.to_be_bytes().to_vec()
    }

    /// A `seq` that no store can hold is none that was encoded here.
    fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let seq = u64::from_be_bytes(bytes.try_into().ok()?);
        i64::try_from(seq).is_ok().then_some(Self(seq))
    }
}

impl Cursor for ChannelCursor {
    const KIND: u8 = 2;

    fn to_bytes(&self) -> Vec<u8> {
        [self.updated_at.as_millis().to_be_bytes().as_slice(), self.id.as_uuid().as_bytes()].concat()
    }

    fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let (millis, id) = bytes.split_first_chunk()?;
        let updated_at = Timestamp::from_millis(i64::from_be_bytes(*millis));
        Some(Self { updated_at, id: ChannelId::from(Uuid::from_slice(id).ok()?) })
    }
}

/// A place in a list of members: the last user seen.
impl Cursor for UserId {
    const KIND: u8 = 3;

    fn to_bytes(&self) -> Vec<u8> {
        self.as_uuid().as_bytes().to_vec()
    }

    fn from_bytes(bytes: &[u8]) -> Option<Self> {
        Uuid::from_slice(bytes).ok().map(Self::from)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn cursors_come_back_as_they_went(seq in 0..i64::MAX as u64, millis: i64, id: u128) {
            let channel = ChannelCursor { updated_at: Timestamp::from_millis(millis), id: Uuid::from_u128(id).into() };
            let user = UserId::from(Uuid::from_u128(id));

            prop_assert_eq!(HistoryCursor::decode(&HistoryCursor(seq).encode()).unwrap(), HistoryCursor(seq));
            prop_assert_eq!(ChannelCursor::decode(&channel.encode()).unwrap(), channel);
            prop_assert_eq!(UserId::decode(&user.encode()).unwrap(), user);
        }

        #[test]
        fn any_text_is_decoded_or_refused(text in ".{0,60}") {
            let _ = HistoryCursor::decode(&text);
            let _ = ChannelCursor::decode(&text);
            let _ = UserId::decode(&text);
        }

        #[test]
        fn a_cursor_of_another_list_is_refused(id: u128, seq in 0..i64::MAX as u64) {
            let user = UserId::from(Uuid::from_u128(id)).encode();
            prop_assert!(HistoryCursor::decode(&user).is_err());
            prop_assert!(ChannelCursor::decode(&user).is_err());
            prop_assert!(UserId::decode(&HistoryCursor(seq).encode()).is_err());
        }
    }

    #[test]
    fn a_cut_or_foreign_cursor_is_refused() {
        let whole = HistoryCursor(7).encode();
        for text in ["", "x", "!!", &whole[..4], "AQAAAAAAAAAqAA", "Af__________"] {
            assert!(HistoryCursor::decode(text).is_err(), "{text}");
        }
    }
}
