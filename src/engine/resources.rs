//! What a model takes, what it sees with, and how loaded it is.

/// What a model sees pictures with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Eyes {
    /// `sha256:<hex>` of their weights.
    pub digest: String,
}

/// Memory that a loaded model takes, in bytes; `None` where the engine does not know it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ModelMemory {
    /// The weights.
    pub weights: Option<u64>,
    /// The keys and values that are allocated for running sequences, used or not.
    pub kv_cache: Option<u64>,
}

/// The load of an engine.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Load {
    /// Waiting sequences.
    pub waiting: usize,
    /// Running sequences.
    pub running: usize,
    /// KV tokens that running sequences hold or may still need.
    pub kv_running: usize,
    /// Tokens of cached prefixes.
    pub kv_cached: usize,
    /// Free KV tokens.
    pub kv_free: usize,
    /// Number of restarts after a failure.
    pub restarts: u64,
}

impl Load {
    /// The sum of both.
    #[must_use]
    pub fn plus(self, other: Self) -> Self {
        Self {
            waiting: self.waiting + other.waiting,
            running: self.running + other.running,
            kv_running: self.kv_running + other.kv_running,
            kv_cached: self.kv_cached + other.kv_cached,
            kv_free: self.kv_free + other.kv_free,
            restarts: self.restarts + other.restarts,
        }
    }
}
