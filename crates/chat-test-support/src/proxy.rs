//! A TCP forwarder between a client and a server that can be cut, mended and slowed down.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{ReadHalf, WriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// Forwards 127.0.0.1 to one address. Dropping it ends every connection.
#[derive(Debug)]
pub struct TcpProxy {
    address: SocketAddr,
    network: Arc<watch::Sender<Network>>,
    end: CancellationToken,
}

/// What the network is like now. A connection lives only as long as its `generation` lasts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Network {
    up: bool,
    generation: u64,
    delay: Duration,
}

impl TcpProxy {
    /// Listens on a port that the kernel chose and forwards to `target`.
    ///
    /// # Panics
    /// When no port can be bound.
    pub async fn start(target: SocketAddr) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("the kernel has a free port");
        let address = listener.local_addr().expect("a bound listener has an address");
        let network = Arc::new(watch::Sender::new(Network { up: true, generation: 0, delay: Duration::ZERO }));
        let end = CancellationToken::new();
        let tasks = TaskTracker::new();
        tasks.spawn(accept(listener, target, Arc::clone(&network), end.clone(), tasks.clone()));
        Self { address, network, end }
    }

    /// Where clients connect.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Breaks all connections and refuses new ones until [`TcpProxy::mend`]: the client is offline.
    pub fn cut(&self) {
        self.network.send_modify(|network| {
            network.up = false;
            network.generation += 1;
        });
    }

    /// Lets new connections through again.
    pub fn mend(&self) {
        self.network.send_modify(|network| network.up = true);
    }

    /// Breaks all connections once; new ones are served at once.
    pub fn reset_connections(&self) {
        self.network.send_modify(|network| network.generation += 1);
    }

    /// Holds back what is forwarded, in each direction, by this long; zero turns it off.
    pub fn delay(&self, delay: Duration) {
        self.network.send_modify(|network| network.delay = delay);
    }

    /// How many connections go through it at this moment.
    #[must_use]
    pub fn connections(&self) -> usize {
        // Each connection holds one receiver.
        self.network.receiver_count()
    }
}

impl Drop for TcpProxy {
    fn drop(&mut self) {
        self.end.cancel();
    }
}

async fn accept(
    listener: TcpListener,
    target: SocketAddr,
    network: Arc<watch::Sender<Network>>,
    end: CancellationToken,
    tasks: TaskTracker,
) {
    while let Some(Ok((client, _))) = end.run_until_cancelled(listener.accept()).await {
        let now = *network.borrow();
        if !now.up {
            reset_on_close(&client);
            continue;
        }
        let (connection, end) = (forward(client, target, Arc::clone(&network), now.generation), end.clone());
        tasks.spawn(async move { end.run_until_cancelled(connection).await });
    }
}

/// Copies both ways until both sides have ended or the connection's generation is over.
async fn forward(mut client: TcpStream, target: SocketAddr, network: Arc<watch::Sender<Network>>, generation: u64) {
    let Ok(mut server) = TcpStream::connect(target).await else { return };
    let _ = (client.set_nodelay(true), server.set_nodelay(true));
    let mut cut = network.subscribe();
    let ((from_client, to_client), (from_server, to_server)) = (client.split(), server.split());
    let forwarded =
        async { tokio::join!(copy(from_client, to_server, &network), copy(from_server, to_client, &network)) };
    let was_cut = tokio::select! {
        _ = cut.wait_for(|network| network.generation != generation) => true,
        _ = forwarded => false,
    };
    if was_cut {
        reset_on_close(&client);
        reset_on_close(&server);
    }
}

/// A reset cannot be mistaken for an orderly close.
fn reset_on_close(stream: &TcpStream) {
    // It fails on a connection that is broken already, which will do.
    let _ = stream.set_zero_linger();
}

async fn copy(mut from: ReadHalf<'_>, mut to: WriteHalf<'_>, network: &watch::Sender<Network>) {
    let mut buffer = vec![0; 16 * 1024];
    while let Ok(length @ 1..) = from.read(&mut buffer).await {
        let delay = network.borrow().delay;
        if !delay.is_zero() {
            tokio::time::sleep(delay).await;
        }
        if to.write_all(&buffer[..length]).await.is_err() {
            break;
        }
    }
    let _ = to.shutdown().await;
}
