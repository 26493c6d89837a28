//! How fields are read and shown.

use common_logging::{MASK, mask_url};
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Deserializer, Serializer};

/// `serialize_with`: shows only whether there is a secret.
///
/// # Errors
/// Those of the serializer.
pub fn secret<S: Serializer>(secret: &SecretString, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(if secret.expose_secret().is_empty() { "" } else { MASK })
}

/// `serialize_with`: shows a URL without its password.
///
/// # Errors
/// Those of the serializer.
pub fn secret_url<S: Serializer>(url: &SecretString, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&mask_url(url.expose_secret()))
}

/// `serialize_with`: shows a URL without its password, if there is one.
///
/// # Errors
/// Those of the serializer.
pub fn secret_url_option<S: Serializer>(url: &Option<SecretString>, serializer: S) -> Result<S::Ok, S::Error> {
    match url {
        Some(url) => serializer.serialize_some(&mask_url(url.expose_secret())),
        None => serializer.serialize_none(),
    }
}

/// `deserialize_with`: a list, or one text with commas as the environment has it.
///
/// # Errors
/// The value is neither.
pub fn comma_list<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<String>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged, expecting = "allowed: a list of texts, or one text with commas")]
    enum List {
        Text(String),
        Items(Vec<String>),
    }
    Ok(match List::deserialize(deserializer)? {
        List::Items(items) => items,
        List::Text(text) => {
            text.split(',').map(|item| item.trim().to_owned()).filter(|item| !item.is_empty()).collect()
        }
    })
}
