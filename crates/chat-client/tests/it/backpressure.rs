use std::time::Duration;

use chat_client::{Client, TokenSource};
use futures_util::SinkExt;
use serde_json::json;
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::Message;

use crate::peer::{Peer, channel, config, next_seq};

/// Together far more than socket buffers hold.
const EVENTS: u64 = 20_000;
const EVENT_BYTES: usize = 2_000;

#[tokio::test]
async fn an_owner_that_takes_nothing_stops_the_reading_and_loses_nothing() {
    let peer = Peer::start().await;
    let mut config = config(&[peer.url()], TokenSource::fixed("token"));
    config.queue = 4;
    let (client, mut items) = Client::connect(config);
    client.subscribe(channel(1), None);
    // Takes the states and the confirmation, then nothing.
    let (mut link, ()) = tokio::join!(
        async {
            let mut link = peer.welcome().await;
            let subscribe = link.expect("SUBSCRIBE").await;
            link.confirm(&subscribe, 0).await;
            link
        },
        async {
            crate::peer::until(&mut items, "SUBSCRIBED", |item| {
                matches!(item, chat_client::Item::Subscribed { .. }).then_some(())
            })
            .await;
        }
    );

    let filler = "x".repeat(EVENT_BYTES);
    let event = |seq| json!({"type": "MESSAGE", "channelId": channel(1), "seq": seq, "content": filler}).to_string();
    let mut sent = 0;
    // The sender comes to a halt: a send that does not end within this means that nobody reads.
    while let Ok(result) = timeout(Duration::from_millis(500), link.socket.send(Message::text(event(sent + 1)))).await {
        result.unwrap();
        sent += 1;
        assert!(sent < EVENTS, "the client reads on although nobody takes what it reads");
    }

    // The send that was cut short had taken its event into the buffer already.
    sent += 1;
    let (_, heard) = tokio::join!(link.socket.flush(), async {
        let mut heard = Vec::new();
        while heard.len() < usize::try_from(sent).unwrap() {
            heard.push(next_seq(&mut items).await);
        }
        heard
    });
    assert_eq!(heard, (1..=sent).collect::<Vec<_>>());
}
