//! Who is here: told once to the rooms that want to know, whatever happens to sessions and instances.

use std::collections::BTreeMap;
use std::time::Duration;

use chat_domain::{ChannelId, Clock, SystemClock, Timestamp, UserId};
use chat_test_support::system::{Builder, System};
use chat_test_support::wait_until;
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::registry::chatrooms;
use crate::stock::{DEADLINE, Stock};

const LEASE: Duration = Duration::from_secs(2);
const GRACE: Duration = Duration::from_secs(1);
/// What telling may take beyond its time.
const SLACK: Duration = Duration::from_secs(2);

fn builder() -> Builder {
    System::builder()
        .websocket_setting("CHAT_REGISTRY_LEASE_TTL", "2s")
        .websocket_setting("CHAT_REGISTRY_PRESENCE_GRACE", "1s")
        .websocket_setting("CHAT_REGISTRY_SWEEP_INTERVAL", "500ms")
}

/// Somebody who watches who comes and goes.
struct Watcher {
    session: Stock,
    /// By user, as the frames said last.
    known: BTreeMap<String, Value>,
}

impl Watcher {
    async fn start(url: &str, token: &str, channel: ChannelId) -> Self {
        let mut session = Stock::sign_in(url, token).await;
        watch(&mut session, channel).await;
        session.expect("SUBSCRIBED").await;
        let mut this = Self { session, known: BTreeMap::new() };
        this.take_list().await;
        this
    }

    /// Takes frames until a whole list comes.
    async fn take_list(&mut self) {
        loop {
            let frame = self.session.until("PRESENCE").await;
            let whole = frame["online"].is_number();
            if whole {
                self.known.clear();
            }
            self.note(&frame);
            if whole {
                return;
            }
        }
    }

    /// The next change; a whole list is none, nor is what the list said already.
    async fn next_change(&mut self) -> Value {
        loop {
            let known = self.known.clone();
            let frame = self.session.until("PRESENCE").await;
            self.note(&frame);
            let users = frame["users"].as_array().unwrap();
            let mut news =
                users.iter().filter(|user| known.get(user["userId"].as_str().unwrap()) != Some(&user["status"]));
            if let (true, Some(one)) = (frame["online"].is_null(), news.next()) {
                assert_eq!(news.next(), None, "{frame}");
                return one.clone();
            }
        }
    }

    fn note(&mut self, frame: &Value) {
        for user in frame["users"].as_array().unwrap() {
            self.known.insert(user["userId"].as_str().unwrap().to_owned(), user["status"].clone());
        }
    }

    /// Takes frames until exactly these users are here: who has only just come is told behind the list.
    async fn until_online(&mut self, users: &[UserId]) {
        let mut expected: Vec<_> = users.iter().map(ToString::to_string).collect();
        expected.sort();
        while self.online() != expected {
            let frame = self.session.until("PRESENCE").await;
            self.note(&frame);
        }
    }

    fn online(&self) -> Vec<&str> {
        self.known.iter().filter(|(_, status)| *status == "ONLINE").map(|(user, _)| user.as_str()).collect()
    }
}

async fn watch(session: &mut Stock, channel: ChannelId) {
    let wish = json!({"channelId": channel, "presence": true});
    session.send(json!({"type": "SUBSCRIBE", "id": "w", "channels": [wish]})).await;
}

async fn comes(url: &str, token: &str, channel: ChannelId) -> Stock {
    let mut session = Stock::sign_in(url, token).await;
    session.subscribe(channel).await;
    session
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_comes_and_goes_is_told_once_on_every_instance() {
    let system = builder().start().await;
    let (alice, bob) = (system.user("alice").await, system.user("bob").await);
    let channel = alice.api.create_channel("PUBLIC", "general", &[bob.id]).await;
    let (here, there) = (system.websocket_url(0), system.websocket_url(1));
    let mut watcher = Watcher::start(&here, &alice.token, channel).await;
    watcher.until_online(&[alice.id]).await;

    let bob_id = bob.id.to_string();
    let first = comes(&there, &bob.token, channel).await;
    let change = watcher.next_change().await;
    assert_eq!((&change["userId"], &change["status"]), (&json!(bob_id), &json!("ONLINE")));
    let second = comes(&here, &bob.token, channel).await;
    drop(first);
    // A reload: everything is away for a moment, and nobody is told.
    drop(second);
    let third = comes(&there, &bob.token, channel).await;
    // Who comes later gets the whole.
    let mut late = Watcher::start(&there, &alice.token, channel).await;
    late.until_online(&[alice.id, bob.id]).await;

    tokio::time::sleep(GRACE + GRACE / 2).await;
    let left = Instant::now();
    drop(third);
    let change = watcher.next_change().await;
    assert_eq!((&change["userId"], &change["status"]), (&json!(bob_id), &json!("OFFLINE")), "the next that is told");
    let waited = left.elapsed();
    assert!(waited >= GRACE && waited < GRACE + SLACK, "{waited:?}");
    let last_seen: Timestamp = serde_json::from_value(change["lastSeenAt"].clone()).unwrap();
    let ago = Duration::from_millis((SystemClock.now().as_millis() - last_seen.as_millis()).try_into().unwrap());
    assert!(ago < waited + SLACK, "{ago:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_users_of_an_instance_that_dies_are_gone_within_lease_and_grace() {
    let mut system = builder().start().await;
    let (alice, bob, carol) = (system.user("alice").await, system.user("bob").await, system.user("carol").await);
    let channel = alice.api.create_channel("PUBLIC", "general", &[bob.id, carol.id]).await;
    let (doomed, other) = (system.websocket_url(0), system.websocket_url(1));
    let _bob = comes(&doomed, &bob.token, channel).await;
    let _carol = (comes(&doomed, &carol.token, channel).await, comes(&other, &carol.token, channel).await);
    wait_until("all sessions are known", DEADLINE, async || {
        chatrooms(system.websocket_server(1), "").await["activeSessions"]["cluster"] == 3
    })
    .await;
    let mut watcher = Watcher::start(&other, &alice.token, channel).await;
    watcher.until_online(&[alice.id, bob.id, carol.id]).await;

    let killed = Instant::now();
    system.websocket_server(0).kill();
    let change = watcher.next_change().await;
    assert_eq!((&change["userId"], &change["status"]), (&json!(bob.id), &json!("OFFLINE")), "carol is elsewhere too");
    let took = killed.elapsed();
    println!("told {took:?} after the instance was killed");
    assert!(took < LEASE + GRACE + SLACK, "{took:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_redis_that_was_away_is_made_up_for_with_the_whole_list() {
    let mut system = builder().start().await;
    let (alice, bob) = (system.user("alice").await, system.user("bob").await);
    let channel = alice.api.create_channel("PUBLIC", "general", &[bob.id]).await;
    let (here, there) = (system.websocket_url(0), system.websocket_url(1));
    let mut watcher = Watcher::start(&here, &alice.token, channel).await;
    system.redis().kill();
    let _bob = comes(&there, &bob.token, channel).await;
    system.redis().restart().await;
    watcher.until_online(&[alice.id, bob.id]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_did_not_ask_is_told_nothing_and_who_was_removed_is_not_listed() {
    let system = builder().start().await;
    let (alice, bob) = (system.user("alice").await, system.user("bob").await);
    let channel = alice.api.create_channel("GROUP", "group", &[bob.id]).await;
    let (here, there) = (system.websocket_url(0), system.websocket_url(1));
    let mut quiet = comes(&here, &alice.token, channel).await;
    let mut bobs = comes(&there, &bob.token, channel).await;
    let mut watcher = Watcher::start(&here, &alice.token, channel).await;
    watcher.until_online(&[alice.id, bob.id]).await;
    alice.api.remove_member(channel, bob.id).await;
    bobs.until("UNSUBSCRIBED").await;
    wait_until("bob is not listed any more", DEADLINE, async || {
        Watcher::start(&here, &alice.token, channel).await.online() == [alice.id.to_string()]
    })
    .await;
    quiet.expect("MEMBER_LEFT").await;
    alice.api.send(channel, "hello").await;
    quiet.expect("MESSAGE").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_user_has_so_many_connections_on_all_instances_together() {
    const MOST: usize = 4;
    let builder = builder().websocket_setting("CHAT_LIMITS_CONNECTIONS_PER_USER", MOST.to_string());
    let mut system = builder.start().await;
    let alice = system.user("alice").await;
    let (doomed, other) = (system.websocket_url(0), system.websocket_url(1));
    let mut sessions = Vec::new();
    for _ in 0..MOST {
        sessions.push(Stock::sign_in(&doomed, &alice.token).await);
    }
    let header = format!("Bearer {}", alice.token);
    for url in [&other, &doomed] {
        let mut refused = Stock::connect(url, &[("authorization", &header)]).await.unwrap();
        assert_eq!(refused.close_code().await, Some(4502));
    }
    // One that leaves makes room for one, wherever it comes.
    sessions.pop();
    wait_until("there is room for one more", DEADLINE, async || {
        let mut session = Stock::connect(&other, &[("authorization", &header)]).await.unwrap();
        match session.next().await {
            Ok(hello) => {
                assert_eq!(hello["type"], "HELLO");
                sessions.push(session);
                true
            }
            Err(code) => {
                assert_eq!(code, Some(4502));
                false
            }
        }
    })
    .await;

    // An instance that dies keeps nobody out, although its sessions are still listed.
    system.websocket_server(0).kill();
    let mut session = Stock::connect(&other, &[("authorization", &header)]).await.unwrap();
    assert_eq!(session.next().await.unwrap()["type"], "HELLO");
}
