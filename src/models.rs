//! Models by name: their sources, their location on disk, and the verification of their files.
//!
//! [`ModelStore`] resolves an alias of `models.toml`, a reference to the Hugging Face hub or a path to a [`Model`]: a
//! complete file on disk with the digest that every verdict will name.

mod atomic_file;
mod beginning;
mod blocking;
mod cache_dir;
mod catalogue;
mod convert;
mod digest;
mod download;
mod error;
mod folder;
mod gguf;
mod header;
mod http;
mod hub;
#[cfg(test)]
mod hub_tests;
mod joined;
mod known;
mod lock;
mod memory;
mod package;
#[cfg(test)]
mod parts_tests;
mod pin;
mod pip;
mod pypi;
mod reference;
mod status;
mod store;
#[cfg(test)]
mod tests;
mod tokenizer;
#[cfg(test)]
mod tokenizer_tests;

use std::path::PathBuf;

pub use error::ModelError;
pub use header::GgufHeader;
pub use hub::HubSettings;
pub use memory::{available as memory_available, kv_per_token, needed as memory_needed, shards};
pub(crate) use pip::package_index;
pub use reference::name_of;
pub use status::{EyesStatus, ModelStatus};
pub use store::ModelStore;
pub use tokenizer::TokenizerFiles;

use crate::domain::Method;

/// The alias of the default judge; a stronger one on a GPU.
pub const DEFAULT_MODEL: &str = if cfg!(any(feature = "cuda", feature = "metal", feature = "llama-cpp-cuda")) {
    "prometheus-2-7b"
} else {
    "qwen2.5-coder-1.5b"
};

/// A verified model file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Model {
    /// The alias, or the file's name without its extension.
    pub name: String,
    /// Path of the GGUF file (of the first shard), or of the folder of safetensors.
    pub path: PathBuf,
    /// `sha256:<hex>` of the file; for shards, of the list of their digests, one per line; for a folder, of the output
    /// of `sha256sum` for its files.
    pub digest: String,
    /// What the catalogue knows of it as a judge.
    pub traits: JudgeTraits,
    /// What it sees pictures with, if it has eyes.
    pub eyes: Option<EyesFile>,
}

/// A verified file with the eyes of a model (a multimodal projector).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EyesFile {
    /// Path of the GGUF file.
    pub path: PathBuf,
    /// `sha256:<hex>` of the file.
    pub digest: String,
}

impl EyesFile {
    /// A user's own file, whose header is checked. Blocks the thread while it is digested.
    ///
    /// # Errors
    /// If it cannot be read or is no GGUF file.
    pub fn own(path: PathBuf) -> Result<Self, ModelError> {
        if !path.is_file() {
            return Err(ModelError::NoSuchFile { path });
        }
        gguf::check(&path)?;
        let digest = format!("sha256:{}", digest::of_file(&path)?);
        Ok(Self { path, digest })
    }
}

/// What the catalogue knows of a model as a judge; nothing of models outside of it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct JudgeTraits {
    /// The prompt set that the model was trained for.
    pub prompt_set: Option<String>,
    /// How well its verdicts agree with those of people, if that was measured.
    pub agreement: Option<String>,
    /// How it compares responses best, if that is known.
    pub preference_method: Option<Method>,
}

/// Receives the progress of a pull: the download, then the conversion if there is one. `()` ignores it.
pub trait Progress: Send + Sync {
    /// A transfer or a conversion starts with `already` finished bytes. It may be called again for the same file, if a
    /// server restarts the transfer.
    fn start(&self, what: &str, total_bytes: Option<u64>, already: u64);
    /// More bytes are finished.
    fn advance(&self, bytes: u64);
    /// It ended, successfully or not.
    fn finish(&self);
    /// A message for the user: a source failed, and another one is tried.
    fn note(&self, line: &str) {
        tracing::warn!("{line}");
    }
    /// A step without a measurable progress starts, such as loading; it lasts until [`Self::finish`].
    fn stage(&self, _what: &str) {}
}

impl Progress for () {
    fn start(&self, _what: &str, _total_bytes: Option<u64>, _already: u64) {}
    fn advance(&self, _bytes: u64) {}
    fn finish(&self) {}
}
