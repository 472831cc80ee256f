//! The `mistralrs` engine: mistral.rs computes logits, and Gavel does the rest.
//!
//! Gavel tokenises prompts, forces or samples every token, and decides which sequences run together: on a CPU one
//! sequence at a time, because mistral.rs 0.8 mixes up the answers of sequences that run together there; on a GPU,
//! waves of equal length ([`super::length_buckets`]).

mod force;
mod load;
mod request;
mod row;
mod settings;
#[cfg(test)]
mod tests;
mod worker;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use futures::future::BoxFuture;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use self::request::ModelLimits;
pub use self::settings::Settings;
use self::worker::{Submission, Worker};
use super::length_buckets::Limits;
use super::shared::Shared;
use super::vocabulary::ModelVocabulary;
use super::{Compiled, Engine, EngineError, EngineInfo, Job, Load, LoadError, Run, compiled};
use crate::models::Model;
use crate::prompts::ChatFormat;
use crate::script::Vocabulary;

/// A model in mistral.rs.
pub struct MistralRs {
    info: EngineInfo,
    chat: ChatFormat,
    vocabulary: Arc<ModelVocabulary>,
    shared: Arc<Shared>,
    /// `None` after shutdown.
    running: Mutex<Option<Running>>,
}

/// The worker task and its inbox.
struct Running {
    submissions: mpsc::UnboundedSender<Submission>,
    worker: JoinHandle<()>,
}

impl MistralRs {
    /// Loads a model, a GGUF file or a folder of safetensors, and starts its worker. Needs a multi-threaded runtime.
    ///
    /// # Errors
    /// If it cannot be loaded.
    pub async fn load(model: &Model, settings: Settings) -> Result<Self, LoadError> {
        let fail = |reason: String| LoadError::Model { path: model.path.display().to_string(), reason };
        let path = model.path.clone();
        let vocabulary = tokio::task::spawn_blocking(move || ModelVocabulary::load(&path)).await;
        let vocabulary = Arc::new(vocabulary.map_err(|panic| fail(panic.to_string()))?.map_err(fail)?);
        let ends = vocabulary.control_tokens();
        if ends.is_empty() {
            return Err(fail("its vocabulary has no control token".into()));
        }
        let load::Loaded { runner, device, tokens } = load::load(&model.path, &settings).await.map_err(fail)?;
        let longest = runner.max_sequence_length(None).ok().flatten().unwrap_or(tokens);
        let info = EngineInfo {
            engine: "mistralrs",
            model: model.name.clone(),
            digest: model.digest.clone(),
            context: longest.min(tokens),
            sequences: if device.is_cpu() { 1 } else { settings.sequences },
            device: if device.is_cuda() {
                "cuda"
            } else if device.is_metal() {
                "metal"
            } else {
                "cpu"
            },
            threads: None,
        };
        let limits = Limits { sequences: info.sequences, max_length_gap: settings.spread, tokens };
        let (submissions, inbox) = mpsc::unbounded_channel();
        let shared = Arc::new(Shared::default());
        let model_limits = ModelLimits { ends, context: info.context, vocabulary: vocabulary.size() };
        let worker = Worker::new(runner, model_limits, limits, Arc::clone(&shared));
        let worker = tokio::spawn(worker.run(inbox));
        let chat = vocabulary.chat_format().clone();
        let running = Mutex::new(Some(Running { submissions, worker }));
        Ok(Self { info, chat, vocabulary, shared, running })
    }

    /// The same engine with a lower maximum number of sequences that run together.
    #[must_use]
    pub fn limited(mut self, sequences: usize) -> Self {
        self.info.sequences = self.info.sequences.min(sequences);
        self.submit(Submission::Limit(self.info.sequences));
        self
    }

    fn running(&self) -> MutexGuard<'_, Option<Running>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sends a message to the worker. If the worker is gone, the run ends with the error `Stopped`.
    fn submit(&self, submission: Submission) {
        if let Some(running) = &*self.running() {
            let _ = running.submissions.send(submission);
        }
    }
}

impl Engine for MistralRs {
    fn info(&self) -> &EngineInfo {
        &self.info
    }

    fn chat_format(&self) -> &ChatFormat {
        &self.chat
    }

    fn vocabulary(&self) -> Option<Arc<dyn Vocabulary>> {
        Some(Arc::clone(&self.vocabulary) as _)
    }

    fn compile(&self, job: Job) -> Result<Compiled, EngineError> {
        compiled(job, &self.info, &*self.vocabulary)
    }

    fn start(&self, compiled: Compiled) -> Run {
        let (events, run) = Run::channel();
        let script_run = row::ScriptRun::new(Arc::clone(&self.vocabulary) as _, compiled, events);
        self.shared.sent();
        self.submit(Submission::Run(Box::new(script_run)));
        run
    }

    fn load(&self) -> Load {
        self.shared.load()
    }

    fn alive(&self) -> bool {
        self.running().as_ref().is_some_and(|running| !running.submissions.is_closed())
    }

    fn shut_down(&self) -> BoxFuture<'_, ()> {
        let running = self.running().take();
        Box::pin(async move {
            if let Some(Running { submissions, worker }) = running {
                drop(submissions);
                // A panic also ends the worker.
                let _ = worker.await;
            }
        })
    }
}
