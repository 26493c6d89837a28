//! The demo page, and the JavaScript client that it shares with everybody.
//!
//! The page is served only where the demo is switched on: whoever reaches it may sign in as any of the demo users. Its
//! files stand in `web/` and are part of the program.

use std::{collections::BTreeMap, sync::Arc};

use axum::{
    Json, Router,
    extract::State,
    http::{HeaderMap, HeaderValue, header},
    response::{IntoResponse, Response},
    routing::{get, post},
};
use common_auth::development_user_id;
use serde::Serialize;
use uuid::Uuid;

use crate::app::App;

mod assets;
mod sign_in;

/// Who can be signed in as. Nobody else.
const DEMO_USERS: [&str; 4] = ["alice", "bob", "carol", "dave"];

/// The page runs its own files only, and talks to its own server and to the instances that its configuration names.
const CONTENT_SECURITY_POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; \
     connect-src 'self' ws: wss:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// `GET /chat-client.js`, which is served always.
pub(crate) fn client() -> Router {
    Router::new().route(assets::CLIENT.path, get(assets::CLIENT))
}

/// The page, its files and its two endpoints.
pub(crate) fn page() -> Router<Arc<App>> {
    let files = assets::PAGE_FILES.iter().fold(Router::new(), |router, file| router.route(file.path, get(*file)));
    files
        .route(assets::PAGE.path, get(index))
        .route("/demo/config", get(config))
        .route("/demo/sign-in", post(sign_in::sign_in))
}

async fn index(headers: HeaderMap) -> Response {
    let mut response = assets::PAGE.answer(&headers);
    let policy = HeaderValue::from_static(CONTENT_SECURITY_POLICY);
    response.headers_mut().insert(header::CONTENT_SECURITY_POLICY, policy);
    response
}

/// What the page needs to know before anybody is signed in.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct PageConfig {
    users: [&'static str; 4],
    user_ids: BTreeMap<&'static str, Uuid>,
    instances: Vec<String>,
}

async fn config(State(app): State<Arc<App>>) -> Response {
    let user_ids = DEMO_USERS.into_iter().map(|name| (name, development_user_id(name))).collect();
    let config = PageConfig { users: DEMO_USERS, user_ids, instances: app.demo.instances.clone() };
    ([(header::CACHE_CONTROL, "no-store")], Json(config)).into_response()
}

#[cfg(test)]
mod tests;
