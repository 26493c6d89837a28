//! One command, one reply, on a connection of its own. No client library: the fixtures break what a client hides.

use std::time::Duration;

use tokio::io::{AsyncBufRead, AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;

const COMMAND_DEADLINE: Duration = Duration::from_secs(5);
/// A longer reply counts as none.
const MAX_REPLY: u64 = 1024 * 1024;

/// The reply as it is on the wire (RESP2), or `None` when there is none in time.
pub(super) async fn execute(port: u16, arguments: &[&str]) -> Option<String> {
    tokio::time::timeout(COMMAND_DEADLINE, exchange(port, arguments)).await.ok()?
}

async fn exchange(port: u16, arguments: &[&str]) -> Option<String> {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).await.ok()?;
    let mut request = format!("*{}\r\n", arguments.len());
    for argument in arguments {
        request += &format!("${}\r\n{argument}\r\n", argument.len());
    }
    stream.write_all(request.as_bytes()).await.ok()?;
    let reply = read_reply(BufReader::new(stream.take(MAX_REPLY))).await?;
    Some(String::from_utf8_lossy(&reply).into_owned())
}

async fn read_reply(mut stream: impl AsyncBufRead + Unpin) -> Option<Vec<u8>> {
    let (mut reply, mut missing) = (Vec::new(), 1);
    while missing > 0 {
        missing -= 1;
        let begin = reply.len();
        stream.read_until(b'\n', &mut reply).await.ok()?;
        let line = std::str::from_utf8(&reply[begin..]).ok()?.strip_suffix("\r\n")?.to_owned();
        let count = line.get(1..)?.parse::<i64>();
        match line.as_bytes().first()? {
            b'*' => missing += count.ok()?.max(0),
            b'$' => {
                // A length of -1 is a nil, which has no body.
                let Ok(length) = usize::try_from(count.ok()?) else { continue };
                let begin = reply.len();
                reply.resize(begin + length + 2, 0);
                stream.read_exact(&mut reply[begin..]).await.ok()?;
            }
            _ => {}
        }
    }
    Some(reply)
}
