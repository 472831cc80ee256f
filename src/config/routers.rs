//! The routers of the configuration.

use std::path::PathBuf;

use serde::Deserialize;

use super::{Config, ConfigError};
use crate::domain::consensus::MOST_REVIEWERS;
use crate::domain::routing::{Cut, OutOfRange};

/// A router that requests can name.
#[derive(Debug, Clone, PartialEq, Default, Deserialize)]
#[serde(deny_unknown_fields)]
#[allow(missing_docs, reason = "config.default.toml documents each field where users read it")]
pub struct RouterConfig {
    #[serde(default)]
    pub file: PathBuf,
    pub budget: Option<f64>,
    pub threshold: Option<f64>,
    #[serde(default)]
    pub enqueue: bool,
    #[serde(default = "one")]
    pub reviewers: u32,
}

fn one() -> u32 {
    1
}

impl RouterConfig {
    /// From which score on items go to people.
    ///
    /// # Errors
    /// With the key that is wrong, and why.
    pub fn cut(&self) -> Result<Cut, (&'static str, String)> {
        let of = |key: &'static str| move |error: OutOfRange| (key, error.to_string());
        match (self.budget, self.threshold) {
            (Some(_), Some(_)) => Err(("threshold", "set one of budget and threshold".to_owned())),
            (Some(budget), None) => Cut::budget(budget).map_err(of("budget")),
            (None, Some(threshold)) => Cut::threshold(threshold).map_err(of("threshold")),
            (None, None) => Ok(Cut::default()),
        }
    }
}

impl Config {
    /// Checks the numbers of each router; its file is read when the server is built.
    pub(super) fn check_routers(&self) -> Result<(), ConfigError> {
        for (name, router) in &self.routers {
            let wrong = |at: &str, reason: String| ConfigError::Router { name: name.clone(), at: at.into(), reason };
            router.cut().map_err(|(key, reason)| wrong(key, reason))?;
            if !(1..=MOST_REVIEWERS).contains(&router.reviewers) {
                return Err(wrong("reviewers", format!("must be 1 to {MOST_REVIEWERS}")));
            }
        }
        Ok(())
    }
}
