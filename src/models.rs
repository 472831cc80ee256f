//! Models by name: where they come from, where they lie, and whether a file is what it claims.
//!
//! [`ModelStore`] turns an alias of `models.toml`, a reference to the Hugging Face hub or a path into a [`Model`]: a
//! file that is there, whole, and has the digest that every verdict will name.

mod atomic_file;
mod blocking;
mod cache_dir;
mod catalogue;
mod convert;
mod digest;
mod download;
mod error;
mod folder;
mod gguf;
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
mod store;
#[cfg(test)]
mod tests;

use std::path::PathBuf;

pub use error::ModelError;
pub use hub::HubSettings;
pub use memory::{available as memory_available, needed as memory_needed, shards};
pub use reference::name_of;
pub use store::{ModelStatus, ModelStore};

/// The alias of the judge that is taken where none is named: on a GPU there is room for a strong one.
pub const DEFAULT_MODEL: &str = if cfg!(any(feature = "cuda", feature = "metal", feature = "llama-cpp-cuda")) {
    "prometheus-2-7b"
} else {
    "qwen2.5-coder-1.5b"
};

/// A model file that was checked and can be loaded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Model {
    /// The alias, or the file's name without its ending.
    pub name: String,
    /// Where the GGUF file is; with shards, the first one. Or a folder of safetensors.
    pub path: PathBuf,
    /// `sha256:<hex>` of the file; with shards of their digests, one a line; of a folder of what `sha256sum` writes of
    /// its files.
    pub digest: String,
    /// The prompt set that the model was trained for; `None` for what is not in the catalogue.
    pub prompt_set: Option<String>,
    /// How well its verdicts are known to agree with people's; `None`: not known.
    pub agreement: Option<String>,
}

/// Hears how a pull goes on: the download, then the conversion if there is one. `()` hears nothing.
pub trait Progress: Send + Sync {
    /// A transfer or a conversion begins with `already` bytes in place. It may come again for the same file,
    /// when a server makes the transfer begin anew.
    fn start(&self, what: &str, total_bytes: Option<u64>, already: u64);
    /// So many more bytes are in place.
    fn advance(&self, bytes: u64);
    /// It ended, well or not.
    fn finish(&self);
    /// A source failed, and another one is tried: a line for a person who waits.
    fn note(&self, line: &str) {
        tracing::warn!("{line}");
    }
    /// Something begins that takes a while and has no measure, such as loading; it lasts until [`Self::finish`].
    fn stage(&self, _what: &str) {}
}

impl Progress for () {
    fn start(&self, _what: &str, _total_bytes: Option<u64>, _already: u64) {}
    fn advance(&self, _bytes: u64) {}
    fn finish(&self) {}
}
