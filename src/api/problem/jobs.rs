//! Errors of files, batches, reviews and routing.

use super::{Code, Problem};
use crate::jobs::JobError;
use crate::service::CannotDecide;
use crate::service::reviews::ReviewError;
use crate::store::StoreError;

impl From<JobError> for Problem {
    fn from(error: JobError) -> Self {
        let code = match &error {
            JobError::Store(error) => return Self::from(error.clone()),
            JobError::NoFile(_) => Code::UnknownFile,
            JobError::NoBatch(_) => Code::UnknownBatch,
            JobError::NotInput(_) => Code::InvalidRequest,
            JobError::TooMuchStored(_) | JobError::TooManyBatches(_) => Code::QuotaExceeded,
            JobError::InUse(_) | JobError::Ended(..) | JobError::KeyReused => Code::Conflict,
        };
        Self::new(code, error.to_string())
    }
}

impl From<ReviewError> for Problem {
    fn from(error: ReviewError) -> Self {
        let code = match error {
            ReviewError::Store(error) => return error.into(),
            ReviewError::Invalid(error) => return error.into(),
            ReviewError::Unknown(_) => Code::UnknownReview,
            ReviewError::Taken | ReviewError::NotClaimed | ReviewError::KeyReused => Code::Conflict,
        };
        Self::new(code, error.to_string())
    }
}

impl From<CannotDecide> for Problem {
    fn from(error: CannotDecide) -> Self {
        Self::new(Code::InvalidRequest, error.to_string()).at("/route/router")
    }
}

/// What the database says is for the log: it may name its address.
impl From<StoreError> for Problem {
    fn from(error: StoreError) -> Self {
        tracing::error!(%error, "the database failed");
        let detail = match error {
            StoreError::Unavailable(_) => "the database of files and batches cannot be reached now; nothing is lost",
            StoreError::Full => "the disk of the database is full; nothing of this request was stored",
            StoreError::Damaged { .. } => {
                "the database is damaged and is left as it is; the server's operator finds in the log how to recover it"
            }
            StoreError::Version(_) => "the database was made by another version of the server",
            StoreError::Refused(_) => {
                return Problem::new(Code::Internal, "the database refused it; the server's log has the reason");
            }
        };
        let problem = Problem::new(Code::StoreUnavailable, detail);
        error.retry_after().into_iter().fold(problem, Problem::again)
    }
}
