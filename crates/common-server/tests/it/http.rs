//! The listener's bounds and its graceful end, with clients that misbehave.

use std::{net::SocketAddr, time::Duration};

use axum::{
    Router,
    extract::ConnectInfo,
    routing::{get, post},
};
use common_server::{
    Ending, Lifecycle,
    http::{HttpLimits, serve},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::mpsc,
    time::timeout,
};

const SOON: Duration = Duration::from_secs(10);

async fn start(lifecycle: &Lifecycle, router: Router, limits: HttpLimits) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let work = lifecycle.work();
    lifecycle.spawn_essential("http port", serve(listener, router, limits, work.clone()));
    address
}

async fn read_to_end(stream: &mut TcpStream) -> String {
    let mut text = String::new();
    timeout(SOON, stream.read_to_string(&mut text)).await.expect("the server closes the connection").unwrap();
    text
}

#[tokio::test]
async fn a_request_in_flight_is_finished_and_no_new_one_is_accepted() {
    let lifecycle = Lifecycle::new(SOON);
    let (arrived, mut arrivals) = mpsc::channel::<()>(1);
    let soft = lifecycle.soft_token().clone();
    let slow = async move || {
        arrived.send(()).await.unwrap();
        soft.cancelled().await;
        "finished"
    };
    let address = start(&lifecycle, Router::new().route("/slow", get(slow)), HttpLimits::default()).await;
    let mut idle = TcpStream::connect(address).await.unwrap();

    let request = async { reqwest::get(format!("http://{address}/slow")).await.unwrap().text().await.unwrap() };
    let end = async {
        arrivals.recv().await.unwrap();
        lifecycle.shut_down();
        lifecycle.run_to_end_with(async || std::future::pending().await).await
    };
    let (body, ending) = tokio::join!(request, end);

    assert_eq!(body, "finished");
    assert_eq!(ending, Ending::Drained);
    assert_eq!(read_to_end(&mut idle).await, "", "an idle connection was closed");
    assert!(TcpStream::connect(address).await.is_err());
}

#[tokio::test]
async fn a_peer_that_never_ends_its_head_is_cut_off() {
    let lifecycle = Lifecycle::new(SOON);
    let limits = HttpLimits { header_timeout: Duration::from_millis(100), ..HttpLimits::default() };
    let address = start(&lifecycle, Router::new(), limits).await;
    let mut slow = TcpStream::connect(address).await.unwrap();
    slow.write_all(b"GET / HTTP/1.1\r\nHost: x\r\n").await.unwrap();
    let answer = read_to_end(&mut slow).await;
    assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 408"), "{answer}");
}

#[tokio::test]
async fn a_head_over_the_bound_is_refused() {
    let lifecycle = Lifecycle::new(SOON);
    let limits = HttpLimits { header_bytes: 8 * 1024, ..HttpLimits::default() };
    let address = start(&lifecycle, Router::new(), limits).await;
    let mut stream = TcpStream::connect(address).await.unwrap();
    let head = format!("GET / HTTP/1.1\r\nHost: x\r\nX-Long: {}", "y".repeat(9 * 1024));
    stream.write_all(head.as_bytes()).await.unwrap();
    let answer = read_to_end(&mut stream).await;
    assert!(answer.starts_with("HTTP/1.1 431"), "{answer}");
}

#[tokio::test]
async fn a_connection_over_the_bound_waits_for_a_free_place() {
    let lifecycle = Lifecycle::new(SOON);
    let limits = HttpLimits { connections: 1, ..HttpLimits::default() };
    let address = start(&lifecycle, Router::new().route("/", get(async || "hello")), limits).await;
    let ask = b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";

    let mut first = TcpStream::connect(address).await.unwrap();
    first.write_all(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
    let mut head = [0; 12];
    first.read_exact(&mut head).await.unwrap();
    assert_eq!(&head, b"HTTP/1.1 200");

    let mut second = TcpStream::connect(address).await.unwrap();
    second.write_all(ask).await.unwrap();
    let early = timeout(Duration::from_millis(100), second.read(&mut head)).await;
    assert!(early.is_err(), "the second is not served while the first is there");

    drop(first);
    assert!(read_to_end(&mut second).await.ends_with("hello"));
}

#[tokio::test]
async fn handlers_know_the_peer_and_a_panic_ends_one_connection_only() {
    let lifecycle = Lifecycle::new(SOON);
    let whoami = async |ConnectInfo(peer): ConnectInfo<SocketAddr>| peer.ip().to_string();
    let panics = async || -> &'static str { std::panic::panic_any("as the test wants") };
    let router = Router::new().route("/peer", get(whoami)).route("/panics", post(panics));
    let address = start(&lifecycle, router, HttpLimits::default()).await;

    assert!(reqwest::Client::new().post(format!("http://{address}/panics")).send().await.is_err());
    let peer = reqwest::get(format!("http://{address}/peer")).await.unwrap().text().await.unwrap();
    assert_eq!(peer, "127.0.0.1");
    assert!(!lifecycle.soft_token().is_cancelled());
}
