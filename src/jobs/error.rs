//! Why something cannot be done with files and batches.

use crate::store::StoreError;

/// An error of a file or a batch.
#[derive(Debug, Clone, thiserror::Error)]
pub enum JobError {
    /// There is no such file of this caller.
    #[error("there is no file `{0}`")]
    NoFile(String),
    /// There is no such batch of this caller.
    #[error("there is no batch `{0}`")]
    NoBatch(String),
    /// The file is still needed.
    #[error("the file `{0}` is the input of a batch that has not ended; cancel the batch first, or wait for its end")]
    InUse(String),
    /// The file is not an input.
    #[error("the file `{0}` is an output of a batch, not an upload with the purpose `batch`")]
    NotInput(String),
    /// The owner's files would take too much space.
    #[error(
        "your files would have more than {0} bytes together (jobs.stored_bytes); delete some, or wait until they expire"
    )]
    TooMuchStored(i64),
    /// The owner has too many batches that have not ended.
    #[error("you have {0} batches that have not ended (jobs.batches); wait for one, or cancel one")]
    TooManyBatches(i64),
    /// The batch has ended already.
    #[error("the batch `{0}` has ended: it is {1}")]
    Ended(String, &'static str),
    /// The same key was used for another request.
    #[error("this Idempotency-Key was used for another request in the last day")]
    KeyReused,
    /// The database cannot do it.
    #[error(transparent)]
    Store(#[from] StoreError),
}
