use chat_domain::{
    Channel, ChannelDetails, ChannelType, Member,
    message::{Attachment, Image, Text},
};

use super::*;

fn id<T: std::str::FromStr<Err: std::fmt::Debug>>(last: u32) -> T {
    format!("018f4e7a-0000-7000-8000-{last:012}").parse().unwrap()
}

fn event(trace_id: Option<&str>, change: Change) -> String {
    let entry = Entry {
        event_id: id(9),
        channel_id: id(1),
        seq: 42,
        at: Timestamp::from_millis(1_795_338_000_123),
        trace_id: trace_id.map(Into::into),
        traceparent: None,
        change,
    };
    String::from_utf8(Event::from(entry).to_json().to_vec()).unwrap()
}

fn message(content: MessageContent) -> Message {
    Message {
        id: id(2),
        channel_id: id(1),
        seq: 42,
        sender_id: id(3),
        client_message_id: Some(ClientMessageId::new("c-1").unwrap()),
        content,
        status: MessageStatus::Sent,
        reply_to: Some(id(4)),
        sent_at: Timestamp::from_millis(1_795_338_000_123),
    }
}

fn member() -> Member {
    let at = Timestamp::from_millis(0);
    let channel = Channel::new(id(1), ChannelType::Group, ChannelDetails::default(), id(3), at);
    Member::new(&channel, id(3), MemberRole::Member, at)
}

#[test]
fn messages_are_frozen() {
    let text = || MessageContent::Text(Text { text: "hello \"you\" – ü".into() });
    let image = MessageContent::Image(Image {
        image_url: "/a.png".into(),
        file_name: Some("a.png".into()),
        file_size: Some(7),
    });
    let attachment = || Attachment {
        file_url: "https://cdn.example/a".into(),
        file_name: "a.bin".into(),
        file_size: 8,
        mime_type: Some("video/mp4".into()),
    };
    let bare = Message { client_message_id: None, reply_to: None, ..message(text()) };
    let payloads = [
        event(Some("4bf92f3577b34da6a3ce929d0e0e4736"), Change::MessageSent(message(text()))),
        event(None, Change::MessageSent(bare)),
        event(None, Change::MessageSent(message(image))),
        event(None, Change::MessageSent(message(MessageContent::File(attachment())))),
        event(None, Change::MessageSent(message(MessageContent::Video(attachment())))),
        event(None, Change::MessageSent(message(MessageContent::Audio(attachment())))),
        event(None, Change::MessageSent(message(MessageContent::System(Text { text: "maintenance".into() })))),
    ];
    insta::assert_snapshot!(payloads.join("\n"));
}

#[test]
fn channel_events_are_frozen() {
    let details = ChannelDetails { name: Some("room".into()), description: None };
    let payloads = [
        event(None, Change::MemberJoined { member: member(), added_by: id(5) }),
        event(None, Change::MemberLeft { user_id: id(3), removed_by: id(5) }),
        event(None, Change::ChannelUpdated(details)),
        event(None, Change::ChannelClosed),
    ];
    insta::assert_snapshot!(payloads.join("\n"));
}

#[test]
fn headers_are_read_from_events() {
    let header =
        EventHeader::parse(event(None, Change::MemberLeft { user_id: id(3), removed_by: id(5) }).as_bytes()).unwrap();
    let expected = EventHeader {
        event_type: Some(EventType::MemberLeft),
        channel_id: id(1),
        seq: Some(42),
        user_id: Some(id(3)),
        traceparent: None,
        at: Some(Timestamp::from_millis(1_795_338_000_123)),
    };
    assert_eq!(header, expected);
}

#[test]
fn a_traced_event_says_where_spans_hang() {
    let traceparent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    let entry = Entry {
        event_id: id(9),
        channel_id: id(1),
        seq: 42,
        at: Timestamp::from_millis(1_795_338_000_123),
        trace_id: None,
        traceparent: Some(traceparent.into()),
        change: Change::ChannelClosed,
    };
    let json = Event::from(entry).to_json();
    assert_eq!(EventHeader::parse(&json).unwrap().traceparent.as_deref(), Some(traceparent));
}

#[test]
fn later_versions_are_understood_as_far_as_they_go() {
    let payload = r#"{"type":"POLL","channelId":"018f4e7a-0000-7000-8000-000000000001","seq":1,"votes":[1,{"a":2}]}"#;
    let header = EventHeader::parse(payload.as_bytes()).unwrap();
    assert_eq!((header.event_type, header.seq, header.at), (None, Some(1), None));
    for at in ["5", "null", "\"soon\"", "{}"] {
        let payload = format!(r#"{{"type":"MESSAGE","channelId":"{}","at":{at}}}"#, id::<ChannelId>(1));
        assert_eq!(EventHeader::parse(payload.as_bytes()).unwrap().at, None, "{at}");
    }
}

#[test]
fn what_is_no_event_is_an_error() {
    for payload in ["", "x", "{}", "[]", r#"{"type":"MESSAGE"}"#, r#"{"type":1,"channelId":"x"}"#] {
        assert!(EventHeader::parse(payload.as_bytes()).is_err(), "{payload}");
    }
}
