use std::{
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use chat_client::{HttpClient, HttpError, TokenSource};
use serde_json::{Value, json};
use tokio::time::{Instant, timeout};

use crate::{
    http_peer::{Asked, HttpPeer},
    peer::{DEADLINE, channel},
};

/// The message as a server stores it that takes everything.
fn stored(asked: &Asked, seq: u64) -> Value {
    json!({
        "messageId": uuid::Uuid::from_u128(u128::from(seq)), "channelId": asked.body["channelId"], "seq": seq,
        "senderId": channel(9), "messageType": "TEXT", "content": asked.body["payload"]["text"], "status": "SENT",
        "sentAt": "2026-11-22T09:00:00.123Z", "clientMessageId": asked.body["clientMessageId"],
        "payload": asked.body["payload"], "addedLater": 1,
    })
}

#[tokio::test]
async fn a_send_is_repeated_with_the_same_id_after_whatever_may_pass() {
    let peer = HttpPeer::start().await;
    let client = peer.client();
    let serve = async {
        let first = peer.asked().await;
        assert_eq!((&*first.line, &*first.authorization), ("POST /api/v1/messages", "Bearer token"));
        let body = first.body.clone();
        drop(first);
        for status in [408, 429, 500, 502, 503] {
            let again = peer.asked().await;
            assert_eq!(again.body, body);
            if status == 503 {
                let message = stored(&again, 7);
                again.answer(200, "", &message).await;
            } else {
                again.answer(status, "", &json!("not a problem document")).await;
            }
        }
        body
    };
    let (sent, body) = tokio::join!(client.send(channel(1), "hello"), serve);
    let sent = sent.unwrap();
    assert_eq!((sent.seq, &*sent.message.content), (7, "hello"));
    assert_eq!(sent.message.client_message_id.as_deref(), body["clientMessageId"].as_str());
    assert_eq!(body["payload"], json!({"text": "hello"}));
}

#[tokio::test]
async fn a_server_that_does_not_answer_is_asked_again() {
    let peer = HttpPeer::start().await;
    let mut config = peer.config(TokenSource::fixed("token"));
    config.attempt_timeout = Duration::from_millis(300);
    let client = HttpClient::new(config).unwrap();
    let serve = async {
        let silent = peer.asked().await;
        let again = peer.asked().await;
        assert_eq!(again.body, silent.body);
        let message = stored(&again, 1);
        again.answer(201, "", &message).await;
    };
    let (sent, ()) = tokio::join!(client.send(channel(1), "hello"), serve);
    sent.unwrap();
}

#[tokio::test]
async fn a_refusal_is_final_and_says_why() {
    let peer = HttpPeer::start().await;
    let client = peer.client();
    let problem = json!({"status": 403, "code": "NOT_A_MEMBER", "detail": "only members may do this"});
    let (sent, ()) = tokio::join!(client.send(channel(1), "x"), async {
        peer.asked().await.answer(403, "", &problem).await;
    });
    let Err(HttpError::Refused { status, code, .. }) = sent else { panic!("{sent:?}") };
    assert_eq!((status, &*code), (403, "NOT_A_MEMBER"));
}

#[tokio::test]
async fn attempts_are_counted() {
    let peer = HttpPeer::start().await;
    let mut config = peer.config(TokenSource::fixed("token"));
    config.attempts = 2;
    let client = HttpClient::new(config).unwrap();
    let (sent, ()) = tokio::join!(client.send(channel(1), "x"), async {
        drop(peer.asked().await);
        drop(peer.asked().await);
    });
    assert!(matches!(sent, Err(HttpError::Unreachable(_))), "{sent:?}");
}

#[tokio::test]
async fn the_wait_that_the_server_asks_for_is_kept_unless_it_is_too_long() {
    let peer = HttpPeer::start().await;
    let client = peer.client();
    let started = Instant::now();
    let (sent, ()) = tokio::join!(client.send(channel(1), "x"), async {
        peer.asked().await.answer(429, "Retry-After: 1\r\n", &json!({"code": "RATE_LIMITED"})).await;
        let again = peer.asked().await;
        assert!(started.elapsed() >= Duration::from_secs(1));
        again.answer(503, "Retry-After: 31\r\n", &json!({"code": "OVERLOADED"})).await;
    });
    let Err(HttpError::Refused { code, retry_after, .. }) = sent else { panic!("{sent:?}") };
    assert_eq!((&*code, retry_after), ("OVERLOADED", Some(Duration::from_secs(31))));
}

#[tokio::test]
async fn messages_of_a_channel_keep_their_order_and_channels_do_not_wait_for_each_other() {
    let peer = HttpPeer::start().await;
    let client = peer.client();
    let serve = async {
        let first = peer.asked().await;
        let other = peer.asked().await;
        assert_eq!((&first.body["payload"]["text"], &other.body["payload"]["text"]), (&json!("1"), &json!("other")));
        let message = stored(&other, 1);
        other.answer(201, "", &message).await;
        // The second waits even while the first one is only being repeated.
        drop(first);
        let again = peer.asked().await;
        assert_eq!(again.body["payload"]["text"], "1");
        let message = stored(&again, 1);
        again.answer(201, "", &message).await;
        let second = peer.asked().await;
        assert_eq!(second.body["payload"]["text"], "2");
        let message = stored(&second, 2);
        second.answer(201, "", &message).await;
    };
    let (first, second, other, ()) = tokio::join!(
        client.send(channel(1), "1"),
        client.send(channel(1), "2"),
        client.send(channel(2), "other"),
        serve,
    );
    assert_eq!([first.unwrap().seq, second.unwrap().seq, other.unwrap().seq], [1, 2, 1]);
}

#[tokio::test]
async fn an_expired_token_is_replaced_once() {
    let peer = HttpPeer::start().await;
    let count = Arc::new(AtomicU32::new(0));
    let source = TokenSource::ask(move || {
        let number = count.fetch_add(1, Ordering::Relaxed) + 1;
        async move { Ok(format!("token-{number}")) }
    });
    let client = HttpClient::new(peer.config(source)).unwrap();
    let serve = async {
        for number in 1..=2 {
            let asked = peer.asked().await;
            assert_eq!(asked.authorization, format!("Bearer token-{number}"));
            asked.answer(401, "", &json!({"code": "TOKEN_EXPIRED"})).await;
        }
    };
    let (sent, ()) = tokio::join!(timeout(DEADLINE, client.send(channel(1), "x")), serve);
    assert_eq!(sent.unwrap().unwrap_err().status(), Some(401));
}

#[tokio::test]
async fn pages_are_read_as_documented() {
    let peer = HttpPeer::start().await;
    let client = peer.client();
    let body = json!({"type": "MESSAGE", "channelId": channel(1), "seq": 4, "new": true});
    let page =
        json!({"items": [body], "headSeq": 9, "oldestSeq": 2, "epoch": crate::peer::EPOCH, "page": {"hasNext": true}});
    let (page, ()) = tokio::join!(client.events(channel(1), 3, 1), async {
        let asked = peer.asked().await;
        assert_eq!(asked.line, format!("GET /api/v1/channels/{}/events?afterSeq=3&limit=1", channel(1)));
        asked.answer(200, "", &page).await;
    });
    let page = page.unwrap();
    assert_eq!((page.head_seq, page.oldest_seq, page.has_next), (9, 2, true));
    assert_eq!((page.events[0].seq, &*page.events[0].body), (4, body.to_string().as_bytes()));

    let place = chat_client::HistoryPlace::Before("a cursor");
    let (page, ()) = tokio::join!(client.history(channel(1), place, 50), async {
        let asked = peer.asked().await;
        assert_eq!(asked.line, format!("GET /api/v1/channels/{}/messages?limit=50&before=a+cursor", channel(1)));
        let links = json!({"prev": "older", "hasNext": false, "hasPrev": true});
        asked.answer(200, "", &json!({"items": [], "page": links})).await;
    });
    let page = page.unwrap();
    assert_eq!((page.messages.len(), page.prev.as_deref(), page.next), (0, Some("older"), None));
}
