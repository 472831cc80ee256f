//! The queue of judgements that people are asked for. A reviewer claims an item, and labels or skips it, without seeing what
//! the judge or others say of it.

mod outcome;

use std::sync::Arc;

use ulid::Ulid;

pub use self::outcome::ReviewAgreement;
use crate::domain::consensus::MOST_REVIEWERS;
use crate::domain::{InvalidRequest, Kind};
use crate::store::{
    Database, Made, Once, Page, ReviewRow, ReviewState, SeatChange, SeatRow, Seated, Store, StoreError, now,
};

/// How long a reviewer keeps a claimed item, in milliseconds.
const CLAIMED: i64 = 15 * 60 * 1000;
/// The most characters of a reviewer's name.
const LONGEST_NAME: usize = 64;
/// The most characters of a note.
const LONGEST_NOTE: usize = 4_000;

/// The queue, in the database.
pub struct Reviews {
    database: Arc<Database>,
}

/// A judgement that people are asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewReview {
    /// The API key that asks; empty if keys are off.
    pub owner: String,
    /// The kind of grading.
    pub kind: Kind,
    /// The JSON of the grading request, which has been checked.
    pub request: String,
    /// The JSON of the judge's verdict, if there is one.
    pub verdict: Option<String>,
    /// How many people are to label it, 1 to [`MOST_REVIEWERS`].
    pub wanted: u32,
    /// Stands for what is judged: of several reviews of an owner with the same one, only the first is made. `None` makes a
    /// review each time.
    pub item: Option<String>,
}

/// A review with its seats.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Review {
    /// The review.
    pub row: ReviewRow,
    seats: Vec<SeatRow>,
}

/// A review as its reader may see it: without what others say, until the reader has labelled.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SeenReview {
    /// The review; its verdict is `None` where the reader may not see it.
    pub row: ReviewRow,
    /// How many people have labelled it.
    pub labelled: usize,
    /// The reader's own label.
    pub own: Option<String>,
    /// The labels with who gave them; `None` where the reader may not see them.
    pub labels: Option<Vec<GivenLabel>>,
}

/// A label, and who gave it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GivenLabel {
    /// The name of the reviewer.
    pub reviewer: String,
    /// The label.
    pub label: String,
    /// What the reviewer says about it.
    pub note: Option<String>,
    /// In milliseconds since 1970.
    pub at: i64,
}

/// What a reviewer does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReviewAct<'a> {
    /// Claims a review for 15 minutes.
    Claim,
    /// Labels a claimed review, or labels it anew.
    Label {
        /// The label.
        label: &'a str,
        /// The labels that there are.
        allowed: &'a [String],
        /// A note.
        note: Option<&'a str>,
    },
    /// Leaves it to others.
    Skip,
}

/// Why something cannot be done with a review.
#[derive(Debug, Clone, thiserror::Error)]
pub enum ReviewError {
    /// There is none with this id.
    #[error("there is no review `{0}`")]
    Unknown(String),
    /// Others have all seats.
    #[error("others review it already; take another one")]
    Taken,
    /// The reviewer has not claimed it, or no longer has it.
    #[error("claim it first; a claim is kept for 15 minutes")]
    NotClaimed,
    /// A field is wrong.
    #[error("{}: {}", .0.pointer, .0.reason)]
    Invalid(#[from] InvalidRequest),
    /// The same `Idempotency-Key` was sent with another request.
    #[error("this Idempotency-Key was used for another request in the last day")]
    KeyReused,
    /// The database fails.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl Reviews {
    /// The queue in a database.
    #[must_use]
    pub fn new(database: Arc<Database>) -> Self {
        Self { database }
    }

    async fn store(&self) -> Result<&Store, ReviewError> {
        Ok(self.database.open().await?)
    }

    /// Asks people for a judgement; gives the review, which of an item or a request that was asked for before is the earlier
    /// one.
    ///
    /// # Errors
    /// At `/reviewers` if there are none or too many; [`ReviewError::KeyReused`]; those of the database.
    pub async fn ask(&self, new: NewReview, once: Option<Once<'_>>) -> Result<Review, ReviewError> {
        check_reviewers(new.wanted, "/reviewers")?;
        let row = ReviewRow {
            id: format!("rev_{}", Ulid::new()),
            owner: new.owner,
            kind: new.kind.name().to_owned(),
            request: new.request,
            verdict: new.verdict,
            wanted: i64::from(new.wanted),
            created_at: now(),
        };
        let store = self.store().await?;
        match store.put_review(&row, new.item.as_deref(), once).await? {
            Made::New => Ok(Review { row, seats: Vec::new() }),
            Made::Before(id) => self.find(&id).await,
            // Reviews have no quota.
            Made::OverQuota | Made::Different => Err(ReviewError::KeyReused),
        }
    }

    /// The review of this id.
    ///
    /// # Errors
    /// [`ReviewError::Unknown`]; those of the database.
    pub async fn find(&self, id: &str) -> Result<Review, ReviewError> {
        let store = self.store().await?;
        let row = store.review(id).await?.ok_or_else(|| ReviewError::Unknown(id.to_owned()))?;
        let seats = store.seats(id).await?;
        Ok(Review { row, seats })
    }

    /// Reviews in a state, as a reviewer sees them, the oldest first.
    ///
    /// # Errors
    /// Those of the database.
    pub async fn list(&self, reviewer: &str, state: ReviewState, page: Page<'_>) -> Result<Vec<Review>, ReviewError> {
        let store = self.store().await?;
        let mut found = Vec::new();
        for row in store.reviews(reviewer, state, page).await? {
            let seats = store.seats(&row.id).await?;
            found.push(Review { row, seats });
        }
        Ok(found)
    }

    /// Claims, labels or skips a review; gives it as it is then.
    ///
    /// # Errors
    /// If there is none, it is not the reviewer's to change, or the label or the note is wrong.
    pub async fn act(&self, id: &str, reviewer: &str, act: ReviewAct<'_>) -> Result<Review, ReviewError> {
        let change = match act {
            ReviewAct::Claim => SeatChange::Claim(CLAIMED),
            ReviewAct::Skip => SeatChange::Skip,
            ReviewAct::Label { label, allowed, note } => {
                check_label(label, allowed)?;
                check_note(note)?;
                SeatChange::Label(label, note)
            }
        };
        match self.store().await?.seat(id, reviewer, change).await? {
            Seated::Done => self.find(id).await,
            Seated::Unknown => Err(ReviewError::Unknown(id.to_owned())),
            Seated::Taken => Err(ReviewError::Taken),
            Seated::NotClaimed => Err(ReviewError::NotClaimed),
        }
    }
}

/// Checks how many people are asked.
///
/// # Errors
/// At `pointer`.
pub fn check_reviewers(wanted: u32, pointer: &str) -> Result<(), InvalidRequest> {
    if (1..=MOST_REVIEWERS).contains(&wanted) {
        return Ok(());
    }
    Err(InvalidRequest::at(pointer, format!("1 to {MOST_REVIEWERS} reviewers may label an item")))
}

/// Checks the name of a reviewer.
///
/// # Errors
/// At `/reviewer`.
pub fn check_reviewer(name: &str) -> Result<(), InvalidRequest> {
    if (1..=LONGEST_NAME).contains(&name.chars().count()) {
        return Ok(());
    }
    Err(InvalidRequest::at("/reviewer", format!("a reviewer has a name of 1 to {LONGEST_NAME} characters")))
}

fn check_label(label: &str, allowed: &[String]) -> Result<(), InvalidRequest> {
    if allowed.iter().any(|known| known == label) {
        return Ok(());
    }
    let shown: String = label.chars().take(LONGEST_NAME).collect();
    let reason = format!("`{shown}` is no label of this review; there are: {}", allowed.join(", "));
    Err(InvalidRequest::at("/label", reason))
}

fn check_note(note: Option<&str>) -> Result<(), InvalidRequest> {
    if note.is_some_and(|note| note.chars().count() > LONGEST_NOTE || note.contains('\0')) {
        return Err(InvalidRequest::at("/note", format!("a note has up to {LONGEST_NOTE} characters")));
    }
    Ok(())
}

impl Review {
    /// As `who` may see it, or with everything.
    #[must_use]
    pub fn seen_by(self, who: Option<&str>, everything: bool) -> SeenReview {
        let Self { row, seats } = self;
        let own = seats.iter().find(|seat| Some(seat.reviewer.as_str()) == who).and_then(|seat| seat.label.clone());
        let open = everything || own.is_some();
        let given = labels(&seats);
        SeenReview {
            labelled: given.len(),
            own,
            labels: open.then_some(given),
            row: ReviewRow { verdict: row.verdict.filter(|_| open), ..row },
        }
    }

    fn labels(&self) -> Vec<GivenLabel> {
        labels(&self.seats)
    }
}

fn labels(seats: &[SeatRow]) -> Vec<GivenLabel> {
    let given = |seat: &SeatRow| {
        let (reviewer, note, at) = (seat.reviewer.clone(), seat.note.clone(), seat.changed_at);
        Some(GivenLabel { reviewer, label: seat.label.clone()?, note, at })
    };
    seats.iter().filter(|seat| seat.state == "labelled").filter_map(given).collect()
}
