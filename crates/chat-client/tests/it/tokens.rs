use std::sync::{
    Arc,
    atomic::{AtomicU32, Ordering},
};

use chat_client::{Client, SignIn, TokenSource};

use crate::peer::{Peer, config, connect, next_closed, next_offline};

/// `token-1`, `token-2`, …
fn numbered() -> TokenSource {
    let count = Arc::new(AtomicU32::new(0));
    TokenSource::ask(move || {
        let number = count.fetch_add(1, Ordering::Relaxed) + 1;
        async move { Ok(format!("token-{number}")) }
    })
}

#[tokio::test]
async fn the_header_is_the_default_and_the_frame_a_choice() {
    let peer = Peer::start().await;
    let (_by_header, _items) = connect(&[&peer]);
    assert_eq!(peer.welcome().await.authorization.as_deref(), Some("Bearer token"));

    let mut config = config(&[peer.url()], TokenSource::fixed("token"));
    config.sign_in = SignIn::Frame;
    let (_by_frame, _items) = Client::connect(config);
    let mut link = peer.accept().await;
    assert_eq!(link.authorization, None);
    assert_eq!(link.expect("AUTH").await["token"], "token");
}

#[tokio::test]
async fn a_refused_token_ends_a_client_that_has_no_other() {
    let peer = Peer::start().await;
    let (_client, mut items) = connect(&[&peer]);
    peer.welcome().await.close(4004).await;
    assert_eq!(next_closed(&mut items).await, 4004);

    let (_client, mut items) = connect(&[&peer]);
    peer.refuse(401).await;
    assert_eq!(next_closed(&mut items).await, 401);

    let same = TokenSource::ask(async || Ok("same".to_owned()));
    let (_client, mut items) = Client::connect(config(&[peer.url()], same));
    peer.refuse(401).await;
    assert_eq!(next_closed(&mut items).await, 4004);
}

#[tokio::test]
async fn a_refused_token_is_replaced() {
    let peer = Peer::start().await;
    let (_client, mut items) = Client::connect(config(&[peer.url()], numbered()));
    peer.welcome().await.close(4004).await;
    assert_eq!(next_offline(&mut items).await.0, Some(4004));
    assert_eq!(peer.welcome().await.authorization.as_deref(), Some("Bearer token-2"));
}

#[tokio::test]
async fn a_token_is_renewed_before_it_expires() {
    let peer = Peer::start().await;
    let mut config = config(&[peer.url()], numbered());
    let now = chat_domain::Timestamp::from_millis(1_795_338_000_000);
    config.clock = Arc::new(now);
    let (_client, _items) = Client::connect(config);
    let mut link = peer.accept().await;
    link.hello(60_000, Some(&now.to_string())).await;
    assert_eq!(link.expect("AUTH").await["token"], "token-2");
}

#[tokio::test]
async fn no_token_is_a_failure_like_others() {
    let peer = Peer::start().await;
    let count = AtomicU32::new(0);
    let source = TokenSource::ask(move || {
        let first = count.fetch_add(1, Ordering::Relaxed) == 0;
        async move { if first { Err("the issuer is away".into()) } else { Ok("late".to_owned()) } }
    });
    let (_client, mut items) = Client::connect(config(&[peer.url()], source));
    assert_eq!(next_offline(&mut items).await.0, None);
    assert_eq!(peer.welcome().await.authorization.as_deref(), Some("Bearer late"));
}
