//! Models of the catalogue that come out of wheels: downloaded, joined, converted, checked.

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

/// What the name of an unfinished download ends in.
const PARTIAL: &str = ".partial";

/// A model of the catalogue whose file is inside a wheel.
pub(super) struct Package<'a> {
    pub(super) cache: &'a CacheDir,
    pub(super) entry: &'a CatalogueEntry,
    pub(super) source: &'a PypiFile,
}

impl Package<'_> {
    /// Makes sure that the file is here, and is the right one.
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
            // Whoever made the file, now or in another process meanwhile, compared its digest.
            return Ok(self.model(self.loaded_file()));
        }
        let path = self.loaded_file();
        recall(&self.entry.name, path.clone(), self.model_sha256(), self.cache.known()).await?;
        Ok(self.model(path))
    }

    /// Hashes the file, and what it was converted from if that is still here, and compares with the catalogue.
    pub(super) async fn verify(&self) -> Result<Model, ModelError> {
        let source = self.source_file();
        if self.pulled()? != source && source.is_file() {
            check(&self.entry.name, source, self.source_sha256()).await?;
        }
        self.checked().await
    }

    /// Where the file is, if it is here.
    pub(super) fn pulled(&self) -> Result<PathBuf, ModelError> {
        let path = self.loaded_file();
        if path.is_file() {
            return Ok(path);
        }
        Err(ModelError::NotPulled { name: self.entry.name.clone(), path })
    }

    /// The model, whose file is here and has the right digest.
    async fn checked(&self) -> Result<Model, ModelError> {
        let path = self.pulled()?;
        check(&self.entry.name, path.clone(), self.model_sha256()).await?;
        Ok(self.model(path))
    }

    /// Makes what is loaded out of the source's file, which was checked.
    async fn convert(&self, convert: &Convert, progress: &dyn Progress) -> Result<(), ModelError> {
        let lock = self.lock().await?;
        let to = self.loaded_file();
        // Another process may have been faster.
        if to.is_file() {
            return check(&self.entry.name, to, &convert.sha256).await;
        }
        let (source, precision) = (self.source_file(), convert.to);
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

    /// Joins the source's file out of the wheels that hold it, as far as an earlier pull has not done so.
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
        // Another process may have been faster, or have gone further.
        if path.is_file() {
            return check(&self.entry.name, path, self.source_sha256()).await;
        }
        create_dir(&self.folder())?;
        let mut joined = self.joined();
        let missing = &members[joined.members()..];
        let http = Fetcher::new(&pip, effort)?;
        // All are looked up before the first is fetched: one that is nowhere is found out at once.
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

    /// Downloads a wheel, and checks it by its index.
    async fn download(&self, http: &Fetcher, wheel: &Wheel, progress: &dyn Progress) -> Result<PathBuf, ModelError> {
        let url = redacted(&wheel.url);
        tracing::info!(%url, "downloading a model");
        let partial = self.cache.downloads().join(format!("{}{PARTIAL}", wheel.file_name));
        http.download(&wheel.url, &partial, progress).await?;

        let Some(expected) = wheel.sha256.clone() else {
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

    /// Whether a pull from these packages was begun and not finished.
    pub(super) fn begun(&self) -> bool {
        // A download that never got a byte leaves an empty file.
        let has_bytes = |partial: &PathBuf| fs::metadata(partial).is_ok_and(|file| file.len() > 0);
        self.joined().members() > 0 || self.partials(&self.source.members()).iter().any(has_bytes)
    }

    /// Removes what a pull that was begun and not finished has left.
    pub(super) async fn discard(&self) -> Result<(), ModelError> {
        if !self.begun() {
            return Ok(());
        }
        let _lock = self.lock().await?;
        self.joined().remove()?;
        let partials = self.partials(&self.source.members());
        partials.iter().try_for_each(|partial| fs::remove_file(partial).map_err(ModelError::cache(partial)))
    }

    /// Downloads of these members' wheels that were begun and not used up.
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
        // The file that can be loaded: what another machine's `gavel models path` names.
        ModelError::Offline { name: self.entry.name.clone(), path: self.loaded_file(), begun }
    }

    /// Waits until no other pull of this model runs.
    async fn lock(&self) -> Result<File, ModelError> {
        let downloads = self.cache.downloads();
        create_dir(&downloads)?;
        lock::hold(&downloads.join(format!("{}.lock", self.entry.name)), &self.entry.name).await
    }

    /// Where the file that is loaded lies once it was pulled.
    pub(super) fn loaded_file(&self) -> PathBuf {
        self.entry.convert.as_ref().map_or_else(|| self.source_file(), |convert| self.folder().join(&convert.file))
    }

    /// Where the source's file lies: the loaded file, unless that is converted from it.
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
            prompt_set: Some(self.entry.prompt_set.clone()),
            agreement: self.entry.agreement.clone(),
        }
    }
}

/// Where a wheel is.
enum Found {
    /// In a folder that pip knows; it is not ours.
    Here(PathBuf),
    Away(Wheel),
}

impl Found {
    /// How long the wheel is, as far as that is known.
    fn bytes(&self) -> Option<u64> {
        match self {
            Self::Here(path) => fs::metadata(path).ok().map(|file| file.len()),
            Self::Away(wheel) => wheel.size,
        }
    }
}

/// Finds a member's wheel, unless it is `here`.
async fn find(http: &Fetcher, pip: &PipSettings, here: Option<PathBuf>, member: &Member) -> Result<Found, ModelError> {
    match here {
        Some(wheel) => Ok(Found::Here(wheel)),
        None => pypi::find(http, pip, member).await.map(Found::Away),
    }
}

/// Adds a member to the file. A wheel that was downloaded for it goes, unless it would be needed again.
async fn append(
    mut joined: Joined,
    wheel: PathBuf,
    downloaded: bool,
    member: Member,
    lock: Arc<File>,
) -> Result<Joined, ModelError> {
    blocking(move || {
        // The lock goes with the work: a caller that goes away does not stop this thread.
        let _lock = lock;
        let outcome = joined.append(&wheel, &member);
        // For want of room or permission only, the wheel would be needed again.
        let again = matches!(outcome, Err(ModelError::CacheFolder { .. }));
        if downloaded
            && !again
            && let Err(error) = fs::remove_file(&wheel)
        {
            tracing::warn!(%error, wheel = %wheel.display(), "a used wheel stays behind");
        }
        outcome.map(|()| joined)
    })
    .await
}

/// The progress of a pull, of whose wheels each tells its own.
struct Whole<'a> {
    to: &'a dyn Progress,
    name: &'a str,
    /// Bytes in all; `None` where an index does not say how long its wheels are.
    total: Option<u64>,
    /// Bytes before the present wheel, and bytes in all that are in place.
    before: AtomicU64,
    at: AtomicU64,
    started: AtomicBool,
}

impl<'a> Whole<'a> {
    /// `joined` bytes are there already, `wheels` are still to be appended.
    fn new(to: &'a dyn Progress, name: &'a str, joined: u64, wheels: &[Found]) -> Self {
        let total = wheels.iter().map(Found::bytes).sum::<Option<u64>>().map(|bytes| bytes + joined);
        let (before, at) = (AtomicU64::new(joined), AtomicU64::new(joined));
        Self { to, name, total, before, at, started: AtomicBool::new(false) }
    }

    /// The present wheel, of that many bytes, is done.
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

    /// It is not finished before the last wheel is.
    fn finish(&self) {}
}
