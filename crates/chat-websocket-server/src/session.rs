//! A session: one WebSocket connection of one user.
//!
//! One task reads and writes the socket. What rooms have for the session waits in its `Outbox` and goes out together.
//! Whatever goes wrong in a session ends that session, and no other.

mod handle;
mod heartbeat;
mod requests;
mod socket;
mod strikes;
mod welcome;

use std::{sync::Arc, time::Duration};

use chat_domain::{ChannelId, Clock, ports::Storage};
use common_auth::{Principal, TokenVerifier};
use common_logging::TraceId;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tracing::{Instrument, debug, error_span};
use uuid::Uuid;

pub use handle::{Registration, SessionHandle};
pub use socket::Stream;
pub(crate) use welcome::verify;

use crate::{
    hub::{Hub, Registered},
    metrics::{CloseLabels, Metrics, Sampling},
    outbox::OutboxLimits,
    protocol::CloseReason,
    registry::Registry,
};
use heartbeat::Heartbeat;
use socket::Socket;
use strikes::Strikes;
use welcome::Welcomed;

/// The bounds of a session.
#[derive(Clone, Copy, Debug)]
pub struct SessionLimits {
    /// Largest frame from a client, in bytes.
    pub frame_bytes: usize,
    /// What may wait to be sent.
    pub outbox: OutboxLimits,
    /// Most channels open at once.
    pub channels: usize,
    /// Frames from a client per second, in the long run.
    pub frames_per_second: std::num::NonZeroU32,
    /// Frames from a client at once.
    pub frame_burst: std::num::NonZeroU32,
    /// Between two pings; no sign of life for two of them ends the session.
    pub heartbeat: Duration,
    /// How long a client may take to authenticate.
    pub auth_timeout: Duration,
    /// How long one write may take.
    pub write_timeout: Duration,
    /// Over which time sessions are sent away when the instance drains.
    pub drain_window: Duration,
}

/// What every session of an instance works with.
pub struct SessionContext {
    /// This instance.
    pub instance_id: Uuid,
    /// The live side.
    pub hub: Arc<Hub>,
    /// The sessions of all instances.
    pub registry: Arc<Registry>,
    /// Who may listen to what.
    pub storage: Arc<dyn Storage>,
    /// Bounds how many sessions ask storage at once.
    pub admission: Semaphore,
    /// Checks tokens.
    pub verifier: TokenVerifier,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// Counters.
    pub metrics: Arc<Metrics>,
    /// The instance drains: sessions leave, each at its own time.
    pub drain: CancellationToken,
    /// The bounds.
    pub limits: SessionLimits,
}

/// A connection after its upgrade.
pub struct Connection {
    /// The socket.
    pub stream: Stream,
    /// Of the request that it began with.
    pub trace_id: TraceId,
    /// Who it is, if the request said so.
    pub principal: Option<Principal>,
    /// Channels to open at once.
    pub channels: Vec<ChannelId>,
}

/// Serves a connection until it ends.
pub async fn serve(connection: Connection, context: Arc<SessionContext>) {
    let session_id = Uuid::now_v7();
    // As an error, so that its fields stand in every line that the filter lets through.
    let span = error_span!(
        "session",
        trace.id = %connection.trace_id,
        session.id = %session_id,
        user.id = tracing::field::Empty,
    );
    let metrics = Arc::clone(&context.metrics);
    let reason = Session::run(connection, context, session_id).instrument(span.clone()).await;
    metrics.closed.get_or_create(&CloseLabels { code: reason.code() }).inc();
    if reason == CloseReason::SlowConsumer {
        metrics.slow_consumers.inc();
    }
    span.in_scope(|| debug!(close.code = reason.code(), close.reason = reason.as_str(), "session ended"));
}

/// An authenticated session.
struct Session {
    context: Arc<SessionContext>,
    handle: Arc<SessionHandle>,
    registered: Registered,
    principal: Principal,
    socket: Socket,
    heartbeat: Heartbeat,
    strikes: Strikes,
    /// Which of its writes are measured.
    sampling: Sampling,
    /// When its token expires.
    expires_at: tokio::time::Instant,
    /// When it leaves, once the instance drains.
    leaves_at: Option<tokio::time::Instant>,
}

impl Session {
    async fn run(connection: Connection, context: Arc<SessionContext>, session_id: Uuid) -> CloseReason {
        let Connection { stream, principal, channels, .. } = connection;
        let mut socket = Socket::new(stream, context.limits.write_timeout, Arc::clone(&context.metrics));
        let mut session = match welcome::welcome(&mut socket, principal, &context, session_id).await {
            Ok(Welcomed { handle, registered, principal, strikes }) => Self {
                heartbeat: Heartbeat::new(context.limits.heartbeat),
                expires_at: requests::expiry(&principal, &*context.clock),
                handle,
                registered,
                principal,
                socket,
                strikes,
                sampling: Sampling::default(),
                leaves_at: None,
                context,
            },
            Err(reason) => {
                socket.close(reason).await;
                return reason;
            }
        };
        let reason = session.serve(channels).await;
        session.handle.outbox.close(reason);
        let Self { registered, mut socket, .. } = session;
        drop(registered);
        socket.close(reason).await;
        reason
    }

    async fn serve(&mut self, channels: Vec<ChannelId>) -> CloseReason {
        // Not by way of the outbox, where signals to the user may wait already: HELLO comes first.
        if let Err(reason) = self.socket.send(self.hello().encode()).await {
            return reason;
        }
        if !channels.is_empty() {
            self.subscribe_at_once(channels).await;
        }
        loop {
            if let Err(reason) = self.step().await {
                return reason;
            }
        }
    }

    /// One thing that happens: something to send, something to read, or time passing.
    async fn step(&mut self) -> Result<(), CloseReason> {
        let deadline = self.next_deadline();
        tokio::select! {
            // After a pause of the process, a sign of life that waits is seen before the clock says that there is none.
            biased;
            received = self.socket.receive() => {
                let received = received?;
                self.heartbeat.alive();
                let obeyed = self.receive(received).await;
                if obeyed.is_err() {
                    // Who is sent away is told all the answers that led there; if that fails, it is gone already.
                    let _ = self.send_waiting().await;
                }
                obeyed
            }
            () = self.context.drain.cancelled(), if self.leaves_at.is_none() => {
                self.leaves_at = Some(self.pick_leaving());
                Ok(())
            }
            () = tokio::time::sleep_until(deadline) => self.tick().await,
            () = self.handle.outbox.filled() => self.send_waiting().await,
        }
    }

    /// Writes all that waits in one go. What was queued before the outbox closed is still sent.
    async fn send_waiting(&mut self) -> Result<(), CloseReason> {
        let (frames, oldest) = self.handle.outbox.take_dated();
        if !frames.is_empty() {
            let (count, bytes) = (frames.len(), frames.iter().map(|frame| frame.len()).sum());
            self.socket.send_all(frames).await?;
            self.handle.outbox.written(count, bytes);
            self.sampling.wrote(oldest, &*self.context.clock, &self.context.metrics.delivery_latency);
        }
        self.handle.outbox.closed().map_or(Ok(()), Err)
    }

    fn next_deadline(&self) -> tokio::time::Instant {
        let wake = self.heartbeat.next().min(self.expires_at);
        self.leaves_at.map_or(wake, |at| at.min(wake))
    }

    async fn tick(&mut self) -> Result<(), CloseReason> {
        let now = tokio::time::Instant::now();
        if self.leaves_at.is_some_and(|at| at <= now) {
            self.send_away().await?;
            return Err(CloseReason::Draining);
        }
        if self.expires_at <= now {
            return Err(CloseReason::TokenInvalid);
        }
        if self.heartbeat.is_dead(now) {
            return Err(CloseReason::NoHeartbeat);
        }
        if self.heartbeat.is_due(now) {
            self.heartbeat.pinged(now);
            self.socket.ping().await?;
        }
        Ok(())
    }
}
