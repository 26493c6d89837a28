//! Who is in a channel.

use chat_events::Topic;
use reqwest::Method;
use rstest::rstest;
use serde_json::{Value, json};

use crate::world::{Kind, World, column, expect, get, nobody, refused, user_id};

#[rstest]
#[case(Kind::Sqlite)]
#[case(Kind::Postgres)]
#[tokio::test]
async fn joining_and_leaving_are_told_once(#[case] kind: Kind) {
    let world = World::new(kind).await;
    let (alice, bob) = (world.user("alice"), world.user("bob"));
    let channel = alice.create_channel("PUBLIC", "room", &[]).await;
    let ear = world.hear(Topic::User(user_id("bob"))).await;
    let members = format!("/api/v1/channels/{channel}/members");

    let joined = expect(&bob, Method::POST, &members, Some(json!({})), 201).await;
    let expected =
        json!({"userId": user_id("bob"), "username": "bob", "role": "MEMBER", "joinedAt": joined["joinedAt"]});
    assert_eq!(joined, expected);
    assert_eq!(expect(&bob, Method::POST, &members, None, 200).await, expected);
    assert_eq!(column(&get(&alice, &members).await, "username").len(), 2);

    expect(&bob, Method::DELETE, &format!("{members}/me"), None, 204).await;
    expect(&bob, Method::DELETE, &format!("{members}/me"), None, 204).await;
    assert_eq!(column(&get(&alice, &members).await, "username"), ["alice"]);
    expect(&bob, Method::POST, &members, None, 201).await;

    let heard: Vec<Value> =
        ear.payloads(3).await.iter().map(|payload| serde_json::from_str(payload).unwrap()).collect();
    let signal = |kind: &str| json!({"type": kind, "userId": user_id("bob"), "channelId": channel});
    assert_eq!(heard, [signal("CHANNEL_ADDED"), signal("CHANNEL_REMOVED"), signal("CHANNEL_ADDED")]);
}

#[rstest]
#[case(Kind::Sqlite)]
#[case(Kind::Postgres)]
#[tokio::test]
async fn members_are_added_and_removed_by_those_who_may(#[case] kind: Kind) {
    let world = World::new(kind).await;
    let (alice, bob, carol) = (world.user("alice"), world.user("bob"), world.user("carol"));
    let (alice_id, bob_id, carol_id) = (alice.my_id().await, bob.my_id().await, carol.my_id().await);
    let private = alice.create_channel("PRIVATE", "closed", &[bob_id]).await;
    let members = format!("/api/v1/channels/{private}/members");
    let add = |id| Some(json!({"userId": id}));

    refused(&bob, Method::POST, &members, add(carol_id), (403, "ROLE_TOO_LOW")).await;
    refused(&carol, Method::POST, &members, None, (404, "CHANNEL_NOT_FOUND")).await;
    expect(&alice, Method::POST, &members, add(carol_id), 201).await;
    refused(&alice, Method::POST, &members, add(nobody()), (404, "USER_NOT_FOUND")).await;

    refused(&bob, Method::DELETE, &format!("{members}/{carol_id}"), None, (403, "ROLE_TOO_LOW")).await;
    refused(&bob, Method::DELETE, &format!("{members}/{alice_id}"), None, (403, "ROLE_TOO_LOW")).await;
    refused(&alice, Method::DELETE, &format!("{members}/me"), None, (422, "OWNER_CANNOT_LEAVE")).await;
    expect(&alice, Method::DELETE, &format!("{members}/{bob_id}"), None, 204).await;
    refused(&bob, Method::GET, &members, None, (404, "CHANNEL_NOT_FOUND")).await;
}

#[rstest]
#[case(Kind::Sqlite)]
#[case(Kind::Postgres)]
#[tokio::test]
async fn long_lists_of_members_page(#[case] kind: Kind) {
    let world = World::new(kind).await;
    let mut ids = Vec::new();
    for name in ["bob", "carol", "dave", "erin"] {
        ids.push(world.user(name).my_id().await);
    }
    let alice = world.user("alice");
    let channel = alice.create_channel("GROUP", "room", &ids).await;
    ids.push(alice.my_id().await);
    ids.sort_unstable();

    let (mut seen, mut query) = (Vec::new(), String::new());
    loop {
        let page = get(&alice, &format!("/api/v1/channels/{channel}/members?limit=2{query}")).await;
        seen.extend(column(&page, "userId").into_iter().cloned());
        let Some(next) = page["page"]["next"].as_str() else { break };
        query = format!("&cursor={next}");
    }
    assert_eq!(json!(seen), json!(ids));
}

#[tokio::test]
async fn odd_members_are_refused() {
    let world = World::new(Kind::Sqlite).await;
    let alice = world.user("alice");
    let channel = alice.create_channel("PUBLIC", "room", &[]).await;
    let members = format!("/api/v1/channels/{channel}/members");

    let wrong = refused(&alice, Method::POST, &members, Some(json!({"userId": 7})), (400, "INVALID_BODY")).await;
    assert_eq!(wrong.body["errors"][0]["pointer"], "/userId");
    refused(&alice, Method::DELETE, &format!("{members}/you"), None, (400, "INVALID_PARAMETER")).await;
    refused(&alice, Method::GET, &format!("{members}?cursor=AQ"), None, (400, "INVALID_CURSOR")).await;
}
