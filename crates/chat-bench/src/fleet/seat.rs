//! Where a connection goes, and what it wants there.

use std::net::SocketAddr;

use chat_domain::ChannelId;
use serde_json::{Value, json};

use super::protocol::Protocol;

/// One connection to be.
#[derive(Clone, Debug)]
pub(crate) struct Seat {
    pub(super) address: SocketAddr,
    /// The request that it begins with, if there is a handshake at all.
    pub(super) upgrade: Option<String>,
    pub(super) protocol: Protocol,
    /// What it says when the server is ready for it.
    pub(super) request: Option<String>,
    /// How many subscriptions have to be confirmed before it counts as connected.
    pub(super) awaited: usize,
    /// Whether it tries again after a failure, as a client that resumes does.
    pub(super) insists: bool,
}

impl Seat {
    /// A session in one room, from now on.
    pub(crate) fn in_room(address: SocketAddr, token: &str, room: ChannelId) -> Self {
        let upgrade = Some(handshake(address, &format!("/ws/chat?roomId={room}"), Some(token)));
        Self { address, upgrade, protocol: Protocol::Chat, request: None, awaited: 1, insists: false }
    }

    /// A session in one room that knows its messages up to `after`.
    pub(crate) fn resuming(address: SocketAddr, token: &str, room: ChannelId, after: u64) -> Self {
        let channels = json!([{ "channelId": room, "afterSeq": after }]);
        Self { insists: true, ..Self::subscribing(address, token, &channels, 1) }
    }

    /// A session in many rooms, from now on.
    pub(crate) fn in_rooms(address: SocketAddr, token: &str, rooms: &[ChannelId]) -> Self {
        let channels = rooms.iter().map(|room| json!({ "channelId": room })).collect();
        Self::subscribing(address, token, &channels, rooms.len())
    }

    fn subscribing(address: SocketAddr, token: &str, channels: &Value, awaited: usize) -> Self {
        let upgrade = Some(handshake(address, "/ws/chat", Some(token)));
        let request = Some(format!(r#"{{"type":"SUBSCRIBE","id":1,"channels":{channels}}}"#));
        Self { address, upgrade, protocol: Protocol::Chat, request, awaited, insists: false }
    }

    /// A connection of Socket.IO in one room.
    pub(crate) fn of_socketio(address: SocketAddr, room: &str) -> Self {
        let upgrade = Some(handshake(address, "/socket.io/?EIO=4&transport=websocket", None));
        let request = Some(format!(r#"42["join","{room}"]"#));
        Self { address, upgrade, protocol: Protocol::SocketIo, request, awaited: 1, insists: false }
    }

    /// A connection that gets messages once there is a WebSocket at this path. Nothing says from when on.
    pub(crate) fn at_path(address: SocketAddr, path: &str) -> Self {
        let upgrade = Some(handshake(address, path, None));
        Self { address, upgrade, protocol: Protocol::Bare, request: None, awaited: 0, insists: false }
    }

    /// A connection on which frames come without having been asked for.
    pub(crate) const fn without_handshake(address: SocketAddr) -> Self {
        Self { address, upgrade: None, protocol: Protocol::Bare, request: None, awaited: 0, insists: false }
    }
}

fn handshake(address: SocketAddr, path: &str, token: Option<&str>) -> String {
    let authorization = token.map(|token| format!("authorization: Bearer {token}\r\n")).unwrap_or_default();
    format!(
        "GET {path} HTTP/1.1\r\nhost: {address}\r\n{authorization}upgrade: websocket\r\nconnection: upgrade\r\n\
         sec-websocket-version: 13\r\nsec-websocket-key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
    )
}
