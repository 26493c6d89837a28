//! The little HTTP that `up` speaks to the servers it started on this machine.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::time::Duration;

use serde_json::Value;

use crate::outcome::{Outcome, While, failure};

const TIMEOUT: Duration = Duration::from_secs(10);
/// More than any answer that is read here.
const LONGEST_ANSWER: u64 = 4 * 1024 * 1024;

/// One request to 127.0.0.1.
pub(crate) struct Request<'a> {
    pub(crate) port: u16,
    pub(crate) method: &'a str,
    pub(crate) path: &'a str,
    pub(crate) token: Option<&'a str>,
    pub(crate) body: Option<Value>,
}

impl Request<'_> {
    /// Sends it; the answer's status and its body, null when that is not JSON.
    pub(crate) fn send(self) -> Outcome<(u16, Value)> {
        let what = format!("{} {} on port {}", self.method, self.path, self.port);
        let answer = self.exchange().while_doing(&what)?;
        parse(&answer).ok_or(()).or_else(|()| failure(format!("{what}: not an HTTP answer")))
    }

    /// Sends it and expects success.
    pub(crate) fn must(self) -> Outcome<Value> {
        let what = format!("{} {}", self.method, self.path);
        match self.send()? {
            (200..=299, body) => Ok(body),
            (status, body) => failure(format!("{what} was answered with {status}: {body}")),
        }
    }

    fn exchange(self) -> std::io::Result<Vec<u8>> {
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, self.port));
        let mut stream = TcpStream::connect_timeout(&address, TIMEOUT)?;
        stream.set_read_timeout(Some(TIMEOUT))?;
        stream.set_write_timeout(Some(TIMEOUT))?;
        // The answer to HTTP 1.0 ends with the connection: no chunks, no keep-alive.
        let mut text = format!("{} {} HTTP/1.0\r\nHost: {address}\r\n", self.method, self.path);
        if let Some(token) = self.token {
            text += &format!("Authorization: Bearer {token}\r\n");
        }
        let body = self.body.map(|body| body.to_string()).unwrap_or_default();
        if !body.is_empty() {
            text += &format!("Content-Type: application/json\r\nContent-Length: {}\r\n", body.len());
        }
        stream.write_all(format!("{text}\r\n{body}").as_bytes())?;
        let mut answer = Vec::new();
        stream.take(LONGEST_ANSWER).read_to_end(&mut answer)?;
        Ok(answer)
    }
}

fn parse(answer: &[u8]) -> Option<(u16, Value)> {
    let text = String::from_utf8_lossy(answer);
    let (head, body) = text.split_once("\r\n\r\n")?;
    let status = head.split(' ').nth(1)?.parse().ok()?;
    Some((status, serde_json::from_str(body).unwrap_or(Value::Null)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_its_status_and_its_json() {
        let answer = b"HTTP/1.0 201 Created\r\nContent-Length: 8\r\n\r\n{\"a\": 1}";
        assert_eq!(parse(answer), Some((201, serde_json::json!({ "a": 1 }))));
        assert_eq!(parse(b"HTTP/1.1 200 OK\r\n\r\nOK"), Some((200, Value::Null)));
        assert_eq!(parse(b"something else"), None);
    }
}
