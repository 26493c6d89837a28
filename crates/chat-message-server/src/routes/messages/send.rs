//! `POST /api/v1/messages`

use std::sync::Arc;

use axum::{
    extract::State,
    http::{HeaderMap, StatusCode},
    response::{IntoResponse, Response},
};
use chat_domain::{
    ChannelId, ClientMessageId, MessageContent, MessageId, MessageType, Subject, Violation,
    ledger::{Action, NewMessage},
};
use serde::Deserialize;
use serde_json::value::RawValue;
use utoipa::ToSchema;

use crate::{
    app::App,
    error::ApiError,
    extract::{Caller, JsonBody, decode_at},
    routes::location,
    schema,
    views::MessageView,
};

const IDEMPOTENCY_KEY: &str = "idempotency-key";

/// A message to send.
#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct SendMessage {
    #[schema(value_type = Uuid)]
    channel_id: ChannelId,
    #[schema(schema_with = schema::message_type)]
    message_type: MessageType,
    #[schema(schema_with = schema::payload)]
    payload: Box<RawValue>,
    /// The sender's own id for the message, which makes a retry safe: 1 to 100 printable ASCII characters.
    client_message_id: Option<String>,
    /// A message of the same channel.
    #[schema(value_type = Option<Uuid>)]
    reply_to: Option<MessageId>,
}

/// Send a message
///
/// A 2xx means that it is committed. Sending it again with the same `clientMessageId` answers the first one.
#[utoipa::path(
    post, path = "/api/v1/messages", tag = "messages", operation_id = "sendMessage",
    params(("Idempotency-Key" = Option<String>, Header, description = "Another way to give `clientMessageId`.")),
    request_body = SendMessage,
    responses(
        (status = 201, body = MessageView, headers(("Location" = String, description = "Path of the message."))),
        (status = 200, body = MessageView, description = "It was sent before.",
            headers(("Location" = String, description = "Path of the message."))),
        (status = 403, description = "`USER_NOT_ACTIVE`, `NOT_A_MEMBER`, `FORBIDDEN`"),
        (status = 404, description = "`CHANNEL_NOT_FOUND`, `REPLY_TARGET_NOT_FOUND`"),
        (status = 409, description = "`CLIENT_MESSAGE_ID_REUSED`"),
        (status = 422, description = "`VALIDATION_FAILED`, `CHANNEL_INACTIVE`"),
    ),
)]
pub(crate) async fn send(
    State(app): State<Arc<App>>,
    caller: Caller,
    headers: HeaderMap,
    JsonBody(body): JsonBody<SendMessage>,
) -> Result<Response, ApiError> {
    let (content, client_message_id) = read(&headers, &body)?;
    if content.message_type() == MessageType::System && !caller.speaks_for_platform {
        return Err(ApiError::Forbidden("SYSTEM messages need the role SERVICE or ADMIN"));
    }

    let message = NewMessage {
        id: MessageId::new(app.clock.now()),
        channel_id: body.channel_id,
        sender_id: caller.id(),
        content,
        client_message_id,
        reply_to: body.reply_to,
    };
    let appended = app.append(&caller, Action::Send(message)).await?;
    let Subject::Message(message) = appended.subject else { return Err(ApiError::Internal) };

    let status = if appended.event.is_some() { StatusCode::CREATED } else { StatusCode::OK };
    let location = location(format_args!("/api/v1/messages/{}", message.id));
    Ok((status, location, MessageView::from(message)).into_response())
}

/// The content and the client's id, with every rule that they break.
fn read(headers: &HeaderMap, body: &SendMessage) -> Result<(MessageContent, Option<ClientMessageId>), ApiError> {
    let content = content(body)?;
    let client_id = client_id(headers, body.client_message_id.as_deref())?;

    let mut violations = content.check();
    let client_message_id = client_id.and_then(|checked| checked.map_err(|broken| violations.push(broken)).ok());
    ApiError::check(violations)?;
    Ok((content, client_message_id))
}

fn content(body: &SendMessage) -> Result<MessageContent, ApiError> {
    let (json, message_type) = (body.payload.get(), body.message_type);
    // The place of what does not decode is looked for only then.
    match MessageContent::decode(message_type, &mut serde_json::Deserializer::from_str(json)) {
        Ok(content) if json.starts_with('{') => Ok(content),
        _ => decode_at(json, "/payload", |json| MessageContent::decode(message_type, json)),
    }
}

/// The one id that header and body name.
fn client_id(
    headers: &HeaderMap,
    in_body: Option<&str>,
) -> Result<Option<Result<ClientMessageId, Violation>>, ApiError> {
    let in_header = match headers.get(IDEMPOTENCY_KEY) {
        None => None,
        Some(value) => Some(value.to_str().map_err(|_| ApiError::parameter("Idempotency-Key", "must be ASCII"))?),
    };
    match (in_header, in_body) {
        (Some(key), Some(id)) if key != id => Err(ApiError::IdempotencyKeyMismatch),
        (key, id) => Ok(id.or(key).map(ClientMessageId::new)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn body(message_type: &str, payload: &str, client_id: &str) -> SendMessage {
        let json = format!(
            r#"{{"channelId":"018f4e7a-0000-7000-8000-000000000001","messageType":"{message_type}",
                "payload":{payload},"clientMessageId":{client_id}}}"#
        );
        serde_json::from_str(&json).unwrap()
    }

    fn key(value: &str) -> HeaderMap {
        HeaderMap::from_iter([(IDEMPOTENCY_KEY.parse().unwrap(), value.parse().unwrap())])
    }

    #[test]
    fn every_broken_rule_is_named_at_once() {
        let body = body("FILE", r#"{"fileUrl":"x","fileName":" ","fileSize":99999999999}"#, r#""""#);
        let Err(ApiError::Invalid(violations)) = read(&HeaderMap::new(), &body) else { panic!() };
        let fields: Vec<_> = violations.iter().map(|violation| violation.field).collect();
        assert_eq!(fields, ["payload.fileUrl", "payload.fileName", "payload.fileSize", "clientMessageId"]);
    }

    #[test]
    fn payloads_are_pointed_into() {
        let cases = [
            ("TEXT", r#"{"text":7}"#, "/payload/text"),
            ("TEXT", "{}", "/payload/text"),
            ("IMAGE", r#"{"imageUrl":"/a","fileSize":-1}"#, "/payload/fileSize"),
            ("FILE", r#"{"fileUrl":"/a","fileName":"a"}"#, "/payload/fileSize"),
            ("TEXT", "null", "/payload"),
            ("TEXT", r#"["hello"]"#, "/payload"),
        ];
        for (message_type, payload, pointer) in cases {
            let Err(ApiError::InvalidBody(error)) = read(&HeaderMap::new(), &body(message_type, payload, "null"))
            else {
                panic!("{payload}")
            };
            assert_eq!(error.pointer, pointer, "{payload}");
        }
    }

    #[test]
    fn header_and_body_name_one_id() {
        let text = r#"{"text":"x"}"#;
        let id = |headers: HeaderMap, client_id: &str| {
            read(&headers, &body("TEXT", text, client_id)).map(|(_, id)| id.map(|id| id.to_string()))
        };
        assert_eq!(id(HeaderMap::new(), "null").unwrap(), None);
        assert_eq!(id(HeaderMap::new(), r#""a""#).unwrap().as_deref(), Some("a"));
        assert_eq!(id(key("a"), "null").unwrap().as_deref(), Some("a"));
        assert_eq!(id(key("a"), r#""a""#).unwrap().as_deref(), Some("a"));
        assert!(matches!(id(key("a"), r#""b""#), Err(ApiError::IdempotencyKeyMismatch)));
    }
}
