//! The Hugging Face hub: the files of a repository, and the hub's cache, shared with other tools.
//!
//! hf-hub provides the layout of the cache. Requests and downloads are done here: interrupted downloads resume, a file
//! gets its final name only after its SHA-256 was verified, and the token is sent to the hub only, never to the servers
//! that it redirects to. docs/architecture.md has the reasons.

use std::fs;
use std::path::{Path, PathBuf};

use hf_hub::{Cache, Repo, RepoType};
use reqwest::Url;
use reqwest::header::HeaderValue;
use serde::Deserialize;

use super::beginning::Need;
use super::blocking::blocking;
use super::cache_dir::create_dir;
use super::error::ModelError;
use super::gguf::fault::Fault;
use super::header::GgufHeader;
use super::http::{Access, Effort, Fetcher};
use super::pin::{Pin, PinnedFile};
use super::reference::{Pick, Reference, is_commit};
use super::{Progress, digest, lock};

/// Suffix of an incomplete download, as in Python's huggingface_hub.
const INCOMPLETE: &str = ".incomplete";

/// Address, token and cache of the hub.
#[derive(Clone)]
pub struct HubSettings {
    /// Its address, such as `https://huggingface.co`.
    pub endpoint: String,
    /// Access token; empty: the one that Hugging Face's tools saved beside the cache, or none.
    pub token: String,
    /// The folder of its cache, such as `~/.cache/huggingface/hub`.
    pub cache_dir: PathBuf,
}

/// The hub, for one store.
#[derive(Clone)]
pub(super) struct Hub {
    settings: HubSettings,
}

/// The hub's information about a repository at a revision.
#[derive(Deserialize)]
struct Listing {
    /// The commit.
    sha: String,
    siblings: Vec<Sibling>,
}

#[derive(Deserialize)]
struct Sibling {
    rfilename: String,
    lfs: Option<Lfs>,
    /// The id in git; of a large file that of its pointer.
    #[serde(rename = "blobId")]
    git: Option<String>,
    size: Option<u64>,
}

#[derive(Deserialize)]
struct Lfs {
    sha256: String,
    size: u64,
}

impl Hub {
    pub(super) fn new(settings: HubSettings) -> Self {
        Self { settings }
    }

    pub(super) fn cache_dir(&self) -> &Path {
        &self.settings.cache_dir
    }

    fn cache(&self) -> Cache {
        Cache::new(self.settings.cache_dir.clone())
    }

    /// Asks the hub for the files of the model, their commit and their digests.
    pub(super) async fn resolve_remote(&self, reference: &Reference, effort: Effort) -> Result<Pin, ModelError> {
        let http = self.fetcher(&reference.repo, effort)?;
        let revision = reference.revision.replace('/', "%2F");
        let url = self.url(&format!("api/models/{}/revision/{revision}?blobs=true", reference.repo))?;
        let page = http.page(&url, "application/json").await?;
        let unread = |why: String| ModelError::HubAnswer { url: url.to_string(), why };
        let text = page.map(|page| page.text).unwrap_or_default();
        let listing: Listing = serde_json::from_str(&text).map_err(|e| unread(e.to_string()))?;
        if !is_commit(&listing.sha) {
            return Err(unread("its `sha` is not a commit id".into()));
        }
        let names: Vec<String> = listing.siblings.iter().map(|s| s.rfilename.clone()).collect();
        let files = reference.choose(&names)?.into_iter().map(|path| {
            let sibling = listing.siblings.iter().find(|s| s.rfilename == path);
            let lfs = sibling.and_then(|s| s.lfs.as_ref());
            if let Some(lfs) = lfs.filter(|lfs| digest::is_sha256(&lfs.sha256)) {
                return Ok(PinnedFile { path, sha256: lfs.sha256.clone(), git: None, size: lfs.size });
            }
            let small = sibling.filter(|_| lfs.is_none() && reference.pick == Pick::Tokenizer);
            let git = small.and_then(|s| s.git.clone()).filter(|id| is_commit(id));
            let size = small.and_then(|s| s.size).unwrap_or_default();
            let git = git.ok_or_else(|| unread(format!("it names no SHA-256 of {path}")))?;
            Ok(PinnedFile { path, sha256: String::new(), git: Some(git), size })
        });
        Ok(Pin::new(reference, listing.sha, files.collect::<Result<_, ModelError>>()?))
    }

    /// Resolves a reference from the hub's cache only, which another tool may have filled: blobs are named by their
    /// digests.
    pub(super) fn resolve_cached(&self, reference: &Reference) -> Option<Pin> {
        let repo = Repo::with_revision(reference.repo.clone(), RepoType::Model, reference.revision.clone());
        let folder = self.settings.cache_dir.join(repo.folder_name());
        let commit = match reference.is_commit() {
            true => reference.revision.clone(),
            false => fs::read_to_string(folder.join("refs").join(&reference.revision)).ok()?.trim().to_owned(),
        };
        let snapshot = self.cache().repo(repo).pointer_path(&commit);
        let files = reference.choose(&files_below(&snapshot)).ok()?.into_iter().map(|path| {
            let blob = fs::canonicalize(snapshot.join(&path)).ok()?;
            let name = blob.file_name()?.to_str()?.to_owned();
            let size = fs::metadata(&blob).ok()?.len();
            match digest::is_sha256(&name) {
                true => Some(PinnedFile { path, sha256: name, git: None, size }),
                false if is_commit(&name) && reference.pick == Pick::Tokenizer => {
                    Some(PinnedFile { path, sha256: String::new(), git: Some(name), size })
                }
                false => None,
            }
        });
        Some(Pin::new(reference, commit, files.collect::<Option<_>>()?))
    }

    /// Whether there is an incomplete download of a file with this digest.
    pub(super) fn begun(&self, repo: &str, sha256: &str) -> bool {
        let folder = Repo::new(repo.to_owned(), RepoType::Model).folder_name();
        let partial = self.settings.cache_dir.join(folder).join("blobs").join(format!("{sha256}{INCOMPLETE}"));
        fs::metadata(partial).is_ok_and(|file| file.len() > 0)
    }

    /// The path of a file of a pinned repository, whether it exists or not.
    pub(super) fn path(&self, pin: &Pin, file: &PinnedFile) -> PathBuf {
        self.cache().repo(repo_of(pin)).pointer_path(&pin.commit).join(&file.path)
    }

    /// Downloads a file, verifies its digest, and moves it to where other tools find it.
    pub(super) async fn fetch(
        &self,
        pin: &Pin,
        file: &PinnedFile,
        effort: Effort,
        progress: &dyn Progress,
    ) -> Result<(), ModelError> {
        let repo = repo_of(pin);
        let folder = repo.folder_name();
        let blobs = self.settings.cache_dir.join(&folder).join("blobs");
        let locks = self.settings.cache_dir.join(".locks").join(&folder);
        create_dir(&blobs)?;
        create_dir(&locks)?;
        // The names of Python's huggingface_hub: it waits for our lock, and resumes our downloads.
        let _lock = lock::hold(&locks.join(format!("{}.lock", file.blob())), &file.path).await?;
        let blob = blobs.join(file.blob());
        if !blob.is_file() {
            let partial = blobs.join(format!("{}{INCOMPLETE}", file.blob()));
            let url = self.file_url(pin, file)?;
            tracing::info!(%url, "downloading a model");
            self.fetcher(&pin.repo, effort)?.download(&url, &partial, progress).await?;
            let (hashed, small) = (partial.clone(), file.git.is_some());
            let hash = move || if small { digest::git_id(&hashed) } else { digest::of_file(&hashed) };
            let actual = blocking(hash).await?;
            if actual != file.blob() {
                fs::remove_file(&partial).map_err(ModelError::cache(&partial))?;
                let (url, expected) = (url.to_string(), file.blob().to_owned());
                return Err(match small {
                    true => ModelError::HubAnswer { url, why: format!("its id in git is {actual}, not {expected}") },
                    false => ModelError::HubDigest { url, expected, actual },
                });
            }
            fs::rename(&partial, &blob).map_err(ModelError::cache(&blob))?;
        }
        link(&blob, &self.path(pin, file), &file.path)?;
        if !is_commit(&pin.revision) {
            let refs = self.settings.cache_dir.join(&folder).join("refs");
            self.cache().repo(repo).create_ref(&pin.commit).map_err(ModelError::cache(&refs))?;
        }
        Ok(())
    }

    /// Downloads the header of a GGUF file: its bytes up to the end of its metadata.
    pub(super) async fn fetch_header(
        &self,
        pin: &Pin,
        file: &PinnedFile,
        effort: Effort,
        progress: &dyn Progress,
    ) -> Result<Vec<u8>, ModelError> {
        let url = self.file_url(pin, file)?;
        tracing::info!(%url, "downloading the header of a model");
        let name = Path::new(&pin.repo).join(&file.path);
        let read = |bytes: &[u8]| match GgufHeader::parse(bytes) {
            Ok(header) => Ok(Need::First(header.bytes())),
            Err(Fault::EndsBefore(needed)) => Ok(Need::More(needed)),
            Err(fault) => Err(fault.of_file(&name, bytes.len() as u64)),
        };
        self.fetcher(&pin.repo, effort)?.beginning(&url, &name, GgufHeader::MOST, progress, read).await
    }

    fn file_url(&self, pin: &Pin, file: &PinnedFile) -> Result<Url, ModelError> {
        self.url(&format!("{}/resolve/{}/{}", pin.repo, pin.commit, file.path))
    }

    fn url(&self, path: &str) -> Result<Url, ModelError> {
        let endpoint = self.settings.endpoint.trim_end_matches('/');
        let url = Url::parse(&format!("{endpoint}/{path}")).ok().filter(Url::has_host);
        url.ok_or_else(|| ModelError::HubEndpoint { endpoint: endpoint.to_owned() })
    }

    fn fetcher(&self, repo: &str, effort: Effort) -> Result<Fetcher, ModelError> {
        let token = match self.settings.token.trim() {
            "" => self.cache().token().unwrap_or_default(),
            token => token.to_owned(),
        };
        let mut header = None;
        if !token.is_empty() {
            let mut value = HeaderValue::from_str(&format!("Bearer {token}")).map_err(|_| ModelError::HubToken)?;
            value.set_sensitive(true);
            header = Some(value);
        }
        let endpoint = self.url("")?;
        Fetcher::for_hub(Access { endpoint, token: header, repo: repo.to_owned() }, effort)
    }
}

fn repo_of(pin: &Pin) -> Repo {
    Repo::with_revision(pin.repo.clone(), RepoType::Model, pin.revision.clone())
}

/// The files of a snapshot, as paths from there.
fn files_below(snapshot: &Path) -> Vec<String> {
    let (mut files, mut folders) = (Vec::new(), vec![snapshot.to_path_buf()]);
    while let Some(folder) = folders.pop() {
        for path in fs::read_dir(folder).into_iter().flatten().filter_map(|entry| Some(entry.ok()?.path())) {
            if path.is_dir() {
                folders.push(path);
            } else if let Some(name) = path.strip_prefix(snapshot).ok().and_then(Path::to_str) {
                files.push(name.replace(std::path::MAIN_SEPARATOR, "/"));
            }
        }
    }
    files
}

/// Links `pointer` to `blob`; `file` is its path in the snapshot.
fn link(blob: &Path, pointer: &Path, file: &str) -> Result<(), ModelError> {
    if pointer.exists() {
        return Ok(());
    }
    create_dir(pointer.parent().unwrap_or(Path::new(".")))?;
    // A dangling link.
    let _ = fs::remove_file(pointer);
    #[cfg(unix)]
    let linked = {
        let up = "../".repeat(file.split('/').count() + 1);
        let name = blob.file_name().unwrap_or_default().to_string_lossy();
        std::os::unix::fs::symlink(format!("{up}blobs/{name}"), pointer)
    };
    // Symbolic links need a privilege on Windows.
    #[cfg(not(unix))]
    let linked = {
        let _ = file;
        fs::hard_link(blob, pointer)
    };
    linked.map_err(ModelError::cache(pointer))
}
