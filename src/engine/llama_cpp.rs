//! The `llama-cpp` engine: one worker thread owns a llama.cpp context and batches continuously over it.

mod context;
#[cfg(feature = "vision")]
mod eyes;
#[cfg(not(feature = "vision"))]
#[path = "llama_cpp/no_eyes.rs"]
mod eyes;
mod settings;
#[cfg(target_os = "linux")]
mod spinning;
#[cfg(not(target_os = "linux"))]
#[path = "llama_cpp/no_spinning.rs"]
mod spinning;
mod vocabulary;

use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, mpsc};
use std::thread::JoinHandle;
use std::time::Duration;

use futures::future::BoxFuture;
use llama_cpp_2::model::LlamaModel;
use llama_cpp_2::model::params::LlamaModelParams;

use self::eyes::Eyes;
pub use self::settings::Settings;
use self::settings::backend;
use self::vocabulary::ModelVocabulary;
use super::scheduler::worker::{self, Submission};
use super::shared::Shared;
use super::{Compiled, Engine, EngineError, EngineInfo, Job, Load, LoadError, ModelMemory, Run, compiled};
use crate::models::{Model, kv_per_token};
use crate::prompts::ChatFormat;
use crate::script::Vocabulary;

/// Pause before a second attempt to create a context.
const RETRY_PAUSE: Duration = Duration::from_millis(200);
/// Maximum number of sequences in llama.cpp.
const MAX_SEQUENCES: usize = 256;

/// A model in llama.cpp.
pub struct LlamaCpp {
    info: EngineInfo,
    memory: ModelMemory,
    chat: ChatFormat,
    vocabulary: Arc<ModelVocabulary>,
    /// The digest of the model's eyes.
    eyes: Option<String>,
    shared: Arc<Shared>,
    /// `None` after shutdown.
    worker: Mutex<Option<Worker>>,
}

/// The worker thread and its inbox.
struct Worker {
    submissions: mpsc::Sender<Submission>,
    thread: JoinHandle<()>,
}

impl LlamaCpp {
    /// Loads a model, warms it up, and starts its worker. Blocks the thread.
    ///
    /// # Errors
    /// If a file cannot be loaded, or sequences of the model cannot be truncated.
    pub fn load(model: &Model, settings: Settings) -> Result<Self, LoadError> {
        let weights = Arc::new(load_weights(&model.path, settings.gpu_layers)?);
        let fail = |reason: String| LoadError::Model { path: model.path.display().to_string(), reason };
        if weights.is_recurrent() || weights.is_hybrid() {
            return Err(fail("recurrent and hybrid models cannot be rolled back, which scripts need".into()));
        }
        if !(1..=MAX_SEQUENCES).contains(&settings.sequences) || settings.step_tokens == 0 {
            return Err(fail(format!(
                "llama_cpp.sequences is 1 to {MAX_SEQUENCES}, and llama_cpp.step_tokens at least 1"
            )));
        }
        let mut settings = settings;
        if slides(&weights, settings.context()) && settings.prefix_tokens > 0 {
            // The saved state lacks tokens outside the window, so a prefix cannot be truncated to its shared part.
            tracing::warn!(model = model.name, "the model uses sliding-window attention, so the prefix cache is off");
            settings.prefix_tokens = 0;
        }
        let eyes = match &model.eyes {
            None => None,
            Some(file) => {
                let fail = |reason| LoadError::Model { path: file.path.display().to_string(), reason };
                Some(Arc::new(Eyes::load(&file.path, &weights, settings).map_err(fail)?))
            }
        };
        let vocabulary = Arc::new(ModelVocabulary::new(Arc::clone(&weights), eyes.clone()));
        let info = EngineInfo {
            engine: "llama-cpp",
            model: model.name.clone(),
            digest: model.digest.clone(),
            context: (weights.n_ctx_train() as usize).min(settings.context()),
            sequences: settings.sequences,
            device: if settings.on_gpu() { "gpu" } else { "cpu" },
            threads: settings.thread_count().ok().and_then(|threads| usize::try_from(threads).ok()),
        };
        let memory = ModelMemory { weights: Some(weights.size()), kv_cache: kv_cache(&model.path, settings) };
        let shared = Arc::new(Shared::default());
        let (submissions, inbox) = mpsc::channel();
        let (ready, started) = mpsc::channel();
        let worker = std::thread::Builder::new().name("gavel-llama".into()).spawn({
            let (vocabulary, shared) = (Arc::clone(&vocabulary) as Arc<dyn Vocabulary>, Arc::clone(&shared));
            move || {
                let start = || context::start(&weights, &vocabulary, eyes.clone(), settings);
                worker::run(start, &inbox, &shared, &ready, RETRY_PAUSE);
            }
        });
        let thread = worker.map_err(|error| fail(format!("cannot start its thread: {error}")))?;
        started.recv().map_err(|_| fail("its worker thread ended immediately".into()))?.map_err(fail)?;
        let chat = vocabulary.chat_format();
        let worker = Mutex::new(Some(Worker { submissions, thread }));
        let eyes = model.eyes.as_ref().map(|file| file.digest.clone());
        Ok(Self { info, memory, chat, vocabulary, eyes, shared, worker })
    }

    fn worker(&self) -> MutexGuard<'_, Option<Worker>> {
        self.worker.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Worker {
    /// Finishes running work, and waits for the end of the thread.
    fn join(self) {
        drop(self.submissions);
        // A panic is already in the log.
        let _ = self.thread.join();
    }
}

/// Bytes of the keys and values of all cells of the context, if the header of the file has their sizes. Where layers
/// differ, it is the size as if all were as large as the largest.
fn kv_cache(path: &Path, settings: Settings) -> Option<u64> {
    let per_token = kv_per_token(path).ok().flatten()?;
    Some(per_token.saturating_mul(settings.cells() as u64))
}

/// Whether some layers have an attention window of less than `context` tokens.
fn slides(weights: &LlamaModel, context: usize) -> bool {
    let value = |key: &str| weights.meta_val_str(key).ok();
    let window = value("general.architecture").and_then(|name| value(&format!("{name}.attention.sliding_window")));
    window.and_then(|window| window.parse::<usize>().ok()).is_some_and(|window| window > 0 && window < context)
}

/// The vocabulary of a model file, without its weights.
///
/// # Errors
/// When the file cannot be loaded.
pub fn load_vocabulary(path: &Path) -> Result<Arc<dyn Vocabulary>, LoadError> {
    let params = LlamaModelParams::default().with_vocab_only(true);
    Ok(Arc::new(ModelVocabulary::new(Arc::new(load_file(path, &params)?), None)))
}

fn load_weights(path: &Path, gpu_layers: u32) -> Result<LlamaModel, LoadError> {
    load_file(path, &LlamaModelParams::default().with_n_gpu_layers(gpu_layers))
}

fn load_file(path: &Path, params: &LlamaModelParams) -> Result<LlamaModel, LoadError> {
    LlamaModel::load_from_file(&backend(), path, params)
        .map_err(|error| LoadError::Model { path: path.display().to_string(), reason: error.to_string() })
}

impl Engine for LlamaCpp {
    fn info(&self) -> &EngineInfo {
        &self.info
    }

    fn chat_format(&self) -> &ChatFormat {
        &self.chat
    }

    fn vocabulary(&self) -> Option<Arc<dyn Vocabulary>> {
        Some(Arc::clone(&self.vocabulary) as _)
    }

    fn eyes(&self) -> Option<super::Eyes> {
        self.eyes.clone().map(|digest| super::Eyes { digest })
    }

    fn compile(&self, job: Job) -> Result<Compiled, EngineError> {
        compiled(job, &self.info, &*self.vocabulary)
    }

    fn start(&self, compiled: Compiled) -> Run {
        let (events, run) = Run::channel();
        if let Some(worker) = &*self.worker() {
            self.shared.sent();
            // If the worker is gone, the run ends with the error `Stopped`.
            let _ = worker.submissions.send(Submission { compiled, events });
        }
        run
    }

    fn load(&self) -> Load {
        self.shared.load()
    }

    fn memory(&self) -> ModelMemory {
        self.memory
    }

    fn stepping(&self) -> Option<Duration> {
        self.shared.stepping()
    }

    fn alive(&self) -> bool {
        self.worker().as_ref().is_some_and(|worker| !worker.thread.is_finished())
    }

    fn shut_down(&self) -> BoxFuture<'_, ()> {
        let worker = self.worker().take();
        Box::pin(async move {
            if let Some(worker) = worker {
                // It only waits; panics are handled in the worker.
                let _ = tokio::task::spawn_blocking(move || worker.join()).await;
            }
        })
    }
}

impl Drop for LlamaCpp {
    fn drop(&mut self) {
        if let Some(worker) = self.worker().take() {
            worker.join();
        }
    }
}
