//! Errors of commands, and the exit codes that they end with. docs/cli.md has the table.

use std::fmt::Display;

use crate::config::ConfigError;
use crate::facade::Error;
use crate::keys::KeyError;
use crate::labelled::DataError;
use crate::models::ModelError;
use crate::prompts::PromptError;
use crate::service::registry::StartError;

/// Why a command fails; the message says what to do.
#[derive(Debug, thiserror::Error)]
pub enum CliError {
    /// The configuration is invalid.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// What is configured cannot be used as it is; again would not help.
    #[error("{0}")]
    Unusable(String),
    /// The server cannot start.
    #[error(transparent)]
    Start(#[from] StartError),
    /// The judge of this process cannot be loaded, or fails.
    #[error(transparent)]
    Judge(Box<Error>),
    /// A model is not available.
    #[error(transparent)]
    Model(#[from] ModelError),
    /// The API keys cannot be read or changed.
    #[error(transparent)]
    Keys(#[from] KeyError),
    /// A prompt set is invalid.
    #[error(transparent)]
    Prompt(#[from] PromptError),
    /// A file of data is wrong.
    #[error(transparent)]
    Data(#[from] DataError),
    /// The arguments do not go together.
    #[error("{0}")]
    Usage(String),
    /// The mean is below the limit that was asked for.
    #[error("{0}")]
    BelowLimit(String),
    /// Some items have no result; those of the others are written.
    #[error("{0}")]
    ItemsFailed(String),
    /// A signal ended the run; what was done is written.
    #[error("{0}")]
    Interrupted(String),
    /// The server refuses the request; again would not help.
    #[error("{0}")]
    Refused(String),
    /// Any other error.
    #[error("{0}")]
    Failed(String),
}

impl From<Error> for CliError {
    fn from(error: Error) -> Self {
        Self::Judge(Box::new(error))
    }
}

impl CliError {
    /// The exit code of the program.
    #[must_use]
    pub fn exit_code(&self) -> u8 {
        match self {
            // As clap ends for arguments that it does not understand.
            Self::Usage(_) => 2,
            Self::BelowLimit(_) => 3,
            Self::ItemsFailed(_) => 4,
            // As shells have it: 128 and the number of the signal.
            Self::Interrupted(_) => 130,
            // EX_CONFIG of sysexits.h: a supervisor need not try again.
            Self::Config(_) | Self::Unusable(_) => 78,
            Self::Start(error) if error.is_of_configuration() => 78,
            _ => 1,
        }
    }

    pub(super) fn because(what: impl Display, cause: impl Display) -> Self {
        Self::Failed(format!("{what}: {cause}"))
    }
}
