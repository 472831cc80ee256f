//! Sizes of the engine.

/// Sizes of the engine, and the quantisation of weights.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// Maximum number of sequences that run together on a GPU; on a CPU it is always one.
    pub sequences: usize,
    /// Maximum difference of prompts that run together, in tokens.
    pub spread: usize,
    /// Size of the KV pool of a GPU in tokens; on a CPU, the limit of one sequence.
    pub kv_tokens: usize,
    /// Quantisation of a safetensors folder while it is loaded, such as `q4k` or `8`; empty: none.
    pub isq: String,
}
