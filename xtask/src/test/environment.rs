//! The servers and programs that the tests use, and the variables that name them.

use std::fs;
use std::path::{Path, PathBuf};

use crate::child::Server;
use crate::cluster::{self, Durability};
use crate::outcome::{Failure, Outcome};
use crate::packages::Policy;
use crate::shell::target;
use crate::ui::{Step, say};
use crate::{ports, tools};

/// Another process may take the chosen port first. Five times in a row is no accident.
const PORT_ATTEMPTS: usize = 5;

/// What the tests need. Dropping it stops the cluster and removes it.
pub(super) struct Environment {
    variables: Vec<(&'static str, String)>,
    _cluster: Cluster,
}

impl Environment {
    pub(super) fn set_up(policy: Policy) -> Outcome<Self> {
        let redis = tools::redis(policy)?;
        let postgres = tools::postgres(policy)?;
        let (browser, driver) = tools::chromium(policy)?;
        let node = tools::node(policy)?;
        let (prometheus, promtool) = tools::prometheus(policy)?;
        let cluster = Cluster::start(&postgres)?;
        let programs = [
            ("CHAT_TEST_REDIS_SERVER", redis),
            ("CHAT_TEST_CHROMIUM", browser),
            ("CHAT_TEST_CHROMEDRIVER", driver),
            ("CHAT_TEST_NODE", node),
            ("CHAT_TEST_PROMETHEUS", prometheus),
            ("CHAT_TEST_PROMTOOL", promtool),
            ("CHAT_TEST_POSTGRES_BINARIES", postgres),
        ];
        let mut variables: Vec<_> =
            programs.into_iter().map(|(name, path)| (name, path.to_string_lossy().into_owned())).collect();
        variables.push(("CHAT_TEST_POSTGRES_URL", cluster::url(cluster.port)));
        for (name, value) in &variables {
            say(format!("  {name}={value}"));
        }
        Ok(Self { variables, _cluster: cluster })
    }

    pub(super) fn variables(&self) -> impl Iterator<Item = (&'static str, &str)> {
        self.variables.iter().map(|(name, value)| (*name, value.as_str()))
    }
}

struct Cluster {
    port: u16,
    server: Option<Server>,
    folder: PathBuf,
}

impl Cluster {
    fn start(binaries: &Path) -> Outcome<Self> {
        let step = Step::begin("PostgreSQL cluster for tests, without fsync");
        let folder = cluster::folder_for_tests(&target())?;
        let mut cluster = Self { port: 0, server: None, folder };
        let mut last = Failure(String::new());
        for _ in 0..PORT_ATTEMPTS {
            cluster.port = ports::free()?;
            match cluster::start(binaries, &cluster.folder, cluster.port, Durability::Off) {
                Ok(server) => {
                    cluster.server = Some(server);
                    step.done();
                    return Ok(cluster);
                }
                Err(failure) if failure.0.contains("Address already in use") => last = failure,
                Err(failure) => return Err(failure),
            }
        }
        Err(last)
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        self.server = None;
        // What is left is in the target folder or a temporary one; the next run makes its own.
        let _ = fs::remove_dir_all(&self.folder);
    }
}
