//! The usage of API keys, kept in the database: it survives restarts, and processes that share a database add up.
//!
//! Requests do not wait for it: each process counts, and adds what it has counted to the database every few seconds and
//! at its end.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tokio::sync::{Mutex, watch};

use crate::keys::{KeyStore, KeyUsage};
use crate::store::{Database, KeyUsageRow, StoreError};

/// The time between two writes; what a process counts after the last one is lost if it is killed.
const EVERY: Duration = Duration::from_secs(5);
/// The name that stands for all keys, which no key has.
pub const ALL: &str = "*";

/// The usage of the keys of a server.
pub struct UsageLog {
    keys: Arc<KeyStore>,
    database: Arc<Database>,
    /// Held while usage moves to the database, or is read, so that none is counted twice or left out.
    moving: Mutex<()>,
    ended: watch::Sender<bool>,
}

/// What keys have used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Totals {
    /// When counting began for the first of them.
    pub since: SystemTime,
    /// By the names of the keys.
    pub keys: BTreeMap<String, KeyUsage>,
}

impl UsageLog {
    /// The usage of some keys, in a database.
    #[must_use]
    pub fn new(keys: Arc<KeyStore>, database: Arc<Database>) -> Self {
        Self { keys, database, moving: Mutex::default(), ended: watch::Sender::new(false) }
    }

    /// What a key has used, or with [`ALL`] all of them: in the database, and in this process since the last write.
    ///
    /// # Errors
    /// Those of the database.
    pub async fn totals(&self, key: &str) -> Result<Totals, StoreError> {
        let _moving = self.moving.lock().await;
        // Reading makes no database.
        let stored =
            if self.database.exists() { self.database.open().await?.key_usage(key).await? } else { Vec::new() };
        let first = stored.iter().map(|row| UNIX_EPOCH + Duration::from_millis(row.since.unsigned_abs())).min();
        let since = first.map_or(self.keys.since(), |first| first.min(self.keys.since()));
        let mut keys: BTreeMap<String, KeyUsage> = stored.into_iter().map(used).collect();
        for (name, more) in self.keys.unstored().into_iter().filter(|(name, _)| name == key || key == ALL) {
            let total = keys.entry(name).or_default();
            *total = total.plus(more);
        }
        Ok(Totals { since, keys })
    }

    /// Writes from time to time, until [`UsageLog::stop`]. While no key is used, nothing is written.
    pub async fn write(self: Arc<Self>) {
        let mut ended = self.ended.subscribe();
        let mut failing = false;
        // The sender lives as long as the log.
        while tokio::time::timeout(EVERY, ended.wait_for(|ended| *ended)).await.is_err() {
            let written = self.store().await;
            if let (Err(error), false) = (&written, failing) {
                tracing::warn!(%error, "the usage of keys waits for the database");
            }
            failing = written.is_err();
        }
    }

    /// Ends the writer, after a last write.
    ///
    /// # Errors
    /// Those of the database; what it does not have is lost.
    pub async fn stop(&self) -> Result<(), StoreError> {
        self.ended.send_replace(true);
        self.store().await
    }

    /// Adds what was counted to the database.
    async fn store(&self) -> Result<(), StoreError> {
        let _moving = self.moving.lock().await;
        let mut counted = self.keys.unstored();
        counted.retain(|(_, used)| *used != KeyUsage::default());
        if counted.is_empty() {
            return Ok(());
        }
        let since = self.keys.since().duration_since(UNIX_EPOCH).unwrap_or_default();
        let since = i64::try_from(since.as_millis()).unwrap_or(i64::MAX);
        let rows: Vec<KeyUsageRow> = counted.iter().map(|(key, used)| row(key, since, *used)).collect();
        self.database.open().await?.add_key_usage(&rows).await?;
        self.keys.stored(&counted);
        Ok(())
    }
}

fn row(key: &str, since: i64, used: KeyUsage) -> KeyUsageRow {
    let number = |count: u64| i64::try_from(count).unwrap_or(i64::MAX);
    KeyUsageRow {
        key: key.to_owned(),
        since,
        requests: number(used.requests),
        judgements: number(used.judgements),
        prompt_tokens: number(used.prompt_tokens),
        completion_tokens: number(used.completion_tokens),
    }
}

fn used(row: KeyUsageRow) -> (String, KeyUsage) {
    let number = |count: i64| u64::try_from(count).unwrap_or_default();
    let used = KeyUsage {
        requests: number(row.requests),
        judgements: number(row.judgements),
        prompt_tokens: number(row.prompt_tokens),
        completion_tokens: number(row.completion_tokens),
    };
    (row.key, used)
}
