//! What a store tells of itself.

use std::time::Duration;

use chat_domain::ports::StorageError;
use chat_storage::{DatabaseConfig, open_measured};
use chat_test_support::wait_until;
use prometheus_client::{encoding::text::encode, registry::Registry};
use rstest::rstest;

use crate::world::{Kind, World};

/// The value of a line of the text that Prometheus reads.
fn value(registry: &Registry, series: &str) -> Option<f64> {
    let mut text = String::new();
    encode(&mut text, registry).unwrap();
    let line = text.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' '))?;
    Some(line.parse().unwrap())
}

#[rstest]
#[tokio::test]
async fn operations_and_connections_are_counted(#[values(Kind::Sqlite, Kind::Postgres)] kind: Kind) {
    let world = World::new(kind).await;
    let mut registry = Registry::default();
    let config = DatabaseConfig { max_connections: 8, ..world.config() };
    let store = open_measured(&config, &mut registry).await.unwrap();
    let alice = world.user("alice").await;

    for _ in 0..3 {
        store.user(alice).await.unwrap();
    }
    let count = value(&registry, r#"chat_storage_operation_duration_seconds_count{operation="user"}"#);
    assert_eq!(count, Some(3.0));
    let errors = value(&registry, r#"chat_storage_errors_total{operation="user",kind="unavailable"}"#);
    assert_eq!(errors, Some(0.0), "it exists before it counts");
    let (pool, most) = match kind {
        Kind::Sqlite => ("readers", 8.0),
        Kind::Postgres => ("primary", 6.0),
    };
    assert_eq!(value(&registry, &format!(r#"chat_storage_connections_max{{pool="{pool}"}}"#)), Some(most));
    let connections =
        |state| value(&registry, &format!(r#"chat_storage_connections{{pool="{pool}",state="{state}"}}"#));
    // They are given back in the background.
    wait_until("no connection is in use", Duration::from_secs(10), async || connections("used") == Some(0.0)).await;
    assert!(connections("idle") >= Some(1.0));
}

#[tokio::test]
async fn what_fails_is_counted_by_kind() {
    let world = World::new(Kind::Postgres).await;
    let mut registry = Registry::default();
    let short = Duration::from_millis(100);
    let config = DatabaseConfig { acquire_timeout: short, ..world.config() };
    let store = open_measured(&config, &mut registry).await.unwrap();
    store.close().await;
    assert!(matches!(store.heads(&[]).await, Err(StorageError::Unavailable { .. })));
    let errors =
        |kind| value(&registry, &format!(r#"chat_storage_errors_total{{operation="heads",kind="{kind}"}}"#)).unwrap();
    assert_eq!(["unavailable", "no_connection", "timeout", "failed"].map(errors), [1.0, 0.0, 0.0, 0.0]);
}
