//! Why a server cannot be built, or a model not be loaded.

use super::self_test::SelfTestError;
use crate::calibrations::CalibrationError;
use crate::engine::LoadError;
use crate::models::ModelError;
use crate::prompts::PromptError;
use crate::routers::RouterError;
use crate::tasks::TaskError;
use crate::tasks::presets::InvalidJudge;

impl StartError {
    /// Whether only another configuration, or other files, can help: a restart cannot.
    #[must_use]
    pub fn is_of_configuration(&self) -> bool {
        match self {
            Self::Prompts(_) | Self::PromptSet(_) | Self::JudgeModel(_) => true,
            Self::Calibration(..) | Self::Routers(_) | Self::Router(..) => true,
            Self::Engine(error) => matches!(error, LoadError::NotBuilt(..) | LoadError::Script(_)),
            Self::Model(error) => matches!(error, ModelError::UnknownAlias { .. } | ModelError::NoSuchFile { .. }),
            _ => false,
        }
    }
}

/// Why a server cannot be built, or a model not be loaded.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// A model's files are not available.
    #[error(transparent)]
    Model(#[from] ModelError),
    /// An engine cannot be started.
    #[error(transparent)]
    Engine(#[from] LoadError),
    /// A prompt set is invalid.
    #[error(transparent)]
    Prompts(#[from] PromptError),
    /// The default prompt set does not exist.
    #[error(transparent)]
    PromptSet(#[from] TaskError),
    /// A judge model of the configuration is invalid.
    #[error(transparent)]
    JudgeModel(#[from] InvalidJudge),
    /// A calibration or a fit is not there, is wrong, or was made for something else.
    #[error("the model `{0}`: {1}")]
    Calibration(String, Box<CalibrationError>),
    /// A router of the configuration cannot be used.
    #[error(transparent)]
    Routers(#[from] RouterError),
    /// A router was made for something else.
    #[error("the model `{0}`: {1}")]
    Router(String, Box<RouterError>),
    /// The model failed its self-test.
    #[error("the model `{0}`: {1}")]
    SelfTest(String, Box<SelfTestError>),
    /// The memory budget of a GPU is neither configured nor measurable.
    #[error(
        "models with load = \"first_use\" share the memory of the GPU, whose free memory is not known ({why}): set \
         memory_budget_mb"
    )]
    NoBudget {
        /// Why it is not measurable.
        why: String,
    },
    /// It needs more memory than the budget has beside models that stay.
    #[error(
        "the model `{name}` needs {needed} MB, but of the {budget} MB that models may take, {taken} MB are used by \
         models with load = \"start\" ({held}): raise memory_budget_mb, lower its kv_tokens, or use a smaller model"
    )]
    NeverFits {
        /// The model.
        name: String,
        /// Its memory needs, in MB.
        needed: u64,
        /// The budget, in MB.
        budget: u64,
        /// The memory of the loaded models that stay, in MB.
        taken: u64,
        /// The names of the loaded models that stay.
        held: String,
    },
    /// The memory budget has no room for it at present.
    #[error(
        "the model `{name}` needs {needed} MB, but of the {budget} MB that models may take, {taken} MB are used by \
         models with load = \"start\" or in use ({held}). Try again when they are idle, raise memory_budget_mb, or \
         lower its kv_tokens"
    )]
    NoRoom {
        /// The model.
        name: String,
        /// Its memory needs, in MB.
        needed: u64,
        /// The budget, in MB.
        budget: u64,
        /// The memory of the loaded models, in MB.
        taken: u64,
        /// The names of the loaded models.
        held: String,
    },
}
