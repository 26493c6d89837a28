//! The reference: what it costs to write the same bytes to as many connections, and nothing else.

use std::io::{BufRead, BufReader, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::ops::Range;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use crate::failure::{Failure, While};
use crate::fleet::frames;
use crate::fleet::protocol::MESSAGE;

/// How long connections may take to come.
const ACCEPT_TIMEOUT: Duration = Duration::from_secs(10);

/// A running reference server, a process of its own on the core of what is measured. It ends with this.
pub(crate) struct RawServer {
    child: Child,
    commands: ChildStdin,
    pub(crate) address: SocketAddr,
}

impl RawServer {
    /// Starts one whose frames have a text of this length.
    pub(crate) fn start(core: usize, payload: usize) -> Result<Self, Failure> {
        let mut command = Command::new("taskset");
        command.args(["-c", &core.to_string()]).arg(std::env::current_exe()?);
        command.args(["raw-server", "--payload", &payload.to_string()]);
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().while_doing("the raw server")?;
        let pipes = child.stdin.take().zip(child.stdout.take());
        let (commands, output) = pipes.ok_or_else(|| Failure::new("the raw server has no pipes"))?;
        let mut address = String::new();
        BufReader::new(output).read_line(&mut address).while_doing("the raw server")?;
        let address = address.trim().parse().while_doing("the address of the raw server")?;
        Ok(Self { child, commands, address })
    }

    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// Has so many frames written to each of these connections, counted as they came, in one write each.
    pub(crate) fn burst(&mut self, frames: usize, connections: Range<usize>) -> Result<(), Failure> {
        let Range { start, end } = connections;
        // In one write, which wakes the server once.
        let command = format!("{frames} {start} {end}\n");
        self.commands.write_all(command.as_bytes()).while_doing("the raw server")
    }
}

impl Drop for RawServer {
    fn drop(&mut self) {
        // An error says that it has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The server's own process: says its address, and does what comes on its standard input until that ends.
pub(crate) fn serve(payload: usize) -> Result<(), Failure> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    println!("{}", listener.local_addr()?);
    let accepted = Arc::new(Mutex::new(Vec::new()));
    let accepting = Arc::clone(&accepted);
    // It ends with the process.
    std::thread::spawn(move || accept(&listener, &accepting));
    let frame = frame(payload);
    for line in std::io::stdin().lock().lines() {
        let line = line?;
        let (frames, connections) = parse(&line).ok_or_else(|| Failure(format!("{line:?} is no command")))?;
        until_accepted(&accepted, connections.end)?;
        write_to_all(&mut accepted.lock()[connections], &frame.repeat(frames))?;
    }
    Ok(())
}

fn accept(listener: &TcpListener, accepted: &Mutex<Vec<TcpStream>>) {
    while let Ok((stream, _)) = listener.accept() {
        if stream.set_nodelay(true).is_ok() {
            accepted.lock().push(stream);
        }
    }
}

fn until_accepted(accepted: &Mutex<Vec<TcpStream>>, connections: usize) -> Result<(), Failure> {
    let since = Instant::now();
    while accepted.lock().len() < connections {
        if since.elapsed() > ACCEPT_TIMEOUT {
            return Err(Failure(format!("fewer than {connections} connections came")));
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    Ok(())
}

/// A blocking socket takes it in one call, however long it has to wait for room.
fn write_to_all(streams: &mut [TcpStream], bytes: &[u8]) -> Result<(), Failure> {
    streams.iter_mut().try_for_each(|stream| stream.write_all(bytes)).while_doing("a connection of the raw server")
}

/// A frame that counts as a message.
fn frame(payload: usize) -> Vec<u8> {
    let mut bytes = vec![b'x'; payload.max(MESSAGE.len())];
    bytes[..MESSAGE.len()].copy_from_slice(MESSAGE);
    frames::text(&bytes)
}

fn parse(line: &str) -> Option<(usize, Range<usize>)> {
    let (frames, connections) = line.split_once(' ')?;
    let (start, end) = connections.split_once(' ')?;
    let (start, end) = (start.parse().ok()?, end.parse().ok()?);
    (start <= end).then_some((frames.parse().ok()?, start..end))
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use super::*;

    #[test]
    fn a_burst_reaches_every_connection() {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let mut clients = [(); 3].map(|()| TcpStream::connect(listener.local_addr().unwrap()).unwrap());
        let mut servers = [(); 3].map(|()| listener.accept().unwrap().0);
        let burst = frame(50).repeat(2);
        write_to_all(&mut servers, &burst).unwrap();
        for client in &mut clients {
            let mut received = vec![0; burst.len()];
            client.read_exact(&mut received).unwrap();
            assert!(received == burst);
        }
    }

    #[test]
    fn commands_are_three_numbers() {
        assert_eq!(parse("16 20 1000"), Some((16, 20..1_000)));
        assert_eq!((parse("16"), parse("16 2"), parse("a b c"), parse("16 2 1")), (None, None, None, None));
    }
}
