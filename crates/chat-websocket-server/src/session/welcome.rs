//! Before a session is one: who is it, and may it be here?

use std::sync::Arc;

use chat_domain::UserId;
use common_auth::{Principal, TokenError};
use tokio::time::{Instant, timeout_at};
use tracing::{Span, warn};
use uuid::Uuid;

use super::{
    SessionContext, SessionHandle,
    socket::{Received, Socket},
    strikes::Strikes,
};
use crate::{
    outbox::Outbox,
    protocol::{ClientFrame, CloseReason, ErrorCode, RequestId, ServerFrame},
};

/// Finds out who the client is, if its request did not say so, and takes its session in.
pub(super) async fn welcome(
    socket: &mut Socket,
    principal: Option<Principal>,
    context: &SessionContext,
    session_id: Uuid,
) -> Result<(Arc<SessionHandle>, Principal, Strikes), CloseReason> {
    let limits = &context.limits;
    let mut strikes = Strikes::new(limits.frames_per_second, limits.frame_burst);
    let principal = match principal {
        Some(principal) => principal,
        None => authenticate(socket, context, &mut strikes).await?,
    };
    let user_id = UserId::from(principal.user_id);
    Span::current().record("user.id", tracing::field::display(user_id));
    check_status(user_id, context).await?;

    let handle = Arc::new(SessionHandle::new(session_id, user_id, Outbox::new(limits.outbox)));
    context.hub.add_session(&handle).map_err(|_| CloseReason::TooManyConnections)?;
    Ok((handle, principal, strikes))
}

/// Waits for AUTH. Other frames are refused; when the time is up, so is the client.
async fn authenticate(
    socket: &mut Socket,
    context: &SessionContext,
    strikes: &mut Strikes,
) -> Result<Principal, CloseReason> {
    let deadline = Instant::now() + context.limits.auth_timeout;
    loop {
        let received = tokio::select! {
            received = timeout_at(deadline, socket.receive()) => received.map_err(|_| CloseReason::AuthTimeout)??,
            () = context.drain.cancelled() => return Err(CloseReason::Draining),
        };
        let text = match received {
            Received::Text(text) => text,
            Received::Life => continue,
            Received::Binary => {
                let error = strikes.bad_frame(ErrorCode::BadFrame, "binary frames are not understood")?;
                socket.send(error.encode()).await?;
                continue;
            }
        };
        if let Some(refusal) = strikes.count_frame(&text)? {
            socket.send(refusal.encode()).await?;
            continue;
        }
        let answer = match ClientFrame::parse(&text) {
            Ok(ClientFrame::Auth { token }) => match verify(context, &token) {
                Ok(principal) => return Ok(principal),
                Err(error) => {
                    socket.send(token_refused(&error).encode()).await?;
                    return Err(CloseReason::TokenInvalid);
                }
            },
            Ok(ClientFrame::Ping { id }) => ServerFrame::Pong { id },
            Ok(ClientFrame::Subscribe { id, .. } | ClientFrame::Unsubscribe { id, .. }) => {
                not_authenticated(id, strikes)?
            }
            Err(_) => not_authenticated(None, strikes)?,
        };
        socket.send(answer.encode()).await?;
    }
}

fn not_authenticated(id: Option<RequestId>, strikes: &mut Strikes) -> Result<ServerFrame, CloseReason> {
    let message = "the first frame has to be AUTH";
    strikes.bad_frame(ErrorCode::NotAuthenticated, message)?;
    Ok(ServerFrame::error(id, None, ErrorCode::NotAuthenticated, message))
}

/// Whose token is it?
pub(crate) fn verify(context: &SessionContext, token: &str) -> Result<Principal, TokenError> {
    context.verifier.verify(token, common_auth::UnixTime::from_millis(context.clock.now().as_millis()))
}

/// The answer to AUTH with a bad token.
pub(super) fn token_refused(error: &TokenError) -> ServerFrame {
    let code = match error {
        TokenError::Expired => ErrorCode::TokenExpired,
        _ => ErrorCode::TokenInvalid,
    };
    ServerFrame::error(None, None, code, &error.to_string())
}

/// A user that storage does not know yet may come in: it is in no channel, and nothing says that it may not.
async fn check_status(user_id: UserId, context: &SessionContext) -> Result<(), CloseReason> {
    let _permit = context.admission.acquire().await.ok();
    match context.storage.user(user_id).await {
        Ok(Some(user)) if !user.status.may_read() => Err(CloseReason::Forbidden),
        Ok(_) => Ok(()),
        Err(error) => {
            warn!(error = %error, "a session is sent away: storage cannot be asked about its user");
            Err(CloseReason::TryAgainLater)
        }
    }
}
