//! Users who do a bit of everything until nobody watches any more.

use std::time::Duration;

use chat_domain::ChannelId;
use chat_test_support::http_api::HttpApi;
use chat_test_support::system::System;
use reqwest::Method;
use tokio::task::JoinSet;

use crate::stock::Stock;

/// Between two rounds of each user.
const PAUSE: Duration = Duration::from_millis(50);

/// Keeps a system busy until it is dropped.
pub(crate) struct Busy {
    _tasks: JoinSet<()>,
}

impl Busy {
    /// Somebody sends to each message server, and at each instance somebody listens while others come and go.
    pub(crate) async fn start(system: &System) -> Self {
        let alice = system.user("alice").await;
        let channel = alice.api.create_channel("PUBLIC", "busy", &[]).await;
        let mut tasks = JoinSet::new();
        for index in 0..system.message_servers() {
            tasks.spawn(send(alice.api_at(system.http_url(index)), channel));
        }
        for index in 0..system.websocket_servers() {
            tasks.spawn(listen(system.websocket_url(index), alice.token.clone(), channel));
            tasks.spawn(come_and_go(system.websocket_url(index), alice.token.clone(), channel));
        }
        Self { _tasks: tasks }
    }
}

async fn send(api: HttpApi, channel: ChannelId) {
    loop {
        api.send(channel, "hello").await;
        // Some wishes are refused.
        api.call(Method::GET, "/api/v1/nowhere", None).await;
        tokio::time::sleep(PAUSE).await;
    }
}

async fn listen(url: String, token: String, channel: ChannelId) {
    let mut stock = Stock::sign_in(&url, &token).await;
    stock.subscribe(channel).await;
    loop {
        stock.until("MESSAGE").await;
    }
}

async fn come_and_go(url: String, token: String, channel: ChannelId) {
    loop {
        assert_eq!(Stock::connect(&url, &[("authorization", "Bearer nonsense")]).await.unwrap_err().0, 401);
        let mut stock = Stock::sign_in(&url, &token).await;
        stock.subscribe_after(channel, 0).await;
        tokio::time::sleep(PAUSE).await;
    }
}
