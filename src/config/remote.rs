//! The servers of the remote engine.

use std::path::PathBuf;

use serde::{Deserialize, Deserializer};

use super::by_name;
use super::secret::Secret;

/// Addresses that are written as one text, separated by commas, or as a list.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Urls(pub Vec<String>);

#[derive(Deserialize)]
#[serde(untagged, expecting = "must be a URL, several URLs separated by commas, or a list")]
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
    OpenaiChat,
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
    Sampled,
}

/// The servers of a model.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
#[allow(missing_docs, reason = "config.default.toml documents each field where users read it")]
pub struct RemoteConfig {
    pub urls: Urls,
    #[serde(deserialize_with = "by_name::one")]
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
    #[serde(deserialize_with = "by_name::one")]
    pub affinity: Affinity,
    #[serde(deserialize_with = "by_name::one")]
    pub accept: Accept,
    pub samples: u32,
    pub picture_tokens: usize,
}

/// The servers of one of several models; what is left out is that of all.
#[derive(Debug, Clone, PartialEq, Default, Deserialize)]
#[serde(deny_unknown_fields)]
#[allow(missing_docs, reason = "config.default.toml documents each field where users read it")]
pub struct RemoteOverrides {
    pub urls: Option<Urls>,
    #[serde(default, deserialize_with = "by_name::maybe")]
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
    #[serde(default, deserialize_with = "by_name::maybe")]
    pub affinity: Option<Affinity>,
    #[serde(default, deserialize_with = "by_name::maybe")]
    pub accept: Option<Accept>,
    pub samples: Option<u32>,
    pub picture_tokens: Option<usize>,
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
            samples: own.samples.unwrap_or(common.samples),
            picture_tokens: own.picture_tokens.unwrap_or(common.picture_tokens),
        }
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
