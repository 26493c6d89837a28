//! Batches of commands: numbers, refusals, and what is written.

use chat_domain::{
    Actor, ChannelId, ChannelType, MemberRole, MessageContent, MessageId, Refusal, Subject, UserId, UserStatus,
    ledger::{Action, NewMessage},
    message::{Attachment, Image, Text},
};
use rstest::rstest;

use crate::world::{Kind, World, event, message_of};

#[rstest]
#[tokio::test]
async fn events_are_numbered_from_one(#[values(Kind::Sqlite, Kind::Postgres)] kind: Kind) {
    let world = World::new(kind).await;
    let [alice, bob] = world.users(["alice", "bob"]).await;
    let [one, two] = [world.group(alice, &[]).await, world.group(alice, &[]).await];

    let batch = vec![
        world.send(one, alice, "a"),
        world.send(two, alice, "b"),
        world.add(one, alice, bob),
        world.send(one, bob, "c"),
        world.rename(one, alice, "new name"),
        world.remove(one, alice, bob),
        world.deactivate(one, alice),
    ];
    let answers = world.append(batch).await;

    let seqs: Vec<u64> = answers.iter().map(|answer| event(answer).seq).collect();
    assert_eq!(seqs, [1, 1, 2, 3, 4, 5, 6]);
    let published: Vec<_> = answers.iter().map(event).filter(|event| event.channel_id == one).cloned().collect();
    assert_eq!(world.log(one).await, published, "what is replayed is what was published, byte for byte");
    assert_eq!(world.accept(world.send(two, alice, "d")).await.event.unwrap().seq, 2);
}

#[rstest]
#[tokio::test]
async fn what_was_appended_is_read_back(#[values(Kind::Sqlite, Kind::Postgres)] kind: Kind) {
    let world = World::new(kind).await;
    let [alice, bob] = world.users(["alice", "bob"]).await;
    let group = world.group(alice, &[]).await;
    let file = Attachment {
        file_url: "/f/1".into(),
        file_name: "ünï\"code\\.pdf".into(),
        file_size: 7,
        mime_type: Some("application/pdf".into()),
    };
    let image = Image { image_url: "https://example.com/i".into(), file_name: None, file_size: Some(3) };
    let contents = [
        MessageContent::Text(Text { text: "line\nline \u{1F600} {\"json\": [1]} 'quote' \u{0000} nul".into() }),
        MessageContent::Image(image),
        MessageContent::File(file.clone()),
        MessageContent::Video(file.clone()),
        MessageContent::Audio(file),
        MessageContent::System(Text { text: "$1 %s ?".into() }),
    ];

    let mut reply_to = None;
    for content in contents {
        let message = NewMessage { content, reply_to, ..world.message(group, alice, "") };
        let appended = world.accept(world.command(Action::Send(message))).await;
        let sent = message_of(&appended).clone();
        assert_eq!(sent.reply_to, reply_to);
        assert_eq!(world.store.message(sent.id).await.unwrap(), Some(sent.clone()));
        reply_to = Some(sent.id);
    }
    world.accept(world.add(group, alice, bob)).await;
    world.accept(world.rename(group, alice, "ümläut")).await;

    let view = world.store.channel(group, bob).await.unwrap().unwrap();
    assert_eq!(view.channel.details.name.as_deref(), Some("ümläut"));
    assert_eq!((view.channel.last_seq, view.channel.message_count, view.member_count), (8, 6, 2));
    assert_eq!(view.member.unwrap().role, MemberRole::Member);
    assert_eq!(world.store.message(MessageId::new(world.now())).await.unwrap(), None);
}

/// PostgreSQL has a statement of its own for a send that is alone.
#[rstest]
#[tokio::test]
async fn a_send_leaves_the_same_behind_alone_and_among_others(#[values(Kind::Sqlite, Kind::Postgres)] kind: Kind) {
    let world = World::new(kind).await;
    let alice = world.user("alice").await;
    let [alone, among] = [world.group(alice, &[]).await, world.group(alice, &[]).await];
    let second = async |group, others: &[ChannelId]| {
        let first = message_of(&world.accept(world.send_once(group, alice, "a\0b", &group.to_string())).await).id;
        let content = MessageContent::System(Text { text: "c\0d".into() });
        let message = NewMessage { content, reply_to: Some(first), ..world.message(group, alice, "") };
        let sends = others.iter().map(|other| world.send(*other, alice, "another"));
        let sends = [world.command(Action::Send(message))].into_iter().chain(sends);
        let appended = world.append(sends.collect()).await.remove(0).unwrap();
        let sent = message_of(&appended).clone();
        assert_eq!(world.store.message(sent.id).await.unwrap().as_ref(), Some(&sent));
        assert_eq!(world.log(group).await.pop(), appended.event);

        let view = world.store.channel(group, alice).await.unwrap().unwrap();
        assert_eq!(view.channel.updated_at, sent.sent_at);
        let member = view.member.unwrap();
        let counters =
            (view.channel.last_seq, view.channel.message_count, member.last_read_seq, member.last_read_count);
        (sent.seq, sent.content, sent.reply_to == Some(first), counters)
    };
    let [third, fourth] = [world.group(alice, &[]).await, world.group(alice, &[]).await];
    assert_eq!(second(alone, &[]).await, second(among, &[third, fourth]).await);
}

/// PostgreSQL has no NUL in its texts: one such name must not take a whole batch with it.
#[rstest]
#[tokio::test]
async fn a_nul_in_a_name_does_not_fail_the_batch(#[values(Kind::Sqlite, Kind::Postgres)] kind: Kind) {
    let world = World::new(kind).await;
    let alice = world.user("al\0ice").await;
    let group = world.group(alice, &[]).await;

    let answers = world.append(vec![world.rename(group, alice, "a\0b"), world.send(group, alice, "hi")]).await;

    assert!(answers.iter().all(Result::is_ok), "{answers:?}");
    let view = world.store.channel(group, alice).await.unwrap().unwrap();
    assert_eq!(view.channel.details.name.as_deref(), Some("a\u{fffd}b"));
}

#[rstest]
#[tokio::test]
async fn a_refused_command_fails_alone(#[values(Kind::Sqlite, Kind::Postgres)] kind: Kind) {
    let world = World::new(kind).await;
    let [alice, mallory] = world.users(["alice", "mallory"]).await;
    let group = world.group(alice, &[]).await;

    let batch = vec![
        world.send(group, alice, "first"),
        world.send(group, mallory, "not mine"),
        world.send(group, alice, "second"),
    ];
    let answers = world.append(batch).await;

    assert_eq!(event(&answers[0]).seq, 1);
    assert_eq!(answers[1].as_ref().unwrap_err(), &Refusal::ChannelNotFound);
    assert_eq!(event(&answers[2]).seq, 2);
    assert_eq!(world.assert_no_holes(group).await, 2);
}

#[rstest]
#[tokio::test]
async fn every_rule_is_asked(#[values(Kind::Sqlite, Kind::Postgres)] kind: Kind) {
    let world = World::new(kind).await;
    let [owner, member, stranger, banned] = world.users(["owner", "member", "stranger", "banned"]).await;
    let nobody = UserId::new(world.now());
    let group = world.group(owner, &[member, banned]).await;
    let other = world.group(owner, &[]).await;
    let closed = world.group(owner, &[]).await;
    let public = world.create(ChannelType::Public, owner, &[]).await.channel.id;
    let direct = world.create(ChannelType::Direct, owner, &[member]).await.channel.id;
    let elsewhere = message_of(&world.accept(world.send(other, owner, "elsewhere")).await).id;
    world.accept(world.deactivate(closed, owner)).await;
    world.accept(world.send_once(group, owner, "one", "id-1")).await;
    world.store.change_status(banned, UserStatus::Banned, world.now()).await.unwrap();
    let reply = NewMessage { reply_to: Some(elsewhere), ..world.message(group, owner, "re") };

    let cases = [
        (world.send(group, stranger, "x"), Refusal::ChannelNotFound),
        (world.send(closed, owner, "x"), Refusal::ChannelInactive),
        (world.send(public, stranger, "x"), Refusal::NotAMember),
        (world.send(group, banned, "x"), Refusal::UserNotActive(UserStatus::Banned)),
        (world.send(group, nobody, "x"), Refusal::UserNotFound(nobody)),
        (world.add(group, owner, nobody), Refusal::UserNotFound(nobody)),
        (world.add(public, owner, banned), Refusal::TargetNotActive(banned)),
        (world.command(Action::Send(reply)), Refusal::ReplyTargetNotFound),
        (world.send_once(group, owner, "two", "id-1"), Refusal::ClientMessageIdReused),
        (world.send_once(other, owner, "one", "id-1"), Refusal::ClientMessageIdReused),
        (world.rename(group, member, "mine"), Refusal::RoleTooLow),
        (world.deactivate(group, member), Refusal::RoleTooLow),
        (world.add(direct, owner, stranger), Refusal::DirectIsFixed),
        (world.remove(group, owner, owner), Refusal::OwnerCannotLeave),
    ];
    let (commands, refusals): (Vec<_>, Vec<_>) = cases.into_iter().unzip();
    for (command, refusal) in commands.iter().zip(&refusals) {
        assert_eq!(&world.refuse(command.clone()).await, refusal, "{command:?}");
    }
    let together: Vec<_> = world.append(commands).await.into_iter().map(Result::unwrap_err).collect();
    assert_eq!(together, refusals);
    assert_eq!(world.assert_no_holes(group).await, 1, "refused commands leave nothing behind");
}

#[rstest]
#[tokio::test]
async fn a_fulfilled_wish_is_no_event(#[values(Kind::Sqlite, Kind::Postgres)] kind: Kind) {
    let world = World::new(kind).await;
    let [owner, member] = world.users(["owner", "member"]).await;
    let public = world.create(ChannelType::Public, owner, &[]).await.channel.id;

    let joined = world.accept(world.add(public, member, member)).await;
    let again = world.accept(world.add(public, member, member)).await;
    assert_eq!(joined.subject, again.subject);
    assert_eq!(again.event, None);
    let name = world.store.channel(public, owner).await.unwrap().unwrap().channel.details.name.unwrap();
    assert_eq!(world.accept(world.rename(public, owner, &name)).await.event, None);
    world.accept(world.remove(public, owner, member)).await;
    assert_eq!(world.accept(world.remove(public, owner, member)).await.event, None);
    let admin = Actor { user_id: owner, admin: true };
    for expected in [true, false] {
        let close = world.command(Action::Close { channel_id: public, actor: admin });
        assert_eq!(world.accept(close).await.event.is_some(), expected);
    }
    assert_eq!(world.assert_no_holes(public).await, 3);
    assert!(world.append(Vec::new()).await.is_empty());
}

#[rstest]
#[tokio::test]
async fn who_comes_back_is_a_new_member(#[values(Kind::Sqlite, Kind::Postgres)] kind: Kind) {
    let world = World::new(kind).await;
    let [owner, member] = world.users(["owner", "member"]).await;
    let group = world.group(owner, &[member]).await;

    let batch = vec![
        world.send(group, member, "bye"),
        world.remove(group, member, member),
        world.send(group, owner, "gone"),
        world.add(group, owner, member),
    ];
    let back = world.append(batch).await.remove(3).unwrap();

    let Subject::Member(member_now) = back.subject else { panic!("not a member") };
    let view = world.store.channel(group, member).await.unwrap().unwrap();
    assert_eq!(view.member, Some(member_now));
    assert_eq!(view.unread_count(), 0, "who comes in has read what was before");
    assert_eq!(view.member_count, 2);
}
