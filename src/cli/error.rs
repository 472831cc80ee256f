//! Why a command fails.

use std::fmt::Display;

use crate::config::ConfigError;
use crate::facade::Error;
use crate::labelled::DataError;
use crate::models::ModelError;
use crate::prompts::PromptError;
use crate::service::registry::StartError;

/// Why a command fails; the message says what to do.
#[derive(Debug, thiserror::Error)]
pub enum CliError {
    /// The configuration is wrong.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The server cannot start.
    #[error(transparent)]
    Start(#[from] StartError),
    /// The judge of this process cannot be made, or does not judge.
    #[error(transparent)]
    Judge(Box<Error>),
    /// A model cannot be had.
    #[error(transparent)]
    Model(#[from] ModelError),
    /// A prompt set is wrong.
    #[error(transparent)]
    Prompt(#[from] PromptError),
    /// A file of data is wrong.
    #[error(transparent)]
    Data(#[from] DataError),
    /// Anything else that has a message of its own.
    #[error("{0}")]
    Failed(String),
}

impl From<Error> for CliError {
    fn from(error: Error) -> Self {
        Self::Judge(Box::new(error))
    }
}

impl CliError {
    pub(super) fn because(what: impl Display, cause: impl Display) -> Self {
        Self::Failed(format!("{what}: {cause}"))
    }
}
