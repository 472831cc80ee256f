//! Sizes of the llama.cpp engine.

use std::path::PathBuf;

use serde::Deserialize;

/// Sizes of the llama.cpp engine.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
#[allow(missing_docs, reason = "config.default.toml documents each field where users read it")]
pub struct LlamaCppConfig {
    pub sequences: usize,
    pub kv_tokens: usize,
    pub cached_tokens: usize,
    pub step_tokens: usize,
    pub threads: usize,
    pub gpu_layers: u32,
    pub eyes: PathBuf,
    pub picture_tokens: usize,
}

impl LlamaCppConfig {
    /// Maximum number of tokens with keys and values in memory.
    #[must_use]
    pub fn tokens_in_memory(&self) -> u64 {
        (self.kv_tokens + self.cached_tokens) as u64
    }
}

/// Engine sizes of one model.
#[derive(Debug, Clone, PartialEq, Default, Deserialize)]
#[serde(deny_unknown_fields)]
#[allow(missing_docs, reason = "config.default.toml documents each field where users read it")]
pub struct LlamaCppOverrides {
    pub sequences: Option<usize>,
    pub kv_tokens: Option<usize>,
    pub cached_tokens: Option<usize>,
    pub step_tokens: Option<usize>,
    pub threads: Option<usize>,
    pub gpu_layers: Option<u32>,
    pub eyes: Option<PathBuf>,
    pub picture_tokens: Option<usize>,
}

impl LlamaCppOverrides {
    /// These sizes, with `common` ones as defaults.
    #[must_use]
    pub fn over(&self, common: &LlamaCppConfig) -> LlamaCppConfig {
        LlamaCppConfig {
            sequences: self.sequences.unwrap_or(common.sequences),
            kv_tokens: self.kv_tokens.unwrap_or(common.kv_tokens),
            cached_tokens: self.cached_tokens.unwrap_or(common.cached_tokens),
            step_tokens: self.step_tokens.unwrap_or(common.step_tokens),
            threads: self.threads.unwrap_or(common.threads),
            gpu_layers: self.gpu_layers.unwrap_or(common.gpu_layers),
            eyes: self.eyes.clone().unwrap_or_else(|| common.eyes.clone()),
            picture_tokens: self.picture_tokens.unwrap_or(common.picture_tokens),
        }
    }
}
