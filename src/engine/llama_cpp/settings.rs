//! Sizes of the engine, and the initialisation of llama.cpp.

use std::mem::ManuallyDrop;

use llama_cpp_2::llama_backend::LlamaBackend;

/// llama.cpp rounds the number of cells of a stream up to a multiple of this.
const STREAM_UNIT: usize = 256;

/// Sizes of the engine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Settings {
    /// Maximum number of sequences that run together.
    pub sequences: usize,
    /// Size of the KV cache in tokens, shared equally by the sequences.
    pub kv_tokens: usize,
    /// Size of the prefix cache in tokens; 0 disables it.
    pub prefix_tokens: usize,
    /// Maximum number of tokens in one step.
    pub step_tokens: usize,
    /// Number of threads; 0: one for each core.
    pub threads: usize,
    /// Number of layers on the GPU.
    pub gpu_layers: u32,
    /// Maximum number of tokens of a picture, for models that can choose.
    pub picture_tokens: usize,
}

impl Settings {
    /// Maximum number of tokens of a sequence.
    pub(super) fn context(self) -> usize {
        self.kv_tokens / self.sequences
    }

    /// Number of threads that compute.
    pub(super) fn thread_count(self) -> Result<i32, String> {
        let threads = match self.threads {
            0 => std::thread::available_parallelism().map_or(1, std::num::NonZero::get),
            threads => threads,
        };
        i32::try_from(threads).map_err(|error| error.to_string())
    }

    /// Whether layers of the model are on a GPU.
    pub(super) fn on_gpu(self) -> bool {
        self.gpu_layers > 0 && backend().supports_gpu_offload()
    }

    /// Number of cells of the KV cache: a stream for each sequence.
    pub(super) fn cells(self) -> usize {
        self.context().next_multiple_of(STREAM_UNIT) * self.sequences
    }
}

/// Initialises llama.cpp, once per process; it is never freed, and a second server in the process reuses it.
pub(super) fn backend() -> ManuallyDrop<LlamaBackend> {
    llama_cpp_2::send_logs_to_tracing(llama_cpp_2::LogOptions::default());
    // The only error is that it is already initialised; an empty token is sufficient proof.
    ManuallyDrop::new(LlamaBackend::init().unwrap_or(LlamaBackend {}))
}
