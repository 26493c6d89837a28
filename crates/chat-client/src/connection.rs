//! One connection: dial, sign in, serve until it ends.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use chat_domain::{ChannelId, Clock, Timestamp};
use futures_util::{SinkExt, StreamExt, future::BoxFuture, stream::FuturesUnordered};
use tokio::{
    net::TcpStream,
    time::{Instant, timeout},
};
use tokio_tungstenite::{
    MaybeTlsStream, WebSocketStream, connect_async_with_config,
    tungstenite::{
        self, Message,
        client::IntoClientRequest,
        http::{HeaderValue, StatusCode, header::AUTHORIZATION},
        protocol::CloseFrame,
    },
};
use tracing::warn;
use url::Url;

use crate::{
    EventPage, HttpClient, HttpError, Item, SignIn, State, TokenSource,
    client::Commands,
    driver::{Exit, Outbox, take_commands},
    frame::{ErrorFrame, Hello, Incoming, Outgoing, PROTOCOL},
    item::UnsubscribeReason,
    liveness::{Liveness, Silence},
    subscriptions::{Load, ResetVerdict, Subscriptions, Verdict},
};

/// The close code of a token that is invalid or has expired.
pub(crate) const TOKEN_REFUSED: u16 = 4004;
/// Forbidden, too many connections, protocol version: the same attempt would end the same way.
const FINAL_CODES: [u16; 3] = [4501, 4502, 4503];
const PROTOCOL_VERSION_REFUSED: u16 = 4503;

/// A peer that takes nothing for this long is gone.
const SEND_TIMEOUT: Duration = Duration::from_secs(10);
/// The wait for the server's goodbye.
const GOODBYE_TIMEOUT: Duration = Duration::from_secs(1);
/// Requests are collected for this long, so that no burst of commands meets the server's limit of frames.
const REQUEST_INTERVAL: Duration = Duration::from_millis(100);
/// A token is renewed this long before it expires, or at four fifths of its time if that is later.
const RENEW_BEFORE: Duration = Duration::from_secs(60);
const RENEW_AT_LEAST_AFTER: Duration = Duration::from_secs(1);

/// How many pages of missed events are loaded at a time: this bounds the memory that they take.
const MAX_LOADS: usize = 4;
/// The most that the API gives at once.
const EVENTS_PER_PAGE: u32 = 200;

type Socket = WebSocketStream<MaybeTlsStream<TcpStream>>;

/// How to connect.
pub(crate) struct Dial<'a> {
    pub(crate) url: &'a Url,
    pub(crate) sign_in: SignIn,
    pub(crate) timeout: Duration,
    pub(crate) clock: &'a dyn Clock,
}

/// Connects and signs in.
pub(crate) async fn open(dial: &Dial<'_>, token: &str) -> Result<Connection, Exit> {
    timeout(dial.timeout, sign_in(dial, token)).await.map_err(|_| Exit::lost("no connection in time"))?
}

async fn sign_in(dial: &Dial<'_>, token: &str) -> Result<Connection, Exit> {
    let mut request = dial.url.as_str().into_client_request().map_err(|error| failed(&error))?;
    if dial.sign_in == SignIn::Header {
        let mut value = HeaderValue::try_from(format!("Bearer {token}")).map_err(|_| Exit::TokenRefused {
            code: TOKEN_REFUSED,
            reason: "the token cannot be sent in a header".to_owned(),
        })?;
        value.set_sensitive(true);
        request.headers_mut().insert(AUTHORIZATION, value);
    }
    let (mut socket, _) = connect_async_with_config(request, None, true).await.map_err(|error| failed(&error))?;
    if dial.sign_in == SignIn::Frame {
        let auth = Outgoing::Auth { token }.to_json();
        socket.send(Message::text(auth)).await.map_err(|error| failed(&error))?;
    }
    loop {
        let frame = match next_frame(&mut socket).await? {
            Some(frame) => Incoming::parse(frame),
            None => continue,
        };
        if let Ok(Incoming::Hello(hello)) = frame {
            if hello.protocol != PROTOCOL {
                let reason = format!("the server speaks protocol {}", hello.protocol);
                return Err(Exit::Refused { code: PROTOCOL_VERSION_REFUSED, reason });
            }
            return Ok(Connection { socket, hello });
        }
    }
}

fn failed(error: &tungstenite::Error) -> Exit {
    let tungstenite::Error::Http(response) = error else { return Exit::lost(error.to_string()) };
    let (status, reason) = (response.status(), format!("the server answered {}", response.status()));
    let code = status.as_u16();
    match status {
        StatusCode::UNAUTHORIZED => Exit::TokenRefused { code, reason },
        StatusCode::FORBIDDEN => Exit::Refused { code, reason },
        _ => Exit::Lost { code: Some(code), reason, after: None },
    }
}

fn closed(frame: Option<CloseFrame>) -> Exit {
    let Some(CloseFrame { code, reason }) = frame else { return Exit::lost("closed without a code") };
    let (code, reason) = (u16::from(code), reason.as_str().to_owned());
    match code {
        TOKEN_REFUSED => Exit::TokenRefused { code, reason },
        _ if FINAL_CODES.contains(&code) => Exit::Refused { code, reason },
        _ => Exit::Lost { code: Some(code), reason, after: None },
    }
}

/// The next text frame; `None` for any other sign of life.
async fn next_frame(socket: &mut Socket) -> Result<Option<Bytes>, Exit> {
    match socket.next().await {
        Some(Ok(Message::Text(text))) => Ok(Some(text.into())),
        Some(Ok(Message::Close(frame))) => Err(closed(frame)),
        Some(Ok(_)) => Ok(None),
        Some(Err(error)) => Err(failed(&error)),
        None => Err(Exit::lost("the connection ended")),
    }
}

/// What outlives a connection, and what it needs.
pub(crate) struct Session<'a> {
    pub(crate) outbox: &'a Outbox,
    pub(crate) commands: &'a Commands,
    pub(crate) subscriptions: &'a mut Subscriptions,
    pub(crate) source: &'a TokenSource,
    pub(crate) history: Option<&'a HttpClient>,
    pub(crate) token: Arc<str>,
    pub(crate) clock: &'a dyn Clock,
}

/// A connection that is signed in.
pub(crate) struct Connection {
    socket: Socket,
    hello: Hello,
}

impl Connection {
    pub(crate) async fn serve(self, session: Session<'_>) -> Result<(), Exit> {
        let Self { socket, hello } = self;
        let now = Instant::now();
        let liveness = Liveness::new(Duration::from_millis(hello.heartbeat_ms), now);
        let mut served = Served {
            socket,
            session,
            max_frame_bytes: hello.max_frame_bytes,
            liveness,
            renew_at: None,
            ask_after: now,
            commanded: false,
            loads: FuturesUnordered::new(),
            waited: Duration::ZERO,
        };
        let result = served.run(hello).await;
        if let Err(Exit::Ended) = result {
            // The peer may be gone; then there is nobody to say goodbye to.
            let _ = timeout(GOODBYE_TIMEOUT, served.socket.close(None)).await;
        }
        result
    }
}

struct Served<'a> {
    socket: Socket,
    session: Session<'a>,
    max_frame_bytes: usize,
    liveness: Liveness,
    renew_at: Option<Instant>,
    /// The next SUBSCRIBE or UNSUBSCRIBE goes out no earlier.
    ask_after: Instant,
    /// Has the owner said something new?
    commanded: bool,
    /// Pages of missed events on their way.
    loads: FuturesUnordered<BoxFuture<'static, (Load, Result<EventPage, HttpError>)>>,
    /// How long this connection has waited for the owner. The time of subscriptions stands still meanwhile: an answer that
    /// waits to be read is not late.
    waited: Duration,
}

impl Served<'_> {
    async fn run(&mut self, hello: Hello) -> Result<(), Exit> {
        self.plan_renewal(hello.expires_at);
        let Hello { session_id, user_id, instance_id, .. } = hello;
        self.tell(Item::State(State::Online { session_id, user_id, instance_id })).await?;
        self.request().await?;
        self.liveness.heard(Instant::now());
        loop {
            self.load();
            let now = Instant::now();
            let wake = [Some(self.liveness.due()), self.renew_at, self.request_at(now)].into_iter().flatten().min();
            tokio::select! {
                () = self.session.outbox.ended() => return Err(Exit::Ended),
                frame = next_frame(&mut self.socket) => {
                    if let Some(frame) = frame? {
                        self.take(frame).await?;
                    }
                    self.liveness.heard(Instant::now());
                }
                Some((load, result)) = self.loads.next() => self.loaded(&load, result).await?,
                () = self.session.commands.changed() => self.commanded = true,
                () = tokio::time::sleep_until(wake.unwrap_or(now)) => self.tick().await?,
            }
        }
    }

    /// Deals with whatever is due.
    async fn tick(&mut self) -> Result<(), Exit> {
        let now = Instant::now();
        match self.liveness.check(now) {
            Silence::Short => {}
            Silence::Ask => self.send(Outgoing::Ping.to_json()).await?,
            Silence::Dead => return Err(Exit::lost("no sign of life")),
        }
        if self.renew_at.is_some_and(|at| at <= now) {
            self.renew().await?;
        }
        if self.request_at(now).is_some_and(|at| at <= now) {
            if self.session.subscriptions.is_unanswered(self.served(now)) {
                return Err(Exit::lost("a subscription is not answered"));
            }
            self.request().await?;
        }
        Ok(())
    }

    async fn take(&mut self, frame: Bytes) -> Result<(), Exit> {
        let frame = match Incoming::parse(frame) {
            Ok(frame) => frame,
            Err(error) => {
                // Not fatal: if it was an event, the next one shows the hole.
                warn!(error = %error, "a frame from the server is not understood");
                return Ok(());
            }
        };
        let now = self.served(Instant::now());
        let subscriptions = &mut *self.session.subscriptions;
        let item = match frame {
            Incoming::Event(event) => {
                let verdict = subscriptions.event(event.channel_id, event.seq, now);
                return self.judge(verdict, Item::Event(event)).await;
            }
            Incoming::Subscribed(frame) => {
                let verdict = subscriptions.subscribed(&frame);
                let crate::frame::Subscribed { channel_id, head_seq, epoch, replayed, .. } = frame;
                return self.judge(verdict, Item::Subscribed { channel_id, head_seq, epoch, replayed }).await;
            }
            Incoming::Reset(frame) => {
                let ResetVerdict::Tell { after_seq } = subscriptions.reset(&frame, now) else { return Ok(()) };
                let crate::frame::Reset { channel_id, reason, head_seq, oldest_seq, epoch } = frame;
                Item::Reset { channel_id, reason, head_seq, oldest_seq, epoch, after_seq }
            }
            // What was asked for is reported when it is asked for; by now the channel may be wanted again.
            Incoming::Unsubscribed(frame) if frame.reason == UnsubscribeReason::Requested => return Ok(()),
            Incoming::Unsubscribed(frame) => {
                if !subscriptions.remove(frame.channel_id) {
                    return Ok(());
                }
                Item::Unsubscribed { channel_id: frame.channel_id, reason: frame.reason }
            }
            Incoming::Error(frame) => return self.complaint(frame).await,
            Incoming::UserSignal(signal) => Item::UserSignal(signal),
            Incoming::Presence(signal) => Item::Presence(signal),
            Incoming::Reconnect(frame) => {
                let after = Some(Duration::from_millis(frame.after_ms));
                // The goodbye frees the server of this session at once; if it does not come through, the server ends it.
                let _ = timeout(GOODBYE_TIMEOUT, self.socket.close(None)).await;
                return Err(Exit::Lost { code: None, reason: "the server asked to reconnect".to_owned(), after });
            }
            Incoming::Hello(hello) => {
                self.plan_renewal(hello.expires_at);
                return Ok(());
            }
            Incoming::Ignored => return Ok(()),
        };
        self.tell(item).await
    }

    async fn tell(&mut self, item: Item) -> Result<(), Exit> {
        let since = Instant::now();
        let told = self.session.outbox.put(item).await;
        self.waited += since.elapsed();
        told
    }

    /// The time of subscriptions.
    fn served(&self, now: Instant) -> Instant {
        now - self.waited
    }

    /// Begins to load what a RESET left out.
    fn load(&mut self) {
        let Some(history) = self.session.history else { return };
        while self.loads.len() < MAX_LOADS
            && let Some(load) = self.session.subscriptions.next_load()
        {
            let history = history.clone();
            self.loads.push(Box::pin(async move {
                (load, history.events(load.channel, load.after_seq, EVENTS_PER_PAGE).await)
            }));
        }
    }

    async fn loaded(&mut self, load: &Load, result: Result<EventPage, HttpError>) -> Result<(), Exit> {
        let now = self.served(Instant::now());
        let page = match result {
            Ok(page) => page,
            Err(error) => {
                warn!(channel.id = %load.channel, error = %error, "missed events cannot be loaded yet");
                self.session.subscriptions.load_failed(load, now);
                return Ok(());
            }
        };
        if !self.session.subscriptions.page(load, page.epoch, page.oldest_seq) {
            return Ok(());
        }
        for event in page.events.into_iter().filter(|event| event.channel_id == load.channel) {
            let verdict = self.session.subscriptions.event(event.channel_id, event.seq, now);
            self.judge(verdict, Item::Event(event)).await?;
        }
        self.session.subscriptions.page_end(load, page.has_next, now);
        Ok(())
    }

    async fn judge(&mut self, verdict: Verdict, item: Item) -> Result<(), Exit> {
        match verdict {
            Verdict::Deliver => self.tell(item).await,
            // A hole makes the channel wanted again: the next tick asks for it.
            Verdict::Drop | Verdict::Hole => Ok(()),
            Verdict::Broken => Err(Exit::lost("events are missing again and again")),
        }
    }

    async fn complaint(&mut self, frame: ErrorFrame) -> Result<(), Exit> {
        let now = self.served(Instant::now());
        let Some(refused) = self.session.subscriptions.refused(&frame, now) else {
            return self.tell(Item::Error { code: frame.code, message: frame.message }).await;
        };
        for channel_id in refused {
            let (code, message) = (frame.code.clone(), frame.message.clone());
            self.tell(Item::Refused { channel_id, code, message }).await?;
        }
        Ok(())
    }

    fn request_at(&mut self, now: Instant) -> Option<Instant> {
        if self.commanded {
            return Some(now.max(self.ask_after));
        }
        let due = self.session.subscriptions.due(self.served(now))?;
        Some((due + self.waited).max(self.ask_after))
    }

    /// Tells the server what the owner wants now.
    async fn request(&mut self) -> Result<(), Exit> {
        let since = Instant::now();
        self.ask_after = since + REQUEST_INTERVAL;
        self.commanded = false;
        let Session { outbox, commands, subscriptions, .. } = &mut self.session;
        let forgotten: Vec<ChannelId> = take_commands(commands, subscriptions, outbox).await?;
        self.waited += since.elapsed();
        let now = self.served(Instant::now());
        let subscriptions = &mut *self.session.subscriptions;
        let mut frames = subscriptions.unsubscribe_frames(&forgotten, self.max_frame_bytes);
        frames.extend(subscriptions.ask(now, self.max_frame_bytes));
        for frame in frames {
            self.send(frame).await?;
        }
        Ok(())
    }

    async fn send(&mut self, frame: String) -> Result<(), Exit> {
        match timeout(SEND_TIMEOUT, self.socket.send(Message::text(frame))).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) => Err(failed(&error)),
            Err(_) => Err(Exit::lost("the server takes nothing")),
        }
    }

    /// Sends a new token. Whether the server likes it shows in a HELLO or in a close code.
    async fn renew(&mut self) -> Result<(), Exit> {
        self.renew_at = None;
        let asked = timeout(SEND_TIMEOUT, self.session.source.token()).await;
        let Ok(Ok(token)) = asked else {
            warn!("there is no new token yet");
            self.renew_at = Some(Instant::now() + SEND_TIMEOUT);
            return Ok(());
        };
        if token == self.session.token {
            return Ok(());
        }
        self.send(Outgoing::Auth { token: &token }.to_json()).await?;
        self.session.token = token;
        Ok(())
    }

    fn plan_renewal(&mut self, expires_at: Option<Timestamp>) {
        self.renew_at = expires_at
            .filter(|_| self.session.source.renews())
            .map(|at| Instant::now() + renew_after(at, self.session.clock.now()));
    }
}

fn renew_after(expires_at: Timestamp, now: Timestamp) -> Duration {
    let left = expires_at.as_millis().saturating_sub(now.as_millis()).max(0).unsigned_abs();
    let left = Duration::from_millis(left);
    (left.saturating_sub(RENEW_BEFORE)).max(left / 5 * 4).max(RENEW_AT_LEAST_AFTER)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_are_renewed_before_they_expire() {
        let after = |left_ms: i64| renew_after(Timestamp::from_millis(1_000 + left_ms), Timestamp::from_millis(1_000));
        assert_eq!(after(3_600_000), Duration::from_secs(3_540));
        assert_eq!(after(100_000), Duration::from_secs(80));
        assert_eq!(after(-5), RENEW_AT_LEAST_AFTER);
    }

    #[test]
    fn close_codes_say_whether_to_come_back() {
        let exit = |code: u16| closed(Some(CloseFrame { code: code.into(), reason: "".into() }));
        for code in [1000, 1001, 1009, 1011, 1013, 4001, 4003, 4008, 4009, 4020, 4022] {
            assert!(matches!(exit(code), Exit::Lost { code: Some(lost), .. } if lost == code), "{code}");
        }
        assert!(matches!(exit(4004), Exit::TokenRefused { .. }));
        for code in FINAL_CODES {
            assert!(matches!(exit(code), Exit::Refused { .. }), "{code}");
        }
    }
}
