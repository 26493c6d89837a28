//! A TCP forwarder between a client and a server that can be cut, stalled, slowed down and mended.

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
    connections: TaskTracker,
    end: CancellationToken,
}

/// What the network is like now. A connection lives only as long as its `generation` lasts, and hears something only as
/// long as its `flow` lasts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Network {
    up: bool,
    stalled: bool,
    generation: u64,
    flow: u64,
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
        let now = Network { up: true, stalled: false, generation: 0, flow: 0, delay: Duration::ZERO };
        let network = Arc::new(watch::Sender::new(now));
        let end = CancellationToken::new();
        let connections = TaskTracker::new();
        let accepting = accept(listener, target, Arc::clone(&network), end.clone(), connections.clone());
        TaskTracker::new().spawn(accepting);
        Self { address, network, connections, end }
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

    /// Forwards nothing in either direction until [`TcpProxy::mend`], as a network that drops every packet: connections
    /// stay open, new ones are accepted and hear nothing, and not even their end gets through.
    pub fn stall(&self) {
        self.network.send_modify(|network| network.stalled = true);
    }

    /// Swallows from now on whatever comes through the connections there are, without ever ending them, as when their peer
    /// lost its power or a firewall forgot them. New ones are served.
    pub fn forget_connections(&self) {
        self.network.send_modify(|network| network.flow += 1);
    }

    /// Ends a cut and a stall: new connections get through again, and what was held back goes on.
    pub fn mend(&self) {
        self.network.send_modify(|network| {
            network.up = true;
            network.stalled = false;
        });
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
        self.connections.len()
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
    connections: TaskTracker,
) {
    while let Some(Ok((client, _))) = end.run_until_cancelled(listener.accept()).await {
        let now = *network.borrow();
        if !now.up {
            reset_on_close(&client);
            continue;
        }
        let (connection, end) = (forward(client, target, Arc::clone(&network), now), end.clone());
        connections.spawn(async move { end.run_until_cancelled(connection).await });
    }
}

/// Copies both ways until both sides have ended or the connection's generation is over.
async fn forward(client: TcpStream, target: SocketAddr, network: Arc<watch::Sender<Network>>, began: Network) {
    let mut cut = network.subscribe();
    let cut = cut.wait_for(|network| network.generation != began.generation);
    let opened = async {
        flows(&network, began.flow).await;
        TcpStream::connect(target).await
    };
    tokio::pin!(cut);
    let server = tokio::select! {
        _ = &mut cut => return reset_on_close(&client),
        opened = opened => opened,
    };
    let (Ok(mut server), mut client) = (server, client) else { return };
    let _ = (client.set_nodelay(true), server.set_nodelay(true));
    let ((from_client, to_client), (from_server, to_server)) = (client.split(), server.split());
    let forwarded = async {
        tokio::join!(
            copy(from_client, to_server, &network, began.flow),
            copy(from_server, to_client, &network, began.flow)
        )
    };
    let was_cut = tokio::select! {
        _ = cut => true,
        _ = forwarded => false,
    };
    if was_cut {
        reset_on_close(&client);
        reset_on_close(&server);
    }
}

/// Waits until the network is not stalled. For ever, if it has forgotten this flow.
async fn flows(network: &watch::Sender<Network>, flow: u64) {
    let passes = |network: &Network| !network.stalled && network.flow == flow;
    if !passes(&network.borrow()) {
        // It fails only without a sender, which is borrowed here.
        let _ = network.subscribe().wait_for(passes).await;
    }
}

/// A reset cannot be mistaken for an orderly close.
fn reset_on_close(stream: &TcpStream) {
    // It fails on a connection that is broken already, which will do.
    let _ = stream.set_zero_linger();
}

async fn copy(mut from: ReadHalf<'_>, mut to: WriteHalf<'_>, network: &watch::Sender<Network>, flow: u64) {
    let mut buffer = vec![0; 16 * 1024];
    while let Ok(length @ 1..) = from.read(&mut buffer).await {
        let delay = network.borrow().delay;
        if !delay.is_zero() {
            tokio::time::sleep(delay).await;
        }
        flows(network, flow).await;
        if to.write_all(&buffer[..length]).await.is_err() {
            break;
        }
    }
    flows(network, flow).await;
    let _ = to.shutdown().await;
}
