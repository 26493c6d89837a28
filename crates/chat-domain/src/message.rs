//! Messages: content by type, status and its transitions, and the id that makes a retry safe.

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize};

use crate::{ChannelId, MessageId, Timestamp, UserId, Violation, limits, named::named_enum};

/// One message of a channel, as stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// Its id.
    pub id: MessageId,
    /// Where it was sent.
    pub channel_id: ChannelId,
    /// Its place in the channel's log.
    pub seq: u64,
    /// Who sent it.
    pub sender_id: UserId,
    /// The sender's own id for it, unique per sender for ever.
    pub client_message_id: Option<ClientMessageId>,
    /// What it says.
    pub content: MessageContent,
    /// Where it is in its life.
    pub status: MessageStatus,
    /// The message that it answers, in the same channel.
    pub reply_to: Option<MessageId>,
    /// When the message server took it.
    pub sent_at: Timestamp,
}

named_enum! {
    /// The kinds of content.
    pub enum MessageType {
        /// Words.
        Text = "TEXT",
        /// A picture, by URL.
        Image = "IMAGE",
        /// A file, by URL.
        File = "FILE",
        /// A film, by URL.
        Video = "VIDEO",
        /// A recording, by URL.
        Audio = "AUDIO",
        /// Words of the platform itself; only roles SERVICE and ADMIN send them.
        System = "SYSTEM",
    }
}

named_enum! {
    /// Where a message is in its life.
    pub enum MessageStatus {
        /// In the log, as written by its sender.
        Sent = "SENT",
        /// Its content was changed after it was sent.
        Edited = "EDITED",
        /// Its content is gone. Final.
        Deleted = "DELETED",
    }
}

impl MessageStatus {
    /// Is the change from this status to another one allowed?
    pub const fn may_become(self, to: Self) -> bool {
        matches!((self, to), (Self::Sent | Self::Edited, Self::Edited | Self::Deleted))
    }
}

/// What a message says. Serialises to the `payload` object of the API; the type stands beside it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub enum MessageContent {
    /// Words.
    Text(Text),
    /// A picture.
    Image(Image),
    /// A file.
    File(Attachment),
    /// A film.
    Video(Attachment),
    /// A recording.
    Audio(Attachment),
    /// Words of the platform itself.
    System(Text),
}

/// Payload of TEXT and SYSTEM.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Text {
    /// The words: not blank, at most [`limits::MESSAGE_TEXT`] characters.
    pub text: String,
}

/// Payload of IMAGE.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Image {
    /// Where the picture is: http(s), or a path on the product's own site.
    pub image_url: String,
    /// Its name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub file_name: Option<String>,
    /// Its size in bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub file_size: Option<u64>,
}

/// Payload of FILE, VIDEO and AUDIO.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Attachment {
    /// Where the file is: http(s), or a path on the product's own site.
    pub file_url: String,
    /// Its name.
    pub file_name: String,
    /// Its size in bytes.
    pub file_size: u64,
    /// Its media type.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mime_type: Option<String>,
}

impl MessageContent {
    /// Reads a payload of the given type. The form of the JSON is checked here, the rules by [`Self::check`].
    pub fn decode<'de, D: Deserializer<'de>>(message_type: MessageType, payload: D) -> Result<Self, D::Error> {
        Ok(match message_type {
            MessageType::Text => Self::Text(Text::deserialize(payload)?),
            MessageType::Image => Self::Image(Image::deserialize(payload)?),
            MessageType::File => Self::File(Attachment::deserialize(payload)?),
            MessageType::Video => Self::Video(Attachment::deserialize(payload)?),
            MessageType::Audio => Self::Audio(Attachment::deserialize(payload)?),
            MessageType::System => Self::System(Text::deserialize(payload)?),
        })
    }

    /// Every rule that the content breaks.
    pub fn check(&self) -> Vec<Violation> {
        match self {
            Self::Text(text) | Self::System(text) => text.check(),
            Self::Image(image) => image.check(),
            Self::File(file) | Self::Video(file) | Self::Audio(file) => file.check(),
        }
    }

    /// The kind of this content.
    pub const fn message_type(&self) -> MessageType {
        match self {
            Self::Text(_) => MessageType::Text,
            Self::Image(_) => MessageType::Image,
            Self::File(_) => MessageType::File,
            Self::Video(_) => MessageType::Video,
            Self::Audio(_) => MessageType::Audio,
            Self::System(_) => MessageType::System,
        }
    }

    /// The one line that stands for the content: the text, or the file name.
    pub fn summary(&self) -> &str {
        match self {
            Self::Text(text) | Self::System(text) => &text.text,
            Self::Image(image) => image.file_name.as_deref().unwrap_or(""),
            Self::File(file) | Self::Video(file) | Self::Audio(file) => &file.file_name,
        }
    }
}

impl Text {
    fn check(&self) -> Vec<Violation> {
        if self.text.trim().is_empty() {
            return vec![Violation::new("payload.text", "must not be blank")];
        }
        if self.text.chars().count() > limits::MESSAGE_TEXT {
            return vec![too_long("payload.text", limits::MESSAGE_TEXT)];
        }
        Vec::new()
    }
}

impl Image {
    fn check(&self) -> Vec<Violation> {
        let name = self.file_name.as_deref().and_then(|name| check_file_name(name).err());
        let size = self.file_size.and_then(|size| check_size("payload.fileSize", size, limits::IMAGE_SIZE).err());
        [check_url("payload.imageUrl", &self.image_url).err(), name, size].into_iter().flatten().collect()
    }
}

impl Attachment {
    fn check(&self) -> Vec<Violation> {
        let mime_type = self.mime_type.as_deref().and_then(|mime| check_mime_type(mime).err());
        [
            check_url("payload.fileUrl", &self.file_url).err(),
            check_file_name(&self.file_name).err(),
            check_size("payload.fileSize", self.file_size, limits::FILE_SIZE).err(),
            mime_type,
        ]
        .into_iter()
        .flatten()
        .collect()
    }
}

fn check_url(field: &'static str, url: &str) -> Result<(), Violation> {
    if url.chars().count() > limits::URL {
        return Err(too_long(field, limits::URL));
    }
    // Clients put this into links and image sources: no script, no data, no scheme-relative host.
    let web = url.strip_prefix("https://").or_else(|| url.strip_prefix("http://")).is_some_and(|rest| !rest.is_empty());
    let path = url.starts_with('/') && !url.starts_with("//") && !url.starts_with("/\\");
    if !(web || path) || url.chars().any(|c| c.is_whitespace() || c.is_control()) {
        return Err(Violation::new(field, "must be an http(s) URL or a path that begins with /"));
    }
    Ok(())
}

fn check_file_name(name: &str) -> Result<(), Violation> {
    if name.trim().is_empty() {
        return Err(Violation::new("payload.fileName", "must not be blank"));
    }
    if name.chars().any(char::is_control) {
        return Err(Violation::new("payload.fileName", "must not have control characters"));
    }
    if name.chars().count() > limits::FILE_NAME {
        return Err(too_long("payload.fileName", limits::FILE_NAME));
    }
    Ok(())
}

fn check_size(field: &'static str, size: u64, most: u64) -> Result<(), Violation> {
    if size > most {
        return Err(Violation::new(field, format!("must be at most {most} bytes")));
    }
    Ok(())
}

fn check_mime_type(mime: &str) -> Result<(), Violation> {
    let token = |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_graphic() && b != b'/');
    let (kind, parameters) = mime.split_once(';').map_or((mime, ""), |(kind, rest)| (kind, rest));
    let well_formed = kind.split_once('/').is_some_and(|(kind, subtype)| token(kind) && token(subtype));
    // Clients put this into a header.
    let printable = parameters.bytes().all(|b| b.is_ascii_graphic() || b == b' ');
    if !well_formed || !printable || mime.len() > limits::MIME_TYPE {
        return Err(Violation::new("payload.mimeType", "must be a media type such as image/png"));
    }
    Ok(())
}

fn too_long(field: &'static str, most: usize) -> Violation {
    Violation::new(field, format!("must have at most {most} characters"))
}

/// A sender's own id for a message: 1 to [`limits::CLIENT_MESSAGE_ID`] printable ASCII characters.
/// The same id from the same sender means the same message, for ever.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(transparent)]
pub struct ClientMessageId(String);

impl ClientMessageId {
    /// Checks the form of an id.
    pub fn new(id: impl Into<String>) -> Result<Self, Violation> {
        let id = id.into();
        if id.is_empty() || id.len() > limits::CLIENT_MESSAGE_ID || !id.bytes().all(|b| b.is_ascii_graphic()) {
            let most = limits::CLIENT_MESSAGE_ID;
            return Err(Violation::new("clientMessageId", format!("must be 1 to {most} printable ASCII characters")));
        }
        Ok(Self(id))
    }

    /// The id as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for ClientMessageId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn decode(message_type: MessageType, payload: &serde_json::Value) -> Result<MessageContent, serde_json::Error> {
        MessageContent::decode(message_type, payload)
    }

    fn broken_fields(content: &MessageContent) -> Vec<&'static str> {
        content.check().iter().map(|violation| violation.field).collect()
    }

    #[test]
    fn text_is_counted_in_characters_not_bytes() {
        let content = |n| MessageContent::Text(Text { text: "ü".repeat(n) });
        assert_eq!(content(limits::MESSAGE_TEXT).check(), []);
        assert_eq!(broken_fields(&content(limits::MESSAGE_TEXT + 1)), ["payload.text"]);
    }

    #[test]
    fn blank_text_is_refused() {
        for text in ["", " ", "\n\t\u{2003}"] {
            assert_eq!(broken_fields(&MessageContent::Text(Text { text: text.into() })), ["payload.text"]);
        }
    }

    #[test]
    fn every_broken_field_is_named_at_once() {
        let payload = json!({"fileUrl": "javascript:alert(1)", "fileName": "", "fileSize": limits::FILE_SIZE + 1, "mimeType": "x"});
        let content = decode(MessageType::Video, &payload).unwrap();
        assert_eq!(
            broken_fields(&content),
            ["payload.fileUrl", "payload.fileName", "payload.fileSize", "payload.mimeType"]
        );
    }

    #[test]
    fn images_have_their_own_size_limit_and_optional_names() {
        let image = |size| decode(MessageType::Image, &json!({"imageUrl": "/a.png", "fileSize": size})).unwrap();
        assert_eq!(image(limits::IMAGE_SIZE).check(), []);
        assert_eq!(broken_fields(&image(limits::IMAGE_SIZE + 1)), ["payload.fileSize"]);
        assert_eq!(image(1).summary(), "");
    }

    #[test]
    fn urls_that_could_run_code_are_refused() {
        for url in
            ["", "javascript:x", "data:text/html,x", "//evil.example", "/\\evil.example", "https://", "http://a b"]
        {
            assert!(check_url("payload.imageUrl", url).is_err(), "{url}");
        }
        for url in ["https://cdn.example/a.png", "http://a", "/files/1"] {
            assert!(check_url("payload.imageUrl", url).is_ok(), "{url}");
        }
    }

    #[test]
    fn control_characters_in_names_and_media_types_are_refused() {
        for bad in ["a\0.txt", "a\r\nb", "\u{1b}[31ma"] {
            assert!(check_file_name(bad).is_err(), "{bad:?}");
        }
        for bad in ["text/plain; a=\r\nb", "text/plain;\0", "text/plain;\t", "text/plain; a=ü", "text/\u{7f}"] {
            assert!(check_mime_type(bad).is_err(), "{bad:?}");
        }
        assert!(check_mime_type("text/plain; charset=\"utf-8\"").is_ok());
    }

    #[test]
    fn the_type_decides_which_fields_are_needed() {
        assert!(decode(MessageType::Text, &json!({"imageUrl": "/a"})).is_err());
        assert!(decode(MessageType::File, &json!({"fileUrl": "/a", "fileName": "a"})).is_err());
        assert!(decode(MessageType::System, &json!({"text": "hello"})).is_ok());
    }

    #[test]
    fn a_deleted_message_stays_deleted() {
        for &to in MessageStatus::ALL {
            assert!(!MessageStatus::Deleted.may_become(to));
            assert!(!to.may_become(MessageStatus::Sent), "nothing becomes SENT again");
        }
        assert!(MessageStatus::Sent.may_become(MessageStatus::Edited));
        assert!(MessageStatus::Edited.may_become(MessageStatus::Edited));
        assert!(MessageStatus::Edited.may_become(MessageStatus::Deleted));
    }

    #[test]
    fn client_message_ids_are_short_and_printable() {
        assert!(ClientMessageId::new("a-1").is_ok());
        for bad in [String::new(), "a b".into(), "ü".into(), "x".repeat(limits::CLIENT_MESSAGE_ID + 1)] {
            assert!(ClientMessageId::new(bad).is_err());
        }
    }

    proptest! {
        #[test]
        fn names_are_read_back(index in 0..MessageType::ALL.len()) {
            let message_type = MessageType::ALL[index];
            prop_assert_eq!(message_type.as_str().parse::<MessageType>(), Ok(message_type));
            prop_assert_eq!(serde_json::to_value(message_type).unwrap(), json!(message_type.as_str()));
        }

        #[test]
        fn a_payload_is_read_back_as_it_was_written(text in "\\PC{1,200}") {
            let content = MessageContent::Text(Text { text });
            let payload = serde_json::to_value(&content).unwrap();
            prop_assert_eq!(decode(MessageType::Text, &payload).unwrap(), content);
        }

        #[test]
        fn checking_never_panics(text in any::<String>(), size in any::<u64>(), name in any::<String>()) {
            let file = Attachment { file_url: text.clone(), file_name: name, file_size: size, mime_type: Some(text) };
            MessageContent::File(file).check();
        }
    }
}
