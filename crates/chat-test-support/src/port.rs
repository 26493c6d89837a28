//! Ports chosen by the kernel.

use std::net::{Ipv4Addr, TcpListener};

/// A port that was free a moment ago. Another process may take it before it is used: whoever starts a server on it
/// checks that the server came up and tries another port otherwise.
///
/// # Panics
/// When no port is free.
pub fn free_port() -> u16 {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("the kernel has a free port");
    listener.local_addr().expect("a bound listener has an address").port()
}
