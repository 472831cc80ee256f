//! Files: what callers upload, in chunks of text, and the outputs of batches, which are made of their lines.

use sqlx::any::AnyRow;

use super::idempotency::{Made, Once};
use super::{Store, StoreError, column};

/// A file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileRow {
    /// Its id.
    pub id: String,
    /// The API key that it belongs to; empty if keys were off.
    pub owner: String,
    /// What it is for: `batch` or `batch_output`.
    pub purpose: String,
    /// The name that its caller gave it.
    pub filename: String,
    /// Its length.
    pub bytes: i64,
    /// When it was made, in milliseconds since 1970.
    pub created_at: i64,
    /// When it is deleted, in milliseconds since 1970.
    pub expires_at: Option<i64>,
    /// The batch whose output it is.
    pub batch: Option<String>,
}

/// A file to be made of the chunks under its id.
#[derive(Debug, Clone, Copy)]
pub struct NewFile<'a> {
    /// Its id.
    pub id: &'a str,
    /// The API key that it belongs to; empty if keys are off.
    pub owner: &'a str,
    /// The name that its caller gives it.
    pub filename: &'a str,
    /// Its length.
    pub bytes: i64,
    /// When it was made, in milliseconds since 1970.
    pub created_at: i64,
    /// When it is to be deleted, in milliseconds since 1970.
    pub expires_at: Option<i64>,
}

/// A part of a list of files or batches.
#[derive(Debug, Clone, Copy)]
pub struct Page<'a> {
    /// The id that the last page ended with.
    pub after: Option<&'a str>,
    /// The most entries.
    pub limit: i64,
    /// Whether the newest come first.
    pub newest_first: bool,
}

impl Page<'_> {
    /// The end of a statement that lists rows by their ids, which begin with their time; `$after` is bound to
    /// [`Page::begin`].
    pub(super) fn clause(&self, after: &str, limit: &str) -> String {
        let (compared, order) = if self.newest_first { ("<", "DESC") } else { (">", "ASC") };
        format!("id {compared} {after} ORDER BY id {order} LIMIT {limit}")
    }

    /// An id before all others, unless the page goes on from one.
    pub(super) fn begin(&self) -> &str {
        self.after.unwrap_or(if self.newest_first { "~" } else { "" })
    }
}

impl FileRow {
    fn read(row: &AnyRow) -> Result<Self, sqlx::Error> {
        Ok(Self {
            id: column(row, "id")?,
            owner: column(row, "owner")?,
            purpose: column(row, "purpose")?,
            filename: column(row, "filename")?,
            bytes: column(row, "bytes")?,
            created_at: column(row, "created_at")?,
            expires_at: column(row, "expires_at")?,
            batch: column(row, "batch")?,
        })
    }
}

impl Store {
    /// Writes a chunk of an upload.
    ///
    /// # Errors
    /// Those of the database.
    pub async fn put_chunk(&self, file: &str, number: i64, text: &str) -> Result<(), StoreError> {
        let written = sqlx::query("INSERT INTO chunks (file, number, text) VALUES ($1, $2, $3)");
        let written = written.bind(file).bind(number).bind(text).execute(&self.pool).await;
        written.map(drop).map_err(|error| self.failed(error))
    }

    /// Makes a file of its chunks, unless its owner's files would then exceed `most` bytes.
    ///
    /// # Errors
    /// Those of the database.
    pub async fn put_file(&self, file: NewFile<'_>, most: i64, once: Option<Once<'_>>) -> Result<Made, StoreError> {
        let mut transaction = self.begin().await?;
        if let Some(before) = self.once(&mut transaction, file.owner, once, file.id).await? {
            return Ok(before);
        }
        let inserted = sqlx::query(
            "INSERT INTO files (id, owner, purpose, filename, bytes, created_at, expires_at) \
             SELECT $1, $2, 'batch', $3, CAST($4 AS BIGINT), CAST($5 AS BIGINT), CAST($6 AS BIGINT) \
             WHERE (SELECT CAST(COALESCE(SUM(bytes), 0) AS BIGINT) FROM files WHERE owner = $2) + CAST($4 AS BIGINT) <= $7",
        );
        let inserted = inserted.bind(file.id).bind(file.owner).bind(file.filename).bind(file.bytes);
        let inserted = inserted.bind(file.created_at).bind(file.expires_at).bind(most);
        let inserted = inserted.execute(&mut *transaction).await.map_err(|error| self.failed(error))?;
        if inserted.rows_affected() == 0 {
            return Ok(Made::OverQuota);
        }
        transaction.commit().await.map_err(|error| self.failed(error))?;
        Ok(Made::New)
    }

    /// A file. Files of others are not found; `owner` `*` finds all.
    ///
    /// # Errors
    /// Those of the database.
    pub async fn file(&self, id: &str, owner: &str) -> Result<Option<FileRow>, StoreError> {
        let found = sqlx::query("SELECT * FROM files WHERE id = $1 AND (owner = $2 OR $2 = '*')");
        let found = found.bind(id).bind(owner).fetch_optional(&self.pool).await.map_err(|error| self.failed(error))?;
        found.as_ref().map(FileRow::read).transpose().map_err(|error| self.failed(error))
    }

    /// Files of an owner, or all of `*`, of a purpose, or of any if it is empty.
    ///
    /// # Errors
    /// Those of the database.
    pub async fn files(&self, owner: &str, purpose: &str, page: Page<'_>) -> Result<Vec<FileRow>, StoreError> {
        let listed = format!(
            "SELECT * FROM files WHERE (owner = $1 OR $1 = '*') AND (purpose = $2 OR $2 = '') AND {}",
            page.clause("$3", "$4")
        );
        let listed = sqlx::query(&listed).bind(owner).bind(purpose).bind(page.begin()).bind(page.limit);
        let rows = listed.fetch_all(&self.pool).await.map_err(|error| self.failed(error))?;
        rows.iter().map(FileRow::read).collect::<Result<_, _>>().map_err(|error| self.failed(error))
    }

    /// A chunk of an uploaded file; `None` after the last one.
    ///
    /// # Errors
    /// Those of the database.
    pub async fn chunk(&self, file: &str, number: i64) -> Result<Option<String>, StoreError> {
        let read = sqlx::query_scalar("SELECT text FROM chunks WHERE file = $1 AND number = $2");
        read.bind(file).bind(number).fetch_optional(&self.pool).await.map_err(|error| self.failed(error))
    }

    /// Deletes a file and its chunks. The lines of a batch stay with the batch.
    ///
    /// # Errors
    /// Those of the database.
    pub async fn delete_file(&self, id: &str) -> Result<(), StoreError> {
        let mut transaction = self.begin().await?;
        for statement in ["DELETE FROM files WHERE id = $1", "DELETE FROM chunks WHERE file = $1"] {
            let deleted = sqlx::query(statement).bind(id).execute(&mut *transaction).await;
            deleted.map_err(|error| self.failed(error))?;
        }
        transaction.commit().await.map_err(|error| self.failed(error))
    }

    /// Deletes files that have expired, and chunks of uploads that did not end: those with ids before `stale`. Returns how many
    /// files.
    ///
    /// # Errors
    /// Those of the database.
    pub async fn purge_files(&self, stale: &str) -> Result<u64, StoreError> {
        let mut transaction = self.begin().await?;
        let expired = self.sql("DELETE FROM files WHERE expires_at < {now}");
        let expired = sqlx::query(&expired).execute(&mut *transaction).await.map_err(|error| self.failed(error))?;
        let orphans = "DELETE FROM chunks WHERE file < $1 AND NOT EXISTS (SELECT 1 FROM files WHERE id = chunks.file)";
        sqlx::query(orphans).bind(stale).execute(&mut *transaction).await.map_err(|error| self.failed(error))?;
        transaction.commit().await.map_err(|error| self.failed(error))?;
        Ok(expired.rows_affected())
    }
}
