//! The composition root: builds everything once and hands out handles. Nothing is global, so two servers run in
//! one process.

use std::path::PathBuf;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, Instant};

use crate::admission::{Admission, Permit, Refusal};
use crate::config::{Config, EngineChoice};
use crate::engine::scripted::Scripted;
use crate::engine::{Engine, EngineError, LoadError};
use crate::grading::{AbsoluteRequest, RelativeRequest};
use crate::judge::{Judge, JudgeError};
use crate::metrics::Metrics;
use crate::models::{ModelError, ModelStore, Progress as PullProgress};
use crate::panel::{Absolute, Account, Panel, Plan, Progress, Relative};
use crate::prompts::{PromptError, PromptLibrary};
use crate::rubrics::RubricLibrary;

/// Bytes of judged text above which planning leaves the serving thread: some milliseconds of tokenising.
const LONG_TEXT: usize = 64 << 10;

/// The prompt set of models that name none.
const GENERAL_PROMPT_SET: &str = "plain";

/// Everything that a server is made of.
pub struct App {
    /// The settings.
    pub config: Config,
    /// The metrics.
    pub metrics: Arc<Metrics>,
    /// The rubrics.
    pub rubrics: Arc<RubricLibrary>,
    /// Who gets in.
    pub admission: Admission,
    prompts: Arc<PromptLibrary>,
    models: ModelStore,
    state: RwLock<State>,
}

/// How far the model is.
#[derive(Clone)]
enum State {
    Loading,
    Ready(Arc<Panel>),
    Failed(String),
}

/// Why the server cannot be built, or its model not be started.
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
    Judge(#[from] JudgeError),
}

/// Why a request is not served.
#[derive(Debug, Clone, thiserror::Error)]
pub enum ServiceError {
    /// The model is not ready yet.
    #[error("the model is still loading")]
    Loading,
    /// The model cannot be loaded.
    #[error("the model could not be loaded: {0}")]
    LoadFailed(String),
    /// The judge does not judge.
    #[error(transparent)]
    Judge(#[from] JudgeError),
    /// It is not let in.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// It took too long.
    #[error("the deadline of {} ms has passed", .0.as_millis())]
    Deadline(Duration),
}

/// A request that has been planned and let in.
pub struct Admitted<R> {
    panel: Arc<Panel>,
    plan: Plan<R>,
    _permit: Permit,
    deadline: Duration,
    started: Instant,
}

impl App {
    /// Builds the server without its model, which [`App::load`] starts.
    ///
    /// # Errors
    /// When a prompt set or the catalogue of models is wrong.
    pub fn build(config: Config) -> Result<Arc<Self>, StartError> {
        let rubrics = RubricLibrary::load(config.data_dir.join("rubrics"));
        let prompts = Arc::new(PromptLibrary::load(Some(&config.data_dir.join("prompts")))?);
        let models = ModelStore::new(config.cache_dir.clone(), config.offline)?;
        Ok(Arc::new(Self {
            metrics: Arc::new(Metrics::new()),
            admission: Admission::new(config.limits.in_flight, config.limits.queue),
            state: RwLock::new(State::Loading),
            rubrics,
            prompts,
            models,
            config,
        }))
    }

    /// The model store.
    #[must_use]
    pub fn models(&self) -> &ModelStore {
        &self.models
    }

    /// The prompt sets.
    #[must_use]
    pub fn prompts(&self) -> &Arc<PromptLibrary> {
        &self.prompts
    }

    /// Gets the model and starts its engine; the server is ready once this returns.
    ///
    /// # Errors
    /// When the model cannot be had or the engine not be started; requests are told so, too.
    pub async fn load(&self, progress: &dyn PullProgress) -> Result<(), StartError> {
        let loaded = match self.start_engine(progress).await {
            Ok((engine, prompt_set)) => self.host(engine, prompt_set),
            Err(error) => Err(error),
        };
        loaded.inspect_err(|error| self.set_state(State::Failed(error.to_string())))
    }

    /// Judges with an engine that is already running.
    ///
    /// # Errors
    /// When the default prompt set is not there.
    pub fn host(&self, engine: Arc<dyn Engine>, prompt_set: Option<String>) -> Result<(), StartError> {
        let configured = Some(self.config.prompt.clone()).filter(|name| !name.is_empty());
        let set = configured.or(prompt_set).unwrap_or_else(|| GENERAL_PROMPT_SET.to_owned());
        let metrics = Arc::clone(&self.metrics);
        let kept = self.config.limits.cached_judgements;
        let judge = Judge::new(engine, Arc::clone(&self.prompts), set, kept, Arc::clone(&metrics));
        judge.prompt_set(None)?;
        self.set_state(State::Ready(Arc::new(Panel::new(judge, metrics))));
        Ok(())
    }

    async fn start_engine(&self, progress: &dyn PullProgress) -> Result<(Arc<dyn Engine>, Option<String>), StartError> {
        match self.config.engine {
            EngineChoice::Scripted => {
                let delay = Duration::from_millis(self.config.scripted_delay_ms);
                let answers: &PathBuf = &self.config.scripted_answers;
                let engine = if answers.as_os_str().is_empty() {
                    Scripted::fixed(delay)
                } else {
                    Scripted::from_file(answers, delay)?
                };
                Ok((Arc::new(engine), None))
            }
            EngineChoice::Mistralrs => {
                Err(LoadError::NotBuilt("mistralrs".into(), "it is not part of this version yet").into())
            }
            EngineChoice::Remote => {
                Err(LoadError::NotBuilt("remote".into(), "it is not part of this version yet").into())
            }
            EngineChoice::Auto | EngineChoice::LlamaCpp => self.start_llama_cpp(progress).await,
        }
    }

    #[cfg(feature = "llama-cpp")]
    async fn start_llama_cpp(
        &self,
        progress: &dyn PullProgress,
    ) -> Result<(Arc<dyn Engine>, Option<String>), StartError> {
        use crate::engine::llama_cpp::{LlamaCpp, Settings};
        let model = self.models.resolve(&self.config.model, progress).await?;
        let sizes = &self.config.llama_cpp;
        let settings = Settings {
            sequences: sizes.sequences,
            kv_tokens: sizes.kv_tokens,
            prefixes: sizes.cached_prefixes,
            prefix_tokens: sizes.cached_tokens,
            step_tokens: sizes.step_tokens,
            threads: sizes.threads,
            gpu_layers: sizes.gpu_layers,
        };
        let prompt_set = model.prompt_set.clone();
        let engine = tokio::task::spawn_blocking(move || LlamaCpp::load(&model, settings)).await;
        let engine = engine
            .map_err(|panic| LoadError::Model { path: self.config.model.clone(), reason: panic.to_string() })??;
        Ok((Arc::new(engine), prompt_set))
    }

    #[cfg(not(feature = "llama-cpp"))]
    async fn start_llama_cpp(
        &self,
        _progress: &dyn PullProgress,
    ) -> Result<(Arc<dyn Engine>, Option<String>), StartError> {
        Err(LoadError::NotBuilt("llama-cpp".into(), "build it with the feature `llama-cpp`, which is the default")
            .into())
    }

    fn set_state(&self, state: State) {
        *self.state.write().unwrap_or_else(PoisonError::into_inner) = state;
    }

    /// The panel, once the model is ready.
    ///
    /// # Errors
    /// While the model loads, and when it could not be loaded.
    pub fn panel(&self) -> Result<Arc<Panel>, ServiceError> {
        match &*self.state.read().unwrap_or_else(PoisonError::into_inner) {
            State::Loading => Err(ServiceError::Loading),
            State::Failed(reason) => Err(ServiceError::LoadFailed(reason.clone())),
            State::Ready(panel) if !panel.judge().alive() => {
                Err(ServiceError::LoadFailed("its engine has died".into()))
            }
            State::Ready(panel) => Ok(Arc::clone(panel)),
        }
    }

    /// Whether the engine has died for good, which only a new process mends.
    #[must_use]
    pub fn engine_has_died(&self) -> bool {
        matches!(&*self.state.read().unwrap_or_else(PoisonError::into_inner), State::Ready(panel) if !panel.judge().alive())
    }

    /// The metrics in the Prometheus text format, as they are now.
    #[must_use]
    pub fn render_metrics(&self) -> String {
        let queued = self.admission.waiting();
        let panel = self.panel().ok();
        let engines = panel.iter().map(|panel| (panel.judge().engine(), panel.judge().load()));
        self.metrics.render(engines, queued)
    }

    /// Plans an absolute grading and waits until it may run.
    ///
    /// # Errors
    /// When it can never run, when it is not let in, or when the deadline passes first.
    pub async fn admit_absolute(
        &self,
        request: AbsoluteRequest,
        deadline: Duration,
    ) -> Result<Admitted<AbsoluteRequest>, ServiceError> {
        self.admit(request.text_len(), move |panel| panel.plan_absolute(request), deadline).await
    }

    /// Plans a relative grading and waits until it may run.
    ///
    /// # Errors
    /// When it can never run, when it is not let in, or when the deadline passes first.
    pub async fn admit_relative(
        &self,
        request: RelativeRequest,
        deadline: Duration,
    ) -> Result<Admitted<RelativeRequest>, ServiceError> {
        self.admit(request.text_len(), move |panel| panel.plan_relative(request), deadline).await
    }

    /// Plans first, so that what can never run is refused before it waits; but not for a request that would be
    /// turned away in any case, and not on the thread that serves others when there is much to tokenise.
    async fn admit<R: Send + 'static>(
        &self,
        text_len: usize,
        plan: impl FnOnce(&Panel) -> Result<Plan<R>, JudgeError> + Send + 'static,
        deadline: Duration,
    ) -> Result<Admitted<R>, ServiceError> {
        let started = Instant::now();
        let panel = self.panel()?;
        self.admission.check()?;
        let mut plan = if text_len < LONG_TEXT {
            plan(&panel)?
        } else {
            let (panel, span) = (Arc::clone(&panel), tracing::Span::current());
            let planned = tokio::task::spawn_blocking(move || span.in_scope(|| plan(&panel))).await;
            planned.map_err(|panic| JudgeError::Engine(EngineError::Failed(panic.to_string())))??
        };
        let asked = Instant::now();
        let permit = within(deadline, started, self.admission.enter()).await??;
        plan.has_waited(asked.elapsed());
        Ok(Admitted { panel, plan, _permit: permit, deadline, started })
    }
}

impl Admitted<AbsoluteRequest> {
    /// Runs it. Dropping the future cancels the work in the engine.
    ///
    /// # Errors
    /// When the engine fails or the deadline passes.
    pub async fn run(self, progress: Option<Progress>) -> Result<(Absolute, Account), ServiceError> {
        let run = self.panel.absolute(self.plan, progress);
        Ok(within(self.deadline, self.started, run).await??)
    }
}

impl Admitted<RelativeRequest> {
    /// Runs it. Dropping the future cancels the work in the engine.
    ///
    /// # Errors
    /// When the engine fails or the deadline passes.
    pub async fn run(self, progress: Option<Progress>) -> Result<(Relative, Account), ServiceError> {
        let run = self.panel.relative(self.plan, progress);
        Ok(within(self.deadline, self.started, run).await??)
    }
}

async fn within<T>(deadline: Duration, started: Instant, work: impl Future<Output = T>) -> Result<T, ServiceError> {
    let left = deadline.saturating_sub(started.elapsed());
    tokio::time::timeout(left, work).await.map_err(|_| ServiceError::Deadline(deadline))
}
