//! Files that are written whole or not at all.

use std::fs::{self, File};
use std::path::Path;

use super::error::ModelError;

/// Calls `write` with a temporary path, which it writes and syncs, and renames that to `to` on success; on failure the
/// temporary file is removed. One that an interrupted run left behind is never used, and is overwritten. Blocks the
/// thread. The caller sees to it that no other process writes the same file.
pub(super) fn write_atomically(
    to: &Path,
    write: impl FnOnce(&Path) -> Result<(), ModelError>,
) -> Result<(), ModelError> {
    let mut unfinished = to.as_os_str().to_owned();
    unfinished.push(".unfinished");
    let unfinished = Path::new(&unfinished);
    let outcome = write(unfinished).and_then(|()| fs::rename(unfinished, to).map_err(ModelError::cache(to)));
    if outcome.is_err() {
        // It may never have been made; the error that matters is the one above.
        let _ = fs::remove_file(unfinished);
    }
    outcome?;
    sync_folder(to)
}

/// Makes the rename itself survive a power cut.
#[cfg(unix)]
fn sync_folder(of: &Path) -> Result<(), ModelError> {
    let folder = of.parent().unwrap_or(Path::new("."));
    File::open(folder).and_then(|f| f.sync_all()).map_err(ModelError::cache(folder))
}

/// Other systems do not open folders as files.
#[cfg(not(unix))]
fn sync_folder(_of: &Path) -> Result<(), ModelError> {
    Ok(())
}
