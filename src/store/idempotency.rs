//! Requests that are made at most once: what was made under an `Idempotency-Key`.

use sqlx::{Any, Transaction};

use super::{Store, StoreError, column};

/// A request that may be a repetition.
#[derive(Debug, Clone, Copy)]
pub struct Once<'a> {
    /// Its `Idempotency-Key`.
    pub key: &'a str,
    /// The SHA-256 of what it asks for.
    pub request: &'a str,
}

/// What became of something to be made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Made {
    /// It was made.
    New,
    /// It would exceed a quota of its owner.
    OverQuota,
    /// It was made before, under this id.
    Before(String),
    /// Something else was asked for under the same key before.
    Different,
}

impl Store {
    /// Notes what a request makes, in the transaction that makes it; `Some` if it was made before.
    pub(super) async fn once(
        &self,
        transaction: &mut Transaction<'static, Any>,
        owner: &str,
        once: Option<Once<'_>>,
        id: &str,
    ) -> Result<Option<Made>, StoreError> {
        let Some(Once { key, request }) = once else { return Ok(None) };
        let noted = self.sql(
            "INSERT INTO idempotent (owner, key, request, made, created_at) VALUES ($1, $2, $3, $4, {now}) \
             ON CONFLICT (owner, key) DO NOTHING",
        );
        let noted = sqlx::query(&noted).bind(owner).bind(key).bind(request).bind(id).execute(&mut **transaction).await;
        if noted.map_err(|error| self.failed(error))?.rows_affected() == 1 {
            return Ok(None);
        }
        let before = sqlx::query("SELECT request, made FROM idempotent WHERE owner = $1 AND key = $2");
        let before = before.bind(owner).bind(key).fetch_one(&mut **transaction).await;
        let read = before.and_then(|row| Ok((column::<String>(&row, "request")?, column::<String>(&row, "made")?)));
        let (asked, made) = read.map_err(|error| self.failed(error))?;
        Ok(Some(if asked == request { Made::Before(made) } else { Made::Different }))
    }

    /// Forgets requests that were made more than `age` milliseconds ago.
    ///
    /// # Errors
    /// Those of the database.
    pub async fn purge_idempotent(&self, age: i64) -> Result<(), StoreError> {
        let purged = self.sql("DELETE FROM idempotent WHERE created_at < {now} - $1");
        let purged = sqlx::query(&purged).bind(age).execute(&self.pool).await;
        purged.map(drop).map_err(|error| self.failed(error))
    }
}
