//! The section `[trace]` of a server's configuration.

use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Serialize, Serializer};
use url::Url;

use super::TraceError;
use crate::mask_url;

/// Which requests are traced, and where the traces go.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct TraceConfig {
    /// A collector that takes OTLP over HTTP, such as `http://127.0.0.1:4318`; `/v1/traces` is added. Without one nothing
    /// is traced. None by default.
    #[serde(serialize_with = "masked", skip_serializing_if = "Option::is_none")]
    pub otlp_endpoint: Option<SecretString>,
    /// The share of requests without a `traceparent` that are traced, 0 to 1. A `traceparent` decides itself. Default 0.01.
    pub sample: f64,
}

impl Default for TraceConfig {
    fn default() -> Self {
        Self { otlp_endpoint: None, sample: 0.01 }
    }
}

impl TraceConfig {
    /// Are the values within their bounds?
    ///
    /// # Errors
    /// The first key whose value is not allowed, and what is.
    pub fn check(&self) -> Result<(), TraceError> {
        if !(0.0..=1.0).contains(&self.sample) {
            return Err(TraceError::Config(format!("trace.sample = {}; allowed: 0 to 1", self.sample)));
        }
        self.collector().map(|_| ())
    }

    /// Where the spans are posted to.
    pub(super) fn collector(&self) -> Result<Option<Url>, TraceError> {
        let Some(endpoint) = &self.otlp_endpoint else { return Ok(None) };
        let mut url = endpoint.expose_secret().parse().ok().filter(is_http).ok_or_else(|| {
            let shown = mask_url(endpoint.expose_secret());
            TraceError::Config(format!(
                "trace.otlp_endpoint = {shown:?}; allowed: http://HOST:PORT (for https, put a collector beside the server)"
            ))
        })?;
        let path = format!("{}/v1/traces", url.path().trim_end_matches('/'));
        url.set_path(&path);
        Ok(Some(url))
    }
}

fn is_http(url: &Url) -> bool {
    url.scheme() == "http" && url.has_host()
}

fn masked<S: Serializer>(url: &Option<SecretString>, serializer: S) -> Result<S::Ok, S::Error> {
    match url {
        Some(url) => serializer.serialize_some(&mask_url(url.expose_secret())),
        None => serializer.serialize_none(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(endpoint: &str) -> TraceConfig {
        TraceConfig { otlp_endpoint: Some(endpoint.into()), sample: 1.0 }
    }

    #[test]
    fn the_path_is_added() {
        let collector = |endpoint: &str| config(endpoint).collector().unwrap().unwrap().to_string();
        assert_eq!(collector("http://127.0.0.1:4318"), "http://127.0.0.1:4318/v1/traces");
        assert_eq!(collector("http://h:1/otlp/?key=a"), "http://h:1/otlp/v1/traces?key=a");
        assert!(TraceConfig::default().collector().unwrap().is_none());
    }

    #[test]
    fn bad_values_are_named_and_secrets_are_not() {
        for endpoint in
            ["", "collector", "127.0.0.1:4318", "https://u:hush@h", "grpc://u:hush@h", "http://u:hush@:99999"]
        {
            let error = config(endpoint).check().unwrap_err().to_string();
            assert!(error.contains("trace.otlp_endpoint") && !error.contains("hush"), "{error}");
        }
        for sample in [-0.1, 1.1, f64::NAN, f64::INFINITY] {
            let error = TraceConfig { sample, ..TraceConfig::default() }.check().unwrap_err().to_string();
            assert!(error.contains("trace.sample = "), "{error}");
        }
        assert!(config("http://u:hush@h:4318").check().is_ok());
    }

    #[test]
    fn secrets_are_not_printed() {
        let config = config("http://user:hush@h:4318/?token=hush");
        let printed = serde_json::to_string(&config).unwrap();
        assert!(printed.contains("http://user:***@h:4318/?token=***"), "{printed}");
        assert!(!format!("{config:?}").contains("hush"));
    }
}
