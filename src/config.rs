//! Configuration: the only reader of the environment.
//!
//! Precedence: flags, environment, file, `config.default.toml`.

mod by_name;
mod hosted;
mod llama_cpp;
mod mistralrs;
mod paths;
mod reference;
mod remote;
mod secret;
mod servers;

use std::collections::{BTreeMap, HashMap};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use config::{Environment, File, FileFormat};
use serde::Deserialize;

pub use self::llama_cpp::{LlamaCppConfig, LlamaCppOverrides};
pub use self::mistralrs::{MistralRsConfig, MistralRsOverrides};
pub use self::paths::Paths;
pub use self::reference::reference;
pub use self::remote::{Accept, Affinity, RemoteConfig, RemoteKind, RemoteOverrides};
pub use self::secret::Secret;
use crate::domain::Method;
use crate::domain::spelling::nearest;
use crate::tasks::presets::JudgeModel;

/// Prefix of environment variables.
const PREFIX: &str = "GAVEL_";

/// The variable with the API key that commands send to servers.
const API_KEY: &str = "GAVEL_API_KEY";

/// The API key that commands send to servers; `None` if there is none.
#[must_use]
pub fn api_key() -> Option<Secret> {
    std::env::var(API_KEY).ok().filter(|key| !key.is_empty()).map(Secret)
}

/// The defaults, which are also the reference documentation of all settings.
pub const DEFAULTS: &str = include_str!("../config.default.toml");

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
    pub scripted_delay_ms: u64,
    pub scripted_answers: PathBuf,
    pub hub: HubConfig,
    pub llama_cpp: LlamaCppConfig,
    pub mistralrs: MistralRsConfig,
    pub remote: RemoteConfig,
    pub keys: KeysConfig,
    pub rubrics: RubricsConfig,
    pub grading: GradingConfig,
    pub limits: LimitsConfig,
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

/// Why the configuration is invalid.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// A value is missing, unknown, or of the wrong type.
    #[error("the configuration is invalid: {}. `gavel docs configuration` lists every key", readable(.0))]
    Invalid(#[from] config::ConfigError),
    /// The system has no home folder for this user.
    #[error("no home folder found for {0}; set {0} in the configuration, or {1} in the environment")]
    NoHome(&'static str, &'static str),
    /// A number is out of range.
    #[error("{0} {1}")]
    Range(&'static str, &'static str),
    /// The list of models is invalid.
    #[error("[[models]] {0}")]
    Models(String),
    /// The servers of a remote engine are invalid.
    #[error("{0}")]
    Remote(String),
    /// A variable that the configuration names is not set.
    #[error("the environment variable {0}, which the configuration names, is not set")]
    Variable(String),
    /// Everyone could use the server.
    #[error(
        "{0} can be reached from other machines, and there are no API keys, so that everyone could use the server. \
         Create a key (gavel keys create --name me --scope grade), listen on 127.0.0.1, or say --insecure \
         (insecure = true)"
    )]
    Open(SocketAddr),
    /// The API keys cannot be read.
    #[error("the API keys cannot be read: {0}")]
    Keys(String),
    /// A judge model names an unknown model.
    #[error("[[judges]] {name}: there is no model `{model}`; there are: {known}")]
    Judges {
        /// The judge model.
        name: String,
        /// The model that it names.
        model: String,
        /// The known names.
        known: String,
    },
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
        let ours = Environment::with_prefix("GAVEL").prefix_separator("_").separator("__").try_parsing(true);
        let ours = ours.source(Some(variables));
        let named_model = overrides.iter().find(|(key, _)| *key == "model").map(|(_, value)| value.clone());
        let named_model = named_model.or(environment_model);
        let mut builder = config::Config::builder().add_source(File::from_str(DEFAULTS, FileFormat::Toml));
        if let Some(path) = file {
            Self::refuse_secrets(path)?;
            builder = builder.add_source(File::from(path).format(FileFormat::Toml));
        }
        builder = builder.add_source(ours);
        for (key, value) in overrides {
            builder = builder.set_override(*key, value.as_str())?;
        }
        let mut config: Self = builder.build()?.try_deserialize()?;
        config.ignored_variables = ignored;
        config.fill_secrets(&environment)?;
        // Servers have a model already.
        if config.model.is_empty() && config.engine != EngineChoice::Remote {
            config.model = crate::models::DEFAULT_MODEL.to_owned();
        }
        let listed = config.model_names();
        config.put_first(named_model);
        config.check_judges(listed)?;
        config.check()?;
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
        ];
        if let Some((key, _)) = at_least_one.iter().find(|(_, value)| *value == 0) {
            return Err(ConfigError::Range(key, "must be at least 1"));
        }
        let a_sequence_each =
            [("llama_cpp.kv_tokens", self.llama_cpp.kv_tokens), ("llama_cpp.step_tokens", self.llama_cpp.step_tokens)];
        if let Some((key, _)) = a_sequence_each.iter().find(|(_, value)| *value < self.llama_cpp.sequences) {
            return Err(ConfigError::Range(key, "must be at least llama_cpp.sequences"));
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

/// Gavel's variables, and those of Hugging Face's tools under our names; ours take precedence.
fn variables(all: &HashMap<String, String>) -> HashMap<String, String> {
    let set = |name: &str| all.get(name).filter(|value| !value.is_empty());
    let below = |name: &str, path: &str| set(name).map(|folder| Path::new(folder).join(path).display().to_string());
    let cache = set("HF_HUB_CACHE").or(set("HUGGINGFACE_HUB_CACHE")).cloned();
    let cache = cache.or_else(|| below("HF_HOME", "hub")).or_else(|| below("XDG_CACHE_HOME", "huggingface/hub"));
    let hub = [
        ("GAVEL_HUB__ENDPOINT", set("HF_ENDPOINT").cloned()),
        ("GAVEL_HUB__TOKEN", set("HF_TOKEN").cloned()),
        ("GAVEL_HUB__CACHE_DIR", cache),
    ];
    let mut ours: HashMap<String, String> =
        hub.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?))).collect();
    ours.extend(all.iter().filter(|(name, _)| name.starts_with(PREFIX)).map(|(k, v)| (k.clone(), v.clone())));
    ours
}

/// Whether an environment variable names a key of `config.default.toml`.
/// An error of the reader, with the names of its types in words.
fn readable(error: &config::ConfigError) -> String {
    let types = [
        ("an unsigned 8 bit integer", "a number from 0 to 255"),
        ("an unsigned 16 bit integer", "a number from 0 to 65535"),
        ("an unsigned 32 bit integer", "a number from 0 to 4294967295"),
        ("an unsigned 64 bit integer", "a number of 0 or more"),
    ];
    types.iter().fold(error.to_string(), |text, (from, to)| text.replace(from, to))
}

/// The variable that a misspelt one may have been meant for.
#[must_use]
pub fn variable_meant(variable: &str) -> Option<String> {
    fn keys(prefix: &str, value: &toml::Value, all: &mut Vec<String>) {
        match value {
            toml::Value::Table(table) => table.iter().for_each(|(key, value)| {
                keys(&format!("{prefix}{}{key}", if prefix.is_empty() { "" } else { "__" }), value, all);
            }),
            _ => all.push(format!("{PREFIX}{}", prefix.to_uppercase())),
        }
    }
    let mut all = Vec::new();
    keys("", &toml::from_str(DEFAULTS).ok()?, &mut all);
    nearest(variable, all.iter().map(String::as_str)).map(str::to_owned)
}

fn is_key(variable: &str) -> bool {
    let path = variable.trim_start_matches(PREFIX).to_lowercase();
    let mut at = toml::from_str::<toml::Value>(DEFAULTS).ok();
    for part in path.split("__") {
        at = at.and_then(|value| value.get(part).cloned());
    }
    // A list cannot be set by a variable.
    at.is_some_and(|value| !value.is_table() && !value.is_array())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn load(file: Option<&str>, environment: &[(&str, &str)], flags: &[(&str, String)]) -> Result<Config, ConfigError> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("gavel.toml");
        file.into_iter().for_each(|text| std::fs::write(&path, text).unwrap());
        let variables = environment.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        Config::layered(file.map(|_| path.as_path()), variables, flags)
    }

    #[test]
    fn flags_win_over_environment_over_file_over_defaults() {
        assert_eq!(load(None, &[], &[]).unwrap().port, 8080);
        let file = Some("port = 1\n[limits]\nqueue = 7\n");
        assert_eq!(load(file, &[], &[]).unwrap().port, 1);
        let config = load(file, &[("GAVEL_PORT", "2"), ("GAVEL_LIMITS__IN_FLIGHT", "9")], &[]).unwrap();
        assert_eq!((config.port, config.limits.queue, config.limits.in_flight), (2, 7, 9));
        assert_eq!(load(file, &[("GAVEL_PORT", "2")], &[("port", "3".into())]).unwrap().port, 3);
        assert_eq!(load(None, &[("GAVEL_DATA_DIR", "/x")], &[]).unwrap().data_dir, Path::new("/x"));
    }

    #[test]
    fn variables_of_others_are_ignored_and_named() {
        let foreign = [("GAVEL_SERVICE_HOST", "10.0.0.1"), ("GAVEL_PORT", "tcp://10.0.0.1:8080"), ("GAVEL_LOG", "x")];
        let config = load(None, &foreign, &[]).unwrap();
        assert_eq!(config.ignored_variables, ["GAVEL_LOG", "GAVEL_PORT", "GAVEL_SERVICE_HOST"]);
        assert_eq!(config.port, 8080);
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("named.toml");
        std::fs::write(&path, "port = 4").unwrap();
        assert_eq!(load(None, &[("GAVEL_CONFIG", path.to_str().unwrap())], &[]).unwrap().port, 4);
    }

    #[test]
    fn without_a_model_it_is_the_default_judge() {
        assert_eq!(load(None, &[], &[]).unwrap().model, crate::models::DEFAULT_MODEL);
        assert_eq!(load(None, &[("GAVEL_MODEL", "")], &[]).unwrap().model, crate::models::DEFAULT_MODEL);
        assert_eq!(load(None, &[("GAVEL_MODEL", "x")], &[]).unwrap().model, "x");
    }

    #[test]
    fn the_hub_is_where_hugging_faces_own_tools_find_it() {
        let from = |all: &[(&str, &str)]| {
            let all = all.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
            Config::layered(None, all, &[]).unwrap().hub
        };
        let hub = from(&[("HF_ENDPOINT", "http://mirror.test"), ("HF_TOKEN", "hf_secret"), ("HF_HOME", "/hf")]);
        assert_eq!((hub.endpoint.as_str(), hub.token.reveal()), ("http://mirror.test", "hf_secret"));
        assert_eq!(hub.cache_dir, Path::new("/hf/hub"));
        assert!(!format!("{hub:?}").contains("hf_secret"));
        let hub = from(&[("HF_HUB_CACHE", "/b"), ("HF_HOME", "/hf"), ("GAVEL_HUB__ENDPOINT", "http://ours.test")]);
        assert_eq!((hub.endpoint.as_str(), hub.cache_dir.as_path()), ("http://ours.test", Path::new("/b")));
        assert_eq!(from(&[("XDG_CACHE_HOME", "/c")]).cache_dir, Path::new("/c/huggingface/hub"));
        assert_eq!(from(&[]).endpoint, "https://huggingface.co");
    }

    #[test]
    fn several_models_and_which_comes_first() {
        let file = "[[models]]\nmodel = \"smollm2-135m\"\n[[models]]\nname = \"big\"\nmodel = \"hf:o/n/b.gguf\"\n\
                    load = \"first_use\"\n[models.llama_cpp]\nkv_tokens = 9\n[models.mistralrs]\nisq = \"q4k\"\n";
        let names = |config: Config| config.models.iter().map(ModelConfig::name).collect::<Vec<_>>();
        let config = load(Some(file), &[], &[]).unwrap();
        let sizes = config.models[1].llama_cpp.over(&config.llama_cpp);
        assert_eq!((sizes.kv_tokens, sizes.sequences), (9, config.llama_cpp.sequences));
        let sizes = config.models[1].mistralrs.over(&config.mistralrs);
        assert_eq!((sizes.isq.as_str(), sizes.kv_tokens), ("q4k", config.mistralrs.kv_tokens));
        assert_eq!(config.models[0].mistralrs.over(&config.mistralrs), config.mistralrs);
        assert_eq!(config.models[1].load, LoadWhen::FirstUse);
        assert_eq!(names(config), ["smollm2-135m", "big"]);
        assert_eq!(names(load(Some(file), &[], &[("model", "big".into())]).unwrap()), ["big", "smollm2-135m"]);
        let config = load(Some(file), &[("GAVEL_MODEL", "./x.gguf")], &[]).unwrap();
        assert_eq!((config.model.clone(), names(config)), ("./x.gguf".into(), vec![]));
    }

    #[test]
    fn a_judge_models_model_is_one_that_is_there() {
        let judge = |model: &str| {
            format!("\n[[judges]]\nname = \"mine\"\nmodel = \"{model}\"\nsteps = [{{ choose = [\"a\", \"b\"] }}]\n")
        };
        let two = "[[models]]\nname = \"one\"\n[[models]]\nname = \"two\"\n";
        let check = |models: &str, model: &str, flags: &[(&str, String)]| {
            load(Some(&format!("{models}{}", judge(model))), &[], flags).map(drop).map_err(|error| error.to_string())
        };
        assert_eq!(check(two, "two", &[]), Ok(()));
        let error = check(two, "twoo", &[]).unwrap_err();
        assert_eq!(error, "[[judges]] mine: there is no model `twoo`; there are: one, two");
        // A single model, by its own name.
        assert_eq!(check("model = \"./my/judge.gguf\"", "judge", &[]), Ok(()));
        assert!(check("model = \"./my/judge.gguf\"", "two", &[]).unwrap_err().contains("there are: judge"));
        assert_eq!(check("engine = \"scripted\"", "scripted", &[]), Ok(()));
        // A model of the command line takes the place of all.
        assert_eq!(check(two, "two", &[("model", "three".into())]), Ok(()));
        assert_eq!(check(two, "three", &[("model", "three".into())]), Ok(()));
        assert!(check(two, "twoo", &[("model", "three".into())]).is_err());
    }

    #[test]
    fn servers_are_named_in_the_environment_and_so_are_their_keys() {
        let all = [
            ("GAVEL_ENGINE", "remote"),
            ("GAVEL_REMOTE__URLS", "http://a:8000/v1, http://b:8000/"),
            ("GAVEL_REMOTE__API_KEY", "s3cret"),
            ("GAVEL_REMOTE__HEADERS", "X-Team: t3am; X-Other: a:b"),
            ("OTHER_KEY", "0ther"),
        ];
        let config = load(None, &all, &[]).unwrap();
        assert_eq!((config.model.as_str(), config.model_names()), ("", vec!["remote".to_owned()]));
        assert_eq!(config.remote.urls.0, ["http://a:8000", "http://b:8000"]);
        assert_eq!(config.remote.api_key.reveal(), "s3cret");
        let headers = config.remote.header_list().unwrap();
        assert_eq!(headers, [("X-Team".to_owned(), "t3am".to_owned()), ("X-Other".into(), "a:b".into())]);
        assert!(!format!("{config:?}").contains("s3cret") && !format!("{config:?}").contains("t3am"));
        let two = "engine = \"remote\"\n[[models]]\nname = \"a\"\n[[models]]\nname = \"b\"\n[models.remote]\n\
                   urls = [\"https://c\"]\napi_key_env = \"OTHER_KEY\"\n";
        let config = load(Some(two), &all, &[]).unwrap();
        let of = |index: usize| config.models[index].remote.over(&config.remote);
        assert_eq!((of(0).urls.0.len(), of(0).api_key.reveal()), (2, "s3cret"));
        assert_eq!(
            (of(1).urls.0, of(1).api_key.reveal().to_owned()),
            (vec!["https://c".to_owned()], "0ther".to_owned())
        );
        let check = |file: &str, environment: &[(&str, &str)], expected: &str| {
            let error = load(Some(file), environment, &[]).unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
        };
        check("engine = \"remote\"", &[], "remote.urls is empty");
        check("engine = \"remote\"\n[remote]\nurls = \"host:1\"", &[], "must begin with http://");
        check("engine = \"remote\"\noffline = true\n[remote]\nurls = \"http://host:1\"", &[], "offline");
        check("[remote]\napi_key = \"x\"", &[], "remote.api_key must not be in a configuration file");
        check(two, &all[..2], "OTHER_KEY");
        check("[[models]]\nname = \"a\"\nengine = \"remote\"\n", &[], "[[models]] a: remote.urls");
    }

    #[test]
    fn mistakes_name_their_key() {
        let check = |file: &str, word: &str| {
            let error = load(Some(file), &[], &[]).unwrap_err().to_string();
            assert!(error.contains(word), "{error}");
        };
        check("prot = 1", "prot");
        check("port = \"many\"", "port");
        check("engine = \"gpt\"", "unknown variant `gpt`, expected one of `auto`, `llama-cpp`");
        check("[log]\nformat = \"yaml\"", "unknown variant `yaml`, expected `text` or `json`");
        check("port = 99999", "a number from 0 to 65535");
        check("[llama_cpp]\nsequences = 0", "llama_cpp.sequences");
        check("[llama_cpp]\nstep_tokens = 1", "llama_cpp.step_tokens");
        check("[grading]\nmin_label_mass = 1.5", "grading.min_label_mass");
        check("[limits]\nbulk_items = 0", "limits.bulk_items");
        check("[traces]\nsample_ratio = 1.5", "traces.sample_ratio");
        check("[traces]\nendpoint = \"localhost:4318\"", "traces.endpoint");
        check("[[models]]\nmodel = \"a\"\n[[models]]\nname = \"a\"", "two entries named `a`");
        check("[[models]]\nload = \"start\"", "neither");
        check("[[models]]\nname = \"a\"\nload = \"soon\"", "soon");
        check("[[models]]\nname = \"a\"\nsize = 1", "size");
        check("[[models]]\nname = \"a\"\n[models.llama_cpp]\nkv_tokens = 0", "a: llama_cpp");
        check("[[models]]\nname = \"a\"\n[models.mistralrs]\nsequences = 0", "a: mistralrs");
        check("[[models]]\nname = \"a\"\n[models.mistralrs]\nsize = 0", "size");
    }

    #[test]
    fn the_page_of_settings_is_up_to_date() {
        let page = include_str!("../docs/configuration.md");
        assert_eq!(page, reference(), "run `gavel docs configuration > docs/configuration.md`");
    }
}
