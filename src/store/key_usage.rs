//! What API keys have used, in the processes that share the database.

use sqlx::any::AnyRow;

use super::{Store, StoreError, column};

/// What a key has used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyUsageRow {
    /// The name of the key.
    pub key: String,
    /// When counting began, in milliseconds since 1970.
    pub since: i64,
    /// Requests.
    pub requests: i64,
    /// Judgements.
    pub judgements: i64,
    /// Tokens of prompts.
    pub prompt_tokens: i64,
    /// Tokens of answers.
    pub completion_tokens: i64,
}

impl KeyUsageRow {
    fn read(row: &AnyRow) -> Result<Self, sqlx::Error> {
        Ok(Self {
            key: column(row, "key")?,
            since: column(row, "since")?,
            requests: column(row, "requests")?,
            judgements: column(row, "judgements")?,
            prompt_tokens: column(row, "prompt_tokens")?,
            completion_tokens: column(row, "completion_tokens")?,
        })
    }
}

impl Store {
    /// Adds usage to what is there, in one transaction. `rows` are in the order of their keys, so that two processes never
    /// wait for each other.
    ///
    /// # Errors
    /// Those of the database.
    pub async fn add_key_usage(&self, rows: &[KeyUsageRow]) -> Result<(), StoreError> {
        let mut transaction = self.begin().await?;
        for row in rows {
            let added = "INSERT INTO key_usage (key, since, requests, judgements, prompt_tokens, completion_tokens) \
                 VALUES ($1, $2, $3, $4, $5, $6) ON CONFLICT (key) DO UPDATE SET \
                 requests = key_usage.requests + excluded.requests, \
                 judgements = key_usage.judgements + excluded.judgements, \
                 prompt_tokens = key_usage.prompt_tokens + excluded.prompt_tokens, \
                 completion_tokens = key_usage.completion_tokens + excluded.completion_tokens";
            let added = sqlx::query(added).bind(&row.key).bind(row.since).bind(row.requests).bind(row.judgements);
            let added = added.bind(row.prompt_tokens).bind(row.completion_tokens).execute(&mut *transaction).await;
            added.map_err(|error| self.failed(error))?;
        }
        transaction.commit().await.map_err(|error| self.failed(error))
    }

    /// What a key has used, or with `*` all keys, in the order of their names.
    ///
    /// # Errors
    /// Those of the database.
    pub async fn key_usage(&self, key: &str) -> Result<Vec<KeyUsageRow>, StoreError> {
        let found = sqlx::query("SELECT * FROM key_usage WHERE key = $1 OR $1 = '*' ORDER BY key");
        let rows = found.bind(key).fetch_all(&self.pool).await;
        let read = rows.and_then(|rows| rows.iter().map(KeyUsageRow::read).collect());
        read.map_err(|error| self.failed(error))
    }
}
