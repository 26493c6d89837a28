//! Very many connections that count what they receive, at as little cost as possible: what they use, the measured server
//! may lack.

pub(crate) mod frames;
pub(crate) mod protocol;
mod seat;
pub(crate) mod tally;

use std::cell::RefCell;
use std::future::poll_fn;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::task::{Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt, ReadBuf};
use tokio::net::{TcpSocket, TcpStream};
use tokio::runtime::{Builder, Handle, Runtime};
use tokio::task::{JoinSet, yield_now};
use tokio::time::{sleep, timeout};

use crate::failure::{Failure, While};
use frames::Frame;
use protocol::{Meaning, Protocol};
pub(crate) use seat::Seat;
use tally::Tally;

/// How many connect at the same time, where nothing else is said.
const AT_ONCE: usize = 32;
/// Addresses that connections come from in turn. With ten thousand from one address, the kernel would search for a free port for
/// longer than all else takes.
const SOURCES: u8 = 128;
const CONNECT_TIMEOUT: Duration = Duration::from_secs(60);
/// Between two attempts of a connection that insists.
const BACK_OFF: Duration = Duration::from_secs(1);
/// Between two looks of who is in no hurry: the way to a client elsewhere and back. By then a server has mostly written all.
const LOOK: Duration = Duration::from_millis(20);
/// A burst is read in one go.
const BUFFER: usize = 256 * 1024;
thread_local! {
    /// One for all connections of a thread: thousands of buffers would not fit into a processor's cache.
    static SHARED: RefCell<Vec<u8>> = RefCell::new(vec![0; BUFFER]);
}

/// Connections that live as long as this.
pub(crate) struct Fleet {
    pub(crate) tally: Arc<Tally>,
    size: usize,
    tasks: JoinSet<()>,
    /// Threads of its own, if what else goes on here is not to wait for it.
    runtime: Option<Runtime>,
}

impl Drop for Fleet {
    fn drop(&mut self) {
        // Not in the way of a thread that must not block.
        self.runtime.take().into_iter().for_each(Runtime::shutdown_background);
    }
}

impl Fleet {
    /// Connects all of them and waits until each is subscribed.
    pub(crate) async fn join(seats: Vec<Seat>, tally: Tally) -> Result<Self, Failure> {
        let mut fleet = Self::empty(tally, None);
        fleet.grow(seats).await?;
        Ok(fleet)
    }

    /// The same for who measures the processor time of the server and not how soon something comes: they look only now and
    /// then, like clients elsewhere, whose way back takes a while. A reader on the same machine that keeps pace with the server
    /// has to be woken by many of its writes, and uses its sockets at the same moment. How often that happens depends on who is a
    /// little faster, and it costs more than what is to be measured.
    pub(crate) async fn join_aloof(seats: Vec<Seat>, tally: Tally) -> Result<Self, Failure> {
        // Of itself the runtime looks after some tasks; here it reads all that is there with each look.
        let runtime = thread(|builder| builder.event_interval(u32::MAX))?;
        let look = async {
            loop {
                // Blocks all that reads, which is what it is for.
                std::thread::sleep(LOOK);
                yield_now().await;
            }
        };
        let mut fleet = Self::empty(tally, None);
        // It ends with the connections: the runtime sees its own end only when nothing keeps it from resting.
        fleet.tasks.spawn_on(look, runtime.handle());
        fleet.runtime = Some(runtime);
        fleet.grow(seats).await?;
        Ok(fleet)
    }

    /// Connects all of them at the same time, and goes on with those that are subscribed when all are, or patience ends.
    pub(crate) async fn storm(seats: Vec<Seat>, tally: Tally, patience: Duration) -> Result<Self, Failure> {
        // A single queue would have every delay that is measured meanwhile behind thousands of connections.
        let mut fleet = Self::empty(tally, Some(thread(|builder| builder)?));
        let all = seats.len();
        match timeout(patience, fleet.enter(seats, all)).await {
            Ok(outcome) => outcome.map(|()| fleet),
            Err(_) => Ok(fleet),
        }
    }

    fn empty(tally: Tally, runtime: Option<Runtime>) -> Self {
        Self { tally: Arc::new(tally), size: 0, tasks: JoinSet::new(), runtime }
    }

    /// Connects more.
    pub(crate) async fn grow(&mut self, seats: Vec<Seat>) -> Result<(), Failure> {
        self.enter(seats, AT_ONCE).await
    }

    /// Closes all connections.
    pub(crate) async fn leave(mut self) {
        self.tasks.shutdown().await;
    }

    async fn enter(&mut self, seats: Vec<Seat>, at_once: usize) -> Result<(), Failure> {
        let threads = self.runtime.as_ref().map_or_else(Handle::current, |runtime| runtime.handle().clone());
        let mut entering = JoinSet::new();
        let mut seats = seats.into_iter();
        loop {
            for seat in seats.by_ref().take(at_once - entering.len()) {
                entering.spawn_on(Connection::enter(seat, Arc::clone(&self.tally)), &threads);
            }
            let Some(entered) = entering.join_next().await else { return Ok(()) };
            let connection = entered.while_doing("a connection to the server")??;
            self.tasks.spawn_on(connection.listen(), &threads);
            self.size += 1;
        }
    }

    pub(crate) const fn size(&self) -> usize {
        self.size
    }

    /// What each connection has got when `events` more have come to all of them.
    pub(crate) fn goal(&self, events: usize) -> u64 {
        self.tally.delivered() + (events * self.size) as u64
    }
}

/// Where the next connection comes from.
fn source() -> SocketAddr {
    static NEXT: AtomicU8 = AtomicU8::new(0);
    (Ipv4Addr::new(127, 0, 1, NEXT.fetch_add(1, Ordering::Relaxed) % SOURCES), 0).into()
}

fn thread(with: impl FnOnce(&mut Builder) -> &mut Builder) -> Result<Runtime, Failure> {
    with(Builder::new_multi_thread().worker_threads(1).enable_all())
        .build()
        .while_doing("a thread for many connections")
}

struct Connection {
    stream: TcpStream,
    tally: Arc<Tally>,
    /// The beginning of a frame whose end has not come yet.
    carry: Vec<u8>,
    /// What is to be answered.
    answers: Vec<u8>,
    protocol: Protocol,
    /// What is said when the server is ready for it.
    request: Option<String>,
    /// How many subscriptions are still to be confirmed.
    awaited: usize,
    /// After how long to ask for the same again.
    again: Option<Duration>,
}

impl Connection {
    async fn enter(seat: Seat, tally: Arc<Tally>) -> Result<Self, Failure> {
        const WHAT: &str = "a connection to the server";
        let entering = async {
            loop {
                match Self::try_enter(&seat, Arc::clone(&tally)).await {
                    Err(_) if seat.insists => {
                        tally.count_refusal();
                        sleep(BACK_OFF).await;
                    }
                    outcome => return outcome,
                }
            }
        };
        timeout(CONNECT_TIMEOUT, entering).await.while_doing(WHAT)?.while_doing(WHAT)
    }

    async fn try_enter(seat: &Seat, tally: Arc<Tally>) -> io::Result<Self> {
        let socket = TcpSocket::new_v4()?;
        socket.set_nodelay(true)?;
        socket.bind(source())?;
        let stream = socket.connect(seat.address).await?;
        let Seat { protocol, awaited, .. } = *seat;
        let (carry, answers, request) = (Vec::new(), Vec::new(), seat.request.clone());
        let mut connection = Self { stream, tally, carry, answers, protocol, request, awaited, again: None };
        if let Some(upgrade) = &seat.upgrade {
            connection.upgrade(upgrade).await?;
        }
        while connection.awaited > 0 {
            connection.read().await?;
            connection.ask_again().await?;
        }
        connection.request = None;
        Ok(connection)
    }

    async fn upgrade(&mut self, request: &str) -> io::Result<()> {
        const END: &[u8] = b"\r\n\r\n";
        self.stream.write_all(request.as_bytes()).await?;
        let end = loop {
            if self.stream.read_buf(&mut self.carry).await? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            if let Some(at) = self.carry.windows(END.len()).position(|window| window == END) {
                break at + END.len();
            }
        };
        if !self.carry.starts_with(b"HTTP/1.1 101 ") {
            let answer = String::from_utf8_lossy(&self.carry[..end]);
            return Err(io::Error::other(answer.lines().next().unwrap_or_default().to_owned()));
        }
        // What came behind it is read like all else.
        let rest = self.carry.split_off(end);
        self.carry.clear();
        self.take(&rest)?;
        self.answer().await
    }

    /// Asks once more if the server was not able to serve it.
    async fn ask_again(&mut self) -> io::Result<()> {
        let Some(wait) = self.again.take() else { return Ok(()) };
        self.tally.count_refusal();
        sleep(wait).await;
        self.answers.extend(self.request.as_ref().map(client_text).unwrap_or_default());
        self.answer().await
    }

    async fn listen(mut self) {
        loop {
            if let Err(error) = self.read().await {
                return self.tally.complain(format!("a connection ended: {error}"));
            }
        }
    }

    /// Reads what is there, and answers it.
    async fn read(&mut self) -> io::Result<()> {
        poll_fn(|context| {
            SHARED.with_borrow_mut(|shared| {
                let mut space = ReadBuf::new(shared);
                ready!(Pin::new(&mut self.stream).poll_read(context, &mut space))?;
                Poll::Ready(match space.filled() {
                    [] => Err(io::ErrorKind::UnexpectedEof.into()),
                    bytes => self.take(bytes),
                })
            })
        })
        .await?;
        self.answer().await
    }

    async fn answer(&mut self) -> io::Result<()> {
        if !self.answers.is_empty() {
            self.stream.write_all(&self.answers).await?;
            self.answers = Vec::new();
        }
        Ok(())
    }

    fn take(&mut self, bytes: &[u8]) -> io::Result<()> {
        if self.carry.is_empty() {
            let rest = self.take_whole(bytes)?;
            self.carry.extend_from_slice(rest);
            return Ok(());
        }
        let mut joined = std::mem::take(&mut self.carry);
        joined.extend_from_slice(bytes);
        let rest = self.take_whole(&joined)?;
        self.carry = rest.to_vec();
        Ok(())
    }

    /// Takes all frames that are whole and returns what is left.
    fn take_whole<'a>(&mut self, mut bytes: &'a [u8]) -> io::Result<&'a [u8]> {
        let mut messages = 0;
        while let Some((frame, rest)) = frames::split(bytes) {
            bytes = rest;
            match frame {
                Frame::Text(payload) => match self.protocol.read(payload) {
                    Meaning::Message => {
                        messages += 1;
                        self.tally.message(payload);
                    }
                    Meaning::Ready => self.answers.extend(self.request.as_ref().map(client_text).unwrap_or_default()),
                    Meaning::Subscribed => self.awaited = self.awaited.saturating_sub(1),
                    Meaning::Question(answer) => self.answers.extend(client_text(answer)),
                    Meaning::Refusal => return Err(refused(payload)),
                    // Of several subscriptions it would be unclear which of them to ask for again.
                    Meaning::Later(wait) if self.awaited == 1 && self.request.is_some() => self.again = Some(wait),
                    Meaning::Later(_) => return Err(refused(payload)),
                    Meaning::Nothing => {}
                },
                Frame::Ping(payload) => self.answers.extend(frames::pong(payload)),
                Frame::Close(payload) => {
                    let code = payload.first_chunk().map(|code| u16::from_be_bytes(*code));
                    return Err(io::Error::other(format!("closed with {}", code.unwrap_or_default())));
                }
                Frame::Other => {}
            }
        }
        if messages > 0 {
            self.tally.add(messages);
        }
        Ok(bytes)
    }
}

fn refused(payload: &[u8]) -> io::Error {
    io::Error::other(String::from_utf8_lossy(payload).into_owned())
}

fn client_text(text: impl AsRef<str>) -> Vec<u8> {
    frames::text_of_client(text.as_ref().as_bytes())
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpListener;

    use super::*;

    /// Those of one scenario would still be open in the next, and a process has only so many files.
    #[tokio::test]
    async fn who_looks_now_and_then_leaves_too() {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let seats = vec![Seat::without_handshake(listener.local_addr().unwrap()); 3];
        let fleet = Fleet::join_aloof(seats, Tally::default()).await.unwrap();
        let mut streams = Vec::new();
        for _ in 0..fleet.size() {
            let (mut stream, _) = listener.accept().await.unwrap();
            stream.write_all(&frames::text(protocol::MESSAGE)).await.unwrap();
            streams.push(stream);
        }
        fleet.tally.reach(3).await.unwrap();
        drop(fleet);
        for mut stream in streams {
            let end = timeout(Duration::from_secs(10), stream.read_u8()).await.expect("it is closed");
            assert_eq!(end.unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
        }
    }
}
