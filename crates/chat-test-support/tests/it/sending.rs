//! The supplied clients against the real system: sending through a network that loses answers, and coming back after more
//! than is replayed.

use std::sync::Arc;
use std::time::Duration;

use chat_client::{Client, ClientConfig, HttpClient, HttpConfig, Item, Items, Position, State, TokenSource};
use chat_domain::ChannelId;
use chat_test_support::node::Node;
use chat_test_support::proxy::TcpProxy;
use chat_test_support::system::{Storage, System};
use rstest::rstest;
use tokio::time::{Instant, timeout};

use crate::scene::counter;
use crate::stock::DEADLINE;

const SENDERS: usize = 4;
const MESSAGES: usize = 15;
/// Messages that tell how long one takes when nothing is lost.
const CALM: u32 = 8;

fn http(url: &str, token: &str) -> HttpClient {
    let mut config = HttpConfig::new(url, TokenSource::fixed(token)).unwrap();
    config.backoff_most = Duration::from_millis(100);
    config.attempts = 100;
    HttpClient::new(config).unwrap()
}

/// Requests arrive and are committed; their answers are lost as often as not. Each message is stored once, those of a
/// channel in the order in which they were sent.
#[tokio::test]
async fn lost_answers_make_no_second_message() {
    let mut system = System::builder().storage(Storage::Postgres).websocket_servers(0).start().await;
    let alice = system.user("alice").await;
    let address = system.http_url(0).trim_start_matches("http://").parse().unwrap();
    let proxy = Arc::new(TcpProxy::start(address).await);
    let client = http(&format!("http://{}", proxy.address()), &alice.token);
    let channels = alice.api.create_public_channels(SENDERS).await;
    let calm = alice.api.create_channel("PUBLIC", "calm", &[]).await;

    // Longer than a commit takes: what is cut has been stored, more often than not.
    proxy.delay(Duration::from_millis(3));
    // Long enough for some of many requests at once, on this machine and in this build, and too short for all of them.
    let began = Instant::now();
    for number in 0..CALM {
        client.send(calm, number.to_string()).await.unwrap();
    }
    let window = (began.elapsed() / CALM * 4).max(Duration::from_millis(15));
    let sending = futures_util::future::join_all(channels.iter().map(async |channel| {
        let sent = (0..MESSAGES).map(|number| client.send(*channel, format!("message {number}")));
        futures_util::future::try_join_all(sent).await.unwrap()
    }));
    let breaking = async {
        let mut ticks = tokio::time::interval(window);
        loop {
            ticks.tick().await;
            proxy.reset_connections();
        }
    };
    let sent = tokio::select! {
        sent = timeout(DEADLINE, sending) => sent.expect("everything is sent"),
        () = breaking => unreachable!("it has no end"),
    };

    let repeats = r#"chat_http_requests_total{route="/api/v1/messages",method="POST",status="200"}"#;
    assert!(counter(system.message_server(0), repeats).await > 0, "no answer was lost");
    for (channel, sent) in channels.into_iter().zip(sent) {
        let expected: Vec<_> = (0..MESSAGES).map(|number| format!("message {number}")).collect();
        assert_eq!(sent.iter().map(|sent| sent.message.content.clone()).collect::<Vec<_>>(), expected);
        assert!(sent.is_sorted_by_key(|sent| sent.seq));
        let logged = alice.api.events(channel, 0, 200).await;
        let contents: Vec<_> = logged.iter().filter_map(|event| event["content"].as_str()).collect();
        assert_eq!(contents, expected);
    }
}

/// A client that comes back after more than is replayed hears all of it, and what is sent meanwhile, once and in order.
#[rstest]
#[case::sqlite(Storage::Sqlite)]
#[case::postgres(Storage::Postgres)]
#[tokio::test]
async fn who_comes_back_after_more_than_is_replayed_misses_nothing(#[case] storage: Storage) {
    const MISSED: u64 = 250;
    const LIVE: u64 = 60;
    let builder = System::builder().storage(storage).websocket_servers(1);
    let system = builder.websocket_setting("CHAT_LIMITS_REPLAY_EVENTS", "20").start().await;
    let alice = system.user("alice").await;
    let channel = alice.api.create_channel("PUBLIC", "room", &[]).await;
    let client = http(&system.http_url(0), &alice.token);
    let send = async |from: u64, to: u64| {
        let sent = (from..to).map(|number| client.send(channel, number.to_string()));
        futures_util::future::try_join_all(sent).await.unwrap()
    };
    send(0, MISSED).await;

    let url = system.websocket_url(0);
    let listen = listen(&url, &alice.token, &client, channel, MISSED + LIVE);
    let (heard, _) = tokio::join!(timeout(DEADLINE, listen), send(MISSED, MISSED + LIVE));
    let logged = system_log(&alice.api, channel).await;
    assert_eq!(heard.expect("everything is heard"), logged);
}

/// The same of the JavaScript client.
#[tokio::test]
async fn so_does_the_javascript_client() {
    const MISSED: usize = 60;
    const LIVE: usize = 20;
    let builder = System::builder().websocket_servers(1);
    let system = builder.websocket_setting("CHAT_LIMITS_REPLAY_EVENTS", "20").start().await;
    let (alice, bob) = (system.user("alice").await, system.user("bob").await);
    let channel = alice.api.create_channel("GROUP", "Lunch", &[bob.id]).await;
    for number in 0..MISSED {
        alice.api.send(channel, &format!("missed {number}")).await;
    }
    let task = serde_json::json!({
        "httpUrl": system.http_url(0), "wsUrls": [system.websocket_url(0)], "sender": alice.token,
        "listener": bob.token, "channelId": channel, "messages": LIVE,
    });
    let mut node = Node::start(&crate::javascript::folder(), &["roundtrip.js", &task.to_string()]);
    let (status, output) = node.end(DEADLINE).await;
    assert!(status.success() && !output.contains("reset"), "{output}");
    let heard: Vec<serde_json::Value> = serde_json::from_str(output.lines().last().unwrap()).unwrap();
    let heard: Vec<_> = heard.iter().map(|event| event["seq"].as_u64().unwrap()).collect();
    assert_eq!(heard, system_log(&alice.api, channel).await);
}

/// The `seq`s that a client hears that begins at the beginning, until it has heard `count` of them.
async fn listen(url: &str, token: &str, http: &HttpClient, channel: ChannelId, count: u64) -> Vec<u64> {
    let mut config = ClientConfig::new(&[url], TokenSource::fixed(token)).unwrap();
    config.history = Some(http.clone());
    let (client, mut items) = Client::connect(config);
    client.subscribe(channel, Some(Position { seq: 0, epoch: None }));
    let mut heard = Vec::new();
    while (heard.len() as u64) < count {
        match items.recv().await.expect("the client goes on") {
            Item::Event(event) => heard.push(event.seq),
            Item::Reset { reason, .. } => panic!("nothing is lost, but {reason:?}"),
            _ => {}
        }
    }
    heard
}

async fn system_log(api: &chat_test_support::http_api::HttpApi, channel: ChannelId) -> Vec<u64> {
    let mut seqs: Vec<u64> = Vec::new();
    loop {
        let page = api.events(channel, seqs.last().copied().unwrap_or_default(), 200).await;
        if page.is_empty() {
            return seqs;
        }
        seqs.extend(page.iter().map(|event| event["seq"].as_u64().unwrap()));
    }
}

/// After a restored backup: running instances send their sessions away, and clients are told that the log is another one and
/// get all of it.
#[rstest]
#[case::sqlite(Storage::Sqlite)]
#[case::postgres(Storage::Postgres)]
#[tokio::test]
async fn after_the_epochs_were_renewed_the_whole_log_comes_anew(#[case] storage: Storage) {
    let mut system = System::builder().storage(storage).websocket_servers(1).start().await;
    let alice = system.user("alice").await;
    let channel = alice.api.create_channel("PUBLIC", "room", &[]).await;
    for number in 0..3 {
        alice.api.send(channel, &number.to_string()).await;
    }
    let mut config = ClientConfig::new(&[system.websocket_url(0)], TokenSource::fixed(&*alice.token)).unwrap();
    config.history = Some(http(&system.http_url(0), &alice.token));
    let (client, mut items) = Client::connect(config);
    client.subscribe(channel, Some(Position { seq: 2, epoch: None }));
    assert_eq!(story(&mut items, "live").await, ["3", "live 3"]);

    let renewed = system.message_server(0).run_once(&["--renew-epochs"]);
    assert!(renewed.status.success(), "{renewed:?}");
    assert_eq!(String::from_utf8(renewed.stdout).unwrap(), "renewed the epochs of 1 channels\n");
    let expected = ["offline Some(1013)", "reset EpochChanged 0", "1", "2", "3", "live 3"];
    assert_eq!(story(&mut items, "live").await, expected);

    alice.api.send(channel, "it goes on").await;
    assert_eq!(story(&mut items, "4").await, ["4"]);
}

/// What a client tells, up to the item that begins like this.
async fn story(items: &mut Items, last: &str) -> Vec<String> {
    let mut told = Vec::new();
    while !told.last().is_some_and(|told: &String| told.starts_with(last)) {
        let item = timeout(DEADLINE, items.recv()).await.unwrap_or_else(|_| panic!("no {last} after {told:?}"));
        match item.expect("the client goes on") {
            Item::State(State::Offline { code, .. }) => told.push(format!("offline {code:?}")),
            Item::Reset { reason, after_seq, .. } => told.push(format!("reset {reason:?} {after_seq}")),
            Item::Event(event) => told.push(event.seq.to_string()),
            Item::Subscribed { head_seq, .. } => told.push(format!("live {head_seq}")),
            _ => {}
        }
    }
    told
}
