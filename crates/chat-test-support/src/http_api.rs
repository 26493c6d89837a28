//! The HTTP API as a test calls it: shortcuts that expect success, and [`HttpApi::call`] for all else.

use chat_domain::{ChannelId, MessageId, UserId};
use reqwest::header::HeaderMap;
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

/// One user's view of one message server.
#[derive(Clone)]
pub struct HttpApi {
    base: String,
    token: String,
    client: reqwest::Client,
}

/// A response, read to its end.
#[derive(Debug, Clone)]
pub struct Answer {
    /// The status code.
    pub status: StatusCode,
    /// The header fields.
    pub headers: HeaderMap,
    /// The body; null when it is not JSON.
    pub body: Value,
}

impl HttpApi {
    /// Calls `base` (`http://host:port`) with this bearer token.
    #[must_use]
    pub fn new(base: String, token: String) -> Self {
        Self { base, token, client: reqwest::Client::new() }
    }

    /// One request with any outcome. `path` begins with a slash, as in `/api/v1/users/me`.
    ///
    /// # Panics
    /// When there is no response at all.
    pub async fn call(&self, method: Method, path: &str, body: Option<Value>) -> Answer {
        self.try_call(method, path, body).await.expect("the message server answers")
    }

    /// One request; an error when the connection fails, as it does while the server is down.
    ///
    /// # Errors
    /// When there is no response, or it breaks off.
    pub async fn try_call(&self, method: Method, path: &str, body: Option<Value>) -> Result<Answer, reqwest::Error> {
        let mut request = self.client.request(method, format!("{}{path}", self.base)).bearer_auth(&self.token);
        if let Some(body) = body {
            request = request.json(&body);
        }
        let response = request.send().await?;
        let (status, headers) = (response.status(), response.headers().clone());
        let body = serde_json::from_slice(&response.bytes().await?).unwrap_or(Value::Null);
        Ok(Answer { status, headers, body })
    }

    /// The user whom the token belongs to; the first call makes the user known.
    ///
    /// # Panics
    /// When it is refused.
    pub async fn my_id(&self) -> UserId {
        let me = self.must(Method::GET, "/api/v1/users/me", None).await;
        id(&me, "userId")
    }

    /// Makes a channel; `kind` is DIRECT, GROUP, PUBLIC or PRIVATE.
    ///
    /// # Panics
    /// When it is refused.
    pub async fn create_channel(&self, kind: &str, name: &str, members: &[UserId]) -> ChannelId {
        let mut request = json!({ "type": kind, "memberIds": members });
        if !name.is_empty() {
            request["name"] = name.into();
        }
        id(&self.must(Method::POST, "/api/v1/channels", Some(request)).await, "channelId")
    }

    /// Makes so many PUBLIC channels.
    ///
    /// # Panics
    /// When one is refused.
    pub async fn create_public_channels(&self, count: usize) -> Vec<ChannelId> {
        let mut channels = Vec::with_capacity(count);
        for number in 0..count {
            channels.push(self.create_channel("PUBLIC", &format!("room {number}"), &[]).await);
        }
        channels
    }

    /// Joins a PUBLIC channel.
    ///
    /// # Panics
    /// When it is refused.
    pub async fn join(&self, channel: ChannelId) {
        self.must(Method::POST, &format!("/api/v1/channels/{channel}/members"), None).await;
    }

    /// Adds somebody to a channel.
    ///
    /// # Panics
    /// When it is refused.
    pub async fn add_member(&self, channel: ChannelId, user: UserId) {
        let request = json!({ "userId": user });
        self.must(Method::POST, &format!("/api/v1/channels/{channel}/members"), Some(request)).await;
    }

    /// Removes somebody from a channel; oneself to leave it.
    ///
    /// # Panics
    /// When it is refused.
    pub async fn remove_member(&self, channel: ChannelId, user: UserId) {
        self.must(Method::DELETE, &format!("/api/v1/channels/{channel}/members/{user}"), None).await;
    }

    /// Sends a text.
    ///
    /// # Panics
    /// When it is refused.
    pub async fn send(&self, channel: ChannelId, text: &str) -> MessageId {
        id(&self.must(Method::POST, "/api/v1/messages", Some(text_message(channel, text, None))).await, "messageId")
    }

    /// Sends a text under an id of the client's own, with any outcome: for retries.
    ///
    /// # Errors
    /// When there is no response, or it breaks off.
    pub async fn try_send(
        &self,
        channel: ChannelId,
        text: &str,
        client_message_id: &str,
    ) -> Result<Answer, reqwest::Error> {
        let request = text_message(channel, text, Some(client_message_id));
        self.try_call(Method::POST, "/api/v1/messages", Some(request)).await
    }

    /// The channel's log after `seq`, at most `limit` events, as the `items` of the response.
    ///
    /// # Panics
    /// When it is refused.
    pub async fn events(&self, channel: ChannelId, after_seq: u64, limit: usize) -> Vec<Value> {
        let path = format!("/api/v1/channels/{channel}/events?afterSeq={after_seq}&limit={limit}");
        match self.must(Method::GET, &path, None).await["items"].take() {
            Value::Array(items) => items,
            other => panic!("a page has items, not {other}"),
        }
    }

    async fn must(&self, method: Method, path: &str, body: Option<Value>) -> Value {
        let answer = self.call(method.clone(), path, body).await;
        assert!(answer.status.is_success(), "{method} {path}: {} {}", answer.status, answer.body);
        answer.body
    }
}

impl std::fmt::Debug for HttpApi {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("HttpApi").field("base", &self.base).finish_non_exhaustive()
    }
}

fn text_message(channel: ChannelId, text: &str, client_message_id: Option<&str>) -> Value {
    let mut request = json!({ "channelId": channel, "messageType": "TEXT", "payload": { "text": text } });
    if let Some(id) = client_message_id {
        request["clientMessageId"] = id.into();
    }
    request
}

fn id<T: std::str::FromStr<Err: std::fmt::Debug>>(body: &Value, field: &str) -> T {
    let text = body[field].as_str();
    text.unwrap_or_else(|| panic!("no {field} in {body}")).parse().expect("ids are UUIDs")
}
