//! Sizes of the engine, and the library's own initialisation.

use std::mem::ManuallyDrop;

use llama_cpp_2::llama_backend::LlamaBackend;

/// Sizes of the engine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Settings {
    /// The most sequences that run together.
    pub sequences: usize,
    /// Tokens that the KV cache holds, an equal part for each sequence.
    pub kv_tokens: usize,
    /// The most tokens of prompts that stay cached for reuse; 0 keeps none.
    pub prefix_tokens: usize,
    /// The most tokens in one step.
    pub step_tokens: usize,
    /// Threads; 0 takes one a core.
    pub threads: usize,
    /// Layers on the GPU, in a build that has one.
    pub gpu_layers: u32,
}

impl Settings {
    /// The most tokens of a sequence.
    pub(super) fn context(self) -> usize {
        self.kv_tokens / self.sequences
    }
}

/// llama.cpp is initialised once a process and never freed; a second server in the same process finds it so.
pub(super) fn backend() -> ManuallyDrop<LlamaBackend> {
    llama_cpp_2::send_logs_to_tracing(llama_cpp_2::LogOptions::default());
    // The only error is that it is initialised already, of which an empty token is proof enough.
    ManuallyDrop::new(LlamaBackend::init().unwrap_or(LlamaBackend {}))
}
