use std::time::Duration;

use chat_test_support::redis::RedisServer;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

#[tokio::test]
async fn a_restarted_server_is_empty_and_on_the_same_port() {
    let mut redis = RedisServer::start().await;
    assert_eq!(redis.execute(&["SET", "key", "value"]).await, "+OK\r\n");
    assert_eq!(redis.execute(&["GET", "key"]).await, "$5\r\nvalue\r\n");
    let port = redis.port();

    redis.restart().await;

    assert_eq!(redis.port(), port);
    assert_eq!(redis.execute(&["GET", "key"]).await, "$-1\r\n");
}

#[tokio::test]
async fn a_frozen_server_answers_only_after_it_goes_on() {
    let mut redis = RedisServer::start().await;
    let mut connection = TcpStream::connect(("127.0.0.1", redis.port())).await.unwrap();
    redis.pause();
    connection.write_all(b"PING\r\n").await.unwrap();
    let mut answer = [0; 7];
    assert!(tokio::time::timeout(Duration::from_millis(100), connection.read_exact(&mut answer)).await.is_err());
    redis.resume();
    connection.read_exact(&mut answer).await.unwrap();
    assert_eq!(&answer, b"+PONG\r\n");
}

#[tokio::test]
async fn a_dropped_server_is_gone() {
    let redis = RedisServer::start().await;
    let address = ("127.0.0.1", redis.port());
    drop(redis);
    assert!(TcpStream::connect(address).await.is_err());
}
