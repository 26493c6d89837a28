//! Serving HTTP/1.1 with bounds on everything that a peer decides.

use std::{io, net::SocketAddr, sync::Arc, time::Duration};

use axum::{Router, body::Body, extract::ConnectInfo};
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{
    net::{TcpListener, TcpSocket, TcpStream},
    sync::Semaphore,
    task::{unconstrained, yield_now},
    time::sleep,
};
use tower::ServiceExt;

use crate::Scope;

/// After a failed accept (no file descriptor left, for one) the listener rests this long.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Connections that the kernel may keep for us, as far as it may itself (`net.core.somaxconn`). One that finds no place is
/// tried again by its client after a second, and then after ever more: thousands that come at once would be lost for long.
const BACKLOG: u32 = 65_535;
/// Connections that are accepted before others get their turn.
const ACCEPTED_AT_ONCE: usize = 1_024;

/// Bounds of a listener.
#[derive(Clone, Copy, Debug)]
pub struct HttpLimits {
    /// Connections at the same time. Beyond it, new ones wait unaccepted in the kernel's queue.
    pub connections: usize,
    /// How long a peer may take for a request's head, and how long a connection may stay idle. Then it is closed.
    pub header_timeout: Duration,
    /// Bytes of a request's head. A longer one is answered with 431.
    pub header_bytes: usize,
}

impl Default for HttpLimits {
    fn default() -> Self {
        Self { connections: 10_000, header_timeout: Duration::from_secs(30), header_bytes: 32 * 1024 }
    }
}

/// Listens where many may come at once.
pub fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
    // A server that is started again does not wait until the connections of the one before are forgotten.
    #[cfg(unix)]
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

/// Serves the router until the scope stops: then it accepts no more and tells its connections to finish the request
/// they are at. The connections are tasks of the scope. Handlers find the peer in [`ConnectInfo`].
/// A connection that is upgraded ends here; what it becomes is the handler's.
pub async fn serve(listener: TcpListener, router: Router, limits: HttpLimits, scope: Scope) {
    // With its turn among thousands of tasks it takes what waits, and not the few that the runtime would allow it.
    unconstrained(accept(listener, router, limits, scope)).await;
}

async fn accept(listener: TcpListener, router: Router, limits: HttpLimits, scope: Scope) {
    let slots = Arc::new(Semaphore::new(limits.connections));
    for number in 1_usize.. {
        if number.is_multiple_of(ACCEPTED_AT_ONCE) {
            yield_now().await;
        }
        let next = async { (slots.clone().acquire_owned().await, listener.accept().await) };
        let (slot, accepted) = tokio::select! {
            () = scope.stopping().cancelled() => return,
            next = next => next,
        };
        let (stream, peer) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                rest_after(&error).await;
                continue;
            }
        };
        let connection = serve_connection(stream, peer, router.clone(), limits, scope.clone());
        scope.spawn("http connection", async move {
            connection.await;
            drop(slot);
        });
    }
}

async fn serve_connection(stream: TcpStream, peer: SocketAddr, router: Router, limits: HttpLimits, scope: Scope) {
    // Answers are written whole, so nothing is gained by waiting for more to send.
    let _ = stream.set_nodelay(true);
    let service = service_fn(move |mut request: hyper::Request<Incoming>| {
        request.extensions_mut().insert(ConnectInfo(peer));
        router.clone().oneshot(request.map(Body::new))
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(limits.header_timeout)
        .max_buf_size(limits.header_bytes)
        .serve_connection(TokioIo::new(stream), service)
        .with_upgrades();
    let mut connection = std::pin::pin!(connection);

    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = scope.stopping().cancelled() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = ended {
        tracing::debug!(client.address = %peer, error.message = %error, "the connection broke");
    }
}

async fn rest_after(error: &io::Error) {
    // The peer left before it was accepted: its own affair.
    if matches!(error.kind(), io::ErrorKind::ConnectionAborted | io::ErrorKind::ConnectionReset) {
        return;
    }
    tracing::warn!(error.message = %error, "cannot accept a connection");
    sleep(ACCEPT_PAUSE).await;
}
