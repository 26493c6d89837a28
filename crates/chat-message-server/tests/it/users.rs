//! Profiles and statuses.

use chat_events::Topic;
use common_auth::Role;
use reqwest::Method;
use rstest::rstest;
use serde_json::{Value, json};

use crate::world::{Kind, World, expect, get, nobody, refused, text, user_id};

const ME: &str = "/api/v1/users/me";

#[rstest]
#[case(Kind::Sqlite)]
#[case(Kind::Postgres)]
#[tokio::test]
async fn a_user_is_made_by_its_first_request_and_changes_its_profile(#[case] kind: Kind) {
    let world = World::new(kind).await;
    let (alice, bob) = (world.user("alice"), world.user("bob"));

    let me = get(&alice, ME).await;
    let expected = json!({
        "userId": user_id("alice"), "username": "alice", "status": "ACTIVE",
        "createdAt": me["createdAt"], "updatedAt": me["createdAt"],
    });
    assert_eq!(me, expected);

    let change = json!({"username": "Alice A.", "email": "alice@example.org"});
    let changed = expect(&alice, Method::PATCH, ME, Some(change), 200).await;
    assert_eq!((&changed["username"], &changed["email"]), (&json!("Alice A."), &json!("alice@example.org")));
    assert_eq!(get(&alice, ME).await, changed);
    let seen = get(&bob, &format!("/api/v1/users/{}", user_id("alice"))).await;
    let expected = json!({"userId": user_id("alice"), "username": "Alice A.", "createdAt": me["createdAt"]});
    assert_eq!(seen, expected);

    let taken = expect(&alice, Method::PATCH, ME, Some(json!({"email": null})), 200).await;
    assert_eq!((taken.get("email"), &taken["username"]), (None, &json!("Alice A.")));
    let broken = Some(json!({"username": " ", "email": "no address"}));
    let answer = refused(&alice, Method::PATCH, ME, broken, (422, "VALIDATION_FAILED")).await;
    assert_eq!(answer.body["errors"].as_array().unwrap().len(), 2);
    refused(&bob, Method::GET, &format!("/api/v1/users/{}", nobody()), None, (404, "USER_NOT_FOUND")).await;
}

#[rstest]
#[case(Kind::Sqlite)]
#[case(Kind::Postgres)]
#[tokio::test]
async fn a_status_holds_from_the_next_request_on(#[case] kind: Kind) {
    let world = World::new(kind).await;
    let (admin, bob) = (world.with_roles("root", &[Role::Admin]), world.user("bob"));
    let bob_id = bob.my_id().await;
    let channel = bob.create_channel("PUBLIC", "room", &[]).await;
    let ear = world.hear(Topic::User(bob_id)).await;
    let status = async |status: &str, expected| {
        let path = format!("/api/v1/admin/users/{bob_id}");
        expect(&admin, Method::PATCH, &path, Some(json!({"status": status})), expected).await
    };
    let inactive = (403, "USER_NOT_ACTIVE");

    let changed = status("SUSPENDED", 200).await;
    assert_eq!((&changed["userId"], &changed["status"]), (&json!(bob_id), &json!("SUSPENDED")));
    get(&bob, &format!("/api/v1/channels/{channel}/messages")).await;
    let create = Some(json!({"type": "GROUP", "name": "x"}));
    refused(&bob, Method::POST, "/api/v1/messages", Some(text(channel, "x")), inactive).await;
    refused(&bob, Method::POST, "/api/v1/channels", create, inactive).await;
    refused(&bob, Method::PATCH, ME, Some(json!({"username": "x"})), inactive).await;

    status("BANNED", 200).await;
    refused(&bob, Method::GET, ME, None, inactive).await;
    refused(&bob, Method::POST, "/api/v1/messages", Some(text(channel, "x")), inactive).await;
    assert_eq!(status("SUSPENDED", 409).await["code"], "STATUS_TRANSITION");
    status("ACTIVE", 200).await;
    bob.send(channel, "back").await;

    let heard: Vec<Value> =
        ear.payloads(3).await.iter().map(|payload| serde_json::from_str(payload).unwrap()).collect();
    let signal = |status: &str| json!({"type": "USER_STATUS_CHANGED", "userId": bob_id, "status": status});
    assert_eq!(heard, [signal("SUSPENDED"), signal("BANNED"), signal("ACTIVE")]);
}

#[tokio::test]
async fn statuses_are_set_by_administrators_only() {
    let world = World::new(Kind::Sqlite).await;
    let body = || Some(json!({"status": "BANNED"}));
    let path = format!("/api/v1/admin/users/{}", user_id("bob"));
    world.user("bob").my_id().await;

    for roles in [&[][..], &[Role::User], &[Role::Service]] {
        refused(&world.with_roles("mallory", roles), Method::PATCH, &path, body(), (403, "FORBIDDEN")).await;
    }
    let admin = world.with_roles("root", &[Role::Admin]);
    let unknown = format!("/api/v1/admin/users/{}", nobody());
    refused(&admin, Method::PATCH, &unknown, body(), (404, "USER_NOT_FOUND")).await;
    refused(&admin, Method::PATCH, &path, Some(json!({"status": "GONE"})), (400, "INVALID_BODY")).await;
}

#[rstest]
#[case(Kind::Sqlite)]
#[case(Kind::Postgres)]
#[tokio::test]
async fn inactive_users_are_not_brought_in(#[case] kind: Kind) {
    let world = World::new(kind).await;
    let (admin, alice) = (world.with_roles("root", &[Role::Admin]), world.user("alice"));
    let bob_id = world.user("bob").my_id().await;
    let channel = alice.create_channel("GROUP", "room", &[]).await;
    let banned = Some(json!({"status": "BANNED"}));
    expect(&admin, Method::PATCH, &format!("/api/v1/admin/users/{bob_id}"), banned, 200).await;

    let members = format!("/api/v1/channels/{channel}/members");
    let add = Some(json!({"userId": bob_id}));
    refused(&alice, Method::POST, &members, add, (422, "TARGET_NOT_ACTIVE")).await;
    let direct = Some(json!({"type": "DIRECT", "memberIds": [bob_id]}));
    refused(&alice, Method::POST, "/api/v1/channels", direct, (422, "TARGET_NOT_ACTIVE")).await;
}
