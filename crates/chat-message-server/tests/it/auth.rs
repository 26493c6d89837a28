//! Tokens, acting for others, request limits.

use chat_test_support::tokens;
use common_auth::Role;
use reqwest::Method;
use rstest::rstest;
use serde_json::json;

use crate::world::{Kind, SECRET, World, answer, assert_problem, expect, get, refused, text, user_id};

const ME: &str = "/api/v1/users/me";

#[tokio::test]
async fn tokens_that_do_not_hold_are_refused() {
    let world = World::new(Kind::Sqlite).await;
    let good = tokens::issue(SECRET, "alice", &[]);
    let forged = tokens::issue("another secret of the same length or so", "alice", &[Role::Admin]);
    // {"alg":"none"} . the good claims . no signature
    let none = format!("eyJhbGciOiJub25lIn0.{}.", good.split('.').nth(1).unwrap());
    let cases = [
        (tokens::issue_for(SECRET, "alice", &[], -60), "TOKEN_EXPIRED"),
        (forged, "TOKEN_INVALID"),
        (none, "TOKEN_INVALID"),
        (format!("{good}x"), "TOKEN_INVALID"),
        ("x".repeat(9_000), "TOKEN_INVALID"),
        (String::new(), "TOKEN_MISSING"),
    ];
    for (token, code) in cases {
        let refused = answer(world.anonymous(Method::GET, ME).bearer_auth(&token)).await;
        assert_problem(&refused, ME, (401, code));
        assert_eq!(refused.headers["www-authenticate"], "Bearer");
        assert!(token.len() < 20 || !refused.body.to_string().contains(&token), "the token is repeated");
    }
    assert_problem(&answer(world.anonymous(Method::GET, ME)).await, ME, (401, "TOKEN_MISSING"));
    assert_problem(
        &answer(world.anonymous(Method::GET, ME).basic_auth("a", Some("b"))).await,
        ME,
        (401, "TOKEN_MISSING"),
    );
    // Who one is comes first: a stranger learns nothing about bodies.
    let send = world.anonymous(Method::POST, "/api/v1/messages").body("{");
    assert_problem(&answer(send).await, "/api/v1/messages", (401, "TOKEN_MISSING"));
}

#[rstest]
#[case(Kind::Sqlite)]
#[case(Kind::Postgres)]
#[tokio::test]
async fn a_service_acts_for_its_users(#[case] kind: Kind) {
    let world = World::new(kind).await;
    let alice = world.user("alice");
    let channel = alice.create_channel("PUBLIC", "room", &[]).await;
    let service = |roles: &[Role], name: &str| {
        world
            .anonymous(Method::POST, "/api/v1/messages")
            .bearer_auth(tokens::issue(SECRET, "shop", roles))
            .header("X-On-Behalf-Of", name)
            .json(&text(channel, "your order was sent"))
    };
    let alice_id = user_id("alice").to_string();

    let sent = answer(service(&[Role::Service], &alice_id)).await;
    assert_eq!((sent.status.as_u16(), &sent.body["senderId"]), (201, &json!(alice_id)), "{}", sent.body);
    let path = "/api/v1/messages";
    assert_problem(&answer(service(&[Role::User], &alice_id)).await, path, (403, "FORBIDDEN"));
    assert_problem(&answer(service(&[Role::Admin], &alice_id)).await, path, (403, "FORBIDDEN"));
    assert_problem(&answer(service(&[Role::Service], "alice")).await, path, (400, "INVALID_PARAMETER"));
    // The rules are those for the user.
    let bob = user_id("bob").to_string();
    assert_problem(&answer(service(&[Role::Service], &bob)).await, path, (403, "NOT_A_MEMBER"));

    let admin = world.with_roles("root", &[Role::Admin]);
    let banned = Some(json!({"status": "BANNED"}));
    expect(&admin, Method::PATCH, &format!("/api/v1/admin/users/{alice_id}"), banned, 200).await;
    assert_problem(&answer(service(&[Role::Service], &alice_id)).await, path, (403, "USER_NOT_ACTIVE"));
}

#[tokio::test]
async fn borrowed_names_lend_no_role() {
    let world = World::new(Kind::Sqlite).await;
    world.user("alice").my_id().await;
    let path = format!("/api/v1/admin/users/{}", user_id("alice"));
    let request = world
        .anonymous(Method::PATCH, &path)
        .bearer_auth(tokens::issue(SECRET, "shop", &[Role::Service, Role::Admin]))
        .header("X-On-Behalf-Of", user_id("alice").to_string())
        .json(&json!({"status": "BANNED"}));
    assert_problem(&answer(request).await, &path, (403, "FORBIDDEN"));
}

#[tokio::test]
async fn who_asks_too_often_has_to_wait() {
    let world = World::with(Kind::Sqlite, |config| {
        config.limits.requests_per_second = 1;
        config.limits.burst = 3;
    })
    .await;
    let (alice, bob) = (world.user("alice"), world.user("bob"));
    for _ in 0..3 {
        get(&alice, ME).await;
    }
    let throttled = refused(&alice, Method::GET, ME, None, (429, "RATE_LIMITED")).await;
    for (name, value) in [("retry-after", "1"), ("ratelimit-limit", "3"), ("ratelimit-remaining", "0")] {
        assert_eq!(throttled.headers[name], value, "{name}");
    }
    assert!(throttled.headers.contains_key("ratelimit-reset"));
    get(&bob, ME).await;
}
