//! What can be broken between a server and its neighbours.

use std::net::SocketAddr;

use url::Url;

use crate::proxy::TcpProxy;

/// The links of one server. A system without links has none of them.
#[derive(Debug, Default)]
pub(super) struct Links {
    pub(super) redis: Option<TcpProxy>,
    pub(super) storage: Option<TcpProxy>,
    pub(super) users: Option<TcpProxy>,
    wanted: bool,
}

impl Links {
    /// Puts a link before each URL that names one server, and changes the URL to lead through it.
    pub(super) async fn put_before(redis: &mut String, storage: &mut String) -> Self {
        Self { redis: link(redis, "redis").await, storage: link(storage, "postgres").await, users: None, wanted: true }
    }

    /// Puts a link before a server's port for users, once.
    pub(super) async fn open_to_users(&mut self, address: &str) {
        if self.wanted && self.users.is_none() {
            self.users = Some(TcpProxy::start(address.parse().expect("a server says its address")).await);
        }
    }
}

async fn link(text: &mut String, scheme: &str) -> Option<TcpProxy> {
    let mut url = Url::parse(text).ok().filter(|url| url.scheme() == scheme)?;
    let target = format!("{}:{}", url.host_str()?, url.port()?);
    let target = target.parse::<SocketAddr>().expect("a server of a test has a numeric address and a port");
    let proxy = TcpProxy::start(target).await;
    url.set_port(Some(proxy.address().port())).expect("a URL with a port can have another");
    url.set_host(Some(&proxy.address().ip().to_string())).expect("a URL with a host can have another");
    *text = url.into();
    Some(proxy)
}
