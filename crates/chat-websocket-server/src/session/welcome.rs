//! Before a session is one: who is it, and may it be here?

use std::{pin::pin, sync::Arc, time::Duration};

use chat_domain::{Timestamp, UserId, user::is_void};
use common_auth::{Principal, TokenError};
use tokio::{
    sync::OwnedSemaphorePermit,
    time::{Instant, timeout, timeout_at},
};
use tracing::Span;
use uuid::Uuid;

use super::{
    SessionContext, SessionHandle,
    socket::{Received, Socket},
    strikes::Strikes,
};
use crate::{
    hub::Registered,
    inquiries::Answer,
    metrics::FrameType,
    outbox::Outbox,
    protocol::{ClientFrame, CloseReason, ErrorCode, RequestId, ServerFrame},
};

/// How long a session that comes waits for storage. Clients wait for 10 s; who gives up sooner and comes again makes the
/// line longer and lets nobody in.
const PATIENCE: Duration = Duration::from_secs(7);

/// How long it has a place among those who are let in at the same time. If Redis or storage take longer, others need not wait
/// for it.
const ARRIVAL: Duration = Duration::from_secs(1);

/// A client that may be here.
pub(super) struct Welcomed {
    pub(super) handle: Arc<SessionHandle>,
    pub(super) registered: Registered,
    pub(super) principal: Principal,
    pub(super) strikes: Strikes,
}

/// Finds out who the client is, if its request did not say so, and takes its session in.
pub(super) async fn welcome(
    socket: &mut Socket,
    principal: Option<Principal>,
    mut arrival: Option<OwnedSemaphorePermit>,
    context: &SessionContext,
    session_id: Uuid,
) -> Result<Welcomed, CloseReason> {
    let limits = &context.limits;
    let mut strikes = Strikes::new(limits.frames_per_second, limits.frame_burst);
    let principal = match principal {
        Some(principal) => principal,
        None => {
            // Who takes its time does not keep others out.
            arrival = None;
            authenticate(socket, context, &mut strikes).await?
        }
    };
    let user_id = UserId::from(principal.user_id);
    Span::current().record("user.id", tracing::field::display(user_id));

    let changes = Arc::clone(context.registry.changes());
    let outbox = Outbox::new(limits.outbox);
    let handle = Arc::new(SessionHandle::new(session_id, user_id, context.clock.now(), outbox, changes));
    handle.set_token_issued_at(issued_at(&principal));
    let registered = context.hub.add_session(&handle).map_err(|_| CloseReason::TooManyConnections)?;
    let standing = async {
        // In this order: a ban or a revocation that comes after the look at storage is heard.
        context.hub.hear_user(user_id).await;
        check_status(user_id, context, PATIENCE).await
    };
    let standing = async {
        let mut standing = pin!(standing);
        let soon = timeout(ARRIVAL, standing.as_mut()).await;
        drop(arrival);
        match soon {
            Ok(standing) => standing,
            Err(_) => standing.await,
        }
    };
    let (standing, admitted) = tokio::join!(standing, context.registry.admit(&handle));
    let standing = standing?;
    if let Err(error) = standing.check_token(&principal) {
        socket.send(token_refused(&error).encode()).await?;
        return Err(CloseReason::TokenInvalid);
    }
    admitted.map_err(|_| CloseReason::TooManyConnections)?;
    context.hub.confirm_user(user_id, standing.tokens_valid_from, standing.read_at);
    Ok(Welcomed { handle, registered, principal, strikes })
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
            Received::Life => {
                strikes.count_sign_of_life()?;
                continue;
            }
            Received::Binary => {
                context.metrics.received(FrameType::Bad);
                let error = strikes.bad_frame(ErrorCode::BadFrame, "binary frames are not understood")?;
                socket.send(error.encode()).await?;
                continue;
            }
        };
        if let Some(refusal) = strikes.count_frame(&text)? {
            context.metrics.received(FrameType::RateLimited);
            socket.send(refusal.encode()).await?;
            continue;
        }
        let frame = ClientFrame::parse(&text);
        context.metrics.received(FrameType::of(&frame));
        let answer = match frame {
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
        TokenError::Revoked => ErrorCode::TokenRevoked,
        _ => ErrorCode::TokenInvalid,
    };
    ServerFrame::error(None, None, code, &error.to_string())
}

/// When the principal's token was issued, as storage tells the time.
pub(super) fn issued_at(principal: &Principal) -> Option<Timestamp> {
    principal.issued_at.map(|at| Timestamp::from_millis(at.as_millis()))
}

/// What storage says of a user who may be here.
pub(super) struct Standing {
    pub(super) tokens_valid_from: Option<Timestamp>,
    /// When storage was asked.
    pub(super) read_at: Instant,
}

impl Standing {
    /// Was the user's token revoked?
    pub(super) fn check_token(&self, principal: &Principal) -> Result<(), TokenError> {
        if is_void(issued_at(principal), self.tokens_valid_from) { Err(TokenError::Revoked) } else { Ok(()) }
    }
}

/// May the user be here? One that storage does not know yet may: it is in no channel, and nothing says that it may not.
/// Whoever asks confirms the user when it has dealt with the token.
pub(super) async fn check_status(
    user_id: UserId,
    context: &SessionContext,
    patience: Duration,
) -> Result<Standing, CloseReason> {
    let Some(Answer { answer, asked_at }) = context.inquiries.status.ask(user_id, patience).await else {
        return Err(CloseReason::TryAgainLater);
    };
    match answer {
        Some(user) if !user.status.may_read() => Err(CloseReason::Forbidden),
        user => Ok(Standing { tokens_valid_from: user.and_then(|user| user.tokens_valid_from), read_at: asked_at }),
    }
}
