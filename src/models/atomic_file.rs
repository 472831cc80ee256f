//! Atomic writing of files.

use std::fs::{self, File};
use std::path::Path;

use super::error::ModelError;

/// Calls `write` with a temporary path, which it writes and syncs, and renames the file to `to` on success. On failure
/// the temporary file is removed. A remaining temporary file of an interrupted run is overwritten. Blocks the thread.
/// The caller ensures that no other process writes the same file.
pub(super) fn write_atomically(
    to: &Path,
    write: impl FnOnce(&Path) -> Result<(), ModelError>,
) -> Result<(), ModelError> {
    let mut unfinished = to.as_os_str().to_owned();
    unfinished.push(".unfinished");
    let unfinished = Path::new(&unfinished);
    let outcome = write(unfinished).and_then(|()| fs::rename(unfinished, to).map_err(ModelError::cache(to)));
    if outcome.is_err() {
        // It may not exist; the error above is the relevant one.
        let _ = fs::remove_file(unfinished);
    }
    outcome?;
    sync_folder(to)
}

/// Syncs the folder, so that the rename survives a power failure.
#[cfg(unix)]
fn sync_folder(of: &Path) -> Result<(), ModelError> {
    let folder = of.parent().unwrap_or(Path::new("."));
    File::open(folder).and_then(|f| f.sync_all()).map_err(ModelError::cache(folder))
}

/// Other systems cannot open folders as files.
#[cfg(not(unix))]
fn sync_folder(_of: &Path) -> Result<(), ModelError> {
    Ok(())
}
