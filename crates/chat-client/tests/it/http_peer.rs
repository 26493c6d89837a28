//! An HTTP server that does what the test says, on a real socket, one connection a request.

use chat_client::{HttpClient, HttpConfig, TokenSource};
use serde_json::Value;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    time::timeout,
};

use crate::peer::DEADLINE;

pub(crate) struct HttpPeer(TcpListener);

/// A request that waits for its answer. Dropping it cuts the connection.
pub(crate) struct Asked {
    stream: TcpStream,
    /// Method and path.
    pub(crate) line: String,
    pub(crate) authorization: String,
    pub(crate) body: Value,
}

impl HttpPeer {
    pub(crate) async fn start() -> Self {
        Self(TcpListener::bind("127.0.0.1:0").await.unwrap())
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.0.local_addr().unwrap())
    }

    /// A client of this server, which repeats without delay.
    pub(crate) fn client(&self) -> HttpClient {
        HttpClient::new(self.config(TokenSource::fixed("token"))).unwrap()
    }

    pub(crate) fn config(&self, token: TokenSource) -> HttpConfig {
        let mut config = HttpConfig::new(&self.url(), token).unwrap();
        config.jitter = std::sync::Arc::new(|| 0.0);
        config
    }

    pub(crate) async fn asked(&self) -> Asked {
        timeout(DEADLINE, self.next()).await.expect("a request")
    }

    async fn next(&self) -> Asked {
        let (mut stream, _) = self.0.accept().await.unwrap();
        let mut text = Vec::new();
        let (head, length) = loop {
            text.push(stream.read_u8().await.unwrap());
            if text.ends_with(b"\r\n\r\n") {
                let head = String::from_utf8(text).unwrap();
                let length = header(&head, "content-length").map_or(0, |length| length.parse().unwrap());
                break (head, length);
            }
        };
        let mut body = vec![0; length];
        stream.read_exact(&mut body).await.unwrap();
        let line = head.lines().next().unwrap().trim_end_matches(" HTTP/1.1").to_owned();
        let authorization = header(&head, "authorization").unwrap();
        Asked { stream, line, authorization, body: serde_json::from_slice(&body).unwrap_or_default() }
    }
}

impl Asked {
    pub(crate) async fn answer(mut self, status: u16, headers: &str, body: &Value) {
        let body = body.to_string();
        let length = body.len();
        let text =
            format!("HTTP/1.1 {status} X\r\n{headers}connection: close\r\ncontent-length: {length}\r\n\r\n{body}");
        self.stream.write_all(text.as_bytes()).await.unwrap();
    }
}

fn header(head: &str, name: &str) -> Option<String> {
    let value = |line: &str| {
        let (key, value) = line.split_once(':')?;
        key.eq_ignore_ascii_case(name).then(|| value.trim().to_owned())
    };
    head.lines().find_map(value)
}
