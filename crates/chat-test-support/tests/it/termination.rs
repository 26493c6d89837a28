//! SIGTERM under load: a message server finishes and publishes what it accepted.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use chat_test_support::system::{Storage, System};
use chat_test_support::wait_until;
use rstest::rstest;
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::scene::{Scene, counter};
use crate::stock::DEADLINE;
use crate::traffic::{Acknowledged, Watcher};

const SENDERS: usize = 20;
/// So many are acknowledged before the signal comes.
const BEFORE: usize = 500;

/// How the last request of a sender ended, and what was acknowledged before.
struct Sender {
    acknowledged: Vec<Acknowledged>,
    ids: BTreeSet<String>,
    error: Option<String>,
}

#[rstest]
#[case::sqlite(Storage::Sqlite)]
#[case::postgres(Storage::Postgres)]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_terminated_message_server_accepted_is_answered_and_published(#[case] storage: Storage) {
    let builder =
        System::builder().storage(storage).message_servers(2).message_setting("CHAT_LIMITS_REQUESTS_PER_SECOND", "0");
    let mut scene = Scene::start(builder).await;
    let watcher = Watcher::start(scene.bob_listens().await);
    let repaired = "chat_websocket_repaired_total";
    let repaired_before = counter(scene.system.websocket_server(0), repaired).await;

    let count = Arc::new(AtomicUsize::new(0));
    let mut senders = JoinSet::new();
    for sender in 0..SENDERS {
        let (api, channel, count) = (scene.alice.api.clone(), scene.channel, Arc::clone(&count));
        senders.spawn(async move {
            let mut this = Sender { acknowledged: Vec::new(), ids: BTreeSet::new(), error: None };
            loop {
                let id = format!("{sender}-{}", this.ids.len());
                match api.try_send(channel, &id, &id).await {
                    Ok(answer) if answer.status == 201 => {
                        let message = answer.body["messageId"].as_str().unwrap().parse().unwrap();
                        this.acknowledged.push(Acknowledged { message, at: Instant::now() });
                        this.ids.insert(id);
                        count.fetch_add(1, Ordering::Relaxed);
                    }
                    Ok(answer) => {
                        assert_eq!(answer.status, 503, "{}", answer.body);
                        return this;
                    }
                    Err(error) => {
                        this.error = Some(format!("{id}: {error:?}"));
                        return this;
                    }
                }
            }
        });
    }
    wait_until("the load runs", DEADLINE, async || count.load(Ordering::Relaxed) >= BEFORE).await;
    let status = scene.system.message_server(0).stop();
    assert!(status.success(), "{status}");

    let senders = senders.join_all().await;
    let ids: BTreeSet<String> = senders.iter().flat_map(|sender| sender.ids.iter().cloned()).collect();
    let errors: Vec<_> = senders.iter().filter_map(|sender| sender.error.as_deref()).collect();
    println!("{} acknowledged, then {} connections without an answer", ids.len(), errors.len());
    // A request that found no server any more was not carried out either.
    assert_eq!(logged(&scene).await, ids, "{errors:#?}");

    let acknowledged: Vec<_> = senders.iter().flat_map(|sender| sender.acknowledged.iter().copied()).collect();
    watcher.delays(&acknowledged, DEADLINE).await;
    let repaired = counter(scene.system.websocket_server(0), repaired).await;
    assert_eq!(repaired, repaired_before, "they came by the bus");
}

/// The clients' ids of all messages in the log.
async fn logged(scene: &Scene) -> BTreeSet<String> {
    const PAGE: usize = 100;
    let api = scene.alice.api_at(scene.system.http_url(1));
    let (mut ids, mut after) = (BTreeSet::new(), 0);
    loop {
        let page = api.events(scene.channel, after, PAGE).await;
        for event in &page {
            after = event["seq"].as_u64().unwrap();
            ids.extend(event["clientMessageId"].as_str().map(str::to_owned));
        }
        if page.len() < PAGE {
            return ids;
        }
    }
}
