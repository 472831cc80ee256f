//! The composition root: builds everything once and hands out handles. Nothing is global, so two servers run in
//! one process.

use std::sync::Arc;

use futures::{StreamExt, stream};
use tokio::task::coop::consume_budget;

use crate::config::Config;
use crate::domain::{Mode, Options, Sampling};
use crate::engine::{Engine, Load};
use crate::metrics::Metrics;
use crate::models::{HubSettings, ModelError, ModelStore, Progress as PullProgress};
use crate::prompts::PromptLibrary;
use crate::rubrics::RubricLibrary;
use crate::service::Service;
use crate::service::admission::Admission;
pub use crate::service::registry::StartError;
use crate::service::registry::{ModelLoader, ModelRegistry};
use crate::tasks::presets::JudgeModels;

/// Everything that a server is made of.
pub struct App {
    /// The configuration, after all layers were merged.
    pub config: Config,
    /// The Prometheus metrics of this server.
    pub metrics: Arc<Metrics>,
    /// The rubrics by name, built in and of `data_dir`.
    pub rubrics: Arc<RubricLibrary>,
    /// The judge models of `POST /v1/chat/completions`, built in and configured, with their aliases.
    pub judge_models: JudgeModels,
    /// Admission control: the permits for judgements and the bounded queue.
    pub admission: Arc<Admission>,
    /// Runs tasks on the models.
    pub service: Service,
    prompts: Arc<PromptLibrary>,
    models: Arc<ModelRegistry>,
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
        let admission = Arc::new(Admission::new(config.limits.in_flight, config.limits.queue));
        let kept = config.limits.cached_judgements;
        let shared = (Arc::clone(&admission), Arc::clone(&metrics));
        let libraries = (Arc::clone(&prompts), Arc::clone(&rubrics));
        let loader = ModelLoader::new(model_store(&config)?, libraries, shared, kept);
        let models = Arc::new(ModelRegistry::new(&config, loader)?);
        let window = config.limits.in_flight;
        Ok(Arc::new(Self {
            service: Service::new(Arc::clone(&models), Arc::clone(&admission), Arc::clone(&metrics), window),
            metrics,
            admission,
            models,
            judge_models: JudgeModels::new(&config.judges, &config.aliases)?,
            rubrics,
            prompts,
            config,
        }))
    }

    /// The prompt sets by name, built in and of `data_dir`.
    #[must_use]
    pub fn prompts(&self) -> &Arc<PromptLibrary> {
        &self.prompts
    }

    /// The registry of the configured models.
    #[must_use]
    pub fn models(&self) -> &ModelRegistry {
        &self.models
    }

    /// What a request gets that says nothing about how it is judged.
    #[must_use]
    pub fn default_options(&self) -> Options {
        let defaults = &self.config.grading;
        Options {
            mode: Mode::default(),
            samples: defaults.samples,
            sampling: Sampling {
                temperature: defaults.temperature,
                top_p: defaults.top_p,
                top_k: defaults.top_k,
                min_p: defaults.min_p,
                seed: defaults.seed,
                seeded: false,
                max_feedback_tokens: defaults.max_feedback_tokens,
                min_feedback_tokens: defaults.min_feedback_tokens,
            },
            prompt: None,
            cache: defaults.cache,
            deterministic: false,
        }
    }

    /// Loads the models with `load = "start"`; the server is ready once this returns.
    ///
    /// # Errors
    /// When a model cannot be loaded; requests for it fail with that reason, too.
    pub async fn load(&self, progress: &dyn PullProgress) -> Result<(), StartError> {
        self.models.load(progress).await
    }

    /// Serves an engine that is already running as the default model.
    ///
    /// # Errors
    /// When the default prompt set does not exist, or cannot be rendered with the engine's chat template.
    pub fn host(&self, engine: Arc<dyn Engine>, prompt_set: Option<String>) -> Result<(), StartError> {
        self.models.host(engine, prompt_set)
    }

    /// Does `work` on every item, `limits.bulk_items` at once, and gives what came of each in the order of the items.
    /// An item is taken when its turn comes, and gone when it is done; dropping the future stops what runs and never
    /// begins the rest.
    pub async fn each<T, R, F>(&self, items: impl IntoIterator<Item = T>, work: impl Fn(usize, T) -> F) -> Vec<R>
    where
        F: Future<Output = R>,
    {
        let works = stream::iter(items).enumerate().map(|(index, item)| {
            let work = work(index, item);
            async move {
                // An item that ends at once would keep the thread from everybody else.
                consume_budget().await;
                (index, work.await)
            }
        });
        let mut done: Vec<(usize, R)> = works.buffer_unordered(self.config.limits.bulk_items).collect().await;
        done.sort_unstable_by_key(|(index, _)| *index);
        done.into_iter().map(|(_, result)| result).collect()
    }

    /// Whether an engine has died, which only a new process repairs.
    #[must_use]
    pub fn engine_has_died(&self) -> bool {
        self.models.engine_has_died()
    }

    /// The metrics in the Prometheus text format, as they are now.
    #[must_use]
    pub fn render_metrics(&self) -> String {
        let outside = Load { waiting: self.admission.waiting(), ..self.models.past_load() };
        let engines = self.models.engines();
        self.metrics.render(engines.iter().map(|(info, load)| (info, *load)), outside)
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
