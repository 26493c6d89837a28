//! Sending over HTTP, one request at a time on a connection of its own, with as little of the processor as it takes: what the
//! load uses is missing to what is measured.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use chat_domain::ChannelId;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::failure::{Failure, While};

const TIMEOUT: Duration = Duration::from_secs(20);
/// In the head of an answer.
const MOST_HEADERS: usize = 32;
/// Longer than any answer to a message.
const USUAL_ANSWER: usize = 4 * 1024;

/// Where texts are sent to, on a server that is known otherwise, and what is around them.
#[derive(Clone, Debug)]
pub(crate) struct Target {
    pub(crate) path: String,
    pub(crate) token: Option<String>,
    /// The body of the request, but for the text.
    pub(crate) around: (String, String),
}

impl Target {
    /// A channel of a message server.
    pub(crate) fn channel(token: &str, channel: ChannelId) -> Self {
        let before = format!(r#"{{"channelId":"{channel}","messageType":"TEXT","payload":{{"text":""#);
        let (path, token) = ("/api/v1/messages".to_owned(), Some(token.to_owned()));
        Self { path, token, around: (before, r#""}}"#.to_owned()) }
    }

    /// Where channels are made; what is sent is a whole body.
    pub(crate) fn channels(token: &str) -> Self {
        Self { path: "/api/v1/channels".to_owned(), token: Some(token.to_owned()), around: Default::default() }
    }
}

/// Who sends to one server.
pub(crate) struct Sender {
    address: SocketAddr,
    stream: TcpStream,
    request: String,
    answer: Vec<u8>,
}

impl Sender {
    pub(crate) async fn connect(address: SocketAddr) -> Result<Self, Failure> {
        let (request, answer) = (String::new(), Vec::with_capacity(USUAL_ANSWER));
        Ok(Self { address, stream: open(address).await?, request, answer })
    }

    /// Several of them, on connections of their own.
    pub(crate) async fn several(count: usize, address: SocketAddr) -> Result<Vec<Self>, Failure> {
        let mut senders = Vec::with_capacity(count);
        for _ in 0..count {
            senders.push(Self::connect(address).await?);
        }
        Ok(senders)
    }

    /// Sends a text, which has no need of being escaped. A message server has it in durable storage when this returns.
    pub(crate) async fn send(&mut self, target: &Target, text: &str) -> Result<(), Failure> {
        let (before, after) = &target.around;
        timeout(TIMEOUT, self.ask(target, &[before.as_str(), text, after])).await.while_doing("a request")?.map(drop)
    }

    /// Sends a body and returns that of the answer.
    pub(crate) async fn post(&mut self, target: &Target, body: String) -> Result<Vec<u8>, Failure> {
        timeout(TIMEOUT, self.ask(target, &[&body])).await.while_doing("a request")?.map(<[u8]>::to_vec)
    }

    async fn ask(&mut self, target: &Target, body: &[&str]) -> Result<&[u8], Failure> {
        // A server closes a connection that was idle for long.
        let waits = |read: io::Result<usize>| read.is_err_and(|error| error.kind() == io::ErrorKind::WouldBlock);
        if !waits(self.stream.try_read(&mut [0])) {
            self.stream = open(self.address).await?;
        }
        self.write(target, body);
        self.stream.write_all(self.request.as_bytes()).await.while_doing("a request")?;

        self.answer.clear();
        loop {
            if self.stream.read_buf(&mut self.answer).await.while_doing("the answer to a request")? == 0 {
                return Err(Failure::new("the connection ended within a request"));
            }
            let Some(head) = Head::read(&self.answer)? else { continue };
            if self.answer.len() < head.bytes + head.body {
                continue;
            }
            // The next request needs the connection, so the answer is read to its end, and nothing follows it.
            return match head.status {
                200..300 => Ok(&self.answer[head.bytes..]),
                status => Err(Failure(format!("{} answered with {status}", target.path))),
            };
        }
    }

    fn write(&mut self, Target { path, token, .. }: &Target, body: &[&str]) {
        let (request, length) = (&mut self.request, body.iter().map(|part| part.len()).sum::<usize>());
        request.clear();
        *request += &format!("POST {path} HTTP/1.1\r\nhost: {}\r\ncontent-type: application/json\r\n", self.address);
        if let Some(token) = token {
            *request += &format!("authorization: Bearer {token}\r\n");
        }
        *request += &format!("content-length: {length}\r\n\r\n");
        request.extend(body.iter().copied());
    }
}

async fn open(address: SocketAddr) -> Result<TcpStream, Failure> {
    let stream = TcpStream::connect(address).await.while_doing("a connection for requests")?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

/// What an answer begins with.
#[derive(Debug, PartialEq, Eq)]
struct Head {
    status: u16,
    /// Its own length.
    bytes: usize,
    /// That of what follows.
    body: usize,
}

impl Head {
    /// `None` if it is not all there yet.
    fn read(answer: &[u8]) -> Result<Option<Self>, Failure> {
        let mut headers = [httparse::EMPTY_HEADER; MOST_HEADERS];
        let mut response = httparse::Response::new(&mut headers);
        let parsed = response.parse(answer).while_doing("the answer to a request")?;
        let (httparse::Status::Complete(bytes), Some(status)) = (parsed, response.code) else { return Ok(None) };
        let length = response.headers.iter().find(|header| header.name.eq_ignore_ascii_case("content-length"));
        let length = length.and_then(|header| std::str::from_utf8(header.value).ok()?.parse().ok());
        let body = length.ok_or_else(|| Failure::new("an answer does not tell its length"))?;
        Ok(Some(Self { status, bytes, body }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_read_once_its_head_is_there() {
        let answer = b"HTTP/1.1 201 Created\r\nContent-Length: 2\r\n\r\n{}";
        assert_eq!(Head::read(answer).unwrap(), Some(Head { status: 201, bytes: answer.len() - 2, body: 2 }));
        assert_eq!(Head::read(&answer[..30]).unwrap(), None);
        assert!(Head::read(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n").is_err());
        assert!(Head::read(b"SSH-2.0\r\n").is_err());
    }
}
