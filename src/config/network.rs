//! Settings of connections: TLS, and pages of other origins.

use std::path::PathBuf;

use serde::Deserialize;

/// TLS.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
#[allow(missing_docs, reason = "config.default.toml documents each field where users read it")]
pub struct TlsConfig {
    pub certificate: PathBuf,
    pub key: PathBuf,
}

/// Pages of other origins.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
#[allow(missing_docs, reason = "config.default.toml documents each field where users read it")]
pub struct CorsConfig {
    pub origins: Vec<String>,
}

impl TlsConfig {
    /// Whether connections are encrypted.
    #[must_use]
    pub fn on(&self) -> bool {
        !self.certificate.as_os_str().is_empty()
    }

    pub(super) fn check(&self) -> Result<(), (&'static str, &'static str)> {
        if self.on() == self.key.as_os_str().is_empty() {
            return Err(("tls.certificate", "and tls.key must both be set, or neither"));
        }
        Ok(())
    }
}

impl CorsConfig {
    /// Whether pages of any origin may send requests.
    #[must_use]
    pub fn any(&self) -> bool {
        self.origins.iter().any(|origin| origin == "*")
    }

    pub(super) fn check(&self) -> Result<(), (&'static str, &'static str)> {
        let is_origin = |origin: &String| {
            let host = origin.strip_prefix("https://").or_else(|| origin.strip_prefix("http://"));
            origin == "*" || host.is_some_and(|host| !host.is_empty() && !host.contains('/'))
        };
        let fine = self.origins.iter().all(is_origin);
        if fine { Ok(()) } else { Err(("cors.origins", "must be `*`, or origins such as https://judge.example.org")) }
    }
}
