use chat_client::{Item, ResetReason, UnsubscribeReason};
use chat_events::UserSignal;
use serde_json::json;

use crate::peer::{EPOCH, Peer, channel, connect, next_offline, next_seq, until};

#[tokio::test]
async fn comes_back_at_the_next_instance_with_all_positions_in_one_request() {
    let (first, second) = (Peer::start().await, Peer::start().await);
    let (client, mut items) = connect(&[&first, &second]);
    client.subscribe(channel(1), None);
    client.subscribe(channel(2), None);

    let mut link = first.welcome().await;
    let subscribe = link.expect("SUBSCRIBE").await;
    assert_eq!(subscribe["channels"], json!([{"channelId": channel(1)}, {"channelId": channel(2)}]));
    link.confirm(&subscribe, 10).await;
    link.event(channel(1), 11).await;
    assert_eq!(next_seq(&mut items).await, 11);
    drop(link);

    let mut link = second.welcome().await;
    let subscribe = link.expect("SUBSCRIBE").await;
    assert_eq!(
        subscribe["channels"],
        json!([
            {"channelId": channel(1), "afterSeq": 11, "epoch": EPOCH},
            {"channelId": channel(2), "afterSeq": 10, "epoch": EPOCH},
        ])
    );
    link.event(channel(1), 11).await;
    link.event(channel(1), 12).await;
    assert_eq!(next_seq(&mut items).await, 12);
}

#[tokio::test]
async fn a_hole_is_asked_for_and_never_delivered() {
    let peer = Peer::start().await;
    let (client, mut items) = connect(&[&peer]);
    client.subscribe(channel(1), None);
    let mut link = peer.welcome().await;
    let subscribe = link.expect("SUBSCRIBE").await;
    link.confirm(&subscribe, 4).await;
    link.event(channel(1), 6).await;

    let subscribe = link.expect("SUBSCRIBE").await;
    assert_eq!(subscribe["channels"][0]["afterSeq"], 4);
    link.event(channel(1), 5).await;
    link.event(channel(1), 6).await;
    link.confirm(&subscribe, 6).await;
    assert_eq!([next_seq(&mut items).await, next_seq(&mut items).await], [5, 6]);
}

#[tokio::test]
async fn a_reset_is_told_and_the_channel_goes_on_from_the_head() {
    let peer = Peer::start().await;
    let (client, mut items) = connect(&[&peer]);
    let epoch = Some(EPOCH.parse::<uuid::Uuid>().unwrap().into());
    client.subscribe(channel(1), Some(chat_client::Position { seq: 2, epoch }));
    let mut link = peer.welcome().await;
    let subscribe = link.expect("SUBSCRIBE").await;
    link.send(json!({
        "type": "RESET", "channelId": channel(1), "reason": "TOO_MANY", "headSeq": 9_000, "oldestSeq": 1, "epoch": EPOCH,
    }))
    .await;
    link.confirm(&subscribe, 9_000).await;
    link.event(channel(1), 9_001).await;

    let reset = until(&mut items, "RESET", |item| match item {
        Item::Reset { reason, head_seq, oldest_seq, .. } => Some((reason, head_seq, oldest_seq)),
        _ => None,
    });
    assert_eq!(reset.await, (ResetReason::TooMany, 9_000, 1));
    assert_eq!(next_seq(&mut items).await, 9_001);
}

#[tokio::test]
async fn frames_that_are_not_understood_do_no_harm() {
    let peer = Peer::start().await;
    let (client, mut items) = connect(&[&peer]);
    client.subscribe(channel(1), None);
    let mut link = peer.welcome().await;
    let subscribe = link.expect("SUBSCRIBE").await;
    link.confirm(&subscribe, 0).await;
    for frame in [json!([]), json!({"type": "ERROR"}), json!({"type": "CONFETTI"}), json!("x")] {
        link.send(frame).await;
    }
    link.event(channel(7), 1).await;
    link.event(channel(1), 1).await;
    let event = until(&mut items, "an event", |item| if let Item::Event(event) = item { Some(event) } else { None });
    assert_eq!(event.await.channel_id, channel(1));
}

#[tokio::test]
async fn a_refused_channel_is_told_and_one_that_cannot_be_had_now_is_asked_for_again() {
    let peer = Peer::start().await;
    let (client, mut items) = connect(&[&peer]);
    client.subscribe(channel(1), None);
    client.subscribe(channel(2), None);
    let mut link = peer.welcome().await;
    let id = link.expect("SUBSCRIBE").await["id"].clone();
    let error = |channel, code, retryable| json!({"type": "ERROR", "id": id, "channelId": channel, "code": code, "message": "m", "retryable": retryable, "retryAfterMs": 5});
    link.send(error(channel(1), "CHANNEL_NOT_FOUND", false)).await;
    link.send(error(channel(2), "UNAVAILABLE", true)).await;

    let refused = until(&mut items, "a refusal", |item| match item {
        Item::Refused { channel_id, code, .. } => Some((channel_id, code)),
        _ => None,
    });
    assert_eq!(refused.await, (channel(1), "CHANNEL_NOT_FOUND".to_owned()));
    assert_eq!(link.expect("SUBSCRIBE").await["channels"], json!([{"channelId": channel(2)}]));
}

#[tokio::test]
async fn unsubscribing_is_told_once_and_nothing_comes_after_it() {
    let peer = Peer::start().await;
    let (client, mut items) = connect(&[&peer]);
    client.subscribe(channel(1), None);
    client.subscribe(channel(2), None);
    let mut link = peer.welcome().await;
    let subscribe = link.expect("SUBSCRIBE").await;
    link.confirm(&subscribe, 0).await;

    client.unsubscribe(channel(1));
    assert_eq!(link.expect("UNSUBSCRIBE").await["channelIds"], json!([channel(1)]));
    link.event(channel(1), 1).await;
    link.send(json!({"type": "UNSUBSCRIBED", "channelId": channel(1), "reason": "REQUESTED"})).await;
    link.send(json!({"type": "UNSUBSCRIBED", "channelId": channel(2), "reason": "REMOVED"})).await;
    link.send(json!({"type": "CHANNEL_REMOVED", "userId": channel(9), "channelId": channel(2)})).await;

    let mut seen = Vec::new();
    until(&mut items, "the signal", |item| match item {
        Item::Unsubscribed { channel_id, reason } => {
            seen.push((channel_id, reason));
            None
        }
        Item::Event(event) => panic!("{event:?}"),
        Item::UserSignal(UserSignal::ChannelRemoved { .. }) => Some(()),
        _ => None,
    })
    .await;
    assert_eq!(seen, [(channel(1), UnsubscribeReason::Requested), (channel(2), UnsubscribeReason::Removed)]);
}

#[tokio::test]
async fn a_dead_link_is_noticed() {
    let peer = Peer::start().await;
    let (_client, mut items) = connect(&[&peer]);
    let mut link = peer.accept().await;
    link.hello(200, None).await;
    link.expect("PING").await;
    assert_eq!(next_offline(&mut items).await.0, None);
    peer.welcome().await;
}

#[tokio::test]
async fn a_reconnect_is_honoured_with_its_delay() {
    let (first, second) = (Peer::start().await, Peer::start().await);
    let (_client, mut items) = connect(&[&first, &second]);
    let mut link = first.welcome().await;
    link.send(json!({"type": "RECONNECT", "afterMs": 120})).await;
    link.closed().await;
    assert_eq!(next_offline(&mut items).await.1.as_millis(), 120);
    second.welcome().await;
}
