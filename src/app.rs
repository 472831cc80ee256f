//! The composition root: builds everything once and hands out handles. There is no global state, so two servers can run
//! in one process.

use std::sync::Arc;
use std::time::Duration;

use futures::{StreamExt, stream};
use tokio::task::coop::consume_budget;

use crate::annotators::AnnotatorLibrary;
use crate::config::Config;
use crate::domain::{Mode, Options, Sampling};
use crate::engine::{Engine, Load};
use crate::example_sets::ExampleSets;
use crate::jobs::Jobs;
use crate::keys::{self, KeyStore};
use crate::label_sets::LabelSets;
use crate::metrics::Metrics;
use crate::models::{HubSettings, ModelError, ModelStore, Progress as PullProgress};
use crate::prompts::PromptLibrary;
use crate::reports::ReportFolder;
use crate::routers::Routers;
use crate::rubrics::RubricLibrary;
use crate::service::Service;
use crate::service::admission::Admission;
pub use crate::service::registry::StartError;
use crate::service::registry::{ModelLoader, ModelRegistry};
use crate::service::reviews::Reviews;
use crate::store::{Database, Location};
use crate::tasks::presets::JudgeModels;
use crate::tasks::prompt_set;
use crate::usage_log::UsageLog;
use crate::verdict_log::VerdictLog;

/// All parts of a server.
pub struct App {
    /// The merged configuration.
    pub config: Config,
    /// The Prometheus metrics of this server.
    pub metrics: Arc<Metrics>,
    /// The API keys of the server.
    pub keys: Arc<KeyStore>,
    /// What they have used.
    pub usage: Arc<UsageLog>,
    /// The built-in rubrics and those in `data_dir`, by name.
    pub rubrics: Arc<RubricLibrary>,
    /// The built-in annotators and those in `data_dir`, by name.
    pub annotators: AnnotatorLibrary,
    /// The sets of graded examples in `data_dir`, by name.
    pub examples: ExampleSets,
    /// The built-in label sets and those in `data_dir`, by name.
    pub labels: LabelSets,
    /// The stored reports in `data_dir`, by name.
    pub reports: Arc<ReportFolder>,
    /// The built-in and configured judge models of `POST /v1/chat/completions`, with their aliases.
    pub judge_models: JudgeModels,
    /// Admission control: the permits for judgements and the bounded queue.
    pub admission: Arc<Admission>,
    /// What outlives the process.
    pub database: Arc<Database>,
    /// Files and batches.
    pub jobs: Arc<Jobs>,
    /// The queue of judgements by people.
    pub reviews: Reviews,
    /// The routers of the configuration, by name.
    pub routers: Arc<Routers>,
    /// The log of verdicts.
    pub verdicts: Arc<VerdictLog>,
    /// Runs tasks on the models.
    pub service: Service,
    prompts: Arc<PromptLibrary>,
    models: Arc<ModelRegistry>,
}

impl App {
    /// Builds the server without its models, which [`App::load`] loads.
    ///
    /// # Errors
    /// If a prompt set, a judge model, a router or the model catalogue is invalid.
    pub fn build(config: Config) -> Result<Arc<Self>, StartError> {
        let rubrics = RubricLibrary::load(config.data_dir.join("rubrics"));
        let prompts = Arc::new(PromptLibrary::load(Some(&config.data_dir.join("prompts")))?);
        let of_juries =
            config.juries.values().flat_map(|jury| &jury.judges).filter_map(|juror| juror.prompt.as_deref());
        let named = config.models.iter().filter_map(|model| model.prompt.as_deref()).chain([config.prompt.as_str()]);
        let named = named.chain(of_juries);
        named.filter(|set| !set.is_empty()).try_for_each(|set| prompt_set(&prompts, set).map(drop))?;
        let judge_models = JudgeModels::new(&config.judges, &config.aliases)?;
        // Only a warning: the model may be one of a file whose list a flag replaces.
        if let Err(error) = judge_models.check_aliases(&config.model_names()) {
            tracing::warn!(%error, "an alias leads nowhere");
        }
        let metrics = Arc::new(Metrics::new());
        let default = &config.grading.rubric;
        if let (false, Err(error)) = (default.is_empty(), rubrics.named(default)) {
            // Only a warning: rubrics can be added while the server runs.
            tracing::warn!(%error, "grading.rubric names an unknown rubric");
        }
        let admission = Arc::new(Admission::new(config.limits.in_flight, config.limits.queue));
        let kept = config.limits.cached_judgements;
        let shared = (Arc::clone(&admission), Arc::clone(&metrics));
        let routers = Arc::new(Routers::load(&config.routers)?);
        let libraries = (Arc::clone(&prompts), Arc::clone(&rubrics), Arc::clone(&routers));
        let loader = ModelLoader::new(model_store(&config)?, libraries, shared, kept);
        let models = Arc::new(ModelRegistry::new(&config, loader)?);
        let window = config.limits.in_flight;
        let database = Location::of(&config.data_dir, config.jobs.database_url.reveal());
        let database = Arc::new(Database::new(database));
        let keys = Arc::new(KeyStore::open(keys::file_in(&config.data_dir)));
        Ok(Arc::new(Self {
            service: Service::new(
                Arc::clone(&models),
                Arc::clone(&admission),
                Arc::clone(&metrics),
                window,
                config.pictures,
            ),
            admission,
            models,
            judge_models,
            labels: LabelSets::load(&config.data_dir.join("labels")),
            usage: Arc::new(UsageLog::new(Arc::clone(&keys), Arc::clone(&database))),
            keys,
            reports: Arc::new(ReportFolder::new(config.data_dir.join("reports"))),
            jobs: Arc::new(Jobs::new(config.jobs.clone(), Arc::clone(&database))),
            verdicts: Arc::new(VerdictLog::new(
                config.verdict_log.clone(),
                Arc::clone(&database),
                Arc::clone(&metrics),
            )),
            reviews: Reviews::new(Arc::clone(&database)),
            routers,
            database,
            annotators: AnnotatorLibrary::new(config.data_dir.join("annotators")),
            examples: ExampleSets::new(config.data_dir.join("examples")),
            rubrics,
            prompts,
            metrics,
            config,
        }))
    }

    /// The built-in prompt sets and those in `data_dir`, by name.
    #[must_use]
    pub fn prompts(&self) -> &Arc<PromptLibrary> {
        &self.prompts
    }

    /// The hosted model of a name in a request: of an alias, of a judge model, or itself. `None` is the default model.
    #[must_use]
    pub fn hosted<'a>(&'a self, asked: Option<&'a str>) -> Option<&'a str> {
        let asked = asked?;
        let name = self.judge_models.resolve(asked);
        match self.judge_models.find(name) {
            // An alias may have the name of a hosted model, which then is the judge model's.
            Some((judge, _)) => judge.model.as_deref().or(self.models.check_name(Some(asked)).is_ok().then_some(asked)),
            None => Some(name),
        }
    }

    /// Names that requests for chat completions may have beside the hosted models.
    #[must_use]
    pub fn other_model_names(&self) -> Vec<String> {
        let judges = self.judge_models.all().iter().map(|judge| judge.name.clone());
        judges.chain(self.judge_models.aliases().map(str::to_owned)).collect()
    }

    /// The registry of the configured models.
    #[must_use]
    pub fn models(&self) -> &ModelRegistry {
        &self.models
    }

    /// The default options of a grading request.
    #[must_use]
    pub fn default_options(&self) -> Options {
        let defaults = &self.config.grading;
        Options {
            mode: Mode::default(),
            samples: defaults.samples,
            settle: None,
            sampling: Sampling {
                temperature: defaults.temperature,
                top_p: defaults.top_p,
                top_k: defaults.top_k,
                min_p: defaults.min_p,
                seed: defaults.seed,
                seeded: false,
                max_feedback_tokens: defaults.max_feedback_tokens,
                min_feedback_tokens: defaults.min_feedback_tokens,
                max_thought_tokens: None,
            },
            prompt: None,
            examples: None,
            cache: defaults.cache,
            deterministic: false,
            debug: false,
        }
    }

    /// Loads the models with `load = "start"`; the server is ready once this returns.
    ///
    /// # Errors
    /// If a model cannot be loaded. Requests for it then fail with the same reason.
    pub async fn load(&self, progress: &dyn PullProgress) -> Result<(), StartError> {
        self.models.load(progress).await
    }

    /// Uses an engine that is already running as the default model.
    ///
    /// # Errors
    /// When the default prompt set does not exist, or cannot be rendered with the engine's chat template.
    pub fn host(&self, engine: Arc<dyn Engine>, prompt_set: Option<String>) -> Result<(), StartError> {
        self.models.host(engine, prompt_set)
    }

    /// Runs `work` on every item, `limits.bulk_items` at once, and returns the results in the order of the items. Each
    /// item is taken at its turn and dropped when it is done. Dropping the future stops running work, and never starts
    /// the rest.
    pub async fn each<T, R, F>(&self, items: impl IntoIterator<Item = T>, work: impl Fn(usize, T) -> F) -> Vec<R>
    where
        F: Future<Output = R>,
    {
        let works = stream::iter(items).enumerate().map(|(index, item)| {
            let work = work(index, item);
            async move {
                // Yield, because items that finish at once would block the thread.
                consume_budget().await;
                (index, work.await)
            }
        });
        let mut done: Vec<(usize, R)> = works.buffer_unordered(self.config.limits.bulk_items).collect().await;
        done.sort_unstable_by_key(|(index, _)| *index);
        done.into_iter().map(|(_, result)| result).collect()
    }

    /// Why the process needs a restart, if it does: an engine has died, or hangs.
    #[must_use]
    pub fn needs_restart(&self) -> Option<&'static str> {
        let limit = Duration::from_millis(self.config.limits.hang_ms);
        if self.models.engine_has_died() {
            return Some("the engine has stopped and cannot be restarted");
        }
        let hangs = !limit.is_zero() && self.models.engine_hangs(limit);
        hangs.then_some("a step of the engine has taken longer than limits.hang_ms")
    }

    /// The current metrics in the Prometheus text format.
    #[must_use]
    pub fn render_metrics(&self) -> String {
        let outside = Load { waiting: self.admission.waiting(), ..self.models.past_load() };
        let engines = self.models.engines();
        self.metrics.render(engines.iter().map(|(info, load)| (info, *load)), outside)
    }
}

/// The configured store of model files and their sources.
///
/// # Errors
/// If the model catalogue is invalid.
pub fn model_store(config: &Config) -> Result<ModelStore, ModelError> {
    let hub = HubSettings {
        endpoint: config.hub.endpoint.clone(),
        token: config.hub.token.reveal().to_owned(),
        cache_dir: config.hub.cache_dir.clone(),
    };
    ModelStore::new(config.cache_dir.clone(), hub, config.offline)
}
