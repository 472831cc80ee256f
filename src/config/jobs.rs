//! Settings of what is in the database: durable jobs, and the log of verdicts.

use serde::Deserialize;

use super::secret::Secret;

/// Files and batches.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
#[allow(missing_docs, reason = "config.default.toml documents each field where users read it")]
pub struct JobsConfig {
    pub database_url: Secret,
    pub concurrency: usize,
    pub attempts: u32,
    pub file_bytes: usize,
    pub lines: i64,
    pub stored_bytes: i64,
    pub batches: i64,
    pub retention_days: u32,
    pub lease_ms: u64,
}

/// The log of verdicts.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
#[allow(missing_docs, reason = "config.default.toml documents each field where users read it")]
pub struct VerdictLogConfig {
    pub enabled: bool,
    pub retention_days: u32,
    pub bytes: i64,
}

impl JobsConfig {
    /// Checks ranges.
    ///
    /// # Errors
    /// With the key, and what it must be.
    pub(super) fn check(&self) -> Result<(), (&'static str, &'static str)> {
        let url = self.database_url.reveal();
        match () {
            () if !url.is_empty() && !url.starts_with("postgres://") && !url.starts_with("postgresql://") => {
                Err(("jobs.database_url", "must begin with postgres://, or be empty for SQLite in the data folder"))
            }
            () if self.attempts == 0 => Err(("jobs.attempts", "must be at least 1")),
            () if self.lease_ms < 5_000 => Err(("jobs.lease_ms", "must be at least 5000")),
            () => Ok(()),
        }
    }
}
