//! Sessions with real sockets.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use chat_domain::{SystemClock, UserId};
use chat_test_support::wait_until;
use chat_websocket_server::{
    app::session_limits,
    config::LimitsConfig,
    frame::{Frames, TextFrame},
    protocol::CloseReason,
    session::{Connection, ReadSide, SessionContext},
};
use common_auth::{AuthConfig, Principal, TokenVerifier, UnixTime};
use common_logging::TraceId;
use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tokio::{
    io::AsyncReadExt,
    net::{TcpSocket, TcpStream},
    task::JoinSet,
    time::{Instant, interval, timeout},
};
use tokio_tungstenite::{
    WebSocketStream,
    tungstenite::{
        Message,
        protocol::{
            Role,
            frame::{
                Frame,
                coding::{Data, OpCode},
            },
        },
    },
};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::world::{DEADLINE, World};

type Client = WebSocketStream<TcpStream>;

/// Of the kernel's buffers: what does not fit into them waits in the session.
const BUFFER: u32 = 16 * 1024;

/// What sessions work with.
pub(crate) fn context(world: &World) -> SessionContext {
    let secret = "a secret of at least thirty-two bytes".into();
    SessionContext {
        instance_id: Uuid::new_v4(),
        hub: Arc::clone(&world.hub),
        registry: Arc::clone(&world.registry),
        inquiries: Arc::clone(&world.inquiries),
        verifier: TokenVerifier::new(&AuthConfig { secret, ..AuthConfig::default() }).unwrap(),
        clock: Arc::new(SystemClock),
        metrics: Arc::clone(&world.metrics),
        drain: CancellationToken::new(),
        limits: session_limits(&LimitsConfig::default(), Duration::ZERO),
    }
}

/// The same for sessions that have little time to write.
fn hasty(world: &World) -> Arc<SessionContext> {
    let mut context = context(world);
    context.limits.write_timeout = Duration::from_millis(200);
    Arc::new(context)
}

/// A client's socket, and the session that serves it.
pub(crate) async fn connect(context: &Arc<SessionContext>, user: UserId) -> (Client, JoinSet<()>) {
    let principal = Principal {
        user_id: user.as_uuid(),
        username: None,
        roles: Vec::new(),
        authorities: Vec::new(),
        issued_at: None,
        // Such a token is allowed, and no year has that many digits.
        expires_at: UnixTime::from_millis(i64::MAX),
    };
    connect_as(context, Some(principal)).await
}

/// The same of a client that has said who it is, or not.
async fn connect_as(context: &Arc<SessionContext>, principal: Option<Principal>) -> (Client, JoinSet<()>) {
    let (listening, connecting) = (TcpSocket::new_v4().unwrap(), TcpSocket::new_v4().unwrap());
    listening.set_send_buffer_size(BUFFER).unwrap();
    connecting.set_recv_buffer_size(BUFFER).unwrap();
    listening.bind(([127, 0, 0, 1], 0).into()).unwrap();
    let listener = listening.listen(1).unwrap();
    let client = connecting.connect(listener.local_addr().unwrap()).await.unwrap();
    let (server, _) = listener.accept().await.unwrap();
    let stream = WebSocketStream::from_raw_socket(ReadSide::new(server), Role::Server, None).await;
    let connection = Connection { stream, trace_id: TraceId::random(), principal, channels: Vec::new(), arrival: None };
    let mut session = JoinSet::new();
    session.spawn(chat_websocket_server::session::serve(connection, Arc::clone(context)));
    (WebSocketStream::from_raw_socket(client, Role::Client, None).await, session)
}

/// The next message that is one for the client itself.
async fn next(client: &mut Client) -> Message {
    loop {
        match timeout(DEADLINE, client.next()).await.unwrap().unwrap().unwrap() {
            Message::Ping(_) | Message::Pong(_) => {}
            message => return message,
        }
    }
}

async fn next_frame(client: &mut Client) -> Value {
    serde_json::from_str(next(client).await.to_text().unwrap()).unwrap()
}

/// Reads to the close frame: all texts, and the code.
async fn read_to_end(client: &mut Client) -> (Vec<String>, u16) {
    let mut texts = Vec::new();
    loop {
        match next(client).await {
            Message::Text(text) => texts.push(text.to_string()),
            Message::Close(frame) => return (texts, frame.unwrap().code.into()),
            other => unreachable!("{other:?}"),
        }
    }
}

#[tokio::test]
async fn who_comes_waits_for_its_turn() {
    let world = World::new().await;
    let context = Arc::new(context(&world));
    let turns = context.inquiries.status.turns.acquire_many(2).await.unwrap();
    let (mut client, _session) = connect(&context, world.bob).await;
    wait_until("it waits in line", DEADLINE, async || world.directory.sessions_of(world.bob) == 1).await;
    assert!(futures_util::poll!(client.next()).is_pending());
    drop(turns);
    assert_eq!(next_frame(&mut client).await["type"], "HELLO");
}

#[tokio::test]
async fn who_waits_too_long_in_line_is_sent_away() {
    let world = World::new().await;
    let context = Arc::new(context(&world));
    let _turns = context.inquiries.status.turns.acquire_many(2).await.unwrap();
    let (mut client, _session) = connect(&context, world.bob).await;
    assert_eq!(read_to_end(&mut client).await, (Vec::new(), CloseReason::TryAgainLater.code()));
}

#[tokio::test]
async fn a_renewal_while_storage_is_away_changes_nothing() {
    let world = World::new().await;
    let (mut client, _session) = connect(&Arc::new(context(&world)), world.bob).await;
    assert_eq!(next_frame(&mut client).await["type"], "HELLO");
    world.storage.close().await;

    for frame in [json!({ "type": "AUTH", "token": "another" }), json!({ "type": "PING", "id": 1 })] {
        client.send(Message::Text(frame.to_string().into())).await.unwrap();
    }

    assert_eq!(next_frame(&mut client).await["code"], "UNAVAILABLE");
    assert_eq!(next_frame(&mut client).await["type"], "PONG");
}

#[tokio::test]
async fn who_does_not_take_a_frame_in_time_is_told_so_behind_the_whole_frame() {
    let world = World::new().await;
    let context = hasty(&world);
    let (mut client, _session) = connect(&context, world.bob).await;
    assert_eq!(next_frame(&mut client).await["type"], "HELLO");

    // The first of them is begun and does not fit.
    let texts = ["a", "b"].map(|letter| letter.repeat(20 * BUFFER as usize));
    let session = world.directory.sessions().pop().unwrap();
    texts.iter().for_each(|text| session.outbox.push(TextFrame::from(&**text)));
    wait_until("it is too slow", DEADLINE, async || session.outbox.closed() == Some(CloseReason::SlowConsumer)).await;
    let (received, code) = read_to_end(&mut client).await;
    assert_eq!(code, CloseReason::SlowConsumer.code());
    assert!(received == texts[..1], "{} texts", received.len());
}

/// The same while the session waits for storage.
#[tokio::test]
async fn nothing_is_written_behind_a_frame_that_was_not_taken_in_time() {
    let world = World::new().await;
    let context = hasty(&world);
    let (mut client, _session) = connect(&context, world.bob).await;
    assert_eq!(next_frame(&mut client).await["type"], "HELLO");
    let _turns = context.inquiries.access.turns.acquire_many(2).await.unwrap();
    let subscribe = json!({ "type": "SUBSCRIBE", "channels": [{ "channelId": world.channel }] });
    for frame in [json!({ "type": "PING" }), subscribe] {
        client.send(Message::Text(frame.to_string().into())).await.unwrap();
    }
    assert_eq!(next_frame(&mut client).await["type"], "PONG");

    // The first of them takes longer than it may, and the other would be begun in the middle of it.
    let texts = ["a", "b"].map(|letter| letter.repeat(20 * BUFFER as usize));
    let frames = texts.map(|text| TextFrame::from(&*text));
    let session = world.directory.sessions().pop().unwrap();
    let mut client = client.into_inner();
    session.outbox.push(frames[0].clone());
    timeout(DEADLINE, client.peek(&mut [0])).await.unwrap().unwrap();
    session.outbox.push(frames[1].clone());
    let (mut received, mut drips) = (Vec::new(), interval(Duration::from_millis(10)));
    let mut drop = [0; BUFFER as usize / 2];
    loop {
        drips.tick().await;
        match timeout(DEADLINE, client.read(&mut drop)).await.unwrap().unwrap() {
            0 => break,
            bytes => received.extend_from_slice(&drop[..bytes]),
        }
    }
    let [first, _] = frames.map(Frames::from);
    let goodbye = received.strip_prefix(&first.wire()[..]).expect("the whole frame");
    assert_eq!(goodbye[2..4], CloseReason::SlowConsumer.code().to_be_bytes(), "and behind it why it ends");
}

#[tokio::test]
async fn an_answer_to_a_ping_and_events_do_not_mix() {
    let world = World::new().await;
    let (mut client, _session) = connect(&Arc::new(context(&world)), world.bob).await;
    assert_eq!(next_frame(&mut client).await["type"], "HELLO");
    let session = world.directory.sessions().pop().unwrap();
    let text = "x".repeat(BUFFER as usize);
    for number in 0..50_u8 {
        client.send(Message::Ping(vec![number].into())).await.unwrap();
        session.outbox.push(TextFrame::from(&*text));
    }
    let (mut texts, mut pongs) = (0, 0);
    while (texts, pongs) != (50, 50) {
        match timeout(DEADLINE, client.next()).await.unwrap().unwrap().unwrap() {
            Message::Text(received) => {
                assert!(received.as_str() == text);
                texts += 1;
            }
            Message::Pong(payload) => {
                assert_eq!(payload[..], [pongs]);
                pongs += 1;
            }
            other => unreachable!("{other:?}"),
        }
    }
}

#[tokio::test]
async fn what_is_live_does_not_wait_for_what_storage_is_asked() {
    let world = World::new().await;
    let context = Arc::new(context(&world));
    let (mut client, _session) = connect(&context, world.bob).await;
    let other = world.channel_with(0).await;
    let subscribe = |channel| json!({ "type": "SUBSCRIBE", "channels": [{ "channelId": channel }] });
    client.send(Message::Text(subscribe(world.channel).to_string().into())).await.unwrap();
    assert_eq!(next_frame(&mut client).await["type"], "HELLO");
    assert_eq!(next_frame(&mut client).await["type"], "SUBSCRIBED");

    let turns = context.inquiries.access.turns.acquire_many(2).await.unwrap();
    for frame in [json!({ "type": "PING" }), subscribe(other)] {
        client.send(Message::Text(frame.to_string().into())).await.unwrap();
    }
    assert_eq!(next_frame(&mut client).await["type"], "PONG");
    world.send(true).await;
    assert_eq!(next_frame(&mut client).await["type"], "MESSAGE");
    drop(turns);
    assert_eq!(next_frame(&mut client).await["type"], "SUBSCRIBED", "it has not been given up yet");
}

#[tokio::test]
async fn who_hears_late_that_the_instance_drains_leaves_at_once() {
    let world = World::new().await;
    let mut context = context(&world);
    context.limits.drain_window = Duration::from_secs(3_600);
    let (mut client, _session) = connect(&Arc::new(context), world.bob).await;
    assert_eq!(next_frame(&mut client).await["type"], "HELLO");
    let began = Instant::now().checked_sub(Duration::from_secs(3_600)).unwrap();
    world.directory.sessions().pop().unwrap().outbox.ask_to_leave(began);
    assert_eq!(next_frame(&mut client).await["type"], "RECONNECT");
    assert_eq!(read_to_end(&mut client).await.1, CloseReason::Draining.code());
}

#[tokio::test]
async fn who_sends_signs_of_life_without_end_is_sent_away() {
    let world = World::new().await;
    let context = Arc::new(context(&world));
    let (stranger, _one) = connect_as(&context, None).await;
    let (mut known, _other) = connect(&context, world.bob).await;
    assert_eq!(next_frame(&mut known).await["type"], "HELLO");
    for mut client in [stranger, known] {
        for _ in 0..200 {
            client.feed(Message::Pong(Bytes::new())).await.unwrap();
        }
        client.flush().await.unwrap();
        assert_eq!(read_to_end(&mut client).await.1, CloseReason::RateLimited.code());
    }
}

#[tokio::test]
async fn a_frame_that_comes_in_endless_pieces_ends_the_session() {
    let world = World::new().await;
    let (mut client, _session) = connect(&Arc::new(context(&world)), world.bob).await;
    assert_eq!(next_frame(&mut client).await["type"], "HELLO");
    let piece = |part| Message::Frame(Frame::message(Bytes::new(), OpCode::Data(part), false));
    client.feed(piece(Data::Text)).await.unwrap();
    for _ in 0..10_000 {
        client.feed(piece(Data::Continue)).await.unwrap();
    }
    client.flush().await.unwrap();
    assert_eq!(read_to_end(&mut client).await.1, CloseReason::FrameTooBig.code());
}

/// More than a room writes to itself, and more events than the kernel's buffers hold: the room, its tasks and the sessions
/// take turns.
#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
async fn whoever_writes_every_session_gets_every_event_once_and_in_order() {
    const SESSIONS: usize = 150;
    const EVENTS: usize = 300;
    let world = World::new().await;
    let context = Arc::new(context(&world));
    let mut clients = Vec::new();
    for _ in 0..SESSIONS {
        let (mut client, session) = connect(&context, world.bob).await;
        let subscribe = json!({ "type": "SUBSCRIBE", "channels": [{ "channelId": world.channel }] });
        client.send(Message::Text(subscribe.to_string().into())).await.unwrap();
        assert_eq!(next_frame(&mut client).await["type"], "HELLO");
        let subscribed = next_frame(&mut client).await;
        assert_eq!(subscribed["type"], "SUBSCRIBED");
        clients.push((client, session, subscribed["headSeq"].as_u64().unwrap()));
    }

    for number in 0..EVENTS {
        world.send(true).await;
        let (client, ..) = &mut clients[number % SESSIONS];
        client.send(Message::Ping(vec![1].into())).await.unwrap();
    }

    for (client, _, before) in &mut clients {
        let mut pongs = 0;
        for seq in *before + 1..=*before + EVENTS as u64 {
            let event: Value = loop {
                match timeout(DEADLINE, client.next()).await.unwrap().unwrap().unwrap() {
                    Message::Text(text) => break serde_json::from_str(&text).unwrap(),
                    Message::Pong(_) => pongs += 1,
                    _ => {}
                }
            };
            assert_eq!((event["type"].as_str(), event["seq"].as_u64()), (Some("MESSAGE"), Some(seq)));
        }
        assert!(pongs <= 2);
    }
    let (frames, writes) = (world.metrics.frames_written.get(), world.metrics.writes.get());
    assert!(frames >= (EVENTS * SESSIONS) as u64 && writes < frames, "{frames} frames in {writes} writes");
}
