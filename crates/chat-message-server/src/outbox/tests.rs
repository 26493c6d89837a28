use std::time::Duration;

use chat_domain::{ChannelId, UserId};
use chat_events::bus::{Delivery, Subscriber, memory::MemoryBus};
use common_server::Ending;
use parking_lot::Mutex;
use prometheus_client::registry::Registry;
use uuid::Uuid;

use super::*;

fn metrics() -> Arc<Metrics> {
    Arc::new(Metrics::register(&mut Registry::default()))
}

fn signal(number: u128) -> UserSignal {
    let channel_id = ChannelId::from(Uuid::from_u128(number));
    UserSignal::ChannelAdded { user_id: UserId::from(Uuid::nil()), channel_id }
}

/// Nothing is awaited between the calls, so the publishing task cannot take anything out.
#[tokio::test]
async fn a_full_queue_drops_and_counts() {
    let (lifecycle, metrics) = (Lifecycle::new(Duration::from_secs(5)), metrics());
    let outbox = Outbox::start(Arc::new(MemoryBus::default()), metrics.clone(), 2, &lifecycle);
    (0..5).for_each(|number| outbox.signal(&signal(number)));
    assert_eq!(metrics.publish_failures(), 3);
}

#[tokio::test]
async fn what_waits_goes_out_in_order_before_the_end() {
    let heard: Arc<Mutex<Vec<Bytes>>> = Arc::default();
    let bus = Arc::new(MemoryBus::default());
    let sink = heard.clone();
    let subscriber = bus.subscriber(
        Duration::ZERO,
        Box::new(move |delivery| {
            let Delivery::Payload { payload, .. } = delivery else { return };
            sink.lock().push(payload);
        }),
    );
    let _interest = subscriber.interest(Topic::User(UserId::from(Uuid::nil())));

    let lifecycle = Lifecycle::new(Duration::from_secs(5));
    let outbox = Outbox::start(bus, metrics(), 1_000, &lifecycle);
    let expected: Vec<_> = (0..1_000).map(|number| signal(number).to_json()).collect();
    (0..1_000).for_each(|number| outbox.signal(&signal(number)));
    drop(outbox);
    lifecycle.shut_down();

    assert_eq!(lifecycle.run_to_end_with(async || std::future::pending().await).await, Ending::Drained);
    assert_eq!(*heard.lock(), expected);
}
