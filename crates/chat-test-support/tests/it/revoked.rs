//! Nobody goes on with a token that was revoked, on whichever instance, also when the word of it is lost.

use std::time::Duration;

use chat_domain::ChannelId;
use chat_test_support::http_api::HttpApi;
use chat_test_support::system::{Storage, System, TestUser};
use chat_test_support::tokens;
use common_auth::Role;
use futures_util::future::join_all;
use reqwest::Method;
use rstest::rstest;
use serde_json::json;
use tokio::time::{Instant, timeout};

use crate::scene::{Loss, counter};
use crate::stock::Stock;

const INSTANCES: usize = 2;
/// Where the word of a revocation is heard.
const AT_ONCE: Duration = Duration::from_secs(1);

/// Bob listens on every instance, with the token that will be void and with one that will not.
struct Listening {
    system: System,
    alice: TestUser,
    bob: TestUser,
    /// A token that is made after the revocation, by the clock of an issuer that is a little ahead.
    new_token: String,
    channel: ChannelId,
    old: Vec<Stock>,
    new: Vec<Stock>,
}

impl Listening {
    async fn start(system: System) -> Self {
        let (alice, bob) = (system.user("alice").await, system.user("bob").await);
        // Without bob, who may listen all the same, and whose sessions get no word of a new channel then.
        let channel = alice.api.create_channel("PUBLIC", "general", &[]).await;
        let new_token = tokens::issue_later(system.secret(), "bob", &[Role::User], 8);
        let (mut old, mut new) = (Vec::new(), Vec::new());
        for instance in 0..INSTANCES {
            for (token, sessions) in [(&bob.token, &mut old), (&new_token, &mut new)] {
                let mut session = Stock::sign_in(&system.websocket_url(instance), token).await;
                session.subscribe(channel).await;
                sessions.push(session);
            }
        }
        Self { system, alice, bob, new_token, channel, old, new }
    }

    /// Bob logs out everywhere. Returns when that was acknowledged.
    async fn log_out(&self) -> Instant {
        let answer = self.bob.api.call(Method::POST, "/api/v1/users/me/revoke-tokens", None).await;
        assert_eq!(answer.status, 200, "{}", answer.body);
        Instant::now()
    }

    /// All sessions with the old token end, each after it was told why.
    async fn old_sessions_end(&mut self, within: Duration) {
        let ends = self.old.iter_mut().map(async |session| {
            let told = session.until("TOKENS_REVOKED").await;
            (told["userId"].clone(), session.close_code().await)
        });
        let ends = timeout(within, join_all(ends)).await.expect("in time");
        assert!(ends.iter().all(|end| *end == (json!(self.bob.id), Some(4004))), "{ends:?}");
    }

    /// The old token opens nothing any more, and changes no session.
    async fn the_old_token_is_refused(&mut self) {
        let authorization = format!("Bearer {}", self.bob.token);
        let frame = json!({"type": "AUTH", "token": self.bob.token});
        for instance in 0..INSTANCES {
            let url = self.system.websocket_url(instance);
            let by_header = Stock::connect(&url, &[("authorization", &authorization)]).await.unwrap();
            let mut by_frame = Stock::connect(&url, &[]).await.unwrap();
            by_frame.send(frame.clone()).await;
            for mut refused in [by_header, by_frame] {
                refused.expect_error("TOKEN_REVOKED").await;
                assert_eq!(refused.close_code().await, Some(4004));
            }
            self.new[instance].send(frame.clone()).await;
            assert_eq!(self.new[instance].until("ERROR").await["code"], "TOKEN_REVOKED");
        }
    }

    /// The new token opens sessions, and those that it opened before hear what comes.
    async fn the_new_token_is_served(&mut self) {
        for instance in 0..INSTANCES {
            let mut session = Stock::sign_in(&self.system.websocket_url(instance), &self.new_token).await;
            session.subscribe(self.channel).await;
            self.new.push(session);
        }
        let api = HttpApi::new(self.system.http_url(0), self.new_token.clone());
        assert_eq!(api.my_id().await, self.bob.id);
        let sent = self.alice.api.send(self.channel, "welcome back").await;
        for session in &mut self.new {
            assert_eq!(session.until("MESSAGE").await["messageId"], json!(sent));
        }
    }
}

#[rstest]
#[case::sqlite(Storage::Sqlite)]
#[case::postgres(Storage::Postgres)]
#[tokio::test]
async fn who_logs_out_everywhere_is_out_on_every_instance_within_a_second(#[case] storage: Storage) {
    let builder = System::builder().storage(storage).websocket_servers(INSTANCES);
    let mut listening = Listening::start(builder.start().await).await;
    let mut renewed = Stock::sign_in(&listening.system.websocket_url(0), &listening.bob.token).await;
    renewed.send(json!({"type": "AUTH", "token": listening.new_token})).await;
    renewed.expect("HELLO").await;

    let acknowledged = listening.log_out().await;
    listening.old_sessions_end(AT_ONCE).await;
    println!("closed after {:?}", acknowledged.elapsed());

    renewed.expect("TOKENS_REVOKED").await;
    renewed.subscribe(listening.channel).await;
    listening.new.push(renewed);
    listening.the_old_token_is_refused().await;
    listening.the_new_token_is_served().await;
}

#[rstest]
#[tokio::test]
async fn a_revocation_that_was_not_heard_ends_the_sessions_all_the_same(
    #[values(Storage::Sqlite, Storage::Postgres)] storage: Storage,
    // Five seconds and one are promised; the rest is for a busy machine.
    #[values((Loss::Unnoticed, 8), (Loss::RedisAway, 3))] (loss, seconds): (Loss, u64),
) {
    let builder = System::builder().storage(storage).websocket_servers(INSTANCES).links();
    let mut listening = Listening::start(builder.start().await).await;
    loss.strike(&mut listening.system).await;

    let acknowledged = listening.log_out().await;
    listening.old_sessions_end(Duration::from_secs(seconds)).await;
    println!("closed after {:?}", acknowledged.elapsed());

    for instance in 0..INSTANCES {
        let server = listening.system.websocket_server(instance);
        assert_eq!(counter(server, "chat_websocket_revocations_found_total").await, 1);
    }
    listening.the_old_token_is_refused().await;
    listening.the_new_token_is_served().await;
}
