//! Batches: what each is, how far it is, and how it ends.

use sqlx::any::AnyRow;
use sqlx::{Any, Transaction};

use super::files::Page;
use super::idempotency::{Made, Once};
use super::{Store, StoreError, column};

/// How far a batch is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BatchStatus {
    /// Its input waits to be read, or is being read.
    Validating,
    /// Its lines are worked on.
    InProgress,
    /// Its lines that wait are left out, and those in progress are stopped.
    Cancelling,
    /// Its time is over, and its lines that wait are answered with that.
    Expiring,
    /// Every line is answered.
    Completed,
    /// Its input was refused.
    Failed,
    /// Its time was over before every line was answered.
    Expired,
    /// It was cancelled.
    Cancelled,
}

/// The names of the states in the database.
const NAMES: [(BatchStatus, &str); 8] = [
    (BatchStatus::Validating, "validating"),
    (BatchStatus::InProgress, "in_progress"),
    (BatchStatus::Cancelling, "cancelling"),
    (BatchStatus::Expiring, "expiring"),
    (BatchStatus::Completed, "completed"),
    (BatchStatus::Failed, "failed"),
    (BatchStatus::Expired, "expired"),
    (BatchStatus::Cancelled, "cancelled"),
];
/// The states in which something is still to be done.
const ACTIVE: &str = "('validating', 'in_progress', 'cancelling', 'expiring')";

impl BatchStatus {
    /// The name in the database.
    #[must_use]
    pub fn name(self) -> &'static str {
        NAMES.iter().find(|(status, _)| *status == self).map_or("", |(_, name)| name)
    }

    /// Whether nothing is to be done any more.
    #[must_use]
    pub fn has_ended(self) -> bool {
        matches!(self, Self::Completed | Self::Failed | Self::Expired | Self::Cancelled)
    }

    fn read(name: &str) -> Result<Self, sqlx::Error> {
        let found = NAMES.iter().find(|(_, known)| *known == name).map(|(status, _)| *status);
        found.ok_or_else(|| sqlx::Error::Decode(format!("the unknown state `{name}`").into()))
    }
}

/// A batch. Times are milliseconds since 1970.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs, reason = "the fields are those of OpenAI's batches")]
pub struct BatchRow {
    pub id: String,
    pub owner: String,
    pub endpoint: String,
    pub input_file: String,
    pub output_file: Option<String>,
    pub error_file: Option<String>,
    pub status: BatchStatus,
    /// A JSON object.
    pub metadata: String,
    /// A JSON list.
    pub errors: Option<String>,
    pub counted: Counted,
    /// How often the reading of its input was begun, with this time if that is being done.
    pub reads: i64,
    pub created_at: i64,
    pub in_progress_at: Option<i64>,
    pub cancelling_at: Option<i64>,
    pub ended_at: Option<i64>,
    pub expires_at: i64,
}

/// How many lines of a batch there are, were answered well, and were answered with an error.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[allow(missing_docs, reason = "the type says it")]
pub struct Counted {
    pub total: i64,
    pub completed: i64,
    pub failed: i64,
}

/// How many lines have each outcome: `ok`, or the code of an error.
pub type Outcomes = Vec<(String, i64)>;

/// A batch to be made. Times are milliseconds since 1970.
#[derive(Debug, Clone, Copy)]
#[allow(missing_docs, reason = "the fields are those of the batch")]
pub struct NewBatch<'a> {
    pub id: &'a str,
    pub owner: &'a str,
    /// Empty: each line may name another.
    pub endpoint: &'a str,
    pub input_file: &'a str,
    /// A JSON object.
    pub metadata: &'a str,
    pub created_at: i64,
    pub expires_at: i64,
}

impl BatchRow {
    fn read(row: &AnyRow) -> Result<Self, sqlx::Error> {
        Ok(Self {
            id: column(row, "id")?,
            owner: column(row, "owner")?,
            endpoint: column(row, "endpoint")?,
            input_file: column(row, "input_file")?,
            output_file: column(row, "output_file")?,
            error_file: column(row, "error_file")?,
            status: BatchStatus::read(column(row, "status")?)?,
            metadata: column(row, "metadata")?,
            errors: column(row, "errors")?,
            counted: Counted {
                total: column(row, "total")?,
                completed: column(row, "completed")?,
                failed: column(row, "failed")?,
            },
            reads: column(row, "reads")?,
            created_at: column(row, "created_at")?,
            in_progress_at: column(row, "in_progress_at")?,
            cancelling_at: column(row, "cancelling_at")?,
            ended_at: column(row, "ended_at")?,
            expires_at: column(row, "expires_at")?,
        })
    }
}

impl Store {
    /// Makes a batch, unless its owner has `most` already that have not ended.
    ///
    /// # Errors
    /// Those of the database.
    pub async fn put_batch(&self, batch: NewBatch<'_>, most: i64, once: Option<Once<'_>>) -> Result<Made, StoreError> {
        let mut transaction = self.begin().await?;
        if let Some(before) = self.once(&mut transaction, batch.owner, once, batch.id).await? {
            return Ok(before);
        }
        let inserted = format!(
            "INSERT INTO batches (id, owner, endpoint, input_file, status, metadata, created_at, expires_at) \
             SELECT $1, $2, $3, $4, 'validating', $5, CAST($6 AS BIGINT), CAST($7 AS BIGINT) \
             WHERE (SELECT COUNT(*) FROM batches WHERE owner = $2 AND status IN {ACTIVE}) < $8"
        );
        let inserted = sqlx::query(&inserted).bind(batch.id).bind(batch.owner).bind(batch.endpoint);
        let inserted = inserted.bind(batch.input_file).bind(batch.metadata).bind(batch.created_at);
        let inserted = inserted.bind(batch.expires_at).bind(most).execute(&mut *transaction).await;
        if inserted.map_err(|error| self.failed(error))?.rows_affected() == 0 {
            return Ok(Made::OverQuota);
        }
        transaction.commit().await.map_err(|error| self.failed(error))?;
        Ok(Made::New)
    }

    /// A batch. Batches of others are not found; `owner` `*` finds all.
    ///
    /// # Errors
    /// Those of the database.
    pub async fn batch(&self, id: &str, owner: &str) -> Result<Option<BatchRow>, StoreError> {
        let found = sqlx::query("SELECT * FROM batches WHERE id = $1 AND (owner = $2 OR $2 = '*')");
        let found = found.bind(id).bind(owner).fetch_optional(&self.pool).await.map_err(|error| self.failed(error))?;
        found.as_ref().map(BatchRow::read).transpose().map_err(|error| self.failed(error))
    }

    /// Batches of an owner, or all of `*`.
    ///
    /// # Errors
    /// Those of the database.
    pub async fn batches(&self, owner: &str, page: Page<'_>) -> Result<Vec<BatchRow>, StoreError> {
        let listed = format!("SELECT * FROM batches WHERE (owner = $1 OR $1 = '*') AND {}", page.clause("$2", "$3"));
        let listed = sqlx::query(&listed).bind(owner).bind(page.begin()).bind(page.limit);
        self.batch_rows(listed.fetch_all(&self.pool).await)
    }

    /// The batches with a state, the oldest first.
    ///
    /// # Errors
    /// Those of the database.
    pub async fn batches_that_are(&self, status: BatchStatus) -> Result<Vec<BatchRow>, StoreError> {
        let listed = sqlx::query("SELECT * FROM batches WHERE status = $1 ORDER BY id").bind(status.name());
        self.batch_rows(listed.fetch_all(&self.pool).await)
    }

    fn batch_rows(&self, rows: Result<Vec<AnyRow>, sqlx::Error>) -> Result<Vec<BatchRow>, StoreError> {
        let read = rows.and_then(|rows| rows.iter().map(BatchRow::read).collect());
        read.map_err(|error| self.failed(error))
    }

    /// Takes a batch whose input nobody reads yet, or this worker did not read to its end; first the one whose reading was
    /// begun least often, so that an input that cannot be read does not hold up others, and of these the oldest. What was
    /// read of it is deleted.
    ///
    /// # Errors
    /// Those of the database.
    pub async fn take_input(&self, worker: &str) -> Result<Option<BatchRow>, StoreError> {
        let mut transaction = self.begin().await?;
        if !self.hold_worker(&mut transaction, worker).await? {
            return Ok(None);
        }
        let taken = self.sql(
            "WITH next AS MATERIALIZED (SELECT id AS taken FROM batches \
             WHERE status = 'validating' AND (worker IS NULL OR worker = $1) ORDER BY reads, id LIMIT 1 {skip_locked}) \
             UPDATE batches SET worker = $1, reads = reads + 1 FROM next WHERE batches.id = next.taken RETURNING *",
        );
        let taken = sqlx::query(&taken).bind(worker).fetch_optional(&mut *transaction).await;
        let taken = taken.and_then(|row| row.as_ref().map(BatchRow::read).transpose());
        let Some(batch) = taken.map_err(|error| self.failed(error))? else { return Ok(None) };
        let deleted =
            sqlx::query("DELETE FROM lines WHERE batch = $1").bind(&batch.id).execute(&mut *transaction).await;
        deleted.map_err(|error| self.failed(error))?;
        transaction.commit().await.map_err(|error| self.failed(error))?;
        Ok(Some(batch))
    }

    /// Ends the reading of an input: its lines may be worked on, or get answers that its time is over, or it is refused for
    /// `errors`, a JSON list. Returns false if it was no longer the worker's.
    ///
    /// # Errors
    /// Those of the database.
    pub async fn input_read(
        &self,
        batch: &str,
        worker: &str,
        total: i64,
        errors: Option<&str>,
    ) -> Result<bool, StoreError> {
        let mut transaction = self.begin().await?;
        let (status, time) = match errors {
            None => ("CASE WHEN expires_at < {now} THEN 'expiring' ELSE 'in_progress' END", "in_progress_at"),
            Some(_) => ("'failed'", "ended_at"),
        };
        let read = self.sql(&format!(
            "UPDATE batches SET status = {status}, {time} = {{now}}, total = $3, errors = $4, worker = NULL \
             WHERE id = $1 AND worker = $2 AND status = 'validating'"
        ));
        let read = sqlx::query(&read).bind(batch).bind(worker).bind(total).bind(errors);
        let read = read.execute(&mut *transaction).await.map_err(|error| self.failed(error))?.rows_affected() == 1;
        if read && errors.is_some() {
            let deleted =
                sqlx::query("DELETE FROM lines WHERE batch = $1").bind(batch).execute(&mut *transaction).await;
            deleted.map_err(|error| self.failed(error))?;
        }
        transaction.commit().await.map_err(|error| self.failed(error))?;
        Ok(read)
    }

    /// Cancels a batch that has not ended. Returns whether it was cancelled by this.
    ///
    /// # Errors
    /// Those of the database.
    pub async fn cancel(&self, batch: &str) -> Result<bool, StoreError> {
        let cancelled = self.sql(
            "UPDATE batches SET status = 'cancelling', cancelling_at = {now}, worker = NULL \
             WHERE id = $1 AND status IN ('validating', 'in_progress', 'expiring')",
        );
        let cancelled = sqlx::query(&cancelled).bind(batch).execute(&self.pool).await;
        Ok(cancelled.map_err(|error| self.failed(error))?.rows_affected() == 1)
    }

    /// Lets no more lines of batches begin whose time is over. An input is read to its end before, so that every line of it
    /// has an answer.
    ///
    /// # Errors
    /// Those of the database.
    pub async fn expire_batches(&self) -> Result<u64, StoreError> {
        let expired = self.sql(
            "UPDATE batches SET status = 'expiring', worker = NULL \
             WHERE expires_at < {now} AND status = 'in_progress'",
        );
        let expired = sqlx::query(&expired).execute(&self.pool).await.map_err(|error| self.failed(error))?;
        Ok(expired.rows_affected())
    }

    /// How many lines of a batch have each outcome, the most frequent first.
    ///
    /// # Errors
    /// Those of the database.
    pub async fn outcomes(&self, batch: &str) -> Result<Outcomes, StoreError> {
        let counted = "SELECT outcome, COUNT(*) AS lines FROM lines WHERE batch = $1 AND outcome IS NOT NULL \
             GROUP BY outcome ORDER BY lines DESC, outcome";
        let rows = sqlx::query(counted).bind(batch).fetch_all(&self.pool).await;
        let read =
            rows.and_then(|rows| rows.iter().map(|row| Ok((column(row, "outcome")?, column(row, "lines")?))).collect());
        read.map_err(|error| self.failed(error))
    }

    /// Ends a batch none of whose lines is worked on: its answers become files, which expire at `expires_at`.
    ///
    /// # Errors
    /// Those of the database.
    pub async fn end_batch(
        &self,
        batch: &BatchRow,
        to: BatchStatus,
        expires_at: Option<i64>,
    ) -> Result<bool, StoreError> {
        let mut transaction = self.begin().await?;
        // The row is locked by this, so that only one worker ends it.
        let ended = self.sql(
            "UPDATE batches SET status = $2, ended_at = {now} WHERE id = $1 AND status = $3 \
             AND NOT EXISTS (SELECT 1 FROM lines WHERE batch = $1 AND outcome IS NULL AND worker IS NOT NULL)",
        );
        let ended = sqlx::query(&ended).bind(&batch.id).bind(to.name()).bind(batch.status.name());
        let ended = ended.execute(&mut *transaction).await.map_err(|error| self.failed(error))?;
        if ended.rows_affected() == 0 {
            return Ok(false);
        }
        for (column, name, lines) in [("output_file", "output", "= 'ok'"), ("error_file", "errors", "<> 'ok'")] {
            self.output(&mut transaction, batch, column, name, lines, expires_at).await?;
        }
        transaction.commit().await.map_err(|error| self.failed(error))?;
        Ok(true)
    }

    /// Makes a file of the lines of a batch with some outcomes, if there are any.
    async fn output(
        &self,
        transaction: &mut Transaction<'static, Any>,
        batch: &BatchRow,
        column: &str,
        name: &str,
        lines: &str,
        expires_at: Option<i64>,
    ) -> Result<(), StoreError> {
        let bytes = format!("SELECT CAST(SUM(size + 1) AS BIGINT) FROM lines WHERE batch = $1 AND outcome {lines}");
        let bytes: Option<i64> = sqlx::query_scalar(&bytes)
            .bind(&batch.id)
            .fetch_one(&mut **transaction)
            .await
            .map_err(|error| self.failed(error))?;
        let Some(bytes) = bytes else { return Ok(()) };
        let id = format!("file-{}", ulid::Ulid::new());
        let inserted = self.sql(
            "INSERT INTO files (id, owner, purpose, filename, bytes, created_at, expires_at, batch) \
             VALUES ($1, $2, 'batch_output', $3, $4, {now}, $5, $6)",
        );
        let inserted = sqlx::query(&inserted).bind(&id).bind(&batch.owner).bind(format!("{}_{name}.jsonl", batch.id));
        let inserted = inserted.bind(bytes).bind(expires_at).bind(&batch.id).execute(&mut **transaction).await;
        inserted.map_err(|error| self.failed(error))?;
        let named = format!("UPDATE batches SET {column} = $2 WHERE id = $1");
        let named = sqlx::query(&named).bind(&batch.id).bind(&id).execute(&mut **transaction).await;
        named.map(drop).map_err(|error| self.failed(error))
    }

    /// Deletes batches that ended more than `age` milliseconds ago, with their lines and outputs. Returns how many.
    ///
    /// # Errors
    /// Those of the database.
    pub async fn purge_batches(&self, age: i64) -> Result<u64, StoreError> {
        let old = self.sql("SELECT id FROM batches WHERE ended_at < {now} - $1 ORDER BY id LIMIT 100");
        let mut transaction = self.begin().await?;
        let old: Vec<String> = sqlx::query_scalar(&old)
            .bind(age)
            .fetch_all(&mut *transaction)
            .await
            .map_err(|error| self.failed(error))?;
        for id in &old {
            for statement in [
                "DELETE FROM lines WHERE batch = $1",
                "DELETE FROM files WHERE batch = $1",
                "DELETE FROM batches WHERE id = $1",
            ] {
                let deleted = sqlx::query(statement).bind(id).execute(&mut *transaction).await;
                deleted.map_err(|error| self.failed(error))?;
            }
        }
        transaction.commit().await.map_err(|error| self.failed(error))?;
        Ok(old.len() as u64)
    }
}
