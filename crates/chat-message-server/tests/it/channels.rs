//! Making, finding, changing and deactivating channels.

use chat_domain::{Clock, SystemClock};
use chat_events::Topic;
use chat_test_support::wait_until;
use common_auth::Role;
use reqwest::Method;
use rstest::rstest;
use serde_json::{Value, json};

use crate::world::{DEADLINE, Kind, World, answer, column, expect, get, nobody, refused, user_id};

const CHANNELS: &str = "/api/v1/channels";

#[rstest]
#[case(Kind::Sqlite)]
#[case(Kind::Postgres)]
#[tokio::test]
async fn a_new_channel_is_there_for_its_members(#[case] kind: Kind) {
    let world = World::new(kind).await;
    let (alice, bob) = (world.user("alice"), world.user("bob"));
    let bob_id = bob.my_id().await;
    let ear = world.hear(Topic::User(bob_id)).await;

    let body = json!({"type": "GROUP", "name": "Lunch", "description": "Where to?", "memberIds": [bob_id, bob_id]});
    let made = answer(world.request("alice", Method::POST, CHANNELS).json(&body)).await;
    assert_eq!(made.status.as_u16(), 201, "{}", made.body);
    let channel = &made.body;
    let path = format!("{CHANNELS}/{}", channel["channelId"].as_str().unwrap());
    assert_eq!(made.headers["location"], path);
    let expected = json!({
        "channelId": channel["channelId"], "type": "GROUP", "name": "Lunch", "description": "Where to?",
        "ownerId": user_id("alice"), "active": true, "epoch": channel["epoch"], "headSeq": 0, "messageCount": 0,
        "memberCount": 2, "unreadCount": 0, "role": "OWNER", "lastReadSeq": 0,
        "createdAt": channel["createdAt"], "updatedAt": channel["createdAt"],
    });
    assert_eq!(*channel, expected);
    assert_eq!(get(&alice, &path).await, expected);
    assert_eq!(get(&bob, &path).await["role"], "MEMBER");

    let signal: Value = serde_json::from_str(&ear.payloads(1).await[0]).unwrap();
    let expected = json!({"type": "CHANNEL_ADDED", "userId": bob_id, "channelId": channel["channelId"]});
    assert_eq!(signal, expected);
}

#[rstest]
#[case(Kind::Sqlite)]
#[case(Kind::Postgres)]
#[tokio::test]
async fn a_pair_has_one_direct_channel(#[case] kind: Kind) {
    let world = World::new(kind).await;
    let (alice, bob) = (world.user("alice"), world.user("bob"));
    let (alice_id, bob_id) = (alice.my_id().await, bob.my_id().await);
    let with = |id| Some(json!({"type": "DIRECT", "memberIds": [id]}));

    let first = expect(&alice, Method::POST, CHANNELS, with(bob_id), 201).await;
    assert_eq!(first["peer"], json!({"userId": bob_id, "username": "bob"}));
    assert_eq!((first.get("name"), first.get("ownerId"), &first["role"]), (None, None, &json!("MEMBER")));
    let again = expect(&alice, Method::POST, CHANNELS, with(bob_id), 200).await;
    let reverse = expect(&bob, Method::POST, CHANNELS, with(alice_id), 200).await;
    assert_eq!(again, first);
    assert_eq!(reverse["channelId"], first["channelId"]);
    assert_eq!(reverse["peer"]["username"], "alice");

    let path = format!("{CHANNELS}/{}", first["channelId"].as_str().unwrap());
    for (method, path, body) in [
        (Method::PATCH, path.clone(), Some(json!({"name": "x"}))),
        (Method::DELETE, path.clone(), None),
        (Method::DELETE, format!("{path}/members/me"), None),
        (Method::POST, format!("{path}/members"), Some(json!({"userId": user_id("carol")}))),
    ] {
        refused(&alice, method, &path, body, (422, "DIRECT_IS_FIXED")).await;
    }
}

#[tokio::test]
async fn a_channel_that_breaks_rules_is_not_made() {
    let world = World::new(Kind::Sqlite).await;
    let alice = world.user("alice");
    let alice_id = alice.my_id().await;
    let invalid = (422, "VALIDATION_FAILED");
    let cases = [
        (json!({"type": "GROUP"}), vec!["/name"]),
        (json!({"type": "GROUP", "name": "  "}), vec!["/name"]),
        (
            json!({"type": "PUBLIC", "name": "n".repeat(101), "description": "d".repeat(501)}),
            vec!["/name", "/description"],
        ),
        (json!({"type": "DIRECT", "name": "x"}), vec!["/name", "/memberIds"]),
        (json!({"type": "DIRECT", "memberIds": [alice_id]}), vec!["/memberIds"]),
    ];
    for (body, pointers) in cases {
        let answer = refused(&alice, Method::POST, CHANNELS, Some(body), invalid).await;
        let errors = answer.body["errors"].as_array().unwrap();
        assert_eq!(errors.iter().map(|error| error["pointer"].as_str().unwrap()).collect::<Vec<_>>(), pointers);
    }
    let unknown = json!({"type": "GROUP", "name": "x", "memberIds": [nobody()]});
    refused(&alice, Method::POST, CHANNELS, Some(unknown), (404, "USER_NOT_FOUND")).await;
    assert_eq!(get(&alice, CHANNELS).await["items"], json!([]));
}

#[rstest]
#[case(Kind::Sqlite)]
#[case(Kind::Postgres)]
#[tokio::test]
async fn lists_have_the_newest_event_first_and_page(#[case] kind: Kind) {
    let world = World::new(kind).await;
    let (alice, bob) = (world.user("alice"), world.user("bob"));
    let bob_id = bob.my_id().await;
    let quiet = alice.create_channel("PUBLIC", "quiet", &[]).await;
    let group = alice.create_channel("GROUP", "group", &[bob_id]).await;
    let private = alice.create_channel("PRIVATE", "private", &[]).await;
    for channel in [quiet, private, group] {
        alice.send(channel, "hello").await;
        // Two sends in one millisecond could not be told apart by their time.
        let sent = SystemClock.now();
        wait_until("the clock moves on", DEADLINE, async || SystemClock.now() > sent).await;
    }

    let first = get(&alice, &format!("{CHANNELS}?limit=2")).await;
    assert_eq!(column(&first, "name"), ["group", "private"]);
    assert_eq!((&first["page"]["hasNext"], &first["page"]["hasPrev"]), (&json!(true), &json!(false)));
    let next = first["page"]["next"].as_str().unwrap();
    let second = get(&alice, &format!("{CHANNELS}?limit=2&cursor={next}")).await;
    assert_eq!((column(&second, "name"), &second["page"]["hasNext"]), (vec![&json!("quiet")], &json!(false)));

    let bobs = get(&bob, CHANNELS).await;
    assert_eq!(column(&bobs, "name"), ["group"]);
    assert_eq!(
        (&bobs["items"][0]["unreadCount"], &bobs["items"][0]["lastMessage"]["content"]),
        (&json!(1), &json!("hello"))
    );
    let public = get(&bob, &format!("{CHANNELS}?scope=public")).await;
    assert_eq!(column(&public, "name"), ["quiet"]);
    assert_eq!(public["items"][0].get("role"), None);

    refused(&alice, Method::GET, &format!("{CHANNELS}?cursor=x"), None, (400, "INVALID_CURSOR")).await;
    refused(&alice, Method::GET, &format!("{CHANNELS}?scope=all"), None, (400, "INVALID_PARAMETER")).await;
}

#[rstest]
#[case(Kind::Sqlite)]
#[case(Kind::Postgres)]
#[tokio::test]
async fn details_change_for_those_who_may(#[case] kind: Kind) {
    let world = World::new(kind).await;
    let (alice, bob) = (world.user("alice"), world.user("bob"));
    let channel = alice.create_channel("PUBLIC", "before", &[]).await;
    let path = format!("{CHANNELS}/{channel}");
    let change = |body: Value| Some(body);

    let both = change(json!({"name": "after", "description": "what for"}));
    let changed = expect(&alice, Method::PATCH, &path, both, 200).await;
    assert_eq!(
        (&changed["name"], &changed["description"], &changed["headSeq"]),
        (&json!("after"), &json!("what for"), &json!(1))
    );
    let kept = expect(&alice, Method::PATCH, &path, change(json!({})), 200).await;
    assert_eq!((&kept["description"], &kept["headSeq"]), (&json!("what for"), &json!(1)));
    let taken = expect(&alice, Method::PATCH, &path, change(json!({"description": null})), 200).await;
    assert_eq!(taken.get("description"), None);

    refused(&alice, Method::PATCH, &path, change(json!({"name": ""})), (422, "VALIDATION_FAILED")).await;
    refused(&bob, Method::PATCH, &path, change(json!({"name": "x"})), (403, "NOT_A_MEMBER")).await;
    bob.join(channel).await;
    refused(&bob, Method::PATCH, &path, change(json!({"name": "x"})), (403, "ROLE_TOO_LOW")).await;
    let admin = world.with_roles("carol", &[Role::Admin]);
    expect(&admin, Method::PATCH, &path, change(json!({"name": "moderated"})), 200).await;
}

#[rstest]
#[case(Kind::Sqlite)]
#[case(Kind::Postgres)]
#[tokio::test]
async fn a_deactivated_channel_can_be_read_only(#[case] kind: Kind) {
    let world = World::new(kind).await;
    let (alice, bob) = (world.user("alice"), world.user("bob"));
    let channel = alice.create_channel("PUBLIC", "room", &[]).await;
    let path = format!("{CHANNELS}/{channel}");
    alice.send(channel, "last words").await;

    refused(&bob, Method::DELETE, &path, None, (403, "NOT_A_MEMBER")).await;
    expect(&alice, Method::DELETE, &path, None, 204).await;
    expect(&alice, Method::DELETE, &path, None, 204).await;

    assert_eq!(get(&alice, &path).await["active"], false);
    assert_eq!(get(&alice, &format!("{path}/messages")).await["items"][0]["content"], "last words");
    refused(&bob, Method::POST, &format!("{path}/members"), None, (422, "CHANNEL_INACTIVE")).await;
    assert_eq!(get(&bob, &format!("{CHANNELS}?scope=public")).await["items"], json!([]));
}

#[tokio::test]
async fn what_a_caller_may_not_see_is_not_found() {
    let world = World::new(Kind::Sqlite).await;
    let (alice, bob) = (world.user("alice"), world.user("bob"));
    let private = alice.create_channel("PRIVATE", "closed", &[]).await;

    for id in [private.to_string(), nobody().to_string()] {
        let path = format!("{CHANNELS}/{id}");
        for path in [path.clone(), format!("{path}/messages"), format!("{path}/members"), format!("{path}/events")] {
            refused(&bob, Method::GET, &path, None, (404, "CHANNEL_NOT_FOUND")).await;
        }
        refused(&bob, Method::PATCH, &path, Some(json!({"name": "x"})), (404, "CHANNEL_NOT_FOUND")).await;
        refused(&bob, Method::DELETE, &path, None, (404, "CHANNEL_NOT_FOUND")).await;
        refused(&bob, Method::POST, &format!("{path}/members"), None, (404, "CHANNEL_NOT_FOUND")).await;
        refused(&bob, Method::DELETE, &format!("{path}/members/me"), None, (404, "CHANNEL_NOT_FOUND")).await;
    }
}
