//! Which process listens where.

use std::path::PathBuf;

use super::{Arguments, Storage};
use crate::ports::Wanted;
use crate::shell::root;

/// What `up` will start.
pub(super) struct Plan {
    pub(super) data: PathBuf,
    pub(super) storage: Storage,
    pub(super) http_port: u16,
    pub(super) ws_ports: Vec<u16>,
    pub(super) redis_port: u16,
    pub(super) postgres_port: u16,
}

impl Plan {
    pub(super) fn new(arguments: &Arguments) -> Self {
        Self {
            data: root().join(&arguments.data_dir),
            storage: arguments.storage,
            http_port: arguments.http_port,
            ws_ports: (0..arguments.instances).map(|index| arguments.ws_port + index).collect(),
            redis_port: arguments.redis_port,
            postgres_port: arguments.postgres_port,
        }
    }

    /// Every port, with who wants it and the flag that changes it.
    pub(super) fn ports(&self) -> Vec<Wanted> {
        let wanted = |port, owner: &str, flag| Wanted { port, owner: owner.to_owned(), flag };
        let mut ports = vec![
            wanted(self.http_port, "HTTP API", "--http-port"),
            wanted(management_port(self.http_port), "management of the HTTP API, 1000 above it", "--http-port"),
            wanted(self.redis_port, "Redis", "--redis-port"),
        ];
        for (index, &port) in self.ws_ports.iter().enumerate() {
            let name = instance_name(index);
            ports.push(wanted(port, &name, "--ws-port"));
            ports.push(wanted(management_port(port), &format!("management of {name}, 1000 above it"), "--ws-port"));
        }
        if self.storage == Storage::Postgres {
            ports.push(wanted(self.postgres_port, "PostgreSQL", "--postgres-port"));
        }
        ports
    }

    /// `ws://…` of each instance.
    pub(super) fn websocket_urls(&self) -> Vec<String> {
        self.ws_ports.iter().map(|port| format!("ws://127.0.0.1:{port}/ws/chat")).collect()
    }
}

pub(super) fn management_port(port: u16) -> u16 {
    port + 1000
}

pub(super) fn instance_name(index: usize) -> String {
    format!("WebSocket instance {}", index + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan(storage: Storage) -> Plan {
        Plan {
            data: PathBuf::new(),
            storage,
            http_port: 20001,
            ws_ports: vec![20002, 20003],
            redis_port: 20379,
            postgres_port: 20432,
        }
    }

    #[test]
    fn every_port_has_a_flag_that_changes_it() {
        let ports: Vec<_> = plan(Storage::Sqlite).ports().iter().map(|wanted| (wanted.port, wanted.flag)).collect();
        let expected = [
            (20001, "--http-port"),
            (21001, "--http-port"),
            (20379, "--redis-port"),
            (20002, "--ws-port"),
            (21002, "--ws-port"),
            (20003, "--ws-port"),
            (21003, "--ws-port"),
        ];
        assert_eq!(ports, expected);
    }

    #[test]
    fn the_port_of_postgres_is_wanted_only_with_postgres() {
        let wants = |storage| plan(storage).ports().iter().any(|wanted| wanted.flag == "--postgres-port");
        assert!(wants(Storage::Postgres));
        assert!(!wants(Storage::Sqlite));
    }
}
