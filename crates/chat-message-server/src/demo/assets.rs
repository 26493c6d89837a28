//! The files in `web/`, as they are served.

use std::hash::{DefaultHasher, Hash, Hasher};

use axum::{
    extract::Request,
    handler::Handler,
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse, Response},
};

/// A file that is part of the program.
#[derive(Clone, Copy)]
pub(super) struct Asset {
    pub(super) path: &'static str,
    media_type: &'static str,
    body: &'static str,
}

const STYLE: &str = "text/css; charset=utf-8";
const SCRIPT: &str = "text/javascript; charset=utf-8";

/// A file of `web/` at a path of the server.
macro_rules! asset {
    ($path:literal, $media_type:expr, $file:literal) => {
        Asset { path: $path, media_type: $media_type, body: include_str!(concat!("../../web/", $file)) }
    };
}

/// The documented client.
pub(super) const CLIENT: Asset = asset!("/chat-client.js", SCRIPT, "chat-client.js");

/// The page itself.
pub(super) const PAGE: Asset = asset!("/", "text/html; charset=utf-8", "demo/index.html");

/// What the page loads.
pub(super) const PAGE_FILES: [Asset; 16] = [
    asset!("/demo/app.js", SCRIPT, "demo/app.js"),
    asset!("/demo/connection.js", SCRIPT, "demo/connection.js"),
    asset!("/demo/dialog.js", SCRIPT, "demo/dialog.js"),
    asset!("/demo/dialogs.js", SCRIPT, "demo/dialogs.js"),
    asset!("/demo/dom.js", SCRIPT, "demo/dom.js"),
    asset!("/demo/format.js", SCRIPT, "demo/format.js"),
    asset!("/demo/messages.js", SCRIPT, "demo/messages.js"),
    asset!("/demo/room.js", SCRIPT, "demo/room.js"),
    asset!("/demo/session.js", SCRIPT, "demo/session.js"),
    asset!("/demo/sidebar.js", SCRIPT, "demo/sidebar.js"),
    asset!("/demo/style.css", STYLE, "demo/style.css"),
    asset!("/demo/panes.css", STYLE, "demo/panes.css"),
    asset!("/demo/conversation.css", STYLE, "demo/conversation.css"),
    asset!("/demo/dialogs.css", STYLE, "demo/dialogs.css"),
    asset!("/demo/screens.css", STYLE, "demo/screens.css"),
    asset!("/demo/icon.svg", "image/svg+xml", "demo/icon.svg"),
];

impl Asset {
    /// The file, or 304 if the caller has it. Callers always ask, so a new version of the program shows at once.
    pub(super) fn answer(&self, request: &HeaderMap) -> Response {
        let tag = self.tag();
        let known = request.get(header::IF_NONE_MATCH).and_then(|value| value.to_str().ok());
        let headers = [
            (header::ETAG, tag.as_str()),
            (header::CACHE_CONTROL, "no-cache"),
            (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
            (header::REFERRER_POLICY, "no-referrer"),
        ];
        if known.is_some_and(|known| known.split(',').any(|one| one.trim().trim_start_matches("W/") == tag)) {
            return (StatusCode::NOT_MODIFIED, headers).into_response();
        }
        (headers, [(header::CONTENT_TYPE, self.media_type)], self.body).into_response()
    }

    fn tag(&self) -> String {
        let mut hasher = DefaultHasher::new();
        self.body.hash(&mut hasher);
        format!("\"{:016x}\"", hasher.finish())
    }
}

impl<S> Handler<(), S> for Asset {
    type Future = std::future::Ready<Response>;

    fn call(self, request: Request, _state: S) -> Self::Future {
        std::future::ready(self.answer(request.headers()))
    }
}
