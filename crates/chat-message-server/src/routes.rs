//! The route table. Each route has a file of its own.

use std::{fmt, sync::Arc};

use axum::{
    Router,
    http::{HeaderName, header},
};
use utoipa::openapi::OpenApi;
use utoipa_axum::{router::OpenApiRouter, routes};

use crate::{app::App, openapi};

mod admin;
mod channels;
mod messages;
mod users;

/// Every route of the API, and the document that describes them.
pub(crate) fn api() -> (Router<Arc<App>>, OpenApi) {
    let (router, document) = OpenApiRouter::with_openapi(openapi::head())
        // Messages
        .routes(routes!(messages::send::send))
        .routes(routes!(messages::get::get))
        .routes(routes!(messages::history::history))
        .routes(routes!(messages::health::health))
        // Channels
        .routes(routes!(channels::create::create, channels::list::list))
        .routes(routes!(channels::detail::detail, channels::change::change, channels::close::close))
        .routes(routes!(channels::members::members, channels::add_member::add_member))
        .routes(routes!(channels::remove_member::remove_member))
        .routes(routes!(channels::events::events))
        // Users
        .routes(routes!(users::me::me, users::change_me::change_me))
        .routes(routes!(users::get::get))
        .routes(routes!(users::revoke_my_tokens::revoke_my_tokens))
        .routes(routes!(admin::change_user::change_user))
        .routes(routes!(admin::revoke_tokens::revoke_tokens))
        .split_for_parts();
    (router, openapi::complete(document))
}

/// The header that says where a thing is.
fn location(path: fmt::Arguments<'_>) -> [(HeaderName, String); 1] {
    [(header::LOCATION, path.to_string())]
}
