//! Configuration: the only reader of the environment.
//!
//! Precedence: flags, environment, file, `config.default.toml`.

mod by_name;
mod error;
mod hosted;
mod jobs;
mod juries;
mod llama_cpp;
mod mistralrs;
mod network;
mod paths;
mod reference;
mod remote;
mod routers;
mod secret;
mod servers;
mod variables;

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};

use config::{Environment, File, FileFormat};
use serde::Deserialize;

pub use self::error::ConfigError;
use self::error::Others;
pub use self::jobs::{JobsConfig, VerdictLogConfig};
pub use self::juries::JuryConfig;
pub use self::llama_cpp::{LlamaCppConfig, LlamaCppOverrides};
pub use self::mistralrs::{MistralRsConfig, MistralRsOverrides};
pub use self::network::{CorsConfig, TlsConfig};
pub use self::paths::Paths;
pub use self::reference::{DEFAULTS, reference};
pub use self::remote::{Accept, Affinity, RemoteConfig, RemoteKind, RemoteOverrides};
pub use self::routers::RouterConfig;
pub use self::secret::Secret;
pub use self::variables::variable_meant;
use self::variables::{is_key, variables};
use crate::domain::Method;
use crate::pictures::PictureLimits;
use crate::tasks::presets::JudgeModel;

/// The variable with the API key that commands send to servers.
const API_KEY: &str = "GAVEL_API_KEY";

/// The API key that commands send to servers; `None` if there is none.
#[must_use]
pub fn api_key() -> Option<Secret> {
    std::env::var(API_KEY).ok().filter(|key| !key.is_empty()).map(Secret)
}

/// All settings; `config.default.toml` documents each one.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
#[allow(missing_docs, reason = "config.default.toml documents each field where users read it")]
pub struct Config {
    pub host: String,
    pub insecure: bool,
    pub port: u16,
    pub model: String,
    #[serde(deserialize_with = "by_name::one")]
    pub engine: EngineChoice,
    pub offline: bool,
    pub data_dir: PathBuf,
    pub cache_dir: PathBuf,
    pub prompt: String,
    #[serde(deserialize_with = "by_name::one")]
    pub preference_method: MethodChoice,
    pub calibration: Paths,
    pub fit: Paths,
    pub memory_budget_mb: u64,
    pub models: Vec<ModelConfig>,
    pub judges: Vec<JudgeModel>,
    pub aliases: BTreeMap<String, String>,
    pub juries: BTreeMap<String, JuryConfig>,
    pub routers: BTreeMap<String, RouterConfig>,
    pub scripted_delay_ms: u64,
    pub scripted_answers: PathBuf,
    pub hub: HubConfig,
    pub llama_cpp: LlamaCppConfig,
    pub mistralrs: MistralRsConfig,
    pub remote: RemoteConfig,
    pub keys: KeysConfig,
    pub tls: TlsConfig,
    pub cors: CorsConfig,
    pub rubrics: RubricsConfig,
    pub grading: GradingConfig,
    pub limits: LimitsConfig,
    pub pictures: PictureLimits,
    pub jobs: JobsConfig,
    pub verdict_log: VerdictLogConfig,
    pub log: LogConfig,
    pub traces: TracesConfig,
    /// Environment variables with our prefix that are not settings; `gavel serve` warns about them.
    #[serde(skip)]
    pub ignored_variables: Vec<String>,
}

/// The configured engine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
#[allow(missing_docs, reason = "the names are those of the engines")]
pub enum EngineChoice {
    Auto,
    LlamaCpp,
    Mistralrs,
    Remote,
    Scripted,
}

impl EngineChoice {
    /// The name in settings.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::LlamaCpp => "llama-cpp",
            Self::Mistralrs => "mistralrs",
            Self::Remote => "remote",
            Self::Scripted => "scripted",
        }
    }
}

/// How responses are compared if a request does not say.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
#[allow(missing_docs, reason = "config.default.toml documents them")]
pub enum MethodChoice {
    Auto,
    Pairwise,
    Absolute,
}

impl MethodChoice {
    /// The method; `None`: the model's own.
    #[must_use]
    pub fn method(self) -> Option<Method> {
        match self {
            Self::Auto => None,
            Self::Pairwise => Some(Method::Pairwise),
            Self::Absolute => Some(Method::Absolute),
        }
    }
}

/// One of several models; defaults are those of a single model.
#[derive(Debug, Clone, PartialEq, Default, Deserialize)]
#[serde(deny_unknown_fields)]
#[allow(missing_docs, reason = "config.default.toml documents each field where users read it")]
pub struct ModelConfig {
    pub name: Option<String>,
    pub model: Option<String>,
    #[serde(default, deserialize_with = "by_name::maybe")]
    pub engine: Option<EngineChoice>,
    pub prompt: Option<String>,
    #[serde(default, deserialize_with = "by_name::maybe")]
    pub preference_method: Option<MethodChoice>,
    #[serde(default)]
    pub calibration: Paths,
    #[serde(default)]
    pub fit: Paths,
    #[serde(default, deserialize_with = "by_name::one")]
    pub load: LoadWhen,
    pub memory_mb: Option<u64>,
    #[serde(default)]
    pub llama_cpp: LlamaCppOverrides,
    #[serde(default)]
    pub mistralrs: MistralRsOverrides,
    #[serde(default)]
    pub remote: RemoteOverrides,
    pub scripted_delay_ms: Option<u64>,
    pub scripted_answers: Option<PathBuf>,
}

/// When a model is loaded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "snake_case")]
#[allow(missing_docs, reason = "the names say it")]
pub enum LoadWhen {
    #[default]
    Start,
    FirstUse,
}

/// The Hugging Face hub.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
#[allow(missing_docs, reason = "config.default.toml documents each field where users read it")]
pub struct HubConfig {
    pub endpoint: String,
    pub token: Secret,
    pub cache_dir: PathBuf,
}

/// API keys.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
#[allow(missing_docs, reason = "config.default.toml documents each field where users read it")]
pub struct KeysConfig {
    pub open_metrics: bool,
}

/// Rubrics over HTTP.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
#[allow(missing_docs, reason = "config.default.toml documents each field where users read it")]
pub struct RubricsConfig {
    pub allow_writes: bool,
}

/// Defaults of grading requests.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
#[allow(missing_docs, reason = "config.default.toml documents each field where users read it")]
pub struct GradingConfig {
    pub rubric: String,
    pub temperature: f32,
    pub top_p: f32,
    pub top_k: u32,
    pub min_p: f32,
    pub seed: u64,
    pub max_feedback_tokens: u32,
    pub min_feedback_tokens: u32,
    pub samples: u32,
    pub swap: bool,
    pub tie_margin: f64,
    pub cache: bool,
    pub min_label_mass: f64,
}

/// Limits of the service.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
#[allow(missing_docs, reason = "config.default.toml documents each field where users read it")]
pub struct LimitsConfig {
    pub body_bytes: usize,
    pub bulk_body_bytes: usize,
    pub items: usize,
    pub held_body_bytes: usize,
    pub bulk_items: usize,
    pub in_flight: usize,
    pub queue: usize,
    pub deadline_ms: u64,
    pub unread_ms: u64,
    pub hang_ms: u64,
    pub drain_ms: u64,
    pub shutdown_ms: u64,
    pub cached_judgements: u64,
}

/// Logging.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
#[allow(missing_docs, reason = "config.default.toml documents each field where users read it")]
pub struct LogConfig {
    #[serde(deserialize_with = "by_name::one")]
    pub format: LogFormat,
    pub level: String,
}

/// Traces.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
#[allow(missing_docs, reason = "config.default.toml documents each field where users read it")]
pub struct TracesConfig {
    pub endpoint: String,
    pub sample_ratio: f64,
    pub service_name: String,
}

/// Format of log lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
#[allow(missing_docs, reason = "the names say it")]
pub enum LogFormat {
    Text,
    Json,
}

impl Config {
    /// Reads the defaults, the file, the environment, and `overrides` (key, value) from flags.
    ///
    /// # Errors
    /// With the invalid key.
    pub fn load(file: Option<&Path>, overrides: &[(&str, String)]) -> Result<Self, ConfigError> {
        Self::layered(file, std::env::vars().collect(), overrides)
    }

    /// The same without the environment, for programs with their own settings. Default folders are still those of the
    /// user.
    ///
    /// # Errors
    /// With the invalid key.
    pub fn without_environment(file: Option<&Path>, overrides: &[(&str, String)]) -> Result<Self, ConfigError> {
        Self::layered(file, HashMap::new(), overrides)
    }

    fn layered(
        file: Option<&Path>,
        environment: HashMap<String, String>,
        overrides: &[(&str, String)],
    ) -> Result<Self, ConfigError> {
        let mut variables = variables(&environment);
        // The key of the commands, as clients of servers.
        variables.remove(API_KEY);
        let named = variables.remove("GAVEL_CONFIG").map(PathBuf::from);
        let file = file.or(named.as_deref());
        // Other programs may set variables with this prefix, as Kubernetes does for a service called gavel.
        let foreign = |name: &str, value: &str| !is_key(name) || value.contains("://") && name == "GAVEL_PORT";
        let mut ignored: Vec<String> =
            variables.iter().filter(|(name, value)| foreign(name, value)).map(|(name, _)| name.clone()).collect();
        ignored.sort();
        variables.retain(|name, _| !ignored.contains(name));
        let environment_model = variables.get("GAVEL_MODEL").cloned();
        let others = Others { variables: variables.keys().cloned().collect(), flags: overrides };
        let ours = Environment::with_prefix("GAVEL").prefix_separator("_").separator("__").try_parsing(true);
        let ours = ours.source(Some(variables));
        let named_model = overrides.iter().find(|(key, _)| *key == "model").map(|(_, value)| value.clone());
        let named_model = named_model.or(environment_model);
        let mut builder = config::Config::builder().add_source(File::from_str(DEFAULTS, FileFormat::Toml));
        if let Some(path) = file {
            Self::refuse_secrets(path).map_err(|error| error::unfit(error, file, &others))?;
            builder = builder.add_source(File::from(path).format(FileFormat::Toml));
        }
        builder = builder.add_source(ours);
        for (key, value) in overrides {
            builder = builder.set_override(*key, value.as_str())?;
        }
        let read = builder.build().and_then(config::Config::try_deserialize);
        let mut config: Self = read.map_err(|error| error::unread(&error, file, &others))?;
        config.ignored_variables = ignored;
        config.fill_secrets(&environment)?;
        // Servers have a model already.
        if config.model.is_empty() && config.engine != EngineChoice::Remote {
            config.model = crate::models::DEFAULT_MODEL.to_owned();
        }
        let listed = config.model_names();
        config.put_first(named_model);
        config
            .check_juries(&listed)
            .and_then(|()| config.check_routers())
            .and_then(|()| config.check_judges(listed))
            .and_then(|()| config.check())
            .map_err(|error| error::unfit(error, file, &others))?;
        config.fill_folders()?;
        Ok(config)
    }

    /// A model from a flag or the environment becomes the default model, or replaces the list of the file.
    fn put_first(&mut self, named: Option<String>) {
        let Some(named) = named.filter(|_| !self.models.is_empty()) else { return };
        match self.models.iter().position(|model| model.name() == named) {
            Some(index) => {
                let chosen = self.models.remove(index);
                self.models.insert(0, chosen);
            }
            None => self.models.clear(),
        }
    }

    fn check_models(&self) -> Result<(), ConfigError> {
        let mut names: Vec<String> = self.models.iter().map(ModelConfig::name).collect();
        names.sort();
        if names.iter().any(|name| name.is_empty()) {
            return Err(ConfigError::Models("has an entry with neither `name` nor `model`".into()));
        }
        if let Some(pair) = names.windows(2).find(|pair| pair[0] == pair[1]) {
            let fault = format!("has two entries named `{}`; give one of them a different `name`", pair[0]);
            return Err(ConfigError::Models(fault));
        }
        for model in &self.models {
            let sizes = model.llama_cpp.over(&self.llama_cpp);
            if sizes.sequences == 0 || sizes.kv_tokens < sizes.sequences || sizes.step_tokens < sizes.sequences {
                let why = "llama_cpp: sequences must be at least 1, kv_tokens and step_tokens at least sequences";
                return Err(ConfigError::Models(format!("{}: {why}", model.name())));
            }
            let sizes = model.mistralrs.over(&self.mistralrs);
            if sizes.sequences == 0 || sizes.kv_tokens == 0 {
                let why = "mistralrs: sequences and kv_tokens must be at least 1";
                return Err(ConfigError::Models(format!("{}: {why}", model.name())));
            }
        }
        Ok(())
    }

    fn check(&self) -> Result<(), ConfigError> {
        self.check_models()?;
        self.check_remote()?;
        let at_least_one = [
            ("llama_cpp.sequences", self.llama_cpp.sequences),
            ("mistralrs.sequences", self.mistralrs.sequences),
            ("mistralrs.kv_tokens", self.mistralrs.kv_tokens),
            ("limits.in_flight", self.limits.in_flight),
            ("limits.body_bytes", self.limits.body_bytes),
            ("limits.bulk_body_bytes", self.limits.bulk_body_bytes),
            ("limits.items", self.limits.items),
            ("limits.bulk_items", self.limits.bulk_items),
            ("pictures.decoding", self.pictures.decoding),
        ];
        if let Some((key, _)) = at_least_one.iter().find(|(_, value)| *value == 0) {
            return Err(ConfigError::Range(key, "must be at least 1"));
        }
        let a_sequence_each =
            [("llama_cpp.kv_tokens", self.llama_cpp.kv_tokens), ("llama_cpp.step_tokens", self.llama_cpp.step_tokens)];
        if let Some((key, _)) = a_sequence_each.iter().find(|(_, value)| *value < self.llama_cpp.sequences) {
            return Err(ConfigError::Range(key, "must be at least llama_cpp.sequences"));
        }
        for checked in [self.jobs.check(), self.tls.check(), self.cors.check()] {
            checked.map_err(|(key, why)| ConfigError::Range(key, why))?;
        }
        if !(0.0..=1.0).contains(&self.grading.min_label_mass) {
            return Err(ConfigError::Range("grading.min_label_mass", "must be between 0 and 1"));
        }
        if !(0.0..=1.0).contains(&self.traces.sample_ratio) {
            return Err(ConfigError::Range("traces.sample_ratio", "must be between 0 and 1"));
        }
        let endpoint = &self.traces.endpoint;
        if !endpoint.is_empty() && !endpoint.starts_with("http://") && !endpoint.starts_with("https://") {
            return Err(ConfigError::Range("traces.endpoint", "must begin with http:// or https://, or be empty"));
        }
        Ok(())
    }

    fn fill_folders(&mut self) -> Result<(), ConfigError> {
        let folders = directories::ProjectDirs::from("", "", "gavel");
        let fill = |path: &mut PathBuf, own: Option<&Path>, what, variable| {
            if path.as_os_str().is_empty() {
                *path = own.ok_or(ConfigError::NoHome(what, variable))?.to_path_buf();
            }
            Ok::<(), ConfigError>(())
        };
        let folders = folders.as_ref();
        fill(&mut self.data_dir, folders.map(|f| f.data_dir()), "data_dir", "GAVEL_DATA_DIR")?;
        fill(&mut self.cache_dir, folders.map(|f| f.cache_dir()), "cache_dir", "GAVEL_CACHE_DIR")?;
        if self.hub.cache_dir.as_os_str().is_empty() {
            // A service may have no home folder, and then no hub cache to share.
            let home = directories::BaseDirs::new().map(|dirs| dirs.home_dir().join(".cache/huggingface"));
            self.hub.cache_dir = home.unwrap_or_else(|| self.cache_dir.join("huggingface")).join("hub");
        }
        Ok(())
    }
}

impl ModelConfig {
    /// The name in requests; empty if there is none.
    #[must_use]
    pub fn name(&self) -> String {
        let of_model = || self.model.as_deref().map(crate::models::name_of);
        self.name.clone().or_else(of_model).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests;
