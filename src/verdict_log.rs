//! The log of verdicts: each verdict with its request, so that it can be looked up and graded again.
//!
//! Requests do not wait for it. If the database is away for so long that too many verdicts wait, further ones are left
//! out, which the log and a metric say.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, watch};

use crate::config::VerdictLogConfig;
use crate::metrics::Metrics;
use crate::store::{Database, Page, StoreError, VerdictFilter, VerdictRow};

/// Verdicts that may wait for the database.
const WAITING: usize = 10_000;
/// Verdicts that are written at once.
const GROUP: usize = 200;
/// The time between attempts, and between looks for what is too old.
const PAUSE: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_secs(60);

/// The log of verdicts of a server; off unless the settings say so.
pub struct VerdictLog {
    database: Arc<Database>,
    config: VerdictLogConfig,
    metrics: Arc<Metrics>,
    sender: mpsc::Sender<VerdictRow>,
    /// Until the writer has taken it.
    receiver: std::sync::Mutex<Option<mpsc::Receiver<VerdictRow>>>,
    /// Whether the writer is to end, or has ended.
    ends: watch::Sender<bool>,
}

impl VerdictLog {
    /// A log in the database.
    #[must_use]
    pub fn new(config: VerdictLogConfig, database: Arc<Database>, metrics: Arc<Metrics>) -> Self {
        let (sender, receiver) = mpsc::channel(WAITING);
        let (receiver, ends) = (std::sync::Mutex::new(Some(receiver)), watch::Sender::new(true));
        Self { database, config, metrics, sender, receiver, ends }
    }

    /// Whether verdicts are kept.
    #[must_use]
    pub fn on(&self) -> bool {
        self.config.enabled
    }

    /// Keeps a verdict, at once or a little later.
    pub fn keep(&self, row: VerdictRow) {
        if self.sender.try_send(row).is_err() {
            self.metrics.verdicts_not_logged.inc();
            tracing::error!("a verdict is not in the log of verdicts: too many wait for the database");
        }
    }

    /// A verdict of an owner; `*` finds those of all.
    ///
    /// # Errors
    /// Those of the database.
    pub async fn find(&self, id: &str, owner: &str) -> Result<Option<VerdictRow>, StoreError> {
        self.database.open().await?.verdict(id, owner).await
    }

    /// Verdicts of an owner, or all of `*`.
    ///
    /// # Errors
    /// Those of the database.
    pub async fn list(
        &self,
        owner: &str,
        filter: VerdictFilter<'_>,
        page: Page<'_>,
    ) -> Result<Vec<VerdictRow>, StoreError> {
        self.database.open().await?.verdicts(owner, filter, page).await
    }

    /// Writes what is kept, until [`VerdictLog::stop`].
    pub async fn write(self: Arc<Self>) {
        let taken = self.receiver.lock().unwrap_or_else(std::sync::PoisonError::into_inner).take();
        let Some(mut receiver) = taken.filter(|_| self.on()) else { return };
        self.ends.send_replace(false);
        let mut asked = self.ends.subscribe();
        let (mut group, mut looked) = (Vec::new(), None::<std::time::Instant>);
        loop {
            let ending = tokio::select! {
                _ = receiver.recv_many(&mut group, GROUP) => false,
                // The sender lives as long as the log.
                _ = asked.changed() => true,
            };
            while ending && let Ok(row) = receiver.try_recv() {
                group.push(row);
            }
            while let Err(error) = self.put(&group).await {
                tracing::warn!(%error, waiting = group.len(), "the log of verdicts waits for the database");
                if ending {
                    break;
                }
                tokio::time::sleep(PAUSE).await;
            }
            group.clear();
            if ending {
                self.ends.send_replace(true);
                return;
            }
            if looked.is_none_or(|looked| looked.elapsed() >= MINUTE) {
                looked = Some(std::time::Instant::now());
                self.purge().await;
            }
        }
    }

    async fn put(&self, group: &[VerdictRow]) -> Result<(), StoreError> {
        if group.is_empty() { Ok(()) } else { self.database.open().await?.put_verdicts(group).await }
    }

    async fn purge(&self) {
        let days = i64::from(self.config.retention_days);
        let age = if days == 0 { i64::MAX / 4 } else { days * 86_400_000 };
        let bytes = if self.config.bytes == 0 { i64::MAX } else { self.config.bytes };
        let purged = async { self.database.open().await?.purge_verdicts(age, bytes).await };
        if let Err(error) = purged.await {
            tracing::warn!(%error, "old verdicts are deleted later");
        }
    }

    /// Ends the writer, which writes what waits before.
    pub async fn stop(&self) {
        let mut ends = self.ends.subscribe();
        if *ends.borrow_and_update() {
            return;
        }
        // Told, and told back.
        self.ends.send_replace(false);
        // The sender is this one, so waiting cannot fail.
        let _ = ends.wait_for(|ended| *ended).await;
    }
}
