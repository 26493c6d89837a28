use std::collections::BTreeSet;

use rstest::rstest;

use crate::world::{Kind, World};

#[rstest]
#[case(Kind::Sqlite)]
#[case(Kind::Postgres)]
#[tokio::test]
async fn each_channel_gets_an_epoch_of_its_own_and_keeps_its_log(#[case] kind: Kind) {
    let world = World::new(kind).await;
    assert_eq!(world.store.renew_epochs().await.unwrap(), 0);
    let alice = world.user("alice").await;
    let mut channels = Vec::new();
    for _ in 0..3 {
        channels.push(world.group(alice, &[]).await);
    }
    world.accept(world.send(channels[0], alice, "hello")).await;
    let before = world.store.heads(&channels).await.unwrap();

    assert_eq!(world.store.renew_epochs().await.unwrap(), 3);

    let after = world.store.heads(&channels).await.unwrap();
    let epochs: BTreeSet<_> = before.iter().chain(&after).map(|head| head.epoch.to_string()).collect();
    assert_eq!(epochs.len(), 6);
    let seqs = |heads: &[chat_domain::ports::Head]| {
        heads.iter().map(|head| (head.channel_id, head.head_seq, head.oldest_seq)).collect::<BTreeSet<_>>()
    };
    assert_eq!(seqs(&before), seqs(&after));
    world.accept(world.send(channels[0], alice, "again")).await;
    assert_eq!(world.assert_no_holes(channels[0]).await, 2);
}

/// More channels than are changed in one transaction.
#[rstest]
#[case(
    Kind::Sqlite,
    "randomblob(16)",
    "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 2500)"
)]
#[case(Kind::Postgres, "gen_random_uuid()", "WITH n AS (SELECT generate_series(1, 2500))")]
#[tokio::test]
async fn many_channels_are_all_reached(#[case] kind: Kind, #[case] id: &str, #[case] numbers: &str) {
    let world = World::new(kind).await;
    world
        .execute(&format!(
            "INSERT INTO channels (id, type, active, epoch, last_seq, message_count, created_at, updated_at) \
             {numbers} SELECT {id}, 'GROUP', TRUE, {id}, 0, 0, 0, 0 FROM n"
        ))
        .await;
    assert_eq!(world.store.renew_epochs().await.unwrap(), 2_500);
}
