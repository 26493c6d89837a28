//! Paging through messages.

use chat_domain::ChannelId;
use chat_test_support::http_api::HttpApi;
use reqwest::Method;
use rstest::rstest;
use serde_json::{Value, json};

use crate::world::{Kind, World, column, get, nobody, refused};

fn path(channel: ChannelId, query: &str) -> String {
    format!("/api/v1/channels/{channel}/messages?{query}")
}

async fn filled(alice: &HttpApi, count: u64) -> ChannelId {
    let channel = alice.create_channel("PUBLIC", "room", &[]).await;
    for number in 1..=count {
        alice.send(channel, &number.to_string()).await;
    }
    channel
}

fn texts(page: &Value) -> Vec<u64> {
    column(page, "content").iter().map(|content| content.as_str().unwrap().parse().unwrap()).collect()
}

#[rstest]
#[case(Kind::Sqlite)]
#[case(Kind::Postgres)]
#[tokio::test]
async fn pages_go_back_to_the_first_message_and_forth_to_the_last(#[case] kind: Kind) {
    let world = World::new(kind).await;
    let alice = world.user("alice");
    let channel = filled(&alice, 10).await;

    let newest = get(&alice, &path(channel, "limit=4")).await;
    assert_eq!(texts(&newest), [7, 8, 9, 10]);
    assert_eq!((&newest["page"]["hasPrev"], &newest["page"]["hasNext"]), (&json!(true), &json!(false)));
    assert_eq!(newest["page"].get("next"), None);

    let older = get(&alice, &path(channel, &cursor(&newest, "before", "prev"))).await;
    assert_eq!(texts(&older), [3, 4, 5, 6]);
    let oldest = get(&alice, &path(channel, &cursor(&older, "before", "prev"))).await;
    assert_eq!(texts(&oldest), [1, 2]);
    assert_eq!((&oldest["page"]["hasPrev"], &oldest["page"]["hasNext"]), (&json!(false), &json!(true)));

    let newer = get(&alice, &path(channel, &cursor(&oldest, "after", "next"))).await;
    assert_eq!(texts(&newer), [3, 4, 5, 6]);
    let last = get(&alice, &path(channel, &cursor(&newer, "after", "next"))).await;
    assert_eq!(texts(&last), [7, 8, 9, 10]);
    assert_eq!(last["page"]["hasNext"], false);
}

fn cursor(page: &Value, parameter: &str, link: &str) -> String {
    format!("limit=4&{parameter}={}", page["page"][link].as_str().unwrap())
}

#[rstest]
#[case(Kind::Sqlite)]
#[case(Kind::Postgres)]
#[tokio::test]
async fn a_page_around_a_message_has_both_sides(#[case] kind: Kind) {
    let world = World::new(kind).await;
    let alice = world.user("alice");
    let channel = filled(&alice, 9).await;
    let all = get(&alice, &path(channel, "")).await;
    let middle = all["items"][4]["messageId"].as_str().unwrap();

    let page = get(&alice, &path(channel, &format!("limit=5&around={middle}"))).await;
    assert_eq!(texts(&page), [3, 4, 5, 6, 7]);
    assert_eq!((&page["page"]["hasPrev"], &page["page"]["hasNext"]), (&json!(true), &json!(true)));

    let other = alice.create_channel("PUBLIC", "other", &[]).await;
    for (place, id) in [(other, middle), (channel, &nobody().to_string())] {
        let path = path(place, &format!("around={id}"));
        refused(&alice, Method::GET, &path, None, (404, "MESSAGE_NOT_FOUND")).await;
    }
}

#[tokio::test]
async fn an_empty_channel_has_an_empty_page() {
    let world = World::new(Kind::Sqlite).await;
    let alice = world.user("alice");
    let channel = filled(&alice, 0).await;
    let expected = json!({"items": [], "page": {"hasNext": false, "hasPrev": false}});
    assert_eq!(get(&alice, &path(channel, "")).await, expected);
}

#[tokio::test]
async fn bad_places_are_refused() {
    let world = World::new(Kind::Sqlite).await;
    let alice = world.user("alice");
    let channel = filled(&alice, 2).await;
    let page = get(&alice, &path(channel, "limit=1")).await;
    let good = page["page"]["prev"].as_str().unwrap();

    let cut = &good[..good.len() - 2];
    for query in ["before=x", "after=!", "before=", &format!("before={cut}"), &format!("after={good}AA")] {
        refused(&alice, Method::GET, &path(channel, query), None, (400, "INVALID_CURSOR")).await;
    }
    let both = format!("before={good}&after={good}");
    for query in ["limit=0", "limit=201", "limit=-1", "limit=x", "around=x", &both] {
        refused(&alice, Method::GET, &path(channel, query), None, (400, "INVALID_PARAMETER")).await;
    }
}
