//! Ports: free ones for tests, checked ones for `up`.

use std::net::{Ipv4Addr, TcpListener};

use crate::outcome::{Outcome, While, failure};

/// A port that the process to be started will listen on.
pub(crate) struct Wanted {
    pub(crate) port: u16,
    /// Who wants it.
    pub(crate) owner: String,
    /// What changes it.
    pub(crate) flag: &'static str,
}

/// A port that was free a moment ago.
pub(crate) fn free() -> Outcome<u16> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).while_doing("looking for a free port")?;
    Ok(listener.local_addr().while_doing("looking for a free port")?.port())
}

/// Fails with a line for each port that is busy or wanted twice.
pub(crate) fn check(wanted: &[Wanted]) -> Outcome {
    let mut problems = Vec::new();
    for (index, one) in wanted.iter().enumerate() {
        if let Some(other) = wanted[..index].iter().find(|other| other.port == one.port) {
            let text = format!("port {} is wanted by {} and by {}", one.port, other.owner, one.owner);
            problems.push(format!("{text}: move one with {} or {}", other.flag, one.flag));
        } else if TcpListener::bind((Ipv4Addr::LOCALHOST, one.port)).is_err() {
            problems.push(format!("port {} ({}) is busy: choose another with {}", one.port, one.owner, one.flag));
        }
    }
    if problems.is_empty() { Ok(()) } else { failure(problems.join("\n")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wanted(port: u16, owner: &str, flag: &'static str) -> Wanted {
        Wanted { port, owner: owner.to_owned(), flag }
    }

    #[test]
    fn a_busy_port_is_named_with_its_flag() {
        let taken = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let port = taken.local_addr().unwrap().port();
        let message = check(&[wanted(port, "HTTP API", "--http-port")]).unwrap_err().0;
        assert_eq!(message, format!("port {port} (HTTP API) is busy: choose another with --http-port"));
        drop(taken);
        check(&[wanted(port, "HTTP API", "--http-port")]).unwrap();
    }

    #[test]
    fn a_port_wanted_twice_is_named_with_both_flags() {
        let port = free().unwrap();
        let message = check(&[wanted(port, "Redis", "--redis-port"), wanted(port, "HTTP API", "--http-port")]);
        let message = message.unwrap_err().0;
        assert!(message.contains("--redis-port or --http-port"), "{message}");
    }
}
