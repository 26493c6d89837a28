//! Tokens that are revoked.

use std::time::Duration;

use chat_domain::{Clock, SystemClock, Timestamp, UserId};
use chat_events::Topic;
use chat_test_support::{http_api::HttpApi, tokens, wait_until};
use common_auth::Role;
use reqwest::Method;
use rstest::rstest;
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::world::{
    DEADLINE, Kind, SECRET, World, answer, assert_problem, code_of, expect, get, nobody, refused, user_id,
};

const ME: &str = "/api/v1/users/me";
const MINE: &str = "/api/v1/users/me/revoke-tokens";
const VOID: (u16, &str) = (401, "TOKEN_REVOKED");

fn of(id: UserId) -> String {
    format!("/api/v1/admin/users/{id}/revoke-tokens")
}

fn from_now(secs: i64) -> Timestamp {
    Timestamp::from_millis(SystemClock.now().as_millis() + secs * 1_000)
}

/// The API with a token of this user that was made so many seconds from now.
fn with_token_of(world: &World, name: &str, secs: i64) -> HttpApi {
    HttpApi::new(world.base.clone(), tokens::issue_later(SECRET, name, &[], secs))
}

#[rstest]
#[case(Kind::Sqlite)]
#[case(Kind::Postgres)]
#[tokio::test]
async fn who_logs_out_everywhere_needs_a_new_token(#[case] kind: Kind) {
    let world = World::new(kind).await;
    let (bob, other_device, alice) = (world.user("bob"), with_token_of(&world, "bob", -60), world.user("alice"));
    let undated = HttpApi::new(world.base.clone(), tokens::issue_undated(SECRET, "bob", &[]));
    let bob_id = bob.my_id().await;
    for api in [&other_device, &undated] {
        get(api, ME).await;
    }
    let ear = world.hear(Topic::User(bob_id)).await;

    let revoked = expect(&bob, Method::POST, MINE, None, 200).await;

    assert_eq!(revoked["userId"], json!(bob_id));
    for api in [&bob, &other_device, &undated] {
        let answer = refused(api, Method::GET, ME, None, VOID).await;
        assert_eq!(answer.headers["www-authenticate"], "Bearer");
    }
    refused(&bob, Method::POST, MINE, None, VOID).await;
    get(&with_token_of(&world, "bob", 2), ME).await;
    get(&alice, ME).await;
    let heard: Value = serde_json::from_str(&ear.payloads(1).await[0]).unwrap();
    let expected = json!({"type": "TOKENS_REVOKED", "userId": bob_id, "before": revoked["tokensValidFrom"]});
    assert_eq!(heard, expected);
}

#[rstest]
#[case(Kind::Sqlite)]
#[case(Kind::Postgres)]
#[tokio::test]
async fn an_administrator_revokes_what_was_issued_before_a_moment(#[case] kind: Kind) {
    let world = World::new(kind).await;
    let admin = world.with_roles("root", &[Role::Admin]);
    let (stolen, kept) = (with_token_of(&world, "bob", -7_200), world.user("bob"));
    let bob_id = kept.my_id().await;
    get(&stolen, ME).await;
    let before = json!({"before": from_now(-3_600)});

    let revoked = expect(&admin, Method::POST, &of(bob_id), Some(before.clone()), 200).await;
    assert_eq!(revoked, json!({"userId": bob_id, "tokensValidFrom": before["before"]}));
    refused(&stolen, Method::GET, ME, None, VOID).await;
    get(&kept, ME).await;

    let all = expect(&admin, Method::POST, &of(bob_id), Some(json!({})), 200).await;
    refused(&kept, Method::GET, ME, None, VOID).await;
    let again = expect(&admin, Method::POST, &of(bob_id), Some(before), 200).await;
    assert_eq!(again, all, "what is void stays void");
    get(&admin, ME).await;
}

#[tokio::test]
async fn who_may_revoke_what_is_checked() {
    let world = World::new(Kind::Sqlite).await;
    let bob_id = world.user("bob").my_id().await;
    for roles in [&[][..], &[Role::User], &[Role::Service]] {
        let mallory = world.with_roles("mallory", roles);
        refused(&mallory, Method::POST, &of(bob_id), None, (403, "FORBIDDEN")).await;
    }
    let admin = world.with_roles("root", &[Role::Admin]);
    refused(&admin, Method::POST, &of(nobody()), None, (404, "USER_NOT_FOUND")).await;
    let nonsense = "/api/v1/admin/users/bob/revoke-tokens";
    refused(&admin, Method::POST, nonsense, None, (400, "INVALID_PARAMETER")).await;

    for path in [MINE.to_owned(), of(bob_id)] {
        let body = |before: Value| Some(json!({"before": before}));
        let answer = refused(&admin, Method::POST, &path, body(json!(from_now(60))), (422, "VALIDATION_FAILED")).await;
        assert_eq!(answer.body["errors"][0]["pointer"], "/before");
        for wrong in [json!("yesterday"), json!(1_795_338_000), json!("2026-11-22")] {
            let answer = refused(&admin, Method::POST, &path, body(wrong.clone()), (400, "INVALID_BODY")).await;
            assert_eq!(answer.body["errors"][0]["pointer"], "/before", "{wrong}");
        }
    }
    get(&admin, ME).await;
    get(&world.user("bob"), ME).await;
}

#[tokio::test]
async fn who_is_suspended_may_log_out_and_who_is_banned_with_a_void_token_is_told_of_the_token() {
    let world = World::new(Kind::Sqlite).await;
    let (admin, bob) = (world.with_roles("root", &[Role::Admin]), world.user("bob"));
    let bob_id = bob.my_id().await;
    let set = async |status: &str| {
        let path = format!("/api/v1/admin/users/{bob_id}");
        expect(&admin, Method::PATCH, &path, Some(json!({"status": status})), 200).await;
    };
    set("SUSPENDED").await;
    expect(&bob, Method::POST, MINE, None, 200).await;
    set("BANNED").await;
    refused(&bob, Method::GET, ME, None, VOID).await;
    refused(&with_token_of(&world, "bob", 2), Method::GET, ME, None, (403, "USER_NOT_ACTIVE")).await;
}

#[tokio::test]
async fn a_service_logs_its_user_out_and_stays_itself() {
    let world = World::new(Kind::Sqlite).await;
    let (alice, alice_id) = (world.user("alice"), user_id("alice"));
    get(&alice, ME).await;
    let shop = tokens::issue(SECRET, "shop", &[Role::Service]);
    let acting =
        |method, path| world.anonymous(method, path).bearer_auth(&shop).header("X-On-Behalf-Of", alice_id.to_string());

    let revoked = answer(acting(Method::POST, MINE)).await;
    assert_eq!((revoked.status.as_u16(), &revoked.body["userId"]), (200, &json!(alice_id)), "{}", revoked.body);
    refused(&alice, Method::GET, ME, None, VOID).await;
    // Whose tokens are void may still be acted for: it is the service's token that is shown.
    assert_eq!(answer(acting(Method::GET, ME)).await.status.as_u16(), 200);

    expect(&HttpApi::new(world.base.clone(), shop.clone()), Method::POST, MINE, None, 200).await;
    assert_problem(&answer(acting(Method::GET, ME)).await, ME, VOID);
}

/// Another server shares nothing but the store with the one that was asked.
#[rstest]
#[case(Kind::Sqlite)]
#[case(Kind::Postgres)]
#[tokio::test]
async fn what_another_server_revoked_is_void_within_a_second(#[case] kind: Kind) {
    let world = World::new(kind).await;
    let bob = world.user("bob");
    let bob_id = bob.my_id().await;
    let other = world.storage_of_another_server().await;

    get(&bob, ME).await;
    other.revoke_tokens(bob_id, from_now(1)).await.unwrap();
    let revoked_at = Instant::now();

    let mut last_served = revoked_at;
    wait_until("the token is refused", DEADLINE, async || {
        let asked_at = Instant::now();
        let answer = bob.call(Method::GET, ME, None).await;
        if answer.status.is_success() {
            last_served = asked_at;
        } else {
            assert_eq!(code_of(&answer), VOID.1);
        }
        !answer.status.is_success()
    })
    .await;
    let late = last_served.duration_since(revoked_at);
    assert!(late <= Duration::from_secs(1), "{late:?}");
    other.close().await;
}
