//! Files of calibrations and fits, as models and rubrics name them.

use std::path::Path;

use crate::domain::calibration::{CalibrationFile, CalibrationObject, InvalidCalibration, Mismatch};

/// Why a file of a calibration or a fit cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum CalibrationError {
    /// It cannot be read.
    #[error("{path} cannot be read: {cause}")]
    Read {
        /// The file.
        path: String,
        /// What the system said.
        cause: std::io::Error,
    },
    /// It is not what it should be.
    #[error("{path} {error}")]
    Invalid {
        /// The file.
        path: String,
        /// What is wrong.
        error: InvalidCalibration,
    },
    /// A fit is named as a calibration, or the other way round.
    #[error("{path} is a {is}, so use the key `{is}` for it")]
    Object {
        /// The file.
        path: String,
        /// What it is.
        is: &'static str,
    },
    /// It was made for something else.
    #[error("{path} {error}")]
    Mismatch {
        /// The file.
        path: String,
        /// For what, and what it is used for.
        error: Mismatch,
    },
}

impl CalibrationError {
    /// A file that was made for something else.
    #[must_use]
    pub fn mismatch(path: &Path, error: Mismatch) -> Self {
        Self::Mismatch { path: path.display().to_string(), error }
    }
}

/// Reads a calibration or a fit.
///
/// # Errors
/// When it cannot be read, is not in the format, or is the other of the two.
pub fn read(path: &Path, object: CalibrationObject) -> Result<CalibrationFile, CalibrationError> {
    let named = || path.display().to_string();
    let text = std::fs::read_to_string(path).map_err(|cause| CalibrationError::Read { path: named(), cause })?;
    let file = CalibrationFile::parse(&text).map_err(|error| CalibrationError::Invalid { path: named(), error })?;
    if file.content().object == object {
        return Ok(file);
    }
    let is = match file.content().object {
        CalibrationObject::Calibration => "calibration",
        CalibrationObject::Fit => "fit",
    };
    Err(CalibrationError::Object { path: named(), is })
}
