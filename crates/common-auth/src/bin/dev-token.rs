//! Prints a token for development on standard output.

use std::{error::Error, fs, io::Write, path::PathBuf, process::ExitCode, time::Duration};

use clap::Parser;
use common_auth::{AuthConfig, Claims, Role, TokenIssuer, UnixTime, development_user_id};
use secrecy::{ExposeSecret, SecretString};
use uuid::Uuid;

/// Makes a token for development, signed with the servers' `[auth] secret`: the one in the environment variable
/// CHAT_AUTH_SECRET, or in the file named by `--secret-file`.
#[derive(Parser)]
#[command(name = "dev-token")]
struct Arguments {
    /// A name (its id is derived from it) or a user id.
    #[arg(long)]
    user: String,
    /// ADMIN, SERVICE or USER; may be repeated.
    #[arg(long = "role")]
    roles: Vec<Role>,
    /// How long the token is good for, such as 30s, 12h or 7d.
    #[arg(long, default_value = "12h", value_parser = humantime::parse_duration)]
    ttl: Duration,
    /// The claim `iss`.
    #[arg(long)]
    issuer: Option<String>,
    /// The claim `aud`.
    #[arg(long)]
    audience: Option<String>,
    /// The file that holds the secret; white space at its end is ignored.
    #[arg(long)]
    secret_file: Option<PathBuf>,
}

fn main() -> ExitCode {
    let printed =
        token(&Arguments::parse()).and_then(|token| Ok(writeln!(std::io::stdout(), "{}", token.expose_secret())?));
    match printed {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // Nobody is left to tell when standard error is closed.
            let _ = writeln!(std::io::stderr(), "dev-token: {error}");
            ExitCode::FAILURE
        }
    }
}

fn token(arguments: &Arguments) -> Result<SecretString, Box<dyn Error>> {
    let config = AuthConfig { secret: secret(arguments)?, ..AuthConfig::default() };
    config.check()?;

    let (user_id, username) = match Uuid::try_parse(&arguments.user) {
        Ok(id) => (id, None),
        Err(_) => (development_user_id(&arguments.user), Some(arguments.user.to_lowercase())),
    };
    let mut claims = Claims::new(user_id, now()?, i64::try_from(arguments.ttl.as_secs())?);
    claims.preferred_username = username;
    claims.iss = arguments.issuer.clone();
    claims.aud = arguments.audience.clone();
    claims.roles = if arguments.roles.is_empty() { vec![Role::User] } else { arguments.roles.clone() };
    Ok(TokenIssuer::new(&config.secret).issue(&claims)?)
}

fn secret(arguments: &Arguments) -> Result<SecretString, Box<dyn Error>> {
    if let Some(path) = &arguments.secret_file {
        let text = fs::read_to_string(path).map_err(|error| format!("cannot read {}: {error}", path.display()))?;
        return Ok(text.trim_end().into());
    }
    #[expect(clippy::disallowed_methods, reason = "this tool is no server and has no configuration")]
    let secret = std::env::var("CHAT_AUTH_SECRET").map_err(|_| "set CHAT_AUTH_SECRET or give --secret-file")?;
    Ok(secret.into())
}

#[expect(clippy::disallowed_methods, reason = "the wall clock enters here and is passed on")]
fn now() -> Result<UnixTime, Box<dyn Error>> {
    let since_1970 = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH)?;
    Ok(UnixTime::from_secs(i64::try_from(since_1970.as_secs())?))
}
