//! The composition root: builds everything once and hands out handles. Nothing is global, so two servers run in
//! one process.

mod bulk;
mod many;

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::admission::{Admission, Permit, Refusal};
use crate::config::Config;
use crate::engine::{Engine, EngineError, Load};
use crate::grading::{AbsoluteRequest, Judgement, RelativeRequest};
pub use crate::hosting::StartError;
use crate::hosting::{Hosting, HostingError, Starter};
use crate::judge::JudgeError;
use crate::judge_models::JudgeModels;
use crate::metrics::Metrics;
use crate::models::{HubSettings, ModelError, ModelStore, Progress as PullProgress};
use crate::panel::{Absolute, Account, Chat, Panel, Plan, Progress, Relative};
use crate::prompts::PromptLibrary;
use crate::rubrics::RubricLibrary;

/// Bytes of judged text above which planning leaves the serving thread: some milliseconds of tokenising.
const LONG_TEXT: usize = 64 << 10;

/// Everything that a server is made of.
pub struct App {
    /// The settings.
    pub config: Config,
    /// The metrics.
    pub metrics: Arc<Metrics>,
    /// The rubrics.
    pub rubrics: Arc<RubricLibrary>,
    /// The judge models.
    pub judge_models: JudgeModels,
    /// Who gets in.
    pub admission: Admission,
    prompts: Arc<PromptLibrary>,
    hosting: Arc<Hosting>,
}

/// Why a request is not served.
#[derive(Debug, Clone, thiserror::Error)]
pub enum ServiceError {
    /// The model is not there.
    #[error(transparent)]
    Hosting(#[from] HostingError),
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
    deadline: Deadline,
}

/// How long a request may take, counted from when it came.
#[derive(Debug, Clone, Copy)]
pub struct Deadline {
    allowed: Duration,
    started: Instant,
}

impl App {
    /// Builds the server without its models, which [`App::load`] starts.
    ///
    /// # Errors
    /// When a prompt set, a judge model or the catalogue of models is wrong.
    pub fn build(config: Config) -> Result<Arc<Self>, StartError> {
        let rubrics = RubricLibrary::load(config.data_dir.join("rubrics"));
        let prompts = Arc::new(PromptLibrary::load(Some(&config.data_dir.join("prompts")))?);
        let metrics = Arc::new(Metrics::new());
        let default = &config.grading.rubric;
        if let (false, Err(error)) = (default.is_empty(), rubrics.named(default)) {
            // It may still be put there: rubrics come and go while the server runs.
            tracing::warn!(%error, "grading.rubric");
        }
        let kept = config.limits.cached_judgements;
        let starter = Starter::new(model_store(&config)?, Arc::clone(&prompts), Arc::clone(&metrics), kept);
        Ok(Arc::new(Self {
            metrics,
            admission: Admission::new(config.limits.in_flight, config.limits.queue),
            hosting: Arc::new(Hosting::new(&config, starter)),
            judge_models: JudgeModels::new(&config.judges, &config.aliases)?,
            rubrics,
            prompts,
            config,
        }))
    }

    /// The prompt sets.
    #[must_use]
    pub fn prompts(&self) -> &Arc<PromptLibrary> {
        &self.prompts
    }

    /// The models.
    #[must_use]
    pub fn hosting(&self) -> &Hosting {
        &self.hosting
    }

    /// Gets the models that are to be there from the start, and starts their engines; the server is ready once this
    /// returns.
    ///
    /// # Errors
    /// When a model cannot be had or its engine not be started; requests are told so, too.
    pub async fn load(&self, progress: &dyn PullProgress) -> Result<(), StartError> {
        self.hosting.load(progress).await
    }

    /// Judges with an engine that is already running.
    ///
    /// # Errors
    /// When the default prompt set is not there.
    pub fn host(&self, engine: Arc<dyn Engine>, prompt_set: Option<String>) -> Result<(), StartError> {
        self.hosting.host(engine, prompt_set)
    }

    /// The panel of a model, the default one if none is named. One of first use is waited for until the deadline.
    ///
    /// # Errors
    /// When nobody is let in, there is no such model, it is still loading, or could not be loaded.
    pub async fn panel(&self, model: Option<&str>, deadline: Deadline) -> Result<Arc<Panel>, ServiceError> {
        self.admission.check()?;
        Ok(self.hosting.panel(model, deadline.left()).await?)
    }

    /// Whether an engine has died for good, which only a new process mends.
    #[must_use]
    pub fn engine_has_died(&self) -> bool {
        self.hosting.engine_has_died()
    }

    /// The metrics in the Prometheus text format, as they are now.
    #[must_use]
    pub fn render_metrics(&self) -> String {
        let outside = Load { waiting: self.admission.waiting(), ..self.hosting.past() };
        let engines = self.hosting.engines();
        self.metrics.render(engines.iter().map(|(info, load)| (info, *load)), outside)
    }

    /// Plans an absolute grading and waits until it may run.
    ///
    /// # Errors
    /// When it can never run, when it is not let in, or when the deadline passes first.
    pub async fn admit_absolute(
        &self,
        panel: Arc<Panel>,
        request: AbsoluteRequest,
        deadline: Deadline,
    ) -> Result<Admitted<AbsoluteRequest>, ServiceError> {
        self.admit(panel, request.text_len(), move |panel| panel.plan_absolute(request), deadline).await
    }

    /// Plans a relative grading and waits until it may run.
    ///
    /// # Errors
    /// When it can never run, when it is not let in, or when the deadline passes first.
    pub async fn admit_relative(
        &self,
        panel: Arc<Panel>,
        request: RelativeRequest,
        deadline: Deadline,
    ) -> Result<Admitted<RelativeRequest>, ServiceError> {
        self.admit(panel, request.text_len(), move |panel| panel.plan_relative(request), deadline).await
    }

    /// Plans what is done with a prompt of the caller's own and waits until it may run.
    ///
    /// # Errors
    /// When it can never run, when it is not let in, or when the deadline passes first.
    pub async fn admit_chat(
        &self,
        panel: Arc<Panel>,
        request: Chat,
        deadline: Deadline,
    ) -> Result<Admitted<Chat>, ServiceError> {
        if request.has_grammar() {
            return self.admit_first(panel, move |panel| panel.plan_chat(request), deadline).await;
        }
        self.admit(panel, request.text_len(), move |panel| panel.plan_chat(request), deadline).await
    }

    /// Lets in first and plans then, for plans that are much work. The place is taken until the plan is made, whether
    /// or not anybody still waits for it: what nobody can stop is bounded by the places that there are.
    async fn admit_first<R: Send + 'static>(
        &self,
        panel: Arc<Panel>,
        plan: impl FnOnce(&Panel) -> Result<Plan<R>, JudgeError> + Send + 'static,
        deadline: Deadline,
    ) -> Result<Admitted<R>, ServiceError> {
        let asked = Instant::now();
        let permit = deadline.within(self.admission.enter()).await??;
        let waited = asked.elapsed();
        let planned = blocking(move || {
            let plan = plan(&panel);
            (panel, plan, permit)
        });
        let (panel, plan, permit) = deadline.within(planned).await??;
        let mut plan = plan?;
        plan.has_waited(waited);
        Ok(Admitted { panel, plan, _permit: permit, deadline })
    }

    /// Lets in a computation of the server's own, and does it where it keeps nobody else waiting. Its place is taken
    /// until it ends, whether or not anybody still waits for it.
    ///
    /// # Errors
    /// When it is not let in, or the deadline passes first.
    pub async fn compute<T: Send + 'static>(
        &self,
        deadline: Deadline,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, ServiceError> {
        let permit = deadline.within(self.admission.enter()).await??;
        let computed = blocking(move || {
            let result = work();
            drop(permit);
            result
        });
        Ok(deadline.within(computed).await??)
    }

    /// Plans first, so that what can never run is refused before it waits; but not for a request that would be
    /// turned away in any case.
    async fn admit<R: Send + 'static>(
        &self,
        panel: Arc<Panel>,
        text_len: usize,
        plan: impl FnOnce(&Panel) -> Result<Plan<R>, JudgeError> + Send + 'static,
        deadline: Deadline,
    ) -> Result<Admitted<R>, ServiceError> {
        self.admission.check()?;
        let mut plan = planned(&panel, text_len, plan).await?;
        let asked = Instant::now();
        let permit = deadline.within(self.admission.enter()).await??;
        plan.has_waited(asked.elapsed());
        Ok(Admitted { panel, plan, _permit: permit, deadline })
    }
}

/// Plans; away from the thread that serves others when there is much to tokenise.
async fn planned<R: Send + 'static>(
    panel: &Arc<Panel>,
    text_len: usize,
    plan: impl FnOnce(&Panel) -> Result<Plan<R>, JudgeError> + Send + 'static,
) -> Result<Plan<R>, JudgeError> {
    if text_len < LONG_TEXT {
        return plan(panel);
    }
    let panel = Arc::clone(panel);
    blocking(move || plan(&panel)).await?
}

/// Works on a thread that serves nobody, in the span of who asks.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, JudgeError> {
    let span = tracing::Span::current();
    let done = tokio::task::spawn_blocking(move || span.in_scope(work)).await;
    done.map_err(|panic| JudgeError::Engine(EngineError::Failed(panic.to_string())))
}

impl Admitted<AbsoluteRequest> {
    /// Runs it. Dropping the future cancels the work in the engine.
    ///
    /// # Errors
    /// When the engine fails or the deadline passes.
    pub async fn run(self, progress: Option<Progress>) -> Result<(Absolute, Account), ServiceError> {
        let run = self.panel.absolute(self.plan, progress);
        Ok(self.deadline.within(run).await??)
    }
}

impl Admitted<RelativeRequest> {
    /// Runs it. Dropping the future cancels the work in the engine.
    ///
    /// # Errors
    /// When the engine fails or the deadline passes.
    pub async fn run(self, progress: Option<Progress>) -> Result<(Relative, Account), ServiceError> {
        let run = self.panel.relative(self.plan, progress);
        Ok(self.deadline.within(run).await??)
    }
}

impl Admitted<Chat> {
    /// Runs it. Dropping the future cancels the work in the engine.
    ///
    /// # Errors
    /// When the engine fails or the deadline passes.
    pub async fn run(self, progress: Option<Progress>) -> Result<(Vec<Judgement>, Account), ServiceError> {
        let run = self.panel.chat(self.plan, progress);
        Ok(self.deadline.within(run).await??)
    }
}

/// The models on this disk and where they come from, as configured.
///
/// # Errors
/// When the catalogue of models is wrong.
pub fn model_store(config: &Config) -> Result<ModelStore, ModelError> {
    let hub = HubSettings {
        endpoint: config.hub.endpoint.clone(),
        token: config.hub.token.reveal().to_owned(),
        cache_dir: config.hub.cache_dir.clone(),
    };
    ModelStore::new(config.cache_dir.clone(), hub, config.offline)
}

impl Deadline {
    /// So long from now.
    #[must_use]
    pub fn after(allowed: Duration) -> Self {
        Self::since(Instant::now(), allowed)
    }

    /// So long from when the request came.
    #[must_use]
    pub fn since(started: Instant, allowed: Duration) -> Self {
        Self { allowed, started }
    }

    fn left(self) -> Duration {
        self.allowed.saturating_sub(self.started.elapsed())
    }

    /// Works until the deadline passes.
    ///
    /// # Errors
    /// [`ServiceError::Deadline`].
    pub async fn within<T>(self, work: impl Future<Output = T>) -> Result<T, ServiceError> {
        tokio::time::timeout(self.left(), work).await.map_err(|_| ServiceError::Deadline(self.allowed))
    }
}
