//! The calibrations and fits of a model, checked against it.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::calibrations::{self, CalibrationError};
use crate::domain::Kind;
use crate::domain::calibration::{CalibrationFile, CalibrationObject, Mismatch};
use crate::prompts::PromptSet;
use crate::routers::{RouterError, Routers};
use crate::rubrics::RubricLibrary;

/// What a model names, as it is configured.
#[derive(Debug, Clone, Default)]
pub(super) struct NamedFiles {
    pub(super) calibrations: Vec<PathBuf>,
    pub(super) fits: Vec<PathBuf>,
    /// Whether it is the only model.
    pub(super) alone: bool,
}

/// Reads the files of a model, of this digest and with this prompt set where requests name none. Those that rubrics
/// name are checked with them: with several models, one that was made for another model is left to that one.
///
/// # Errors
/// At the first file that cannot be used, or was made for something else.
pub(super) fn read(
    named: &NamedFiles,
    rubrics: &RubricLibrary,
    digest: &str,
    set: &PromptSet,
) -> Result<Vec<Arc<CalibrationFile>>, CalibrationError> {
    let check = |file: &CalibrationFile, path: &Path| {
        let kind = file.content().kind;
        let prompt = format!("{}/{}", set.name(), kind.name());
        let checked = file.check(digest, (&prompt, set.digest(kind)));
        checked.map_err(|error| CalibrationError::mismatch(path, error))
    };
    for entry in rubrics.list() {
        for file in entry.rubric.calibrations() {
            let named_by = format!("a calibration of {}", entry.file.as_deref().unwrap_or(Path::new("")).display());
            match check(file, Path::new(&named_by)) {
                Err(CalibrationError::Mismatch { error: Mismatch::Model { .. }, .. }) if !named.alone => {}
                checked => checked?,
            }
        }
    }
    let NamedFiles { calibrations, fits, .. } = named;
    let fits = fits.iter().map(|path| (path, CalibrationObject::Fit));
    let calibrations = calibrations.iter().map(|path| (path, CalibrationObject::Calibration));
    fits.chain(calibrations)
        .map(|(path, object)| {
            let file = calibrations::read(path, object)?;
            check(&file, path)?;
            Ok(Arc::new(file))
        })
        .collect()
}

/// Checks routers against a model of this digest, with this prompt set where requests name none.
///
/// # Errors
/// At the first file that was made for something else.
pub(super) fn check_routers(routers: &Routers, digest: &str, set: &PromptSet, alone: bool) -> Result<(), RouterError> {
    let [absolute, relative] = [Kind::Absolute, Kind::Relative].map(|kind| format!("{}/{}", set.name(), kind.name()));
    let prompts = [(absolute.as_str(), set.digest(Kind::Absolute)), (relative.as_str(), set.digest(Kind::Relative))];
    routers.check(digest, prompts, alone)
}
