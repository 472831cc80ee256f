//! Sizes of the mistral.rs engine.

use serde::Deserialize;

/// Sizes of the mistral.rs engine.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
#[allow(missing_docs, reason = "config.default.toml documents each field where users read it")]
pub struct MistralRsConfig {
    pub sequences: usize,
    pub spread: usize,
    pub kv_tokens: usize,
    pub isq: String,
}

/// Engine sizes of one model.
#[derive(Debug, Clone, PartialEq, Default, Deserialize)]
#[serde(deny_unknown_fields)]
#[allow(missing_docs, reason = "config.default.toml documents each field where users read it")]
pub struct MistralRsOverrides {
    pub sequences: Option<usize>,
    pub spread: Option<usize>,
    pub kv_tokens: Option<usize>,
    pub isq: Option<String>,
}

impl MistralRsOverrides {
    /// These sizes, with `common` ones as defaults.
    #[must_use]
    pub fn over(&self, common: &MistralRsConfig) -> MistralRsConfig {
        MistralRsConfig {
            sequences: self.sequences.unwrap_or(common.sequences),
            spread: self.spread.unwrap_or(common.spread),
            kv_tokens: self.kv_tokens.unwrap_or(common.kv_tokens),
            isq: self.isq.clone().unwrap_or_else(|| common.isq.clone()),
        }
    }
}
