//! A store that is away, busy, or has nonsense in it.

use std::time::Duration;

use chat_domain::{
    ChannelType, Refusal, Timestamp,
    ports::{ChannelScope, HistoryAnchor, StorageError},
};
use chat_storage::{DatabaseConfig, open};
use chat_test_support::proxy::TcpProxy;
use rstest::rstest;
use sqlx::{AssertSqlSafe, Connection, Executor};
use tokio::time::{Instant, timeout};
use url::Url;

use crate::world::{Kind, World, message_of};

#[rstest]
#[case::message_type("UPDATE messages SET type = 'POEM'")]
#[case::message_payload("UPDATE messages SET payload = '{}'")]
#[case::message_json("UPDATE messages SET payload = '{'")]
#[case::channel_seq("UPDATE messages SET seq = -1")]
#[tokio::test]
async fn nonsense_in_a_row_is_a_failure(#[values(Kind::Sqlite, Kind::Postgres)] kind: Kind, #[case] damage: &str) {
    let world = World::new(kind).await;
    let alice = world.user("alice").await;
    let group = world.group(alice, &[]).await;
    let sent = message_of(&world.accept(world.send(group, alice, "hi")).await).id;
    world.execute(damage).await;

    let error = world.store.message(sent).await.unwrap_err();
    assert!(matches!(error, StorageError::Failed { operation: "message", .. }), "{error:?}");
}

/// Somebody else holds what the batch needs: the call ends in time, and the store is well afterwards.
#[rstest]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lock_that_is_not_given_back_is_waited_for_in_bounds(#[values(Kind::Sqlite, Kind::Postgres)] kind: Kind) {
    let world = World::new(kind).await;
    let alice = world.user("alice").await;
    let group = world.group(alice, &[]).await;
    let short = Duration::from_millis(200);
    let config =
        DatabaseConfig { acquire_timeout: short, statement_timeout: short * 4, max_connections: 1, ..world.config() };
    let hurried = open(&config).await.unwrap();

    let holder = Holder::lock(kind, &world).await;
    let started = Instant::now();
    let sends = ["a", "b"].map(|text| [world.send(group, alice, text)]);
    let (one, two) = tokio::join!(hurried.append(&sends[0]), hurried.append(&sends[1]));
    for outcome in [one, two] {
        let error = outcome.unwrap_err();
        assert!(matches!(error, StorageError::Unavailable { operation: "append", .. }), "{error:?}");
    }
    assert!(started.elapsed() < Duration::from_secs(10));
    holder.release().await;

    let after = timeout(Duration::from_secs(10), hurried.append(&[world.send(group, alice, "c")])).await;
    assert!(after.expect("bounded").unwrap()[0].is_ok());
    assert_eq!(world.assert_no_holes(group).await, 1);
}

/// The least that may be configured.
#[rstest]
#[tokio::test]
async fn one_connection_is_enough(#[values(Kind::Sqlite, Kind::Postgres)] kind: Kind) {
    let world = World::new(kind).await;
    let alice = world.user("alice").await;
    let group = world.group(alice, &[]).await;
    let store = open(&DatabaseConfig { max_connections: 1, ..world.config() }).await.unwrap();
    for seq in [1, 2] {
        assert!(store.append(&[world.send(group, alice, "hi")]).await.unwrap()[0].is_ok());
        assert_eq!(store.heads(&[group]).await.unwrap()[0].head_seq, seq);
        assert_eq!(store.ensure_user(alice, "alice", world.now()).await.unwrap().id, alice);
    }
}

/// When the user was last active is written on the way; that it cannot be is no reason to refuse the call.
#[rstest]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_known_user_is_found_while_nothing_can_be_written(#[values(Kind::Sqlite, Kind::Postgres)] kind: Kind) {
    let world = World::new(kind).await;
    let alice = world.user("alice").await;
    let holder = Holder::lock(kind, &world).await;

    let next_day = Timestamp::from_millis(world.now().as_millis() + 24 * 60 * 60 * 1_000);
    let found = world.store.ensure_user(alice, "alice", next_day).await.unwrap();
    assert_eq!(found.id, alice);
    holder.release().await;
}

enum Holder {
    Sqlite(sqlx::SqliteConnection),
    Postgres(sqlx::PgConnection),
}

impl Holder {
    async fn lock(kind: Kind, world: &World) -> Self {
        match kind {
            Kind::Sqlite => {
                let mut connection = sqlx::SqliteConnection::connect(&world.url()).await.unwrap();
                connection.execute("BEGIN IMMEDIATE").await.unwrap();
                Self::Sqlite(connection)
            }
            Kind::Postgres => {
                let mut connection = sqlx::PgConnection::connect(&world.url()).await.unwrap();
                connection.execute("BEGIN").await.unwrap();
                connection.execute("SELECT 1 FROM channels FOR UPDATE").await.unwrap();
                connection.execute("SELECT 1 FROM users FOR UPDATE").await.unwrap();
                Self::Postgres(connection)
            }
        }
    }

    async fn release(self) {
        match self {
            Self::Sqlite(connection) => connection.close().await.unwrap(),
            Self::Postgres(connection) => connection.close().await.unwrap(),
        }
    }
}

/// The batch waits for a row of somebody who then waits for the batch's channel: the database ends the batch's transaction,
/// which runs again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_deadlock_costs_a_retry() {
    let world = World::new(Kind::Postgres).await;
    let alice = world.user("alice").await;
    let group = world.group(alice, &[]).await;
    let mut other = sqlx::PgConnection::connect(&world.url()).await.unwrap();
    // The batch is the one to notice, and so the one to be ended.
    other.execute("SET deadlock_timeout = '60s'").await.unwrap();
    other.execute("BEGIN").await.unwrap();
    let insert = format!(
        "INSERT INTO messages (id, channel_id, seq, sender_id, client_message_id, type, status, content, payload, created_at) \
         VALUES ('{alice}', '{group}', 1000, '{alice}', 'id-1', 'TEXT', 'SENT', '', '{{}}', 0)"
    );
    other.execute(AssertSqlSafe(insert)).await.unwrap();

    let send = [world.send_once(group, alice, "hi", "id-1")];
    let get_in_the_way = async {
        wait_until_somebody_waits(&world).await;
        other.execute("SELECT 1 FROM channels FOR UPDATE").await.unwrap();
        other.execute("ROLLBACK").await.unwrap();
    };
    let (answers, ()) = tokio::join!(world.store.append(&send), get_in_the_way);

    assert_eq!(answers.unwrap()[0].as_ref().unwrap().event.as_ref().unwrap().seq, 1);
    let deadlocks = "SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()";
    wait_until(&world, deadlocks).await;
}

/// The batch has seen its sender as a member, and then waits for a process that takes the sender out.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_another_process_does_first_counts() {
    let world = World::new(Kind::Postgres).await;
    let [alice, bob] = world.users(["alice", "bob"]).await;
    let group = world.group(alice, &[bob]).await;
    let mut other = sqlx::PgConnection::connect(&world.url()).await.unwrap();
    other.execute("BEGIN").await.unwrap();
    other.execute("UPDATE channels SET last_seq = last_seq + 1").await.unwrap();
    let removal = format!("DELETE FROM channel_members WHERE user_id = '{bob}'");
    other.execute(AssertSqlSafe(removal)).await.unwrap();

    let sends = [world.send(group, bob, "from bob"), world.send(group, alice, "from alice")];
    let be_first = async {
        wait_until_somebody_waits(&world).await;
        other.execute("COMMIT").await.unwrap();
    };
    let (answers, ()) = tokio::join!(world.store.append(&sends), be_first);

    let answers = answers.unwrap();
    // To strangers a group does not exist.
    assert_eq!(answers[0].as_ref().unwrap_err(), &Refusal::ChannelNotFound);
    assert_eq!(answers[1].as_ref().unwrap().event.as_ref().unwrap().seq, 2);
    assert_eq!(world.log(group).await.len(), 1);
}

/// Not 0 when four wait for locks.
const FOUR_WAIT: &str =
    "SELECT count(*) / 4 FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'";

async fn wait_until_somebody_waits(world: &World) {
    let waiting =
        "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'";
    wait_until(world, waiting).await;
}

/// Waits until a query's number is not 0.
async fn wait_until(world: &World, query: &'static str) {
    let mut connection = sqlx::PgConnection::connect(&world.url()).await.unwrap();
    let wait = async {
        while sqlx::query_scalar::<_, i64>(query).fetch_one(&mut connection).await.unwrap() == 0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    timeout(Duration::from_secs(20), wait).await.expect(query);
}

#[tokio::test]
async fn connections_that_broke_while_idle_are_replaced() {
    let world = World::new(Kind::Postgres).await;
    let alice = world.user("alice").await;
    let group = world.group(alice, &[]).await;
    world.cut_connections().await;
    assert!(world.accept(world.send(group, alice, "hi")).await.event.is_some());
}

/// Their peer lost its power, or a firewall forgot them: nothing ever says that they are gone.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn connections_that_fall_silent_in_use_make_room_for_others() {
    let world = World::new(Kind::Postgres).await;
    let alice = world.user("alice").await;
    let group = world.group(alice, &[]).await;
    let mut url = Url::parse(&world.url()).unwrap();
    let proxy = TcpProxy::start(url.socket_addrs(|| None).unwrap()[0]).await;
    url.set_port(Some(proxy.address().port())).unwrap();
    let statement_timeout = Duration::from_secs(2);
    let config = DatabaseConfig { url: url.as_str().into(), max_connections: 4, statement_timeout, ..world.config() };
    let store = open(&config).await.unwrap();

    let holder = Holder::lock(Kind::Postgres, &world).await;
    let change = || store.update_profile(alice, Some("alicia"), None, world.now());
    let send = [world.send(group, alice, "into the void")];
    tokio::select! {
        outcome = async { tokio::join!(change(), change(), change(), store.append(&send)) } => panic!("{outcome:?}"),
        () = wait_until(&world, FOUR_WAIT) => proxy.forget_connections(),
    }
    holder.release().await;

    let (channels, send) = ([group], [world.send(group, alice, "hi")]);
    let read = || store.heads(&channels);
    let (one, two, three, sent) = tokio::join!(read(), read(), read(), store.append(&send));
    for heads in [one, two, three] {
        assert_eq!(heads.unwrap().len(), 1);
    }
    assert!(sent.unwrap()[0].is_ok());
}

#[tokio::test]
async fn a_replica_serves_what_may_lag() {
    let world = World::new(Kind::Postgres).await;
    let lagging = World::new(Kind::Postgres).await;
    let config = DatabaseConfig { replica_url: Some(lagging.url().into()), ..world.config() };
    let store = open(&config).await.unwrap();
    let alice = world.user("alice").await;
    let group = world.group(alice, &[]).await;
    let sent = message_of(&world.accept(world.send(group, alice, "hi")).await).id;

    // The other database has none of this, as a replica that is far behind.
    assert_eq!(store.channels(alice, ChannelScope::Mine, None, 10).await.unwrap(), []);
    assert_eq!(store.members(group, None, 10).await.unwrap(), []);

    let anchors = [HistoryAnchor::Latest, HistoryAnchor::Before(2), HistoryAnchor::After(0), HistoryAnchor::Around(1)];
    for anchor in anchors {
        assert_eq!(store.history(group, anchor, 10).await.unwrap().messages.len(), 1, "{anchor:?}");
    }
    assert_eq!(store.replay(group, 0, 10).await.unwrap().len(), 1);
    assert_eq!(store.heads(&[group]).await.unwrap()[0].head_seq, 1);
    assert_eq!(store.access(&[(alice, group)]).await.unwrap().len(), 1);
    assert!(store.message(sent).await.unwrap().is_some());
    assert!(store.channel(group, alice).await.unwrap().unwrap().member.is_some());
}

#[tokio::test]
async fn a_replica_serves_history_as_far_as_it_has_come() {
    let world = World::new(Kind::Postgres).await;
    let behind = World::new(Kind::Postgres).await;
    let alice = world.user("alice").await;
    behind.store.ensure_user(alice, "alice", world.now()).await.unwrap();
    let channel = world.new_channel(ChannelType::Group, alice, &[]);
    let group = channel.channel.id;
    for world in [&world, &behind] {
        world.store.create(channel.clone()).await.unwrap();
    }
    for _ in 1..=9 {
        world.accept(world.send(group, alice, "primary")).await;
    }
    for _ in 1..=4 {
        behind.accept(behind.send(group, alice, "replica")).await;
    }
    let config = DatabaseConfig { replica_url: Some(behind.url().into()), ..world.config() };
    let store = open(&config).await.unwrap();
    let before = async |seq| store.history(group, HistoryAnchor::Before(seq), 3).await.unwrap();

    let pages =
        [(10, [7, 8, 9], "primary"), (7, [4, 5, 6], "primary"), (5, [2, 3, 4], "primary"), (4, [1, 2, 3], "replica")];
    for (seq, expected, source) in pages {
        let page = before(seq).await;
        let seqs: Vec<u64> = page.messages.iter().map(|message| message.seq).collect();
        assert_eq!(seqs, expected, "before {seq}");
        assert!(page.messages.iter().all(|message| message.content.summary() == source), "before {seq}");
        assert_eq!(page.has_newer, seq <= 9, "before {seq}");
    }
}
