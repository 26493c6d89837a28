use std::net::SocketAddr;
use std::time::{Duration, Instant};

use chat_test_support::proxy::TcpProxy;
use chat_test_support::wait_until;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::task::TaskTracker;

const DEADLINE: Duration = Duration::from_secs(5);

#[tokio::test]
async fn bytes_come_back_and_a_half_closed_connection_is_read_to_its_end() {
    let proxy = TcpProxy::start(echo_server().await).await;
    let mut client = TcpStream::connect(proxy.address()).await.unwrap();
    client.write_all(b"hello").await.unwrap();
    client.shutdown().await.unwrap();
    let mut answer = String::new();
    client.read_to_string(&mut answer).await.unwrap();
    assert_eq!(answer, "hello");
}

#[tokio::test]
async fn a_cut_breaks_connections_and_refuses_until_mended() {
    let proxy = TcpProxy::start(echo_server().await).await;
    let mut client = connected(&proxy).await;
    assert_eq!(proxy.connections(), 1);

    proxy.cut();
    assert!(client.read_u8().await.is_err());
    let mut refused = TcpStream::connect(proxy.address()).await.unwrap();
    assert!(refused.read_u8().await.is_err());
    wait_until("no connection is left", DEADLINE, async || proxy.connections() == 0).await;

    proxy.mend();
    connected(&proxy).await;
}

#[tokio::test]
async fn a_reset_breaks_what_is_open_and_serves_what_comes() {
    let proxy = TcpProxy::start(echo_server().await).await;
    let mut client = connected(&proxy).await;
    proxy.reset_connections();
    assert!(client.read_u8().await.is_err());
    connected(&proxy).await;
}

#[tokio::test]
async fn a_delay_holds_bytes_back_in_both_directions() {
    let proxy = TcpProxy::start(echo_server().await).await;
    let mut client = connected(&proxy).await;
    let delay = Duration::from_millis(30);
    proxy.delay(delay);
    let started = Instant::now();
    exchange(&mut client).await;
    assert!(started.elapsed() >= 2 * delay, "{:?}", started.elapsed());
}

#[tokio::test]
async fn a_stall_swallows_everything_and_keeps_it() {
    let proxy = TcpProxy::start(echo_server().await).await;
    let mut open = connected(&proxy).await;
    proxy.stall();
    let mut new = TcpStream::connect(proxy.address()).await.unwrap();
    for client in [&mut open, &mut new] {
        client.write_u8(8).await.unwrap();
        client.shutdown().await.unwrap();
        assert!(tokio::time::timeout(Duration::from_millis(100), client.read_u8()).await.is_err());
    }

    proxy.mend();
    for client in [&mut open, &mut new] {
        assert_eq!(client.read_u8().await.unwrap(), 8);
        assert!(client.read_u8().await.is_err(), "the end gets through as well");
    }
    wait_until("no connection is left", DEADLINE, async || proxy.connections() == 0).await;
}

#[tokio::test]
async fn a_cut_ends_a_stalled_connection() {
    let proxy = TcpProxy::start(echo_server().await).await;
    let mut open = connected(&proxy).await;
    proxy.stall();
    let mut new = TcpStream::connect(proxy.address()).await.unwrap();
    wait_until("both are accepted", DEADLINE, async || proxy.connections() == 2).await;
    proxy.cut();
    for client in [&mut open, &mut new] {
        assert!(client.read_u8().await.is_err());
    }
    proxy.mend();
    connected(&proxy).await;
}

#[tokio::test]
async fn a_connection_that_was_forgotten_hears_nothing_more_and_new_ones_are_served() {
    let proxy = TcpProxy::start(echo_server().await).await;
    let mut forgotten = connected(&proxy).await;
    proxy.forget_connections();
    connected(&proxy).await;
    forgotten.write_u8(8).await.unwrap();
    forgotten.shutdown().await.unwrap();
    proxy.mend();
    assert!(tokio::time::timeout(Duration::from_millis(100), forgotten.read_u8()).await.is_err());
    proxy.cut();
    assert!(forgotten.read_u8().await.is_err());
}

async fn connected(proxy: &TcpProxy) -> TcpStream {
    let mut client = TcpStream::connect(proxy.address()).await.unwrap();
    exchange(&mut client).await;
    client
}

async fn exchange(client: &mut TcpStream) {
    client.write_u8(7).await.unwrap();
    assert_eq!(client.read_u8().await.unwrap(), 7);
}

async fn echo_server() -> SocketAddr {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    let tasks = TaskTracker::new();
    let connections = tasks.clone();
    tasks.spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            connections.spawn(async move {
                let (mut from, mut to) = stream.split();
                tokio::io::copy(&mut from, &mut to).await
            });
        }
    });
    address
}
