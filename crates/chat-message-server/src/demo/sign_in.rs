//! `POST /demo/sign-in`: a token for a demo user, for the asking.

use std::sync::Arc;

use axum::{
    Json,
    extract::State,
    http::header,
    response::{IntoResponse, Response},
};
use chat_domain::{Timestamp, UserId, Violation};
use common_auth::{Claims, Role, TokenIssuer, UnixTime, development_user_id};
use secrecy::ExposeSecret;
use serde::{Deserialize, Serialize};

use super::DEMO_USERS;
use crate::{app::App, error::ApiError, extract::JsonBody};

/// The page signs in again before a token ends.
const TOKEN_LIFETIME_SECS: i64 = 60 * 60;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct SignIn {
    name: String,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct SignedIn {
    token: String,
    user_id: UserId,
    username: &'static str,
    expires_at: Timestamp,
}

pub(super) async fn sign_in(
    State(app): State<Arc<App>>,
    JsonBody(body): JsonBody<SignIn>,
) -> Result<Response, ApiError> {
    let Some(name) = DEMO_USERS.into_iter().find(|name| *name == body.name) else {
        return Err(ApiError::Invalid(vec![Violation::new("name", "must be one of the demo users")]));
    };
    let now = app.clock.now();
    // Whoever is signed in can write to the others, so they have to exist.
    for user in DEMO_USERS {
        app.storage.ensure_user(development_user_id(user).into(), user, now).await?;
    }

    let claims = Claims {
        iss: app.auth.issuer.clone(),
        aud: app.auth.audience.clone(),
        preferred_username: Some(name.to_owned()),
        roles: vec![Role::User],
        ..Claims::new(development_user_id(name), UnixTime::from_millis(now.as_millis()), TOKEN_LIFETIME_SECS)
    };
    let expires_at = Timestamp::from_millis(UnixTime::from_secs(claims.exp).as_millis());
    let token = TokenIssuer::new(&app.auth.secret).issue(&claims).map_err(|error| {
        tracing::error!(error = %error, "a demo user could not be signed in");
        ApiError::Internal
    })?;
    let signed_in =
        SignedIn { token: token.expose_secret().to_owned(), user_id: claims.sub.into(), username: name, expires_at };
    Ok(([(header::CACHE_CONTROL, "no-store")], Json(signed_in)).into_response())
}
