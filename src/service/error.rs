//! Why a request fails.

use super::admission::Refusal;
use super::context::DeadlinePassed;
use super::judge::RunError;
use super::registry::RegistryError;
use super::shutdown::CutOff;
use crate::domain::Mode;
use crate::engine::EngineError;
use crate::pictures::CannotOpen;
use crate::tasks::TaskError;

/// Why a request fails.
#[derive(Debug, Clone, thiserror::Error)]
pub enum ServiceError {
    /// The registry has no loaded model with this name.
    #[error(transparent)]
    Registry(#[from] RegistryError),
    /// The task is invalid, or its verdict is not a number.
    #[error(transparent)]
    Task(#[from] TaskError),
    /// The engine refused a run or failed.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// A prompt does not fit the model's context.
    #[error("{error}")]
    TooLong {
        /// The overflow, with the token counts.
        error: EngineError,
        /// JSON pointer to the longest of its texts.
        longest: String,
        /// Whether the answer has feedback, which could be shorter.
        mode: Mode,
    },
    /// A picture of the request is not accepted.
    #[error(transparent)]
    Picture(#[from] CannotOpen),
    /// The request was not admitted.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// The server shut down, and did not wait for its end.
    #[error(transparent)]
    CutOff(#[from] CutOff),
    /// Its deadline has passed.
    #[error(transparent)]
    Deadline(#[from] DeadlinePassed),
    /// Too few jurors have a verdict.
    #[error("{} of {jurors} jurors failed, and {quorum} must have a verdict: {}", .failed.len(), named(.failed))]
    NoQuorum {
        /// The jurors without a verdict, and why.
        failed: Vec<(String, ServiceError)>,
        /// The number of jurors.
        jurors: usize,
        /// The quorum.
        quorum: usize,
    },
}

impl From<RunError> for ServiceError {
    fn from(error: RunError) -> Self {
        match error {
            RunError::Engine(error) => error.into(),
            RunError::Verdict(error) => TaskError::from(error).into(),
        }
    }
}

/// The errors of jurors, each with its name.
fn named(failed: &[(String, ServiceError)]) -> String {
    failed.iter().map(|(name, error)| format!("{name}: {error}")).collect::<Vec<_>>().join("; ")
}
