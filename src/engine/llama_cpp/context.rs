//! A llama.cpp context as the scheduler's backend.

use std::num::NonZeroU32;
use std::sync::Arc;

use llama_cpp_2::context::LlamaContext;
use llama_cpp_2::context::params::LlamaContextParams;
use llama_cpp_2::context::session::{LlamaStateSeqFlags, SeqState};
use llama_cpp_2::llama_batch::LlamaBatch;
use llama_cpp_2::model::LlamaModel;
use llama_cpp_2::token::LlamaToken;

use super::eyes::Eyes;
use super::settings::{Settings, backend};
use super::spinning::Spinning;
use crate::engine::scheduler::{Backend, Limits, Row, Scheduler, Slot};
use crate::script::{Look, Vocabulary};

/// llama.cpp's flag value for `enabled`, which the binding does not name.
const FLASH_ATTENTION_ENABLED: i32 = 1;

/// Approximate number of tokens whose state is copied in the time of computing one token. A token of a model with 7
/// billion parameters has 128 kB of state in half precision: on a GPU, 25 µs over PCIe to pageable memory against 50 to
/// 200 µs of arithmetic; on a CPU, the same against 10 ms.
const GPU_COPIES: usize = 4;
const CPU_COPIES: usize = 64;

/// One context, the batch that it decodes, and the eyes of the model if it has some.
pub(super) struct Context<'model> {
    context: LlamaContext<'model>,
    batch: LlamaBatch<'static>,
    eyes: Option<Arc<Eyes>>,
    step_tokens: usize,
    spinning: Spinning,
}

/// A scheduler over a new context, which has decoded one token.
///
/// # Errors
/// If llama.cpp cannot create it, or fails.
pub(super) fn start<'model>(
    model: &'model LlamaModel,
    vocabulary: &Arc<dyn Vocabulary>,
    eyes: Option<Arc<Eyes>>,
    settings: Settings,
) -> Result<Scheduler<Context<'model>>, String> {
    let mut context = Context::new(model, eyes, settings)?;
    let token = vocabulary.begin().unwrap_or(0);
    context.decode(&[Row { token, position: 0, slot: 0, logits: true }])?;
    context.truncate(0, 0)?;
    Ok(Scheduler::new(context, Arc::clone(vocabulary), limits(settings)))
}

/// The scheduler's limits for these settings.
fn limits(settings: Settings) -> Limits {
    Limits {
        sequences: settings.sequences,
        context: settings.context(),
        prefix_tokens: settings.prefix_tokens,
        step: settings.step_tokens,
        copies: if settings.on_gpu() { GPU_COPIES } else { CPU_COPIES },
    }
}

impl<'model> Context<'model> {
    /// # Errors
    /// If llama.cpp cannot create a context, for example without enough memory.
    fn new(model: &'model LlamaModel, eyes: Option<Arc<Eyes>>, settings: Settings) -> Result<Self, String> {
        let size = |n: usize| u32::try_from(n).map_err(|_| format!("{n} is too large"));
        let threads = settings.thread_count()?;
        // One stream per sequence: in a unified pool, attention visits the cells of all other sequences.
        let params = LlamaContextParams::default()
            .with_n_ctx(NonZeroU32::new(size(settings.cells())?))
            .with_n_batch(size(settings.step_tokens)?)
            .with_n_ubatch(size(settings.step_tokens)?)
            .with_n_seq_max(size(settings.sequences)?)
            .with_kv_unified(false)
            .with_swa_full(true)
            .with_flash_attention_policy(FLASH_ATTENTION_ENABLED)
            .with_n_threads(threads)
            .with_n_threads_batch(threads)
            .with_no_perf(true);
        let context = model.new_context(&backend(), params).map_err(|error| error.to_string())?;
        let batch = LlamaBatch::new(settings.step_tokens, 1);
        let spinning = Spinning::new(threads.unsigned_abs());
        Ok(Self { context, batch, eyes, step_tokens: settings.step_tokens, spinning })
    }
}

impl Backend for Context<'_> {
    type Saved = SeqState;

    fn decode(&mut self, rows: &[Row]) -> Result<(), String> {
        self.batch.clear();
        for row in rows {
            let position = i32::try_from(row.position).map_err(|e| e.to_string())?;
            self.batch.add(LlamaToken(row.token), position, &[row.slot], row.logits).map_err(|e| e.to_string())?;
        }
        self.spinning.during(|| self.context.decode(&mut self.batch)).map_err(|error| error.to_string())
    }

    fn logits(&self, index: usize) -> &[f32] {
        self.context.get_logits_ith(i32::try_from(index).expect("a batch is small"))
    }

    fn save(&mut self, slot: Slot) -> Result<SeqState, String> {
        self.context.state_seq_get(slot, LlamaStateSeqFlags::empty()).map_err(|error| error.to_string())
    }

    fn restore(&mut self, saved: &SeqState, slot: Slot, position: usize) -> Result<(), String> {
        self.context.state_seq_set(saved, slot).map_err(|error| error.to_string())?;
        self.truncate(slot, position)
    }

    fn truncate(&mut self, slot: Slot, position: usize) -> Result<(), String> {
        let (slot, position) =
            (u32::try_from(slot).map_err(|e| e.to_string())?, u32::try_from(position).map_err(|e| e.to_string())?);
        match self.context.clear_kv_cache_seq(Some(slot), Some(position), None) {
            Ok(true) => Ok(()),
            Ok(false) => Err(format!("sequence {slot} cannot be rolled back to position {position}")),
            Err(error) => Err(error.to_string()),
        }
    }

    fn see(&mut self, look: &Look, position: usize, slot: Slot) -> Result<(), String> {
        let eyes = self.eyes.as_ref().ok_or("the model has no eyes")?;
        self.spinning.during(|| eyes.see(look, position, slot, &mut self.context, self.step_tokens))
    }

    fn wipe(&mut self) {
        self.context.clear_kv_cache();
    }
}
