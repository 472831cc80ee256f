//! The queue of reviews: what people are asked to judge. Each reviewer takes a seat at a review; there are as many as
//! labels are wanted.

use sqlx::any::AnyRow;

use super::files::Page;
use super::idempotency::{Made, Once};
use super::{Store, StoreError, column};

/// A review.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReviewRow {
    /// Its id.
    pub id: String,
    /// The API key that asked for it; empty if keys were off.
    pub owner: String,
    /// `absolute` or `relative`.
    pub kind: String,
    /// The JSON of the grading request.
    pub request: String,
    /// The JSON of the judge's verdict, if there is one.
    pub verdict: Option<String>,
    /// How many people are to label it.
    pub wanted: i64,
    /// When it was asked for, in milliseconds since 1970.
    pub created_at: i64,
}

/// A reviewer's part in a review.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SeatRow {
    /// The review.
    pub review: String,
    /// Who.
    pub reviewer: String,
    /// `claimed`, `labelled` or `skipped`.
    pub state: String,
    /// The label.
    pub label: Option<String>,
    /// What the reviewer says about it.
    pub note: Option<String>,
    /// When it was last changed, in milliseconds since 1970.
    pub changed_at: i64,
}

/// Which reviews are wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReviewState {
    /// Those with a free seat, that the reviewer has neither labelled nor skipped.
    Open,
    /// Those with all their labels.
    Done,
    /// All.
    All,
}

/// What a reviewer does with a seat.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SeatChange<'a> {
    /// Takes it for some milliseconds.
    Claim(i64),
    /// Labels, or labels anew.
    Label(&'a str, Option<&'a str>),
    /// Leaves it to others.
    Skip,
}

/// What became of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Seated {
    /// It is done.
    Done,
    /// There is no such review.
    Unknown,
    /// Others have all seats.
    Taken,
    /// The reviewer has not claimed one, or no longer has it.
    NotClaimed,
}

/// Seats that are not free: those of labels, and those that are claimed now.
const HELD: &str = "(state = 'labelled' OR (state = 'claimed' AND until > {now}))";

impl ReviewRow {
    fn read(row: &AnyRow) -> Result<Self, sqlx::Error> {
        Ok(Self {
            id: column(row, "id")?,
            owner: column(row, "owner")?,
            kind: column(row, "kind")?,
            request: column(row, "request")?,
            verdict: column(row, "verdict")?,
            wanted: column(row, "wanted")?,
            created_at: column(row, "created_at")?,
        })
    }
}

impl SeatRow {
    fn read(row: &AnyRow) -> Result<Self, sqlx::Error> {
        Ok(Self {
            review: column(row, "review")?,
            reviewer: column(row, "reviewer")?,
            state: column(row, "state")?,
            label: column(row, "label")?,
            note: column(row, "note")?,
            changed_at: column(row, "changed_at")?,
        })
    }
}

impl Store {
    /// Adds a review to the queue. Of an owner's reviews of the same `item` there is one: later ones are not added, and
    /// were made before.
    ///
    /// # Errors
    /// Those of the database.
    pub async fn put_review(
        &self,
        review: &ReviewRow,
        item: Option<&str>,
        once: Option<Once<'_>>,
    ) -> Result<Made, StoreError> {
        let mut transaction = self.begin().await?;
        if let Some(before) = self.once(&mut transaction, &review.owner, once, &review.id).await? {
            return Ok(before);
        }
        let insert = "INSERT INTO reviews (id, owner, kind, request, verdict, wanted, created_at, item) \
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8) ON CONFLICT (owner, item) DO NOTHING";
        let insert = sqlx::query(insert).bind(&review.id).bind(&review.owner).bind(&review.kind).bind(&review.request);
        let insert = insert.bind(&review.verdict).bind(review.wanted).bind(review.created_at).bind(item);
        let added = insert.execute(&mut *transaction).await.map_err(|error| self.failed(error))?;
        if added.rows_affected() > 0 {
            transaction.commit().await.map_err(|error| self.failed(error))?;
            return Ok(Made::New);
        }
        let earlier =
            sqlx::query("SELECT id FROM reviews WHERE owner = $1 AND item = $2").bind(&review.owner).bind(item);
        let earlier = earlier.fetch_one(&mut *transaction).await;
        earlier.and_then(|row| column(&row, "id")).map(Made::Before).map_err(|error| self.failed(error))
    }

    /// A review.
    ///
    /// # Errors
    /// Those of the database.
    pub async fn review(&self, id: &str) -> Result<Option<ReviewRow>, StoreError> {
        let found = sqlx::query("SELECT * FROM reviews WHERE id = $1").bind(id).fetch_optional(&self.pool).await;
        let read = found.and_then(|row| row.as_ref().map(ReviewRow::read).transpose());
        read.map_err(|error| self.failed(error))
    }

    /// Reviews in a state, as a reviewer sees them.
    ///
    /// # Errors
    /// Those of the database.
    pub async fn reviews(
        &self,
        reviewer: &str,
        state: ReviewState,
        page: Page<'_>,
    ) -> Result<Vec<ReviewRow>, StoreError> {
        let count = |states: &str| format!("(SELECT COUNT(*) FROM seats WHERE review = reviews.id AND {states})");
        let wanted = match state {
            ReviewState::All => "$1 = $1".to_owned(),
            ReviewState::Done => format!("$1 = $1 AND {} >= wanted", count("state = 'labelled'")),
            ReviewState::Open => format!(
                "{} < wanted AND NOT EXISTS (SELECT 1 FROM seats WHERE review = reviews.id AND reviewer = $1 \
                 AND state IN ('labelled', 'skipped'))",
                count(&format!("{HELD} AND reviewer <> $1"))
            ),
        };
        let listed = self.sql(&format!("SELECT * FROM reviews WHERE {wanted} AND {}", page.clause("$2", "$3")));
        let listed = sqlx::query(&listed).bind(reviewer).bind(page.begin()).bind(page.limit);
        let rows = listed.fetch_all(&self.pool).await;
        let read = rows.and_then(|rows| rows.iter().map(ReviewRow::read).collect());
        read.map_err(|error| self.failed(error))
    }

    /// The seats of a review, by reviewer.
    ///
    /// # Errors
    /// Those of the database.
    pub async fn seats(&self, review: &str) -> Result<Vec<SeatRow>, StoreError> {
        let rows = sqlx::query("SELECT * FROM seats WHERE review = $1 ORDER BY reviewer").bind(review);
        let rows = rows.fetch_all(&self.pool).await;
        let read = rows.and_then(|rows| rows.iter().map(SeatRow::read).collect());
        read.map_err(|error| self.failed(error))
    }

    /// Changes the seat of a reviewer.
    ///
    /// # Errors
    /// Those of the database.
    pub async fn seat(&self, review: &str, reviewer: &str, change: SeatChange<'_>) -> Result<Seated, StoreError> {
        let mut transaction = self.begin().await?;
        // It locks the row, so that two reviewers do not count the same free seat.
        let held = sqlx::query("UPDATE reviews SET wanted = wanted WHERE id = $1").bind(review);
        let held = held.execute(&mut *transaction).await.map_err(|error| self.failed(error))?;
        if held.rows_affected() == 0 {
            return Ok(Seated::Unknown);
        }
        let mine = format!("SELECT COUNT(*) FROM seats WHERE review = $1 AND reviewer = $2 AND {HELD}");
        let others = format!(
            "SELECT CASE WHEN (SELECT COUNT(*) FROM seats WHERE review = $1 AND reviewer <> $2 AND {HELD}) < \
             (SELECT wanted FROM reviews WHERE id = $1) THEN 1 ELSE 0 END"
        );
        let (condition, refused) = match change {
            SeatChange::Claim(_) => (others, Seated::Taken),
            SeatChange::Label(..) => (mine, Seated::NotClaimed),
            SeatChange::Skip => ("SELECT 1 WHERE $1 = $1 AND $2 = $2".to_owned(), Seated::NotClaimed),
        };
        let condition = self.sql(&condition);
        let holds = sqlx::query(&condition).bind(review).bind(reviewer).fetch_one(&mut *transaction).await;
        let holds = holds.and_then(|row| sqlx::Row::try_get::<i64, _>(&row, 0));
        if holds.map_err(|error| self.failed(error))? == 0 {
            return Ok(refused);
        }
        let (state, lease, label, note) = match change {
            SeatChange::Claim(lease) => ("claimed", lease, None, None),
            SeatChange::Label(label, note) => ("labelled", 0, Some(label), note),
            SeatChange::Skip => ("skipped", 0, None, None),
        };
        // A claim of what is labelled already leaves the label.
        let written = self.sql(
            "INSERT INTO seats (review, reviewer, state, until, label, note, changed_at) \
             VALUES ($1, $2, $3, {now} + $4, $5, $6, {now}) ON CONFLICT (review, reviewer) DO UPDATE \
             SET state = excluded.state, until = excluded.until, label = excluded.label, note = excluded.note, \
             changed_at = excluded.changed_at WHERE seats.state <> 'labelled' OR excluded.state <> 'claimed'",
        );
        let written = sqlx::query(&written).bind(review).bind(reviewer).bind(state).bind(lease).bind(label).bind(note);
        written.execute(&mut *transaction).await.map_err(|error| self.failed(error))?;
        transaction.commit().await.map_err(|error| self.failed(error))?;
        Ok(Seated::Done)
    }
}
