//! Channels, lists of them, members, and what may be heard.

use chat_domain::{
    ChannelId, ChannelType, MemberRole, Refusal, UserId, UserStatus,
    ports::{ChannelCursor, ChannelScope, ChannelSummary, CommandError},
};
use rstest::rstest;

use crate::world::{Kind, World, message_of};

#[rstest]
#[tokio::test]
async fn a_new_channel_is_as_it_was_made(#[values(Kind::Sqlite, Kind::Postgres)] kind: Kind) {
    let world = World::new(kind).await;
    let [alice, bob, carol] = world.users(["alice", "bob", "carol"]).await;
    let mut new = world.new_channel(ChannelType::Private, alice, &[bob, bob, alice]);
    new.channel.details.description = Some("of\0 two".into());

    let created = world.store.create(new.clone()).await.unwrap();
    assert!(!created.existed);
    assert_eq!((created.member.user_id, created.member.role), (alice, MemberRole::Owner));

    let view = world.store.channel(created.channel.id, alice).await.unwrap().unwrap();
    new.channel.details.description = Some("of\u{fffd} two".into());
    assert_eq!(view.channel, new.channel);
    assert_eq!(view.member, Some(created.member));
    assert_eq!((view.member_count, view.unread_count(), view.peer), (2, 0, None));
    let for_stranger = world.store.channel(created.channel.id, carol).await.unwrap().unwrap();
    assert_eq!(for_stranger.member, None);
    assert_eq!(world.store.channel(ChannelId::new(world.now()), alice).await.unwrap(), None);
}

#[rstest]
#[tokio::test]
async fn channels_are_made_of_active_users(#[values(Kind::Sqlite, Kind::Postgres)] kind: Kind) {
    let world = World::new(kind).await;
    let [alice, banned] = world.users(["alice", "banned"]).await;
    let nobody = UserId::new(world.now());
    world.store.change_status(banned, UserStatus::Banned, world.now()).await.unwrap();

    let refusal = async |creator, other: UserId| {
        let outcome = world.store.create(world.new_channel(ChannelType::Group, creator, &[other])).await;
        match outcome.unwrap_err() {
            CommandError::Refused(refusal) => refusal,
            CommandError::Storage(error) => panic!("{error:?}"),
        }
    };
    assert_eq!(refusal(banned, alice).await, Refusal::UserNotActive(UserStatus::Banned));
    assert_eq!(refusal(nobody, alice).await, Refusal::UserNotFound(nobody));
    assert_eq!(refusal(alice, banned).await, Refusal::TargetNotActive(banned));
    assert_eq!(refusal(alice, nobody).await, Refusal::UserNotFound(nobody));
    assert_eq!(world.store.channels(alice, ChannelScope::Mine, None, 10).await.unwrap(), []);
}

#[rstest]
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_pair_has_one_direct_channel(#[values(Kind::Sqlite, Kind::Postgres)] kind: Kind) {
    let world = World::new(kind).await;
    let other_process = world.open_another().await;
    for _ in 0..10 {
        let [alice, bob] = world.users(["alice", "bob"]).await;
        let (a, b, c, d) = tokio::join!(
            world.store.create(world.new_channel(ChannelType::Direct, alice, &[bob])),
            other_process.create(world.new_channel(ChannelType::Direct, bob, &[alice])),
            world.store.create(world.new_channel(ChannelType::Direct, bob, &[alice])),
            other_process.create(world.new_channel(ChannelType::Direct, alice, &[bob])),
        );
        let made = [(a, alice), (b, bob), (c, bob), (d, alice)].map(|(made, by)| (made.unwrap(), by));
        let (first, _) = &made[0];
        assert_eq!(made.iter().filter(|(created, _)| !created.existed).count(), 1);
        for (created, by) in &made {
            assert_eq!(created.channel, first.channel);
            assert_eq!((created.member.user_id, created.member.role), (*by, MemberRole::Member));
        }
        let view = world.store.channel(first.channel.id, bob).await.unwrap().unwrap();
        assert_eq!((view.member_count, view.peer.unwrap().id), (2, alice));
    }
}

#[rstest]
#[tokio::test]
async fn lists_show_what_is_new(#[values(Kind::Sqlite, Kind::Postgres)] kind: Kind) {
    let world = World::new(kind).await;
    let [alice, bob] = world.users(["alice", "bob"]).await;
    let quiet = world.group(alice, &[bob]).await;
    let direct = world.create(ChannelType::Direct, alice, &[bob]).await.channel.id;
    let public = world.create(ChannelType::Public, bob, &[]).await.channel.id;
    let closed = world.create(ChannelType::Public, bob, &[]).await.channel.id;
    world.accept(world.deactivate(closed, bob)).await;
    world.accept(world.send(direct, alice, "one")).await;
    let last = message_of(&world.accept(world.send(direct, alice, "two")).await).clone();

    let of_bob = world.store.channels(bob, ChannelScope::Mine, None, 10).await.unwrap();
    assert_eq!(ids(&of_bob), [direct, closed, public, quiet], "the newest event comes first");
    let line = &of_bob[0];
    assert_eq!(line.last_message.as_ref(), Some(&last));
    assert_eq!(line.view.unread_count(), 2);
    assert_eq!(line.view.member_count, 2);
    assert_eq!(line.view.peer.as_ref().unwrap().username, "alice");
    assert_eq!((&of_bob[3].last_message, &of_bob[3].view.peer), (&None, &None));

    let of_alice = world.store.channels(alice, ChannelScope::Mine, None, 10).await.unwrap();
    assert_eq!(ids(&of_alice), [direct, quiet]);
    assert_eq!(of_alice[0].view.unread_count(), 0, "a sender has read what it wrote");

    let findable = world.store.channels(alice, ChannelScope::Public, None, 10).await.unwrap();
    assert_eq!(ids(&findable), [public]);
    assert_eq!((&findable[0].view.member, findable[0].view.unread_count()), (&None, 0));

    world.accept(world.send(direct, bob, "three")).await;
    let view = world.store.channel(direct, bob).await.unwrap().unwrap();
    assert_eq!(view.unread_count(), 0);
    assert_eq!(world.store.channel(direct, alice).await.unwrap().unwrap().unread_count(), 1);
}

#[rstest]
#[tokio::test]
async fn lists_are_paged(
    #[values(Kind::Sqlite, Kind::Postgres)] kind: Kind,
    #[values(ChannelScope::Mine, ChannelScope::Public)] scope: ChannelScope,
) {
    let world = World::new(kind).await;
    let alice = world.user("alice").await;
    let same_moment = world.now();
    let mut all = Vec::new();
    for i in 0..7 {
        let mut new = world.new_channel(ChannelType::Public, alice, &[]);
        if i < 4 {
            new.channel.updated_at = same_moment;
        }
        all.push((new.channel.updated_at, new.channel.id));
        world.store.create(new).await.unwrap();
    }
    all.sort_unstable();
    all.reverse();

    let mut seen = Vec::new();
    let mut after = None;
    loop {
        let page = world.store.channels(alice, scope, after, 2).await.unwrap();
        assert!(page.len() <= 3, "one more than the limit tells that there is more");
        seen.extend(page.iter().take(2).map(|line| (line.view.channel.updated_at, line.view.channel.id)));
        if page.len() <= 2 {
            break;
        }
        after = seen.last().map(|&(updated_at, id)| ChannelCursor { updated_at, id });
    }
    assert_eq!(seen, all);
}

#[rstest]
#[tokio::test]
async fn members_are_paged_by_id(#[values(Kind::Sqlite, Kind::Postgres)] kind: Kind) {
    let world = World::new(kind).await;
    let mut users = world.users(["alice", "bob", "carol", "dave", "erin"]).await.to_vec();
    let lowest = UserId::from(uuid::Uuid::nil());
    world.store.ensure_user(lowest, "lowest", world.now()).await.unwrap();
    users.push(lowest);
    let group = world.group(users[0], &users[1..]).await;
    users.sort_unstable();

    let page = world.store.members(group, None, 3).await.unwrap();
    assert_eq!(page.iter().map(|line| line.member.user_id).collect::<Vec<_>>(), users[..4]);
    assert_eq!(page[0].username, "lowest");
    let page = world.store.members(group, Some(users[2]), 3).await.unwrap();
    assert_eq!(page.iter().map(|line| line.member.user_id).collect::<Vec<_>>(), users[3..]);
    let page = world.store.members(group, Some(lowest), 1).await.unwrap();
    assert_eq!(page.iter().map(|line| line.member.user_id).collect::<Vec<_>>(), users[1..3]);
    assert_eq!(world.store.members(ChannelId::new(world.now()), None, 3).await.unwrap(), []);
}

#[rstest]
#[tokio::test]
async fn heads_and_access_of_many_channels(#[values(Kind::Sqlite, Kind::Postgres)] kind: Kind) {
    let world = World::new(kind).await;
    let [alice, bob] = world.users(["alice", "bob"]).await;
    let group = world.create(ChannelType::Group, alice, &[]).await.channel;
    let public = world.create(ChannelType::Public, alice, &[]).await.channel;
    world.accept(world.send(group.id, alice, "hi")).await;
    world.accept(world.deactivate(public.id, alice)).await;
    let mut asked: Vec<_> = (0..3_000).map(|_| ChannelId::new(world.now())).collect();
    asked.extend([group.id, public.id]);

    let mut heads = world.store.heads(&asked).await.unwrap();
    heads.sort_by_key(|head| head.channel_id);
    assert_eq!(heads.len(), 2, "unknown channels are left out");
    assert_eq!((heads[0].channel_id, heads[0].head_seq, heads[0].oldest_seq), (group.id, 1, 1));
    assert_eq!(heads[0].epoch, group.epoch);

    let wishes: Vec<_> = asked.iter().map(|channel| (bob, *channel)).chain([(alice, group.id)]).collect();
    let access = world.store.access(&wishes).await.unwrap();
    let of = |user| access.iter().filter(move |(whose, _)| *whose == user).map(|(_, access)| *access);
    let of_alice: Vec<_> = of(alice).map(|access| (access.head.channel_id, access.role)).collect();
    assert_eq!(of_alice, [(group.id, Some(MemberRole::Owner))]);
    let mut access: Vec<_> = of(bob).collect();
    access.sort_by_key(|access| access.head.channel_id);
    assert_eq!(access.iter().map(|access| access.head).collect::<Vec<_>>(), heads);
    let seen: Vec<_> = access.iter().map(|one| (one.channel_type, one.active, one.role, one.may_listen())).collect();
    assert_eq!(seen, [(ChannelType::Group, true, None, false), (ChannelType::Public, false, None, true)]);
    assert_eq!(world.store.heads(&[]).await.unwrap(), []);
    assert_eq!(world.store.access(&[]).await.unwrap(), []);
}

fn ids(lines: &[ChannelSummary]) -> Vec<ChannelId> {
    lines.iter().map(|line| line.view.channel.id).collect()
}
