//! The models of the catalogue as lists show them.

use std::path::PathBuf;

use super::catalogue::{CatalogueEntry, ModelSource};
use super::memory;
use super::store::ModelStore;
use crate::domain::Method;

/// A model of the catalogue, and its state on disk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ModelStatus {
    /// The alias.
    pub name: String,
    /// A description in one line.
    pub summary: String,
    /// SPDX identifier of the weights' licence, or its name.
    pub licence: String,
    /// The prompt set that the model was trained for.
    pub prompt_set: String,
    /// The family of the chat template in its file.
    pub chat_template: String,
    /// Context length: tokens of prompt and answer together.
    pub context: u32,
    /// Its sources, in order of preference: packages, or a repository of the hub.
    pub sources: Vec<String>,
    /// The repository of the original weights, if it is different.
    pub home: Option<String>,
    /// How well its verdicts agree with those of people, if known.
    pub agreement: Option<String>,
    /// How it compares responses best, if known.
    pub preference_method: Option<Method>,
    /// Estimated memory needs, in bytes; from the file itself if it is on disk.
    pub memory: u64,
    /// The size of its files in bytes, if it was pulled.
    pub size: Option<u64>,
    /// The path of the file, if it was pulled.
    pub path: Option<PathBuf>,
    /// The file that it sees pictures with, if it has eyes. Its bytes are among those of `memory`.
    pub eyes: Option<EyesStatus>,
}

/// The eyes of a model of the catalogue, and their state on disk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EyesStatus {
    /// SPDX identifier of the licence, or its name.
    pub licence: String,
    /// Its sources, in order of preference.
    pub sources: Vec<String>,
    /// The size of the file in bytes.
    pub bytes: u64,
    /// The path of the file, if it was pulled.
    pub path: Option<PathBuf>,
}

impl ModelStore {
    /// All models of the catalogue, in order. Their memory needs include keys and values of `tokens` tokens.
    #[must_use]
    pub fn list(&self, tokens: u64) -> Vec<ModelStatus> {
        self.catalogue.entries.iter().map(|entry| self.status(entry, tokens)).collect()
    }

    fn status(&self, entry: &CatalogueEntry, tokens: u64) -> ModelStatus {
        let path = self.found(entry).ok();
        let estimate = entry.weights + entry.kv_per_token * tokens;
        let eyes = entry.of_eyes().map(|eyes| EyesStatus {
            path: self.found(&eyes).ok(),
            bytes: eyes.weights,
            sources: eyes.sources.iter().map(ModelSource::describe).collect(),
            licence: eyes.licence,
        });
        let memory = path.as_ref().and_then(|path| memory::needed(path, tokens).ok()).unwrap_or(estimate);
        ModelStatus {
            name: entry.name.clone(),
            summary: entry.summary.clone(),
            licence: entry.licence.clone(),
            prompt_set: entry.prompt_set.clone(),
            chat_template: entry.chat_template.clone(),
            context: entry.context,
            sources: entry.sources.iter().map(ModelSource::describe).collect(),
            home: entry.home.clone(),
            agreement: entry.agreement.clone(),
            preference_method: entry.preference_method,
            memory: memory + eyes.as_ref().map_or(0, |eyes| eyes.bytes),
            size: path.as_ref().map(|path| memory::weights(path)),
            path,
            eyes,
        }
    }
}
