//! Users and their status.

use chat_domain::{
    Refusal, Timestamp, UserId, UserStatus,
    ports::{CommandError, Standing},
};
use rstest::rstest;
use tokio::task::JoinSet;

use crate::world::{Kind, World};

const HOUR_MILLIS: i64 = 60 * 60 * 1_000;

#[rstest]
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_user_is_made_once(#[values(Kind::Sqlite, Kind::Postgres)] kind: Kind) {
    let world = World::new(kind).await;
    let other_process = world.open_another().await;
    let (id, at) = (UserId::new(world.now()), world.now());

    let (one, two) = tokio::join!(world.store.ensure_user(id, "alice", at), other_process.ensure_user(id, "alice", at));
    let user = one.unwrap();
    assert_eq!(user, two.unwrap());
    assert_eq!((user.username.as_str(), user.status, user.created_at), ("alice", UserStatus::Active, at));

    let much_later = Timestamp::from_millis(at.as_millis() + HOUR_MILLIS);
    assert_eq!(world.store.ensure_user(id, "renamed", much_later).await.unwrap(), user, "the name is the user's own");
    assert_eq!(world.store.user(id).await.unwrap(), Some(user));
    assert_eq!(world.store.user(UserId::new(at)).await.unwrap(), None);
}

#[rstest]
#[tokio::test]
async fn profiles_change_in_part(#[values(Kind::Sqlite, Kind::Postgres)] kind: Kind) {
    let world = World::new(kind).await;
    let id = world.user("alice").await;
    let update = async |name: Option<&str>, email: Option<&str>| {
        let user = world.store.update_profile(id, name, email, world.now()).await.unwrap().unwrap();
        assert_eq!(world.store.user(id).await.unwrap().as_ref(), Some(&user));
        (user.username, user.email)
    };

    assert_eq!(update(Some("Alice"), None).await, ("Alice".into(), None));
    assert_eq!(update(None, Some("a@b.example")).await, ("Alice".into(), Some("a@b.example".into())));
    assert_eq!(update(Some("Al"), None).await, ("Al".into(), Some("a@b.example".into())));
    assert_eq!(update(None, Some("")).await, ("Al".into(), None));
    let unknown = world.store.update_profile(UserId::new(world.now()), Some("x"), None, world.now()).await;
    assert_eq!(unknown.unwrap(), None);
}

#[rstest]
#[tokio::test]
async fn a_status_changes_as_the_rules_say(#[values(Kind::Sqlite, Kind::Postgres)] kind: Kind) {
    let world = World::new(kind).await;
    let id = world.user("alice").await;
    for to in [UserStatus::Suspended, UserStatus::Banned, UserStatus::Banned, UserStatus::Withdrawn] {
        let user = world.store.change_status(id, to, world.now()).await.unwrap();
        assert_eq!(user.status, to);
        assert_eq!(world.store.user(id).await.unwrap(), Some(user));
    }

    let refused = world.store.change_status(id, UserStatus::Active, world.now()).await.unwrap_err();
    let (from, to) = (UserStatus::Withdrawn, UserStatus::Active);
    assert!(matches!(refused, CommandError::Refused(refusal) if refusal == Refusal::StatusTransition { from, to }));
    let nobody = UserId::new(world.now());
    let refused = world.store.change_status(nobody, UserStatus::Active, world.now()).await.unwrap_err();
    assert!(matches!(refused, CommandError::Refused(refusal) if refusal == Refusal::UserNotFound(nobody)));
}

#[rstest]
#[tokio::test]
async fn who_of_many_users_is_not_active(#[values(Kind::Sqlite, Kind::Postgres)] kind: Kind) {
    let world = World::new(kind).await;
    let [alice, bob, carol, dave, again] = world.users(["alice", "bob", "carol", "dave", "again"]).await;
    let changes = [
        (bob, UserStatus::Suspended),
        (carol, UserStatus::Banned),
        (dave, UserStatus::Withdrawn),
        (again, UserStatus::Banned),
    ];
    for (id, to) in changes {
        world.store.change_status(id, to, world.now()).await.unwrap();
    }
    world.store.change_status(again, UserStatus::Active, world.now()).await.unwrap();
    let mut asked: Vec<_> = (0..3_000).map(|_| UserId::new(world.now())).collect();
    asked.extend([alice, bob, dave, again]);

    let mut restricted = world.store.restricted(&asked).await.unwrap();
    restricted.sort_by_key(|standing| standing.user_id);
    let standing = |user_id, status| Standing { user_id, status, tokens_valid_from: None };
    let mut expected = [standing(bob, UserStatus::Suspended), standing(dave, UserStatus::Withdrawn)];
    expected.sort_by_key(|standing| standing.user_id);
    assert_eq!(restricted, expected, "active and unknown users are left out, and those not asked about");
    assert_eq!(world.store.restricted(&[carol]).await.unwrap(), [standing(carol, UserStatus::Banned)]);
    assert_eq!(world.store.restricted(&[]).await.unwrap(), []);
}

#[rstest]
#[tokio::test]
async fn what_is_void_stays_void(#[values(Kind::Sqlite, Kind::Postgres)] kind: Kind) {
    let world = World::new(kind).await;
    let id = world.user("alice").await;
    let before = world.store.user(id).await.unwrap().unwrap();
    assert_eq!(before.tokens_valid_from, None);

    let at = |millis| Timestamp::from_millis(1_795_338_000_123 + millis);
    for (asked, holds) in [(0, 0), (5, 5), (-HOUR_MILLIS, 5), (5, 5), (6, 6)] {
        assert_eq!(world.store.revoke_tokens(id, at(asked)).await.unwrap(), at(holds));
        let user = chat_domain::User { tokens_valid_from: Some(at(holds)), ..before.clone() };
        assert_eq!(world.store.ensure_user(id, "alice", world.now()).await.unwrap(), user);
        assert_eq!(world.store.user(id).await.unwrap(), Some(user), "nothing else changes");
    }
    let nobody = UserId::new(world.now());
    let refused = world.store.revoke_tokens(nobody, at(0)).await.unwrap_err();
    assert!(matches!(refused, CommandError::Refused(refusal) if refusal == Refusal::UserNotFound(nobody)));
}

#[rstest]
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn of_many_revocations_at_once_the_latest_holds(#[values(Kind::Sqlite, Kind::Postgres)] kind: Kind) {
    let world = World::new(kind).await;
    let other_process = world.open_another().await;
    let id = world.user("alice").await;
    let at = |millis: i64| Timestamp::from_millis(1_795_338_000_000 + millis);
    let mut revocations = JoinSet::new();
    for index in 0..20 {
        let store = if index % 2 == 0 { world.store.clone() } else { other_process.clone() };
        revocations.spawn(async move { store.revoke_tokens(id, at(index * 7 % 20)).await.unwrap() });
    }
    revocations.join_all().await;
    assert_eq!(world.store.user(id).await.unwrap().unwrap().tokens_valid_from, Some(at(19)));
}

#[rstest]
#[tokio::test]
async fn who_had_tokens_revoked_is_restricted_whatever_the_status(#[values(Kind::Sqlite, Kind::Postgres)] kind: Kind) {
    let world = World::new(kind).await;
    let [alice, bob, carol] = world.users(["alice", "bob", "carol"]).await;
    let at = Timestamp::from_millis(1_795_338_000_123);
    for id in [alice, bob] {
        world.store.revoke_tokens(id, at).await.unwrap();
    }
    world.store.change_status(bob, UserStatus::Suspended, world.now()).await.unwrap();

    let mut restricted = world.store.restricted(&[alice, bob, carol]).await.unwrap();
    restricted.sort_by_key(|standing| standing.status.as_str());
    let standing = |user_id, status| Standing { user_id, status, tokens_valid_from: Some(at) };
    assert_eq!(restricted, [standing(alice, UserStatus::Active), standing(bob, UserStatus::Suspended)]);
}
