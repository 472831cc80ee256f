//! Processes that work on batches. A process that has not said for a while that it is alive is dead: what it worked on
//! is free for others, and what it may still answer is refused.

use sqlx::{Any, Transaction};

use super::{Store, StoreError};

impl Store {
    /// Says that a worker is alive for the next `lease` milliseconds. Returns whether it counted as alive until now;
    /// otherwise what it worked on may have been given to others.
    ///
    /// # Errors
    /// Those of the database.
    pub async fn beat(&self, worker: &str, lease: i64) -> Result<bool, StoreError> {
        let renewed = self.sql("UPDATE workers SET alive_until = {now} + $2 WHERE id = $1");
        let renewed = sqlx::query(&renewed).bind(worker).bind(lease).execute(&self.pool).await;
        Ok(renewed.map_err(|error| self.failed(error))?.rows_affected() == 1)
    }

    /// Makes a worker known.
    ///
    /// # Errors
    /// Those of the database.
    pub async fn join(&self, worker: &str, lease: i64) -> Result<(), StoreError> {
        let joined = self.sql("INSERT INTO workers (id, alive_until) VALUES ($1, {now} + $2)");
        let joined = sqlx::query(&joined).bind(worker).bind(lease).execute(&self.pool).await;
        joined.map(drop).map_err(|error| self.failed(error))
    }

    /// Frees what a worker worked on, and forgets it. It ends well, so that what it did not finish does not count as begun.
    ///
    /// # Errors
    /// Those of the database.
    pub async fn leave(&self, worker: &str) -> Result<(), StoreError> {
        self.free("SELECT id FROM workers WHERE id = $1", worker, 1).await.map(drop)
    }

    /// Frees what dead workers worked on, and forgets them; one that takes something at the moment is left for the next
    /// time. Returns how many there were. A time of death that lies far ahead of
    /// `lease` was written before a clock was set back.
    ///
    /// # Errors
    /// Those of the database.
    pub async fn bury(&self, lease: i64) -> Result<u64, StoreError> {
        let dead =
            self.sql("SELECT id FROM workers WHERE alive_until < {now} OR alive_until > {now} + 2 * $1 {skip_locked}");
        self.free(&dead, lease, 0).await
    }

    /// Holds a worker's row until the end of a transaction, so that it cannot be declared dead meanwhile. Returns false if it
    /// was already: what it would take then would belong to nobody.
    pub(super) async fn hold_worker(
        &self,
        transaction: &mut Transaction<'static, Any>,
        worker: &str,
    ) -> Result<bool, StoreError> {
        let held = sqlx::query("UPDATE workers SET alive_until = alive_until WHERE id = $1").bind(worker);
        let held = held.execute(&mut **transaction).await.map_err(|error| self.failed(error))?;
        Ok(held.rows_affected() == 1)
    }

    /// Frees what some workers worked on, and takes `begun` back of how often it was begun.
    async fn free<'q, T>(&self, workers: &'q str, bound: T, begun: i64) -> Result<u64, StoreError>
    where
        T: sqlx::Encode<'q, Any> + sqlx::Type<Any> + 'q,
    {
        let mut transaction = self.begin().await?;
        let ids: Vec<String> = sqlx::query_scalar(workers)
            .bind(bound)
            .fetch_all(&mut *transaction)
            .await
            .map_err(|error| self.failed(error))?;
        for id in &ids {
            // The worker goes first: who frees it at the same time waits here, and then finds nothing to free.
            let gone = sqlx::query("DELETE FROM workers WHERE id = $1").bind(id).execute(&mut *transaction).await;
            gone.map_err(|error| self.failed(error))?;
            for statement in [
                "UPDATE lines SET worker = NULL, attempts = attempts - $2 WHERE worker = $1 AND outcome IS NULL",
                "UPDATE batches SET worker = NULL, reads = reads - $2 WHERE worker = $1",
            ] {
                let freed = sqlx::query(statement).bind(id).bind(begun).execute(&mut *transaction).await;
                freed.map_err(|error| self.failed(error))?;
            }
        }
        transaction.commit().await.map_err(|error| self.failed(error))?;
        Ok(ids.len() as u64)
    }
}
