//! The lock on a file of results.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::ErrorKind;
use std::path::Path;

use super::super::CliError;

/// Opens and locks a file.
///
/// # Errors
/// Those of the file, and if another run has locked it.
pub(super) fn open_locked(path: &Path) -> Result<File, CliError> {
    let fail = |error: std::io::Error| CliError::because(path.display(), error);
    loop {
        let file = OpenOptions::new().create(true).read(true).append(true).open(path).map_err(fail)?;
        if !file.metadata().map_err(fail)?.is_file() {
            return Ok(file);
        }
        lock(&file, path)?;
        // Another run may have replaced the file before it released the lock.
        if is_at(&file, path).map_err(fail)? {
            return Ok(file);
        }
    }
}

/// Locks a file.
///
/// # Errors
/// If another run has.
pub(super) fn lock(file: &File, path: &Path) -> Result<(), CliError> {
    match file.try_lock() {
        Ok(()) => Ok(()),
        Err(TryLockError::WouldBlock) => {
            let what = format!(
                "{}: another `gavel grade` or `gavel agree` is writing it; wait until it ends, or use another file",
                path.display()
            );
            Err(CliError::Failed(what))
        }
        // Some network file systems do not support locks.
        Err(TryLockError::Error(error)) if error.kind() == ErrorKind::Unsupported => Ok(()),
        Err(TryLockError::Error(error)) => Err(CliError::because(path.display(), error)),
    }
}

/// Whether a path still refers to this open file.
#[cfg(unix)]
fn is_at(file: &File, path: &Path) -> std::io::Result<bool> {
    use std::os::unix::fs::MetadataExt;
    let of = |metadata: std::fs::Metadata| (metadata.dev(), metadata.ino());
    match std::fs::metadata(path) {
        Ok(there) => Ok(of(there) == of(file.metadata()?)),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

/// Other systems cannot replace an open file.
#[cfg(not(unix))]
fn is_at(_file: &File, _path: &Path) -> std::io::Result<bool> {
    Ok(true)
}
