//! Tokenizers by name: what a judge that runs elsewhere needs of its model, without the weights.

use std::fs;
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use super::blocking::blocking;
use super::cache_dir::create_dir;
use super::catalogue::{CatalogueEntry, ModelSource};
use super::error::ModelError;
use super::header::GgufHeader;
use super::http::Effort;
use super::pin::Pin;
use super::reference::{Pick, Reference, TOKENIZER_FILES, is_path, name_of};
use super::store::{ModelStore, OnHub, of_entry};
use super::{JudgeTraits, Progress, atomic_file, digest, lock};

/// The files of a model's tokenizer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TokenizerFiles {
    /// The alias, the name of the folder or repository, or the file's name without its extension.
    pub name: String,
    /// A folder with tokenizer.json, or a GGUF file, which may end after its metadata.
    pub path: PathBuf,
    /// `sha256:<hex>`: of the metadata of a GGUF file, from its first byte; for a folder, of the output of `sha256sum`
    /// for the files about the tokenizer.
    pub digest: String,
    /// What the catalogue knows of its model as a judge.
    pub traits: JudgeTraits,
}

impl ModelStore {
    /// Resolves the tokenizer of a model: a path of a folder with tokenizer.json or of a GGUF file; a repository of the
    /// hub (`owner/name`, optionally with `@revision`), of which it takes the files of the tokenizer, or the header of
    /// its only GGUF file; a GGUF file on the hub, as [`Self::resolve`] knows them; or an alias. Of GGUF files only the
    /// header is downloaded, to Gavel's cache. A model that was pulled is used as it is.
    ///
    /// # Errors
    /// If there is no such tokenizer, or it is not available.
    pub async fn resolve_tokenizer(
        &self,
        reference: &str,
        progress: &dyn Progress,
    ) -> Result<TokenizerFiles, ModelError> {
        let path = Path::new(reference);
        let local = Reference::parse(reference).is_none() && is_path(reference);
        if local && path.is_dir() {
            return of_folder(path.to_path_buf(), None).await;
        }
        if local && path.is_file() {
            return of_gguf(path.to_path_buf(), name_of(reference)).await;
        }
        if let Some(repository) = Reference::repository(reference) {
            return self.of_repository(reference, &repository, progress).await;
        }
        if let Some(model) = self.on_hub(reference)? {
            return self.of_file_on_hub(&model, self.cache.full, progress).await;
        }
        if local {
            return Err(ModelError::NoSuchFile { path: path.to_path_buf() });
        }
        self.of_alias(self.catalogue.get(reference)?, progress).await
    }

    /// The tokenizer of a model of the catalogue, from its file or from the first source that gives a part of it.
    async fn of_alias(&self, entry: &CatalogueEntry, progress: &dyn Progress) -> Result<TokenizerFiles, ModelError> {
        if let Ok(path) = self.found(entry) {
            let files = of_gguf(path, entry.name.clone()).await?;
            return Ok(TokenizerFiles { traits: entry.traits(), ..files });
        }
        let effort = if entry.sources.len() > 1 { self.cache.brief } else { self.cache.full };
        let mut failure = ModelError::TokenizerInWheels { name: entry.name.clone() };
        for source in &entry.sources {
            let ModelSource::Hub(file) = source else { continue };
            match self.of_file_on_hub(&of_entry(entry, file)?, effort, progress).await {
                Ok(files) => return Ok(files),
                Err(error) => failure = error,
            }
        }
        Err(failure)
    }

    /// The tokenizer of a GGUF file on the hub: the pulled file, else its header.
    async fn of_file_on_hub(
        &self,
        model: &OnHub,
        effort: Effort,
        progress: &dyn Progress,
    ) -> Result<TokenizerFiles, ModelError> {
        let path = match self.found_on_hub(model) {
            Ok(path) => path,
            Err(_) => self.header_on_hub(model, effort, progress).await?,
        };
        let files = of_gguf(path, model.name.clone()).await?;
        Ok(TokenizerFiles { traits: model.traits.clone(), ..files })
    }

    /// The header of a GGUF file on the hub, of the commit that its name is or becomes pinned to.
    async fn header_on_hub(
        &self,
        model: &OnHub,
        effort: Effort,
        progress: &dyn Progress,
    ) -> Result<PathBuf, ModelError> {
        let pin = self.pin_or_ask(model, effort).await?;
        let file = &pin.files[0];
        // Not a name of a GGUF file, so that it is taken for no model; a model's file is named by the same digest.
        let folder = self.cache.path.join("tokenizers");
        let path = folder.join(format!("{}.gguf-header", file.sha256));
        if !is_header(&path).await? {
            if self.cache.offline {
                return Err(self.offline(model));
            }
            create_dir(&folder)?;
            let _lock = lock::hold(&folder.join(format!("{}.lock", file.sha256)), &file.path).await?;
            // Another process may have done it in the meantime.
            if !is_header(&path).await? {
                let header = self.hub.fetch_header(&pin, file, effort, progress).await?;
                write(path.clone(), header).await?;
            }
        }
        self.keep_pin(model, &pin)?;
        Ok(path)
    }

    /// The tokenizer of a repository of the hub.
    async fn of_repository(
        &self,
        asked: &str,
        repository: &Reference,
        progress: &dyn Progress,
    ) -> Result<TokenizerFiles, ModelError> {
        let whole = OnHub::new(repository.clone(), format!("tokenizer/{}", asked.trim_start_matches("hf:")));
        let effort = self.cache.full;
        let pin = match self.pin_or_ask(&whole, effort).await {
            Ok(pin) => pin,
            // A repository without tokenizer.json may have a GGUF file.
            Err(error @ (ModelError::HubFile { .. } | ModelError::HubOffline { .. })) => {
                let file = OnHub::new(Reference { pick: Pick::Only, ..repository.clone() }, asked.to_owned());
                return match self.of_file_on_hub(&file, effort, progress).await {
                    Err(ModelError::HubFile { .. }) => Err(error),
                    other => other,
                };
            }
            Err(error) => return Err(error),
        };
        for file in &pin.files {
            if !self.hub.path(&pin, file).is_file() {
                if self.cache.offline {
                    return Err(self.offline(&OnHub::new(repository.clone(), asked.to_owned())));
                }
                self.hub.fetch(&pin, file, effort, progress).await?;
            }
        }
        self.keep_pin(&whole, &pin)?;
        let folder = self.hub.path(&pin, &pin.files[0]).parent().map(Path::to_path_buf);
        of_folder(folder.unwrap_or_default(), Some(repository.name())).await
    }

    /// The pin of a name, or what the hub says now.
    async fn pin_or_ask(&self, model: &OnHub, effort: Effort) -> Result<Pin, ModelError> {
        let pin = match self.kept_pin(model) {
            Some(pin) => return Ok(pin),
            None if self.cache.offline => self.pin(model).ok_or_else(|| self.offline(model))?,
            None => self.hub.resolve_remote(&model.reference, effort).await?,
        };
        self.expect(model, &pin)?;
        Ok(pin)
    }
}

/// Whether the header of a GGUF file is there and whole.
async fn is_header(path: &Path) -> Result<bool, ModelError> {
    let path = path.to_path_buf();
    blocking(move || Ok(GgufHeader::read(&path).is_ok())).await
}

async fn write(path: PathBuf, header: Vec<u8>) -> Result<(), ModelError> {
    let write = |unfinished: &Path| fs::write(unfinished, header).map_err(ModelError::cache(unfinished));
    blocking(move || atomic_file::write_atomically(&path, write)).await
}

/// The tokenizer in a folder, which is called `name` or else like the folder. Other files may lie there, too.
async fn of_folder(path: PathBuf, name: Option<String>) -> Result<TokenizerFiles, ModelError> {
    blocking(move || {
        // In the format of `sha256sum`, so that users can verify it. The names make missing files visible.
        let mut sums = String::new();
        for file in TOKENIZER_FILES.iter().map(|name| path.join(name)).filter(|file| file.is_file()) {
            let name = file.file_name().unwrap_or_default().to_string_lossy().into_owned();
            sums.push_str(&format!("{}  {name}\n", digest::of_file(&file)?));
        }
        if !path.join(TOKENIZER_FILES[0]).is_file() {
            return Err(ModelError::NoTokenizer { path });
        }
        let own = || Ok(name_of(&path.canonicalize().map_err(ModelError::unreadable(&path))?.to_string_lossy()));
        let name = name.map_or_else(own, Ok)?;
        let digest = format!("sha256:{:x}", Sha256::digest(sums));
        Ok(TokenizerFiles { name, path, digest, traits: JudgeTraits::default() })
    })
    .await
}

/// The tokenizer of a GGUF file, or of its header.
async fn of_gguf(path: PathBuf, name: String) -> Result<TokenizerFiles, ModelError> {
    blocking(move || {
        let header = GgufHeader::read(&path)?;
        let digest = format!("sha256:{}", digest::of_beginning(&path, header.bytes())?);
        Ok(TokenizerFiles { name, path, digest, traits: JudgeTraits::default() })
    })
    .await
}
