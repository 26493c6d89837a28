//! A RESET with an HTTP API at hand, and subscriptions that nobody answers.

use std::time::Duration;

use chat_client::{Client, Item, Items, Position, ResetReason, TokenSource};
use serde_json::{Value, json};

use crate::{
    http_peer::HttpPeer,
    peer::{EPOCH, Link, Peer, channel, config, next_offline, next_seq, until},
};

/// Somebody who has heard the first two events and hears RESET.
async fn reset(peer: &Peer, http: &HttpPeer, frame: Value) -> (Client, Items, Link) {
    let mut config = config(&[peer.url()], TokenSource::fixed("token"));
    config.history = Some(http.client());
    let (client, items) = Client::connect(config);
    let epoch = Some(EPOCH.parse::<uuid::Uuid>().unwrap().into());
    client.subscribe(channel(1), Some(Position { seq: 2, epoch }));
    let mut link = peer.welcome().await;
    let subscribe = link.expect("SUBSCRIBE").await;
    link.send(frame).await;
    link.confirm(&subscribe, 6).await;
    (client, items, link)
}

fn reset_frame(reason: &str, oldest_seq: u64) -> Value {
    json!({"type": "RESET", "channelId": channel(1), "reason": reason, "headSeq": 6, "oldestSeq": oldest_seq, "epoch": EPOCH})
}

/// The next page is asked for after `after_seq` and has these events.
async fn page(http: &HttpPeer, after_seq: u64, seqs: std::ops::RangeInclusive<u64>, has_next: bool) {
    let asked = http.asked().await;
    assert!(asked.line.contains(&format!("/events?afterSeq={after_seq}&")), "{}", asked.line);
    let events: Vec<_> =
        seqs.clone().map(|seq| json!({"type": "MESSAGE", "channelId": channel(1), "seq": seq})).collect();
    let page = json!({"items": events, "headSeq": 6, "oldestSeq": 1.max(*seqs.start()), "epoch": EPOCH, "page": {"hasNext": has_next}});
    asked.answer(200, "", &page).await;
}

#[tokio::test]
async fn what_is_too_many_is_loaded_and_then_it_goes_on_live() {
    let (peer, http) = (Peer::start().await, HttpPeer::start().await);
    let (_client, mut items, mut link) = reset(&peer, &http, reset_frame("TOO_MANY", 1)).await;
    // Behind what is missing: of no use now, the replay brings it.
    link.event(channel(1), 8).await;
    page(&http, 2, 3..=4, true).await;
    page(&http, 4, 5..=6, false).await;

    let subscribe = link.expect("SUBSCRIBE").await;
    assert_eq!(subscribe["channels"], json!([{"channelId": channel(1), "afterSeq": 6, "epoch": EPOCH}]));
    link.event(channel(1), 7).await;
    link.confirm(&subscribe, 7).await;
    link.event(channel(1), 8).await;

    let mut seqs = Vec::new();
    until(&mut items, "the last event", |item| match item {
        Item::Event(event) => {
            seqs.push(event.seq);
            (event.seq == 8).then_some(())
        }
        Item::Reset { .. } => panic!("nothing is lost"),
        _ => None,
    })
    .await;
    assert_eq!(seqs, [3, 4, 5, 6, 7, 8]);
}

#[tokio::test]
async fn what_is_gone_is_told_and_the_rest_is_loaded() {
    let (peer, http) = (Peer::start().await, HttpPeer::start().await);
    let (_client, mut items, mut link) = reset(&peer, &http, reset_frame("TOO_OLD", 5)).await;
    page(&http, 4, 5..=6, false).await;
    link.expect("SUBSCRIBE").await;
    let told = until(&mut items, "RESET", |item| match item {
        Item::Reset { reason, after_seq, .. } => Some((reason, after_seq)),
        _ => None,
    });
    assert_eq!(told.await, (ResetReason::TooOld, 4));
    assert_eq!([next_seq(&mut items).await, next_seq(&mut items).await], [5, 6]);
}

#[tokio::test]
async fn history_that_cannot_be_had_is_asked_for_through_the_server_again() {
    let (peer, http) = (Peer::start().await, HttpPeer::start().await);
    let (_client, _items, mut link) = reset(&peer, &http, reset_frame("TOO_MANY", 1)).await;
    http.asked().await.answer(404, "", &json!({"code": "CHANNEL_NOT_FOUND"})).await;
    let subscribe = link.expect("SUBSCRIBE").await;
    assert_eq!(subscribe["channels"][0]["afterSeq"], 2);
}

#[tokio::test]
async fn a_subscription_without_an_answer_breaks_the_connection() {
    let (first, second) = (Peer::start().await, Peer::start().await);
    let mut config = config(&[first.url(), second.url()], TokenSource::fixed("token"));
    config.answer_timeout = Duration::from_millis(300);
    let (client, mut items) = Client::connect(config);
    client.subscribe(channel(1), None);
    let mut silent = first.welcome().await;
    silent.expect("SUBSCRIBE").await;
    next_offline(&mut items).await;
    second.welcome().await.expect("SUBSCRIBE").await;
}
