//! `cargo xtask token`: a development token, signed with the secret of a data folder.

use std::path::PathBuf;

use crate::outcome::Outcome;
use crate::secret;
use crate::shell::{cargo, root, run};
use crate::up::DEFAULT_DATA;

#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// A name (alice) or a user id.
    #[arg(long)]
    user: String,
    /// ADMIN, SERVICE or USER; may be repeated.
    #[arg(long = "role")]
    roles: Vec<String>,
    /// How long it is good for, such as 30s, 12h or 7d.
    #[arg(long, default_value = "12h")]
    ttl: String,
    /// The data folder of `cargo xtask up`.
    #[arg(long, default_value = DEFAULT_DATA)]
    data_dir: PathBuf,
}

pub(crate) fn token(arguments: &Arguments) -> Outcome {
    let data = root().join(&arguments.data_dir);
    std::fs::create_dir_all(&data).map_err(|error| crate::outcome::Failure(format!("{}: {error}", data.display())))?;
    secret::read_or_make(&data)?;
    let mut command = cargo();
    command.args(["run", "--quiet", "--package", "common-auth", "--bin", "dev-token", "--"]).current_dir(root());
    command.args(["--user", &arguments.user, "--ttl", &arguments.ttl, "--secret-file"]).arg(secret::file(&data));
    for role in &arguments.roles {
        command.args(["--role", role]);
    }
    run(&mut command)
}
