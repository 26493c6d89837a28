//! A configuration that cannot be used, in one line: key, value, what is allowed.

use std::{fmt::Display, process::ExitCode};

use common_logging::{MASK, is_secret_name, mask_url};
use figment::{
    Figment,
    error::{Error, Kind},
    value::{Num, Value},
};

/// The exit code of a process whose configuration is bad (`EX_CONFIG` of sysexits).
pub const BAD_CONFIGURATION: u8 = 78;
/// The exit code of a process whose command line is bad.
const BAD_USAGE: u8 = 2;

/// Why a process cannot start. The text holds no secret.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The command line is wrong.
    #[error("{0}")]
    Usage(String),
    /// The file, a key or a value is wrong.
    #[error("bad configuration: {0}")]
    Invalid(String),
}

impl ConfigError {
    /// A line that names the key, the value and what is allowed.
    pub fn invalid(line: &(impl Display + ?Sized)) -> Self {
        Self::Invalid(line.to_string())
    }

    /// Ends a process that cannot start.
    pub fn exit_code(&self) -> ExitCode {
        match self {
            Self::Usage(_) => ExitCode::from(BAD_USAGE),
            Self::Invalid(_) => ExitCode::from(BAD_CONFIGURATION),
        }
    }

    /// Only the first of several errors is told: one line.
    pub(super) fn from_figment(error: &Error, figment: &Figment) -> Self {
        let mut path = error.path.clone();
        if let Kind::MissingField(name) = &error.kind {
            path.push(name.to_string());
        }
        if let Kind::UnknownField(name, _) = &error.kind
            && path.last() != Some(name)
        {
            path.push(name.clone());
        }
        let key = path.join(".");
        let source = error.metadata.as_ref().map_or_else(String::new, |source| format!(" (from {})", source.name));
        Self::Invalid(match &error.kind {
            Kind::MissingField(_) => format!("{key} is missing; set it in the file or the environment"),
            Kind::UnknownField(_, known) => format!("{key}{source} is no key; allowed: {}", known.join(", ")),
            kind => format!("{key} = {}{source}: {}", shown_value(&key, figment), reason(&key, kind)),
        })
    }
}

fn reason(key: &str, kind: &Kind) -> String {
    match kind {
        Kind::InvalidType(_, allowed) | Kind::InvalidValue(_, allowed) | Kind::InvalidLength(_, allowed) => {
            format!("allowed: {}", in_plain_words(allowed))
        }
        Kind::UnknownVariant(_, known) => format!("allowed: {}", known.join(", ")),
        _ if is_secret_name(key) => "not allowed".to_owned(),
        Kind::Message(message) => in_plain_words(&mask_url(message)).to_owned(),
        other => mask_url(&other.to_string()).into_owned(),
    }
}

/// Names that only Rust has, in the words of whoever writes the file.
fn in_plain_words(expected: &str) -> &str {
    match expected {
        "u8" => "a whole number from 0 to 255",
        "u16" => "a whole number from 0 to 65535",
        "u32" => "a whole number from 0 to 4294967295",
        "u64" | "usize" => "a whole number from 0 on",
        "i32" | "i64" => "a whole number",
        "a boolean" => "true or false",
        "a duration" => "a duration such as 250ms, 10s or 5m",
        "invalid socket address syntax" => "allowed: ADDRESS:PORT such as 127.0.0.1:8080 or [::1]:0",
        other => other,
    }
}

fn shown_value(key: &str, figment: &Figment) -> String {
    if is_secret_name(key) {
        return MASK.to_owned();
    }
    match figment.find_value(key) {
        Ok(Value::String(_, text)) => format!("{:?}", mask_url(&text)),
        Ok(Value::Num(_, number)) => shown_number(number),
        Ok(Value::Bool(_, yes)) => yes.to_string(),
        Ok(Value::Array(..)) => "a list".to_owned(),
        Ok(Value::Dict(..)) => "a table".to_owned(),
        Ok(_) | Err(_) => "nothing".to_owned(),
    }
}

fn shown_number(number: Num) -> String {
    let whole =
        number.to_i128().map(|whole| whole.to_string()).or_else(|| number.to_u128().map(|whole| whole.to_string()));
    whole.or_else(|| number.to_f64().map(|fraction| fraction.to_string())).unwrap_or_else(|| "a number".to_owned())
}
