//! The lines of batches: each is taken by one worker at a time, and answered once.

use std::fmt::Write as _;

use sqlx::any::AnyRow;

use super::{Store, StoreError, column};

/// A line of an input.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewLine {
    /// Its place in the input, from 0.
    pub number: i64,
    /// The caller's name for it, unique in its batch.
    pub custom_id: String,
    /// The route that it is for.
    pub url: String,
    /// The body of the request.
    pub body: String,
}

/// What became of lines to be written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PutLines {
    /// They are there.
    Written,
    /// The batch has the `custom_id` of this one already, and none was written.
    Twice(usize),
    /// The worker does not read the input any more.
    Lost,
}

/// A line that a worker has taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClaimedLine {
    /// Its batch.
    pub batch: String,
    /// The line.
    pub line: NewLine,
    /// How often it was begun, with this time.
    pub attempts: i64,
}

/// The answer to a line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answered {
    /// Its batch.
    pub batch: String,
    /// Its place in the input.
    pub number: i64,
    /// `ok`, or the code of an error.
    pub outcome: String,
    /// Its line in the output, without the line break.
    pub answer: String,
}

impl Answered {
    fn is_ok(&self) -> bool {
        self.outcome == "ok"
    }
}

/// Which lines of a batch an output has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LineKind {
    /// Those that were answered well.
    Ok,
    /// Those that were answered with an error.
    Failed,
}

impl Store {
    /// Writes lines of an input that a worker reads.
    ///
    /// # Errors
    /// Those of the database.
    pub async fn put_lines(&self, batch: &str, worker: &str, lines: &[NewLine]) -> Result<PutLines, StoreError> {
        let mut transaction = self.begin().await?;
        // It locks the row, so that nobody else takes the input before these lines are there.
        let held = "UPDATE batches SET worker = $2 WHERE id = $1 AND worker = $2 AND status = 'validating'";
        let held = sqlx::query(held).bind(batch).bind(worker).execute(&mut *transaction).await;
        if held.map_err(|error| self.failed(error))?.rows_affected() == 0 {
            return Ok(PutLines::Lost);
        }
        let mut values = String::new();
        for index in 0..lines.len() {
            let first = index * 4 + 2;
            let comma = if index == 0 { "" } else { ", " };
            let (a, b, c, d) = (first, first + 1, first + 2, first + 3);
            // Writing to a string cannot fail.
            let _ = write!(values, "{comma}($1, ${a}, ${b}, ${c}, ${d})");
        }
        let insert = format!(
            "INSERT INTO lines (batch, number, custom_id, url, body) VALUES {values} ON CONFLICT DO NOTHING \
             RETURNING number"
        );
        let insert = lines.iter().fold(sqlx::query_scalar(&insert).bind(batch), |insert, line| {
            insert.bind(line.number).bind(&line.custom_id).bind(&line.url).bind(&line.body)
        });
        let written: Vec<i64> = insert.fetch_all(&mut *transaction).await.map_err(|error| self.failed(error))?;
        if written.len() < lines.len() {
            let written: std::collections::HashSet<i64> = written.into_iter().collect();
            let twice = lines.iter().position(|line| !written.contains(&line.number)).unwrap_or_default();
            return Ok(PutLines::Twice(twice));
        }
        transaction.commit().await.map_err(|error| self.failed(error))?;
        Ok(PutLines::Written)
    }

    /// Takes up to `most` lines of a batch that nobody works on, in the order of the input; only those that were begun less
    /// than `begun` times, or with `suspect` only the others.
    ///
    /// # Errors
    /// Those of the database.
    pub async fn take_lines(
        &self,
        batch: &str,
        worker: &str,
        most: i64,
        (begun, suspect): (i64, bool),
    ) -> Result<Vec<ClaimedLine>, StoreError> {
        let mut transaction = self.begin().await?;
        if !self.hold_worker(&mut transaction, worker).await? {
            return Ok(Vec::new());
        }
        let attempts = if suspect { "attempts >= $4" } else { "attempts < $4" };
        let taken = self.sql(&format!(
            "WITH next AS MATERIALIZED (SELECT batch AS of_batch, number AS taken FROM lines \
             WHERE batch = $1 AND outcome IS NULL AND worker IS NULL AND {attempts} ORDER BY number LIMIT $3 \
             {{skip_locked}}) UPDATE lines SET worker = $2, attempts = attempts + 1 FROM next \
             WHERE lines.batch = next.of_batch AND lines.number = next.taken \
             RETURNING number, custom_id, url, body, attempts"
        ));
        let rows = sqlx::query(&taken).bind(batch).bind(worker).bind(most).bind(begun);
        let rows = rows.fetch_all(&mut *transaction).await;
        let read = |row: &AnyRow| {
            let line = NewLine {
                number: column(row, "number")?,
                custom_id: column(row, "custom_id")?,
                url: column(row, "url")?,
                body: column(row, "body")?,
            };
            Ok(ClaimedLine { batch: batch.to_owned(), line, attempts: column(row, "attempts")? })
        };
        let taken = rows.and_then(|rows| rows.iter().map(read).collect::<Result<Vec<_>, sqlx::Error>>());
        let mut taken = taken.map_err(|error| self.failed(error))?;
        transaction.commit().await.map_err(|error| self.failed(error))?;
        taken.sort_by_key(|claimed| claimed.line.number);
        Ok(taken)
    }

    /// Whether a batch has lines that nobody works on and that were begun `begun` times or more.
    ///
    /// # Errors
    /// Those of the database.
    pub async fn has_suspects(&self, batch: &str, begun: i64) -> Result<bool, StoreError> {
        let found = "SELECT number FROM lines WHERE batch = $1 AND outcome IS NULL AND worker IS NULL AND attempts >= $2 \
             LIMIT 1";
        let found = sqlx::query(found).bind(batch).bind(begun).fetch_optional(&self.pool).await;
        Ok(found.map_err(|error| self.failed(error))?.is_some())
    }

    /// Gives lines back that a worker has not answered. It does not count as a time that they were begun.
    ///
    /// # Errors
    /// Those of the database.
    pub async fn give_back(&self, worker: &str, batch: &str, number: i64) -> Result<(), StoreError> {
        let given = "UPDATE lines SET worker = NULL, attempts = attempts - 1 \
             WHERE batch = $1 AND number = $2 AND worker = $3 AND outcome IS NULL";
        let given = sqlx::query(given).bind(batch).bind(number).bind(worker).execute(&self.pool).await;
        given.map(drop).map_err(|error| self.failed(error))
    }

    /// Writes answers, and counts them in their batches, in one transaction. Answers to lines that are no longer the
    /// worker's are dropped: another one answers them. Returns how many were written: those that are `ok`, and others.
    ///
    /// # Errors
    /// Those of the database.
    pub async fn answer(&self, worker: &str, answers: &[Answered]) -> Result<(u64, u64), StoreError> {
        let mut transaction = self.begin().await?;
        let mut counts: std::collections::BTreeMap<&str, (i64, i64)> = std::collections::BTreeMap::new();
        for answered in answers {
            let size = answered.answer.len() as i64;
            let written = "UPDATE lines SET outcome = $4, answer = $5, size = $6, body = '', worker = NULL \
                 WHERE batch = $1 AND number = $2 AND worker = $3 AND outcome IS NULL";
            let written = sqlx::query(written).bind(&answered.batch).bind(answered.number).bind(worker);
            let written = written.bind(&answered.outcome).bind(&answered.answer).bind(size);
            let written = written.execute(&mut *transaction).await.map_err(|error| self.failed(error))?;
            if written.rows_affected() == 1 {
                let (completed, failed) = counts.entry(&answered.batch).or_default();
                *if answered.is_ok() { completed } else { failed } += 1;
            }
        }
        let (mut all_completed, mut all_failed) = (0, 0);
        // In the order of their ids, so that two workers never wait for each other.
        for (batch, (completed, failed)) in counts {
            all_completed += completed.unsigned_abs();
            all_failed += failed.unsigned_abs();
            let counted = "UPDATE batches SET completed = completed + $2, failed = failed + $3 WHERE id = $1";
            let counted = sqlx::query(counted).bind(batch).bind(completed).bind(failed);
            counted.execute(&mut *transaction).await.map_err(|error| self.failed(error))?;
        }
        transaction.commit().await.map_err(|error| self.failed(error))?;
        Ok((all_completed, all_failed))
    }

    /// Answers of a batch after line `after`, in the order of the input: their numbers and their lines in the output.
    ///
    /// # Errors
    /// Those of the database.
    pub async fn answers(
        &self,
        batch: &str,
        kind: LineKind,
        after: i64,
        most: i64,
    ) -> Result<Vec<(i64, String)>, StoreError> {
        let compared = match kind {
            LineKind::Ok => "=",
            LineKind::Failed => "<>",
        };
        let read = format!(
            "SELECT number, answer FROM lines WHERE batch = $1 AND number > $2 AND outcome {compared} 'ok' \
             ORDER BY number LIMIT $3"
        );
        let rows = sqlx::query(&read).bind(batch).bind(after).bind(most).fetch_all(&self.pool).await;
        let read =
            rows.and_then(|rows| rows.iter().map(|row| Ok((column(row, "number")?, column(row, "answer")?))).collect());
        read.map_err(|error| self.failed(error))
    }
}
