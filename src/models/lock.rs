//! Locks between pulls, of this process and of others.

use std::fs::{File, TryLockError};
use std::path::Path;
use std::time::Duration;

use super::error::ModelError;

/// Polling interval for a held lock.
const PAUSE: Duration = Duration::from_millis(100);

/// Waits for the lock at `path`, whose folder must exist. Dropping the returned file releases it.
pub(super) async fn hold(path: &Path, what: &str) -> Result<File, ModelError> {
    let file = File::create(path).map_err(ModelError::cache(path))?;
    let mut told = false;
    // Not `File::lock`, because a blocked thread cannot be cancelled.
    loop {
        match file.try_lock() {
            Ok(()) => return Ok(file),
            Err(TryLockError::Error(cause)) => {
                return Err(ModelError::CacheFolder { path: path.to_path_buf(), cause });
            }
            Err(TryLockError::WouldBlock) if !told => {
                tracing::info!(what, "waiting for another pull of the same model");
                told = true;
            }
            Err(TryLockError::WouldBlock) => {}
        }
        tokio::time::sleep(PAUSE).await;
    }
}

/// The lock at `path`, if nobody holds it. Dropping the returned file releases it.
pub(super) fn try_hold(path: &Path) -> Option<File> {
    let file = File::create(path).ok()?;
    file.try_lock().ok().map(|()| file)
}
