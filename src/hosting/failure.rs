//! Why a model is not there, as requests are told.

use std::time::Duration;

use super::start::StartError;
use super::trial::TrialError;
use crate::models::ModelError;

/// Why a request has no model.
#[derive(Debug, Clone, thiserror::Error)]
pub enum HostingError {
    /// No model has that name.
    #[error("there is no model `{name}`; there are: {known}")]
    Unknown {
        /// The name.
        name: String,
        /// The names there are.
        known: String,
    },
    /// It is still being loaded.
    #[error("the model is still loading")]
    Loading,
    /// It cannot be had.
    #[error(transparent)]
    Failed(#[from] Failure),
}

/// Why a model is not loaded. What it says is for callers: files and addresses of the server are in its log alone.
#[derive(Debug, Clone, thiserror::Error)]
pub enum Failure {
    /// It cannot be loaded, or its engine has died.
    #[error("the model `{name}` cannot be used: {why}. The server's log has the reason")]
    Load {
        /// What requests call it.
        name: String,
        /// What stands in the way.
        why: Why,
        /// When it may be tried again; `None` where nothing would come of that.
        again: Option<Duration>,
    },
    /// Others that are in use take the room that it needs.
    #[error("{0}")]
    NoRoom(String),
}

/// What stands in the way of a model.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Why {
    /// Its files are missing, damaged, or others than they were.
    #[error("its files are not there or are damaged")]
    Files,
    /// Its files are elsewhere, and cannot be fetched now.
    #[error("its files cannot be fetched at present")]
    Source,
    /// The engine takes no such file, or has no memory for it.
    #[error("its engine does not load it")]
    Engine,
    /// Its prompt set is not there.
    #[error("its prompt set is not there")]
    PromptSet,
    /// Its prompts cannot be written.
    #[error("its chat template or its prompt set cannot be rendered")]
    Template,
    /// Its context has no room for a prompt.
    #[error("its context is too small for a judgement")]
    Context,
    /// It computes no numbers.
    #[error("its first judgement came to no numbers (NaN)")]
    Numbers,
    /// Its engine fails.
    #[error("its first judgement failed")]
    Judgement,
    /// It was there, and its engine has died.
    #[error("its engine has died")]
    Died,
    /// Loading it did not come to an end.
    #[error("loading it broke off")]
    BrokeOff,
}

impl Why {
    /// Whether it may be otherwise the next time without anybody's doing.
    pub(super) fn may_pass(self) -> bool {
        matches!(self, Self::Source | Self::Died | Self::BrokeOff)
    }
}

/// What a failure leaves behind in a model's place.
#[derive(Debug, Clone)]
pub(super) enum Cause {
    Load(Why),
    NoRoom(String),
}

impl Cause {
    pub(super) fn of(error: &StartError) -> Self {
        Self::Load(match error {
            StartError::NoRoom { .. } => return Self::NoRoom(error.to_string()),
            StartError::Model(error) if error.is_passing() || matches!(error, ModelError::Sources { .. }) => {
                Why::Source
            }
            StartError::Model(_) => Why::Files,
            StartError::Engine(_) => Why::Engine,
            StartError::Trial(_, error) => match **error {
                TrialError::Render { .. } => Why::Template,
                TrialError::Context { .. } => Why::Context,
                TrialError::NotNumbers => Why::Numbers,
                TrialError::Engine(_) => Why::Judgement,
            },
            // The last three are found before there are models.
            StartError::PromptSet(_)
            | StartError::Prompts(_)
            | StartError::JudgeModel(_)
            | StartError::NoBudget { .. } => Why::PromptSet,
        })
    }
}
