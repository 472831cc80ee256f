//! Loads a configured model: its file, its engine, its prompt set and its self-test.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use sha2::{Digest, Sha256};

use super::calibrated::{self, NamedFiles};
use super::engines::{self, EngineSizes};
use super::remote::{self, RemoteSource};
use super::self_test::{self, SelfTestError};
use super::start_error::StartError;
use crate::config::{Config, EngineChoice, LoadWhen, MethodChoice, ModelConfig};
use crate::engine::scripted::Scripted;
use crate::engine::{Engine, EngineError, EngineInfo, LoadError, ModelMemory};
use crate::metrics::Metrics;
use crate::models::{JudgeTraits, Model, ModelStore, Progress, memory_needed};
use crate::prompts::PromptLibrary;
use crate::routers::Routers;
use crate::rubrics::RubricLibrary;
use crate::service::admission::Admission;
use crate::service::judge::Judge;

/// The prompt set of models that name none.
const GENERAL_PROMPT_SET: &str = "plain";

/// A model as it is configured.
#[derive(Debug, Clone)]
pub struct ModelSpec {
    /// The model's name in requests.
    pub name: String,
    /// When it is loaded.
    pub load: LoadWhen,
    model: String,
    engine: EngineChoice,
    prompt: String,
    preference_method: MethodChoice,
    /// Its calibrations and fits.
    named: NamedFiles,
    memory_mb: Option<u64>,
    sizes: EngineSizes,
    /// The default limit of feedback tokens.
    feedback: usize,
    scripted_delay: Duration,
    scripted_answers: PathBuf,
}

/// The source of an engine.
pub(super) enum EngineSource {
    /// A model file.
    File(Model),
    /// Scripted answers without a model file.
    Script,
    /// A model at servers.
    Remote(Box<RemoteSource>),
}

/// Loads configured models.
pub struct ModelLoader {
    models: ModelStore,
    prompts: Arc<PromptLibrary>,
    rubrics: Arc<RubricLibrary>,
    routers: Arc<Routers>,
    shared: (Arc<Admission>, Arc<Metrics>),
    cached_judgements: u64,
}

impl ModelSpec {
    /// The specs of a configuration's models, the default one first.
    #[must_use]
    pub fn all(config: &Config) -> Vec<Self> {
        if !config.models.is_empty() {
            return config.models.iter().map(|model| Self::new(model, config)).collect();
        }
        let single = ModelConfig {
            model: Some(config.model.clone()),
            calibration: config.calibration.clone(),
            fit: config.fit.clone(),
            ..ModelConfig::default()
        };
        let named = |name| Self::new(&ModelConfig { name: Some(name), ..single.clone() }, config);
        config.model_names().into_iter().map(named).collect()
    }

    fn new(model: &ModelConfig, config: &Config) -> Self {
        Self {
            name: model.name(),
            load: model.load,
            model: model.model.clone().unwrap_or_else(|| model.name()),
            engine: model.engine.unwrap_or(config.engine),
            prompt: model.prompt.clone().unwrap_or_else(|| config.prompt.clone()),
            preference_method: model.preference_method.unwrap_or(config.preference_method),
            named: NamedFiles {
                calibrations: model.calibration.0.clone(),
                fits: model.fit.0.clone(),
                alone: config.models.len() < 2,
            },
            memory_mb: model.memory_mb,
            sizes: EngineSizes {
                llama_cpp: model.llama_cpp.over(&config.llama_cpp),
                mistralrs: model.mistralrs.over(&config.mistralrs),
                remote: model.remote.over(&config.remote),
            },
            feedback: config.grading.max_feedback_tokens as usize,
            scripted_delay: Duration::from_millis(model.scripted_delay_ms.unwrap_or(config.scripted_delay_ms)),
            scripted_answers: model.scripted_answers.clone().unwrap_or_else(|| config.scripted_answers.clone()),
        }
    }
}

impl ModelSpec {
    /// Whether it is at servers of others.
    pub(super) fn is_remote(&self) -> bool {
        self.engine == EngineChoice::Remote
    }

    /// Whether its weights are in dedicated GPU memory.
    pub(super) fn in_gpu_memory(&self) -> bool {
        engines::in_gpu_memory(self.engine, &self.sizes)
    }
}

impl ModelLoader {
    /// A loader of the models of a store, on prompts and rubrics of these libraries. `cached_judgements` bounds the verdict cache of each model.
    #[must_use]
    pub fn new(
        models: ModelStore,
        (prompts, rubrics, routers): (Arc<PromptLibrary>, Arc<RubricLibrary>, Arc<Routers>),
        shared: (Arc<Admission>, Arc<Metrics>),
        cached_judgements: u64,
    ) -> Self {
        Self { models, prompts, rubrics, routers, shared, cached_judgements }
    }

    /// Resolves the model's files, downloading them if necessary.
    pub(super) async fn fetch(&self, spec: &ModelSpec, progress: &dyn Progress) -> Result<EngineSource, StartError> {
        match spec.engine {
            EngineChoice::Scripted => Ok(EngineSource::Script),
            EngineChoice::Remote => {
                engines::check_built(EngineChoice::Remote)?;
                let (servers, metrics) = ((&spec.sizes.remote, &*spec.model), Arc::clone(&self.shared.1));
                let source = remote::contact(&self.models, servers, metrics, progress).await?;
                Ok(EngineSource::Remote(Box::new(source)))
            }
            asked => {
                engines::check_built(engines::chosen(asked, false))?;
                Ok(EngineSource::File(self.models.resolve(&spec.model, progress).await?))
            }
        }
    }

    /// Bytes that it counts for in the memory budget.
    pub(super) fn memory(&self, spec: &ModelSpec, source: &EngineSource) -> Result<u64, StartError> {
        match (spec.memory_mb, source) {
            (Some(mb), _) => Ok(mb.saturating_mul(1_000_000)),
            (None, EngineSource::Script | EngineSource::Remote(_)) => Ok(0),
            (None, EngineSource::File(model)) => {
                let engine = engines::chosen(spec.engine, model.path.is_dir());
                let own = Some(&spec.sizes.llama_cpp.eyes).filter(|own| !own.as_os_str().is_empty());
                let eyes = own.or(model.eyes.as_ref().map(|eyes| &eyes.path));
                // A file that is not there is an error of the engine.
                let file = eyes.filter(|_| engine == EngineChoice::LlamaCpp).and_then(|path| path.metadata().ok());
                let needed = memory_needed(&model.path, spec.sizes.tokens_in_memory(engine))?;
                Ok(needed + file.map_or(0, |file| file.len()))
            }
        }
    }

    /// Loads the engine and runs its self-test.
    pub(super) async fn start(&self, spec: &ModelSpec, source: EngineSource) -> Result<Judge, StartError> {
        match source {
            EngineSource::Script => {
                let engine = if spec.scripted_answers.as_os_str().is_empty() {
                    Scripted::fixed(spec.scripted_delay)
                } else {
                    Scripted::from_file(&spec.scripted_answers, spec.scripted_delay)?
                };
                self.judge(Arc::new(engine.named(&spec.name)), spec, JudgeTraits::default())
            }
            EngineSource::File(model) => {
                let traits = model.traits.clone();
                let model = Model { name: spec.name.clone(), digest: spec.digest(&model), ..model };
                let engine = engines::open(spec.engine, model, &spec.sizes).await?;
                self.ready(engine, spec, traits).await
            }
            EngineSource::Remote(source) => {
                let RemoteSource { contact, tokenizer, traits } = *source;
                // A model that is not named in requests has the name that its server gives it.
                let named = Some(spec.name.clone()).filter(|_| !spec.model.is_empty());
                let name = named.unwrap_or_else(|| contact.facts().model.clone());
                let engine = Arc::new(contact.engine(name, tokenizer).await?);
                self.ready(engine, spec, traits).await
            }
        }
    }

    /// A judge on an engine, after its self-test; an engine that fails it is shut down.
    async fn ready(&self, engine: Arc<dyn Engine>, spec: &ModelSpec, traits: JudgeTraits) -> Result<Judge, StartError> {
        let judge = match self.self_tested(Arc::clone(&engine), spec, traits).await {
            Ok(judge) => judge,
            Err(error) => {
                engine.shut_down().await;
                return Err(error);
            }
        };
        let (info, prompt) = (judge.engine(), judge.prompt_set(None)?.name());
        let agreement = judge.agreement().unwrap_or("not measured");
        let EngineInfo { model, digest, engine, context, sequences, device, threads } = info;
        let ModelMemory { weights: weights_bytes, kv_cache: kv_cache_bytes } = judge.memory();
        tracing::info!(
            model,
            engine,
            device,
            threads,
            prompt,
            context,
            sequences,
            weights_bytes,
            kv_cache_bytes,
            digest,
            agreement,
            "the judge is ready"
        );
        Ok(judge)
    }

    /// A judge on an engine that has passed its self-test.
    async fn self_tested(
        &self,
        engine: Arc<dyn Engine>,
        spec: &ModelSpec,
        traits: JudgeTraits,
    ) -> Result<Judge, StartError> {
        let judge = self.judge(Arc::clone(&engine), spec, traits)?;
        let warmed = self_test::warm_up(&*engine, judge.prompt_set(None)?, spec.feedback).await;
        warmed.map_err(|error| match error {
            // The model may be good; its server is busy or gone.
            SelfTestError::Engine(EngineError::Unavailable { why, .. }) => LoadError::Unreachable(why).into(),
            error => StartError::SelfTest(spec.name.clone(), Box::new(error)),
        })?;
        Ok(judge)
    }

    /// A judge on an engine whose prompts can be rendered.
    pub(super) fn judge(
        &self,
        engine: Arc<dyn Engine>,
        spec: &ModelSpec,
        traits: JudgeTraits,
    ) -> Result<Judge, StartError> {
        let configured = Some(spec.prompt.clone()).filter(|name| !name.is_empty());
        let set = configured.or(traits.prompt_set).unwrap_or_else(|| GENERAL_PROMPT_SET.to_owned());
        let (admission, metrics) = &self.shared;
        let shared = (Arc::clone(admission), Arc::clone(metrics));
        let judge = Judge::new(Arc::clone(&engine), Arc::clone(&self.prompts), set, self.cached_judgements, shared);
        let rendered = self_test::check_prompts(judge.prompt_set(None)?, engine.chat_format());
        rendered.map_err(|error| StartError::SelfTest(spec.name.clone(), Box::new(error)))?;
        let files = calibrated::read(&spec.named, &self.rubrics, &engine.info().digest, judge.prompt_set(None)?);
        let files = files.map_err(|error| StartError::Calibration(spec.name.clone(), Box::new(error)))?;
        let (digest, set) = (&engine.info().digest, judge.prompt_set(None)?);
        let routers = calibrated::check_routers(&self.routers, digest, set, spec.named.alone);
        routers.map_err(|error| StartError::Router(spec.name.clone(), Box::new(error)))?;
        let method = spec.preference_method.method().or(traits.preference_method).unwrap_or_default();
        Ok(judge.calibrated(files).known_as(method, traits.agreement))
    }
}

impl ModelSpec {
    /// The digest that verdicts name. Weights that are quantised in place (ISQ) differ from those of the files, so they
    /// have a digest of their own.
    fn digest(&self, model: &Model) -> String {
        let folder = model.path.is_dir();
        let isq = self.sizes.mistralrs.isq.to_lowercase();
        if isq.is_empty() || engines::chosen(self.engine, folder) != EngineChoice::Mistralrs {
            return model.digest.clone();
        }
        format!("sha256:{:x}", Sha256::digest(format!("{}\nmistralrs.isq = {isq}\n", model.digest)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn weights_that_are_quantised_while_they_are_loaded_have_a_digest_of_their_own() {
        let file = "[[models]]\nname = \"whole\"\nengine = \"mistralrs\"\n\
                    [[models]]\nname = \"q4k\"\nengine = \"mistralrs\"\n[models.mistralrs]\nisq = \"q4k\"\n\
                    [[models]]\nname = \"Q4K\"\nengine = \"mistralrs\"\n[models.mistralrs]\nisq = \"Q4K\"\n\
                    [[models]]\nname = \"q8_0\"\nengine = \"mistralrs\"\n[models.mistralrs]\nisq = \"q8_0\"\n\
                    [[models]]\nname = \"other\"\nengine = \"llama-cpp\"\n[models.mistralrs]\nisq = \"q4k\"\n";
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("gavel.toml");
        std::fs::write(&path, file).unwrap();
        let config = Config::load(Some(&path), &[]).unwrap();
        let digest = format!("sha256:{:064}", 7);
        let model = Model {
            name: "m".into(),
            path: folder.path().to_path_buf(),
            digest: digest.clone(),
            traits: JudgeTraits::default(),
            eyes: None,
        };
        let digests: Vec<String> = ModelSpec::all(&config).iter().map(|spec| spec.digest(&model)).collect();
        assert_eq!((&digests[0], &digests[4]), (&digest, &digest));
        assert_eq!(digests[1], digests[2]);
        assert!(digests[1] != digest && digests[3] != digest && digests[1] != digests[3]);
        assert!(digests[1].len() == digest.len() && digests[1].starts_with("sha256:"));
    }
}
