//! Durable jobs: files of requests that are answered whatever happens to the processes that answer them.
//!
//! A batch is read into lines, and workers, one in each process, take lines and answer them. The database is the only
//! place in which the processes meet.

mod error;
mod output;
mod runner;
mod validate;

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Notify, watch};
use ulid::Ulid;

pub use self::error::JobError;
pub use self::output::LineReply;
pub use self::runner::{Execute, LineRequest, Runner};
pub use self::validate::{Fault, Lines, line};
use crate::config::JobsConfig;
use crate::store::{
    BatchRow, BatchStatus, Database, LineKind, Made, NewBatch, NewFile, Once, Outcomes, Page, Store, StoreError, now,
};
pub use crate::store::{BatchStatus as Status, Counted, FileRow};

/// The owner that all files and batches are found under.
pub const EVERYONE: &str = "*";
/// For how long an `Idempotency-Key` is remembered, and an upload may take.
const DAY: Duration = Duration::from_secs(24 * 60 * 60);
/// Bytes of a chunk of a file.
pub const CHUNK: usize = 256 << 10;

/// The files and batches of a server. The database is opened when it is first needed.
pub struct Jobs {
    database: Arc<Database>,
    config: JobsConfig,
    /// Tells the runner that there is something to do.
    wake: Notify,
    /// Whether the runner is to stop, and whether it has stopped.
    stop: watch::Sender<Stop>,
}

/// How far the end of the runner is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stop {
    /// It does not run.
    Idle,
    Running,
    Asked,
}

/// A batch to be made.
#[derive(Debug, Clone)]
pub struct BatchRequest {
    /// The id of its input.
    pub input_file: String,
    /// The route of all its lines; empty: each line names its own.
    pub endpoint: String,
    /// How long it may take.
    pub window: Duration,
    /// A JSON object of the caller's.
    pub metadata: String,
}

impl Jobs {
    /// The jobs in a database.
    #[must_use]
    pub fn new(config: JobsConfig, database: Arc<Database>) -> Self {
        Self { database, config, wake: Notify::new(), stop: watch::Sender::new(Stop::Idle) }
    }

    /// The settings.
    #[must_use]
    pub fn config(&self) -> &JobsConfig {
        &self.config
    }

    /// The open database.
    async fn store(&self) -> Result<&Store, StoreError> {
        self.database.open().await
    }

    /// The open database, for a caller who may find what waits for the runner.
    async fn opened(&self) -> Result<&Store, StoreError> {
        let opened = self.database.open().await?;
        self.wake.notify_one();
        Ok(opened)
    }

    /// Makes an id for a file.
    #[must_use]
    pub fn new_file_id() -> String {
        format!("file-{}", Ulid::new())
    }

    /// Writes a chunk of an upload, of up to [`CHUNK`] bytes or a little more.
    ///
    /// # Errors
    /// Those of the database.
    pub async fn write_chunk(&self, file: &str, number: i64, text: &str) -> Result<(), JobError> {
        Ok(self.store().await?.put_chunk(file, number, text).await?)
    }

    /// Ends an upload. If the same was uploaded under the same key before, that file is returned.
    ///
    /// # Errors
    /// If the owner's files would take too much space, or the key was used for something else: the upload is deleted.
    pub async fn finish_upload(
        &self,
        id: &str,
        owner: &str,
        filename: &str,
        bytes: i64,
        expires_after: Option<Duration>,
        once: Option<Once<'_>>,
    ) -> Result<FileRow, JobError> {
        let store = self.store().await?;
        let created_at = now();
        let kept = expires_after.or_else(|| days(self.config.retention_days));
        let expires_at = kept.map(|kept| created_at + milliseconds(kept));
        let file = NewFile { id, owner, filename, bytes, created_at, expires_at };
        let made = store.put_file(file, self.config.stored_bytes, once).await?;
        if made == Made::New {
            return self.file(id, owner).await;
        }
        store.delete_file(id).await?;
        match made {
            Made::Before(id) => self.file(&id, owner).await,
            Made::OverQuota => Err(JobError::TooMuchStored(self.config.stored_bytes)),
            Made::New | Made::Different => Err(JobError::KeyReused),
        }
    }

    /// Deletes the chunks of an upload that did not end.
    pub async fn drop_upload(&self, id: &str) {
        if let Ok(store) = self.store().await
            && let Err(error) = store.delete_file(id).await
        {
            tracing::warn!(%error, file = id, "an upload that did not end is deleted later");
        }
    }

    /// A file of an owner.
    ///
    /// # Errors
    /// If there is none.
    pub async fn file(&self, id: &str, owner: &str) -> Result<FileRow, JobError> {
        let found = self.store().await?.file(id, owner).await?;
        found.ok_or_else(|| JobError::NoFile(id.to_owned()))
    }

    /// Files of an owner, of a purpose or of any if it is empty.
    ///
    /// # Errors
    /// Those of the database.
    pub async fn files(&self, owner: &str, purpose: &str, page: Page<'_>) -> Result<Vec<FileRow>, JobError> {
        Ok(self.store().await?.files(owner, purpose, page).await?)
    }

    /// Deletes a file of an owner.
    ///
    /// # Errors
    /// If there is none, or a batch still needs it.
    pub async fn delete_file(&self, id: &str, owner: &str) -> Result<(), JobError> {
        let file = self.file(id, owner).await?;
        let store = self.store().await?;
        let waiting = store.batches_that_are(BatchStatus::Validating).await?;
        if waiting.iter().any(|batch| batch.input_file == file.id) {
            return Err(JobError::InUse(file.id));
        }
        Ok(store.delete_file(&file.id).await?)
    }

    /// The next part of a file, from `place`, which begins as the default and goes on as the part says. `None` at the end.
    ///
    /// # Errors
    /// Those of the database.
    pub async fn read(&self, file: &FileRow, place: i64) -> Result<Option<(String, i64)>, JobError> {
        /// Lines at a time.
        const LINES: i64 = 100;
        let store = self.store().await?;
        let Some(batch) = &file.batch else {
            return Ok(store.chunk(&file.id, place).await?.map(|text| (text, place + 1)));
        };
        let row = store.batch(batch, EVERYONE).await?;
        let failed = row.is_some_and(|row| row.error_file.as_deref() == Some(&file.id));
        let kind = if failed { LineKind::Failed } else { LineKind::Ok };
        let lines = store.answers(batch, kind, place - 1, LINES).await?;
        let Some((last, _)) = lines.last() else { return Ok(None) };
        let next = last + 1;
        let text = lines.into_iter().fold(String::new(), |text, (_, line)| text + &line + "\n");
        Ok(Some((text, next)))
    }

    /// Makes a batch. If the same was asked for under the same key before, that batch is returned.
    ///
    /// # Errors
    /// If the input does not exist or is an output, the owner has too many batches, or the key was used for something else.
    pub async fn submit(
        &self,
        owner: &str,
        request: &BatchRequest,
        once: Option<Once<'_>>,
    ) -> Result<BatchRow, JobError> {
        let input = self.file(&request.input_file, owner).await?;
        if input.batch.is_some() {
            return Err(JobError::NotInput(input.id));
        }
        let store = self.store().await?;
        let (id, created_at) = (format!("batch_{}", Ulid::new()), now());
        let batch = NewBatch {
            id: &id,
            // An administrator's batch of another's file stays the other's.
            owner: if owner == EVERYONE { &input.owner } else { owner },
            endpoint: &request.endpoint,
            input_file: &input.id,
            metadata: &request.metadata,
            created_at,
            expires_at: created_at + milliseconds(request.window),
        };
        let made = store.put_batch(batch, self.config.batches, once).await?;
        match made {
            Made::New => self.wake.notify_one(),
            Made::Before(id) => return self.batch(&id, owner).await,
            Made::OverQuota => return Err(JobError::TooManyBatches(self.config.batches)),
            Made::Different => return Err(JobError::KeyReused),
        }
        self.batch(&id, owner).await
    }

    /// A batch of an owner.
    ///
    /// # Errors
    /// If there is none.
    pub async fn batch(&self, id: &str, owner: &str) -> Result<BatchRow, JobError> {
        let found = self.opened().await?.batch(id, owner).await?;
        found.ok_or_else(|| JobError::NoBatch(id.to_owned()))
    }

    /// How many lines of a batch have each outcome.
    ///
    /// # Errors
    /// Those of the database.
    pub async fn outcomes(&self, batch: &str) -> Result<Outcomes, JobError> {
        Ok(self.store().await?.outcomes(batch).await?)
    }

    /// Batches of an owner.
    ///
    /// # Errors
    /// Those of the database.
    pub async fn batches(&self, owner: &str, page: Page<'_>) -> Result<Vec<BatchRow>, JobError> {
        Ok(self.opened().await?.batches(owner, page).await?)
    }

    /// Cancels a batch of an owner.
    ///
    /// # Errors
    /// If there is none, or it has ended.
    pub async fn cancel(&self, id: &str, owner: &str) -> Result<BatchRow, JobError> {
        let batch = self.batch(id, owner).await?;
        if self.store().await?.cancel(&batch.id).await? {
            self.wake.notify_one();
        }
        let batch = self.batch(id, owner).await?;
        if batch.status.has_ended() && batch.status != BatchStatus::Cancelled {
            return Err(JobError::Ended(batch.id, batch.status.name()));
        }
        Ok(batch)
    }

    /// Stops the runner, which gives back what it has not answered; waits until it has.
    pub async fn stop(&self) {
        let mut stopped = self.stop.subscribe();
        self.stop.send_if_modified(|stop| {
            *stop == Stop::Running && {
                *stop = Stop::Asked;
                true
            }
        });
        // The sender is this one, so waiting cannot fail.
        let _ = stopped.wait_for(|stop| *stop == Stop::Idle).await;
    }
}

fn milliseconds(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX / 4)
}

/// A number of days; `None` for 0, which is without end.
fn days(days: u32) -> Option<Duration> {
    (days > 0).then(|| DAY * days)
}
