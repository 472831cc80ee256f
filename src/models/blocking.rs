//! Work on whole files on blocking threads, mainly the verification of digests.

use std::fs;
use std::path::PathBuf;

use super::digest;
use super::error::ModelError;
use super::known::KnownDigests;

/// Runs work on a blocking thread.
pub(super) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, ModelError> + Send + 'static,
) -> Result<T, ModelError> {
    match tokio::task::spawn_blocking(work).await {
        Ok(outcome) => outcome,
        // It is never cancelled: a runtime that shuts down drops this future first.
        Err(e) => std::panic::resume_unwind(e.into_panic()),
    }
}

/// Fails unless a file of the model `name` has this digest. Reads the whole file.
pub(super) async fn check(name: &str, path: PathBuf, sha256: &str) -> Result<(), ModelError> {
    let file = path.clone();
    let actual = blocking(move || digest::of_file(&file)).await?;
    compare(name, path, sha256, &actual)
}

/// The same, but does not read a file again that has not changed since it was hashed.
pub(super) async fn recall(name: &str, path: PathBuf, sha256: &str, known: KnownDigests) -> Result<(), ModelError> {
    let file = path.clone();
    let actual = blocking(move || known.of_file(&file)).await?;
    compare(name, path, sha256, &actual)
}

fn compare(name: &str, path: PathBuf, sha256: &str, actual: &str) -> Result<(), ModelError> {
    if actual == sha256 {
        return Ok(());
    }
    // For a link, name its target, which is the file to delete.
    Err(ModelError::DigestMismatch {
        name: name.to_owned(),
        path: fs::canonicalize(&path).unwrap_or(path),
        expected: format!("sha256:{sha256}"),
        actual: format!("sha256:{actual}"),
    })
}
