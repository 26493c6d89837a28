//! A session: one WebSocket connection of one user.
//!
//! One task reads the socket, and writes to it what rooms do not: what rooms have for the session waits in its `Outbox` and
//! goes out together.
//! Whatever goes wrong in a session ends that session, and no other.

mod handle;
mod heartbeat;
mod read_side;
mod requests;
mod socket;
mod strikes;
mod welcome;

use std::{
    future::poll_fn,
    pin::{Pin, pin},
    sync::Arc,
    task::Poll,
    time::Duration,
};

use chat_domain::{ChannelId, Clock, UserId};
use common_auth::{Principal, TokenVerifier, UnixTime};
use common_logging::TraceId;
use tokio::{
    sync::OwnedSemaphorePermit,
    task::coop::unconstrained,
    time::{Instant, Sleep, sleep_until},
};
use tokio_util::sync::CancellationToken;
use tracing::{Instrument, Span, debug, error_span, field};
use uuid::Uuid;

pub use handle::{Registration, SessionHandle};
pub use read_side::ReadSide;
pub use socket::Stream;
pub(crate) use welcome::verify;

use crate::{
    frame::Frames,
    hub::{Hub, Registered},
    inquiries::Inquiries,
    metrics::{CloseLabels, Metrics, Sampling},
    outbox::{OutboxLimits, Taken},
    protocol::CloseReason,
    registry::Registry,
};
use heartbeat::Heartbeat;
use socket::{Received, Socket};
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
    /// Who may be here, and listen to what.
    pub inquiries: Arc<Inquiries>,
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
    /// Its place among those that are let in at the same time.
    pub arrival: Option<OwnedSemaphorePermit>,
}

/// Serves a connection until it ends.
pub async fn serve(connection: Connection, context: Arc<SessionContext>) {
    let name = Name { session_id: Uuid::now_v7(), user_id: None, trace_id: connection.trace_id.clone() };
    let (span, metrics) = (name.span(), Arc::clone(&context.metrics));
    // What a session needs to begin, to obey and to end is large, and most of its life it only waits: each has memory of
    // its own for as long as it takes.
    let begun = Box::pin(Session::begin(connection, context, name).instrument(span)).await;
    let (name, reason) = match begun {
        Ok(session) => session.run().await,
        Err(ended) => ended,
    };
    metrics.closed.get_or_create(&CloseLabels { code: reason.code() }).inc();
    if reason == CloseReason::SlowConsumer {
        metrics.slow_consumers.inc();
    }
    name.span().in_scope(|| debug!(close.code = reason.code(), close.reason = reason.as_str(), "session ended"));
}

/// What lines in the log say of a session.
struct Name {
    session_id: Uuid,
    user_id: Option<UserId>,
    trace_id: TraceId,
}

impl Name {
    /// For what is rarely done. What is done for every event does without: a span that lives as long as a session takes more
    /// memory than the session, and entering it more time than a delivery may take.
    fn span(&self) -> Span {
        // As an error, so that its fields stand in every line that the filter lets through.
        let (trace_id, session_id) = (&self.trace_id, self.session_id);
        let span = error_span!("session", trace.id = %trace_id, session.id = %session_id, user.id = field::Empty);
        if let Some(user_id) = self.user_id {
            span.record("user.id", field::display(user_id));
        }
        span
    }
}

/// An authenticated session.
struct Session {
    context: Arc<SessionContext>,
    name: Name,
    handle: Arc<SessionHandle>,
    registered: Registered,
    socket: Socket,
    /// What is being written.
    taken: Taken,
    heartbeat: Heartbeat,
    strikes: Strikes,
    /// Which of its writes are measured.
    sampling: Sampling,
    /// The WebSocket library had something to say that may not be written yet.
    answered: bool,
    /// When its token expires, as the token says.
    token_expires_at: UnixTime,
    /// When it ends for that.
    expires_at: Instant,
    /// When it leaves, once the instance drains.
    leaves_at: Option<Instant>,
}

/// Something that happens to a session.
enum Occasion {
    /// The client sent something, or is gone.
    Received(Result<Received, CloseReason>),
    /// The time has come for something.
    Time,
    /// There is something to send, or the session is to end or leave.
    Taken,
}

impl Session {
    async fn begin(
        connection: Connection,
        context: Arc<SessionContext>,
        mut name: Name,
    ) -> Result<Box<Self>, (Name, CloseReason)> {
        let Connection { stream, principal, channels, arrival, .. } = connection;
        let mut socket = Socket::new(stream, &context.limits, Arc::clone(&context.metrics));
        let Welcomed { handle, registered, principal, strikes } =
            match welcome::welcome(&mut socket, principal, arrival, &context, name.session_id).await {
                Ok(welcomed) => welcomed,
                Err(reason) => {
                    socket.close(reason).await;
                    return Err((name, reason));
                }
            };
        name.user_id = Some(handle.user_id);
        let mut session = Box::new(Self {
            heartbeat: Heartbeat::new(context.limits.heartbeat),
            token_expires_at: principal.expires_at,
            expires_at: requests::expiry(principal.expires_at, &*context.clock),
            name,
            handle,
            registered,
            socket,
            taken: Taken::default(),
            strikes,
            sampling: Sampling::default(),
            answered: false,
            leaves_at: None,
            context,
        });
        match session.greet(channels).await {
            Ok(()) => Ok(session),
            Err(reason) => Err(session.end(reason).await),
        }
    }

    async fn greet(&mut self, channels: Vec<ChannelId>) -> Result<(), CloseReason> {
        // Not by way of the outbox, where signals to the user may wait already: HELLO comes first.
        self.socket.send(self.hello().encode()).await?;
        // Whoever was here when the instance began to drain was asked; who comes now was not.
        if self.context.drain.is_cancelled() {
            self.handle.outbox.ask_to_leave(Instant::now());
        }
        if channels.is_empty() { Ok(()) } else { self.subscribe_at_once(channels).await }
    }

    async fn run(mut self: Box<Self>) -> (Name, CloseReason) {
        self.handle.outbox.lend(Arc::clone(self.socket.shared()));
        let mut timer = pin!(sleep_until(self.next_deadline()));
        loop {
            if let Err(reason) = self.step(timer.as_mut()).await {
                return Box::pin(self.end(reason)).await;
            }
            let deadline = self.next_deadline();
            if timer.deadline() != deadline {
                timer.as_mut().reset(deadline);
            }
        }
    }

    async fn end(self: Box<Self>, reason: CloseReason) -> (Name, CloseReason) {
        self.handle.outbox.close(reason);
        let unfinished = self.handle.outbox.retire().await;
        let Self { registered, mut socket, name, .. } = *self;
        drop(registered);
        socket.finish_first(unfinished);
        socket.close(reason).await;
        (name, reason)
    }

    /// One thing that happens.
    async fn step(&mut self, timer: Pin<&mut Sleep>) -> Result<(), CloseReason> {
        match self.wait(timer).await {
            Occasion::Received(received) => {
                let received = received?;
                self.heartbeat.alive();
                let span = self.name.span();
                let obeyed = Box::pin(self.receive(received).instrument(span)).await;
                // Behind the rest of what a slow one did not take there is no place for more.
                if obeyed.is_err_and(|reason| reason != CloseReason::SlowConsumer) {
                    // Who is sent away is told all the answers that led there; if that fails, it is gone already.
                    let _ = self.send_waiting().await;
                }
                obeyed
            }
            Occasion::Time => Box::pin(self.tick()).await,
            Occasion::Taken => self.send_taken().await,
        }
    }

    async fn wait(&mut self, mut timer: Pin<&mut Sleep>) -> Occasion {
        // What was answered to pings is written before more of them are read.
        let mut woken = std::mem::take(&mut self.answered);
        poll_fn(|cx| {
            // Mostly it is woken to send something. Who has just sent looks at the rest first, so that none is forgotten.
            if std::mem::replace(&mut woken, true) && self.handle.outbox.poll_take(cx, &mut self.taken).is_ready() {
                return Poll::Ready(Occasion::Taken);
            }
            // After a pause of the process, a sign of life that waits is seen before the clock says that there is none.
            let received = self.socket.poll_receive(cx);
            if let Some(answers) = self.socket.take_answers() {
                self.handle.outbox.push(answers);
                self.answered = true;
            }
            if let Poll::Ready(received) = received {
                return Poll::Ready(Occasion::Received(received));
            }
            // Whatever the client sent to have used up the task's share of time, the clock is looked at.
            if pin!(unconstrained(timer.as_mut())).poll(cx).is_ready() {
                return Poll::Ready(Occasion::Time);
            }
            self.handle.outbox.poll_take(cx, &mut self.taken).map(|()| Occasion::Taken)
        })
        .await
    }

    /// Waits for something, and goes on to send what there is: storage may take its time, and rooms do not wait for it.
    async fn meanwhile<T>(&mut self, work: impl Future<Output = T>) -> Result<T, CloseReason> {
        let mut work = pin!(work);
        loop {
            let done = poll_fn(|cx| match work.as_mut().poll(cx) {
                Poll::Ready(done) => Poll::Ready(Some(done)),
                Poll::Pending => self.handle.outbox.poll_take(cx, &mut self.taken).map(|()| None),
            });
            match done.await {
                Some(done) => return Ok(done),
                None => self.send_taken().await?,
            }
        }
    }

    async fn send_waiting(&mut self) -> Result<(), CloseReason> {
        self.handle.outbox.take(&mut self.taken).await;
        self.send_taken().await
    }

    /// Writes all that was taken in one go. What was queued before the outbox closed is still sent.
    async fn send_taken(&mut self) -> Result<(), CloseReason> {
        if self.taken.closed == Some(CloseReason::SlowConsumer) {
            self.socket.finish_first(std::mem::take(&mut self.taken.backlog.unfinished));
        }
        if !self.taken.backlog.is_empty() {
            let frames = self.taken.frames();
            self.socket.send_all(&mut self.taken.backlog, frames).await?;
            let oldest = self.taken.oldest.take();
            self.sampling.wrote(oldest, &*self.context.clock, &self.context.metrics.delivery_latency);
        }
        self.handle.outbox.written(&mut self.taken);
        if let (Some(from), None) = (self.taken.leaving, self.leaves_at) {
            self.leaves_at = Some(self.pick_leaving(from));
        }
        self.taken.closed.map_or(Ok(()), Err)
    }

    fn next_deadline(&self) -> Instant {
        let wake = self.heartbeat.next().min(self.expires_at);
        self.leaves_at.map_or(wake, |at| at.min(wake))
    }

    async fn tick(&mut self) -> Result<(), CloseReason> {
        let now = Instant::now();
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
            self.handle.outbox.push(Frames::ping());
        }
        Ok(())
    }
}
