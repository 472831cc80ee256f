//! Pins: the commit of a reference at its first pull, so that a moving branch does not change the model.

use std::fs;
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::error::ModelError;
use super::reference::Reference;
use super::{atomic_file, digest};

/// A model on the hub at one commit, with the digests of its files.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Pin {
    pub(super) repo: String,
    /// The requested branch or tag.
    pub(super) revision: String,
    pub(super) commit: String,
    /// The reference; another reference needs another pin.
    asked: String,
    /// The first shard first.
    #[serde(rename = "file")]
    pub(super) files: Vec<PinnedFile>,
}

/// A file of the model.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct PinnedFile {
    /// Path in the repository.
    pub(super) path: String,
    /// Empty if the hub does not know it, and names the file by its id in git.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub(super) sha256: String,
    /// Its id in git; `None` for files with a SHA-256.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) git: Option<String>,
    pub(super) size: u64,
}

impl PinnedFile {
    /// The file's name among the blobs of the hub's cache.
    pub(super) fn blob(&self) -> &str {
        self.git.as_deref().unwrap_or(&self.sha256)
    }
}

impl Pin {
    pub(super) fn new(reference: &Reference, commit: String, files: Vec<PinnedFile>) -> Self {
        let (repo, revision) = (reference.repo.clone(), reference.revision.clone());
        Self { repo, revision, commit, asked: format!("{:?}", reference.pick), files }
    }

    /// The pin in this file, unless it is for another reference.
    pub(super) fn read(file: &Path, reference: &Reference) -> Option<Self> {
        let pin: Self = toml::from_str(&fs::read_to_string(file).ok()?).ok()?;
        let same = Self::new(reference, pin.commit.clone(), pin.files.clone());
        (pin == same && !pin.files.is_empty()).then_some(pin)
    }

    /// Writes it atomically.
    pub(super) fn write(&self, file: &Path) -> Result<(), ModelError> {
        let text = toml::to_string(self).map_err(std::io::Error::other).map_err(ModelError::cache(file))?;
        atomic_file::write_atomically(file, |unfinished| fs::write(unfinished, text).map_err(ModelError::cache(file)))
    }

    /// The digest of the model.
    pub(super) fn sha256(&self) -> String {
        let digests: Vec<String> = self.files.iter().map(|file| file.sha256.clone()).collect();
        digest::of_all(&digests)
    }
}
