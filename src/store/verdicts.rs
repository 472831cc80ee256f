//! Verdicts with their requests.

use sqlx::any::AnyRow;

use super::files::Page;
use super::{Store, StoreError, column};

/// A verdict and its request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VerdictRow {
    /// The id of the verdict.
    pub id: String,
    /// The API key of the request; empty if keys were off.
    pub owner: String,
    /// The route that answered.
    pub route: String,
    /// The name of its rubric; empty without one.
    pub rubric: String,
    /// The name of its model.
    pub model: String,
    /// The JSON of the request.
    pub request: String,
    /// The JSON of the verdict.
    pub verdict: String,
    /// When it was given, in milliseconds since 1970.
    pub created_at: i64,
}

/// Which verdicts are wanted; empty texts are any.
#[derive(Debug, Clone, Copy, Default)]
pub struct VerdictFilter<'a> {
    /// The name of the rubric.
    pub rubric: &'a str,
    /// The name of the model.
    pub model: &'a str,
    /// Given at this time or later, in milliseconds since 1970.
    pub from: i64,
    /// Given before this time.
    pub to: i64,
}

impl VerdictRow {
    fn read(row: &AnyRow) -> Result<Self, sqlx::Error> {
        Ok(Self {
            id: column(row, "id")?,
            owner: column(row, "owner")?,
            route: column(row, "route")?,
            rubric: column(row, "rubric")?,
            model: column(row, "model")?,
            request: column(row, "request")?,
            verdict: column(row, "verdict")?,
            created_at: column(row, "created_at")?,
        })
    }

    fn bytes(&self) -> i64 {
        (self.request.len() + self.verdict.len()) as i64
    }
}

impl Store {
    /// Writes verdicts in one transaction. Those that are there already stay.
    ///
    /// # Errors
    /// Those of the database.
    pub async fn put_verdicts(&self, verdicts: &[VerdictRow]) -> Result<(), StoreError> {
        let mut transaction = self.begin().await?;
        for row in verdicts {
            let insert = "INSERT INTO verdicts (id, owner, route, rubric, model, request, verdict, bytes, created_at) \
                 VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9) ON CONFLICT (id) DO NOTHING";
            let insert = sqlx::query(insert).bind(&row.id).bind(&row.owner).bind(&row.route).bind(&row.rubric);
            let insert = insert.bind(&row.model).bind(&row.request).bind(&row.verdict).bind(row.bytes());
            let insert = insert.bind(row.created_at).execute(&mut *transaction).await;
            insert.map_err(|error| self.failed(error))?;
        }
        transaction.commit().await.map_err(|error| self.failed(error))
    }

    /// A verdict. Those of others are not found; `owner` `*` finds all.
    ///
    /// # Errors
    /// Those of the database.
    pub async fn verdict(&self, id: &str, owner: &str) -> Result<Option<VerdictRow>, StoreError> {
        let found = sqlx::query("SELECT * FROM verdicts WHERE id = $1 AND (owner = $2 OR $2 = '*')");
        let found = found.bind(id).bind(owner).fetch_optional(&self.pool).await.map_err(|error| self.failed(error))?;
        found.as_ref().map(VerdictRow::read).transpose().map_err(|error| self.failed(error))
    }

    /// Verdicts of an owner, or all of `*`.
    ///
    /// # Errors
    /// Those of the database.
    pub async fn verdicts(
        &self,
        owner: &str,
        filter: VerdictFilter<'_>,
        page: Page<'_>,
    ) -> Result<Vec<VerdictRow>, StoreError> {
        let listed = format!(
            "SELECT * FROM verdicts WHERE (owner = $1 OR $1 = '*') AND (rubric = $2 OR $2 = '') \
             AND (model = $3 OR $3 = '') AND created_at >= $4 AND created_at < $5 AND {}",
            page.clause("$6", "$7")
        );
        let listed = sqlx::query(&listed).bind(owner).bind(filter.rubric).bind(filter.model).bind(filter.from);
        let listed = listed.bind(filter.to).bind(page.begin()).bind(page.limit).fetch_all(&self.pool).await;
        let read = listed.and_then(|rows| rows.iter().map(VerdictRow::read).collect());
        read.map_err(|error| self.failed(error))
    }

    /// Deletes verdicts given more than `age` milliseconds ago, and then the oldest, until the others have at most `bytes`.
    /// Returns how many.
    ///
    /// # Errors
    /// Those of the database.
    pub async fn purge_verdicts(&self, age: i64, bytes: i64) -> Result<u64, StoreError> {
        let old = self.sql("DELETE FROM verdicts WHERE created_at < {now} - $1");
        let old = sqlx::query(&old).bind(age).execute(&self.pool).await.map_err(|error| self.failed(error))?;
        let large = "DELETE FROM verdicts WHERE id IN (SELECT id FROM (SELECT id, \
             SUM(bytes) OVER (ORDER BY created_at DESC, id DESC) AS newer FROM verdicts) AS summed WHERE newer > $1)";
        let large = sqlx::query(large).bind(bytes).execute(&self.pool).await.map_err(|error| self.failed(error))?;
        Ok(old.rows_affected() + large.rows_affected())
    }
}
