//! A private PostgreSQL cluster: its own folder, its own port, no service of the system.

use std::ffi::OsStr;
use std::fs;
use std::net::TcpStream;
use std::os::unix::fs::chown;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::child::Server;
use crate::outcome::{Outcome, While, failure};
use crate::shell::{is_root, output, program};

const START_DEADLINE: Duration = Duration::from_secs(30);
/// Its one role. The cluster listens on 127.0.0.1 only and trusts who connects: it holds nothing but development data.
const ROLE: &str = "chat";

/// What a crash may cost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Durability {
    /// Committed is on disk.
    Full,
    /// For tests: nothing is forced to disk, which is faster and loses data only when the machine stops.
    Off,
}

/// The user that PostgreSQL runs as: it refuses to be root.
struct Account {
    name: String,
    user: u32,
    group: u32,
}

/// Makes the cluster in `folder` when it is not there and starts it on `port`.
pub(crate) fn start(binaries: &Path, folder: &Path, port: u16, durability: Durability) -> Outcome<Server> {
    fs::create_dir_all(folder).while_doing(folder.display())?;
    let folder = folder.canonicalize().while_doing(folder.display())?;
    let account = if is_root() { Some(account(&folder)?) } else { None };
    let as_account = |program: PathBuf| command(&program, account.as_ref());

    let data = folder.join("data");
    if !data.join("PG_VERSION").is_file() {
        let mut initdb = as_account(binaries.join("initdb"));
        initdb.args(["--username", ROLE, "--auth=trust", "--encoding=UTF8", "--locale=C", "--no-sync", "-D"]);
        output(initdb.arg(&data))?;
    }
    let mut postgres = as_account(binaries.join("postgres"));
    postgres.arg("-D").arg(&data).args(["-p", &port.to_string()]);
    for setting in settings(durability) {
        postgres.args(["-c", setting]);
    }
    // SIGINT is PostgreSQL's fast shutdown: SIGTERM would wait until every client has gone.
    let mut server = Server::start("PostgreSQL", postgres, folder.join("log"), Signal::INT)?;
    wait_until_it_answers(&mut server, port)?;
    Ok(server)
}

/// A new folder for a cluster that does not outlive this process: under `target`, or among the temporary files when
/// PostgreSQL's user cannot get there.
pub(crate) fn folder_for_tests(target: &Path) -> Outcome<PathBuf> {
    let name = format!("test-postgres-{}", std::process::id());
    let in_target = target.join(&name);
    fs::create_dir_all(&in_target).while_doing(in_target.display())?;
    if !is_root() || account(&in_target).is_ok() {
        return Ok(in_target);
    }
    fs::remove_dir(&in_target).while_doing(in_target.display())?;
    Ok(std::env::temp_dir().join(name))
}

/// The URL of the cluster's maintenance database.
pub(crate) fn url(port: u16) -> String {
    format!("postgres://{ROLE}@127.0.0.1:{port}/postgres")
}

fn settings(durability: Durability) -> Vec<&'static str> {
    let mut settings = vec!["listen_addresses=127.0.0.1", "unix_socket_directories=", "max_connections=400"];
    if durability == Durability::Off {
        settings.extend(["fsync=off", "full_page_writes=off"]);
    }
    settings
}

fn wait_until_it_answers(server: &mut Server, port: u16) -> Outcome {
    let started = Instant::now();
    while started.elapsed() < START_DEADLINE {
        if let Some(status) = server.ended() {
            return failure(format!("PostgreSQL ended with {status}:\n{}", server.tail()));
        }
        if TcpStream::connect(("127.0.0.1", port)).is_ok() && server.tail().contains("ready to accept connections") {
            return Ok(());
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    failure(format!("PostgreSQL did not come up within {START_DEADLINE:?}:\n{}", server.tail()))
}

/// Finds the user for a root's cluster and gives it the folder.
fn account(folder: &Path) -> Outcome<Account> {
    let name = if number("-u", "postgres").is_ok() { "postgres" } else { "nobody" };
    let account = Account { name: name.to_owned(), user: number("-u", name)?, group: number("-g", name)? };
    if program(&["setpriv"]).is_none() {
        return failure("PostgreSQL refuses to run as root, and setpriv is missing: run this as another user");
    }
    chown(folder, Some(account.user), Some(account.group)).while_doing(folder.display())?;
    if output(command(Path::new("test"), Some(&account)).arg("-w").arg(folder)).is_err() {
        return failure(format!(
            "PostgreSQL refuses to run as root, and the user {} cannot get into {}: use a folder that it can get into",
            account.name,
            folder.display()
        ));
    }
    Ok(account)
}

fn number(flag: &str, user: &str) -> Outcome<u32> {
    output(Command::new("id").args([flag, user]))?.parse().while_doing(format_args!("the id of {user}"))
}

fn command(program: &Path, account: Option<&Account>) -> Command {
    let Some(account) = account else { return Command::new(program) };
    let mut command = Command::new("setpriv");
    command
        .args(["--reuid", &account.user.to_string(), "--regid", &account.group.to_string(), "--clear-groups", "--"])
        .arg::<&OsStr>(program.as_ref())
        // The home of root is closed to this user.
        .current_dir("/");
    command
}
