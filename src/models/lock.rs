//! Locks between pulls, of this process and of others.

use std::fs::{File, TryLockError};
use std::path::Path;
use std::time::Duration;

use super::error::ModelError;

/// Between two looks at a lock that somebody else holds.
const PAUSE: Duration = Duration::from_millis(100);

/// Waits until nobody else holds the lock at `path`, whose folder is there. It ends with the returned file.
pub(super) async fn hold(path: &Path, what: &str) -> Result<File, ModelError> {
    let file = File::create(path).map_err(ModelError::cache(path))?;
    let mut told = false;
    // Not `File::lock`: a thread that waits in there cannot be called off.
    loop {
        match file.try_lock() {
            Ok(()) => return Ok(file),
            Err(TryLockError::Error(cause)) => {
                return Err(ModelError::CacheFolder { path: path.to_path_buf(), cause });
            }
            Err(TryLockError::WouldBlock) if !told => {
                tracing::info!(what, "waiting for another pull of the same");
                told = true;
            }
            Err(TryLockError::WouldBlock) => {}
        }
        tokio::time::sleep(PAUSE).await;
    }
}
