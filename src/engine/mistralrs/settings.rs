//! Sizes of the engine.

/// Sizes of the engine, and how its weights are loaded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// The most sequences that run together on a GPU; on a CPU it is always one.
    pub sequences: usize,
    /// By how many tokens the prompts of sequences that run together may differ.
    pub spread: usize,
    /// Tokens that the KV pool of a GPU holds; on a CPU they bound one sequence.
    pub kv_tokens: usize,
    /// How weights of a safetensors folder are quantised while they are loaded, such as `q4k` or `8`; empty: not.
    pub isq: String,
}
