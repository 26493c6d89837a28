//! Schemas of domain types for the OpenAPI document, made from the domain's own names and limits.

use chat_domain::{ChannelType, MemberRole, MessageStatus, MessageType, UserStatus, limits};
use utoipa::openapi::{
    KnownFormat, Object, ObjectBuilder, OneOfBuilder, Schema, SchemaFormat, schema::Type as SchemaType,
};

pub(crate) fn message_type() -> Object {
    one_of_names(MessageType::ALL.iter().map(|value| value.as_str()))
}

pub(crate) fn message_status() -> Object {
    one_of_names(MessageStatus::ALL.iter().map(|value| value.as_str()))
}

pub(crate) fn channel_type() -> Object {
    one_of_names(ChannelType::ALL.iter().map(|value| value.as_str()))
}

pub(crate) fn member_role() -> Object {
    one_of_names(MemberRole::ALL.iter().map(|value| value.as_str()))
}

pub(crate) fn user_status() -> Object {
    one_of_names(UserStatus::ALL.iter().map(|value| value.as_str()))
}

/// The payload of a message, which depends on its type.
pub(crate) fn payload() -> Schema {
    let words = ObjectBuilder::new()
        .title(Some("TEXT, SYSTEM"))
        .property("text", text(limits::MESSAGE_TEXT))
        .required("text")
        .build();
    let image = ObjectBuilder::new()
        .title(Some("IMAGE"))
        .property("imageUrl", text(limits::URL))
        .property("fileName", text(limits::FILE_NAME))
        .property("fileSize", size(limits::IMAGE_SIZE))
        .required("imageUrl")
        .build();
    let attachment = ObjectBuilder::new()
        .title(Some("FILE, VIDEO, AUDIO"))
        .property("fileUrl", text(limits::URL))
        .property("fileName", text(limits::FILE_NAME))
        .property("fileSize", size(limits::FILE_SIZE))
        .property("mimeType", text(limits::MIME_TYPE))
        .required("fileUrl")
        .required("fileName")
        .required("fileSize")
        .build();
    OneOfBuilder::new()
        .item(words)
        .item(image)
        .item(attachment)
        .description(Some("What the message says, by `messageType`."))
        .build()
        .into()
}

fn one_of_names(names: impl Iterator<Item = &'static str>) -> Object {
    ObjectBuilder::new().schema_type(SchemaType::String).enum_values(Some(names)).build()
}

fn text(most: usize) -> Object {
    ObjectBuilder::new().schema_type(SchemaType::String).min_length(Some(1)).max_length(Some(most)).build()
}

#[expect(clippy::cast_precision_loss, reason = "the limits are far below 2^53")]
fn size(most: u64) -> Object {
    ObjectBuilder::new()
        .schema_type(SchemaType::Integer)
        .format(Some(SchemaFormat::KnownFormat(KnownFormat::Int64)))
        .minimum(Some(0.0))
        .maximum(Some(most as f64))
        .description(Some("Bytes."))
        .build()
}
