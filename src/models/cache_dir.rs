//! The folder of downloaded models, and the settings of downloads.

use std::fs;
use std::path::{Path, PathBuf};

use super::error::ModelError;
use super::http::Effort;
use super::known::KnownDigests;
use super::pip::PipSettings;

/// The cache of a store. Cheap to clone.
#[derive(Clone)]
pub(super) struct CacheDir {
    pub(super) path: PathBuf,
    /// Whether the network may not be used.
    pub(super) offline: bool,
    /// `None`: pip's settings are read when a pull needs them.
    pub(super) pip: Option<PipSettings>,
    /// The retries and timeouts for a source that has no alternative.
    pub(super) full: Effort,
    /// The retries and timeouts for a source that has an alternative.
    pub(super) brief: Effort,
}

impl CacheDir {
    /// The folder of unfinished downloads and of locks.
    pub(super) fn downloads(&self) -> PathBuf {
        self.path.join("downloads")
    }

    /// The digests of files that have been hashed before.
    pub(super) fn known(&self) -> KnownDigests {
        KnownDigests::new(self.path.join("digests"))
    }
}

/// Creates a folder of a cache, with its parents.
pub(super) fn create_dir(path: &Path) -> Result<(), ModelError> {
    fs::create_dir_all(path).map_err(ModelError::cache(path))
}
