//! The programs of PostgreSQL, the user they run as, and a new data folder.

use std::ffi::OsStr;
use std::os::unix::fs::chown;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::environment::{HOW_TO_GET_IT, program_on_path, variable};

/// Where Debian keeps each version's programs.
const DEBIAN: &str = "/usr/lib/postgresql";
/// Its one role. The server listens on 127.0.0.1 only and trusts who connects.
pub(super) const ROLE: &str = "chat";

/// A data folder, ready to be started.
#[derive(Debug, Clone)]
pub(super) struct Cluster {
    binaries: PathBuf,
    data: PathBuf,
    account: Option<Account>,
}

/// The user that PostgreSQL runs as: it refuses to be root.
#[derive(Debug, Clone, Copy)]
struct Account {
    user: u32,
    group: u32,
}

impl Cluster {
    /// Makes one in `folder`, which its user gets.
    pub(super) fn create(folder: &Path) -> Self {
        let account = rustix::process::geteuid().is_root().then(Account::find);
        if let Some(Account { user, group }) = account {
            chown(folder, Some(user), Some(group)).expect("root can give a folder away");
        }
        let cluster = Self { binaries: binaries(), data: folder.join("data"), account };
        let mut initdb = cluster.command("initdb");
        initdb.args(["--username", ROLE, "--auth=trust", "--encoding=UTF8", "--locale=C", "--no-sync", "-D"]);
        let made = initdb.arg(&cluster.data).output().expect("initdb can be started");
        assert!(made.status.success(), "initdb failed:\n{}", String::from_utf8_lossy(&made.stderr));
        cluster
    }

    /// The server's process, in the foreground.
    pub(super) fn postgres(&self, port: u16, durable: bool) -> Command {
        let mut postgres = self.command("postgres");
        postgres.arg("-D").arg(&self.data).args(["-p", &port.to_string()]);
        let mut settings = vec!["listen_addresses=127.0.0.1", "unix_socket_directories=", "max_connections=200"];
        if durable {
            // As in production. By default it has room for a few seconds of sends, and then writes a page for each new one.
            settings.extend(["shared_buffers=1GB", "max_wal_size=4GB"]);
        } else {
            // Only what a crash of the machine can lose: commits still wait until the kernel has them.
            settings.extend(["fsync=off", "full_page_writes=off"]);
        }
        for setting in settings {
            postgres.args(["-c", setting]);
        }
        postgres
    }

    pub(super) fn data(&self) -> &Path {
        &self.data
    }

    fn command(&self, program: &str) -> Command {
        let program = self.binaries.join(program);
        let Some(Account { user, group }) = self.account else { return Command::new(program) };
        let mut command = Command::new("setpriv");
        command
            .args(["--reuid", &user.to_string(), "--regid", &group.to_string(), "--clear-groups", "--"])
            .arg::<&OsStr>(program.as_ref())
            // The folder of the tests may be closed to this user.
            .current_dir("/");
        command
    }
}

impl Account {
    fn find() -> Self {
        let number = |flag: &str, user: &str| {
            let id = Command::new("id").args([flag, user]).output().expect("id can be started");
            String::from_utf8_lossy(&id.stdout).trim().parse().ok()
        };
        ["postgres", "nobody"]
            .into_iter()
            .find_map(|user| Some(Self { user: number("-u", user)?, group: number("-g", user)? }))
            .expect("PostgreSQL refuses to run as root, and there is neither a user postgres nor nobody")
    }
}

/// The folder with initdb and postgres.
fn binaries() -> PathBuf {
    variable("CHAT_TEST_POSTGRES_BINARIES")
        .map(PathBuf::from)
        .or_else(newest_of_debian)
        .or_else(|| Some(program_on_path(&["initdb"])?.canonicalize().ok()?.parent()?.to_owned()))
        .unwrap_or_else(|| panic!("no PostgreSQL found; {HOW_TO_GET_IT}"))
}

fn newest_of_debian() -> Option<PathBuf> {
    let versions = std::fs::read_dir(DEBIAN).ok()?.flatten();
    let versions = versions.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    let newest = Path::new(DEBIAN).join(versions.max()?.to_string()).join("bin");
    newest.join("initdb").is_file().then_some(newest)
}
