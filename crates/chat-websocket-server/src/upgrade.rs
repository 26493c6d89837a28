//! From an HTTP request to a WebSocket: what can be refused is refused before the upgrade, as problem+json.

mod slots;
mod trace;

use std::{net::SocketAddr, sync::Arc, time::Duration};

use axum::{
    Router,
    body::Body,
    extract::{ConnectInfo, Extension, Query, Request, State},
    http::{HeaderMap, HeaderValue, StatusCode, header},
    middleware,
    response::{IntoResponse, Response},
    routing::any,
};
use chat_domain::ChannelId;
use common_auth::{Principal, TokenError};
use common_logging::TraceId;
use common_server::{Problem, Scope};
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use tokio::{net::TcpStream, sync::Semaphore, time::timeout};
use tokio_tungstenite::{
    WebSocketStream,
    tungstenite::{
        handshake::server::create_response_with_body,
        protocol::{Role, WebSocketConfig},
    },
};
use tracing::debug;

pub use slots::SlotLimits;

use crate::{
    metrics::RefusedLabels,
    session::{self, Connection, ReadSide, SessionContext, Stream},
};
use slots::{NoSlot, Slots};

/// Grows as needed up to the largest frame; small, because most sessions are silent most of the time.
const READ_BUFFER: usize = 1024;

/// Clients that are let in at the same time. When thousands come back together the others wait, so that who is here is
/// served meanwhile, and not after all of them.
const ARRIVALS: usize = 64;
/// How long they wait. Clients give up after 10 s.
const PATIENCE: Duration = Duration::from_secs(8);

/// How long a client may take to receive the answer to its handshake.
const UPGRADE_TIMEOUT: Duration = Duration::from_secs(5);

/// The entrance of an instance.
pub struct Entrance {
    /// What sessions work with.
    pub context: Arc<SessionContext>,
    /// Where sessions run.
    pub sessions: Scope,
    /// Origins that browsers may come from; empty: any. Tokens are not cookies, so a foreign page has none to abuse.
    pub allowed_origins: Vec<String>,
    slots: Arc<Slots>,
    arrivals: Arc<Semaphore>,
}

impl Entrance {
    /// The entrance for these sessions.
    pub fn new(
        context: Arc<SessionContext>,
        sessions: Scope,
        allowed_origins: Vec<String>,
        limits: SlotLimits,
    ) -> Self {
        let (slots, arrivals) = (Arc::new(Slots::new(limits)), Arc::new(Semaphore::new(ARRIVALS)));
        Self { context, sessions, allowed_origins, slots, arrivals }
    }

    /// The routes of the WebSocket port.
    pub fn into_router(self) -> Router {
        let routes = Router::new().route("/ws/chat", any(enter)).fallback(not_found).with_state(Arc::new(self));
        routes.layer(middleware::from_fn(trace::name))
    }
}

async fn not_found(Extension(trace_id): Extension<TraceId>) -> Problem {
    Problem::new(StatusCode::NOT_FOUND, "NOT_FOUND").detail("the WebSocket is at /ws/chat").trace_id(&trace_id)
}

async fn enter(
    State(entrance): State<Arc<Entrance>>,
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    Extension(trace_id): Extension<TraceId>,
    request: Request,
) -> Response {
    match entrance.admit(peer, &trace_id, request).await {
        Ok(response) => response,
        Err(problem) => {
            let status = problem.status().as_u16();
            entrance.context.metrics.refused.get_or_create(&RefusedLabels { status }).inc();
            debug!(client.address = %peer, http.status = status, problem.code = problem.code(), "upgrade refused");
            problem.trace_id(&trace_id).into_response()
        }
    }
}

impl Entrance {
    async fn admit(&self, peer: SocketAddr, trace_id: &TraceId, mut request: Request) -> Result<Response, Problem> {
        self.check_drain()?;
        let switch = create_response_with_body(&request, Body::empty).map_err(|error| no_upgrade(&error))?;
        self.check_origin(request.headers())?;
        let query = Query::<Vec<(String, String)>>::try_from_uri(request.uri()).map_err(|error| bad_query(&error))?.0;
        let principal = self.check_token(request.headers(), &query)?;
        if let Some(principal) = &principal {
            tracing::Span::current().record("user.id", tracing::field::display(principal.user_id));
        }
        let channels = channels(&query, self.context.limits.channels)?;
        let slot = self.slots.take(peer.ip()).map_err(no_slot)?;
        // Who is refused does not wait.
        let arrival = timeout(PATIENCE, Arc::clone(&self.arrivals).acquire_owned()).await.map_err(|_| busy())?.ok();
        self.check_drain()?;

        let upgrade = hyper::upgrade::on(&mut request);
        let context = Arc::clone(&self.context);
        let (trace_id, frame_bytes) = (trace_id.clone(), context.limits.frame_bytes);
        let serve = async move {
            let _slot = slot;
            // A client that does not take the answer keeps others out.
            let upgraded = timeout(UPGRADE_TIMEOUT, Box::pin(upgraded(upgrade, frame_bytes)));
            let Ok(Some(stream)) = upgraded.await else { return };
            session::serve(Connection { stream, trace_id, principal, channels, arrival }, context).await;
        };
        self.sessions.spawn("session", serve);
        Ok(switch)
    }

    fn check_drain(&self) -> Result<(), Problem> {
        if !self.context.drain.is_cancelled() {
            return Ok(());
        }
        Err(Problem::new(StatusCode::SERVICE_UNAVAILABLE, "DRAINING")
            .detail("this instance is going away, try another one")
            .header(header::RETRY_AFTER, 1))
    }

    fn check_origin(&self, headers: &HeaderMap) -> Result<(), Problem> {
        let Some(origin) = headers.get(header::ORIGIN) else { return Ok(()) };
        let allowed = self.allowed_origins.is_empty()
            || self.allowed_origins.iter().any(|allowed| allowed.as_bytes() == origin.as_bytes());
        if !allowed {
            return Err(Problem::new(StatusCode::FORBIDDEN, "ORIGIN_FORBIDDEN").detail("this origin may not connect"));
        }
        Ok(())
    }

    /// The principal of the token in the header or the address; `None` without one, since AUTH may follow.
    fn check_token(&self, headers: &HeaderMap, query: &[(String, String)]) -> Result<Option<Principal>, Problem> {
        let token = match headers.get(header::AUTHORIZATION) {
            Some(value) => bearer(value).ok_or_else(|| unauthorized(&TokenError::Malformed))?,
            None => match query.iter().find(|(name, _)| name == "access_token") {
                Some((_, token)) => token,
                None => return Ok(None),
            },
        };
        session::verify(&self.context, token).map(Some).map_err(|error| unauthorized(&error))
    }
}

async fn upgraded(upgrade: OnUpgrade, frame_bytes: usize) -> Option<Stream> {
    // An error means that the client went before it was answered.
    let parts = upgrade.await.ok()?.downcast::<TokioIo<TcpStream>>().ok()?;
    let config = WebSocketConfig::default()
        .read_buffer_size(READ_BUFFER)
        .max_message_size(Some(frame_bytes))
        .max_frame_size(Some(frame_bytes));
    let stream = ReadSide::new(parts.io.into_inner());
    // Frames that came together with the handshake are in the read buffer.
    Some(WebSocketStream::from_partially_read(stream, parts.read_buf.to_vec(), Role::Server, Some(config)).await)
}

fn bearer(value: &HeaderValue) -> Option<&str> {
    let (scheme, token) = value.to_str().ok()?.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}

fn channels(query: &[(String, String)], most: usize) -> Result<Vec<ChannelId>, Problem> {
    let named = query.iter().filter(|(name, _)| name == "roomId" || name == "channelId");
    let channels: Result<Vec<ChannelId>, _> = named.map(|(_, id)| id.parse()).collect();
    let channels = channels.map_err(|_| bad_query(&"roomId must be a UUID"))?;
    if channels.len() > most {
        return Err(bad_query(&format!("at most {most} rooms may be open")));
    }
    Ok(channels)
}

fn no_upgrade(error: &dyn std::fmt::Display) -> Problem {
    Problem::new(StatusCode::UPGRADE_REQUIRED, "UPGRADE_REQUIRED")
        .detail(format!("a WebSocket handshake of version 13 is expected here: {error}"))
        .header(header::UPGRADE, HeaderValue::from_static("websocket"))
        .header(header::CONNECTION, HeaderValue::from_static("Upgrade"))
}

fn bad_query(error: &dyn std::fmt::Display) -> Problem {
    Problem::new(StatusCode::BAD_REQUEST, "BAD_QUERY").detail(error.to_string())
}

fn unauthorized(error: &TokenError) -> Problem {
    Problem::new(StatusCode::UNAUTHORIZED, error.code())
        .detail(error.to_string())
        .header(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"))
}

fn busy() -> Problem {
    Problem::new(StatusCode::SERVICE_UNAVAILABLE, "INSTANCE_BUSY")
        .detail("too many come to this instance at once, try another one")
        .header(header::RETRY_AFTER, 1)
}

fn no_slot(reason: NoSlot) -> Problem {
    match reason {
        NoSlot::Full => Problem::new(StatusCode::SERVICE_UNAVAILABLE, "INSTANCE_FULL")
            .detail("this instance has as many connections as it may have, try another one")
            .header(header::RETRY_AFTER, 5),
        NoSlot::Address => Problem::new(StatusCode::TOO_MANY_REQUESTS, "TOO_MANY_CONNECTIONS")
            .detail("your address has as many connections as it may have")
            .header(header::RETRY_AFTER, 30),
    }
}
