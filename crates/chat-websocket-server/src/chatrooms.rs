//! `/actuator/chatrooms`: how many sessions there are, and where.

use std::{cmp::Reverse, sync::Arc};

use axum::{
    Json, Router,
    extract::{Path, Query, State},
    http::StatusCode,
    response::{IntoResponse, Response},
    routing::get,
};
use chat_domain::ChannelId;
use common_server::Problem;
use serde::{Deserialize, Serialize};

use crate::{
    hub::Directory,
    registry::{Counts, Registry},
    room::RoomStatus,
};

/// Rooms on a page, unless asked otherwise.
const PAGE: usize = 20;
/// Most rooms on a page.
const LARGEST_PAGE: usize = 500;

/// What the endpoint looks at.
#[derive(Clone)]
pub(crate) struct ChatRooms {
    /// The rooms of this instance.
    pub(crate) directory: Arc<Directory>,
    /// The sessions of all instances.
    pub(crate) registry: Arc<Registry>,
}

impl ChatRooms {
    /// The routes below `/actuator/chatrooms`.
    pub(crate) fn into_router(self) -> Router {
        Router::new().route("/", get(list)).route("/{channelId}", get(one)).with_state(self)
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Wish {
    /// From 0.
    #[serde(default)]
    page: usize,
    size: Option<usize>,
    #[serde(default)]
    sort: Sort,
}

/// In which order rooms are listed.
#[derive(Clone, Copy, Default, Deserialize)]
enum Sort {
    /// The largest on this instance first.
    #[default]
    #[serde(rename = "size")]
    Size,
    /// By their ids.
    #[serde(rename = "roomId")]
    RoomId,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Rooms {
    active_sessions: ActiveSessions,
    rooms: Vec<Room>,
    page: Page,
}

/// `cluster` is null while Redis does not say.
#[derive(Serialize)]
struct ActiveSessions {
    local: usize,
    cluster: Option<u64>,
}

impl From<Counts> for ActiveSessions {
    fn from(Counts { local, cluster }: Counts) -> Self {
        Self { local, cluster }
    }
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Room {
    room_id: ChannelId,
    local_sessions: usize,
    /// Null while Redis does not say.
    cluster_sessions: Option<u64>,
    /// Null where the room is not open on this instance.
    head_seq: Option<u64>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Page {
    number: usize,
    size: usize,
    total_elements: usize,
    total_pages: usize,
}

/// The rooms that are open on this instance.
async fn list(
    State(state): State<ChatRooms>,
    wish: Result<Query<Wish>, axum::extract::rejection::QueryRejection>,
) -> Response {
    let wish = match wish {
        Ok(Query(wish)) => wish,
        Err(rejection) => return bad_query(&rejection.body_text()),
    };
    let size = wish.size.unwrap_or(PAGE);
    if !(1..=LARGEST_PAGE).contains(&size) {
        return bad_query(&format!("size must be from 1 to {LARGEST_PAGE}"));
    }
    let mut open: Vec<_> = state.directory.open_rooms();
    match wish.sort {
        Sort::Size => open.sort_unstable_by_key(|(id, room)| (Reverse(room.sessions), *id)),
        Sort::RoomId => open.sort_unstable_by_key(|(id, _)| *id),
    }
    let (total_elements, total_pages) = (open.len(), open.len().div_ceil(size));
    let shown: Vec<_> = open.into_iter().skip(wish.page.saturating_mul(size)).take(size).collect();
    let ids: Vec<_> = shown.iter().map(|(id, _)| *id).collect();
    let (active, of_rooms) = tokio::join!(state.registry.sessions(), state.registry.sessions_in(&ids));
    let cluster = |index: usize| of_rooms.as_ref().and_then(|counts| counts.get(index)).copied();
    let rooms = shown.iter().enumerate().map(|(index, (id, room))| describe(*id, Some(*room), cluster(index)));
    let page = Page { number: wish.page, size, total_elements, total_pages };
    Json(Rooms { active_sessions: active.into(), rooms: rooms.collect(), page }).into_response()
}

/// One room, also if it is open on other instances only.
async fn one(State(state): State<ChatRooms>, Path(id): Path<String>) -> Response {
    let Ok(id) = id.parse::<ChannelId>() else { return bad_query("a channel id is a UUID") };
    let local = state.directory.open_room(id);
    let cluster = state.registry.sessions_in(&[id]).await.and_then(|counts| counts.first().copied());
    if local.is_none() && cluster == Some(0) {
        let detail = "nobody has this room open";
        return Problem::new(StatusCode::NOT_FOUND, "ROOM_NOT_OPEN").detail(detail).into_response();
    }
    Json(describe(id, local, cluster)).into_response()
}

fn describe(room_id: ChannelId, room: Option<RoomStatus>, cluster_sessions: Option<u64>) -> Room {
    let (local_sessions, head_seq) = (room.map_or(0, |room| room.sessions), room.map(|room| room.delivered));
    Room { room_id, local_sessions, cluster_sessions, head_seq }
}

fn bad_query(detail: &str) -> Response {
    Problem::new(StatusCode::BAD_REQUEST, "BAD_QUERY").detail(detail).into_response()
}
