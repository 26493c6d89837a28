//! A small system with somebody who listens while others misbehave.

use std::time::Duration;

use chat_domain::ChannelId;
use chat_test_support::system::{Builder, Server, System, TestUser};
use chat_test_support::wait_until;

use crate::stock::{DEADLINE, Stock};

/// One instance, one PUBLIC channel with alice and bob, and alice listening there.
pub(crate) struct Scene {
    pub(crate) system: System,
    pub(crate) alice: TestUser,
    pub(crate) bob: TestUser,
    pub(crate) channel: ChannelId,
    pub(crate) witness: Stock,
}

impl Scene {
    pub(crate) async fn start(builder: Builder) -> Self {
        let system = builder.websocket_servers(1).start().await;
        let (alice, bob) = (system.user("alice").await, system.user("bob").await);
        let channel = alice.api.create_channel("PUBLIC", "general", &[bob.id]).await;
        let mut witness = Stock::sign_in(&system.websocket_url(0), &alice.token).await;
        witness.subscribe(channel).await;
        Self { system, alice, bob, channel, witness }
    }

    pub(crate) fn url(&self) -> String {
        self.system.websocket_url(0)
    }

    pub(crate) async fn bob_listens(&self) -> Stock {
        let mut stock = Stock::sign_in(&self.url(), &self.bob.token).await;
        stock.subscribe(self.channel).await;
        stock
    }

    /// The process and the other session go on as if nothing had happened.
    pub(crate) async fn goes_on(&mut self) {
        let text = "still here";
        let id = self.alice.api.send(self.channel, text).await;
        let message = self.witness.until("MESSAGE").await;
        assert_eq!((&message["messageId"], &message["content"]), (&id.to_string().into(), &text.into()));
    }

    /// All that the instance has logged.
    pub(crate) fn system_log(&mut self) -> String {
        self.system.websocket_server(0).log()
    }

    /// Waits until a counter of the instance has this value.
    pub(crate) async fn counted(&mut self, series: &str, value: u64) {
        let server = self.system.websocket_server(0);
        wait_until(&format!("{series} is {value}"), DEADLINE, async || counter(server, series).await == value).await;
    }
}

/// Waits until the instance, which has a room open, does not look everything up any more, as it does for a moment after the
/// bus is there.
async fn trusts_the_bus(server: &Server) {
    let left_out = async || counter(server, "chat_websocket_heads_skipped_total").await > 0;
    wait_until("a room is left out", DEADLINE, left_out).await;
}

/// How a word to the instances gets lost.
#[derive(Clone, Copy)]
pub(crate) enum Loss {
    /// On its way from message server 0, in a system with links: the instances have no reason for doubt.
    Unnoticed,
    /// Together with Redis.
    RedisAway,
}

impl Loss {
    /// From now on it gets lost. Each instance has a room open.
    pub(crate) async fn strike(self, system: &mut System) {
        match self {
            Self::Unnoticed => {
                for instance in 0..system.websocket_servers() {
                    trusts_the_bus(system.websocket_server(instance)).await;
                }
                system.message_server(0).link_to_redis().unwrap().stall();
            }
            Self::RedisAway => system.redis().kill(),
        }
    }
}

/// The value of a series such as `chat_websocket_closed_total{code="4020"}`; 0 while there is none.
pub(crate) async fn counter(server: &Server, series: &str) -> u64 {
    let response = reqwest::Client::new()
        .get(format!("{}/actuator/prometheus", server.management_url()))
        .timeout(Duration::from_secs(10))
        .send()
        .await
        .unwrap();
    let text = response.text().await.unwrap();
    let value = text.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
    value.map_or(0, |value| value.trim().parse().unwrap())
}
