//! The servers of the remote engine.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Deserializer};

use super::{Config, ConfigError, EngineChoice, Secret};

/// Addresses that are written as one text, separated by commas, or as a list.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Urls(pub Vec<String>);

#[derive(Deserialize)]
#[serde(untagged, expecting = "must be an address, several separated by commas, or a list")]
enum Written {
    One(String),
    Many(Vec<String>),
}

impl<'de> Deserialize<'de> for Urls {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let written = match Written::deserialize(from)? {
            Written::One(text) => text.split(',').map(str::to_owned).collect(),
            Written::Many(list) => list,
        };
        let clean = |url: &String| {
            let url = url.trim().trim_end_matches('/');
            // The address that OpenAI's clients take; every path here has its own version.
            url.strip_suffix("/v1").unwrap_or(url).to_owned()
        };
        Ok(Self(written.iter().map(clean).filter(|url| !url.is_empty()).collect()))
    }
}

/// The kind of the servers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[allow(missing_docs, reason = "the names are those of the servers")]
pub enum RemoteKind {
    Auto,
    Vllm,
    Sglang,
    LlamaServer,
    OpenaiCompletions,
}

/// Whether requests name the prefix that they share.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
#[allow(missing_docs, reason = "the names say it")]
pub enum Affinity {
    Prefix,
    None,
}

/// The weakest kind of label mass that a verdict may have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
#[allow(missing_docs, reason = "config.default.toml explains them")]
pub enum Accept {
    Exact,
    Bounded,
}

/// The servers of a model.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
#[allow(missing_docs, reason = "config.default.toml documents each field where users read it")]
pub struct RemoteConfig {
    pub urls: Urls,
    pub kind: RemoteKind,
    pub model: String,
    pub tokenizer: String,
    pub api_key: Secret,
    pub api_key_env: String,
    pub headers: Secret,
    pub headers_env: String,
    pub ca_file: PathBuf,
    pub sequences: usize,
    pub context: usize,
    pub connect_ms: u64,
    pub queue_ms: u64,
    pub idle_ms: u64,
    pub retries: u32,
    pub affinity: Affinity,
    pub accept: Accept,
}

/// The servers of one of several models; what is left out is that of all.
#[derive(Debug, Clone, PartialEq, Default, Deserialize)]
#[serde(deny_unknown_fields)]
#[allow(missing_docs, reason = "config.default.toml documents each field where users read it")]
pub struct RemoteOverrides {
    pub urls: Option<Urls>,
    pub kind: Option<RemoteKind>,
    pub model: Option<String>,
    pub tokenizer: Option<String>,
    #[serde(skip)]
    pub api_key: Option<Secret>,
    pub api_key_env: Option<String>,
    #[serde(skip)]
    pub headers: Option<Secret>,
    pub headers_env: Option<String>,
    pub ca_file: Option<PathBuf>,
    pub sequences: Option<usize>,
    pub context: Option<usize>,
    pub connect_ms: Option<u64>,
    pub queue_ms: Option<u64>,
    pub idle_ms: Option<u64>,
    pub retries: Option<u32>,
    pub affinity: Option<Affinity>,
    pub accept: Option<Accept>,
}

impl RemoteOverrides {
    /// These settings, with `common` ones as defaults.
    #[must_use]
    pub fn over(&self, common: &RemoteConfig) -> RemoteConfig {
        let own = self.clone();
        RemoteConfig {
            urls: own.urls.unwrap_or_else(|| common.urls.clone()),
            kind: own.kind.unwrap_or(common.kind),
            model: own.model.unwrap_or_else(|| common.model.clone()),
            tokenizer: own.tokenizer.unwrap_or_else(|| common.tokenizer.clone()),
            api_key: own.api_key.unwrap_or_else(|| common.api_key.clone()),
            api_key_env: own.api_key_env.unwrap_or_default(),
            headers: own.headers.unwrap_or_else(|| common.headers.clone()),
            headers_env: own.headers_env.unwrap_or_default(),
            ca_file: own.ca_file.unwrap_or_else(|| common.ca_file.clone()),
            sequences: own.sequences.unwrap_or(common.sequences),
            context: own.context.unwrap_or(common.context),
            connect_ms: own.connect_ms.unwrap_or(common.connect_ms),
            queue_ms: own.queue_ms.unwrap_or(common.queue_ms),
            idle_ms: own.idle_ms.unwrap_or(common.idle_ms),
            retries: own.retries.unwrap_or(common.retries),
            affinity: own.affinity.unwrap_or(common.affinity),
            accept: own.accept.unwrap_or(common.accept),
        }
    }
}

/// Refuses a file that has keys in it: files are read by others, and end up in repositories.
pub(super) fn refuse_secrets(file: &Path) -> Result<(), ConfigError> {
    let table = std::fs::read_to_string(file).ok().and_then(|text| text.parse::<toml::Table>().ok());
    let remote = table.as_ref().and_then(|table| table.get("remote"));
    let holds = |key: &str| remote.is_some_and(|remote| remote.get(key).is_some());
    match [("api_key", "remote.api_key"), ("headers", "remote.headers")].iter().find(|(key, _)| holds(key)) {
        None => Ok(()),
        Some((_, key)) => Err(ConfigError::Range(
            key,
            "must not be in a file: set it in the environment (GAVEL_REMOTE__API_KEY, GAVEL_REMOTE__HEADERS), or name \
             the variable that has it (api_key_env, headers_env)",
        )),
    }
}

impl Config {
    /// Fills in keys and headers whose variables are named.
    pub(super) fn fill_secrets(&mut self, environment: &HashMap<String, String>) -> Result<(), ConfigError> {
        let read = |variable: &str| match environment.get(variable) {
            _ if variable.is_empty() => Ok(None),
            Some(value) => Ok(Some(Secret(value.clone()))),
            None => Err(ConfigError::Variable(variable.to_owned())),
        };
        if let Some(key) = read(&self.remote.api_key_env)? {
            self.remote.api_key = key;
        }
        if let Some(headers) = read(&self.remote.headers_env)? {
            self.remote.headers = headers;
        }
        for model in &mut self.models {
            model.remote.api_key = read(model.remote.api_key_env.as_deref().unwrap_or_default())?;
            model.remote.headers = read(model.remote.headers_env.as_deref().unwrap_or_default())?;
        }
        Ok(())
    }

    /// Checks the servers of each model that is judged remotely.
    pub(super) fn check_remote(&self) -> Result<(), ConfigError> {
        let of_models = self.models.iter().map(|model| {
            (
                model.engine.unwrap_or(self.engine),
                format!("[[models]] {}: remote.", model.name()),
                model.remote.over(&self.remote),
            )
        });
        let single = (self.engine, "remote.".to_owned(), self.remote.clone());
        let all: Vec<_> = if self.models.is_empty() { vec![single] } else { of_models.collect() };
        for (_, at, remote) in all.into_iter().filter(|(engine, ..)| *engine == EngineChoice::Remote) {
            let wrong = |key: &str, why: &str| Err(ConfigError::Remote(format!("{at}{key} {why}")));
            if remote.urls.0.is_empty() {
                return wrong(
                    "urls",
                    "is empty: the engine `remote` needs the address of a server, such as http://localhost:8000 (GAVEL_REMOTE__URLS)",
                );
            }
            for url in &remote.urls.0 {
                let Some(rest) = url.strip_prefix("http://").or(url.strip_prefix("https://")) else {
                    return wrong("urls", &format!("has `{url}`, which must begin with http:// or https://"));
                };
                let host = rest.split(['/', ':']).next().unwrap_or_default();
                let local = matches!(host, "localhost" | "127.0.0.1") || rest.starts_with("[::1]");
                if self.offline && !local {
                    return wrong("urls", &format!("has `{url}`, and `offline` allows servers on this machine only"));
                }
            }
            if remote.sequences == 0 {
                return wrong("sequences", "must be at least 1");
            }
            if remote.connect_ms == 0 || remote.queue_ms == 0 || remote.idle_ms == 0 {
                return wrong("connect_ms, queue_ms and idle_ms", "must be at least 1");
            }
        }
        Ok(())
    }
}

impl RemoteConfig {
    /// The headers, by name.
    ///
    /// # Errors
    /// With what has no colon; not the value, which may be secret.
    pub fn header_list(&self) -> Result<Vec<(String, String)>, String> {
        let entries = self.headers.reveal().split([';', '\n']).map(str::trim).filter(|entry| !entry.is_empty());
        entries
            .map(|entry| match entry.split_once(':') {
                Some((name, value)) => Ok((name.trim().to_owned(), value.trim().to_owned())),
                None => Err("remote.headers must be `Name: value`, several separated by semicolons".to_owned()),
            })
            .collect()
    }
}
