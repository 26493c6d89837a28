//! Counts what instances hear from Redis, on the wire: a forwarder between both.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::io::{AsyncReadExt, AsyncWriteExt, copy};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

use crate::failure::Failure;

/// What is in each message of a subscription, whatever its kind and the version of the protocol, and in no payload: JSON
/// has no bare line breaks.
const MESSAGE: &[u8] = b"message\r\n$";
const BUFFER: usize = 64 * 1024;

pub(crate) struct Counter {
    pub(crate) address: SocketAddr,
    messages: Arc<AtomicU64>,
    /// It ends with this.
    _forwarding: JoinSet<()>,
}

impl Counter {
    /// Forwards to this Redis from now on.
    pub(crate) async fn start(redis: SocketAddr) -> Result<Self, Failure> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let (address, messages) = (listener.local_addr()?, Arc::new(AtomicU64::new(0)));
        let (mut forwarding, counted) = (JoinSet::new(), Arc::clone(&messages));
        forwarding.spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((client, _)) = listener.accept().await {
                connections.spawn(forward(client, redis, Arc::clone(&counted)));
            }
        });
        Ok(Self { address, messages, _forwarding: forwarding })
    }

    /// Messages so far.
    pub(crate) fn messages(&self) -> u64 {
        self.messages.load(Ordering::SeqCst)
    }
}

/// A connection that ends in one direction ends in both.
async fn forward(mut client: TcpStream, redis: SocketAddr, messages: Arc<AtomicU64>) {
    let Ok(mut server) = TcpStream::connect(redis).await else { return };
    // Without it, small answers wait for each other.
    if client.set_nodelay(true).and(server.set_nodelay(true)).is_err() {
        return;
    }
    let ((mut from_client, mut to_client), (mut from_server, mut to_server)) = (client.split(), server.split());
    let answers = async {
        let (mut buffer, mut scanner) = (vec![0; BUFFER], Scanner::default());
        while let Ok(length @ 1..) = from_server.read(&mut buffer).await {
            messages.fetch_add(scanner.count(&buffer[..length]), Ordering::SeqCst);
            if to_client.write_all(&buffer[..length]).await.is_err() {
                return;
            }
        }
    };
    tokio::select! {
        () = answers => {}
        _ = copy(&mut from_client, &mut to_server) => {}
    }
}

/// Finds messages that begin in one piece and end in the next.
#[derive(Default)]
struct Scanner {
    /// The end of the pieces so far, shorter than what is looked for.
    end: Vec<u8>,
}

impl Scanner {
    fn count(&mut self, piece: &[u8]) -> u64 {
        self.end.extend(piece);
        let found = self.end.windows(MESSAGE.len()).filter(|window| *window == MESSAGE).count();
        let rest = self.end.len().saturating_sub(MESSAGE.len() - 1);
        self.end.drain(..rest);
        found as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_found_however_they_are_cut() {
        let bytes =
            b"+OK\r\n>3\r\n$7\r\nmessage\r\n$1\r\na\r\n$2\r\n{}\r\n*3\r\n$8\r\nsmessage\r\n$1\r\na\r\n$2\r\n{}\r\n";
        for length in 1..=bytes.len() {
            let mut scanner = Scanner::default();
            let found: u64 = bytes.chunks(length).map(|piece| scanner.count(piece)).sum();
            assert_eq!(found, 2, "in pieces of {length}");
        }
    }
}
