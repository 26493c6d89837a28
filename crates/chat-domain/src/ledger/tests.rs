use proptest::prelude::*;

use super::*;
use crate::{ChannelType, message::Text};

const AT: Timestamp = Timestamp::from_millis(1_000);

struct World {
    ledger: Ledger,
    channel_id: ChannelId,
    owner: UserId,
    stranger: UserId,
}

fn world(channel_type: ChannelType) -> World {
    let (owner, stranger) = (UserId::new(AT), UserId::new(AT));
    let details = ChannelDetails { name: Some("room".into()), description: None };
    let channel = Channel::new(ChannelId::new(AT), channel_type, details, owner, AT);
    let member = Member::new(&channel, owner, MemberRole::Owner, AT);
    let channel_id = channel.id;
    let users = [owner, stranger].map(|id| (id, UserStatus::Active));
    let ledger = Ledger::new([channel], [member], users, [], []);
    World { ledger, channel_id, owner, stranger }
}

fn command(action: Action) -> Command {
    Command { event_id: EventId::new(AT), at: AT, trace_id: None, traceparent: None, action }
}

impl World {
    fn message(&self, sender_id: UserId, text: &str, client_id: Option<&str>) -> NewMessage {
        NewMessage {
            id: MessageId::new(AT),
            channel_id: self.channel_id,
            sender_id,
            content: MessageContent::Text(Text { text: text.into() }),
            client_message_id: client_id.map(|id| ClientMessageId::new(id).unwrap()),
            reply_to: None,
        }
    }

    fn apply(&mut self, action: Action) -> Result<Applied, Refusal> {
        self.ledger.apply(command(action))
    }

    fn send(&mut self, sender_id: UserId, text: &str, client_id: Option<&str>) -> Result<Applied, Refusal> {
        self.apply(Action::Send(self.message(sender_id, text, client_id)))
    }

    fn join(&mut self, user_id: UserId) -> Result<Applied, Refusal> {
        self.apply(Action::AddMember { channel_id: self.channel_id, actor: Actor::user(user_id), user_id })
    }

    fn leave(&mut self, user_id: UserId) -> Result<Applied, Refusal> {
        self.apply(Action::RemoveMember { channel_id: self.channel_id, actor: Actor::user(user_id), user_id })
    }

    fn set_status(&mut self, user_id: UserId, status: UserStatus) {
        self.ledger.users.insert(user_id, status);
    }

    fn head(&self) -> u64 {
        self.ledger.channels[&self.channel_id].last_seq
    }
}

#[test]
fn sends_take_consecutive_numbers_and_move_the_senders_marker() {
    let mut world = world(ChannelType::Group);
    for expected in 1..=3 {
        let applied = world.send(world.owner, "hello", None).unwrap();
        assert_eq!(applied.entry.unwrap().seq, expected);
    }
    let (_, owner) = world.ledger.changed_members().next().unwrap();
    assert_eq!((owner.unwrap().last_read_seq, owner.unwrap().last_read_count), (3, 3));
    assert_eq!(world.ledger.changed_channels().next().unwrap().message_count, 3);
}

#[test]
fn a_repeat_returns_the_original_and_takes_no_number() {
    let mut world = world(ChannelType::Group);
    let first = world.send(world.owner, "hello", Some("1")).unwrap();
    let again = world.send(world.owner, "hello", Some("1")).unwrap();
    assert_eq!(again.subject, first.subject);
    assert!(again.entry.is_none());
    assert_eq!(world.head(), 1);
}

#[test]
fn a_repeat_is_answered_even_after_the_sender_lost_its_rights() {
    let mut world = world(ChannelType::Group);
    let first = world.send(world.owner, "hello", Some("1")).unwrap();
    world.set_status(world.owner, UserStatus::Suspended);
    assert_eq!(world.send(world.owner, "hello", Some("1")).unwrap().subject, first.subject);
    assert_eq!(world.send(world.owner, "new", None).unwrap_err(), Refusal::UserNotActive(UserStatus::Suspended));
}

#[test]
fn a_client_id_is_not_reused_for_another_message() {
    let mut world = world(ChannelType::Public);
    world.join(world.stranger).unwrap();
    world.send(world.owner, "hello", Some("1")).unwrap();
    assert_eq!(world.send(world.owner, "other", Some("1")).unwrap_err(), Refusal::ClientMessageIdReused);
    assert!(world.send(world.stranger, "other", Some("1")).unwrap().entry.is_some(), "the id is per sender");
}

#[test]
fn a_refused_command_takes_no_number() {
    let mut world = world(ChannelType::Public);
    assert_eq!(world.send(world.stranger, "hi", None).unwrap_err(), Refusal::NotAMember);
    assert_eq!(world.head(), 0);
    assert_eq!(world.ledger.changed_channels().count(), 0);
    assert_eq!(world.ledger.changed_members().count(), 0);
}

#[test]
fn replies_stay_in_the_channel() {
    let mut world = world(ChannelType::Group);
    let Subject::Message(first) = world.send(world.owner, "hello", None).unwrap().subject else { panic!() };
    let reply = |reply_to, world: &World| NewMessage { reply_to, ..world.message(world.owner, "re", None) };
    let good = Action::Send(reply(Some(first.id), &world));
    assert!(world.apply(good).is_ok());
    let bad = Action::Send(reply(Some(MessageId::new(AT)), &world));
    assert_eq!(world.apply(bad).unwrap_err(), Refusal::ReplyTargetNotFound);
}

#[test]
fn joining_twice_is_one_event_and_leaving_twice_too() {
    let mut world = world(ChannelType::Public);
    let who = world.stranger;
    assert!(world.join(who).unwrap().entry.is_some());
    assert!(world.join(who).unwrap().entry.is_none());
    assert!(world.leave(who).unwrap().entry.is_some());
    assert!(world.leave(who).unwrap().entry.is_none());
    assert_eq!(world.head(), 2);
    assert!(world.ledger.changed_members().all(|(_, member)| member.is_none()));
}

#[test]
fn unknown_or_inactive_users_are_not_brought_in() {
    let mut world = world(ChannelType::Group);
    let actor = Actor::user(world.owner);
    let unknown = UserId::new(AT);
    let channel_id = world.channel_id;
    let add = |user_id| Action::AddMember { channel_id, actor, user_id };
    assert_eq!(world.apply(add(unknown)).unwrap_err(), Refusal::UserNotFound(unknown));
    let banned = world.stranger;
    world.set_status(banned, UserStatus::Banned);
    assert_eq!(world.apply(add(banned)).unwrap_err(), Refusal::TargetNotActive(banned));
}

#[test]
fn a_new_member_has_nothing_unread() {
    let mut world = world(ChannelType::Public);
    world.send(world.owner, "before", None).unwrap();
    let Subject::Member(member) = world.join(world.stranger).unwrap().subject else { panic!() };
    assert_eq!((member.last_read_seq, member.last_read_count), (2, 1));
}

#[test]
fn closing_is_final_and_idempotent() {
    let mut world = world(ChannelType::Group);
    let close = Action::Close { channel_id: world.channel_id, actor: Actor::user(world.owner) };
    assert!(world.apply(close.clone()).unwrap().entry.is_some());
    assert!(world.apply(close).unwrap().entry.is_none());
    assert_eq!(world.send(world.owner, "late", None).unwrap_err(), Refusal::ChannelInactive);
}

#[test]
fn details_that_stay_the_same_are_no_event() {
    let mut world = world(ChannelType::Group);
    let (channel_id, actor) = (world.channel_id, Actor::user(world.owner));
    let change = |name: Option<&str>, description: Option<&str>| Action::ChangeDetails {
        channel_id,
        actor,
        name: name.map(Into::into),
        description: description.map(Into::into),
    };
    assert!(world.apply(change(Some("room"), None)).unwrap().entry.is_none());
    assert!(world.apply(change(None, Some("about"))).unwrap().entry.is_some());
    let Subject::Channel(channel) = world.apply(change(None, Some(""))).unwrap().subject else { panic!() };
    assert_eq!(channel.details, ChannelDetails { name: Some("room".into()), description: None });
}

#[derive(Clone, Debug)]
enum Step {
    Send { by_owner: bool, client_id: u8, text: u8 },
    Join,
    Leave,
    Rename(u8),
    Close,
    Status(u8),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        8 => (any::<bool>(), 0..6u8, 0..2u8).prop_map(|(by_owner, client_id, text)| Step::Send { by_owner, client_id, text }),
        3 => Just(Step::Join),
        3 => Just(Step::Leave),
        2 => (0..3u8).prop_map(Step::Rename),
        1 => Just(Step::Close),
        2 => (0..4u8).prop_map(Step::Status),
    ]
}

proptest! {
    /// Whatever is asked in whatever order: numbers have no hole, refused commands take none, counts add up.
    #[test]
    fn numbers_have_no_hole(steps in prop::collection::vec(step(), 0..120)) {
        let mut world = world(ChannelType::Public);
        let (mut seen, mut messages) = (Vec::new(), 0u64);
        for step in steps {
            let applied = match step {
                Step::Send { by_owner, client_id, text } => {
                    let sender = if by_owner { world.owner } else { world.stranger };
                    world.send(sender, &format!("text {text}"), Some(&client_id.to_string()))
                }
                Step::Join => world.join(world.stranger),
                Step::Leave => world.leave(world.stranger),
                Step::Rename(name) => world.apply(Action::ChangeDetails {
                    channel_id: world.channel_id,
                    actor: Actor::user(world.owner),
                    name: Some(format!("name {name}")),
                    description: None,
                }),
                Step::Close => world.apply(Action::Close { channel_id: world.channel_id, actor: Actor::user(world.owner) }),
                Step::Status(status) => {
                    world.set_status(world.stranger, UserStatus::ALL[usize::from(status)]);
                    continue;
                }
            };
            let before = seen.len() as u64;
            match applied.map(|applied| applied.entry) {
                Ok(Some(entry)) => {
                    messages += u64::from(matches!(entry.change, Change::MessageSent(_)));
                    seen.push(entry.seq);
                }
                Ok(None) | Err(_) => prop_assert_eq!(world.head(), before),
            }
        }
        prop_assert_eq!(&seen, &(1..=seen.len() as u64).collect::<Vec<_>>());
        prop_assert_eq!(world.ledger.channels[&world.channel_id].message_count, messages);
    }
}
