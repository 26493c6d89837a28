//! The promise, end to end: everyone hears everything, once and in order.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use chat_domain::{ChannelId, MessageId};
use chat_test_support::proxy::TcpProxy;
use chat_test_support::system::{Storage, System, TestUser};
use chat_test_support::wait_until;
use rand::seq::IndexedRandom;
use rand::{RngExt, SeedableRng, rngs::StdRng};
use rstest::rstest;
use tokio::task::JoinSet;

use crate::listener::{Listener, read_log};

const USERS: usize = 50;
const CHANNELS: usize = 20;
const MEMBERS_BESIDE_THE_OWNER: usize = 9;
const MESSAGES: usize = 5_000;
const SENDERS: usize = 20;
const INSTANCES: usize = 3;
/// The instance that is killed under load and comes back.
const DOOMED: usize = 2;
const DEADLINE: Duration = Duration::from_secs(60);

/// What was acknowledged, by channel: `seq` comes from the log, so only the ids are collected here.
type Acknowledged = BTreeMap<ChannelId, BTreeSet<MessageId>>;

#[rstest]
#[case::sqlite(Storage::Sqlite)]
#[case::postgres(Storage::Postgres)]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn everyone_hears_everything_once_in_order(#[case] storage: Storage) {
    let mut random = StdRng::seed_from_u64(42);
    let mut system = System::builder()
        .storage(storage)
        .message_servers(2)
        .websocket_servers(INSTANCES)
        .message_setting("CHAT_LIMITS_REQUESTS_PER_SECOND", "0")
        .start()
        .await;
    let users = make_users(&system).await;
    let channels = make_channels(&users, &mut random).await;

    // Every third user comes through a network that fails.
    let proxy = TcpProxy::start(system.websocket_server(0).address().parse().unwrap()).await;
    let weak = format!("ws://{}/ws/chat", proxy.address());
    let listeners: Vec<Listener> = users
        .iter()
        .enumerate()
        .map(|(index, user)| {
            let mine = channels.iter().filter(|channel| channel.members.contains(&index)).map(|channel| channel.id);
            let first = random.random_range(0..INSTANCES);
            let mut urls: Vec<_> = (0..INSTANCES).map(|n| system.websocket_url((first + n) % INSTANCES)).collect();
            if index % 3 == 0 {
                urls.insert(0, weak.clone());
            }
            Listener::start(&urls, &user.token, mine)
        })
        .collect();

    let sent = Arc::new(AtomicUsize::new(0));
    let servers = [system.http_url(0), system.http_url(1)];
    let sending = send_all(servers, &users, &channels, &sent);
    let (acknowledged, ()) = tokio::join!(sending, trouble(&mut system, &proxy, &sent));
    assert_eq!(acknowledged.values().map(BTreeSet::len).sum::<usize>(), MESSAGES);

    for channel in &channels {
        let log = read_log(&users[channel.owner].api, channel.id).await;
        let messages: Vec<_> = log.iter().filter_map(|(_, message)| *message).collect();
        assert_eq!(
            messages.iter().copied().collect::<BTreeSet<_>>(),
            acknowledged[&channel.id],
            "the log has each once"
        );
        assert_eq!(messages.len(), acknowledged[&channel.id].len(), "the log has none twice");
        for member in &channel.members {
            listeners[*member].has_heard(channel.id, &log, DEADLINE).await;
        }
    }
    let resumed = listeners.iter().filter(|listener| listener.connections() > 1).count();
    assert!(resumed >= USERS / 3, "only {resumed} clients had to come back: the trouble missed them");
}

struct TestChannel {
    id: ChannelId,
    owner: usize,
    members: BTreeSet<usize>,
}

async fn make_users(system: &System) -> Vec<TestUser> {
    let mut users = Vec::new();
    for index in 0..USERS {
        users.push(system.user(&format!("user-{index}")).await);
    }
    users
}

async fn make_channels(users: &[TestUser], random: &mut StdRng) -> Vec<TestChannel> {
    let everyone: Vec<usize> = (0..users.len()).collect();
    let mut channels = Vec::new();
    for index in 0..CHANNELS {
        let owner = index % users.len();
        let mut members: BTreeSet<usize> = everyone.sample(random, MEMBERS_BESIDE_THE_OWNER).copied().collect();
        members.insert(owner);
        let others: Vec<_> =
            members.iter().filter(|member| **member != owner).map(|member| users[*member].id).collect();
        let id = users[owner].api.create_channel("GROUP", &format!("channel {index}"), &others).await;
        channels.push(TestChannel { id, owner, members });
    }
    channels
}

/// Concurrent senders, half of them at each message server. Returns what was acknowledged.
async fn send_all(
    servers: [String; 2],
    users: &[TestUser],
    channels: &[TestChannel],
    sent: &Arc<AtomicUsize>,
) -> Acknowledged {
    let mut senders = JoinSet::new();
    for (sender, user) in users.iter().enumerate().take(SENDERS) {
        let mine: Vec<_> =
            channels.iter().filter(|channel| channel.members.contains(&sender)).map(|channel| channel.id).collect();
        let api = user.api_at(servers[sender % 2].clone());
        let sent = Arc::clone(sent);
        let mut random = StdRng::seed_from_u64(sender as u64);
        senders.spawn(async move {
            let mut acknowledged = Vec::new();
            for number in 0..MESSAGES / SENDERS {
                let channel = *mine.choose(&mut random).expect("each sender owns a channel");
                acknowledged.push((channel, api.send(channel, &format!("{sender}-{number}")).await));
                sent.fetch_add(1, Ordering::Relaxed);
            }
            acknowledged
        });
    }
    let mut all = Acknowledged::new();
    for (channel, message) in senders.join_all().await.into_iter().flatten() {
        assert!(all.entry(channel).or_default().insert(message), "{message} was acknowledged twice");
    }
    all
}

/// Breaks connections and an instance at certain points of the sending, so that each run breaks the same.
async fn trouble(system: &mut System, proxy: &TcpProxy, sent: &AtomicUsize) {
    let reached = async |count: usize| {
        wait_until(&format!("{count} messages are sent"), DEADLINE, async || sent.load(Ordering::Relaxed) >= count)
            .await;
    };
    reached(MESSAGES / 10).await;
    proxy.reset_connections();
    reached(MESSAGES * 3 / 10).await;
    system.websocket_server(DOOMED).kill();
    reached(MESSAGES * 5 / 10).await;
    proxy.cut();
    reached(MESSAGES * 6 / 10).await;
    system.websocket_server(DOOMED).restart().await;
    proxy.mend();
    reached(MESSAGES * 8 / 10).await;
    proxy.reset_connections();
}
