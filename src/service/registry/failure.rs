//! Why a model cannot be used, in messages for API clients.

use std::time::Duration;

use super::self_test::SelfTestError;
use super::start_error::StartError;
use crate::domain::spelling::suggestion;
use crate::engine::LoadError;
use crate::models::ModelError;

/// Why a request has no model.
#[derive(Debug, Clone, thiserror::Error)]
pub enum RegistryError {
    /// No model has this name.
    #[error("there is no model `{name}`{}; there are: {known}", suggestion(name, known.split(", ")))]
    Unknown {
        /// The name.
        name: String,
        /// The known names.
        known: String,
    },
    /// It is still being loaded.
    #[error("the model is still loading")]
    Loading,
    /// It could not be loaded.
    #[error(transparent)]
    Failed(#[from] LoadFailure),
}

/// Why a model is not loaded. The message is for API clients: paths and addresses are only in the server's log.
#[derive(Debug, Clone, thiserror::Error)]
pub enum LoadFailure {
    /// It cannot be loaded, or its engine has died.
    #[error("the model `{name}` cannot be used: {why}. The server's log has the reason")]
    Unusable {
        /// The model's name in requests.
        name: String,
        /// The kind of failure.
        why: FailureReason,
        /// Time until the next attempt; `None` where another attempt cannot succeed.
        again: Option<Duration>,
    },
    /// Models that are in use take the memory that it needs.
    #[error("{0}")]
    NoRoom(String),
    /// It needs more memory than models that stay leave of the budget.
    #[error("{0}")]
    NeverFits(String),
}

/// The kind of a failed load.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum FailureReason {
    /// Its files are missing or damaged, or have changed.
    #[error("its files are missing or damaged")]
    Files,
    /// Its files have to be downloaded, and no source serves them at present.
    #[error("its files cannot be downloaded at present")]
    EngineSource,
    /// The engine does not support the file, or has no memory for it.
    #[error("its engine cannot load it")]
    Engine,
    /// Its prompt set does not exist.
    #[error("its prompt set does not exist")]
    PromptSet,
    /// A calibration or a fit of it cannot be used.
    #[error("a calibration or a fit is missing, damaged, or made for another model or prompt")]
    Calibration,
    /// A router was made for something else.
    #[error("a router was made for another model or prompt")]
    Router,
    /// Its prompts cannot be rendered.
    #[error("its chat template or its prompt set cannot be rendered")]
    Template,
    /// Its context has no room for a prompt.
    #[error("its context is too small for a judgement")]
    Context,
    /// Its logits are not finite (NaN).
    #[error("the logits of its first judgement are not numbers (NaN)")]
    Numbers,
    /// Its first judgement failed.
    #[error("its first judgement failed")]
    Judgement,
    /// It is at a server that does not answer.
    #[error("its server does not answer")]
    Unreachable,
    /// It is at a server that cannot be used as it is.
    #[error("its server cannot be used as it is")]
    Server,
    /// It was loaded, and its engine has died.
    #[error("its engine has stopped")]
    Died,
    /// The load was aborted.
    #[error("loading it was interrupted")]
    BrokeOff,
}

impl FailureReason {
    /// Whether another attempt may succeed without a change of the configuration.
    pub(super) fn may_pass(self) -> bool {
        matches!(self, Self::EngineSource | Self::Unreachable | Self::Died | Self::BrokeOff)
    }
}

/// The failure that is stored in a slot.
#[derive(Debug, Clone)]
pub(super) enum SlotFailure {
    Load(FailureReason),
    NoRoom(String),
    NeverFits(String),
}

impl SlotFailure {
    /// Whether another attempt may succeed without a change of the configuration.
    pub(super) fn may_pass(&self) -> bool {
        matches!(self, Self::Load(reason) if reason.may_pass())
    }

    pub(super) fn of(error: &StartError) -> Self {
        Self::Load(match error {
            StartError::NoRoom { .. } => return Self::NoRoom(error.to_string()),
            StartError::NeverFits { .. } => return Self::NeverFits(error.to_string()),
            StartError::Model(error) if error.is_passing() || matches!(error, ModelError::Sources { .. }) => {
                FailureReason::EngineSource
            }
            StartError::Model(_) => FailureReason::Files,
            StartError::Engine(LoadError::Unreachable(_)) => FailureReason::Unreachable,
            StartError::Engine(LoadError::Remote(..)) => FailureReason::Server,
            StartError::Engine(_) => FailureReason::Engine,
            StartError::Calibration(..) => FailureReason::Calibration,
            StartError::Router(..) => FailureReason::Router,
            StartError::SelfTest(_, error) => match **error {
                SelfTestError::Render { .. } => FailureReason::Template,
                SelfTestError::Context { .. } => FailureReason::Context,
                SelfTestError::NotNumbers => FailureReason::Numbers,
                SelfTestError::Engine(_) => FailureReason::Judgement,
            },
            // These are reported before any model is loaded.
            StartError::PromptSet(_)
            | StartError::Prompts(_)
            | StartError::Routers(_)
            | StartError::JudgeModel(_)
            | StartError::NoBudget { .. } => FailureReason::PromptSet,
        })
    }
}
