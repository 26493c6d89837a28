//! Reading the log of a channel.

use chat_events::Topic;
use common_auth::Role;
use reqwest::Method;
use rstest::rstest;
use serde_json::json;

use crate::world::{Kind, World, column, expect, get, refused, user_id};

#[rstest]
#[case(Kind::Sqlite)]
#[case(Kind::Postgres)]
#[tokio::test]
async fn every_change_is_in_the_log_as_it_was_published(#[case] kind: Kind) {
    let world = World::new(kind).await;
    let (alice, bob) = (world.user("alice"), world.user("bob"));
    let bob_id = bob.my_id().await;
    let channel = alice.create_channel("PUBLIC", "room", &[]).await;
    let ear = world.hear(Topic::Room(channel)).await;
    let path = format!("/api/v1/channels/{channel}");

    bob.join(channel).await;
    bob.send(channel, "hello").await;
    expect(&alice, Method::PATCH, &path, Some(json!({"name": "hall"})), 200).await;
    bob.remove_member(channel, bob_id).await;
    expect(&alice, Method::DELETE, &path, None, 204).await;

    let log = get(&alice, &format!("{path}/events")).await;
    let types = ["MEMBER_JOINED", "MESSAGE", "CHANNEL_UPDATED", "MEMBER_LEFT", "CHANNEL_CLOSED"];
    assert_eq!(column(&log, "type"), types);
    assert_eq!(column(&log, "seq"), [1, 2, 3, 4, 5]);
    assert_eq!(log["items"][0]["userId"], json!(user_id("bob")));
    assert_eq!((&log["headSeq"], &log["oldestSeq"]), (&json!(5), &json!(1)));
    assert_eq!(log["epoch"], get(&alice, &path).await["epoch"]);
    assert_eq!(log["page"], json!({"hasNext": false}));

    let raw = world.request("alice", Method::GET, &format!("{path}/events")).send().await.unwrap();
    let items = format!(r#""items":[{}]"#, ear.payloads(5).await.join(","));
    assert!(raw.text().await.unwrap().contains(&items), "{items}");
}

#[rstest]
#[case(Kind::Sqlite)]
#[case(Kind::Postgres)]
#[tokio::test]
async fn the_log_is_read_on_from_a_place(#[case] kind: Kind) {
    let world = World::new(kind).await;
    let alice = world.user("alice");
    let channel = alice.create_channel("GROUP", "room", &[]).await;
    for number in 0..5 {
        alice.send(channel, &number.to_string()).await;
    }
    let page = |query: &str| format!("/api/v1/channels/{channel}/events?{query}");

    let first = get(&alice, &page("limit=2")).await;
    assert_eq!((column(&first, "seq"), &first["page"]["hasNext"]), (vec![&json!(1), &json!(2)], &json!(true)));
    let last = get(&alice, &page("afterSeq=3&limit=2")).await;
    assert_eq!((column(&last, "seq"), &last["page"]["hasNext"]), (vec![&json!(4), &json!(5)], &json!(false)));
    for beyond in ["afterSeq=5", "afterSeq=18446744073709551615"] {
        let page = get(&alice, &page(beyond)).await;
        assert_eq!((&page["items"], &page["headSeq"]), (&json!([]), &json!(5)));
    }
    refused(&alice, Method::GET, &page("afterSeq=-1"), None, (400, "INVALID_PARAMETER")).await;
}

#[tokio::test]
async fn the_log_is_for_those_who_may_listen() {
    let world = World::new(Kind::Sqlite).await;
    let (alice, bob) = (world.user("alice"), world.user("bob"));
    let public = alice.create_channel("PUBLIC", "open", &[]).await;
    let private = alice.create_channel("PRIVATE", "closed", &[]).await;
    let events = |channel| format!("/api/v1/channels/{channel}/events");

    bob.my_id().await;
    get(&bob, &events(public)).await;
    refused(&bob, Method::GET, &events(private), None, (404, "CHANNEL_NOT_FOUND")).await;
    get(&world.with_roles("carol", &[Role::Admin]), &events(private)).await;
}
