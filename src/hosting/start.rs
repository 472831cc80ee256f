//! From a model's configuration to a judge that answers: its file, its engine, its prompt set.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use super::engines::{self, Sizes};
use crate::config::{Config, EngineChoice, LoadWhen, ModelConfig};
use crate::engine::scripted::Scripted;
use crate::engine::{Engine, EngineInfo, LoadError};
use crate::judge_models::InvalidJudge;
use crate::metrics::Metrics;
use crate::models::{Model, ModelError, ModelStore, Progress, memory_needed, name_of};
use crate::prompts::{PromptError, PromptLibrary};
use crate::service::Judge;
use crate::service::admission::Admission;
use crate::tasks::TaskError;

/// The prompt set of models that name none.
const GENERAL_PROMPT_SET: &str = "plain";

/// A model as it is configured.
#[derive(Debug, Clone)]
pub struct Spec {
    /// What requests call it.
    pub name: String,
    /// When it is loaded.
    pub load: LoadWhen,
    model: String,
    engine: EngineChoice,
    prompt: String,
    memory_mb: Option<u64>,
    sizes: Sizes,
    scripted_delay: Duration,
    scripted_answers: PathBuf,
}

/// Why a server cannot be built, or a model not be started.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// A model cannot be had.
    #[error(transparent)]
    Model(#[from] ModelError),
    /// An engine cannot be started.
    #[error(transparent)]
    Engine(#[from] LoadError),
    /// A prompt set is wrong.
    #[error(transparent)]
    Prompts(#[from] PromptError),
    /// The default prompt set is not there.
    #[error(transparent)]
    PromptSet(#[from] TaskError),
    /// A judge model of the configuration is wrong.
    #[error(transparent)]
    JudgeModel(#[from] InvalidJudge),
    /// The budget of memory has no room for it.
    #[error(
        "the model `{name}` needs {needed} MB, and of the {budget} MB that models may take, {taken} MB are held by \
         models that stay or are in use ({held}). Try again when they are idle, raise memory_budget_mb, or lower its \
         kv_tokens"
    )]
    NoRoom {
        /// The model.
        name: String,
        /// What it needs, in MB.
        needed: u64,
        /// What all may take, in MB.
        budget: u64,
        /// What the others take, in MB.
        taken: u64,
        /// Their names.
        held: String,
    },
}

/// What an engine is made of.
pub(super) enum Source {
    /// A model file.
    File(Model),
    /// Nothing: answers are scripted.
    Script,
}

/// Starts engines.
pub struct Starter {
    models: ModelStore,
    prompts: Arc<PromptLibrary>,
    shared: (Arc<Admission>, Arc<Metrics>),
    cached_judgements: u64,
}

impl Spec {
    /// Every model of a configuration, the default one first.
    #[must_use]
    pub fn all(config: &Config) -> Vec<Self> {
        if !config.models.is_empty() {
            return config.models.iter().map(|model| Self::new(model, config)).collect();
        }
        let engine = config.engine;
        let single = ModelConfig { model: Some(config.model.clone()), ..ModelConfig::default() };
        let name = if engine == EngineChoice::Scripted { "scripted".to_owned() } else { name_of(&config.model) };
        vec![Self::new(&ModelConfig { name: Some(name), ..single }, config)]
    }

    fn new(model: &ModelConfig, config: &Config) -> Self {
        Self {
            name: model.name(),
            load: model.load,
            model: model.model.clone().unwrap_or_else(|| model.name()),
            engine: model.engine.unwrap_or(config.engine),
            prompt: model.prompt.clone().unwrap_or_else(|| config.prompt.clone()),
            memory_mb: model.memory_mb,
            sizes: Sizes {
                llama_cpp: model.llama_cpp.over(&config.llama_cpp),
                mistralrs: model.mistralrs.over(&config.mistralrs),
            },
            scripted_delay: Duration::from_millis(model.scripted_delay_ms.unwrap_or(config.scripted_delay_ms)),
            scripted_answers: model.scripted_answers.clone().unwrap_or_else(|| config.scripted_answers.clone()),
        }
    }
}

impl Starter {
    /// Starts engines on the models of a store.
    #[must_use]
    pub fn new(
        models: ModelStore,
        prompts: Arc<PromptLibrary>,
        shared: (Arc<Admission>, Arc<Metrics>),
        cached_judgements: u64,
    ) -> Self {
        Self { models, prompts, shared, cached_judgements }
    }

    /// Gets what the engine is made of, the model's file if it has one.
    pub(super) async fn fetch(&self, spec: &Spec, progress: &dyn Progress) -> Result<Source, StartError> {
        match spec.engine {
            EngineChoice::Scripted => Ok(Source::Script),
            asked => {
                engines::check_built(engines::chosen(asked, false))?;
                Ok(Source::File(self.models.resolve(&spec.model, progress).await?))
            }
        }
    }

    /// Bytes that it counts for in the budget.
    pub(super) fn memory(&self, spec: &Spec, source: &Source) -> Result<u64, StartError> {
        match (spec.memory_mb, source) {
            (Some(mb), _) => Ok(mb.saturating_mul(1_000_000)),
            (None, Source::Script) => Ok(0),
            (None, Source::File(model)) => {
                let engine = engines::chosen(spec.engine, model.path.is_dir());
                Ok(memory_needed(&model.path, spec.sizes.tokens_in_memory(engine))?)
            }
        }
    }

    /// Starts the engine, warm and answering, as a judge.
    pub(super) async fn start(&self, spec: &Spec, source: Source) -> Result<Judge, StartError> {
        match source {
            Source::Script => {
                let engine = if spec.scripted_answers.as_os_str().is_empty() {
                    Scripted::fixed(spec.scripted_delay)
                } else {
                    Scripted::from_file(&spec.scripted_answers, spec.scripted_delay)?
                };
                self.judge(Arc::new(engine.named(&spec.name)), spec, None)
            }
            Source::File(model) => {
                let (prompt_set, agreement) = (model.prompt_set.clone(), model.agreement.clone());
                let model = Model { name: spec.name.clone(), ..model };
                let engine = engines::open(spec.engine, model, &spec.sizes).await?;
                let judge = self.judge(engine, spec, prompt_set)?;
                let (info, prompt) = (judge.engine(), judge.prompt_set(None)?.name());
                let agreement = agreement.as_deref().unwrap_or("not measured");
                let EngineInfo { model, digest, engine, context, sequences } = info;
                tracing::info!(model, engine, prompt, context, sequences, digest, agreement, "the judge is ready");
                Ok(judge)
            }
        }
    }

    /// A judge on an engine; `prompt_set` is the model's own.
    pub(super) fn judge(
        &self,
        engine: Arc<dyn Engine>,
        spec: &Spec,
        prompt_set: Option<String>,
    ) -> Result<Judge, StartError> {
        let configured = Some(spec.prompt.clone()).filter(|name| !name.is_empty());
        let set = configured.or(prompt_set).unwrap_or_else(|| GENERAL_PROMPT_SET.to_owned());
        let (admission, metrics) = &self.shared;
        let shared = (Arc::clone(admission), Arc::clone(metrics));
        let judge = Judge::new(engine, Arc::clone(&self.prompts), set, self.cached_judgements, shared);
        judge.prompt_set(None)?;
        Ok(judge)
    }
}
