//! Routers that requests name: which verdicts are for people, by the configuration and by files of `gavel route fit`.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::config::RouterConfig;
use crate::domain::Kind;
use crate::domain::calibration::Mismatch;
use crate::domain::routing::{Cut, InvalidRouter, RouterFile};
use crate::domain::spelling::suggestion;

/// The routers by name.
#[derive(Debug, Default)]
pub struct Routers {
    by_name: BTreeMap<String, Arc<Router>>,
}

/// A router.
#[derive(Debug, Clone, PartialEq)]
pub struct Router {
    /// Its name.
    pub name: String,
    /// The file with its model of disagreement, and that; `None`: the judge's own uncertainty decides.
    pub file: Option<(PathBuf, RouterFile)>,
    /// From which score on items are for people, unless a request says.
    pub cut: Cut,
    /// How many people are asked to label an item that is for people, if any are.
    pub reviewers: Option<u32>,
}

/// Why a router cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum RouterError {
    /// Its file cannot be read.
    #[error("{path} cannot be read: {cause}")]
    Read {
        /// The file.
        path: String,
        /// What the system said.
        cause: std::io::Error,
    },
    /// Its file is not what it should be.
    #[error("{path} {error}")]
    Invalid {
        /// The file.
        path: String,
        /// What is wrong.
        error: InvalidRouter,
    },
    /// Its budget or its threshold is wrong.
    #[error("[routers.{name}] {key} {reason}")]
    Cut {
        /// The router.
        name: String,
        /// The key at fault.
        key: &'static str,
        /// What is wrong.
        reason: String,
    },
    /// Its file was made for something else.
    #[error("{path} {error}")]
    Mismatch {
        /// The file.
        path: String,
        /// For what, and what it is used for.
        error: Mismatch,
    },
}

/// There is no router of a name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("there is no router `{name}`{}; {known}", suggestion(.name, .names.iter().map(String::as_str)))]
pub struct UnknownRouter {
    name: String,
    names: Vec<String>,
    known: String,
}

/// Reads the file of a router.
///
/// # Errors
/// When it cannot be read, or is not in the format.
pub fn read(path: &Path) -> Result<RouterFile, RouterError> {
    let named = || path.display().to_string();
    let text = std::fs::read_to_string(path).map_err(|cause| RouterError::Read { path: named(), cause })?;
    RouterFile::parse(&text).map_err(|error| RouterError::Invalid { path: named(), error })
}

impl Routers {
    /// The routers of a configuration.
    ///
    /// # Errors
    /// At the first file that cannot be used.
    pub fn load(configured: &BTreeMap<String, RouterConfig>) -> Result<Self, RouterError> {
        let mut by_name = BTreeMap::new();
        for (name, config) in configured {
            let file = (!config.file.as_os_str().is_empty()).then(|| (config.file.clone(), read(&config.file)));
            let file = file.map(|(path, file)| file.map(|file| (path, file))).transpose()?;
            let cut = config.cut().map_err(|(key, reason)| RouterError::Cut { name: name.clone(), key, reason })?;
            let reviewers = config.enqueue.then_some(config.reviewers);
            by_name.insert(name.clone(), Arc::new(Router { name: name.clone(), file, cut, reviewers }));
        }
        Ok(Self { by_name })
    }

    /// The router of this name.
    ///
    /// # Errors
    /// If there is none, with the names that there are.
    pub fn named(&self, name: &str) -> Result<Arc<Router>, UnknownRouter> {
        self.by_name.get(name).cloned().ok_or_else(|| {
            let names: Vec<String> = self.names().map(str::to_owned).collect();
            let known = match names.len() {
                0 => "the server has none; leave the name out to route by the judge's own uncertainty".to_owned(),
                _ => format!("there are: {}", names.join(", ")),
            };
            UnknownRouter { name: name.to_owned(), names, known }
        })
    }

    /// Their names.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.by_name.keys().map(String::as_str)
    }

    /// Checks the files that were made for one model against a model, and its prompts for absolute and for relative grading
    /// by name and digest. Where it is not `alone`, those that were made for another model are left to that one.
    ///
    /// # Errors
    /// At the first file that was made for something else.
    pub fn check(&self, model: &str, prompts: [(&str, &str); 2], alone: bool) -> Result<(), RouterError> {
        let of_models = self.by_name.values().filter_map(|router| router.file.as_ref());
        for (path, file) in of_models.filter(|(_, file)| !file.content().jury) {
            let made_for = &file.content().made_for;
            let [absolute, relative] = prompts.map(|prompt| made_for.check(model, prompt));
            let checked = match file.content().kind {
                Kind::Absolute => absolute,
                // Pairs may be compared by their scores.
                Kind::Relative => absolute.or(relative),
            };
            match checked {
                Err(Mismatch::Model { .. }) if !alone => {}
                checked => {
                    checked.map_err(|error| RouterError::Mismatch { path: path.display().to_string(), error })?
                }
            }
        }
        Ok(())
    }
}
