//! Keeping passwords and tokens out of logs and print-outs.

use std::borrow::Cow;

#[cfg(test)]
mod tests;

/// What stands in the place of a secret.
pub const MASK: &str = "***";

/// Names of query parameters and of log fields (the part behind the last dot) whose values are secrets.
const SECRET_NAMES: [&str; 7] =
    ["access_token", "authorization", "cookie", "password", "secret", "sslpassword", "token"];

/// The text with the passwords (`scheme://user:password@host`) and the secret query values (`?access_token=…`) of all
/// URLs in it replaced by [`MASK`].
pub fn mask_url(text: &str) -> Cow<'_, str> {
    let mut masked = Cow::Borrowed(text);
    if text.contains("://") && text.contains('@') {
        masked = Cow::Owned(mask_passwords(&masked));
    }
    if text.contains('=') {
        masked = Cow::Owned(mask_values(&masked));
    }
    masked
}

/// Is a value with this (dotted) name a secret?
pub fn is_secret_name(name: &str) -> bool {
    let last = name.rsplit('.').next().unwrap_or(name);
    SECRET_NAMES.iter().any(|secret| secret.eq_ignore_ascii_case(last))
}

fn mask_passwords(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once("://") {
        out.push_str(before);
        out.push_str("://");
        let authority = &after[..after.find(ends_authority).unwrap_or(after.len())];
        rest = after;
        let Some(end) = authority.rfind('@') else { continue };
        let Some((user, _)) = authority[..end].split_once(':') else { continue };
        out.push_str(user);
        out.push(':');
        out.push_str(MASK);
        rest = &after[end..];
    }
    out.push_str(rest);
    out
}

fn mask_values(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('=') {
        out.push_str(before);
        out.push('=');
        rest = after;
        let name = &before[before.rfind(ends_name).map_or(0, |at| at + 1)..];
        if is_secret_name(name) {
            out.push_str(MASK);
            rest = &after[after.find(ends_value).unwrap_or(after.len())..];
        }
    }
    out.push_str(rest);
    out
}

fn ends_authority(c: char) -> bool {
    matches!(c, '/' | '?' | '#' | '"' | '\'') || c.is_whitespace()
}

fn ends_name(c: char) -> bool {
    c.is_ascii() && !c.is_ascii_alphanumeric() && !matches!(c, '_' | '-' | '.')
}

fn ends_value(c: char) -> bool {
    matches!(c, '&' | '#' | ';' | '"' | '\'') || c.is_whitespace()
}
