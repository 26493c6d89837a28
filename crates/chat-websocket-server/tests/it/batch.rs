//! One client that comes back to many channels, over a real socket.

use std::{collections::HashMap, sync::Arc};

use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::Message;

use crate::{
    socket::{connect, context},
    world::{DEADLINE, World},
};

const CHANNELS: usize = 50;
const MISSED: u64 = 200;

#[tokio::test]
async fn one_subscribe_catches_up_with_ten_thousand_events_in_fifty_channels() {
    let world = World::new().await;
    let mut channels = Vec::new();
    for _ in 0..CHANNELS {
        channels.push(world.channel_with(usize::try_from(MISSED).unwrap() + 1).await);
    }
    let (mut client, _session) = connect(&Arc::new(context(&world)), world.bob).await;

    let mut wishes = Vec::new();
    for channel in channels {
        let epoch = world.access_to(channel, world.bob).await.head.epoch;
        wishes.push(json!({ "channelId": channel, "afterSeq": 1, "epoch": epoch }));
    }
    let subscribe = json!({ "type": "SUBSCRIBE", "id": 1, "channels": wishes }).to_string();
    client.send(Message::Text(subscribe.into())).await.unwrap();

    let mut last: HashMap<Value, u64> = HashMap::new();
    let mut subscribed = 0;
    while subscribed < CHANNELS {
        let message = timeout(DEADLINE, client.next()).await.unwrap().unwrap().unwrap();
        let Message::Text(text) = message else { continue };
        let frame: Value = serde_json::from_str(&text).unwrap();
        let last = last.entry(frame["channelId"].clone()).or_insert(1);
        match frame["type"].as_str().unwrap() {
            "HELLO" => {}
            "MESSAGE" => {
                *last += 1;
                assert_eq!(frame["seq"], *last, "in order, each once");
            }
            "SUBSCRIBED" => {
                assert_eq!((*last, &frame["replayed"]), (MISSED + 1, &json!(MISSED)));
                subscribed += 1;
            }
            _ => panic!("{text}"),
        }
    }
    assert_eq!(last.values().filter(|last| **last == MISSED + 1).count(), CHANNELS);
}
