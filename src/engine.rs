//! The engine contract: run a script on a prompt, stream its progress, stop when the caller disconnects.
//!
//! Nothing above this module knows which engine runs. An engine gets a [`Job`]. [`Engine::compile`] tokenises it and
//! refuses a job that can never fit, before it is queued and not on the engine thread. [`Engine::start`] runs it.
//! Dropping the [`Run`] cancels the work. [`Engine::shut_down`] stops the engine.

pub mod append_only;
pub mod conformance;
pub mod length_buckets;
#[cfg(feature = "llama-cpp")]
pub mod llama_cpp;
#[cfg(feature = "mistralrs")]
pub mod mistralrs;
pub mod remote;
mod resources;
pub mod scheduler;
pub mod scripted;
pub mod shared;
#[cfg(feature = "vocabulary")]
pub mod vocabulary;

use std::sync::Arc;

use futures::future::BoxFuture;
use std::time::{Duration, Instant};

use tokio::sync::mpsc;

pub use self::resources::{Eyes, Load, ModelMemory};
use crate::domain::fair_queue::Flow;
use crate::prompts::ChatFormat;
use crate::script::{
    CompiledScript, Encoded, InvalidScript, Machine, Prompt, SamplerSettings, Script, Step, StepError, Token,
    Transcript, Unseen, UnseenPicture, Vocabulary,
};

/// An engine: runs scripts on a model.
pub trait Engine: Send + Sync {
    /// Name, model and sizes of the engine.
    fn info(&self) -> &EngineInfo;

    /// The chat format of the model.
    fn chat_format(&self) -> &ChatFormat;

    /// Tokenises a job and checks that it can run.
    ///
    /// # Errors
    /// [`EngineError::ContextOverflow`] when prompt and answer do not fit, [`EngineError::InvalidScript`].
    fn compile(&self, job: Job) -> Result<Compiled, EngineError>;

    /// Runs a compiled job.
    fn start(&self, compiled: Compiled) -> Run;

    /// The current load.
    fn load(&self) -> Load;

    /// Whether it is running; an engine that has died for good needs a new process.
    fn alive(&self) -> bool {
        true
    }

    /// The memory that the model takes, as far as the engine knows it.
    fn memory(&self) -> ModelMemory {
        ModelMemory::default()
    }

    /// How long the step that the model computes now has taken so far, if the engine knows its steps.
    fn stepping(&self) -> Option<Duration> {
        None
    }

    /// The servers behind it, if it has any.
    fn upstream(&self) -> Option<Upstream> {
        None
    }

    /// The vocabulary of the model, if the engine knows it.
    fn vocabulary(&self) -> Option<Arc<dyn Vocabulary>> {
        None
    }

    /// The eyes of the model, if it takes pictures.
    fn eyes(&self) -> Option<Eyes> {
        None
    }

    /// Whether it can take work at present; one on servers of others cannot while none of them answers.
    fn available(&self) -> bool {
        true
    }

    /// Stops the engine: running jobs finish, later ones fail with [`EngineError::Stopped`]. Returns when its worker
    /// has ended and freed the model. After the engine is dropped, too, its memory is free.
    fn shut_down(&self) -> BoxFuture<'_, ()> {
        Box::pin(std::future::ready(()))
    }
}

/// The properties of an engine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EngineInfo {
    /// The engine's name, such as `llama-cpp`.
    pub engine: &'static str,
    /// The model's name.
    pub model: String,
    /// `sha256:<hex>` of the model.
    pub digest: String,
    /// Maximum number of tokens of prompt and answer together.
    pub context: usize,
    /// Maximum number of sequences that run together.
    pub sequences: usize,
    /// What computes: `cpu`, `gpu`, `cuda`, `metal` or `remote`; `none` without a model.
    pub device: &'static str,
    /// Number of threads that compute, where the engine decides it.
    pub threads: Option<usize>,
}

/// The servers behind a remote engine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Upstream {
    /// Their kind, such as `vllm`.
    pub kind: &'static str,
    /// Their addresses.
    pub urls: Vec<String>,
    /// The model's name there.
    pub model: String,
    /// Where they have it from.
    pub root: String,
    /// What they report about themselves in checked replies.
    pub fingerprints: Vec<String>,
    /// What they can do.
    pub abilities: remote::Abilities,
}

/// A script to run over a prompt.
#[derive(Debug, Clone)]
pub struct Job {
    /// The prompt.
    pub prompt: Prompt,
    /// The script.
    pub script: Script,
    /// Sampling of its `Generate` steps.
    pub sampling: SamplerSettings,
    /// Whether it runs alone and without prefix reuse, so that it gives the same bytes every time.
    pub deterministic: bool,
}

/// A job that fits, with all known tokens.
#[derive(Debug, Clone)]
pub struct Compiled {
    /// The job.
    pub job: Job,
    /// Its prompt as token ids.
    pub encoded: Encoded,
    /// Its compiled script.
    pub script: CompiledScript,
    /// The number of tokens of the prompt.
    pub prompt_tokens: usize,
    /// Its caller and request, for fairness between callers and between the requests of one caller.
    pub flow: Flow,
    /// The deadline; a job that cannot end by then is not started.
    pub deadline: Option<Instant>,
}

impl Compiled {
    /// Compiles a job with its tokenised prompt.
    ///
    /// # Errors
    /// If the vocabulary has no tokens for an option.
    pub fn new(job: Job, encoded: Encoded, vocabulary: &dyn Vocabulary) -> Result<Self, StepError> {
        let script = job.script.compile(&encoded, vocabulary)?;
        let prompt_tokens = encoded.ids.len();
        Ok(Self { job, encoded, script, prompt_tokens, flow: Flow::default(), deadline: None })
    }

    /// Maximum number of tokens of prompt and answer.
    #[must_use]
    pub fn most_tokens(&self) -> usize {
        self.prompt_tokens.saturating_add(self.job.script.most_tokens())
    }

    /// A machine that runs the script.
    #[must_use]
    pub fn machine(self, vocabulary: Arc<dyn Vocabulary>) -> Machine {
        Machine::new(vocabulary, self.encoded, self.script, self.job.sampling)
    }
}

/// What an engine reports while it runs a job.
#[derive(Debug)]
pub enum Event {
    /// Generated text, which is never taken back.
    Delta(String),
    /// The script has ended.
    Done(Box<Completion>),
    /// The job failed; this is the last event.
    Failed(EngineError),
}

/// The result of a job.
#[derive(Debug, Clone, PartialEq)]
pub struct Completion {
    /// The outcomes of all steps.
    pub transcript: Transcript,
    /// Tokens of the prompt.
    pub prompt_tokens: usize,
    /// Prompt tokens that were reused from the prefix cache.
    pub cached_tokens: usize,
    /// Time by stage.
    pub stages: Stages,
}

/// Time of a job by stage.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Stages {
    /// From its start until the engine first works on it.
    pub queue: Duration,
    /// From there until the whole prompt is read.
    pub prefill: std::time::Duration,
    /// From there to the end.
    pub decode: std::time::Duration,
}

/// A running job; dropping it cancels the work.
#[derive(Debug)]
pub struct Run {
    events: mpsc::UnboundedReceiver<Event>,
}

impl Run {
    /// A run, and the sender for its engine's events. The sender is closed when the caller disconnects.
    #[must_use]
    pub fn channel() -> (mpsc::UnboundedSender<Event>, Self) {
        let (sender, events) = mpsc::unbounded_channel();
        (sender, Self { events })
    }

    /// Waits for the result; `on_delta` gets generated text while it is generated.
    ///
    /// # Errors
    /// If the engine fails or stops.
    pub async fn finish(mut self, mut on_delta: impl FnMut(String)) -> Result<Completion, EngineError> {
        while let Some(event) = self.events.recv().await {
            match event {
                Event::Delta(text) => on_delta(text),
                Event::Done(completion) => return Ok(*completion),
                Event::Failed(error) => return Err(error),
            }
        }
        Err(EngineError::Stopped)
    }
}

/// Why a job fails.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EngineError {
    /// Prompt and answer can never fit the model's context.
    #[error(
        "The prompt has {}{prompt_tokens} tokens; {model} takes {context} minus {reserved} for the answer. \
         Shorten the texts or the answer.",
        if *.at_least { "at least " } else { "" }
    )]
    ContextOverflow {
        /// The model's name.
        model: String,
        /// Tokens of the prompt.
        prompt_tokens: usize,
        /// Whether this is a minimum, because the prompt is too long to tokenise.
        at_least: bool,
        /// The limit.
        context: usize,
        /// Tokens kept for the answer.
        reserved: usize,
    },
    /// A token id of the caller that is not in the vocabulary.
    #[error("The model has no token {token}; its ids are 0 to {}.", size - 1)]
    UnknownToken {
        /// The id.
        token: Token,
        /// The size of the vocabulary.
        size: usize,
    },
    /// The prompt has no tokens.
    #[error("The prompt has no tokens; send some text.")]
    EmptyPrompt,
    /// The model does not take a picture of the prompt.
    #[error(transparent)]
    Unseen(#[from] UnseenPicture),
    /// The script cannot be run.
    #[error(transparent)]
    InvalidScript(#[from] InvalidScript),
    /// This job failed; others continue.
    #[error("the engine failed: {0}")]
    Step(#[from] StepError),
    /// The engine failed while the job was in flight.
    #[error("the engine failed: {0}")]
    Failed(String),
    /// It cannot end before its deadline.
    #[error("the request could not be started early enough to finish before its deadline")]
    TooLate,
    /// The engine has stopped.
    #[error("the engine has stopped")]
    Stopped,
    /// The servers of a remote engine cannot be used at present.
    #[error("the model server is not available")]
    Unavailable {
        /// The server and the reason, for the log.
        why: String,
        /// When to try again.
        retry_after: Duration,
    },
    /// A server refused a request.
    #[error("the model server refused the request ({status}: {message})")]
    Refused {
        /// The server, for the log.
        url: String,
        /// The HTTP status.
        status: u16,
        /// What it says, shortened.
        message: String,
    },
    /// A server of this kind cannot do what a script needs.
    #[error("servers of kind {kind} do not support {what}; omit it, or use another engine")]
    NotSupported {
        /// What is needed.
        what: &'static str,
        /// The kind of the server.
        kind: &'static str,
    },
    /// A reply lacks what was asked for, or cannot be true.
    #[error("the model server sent an invalid reply: {0}")]
    Untrusted(String),
}

/// Why an engine cannot be started.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// The model file cannot be loaded.
    #[error("{path} cannot be loaded as a model: {reason}")]
    Model {
        /// The file.
        path: String,
        /// The error of the engine.
        reason: String,
    },
    /// The file of a model's eyes cannot be used.
    #[error("the eyes of the model (llama_cpp.eyes) cannot be used: {0}")]
    Eyes(String),
    /// This build has no such engine.
    #[error("this build does not have the engine `{0}`; {1}")]
    NotBuilt(String, &'static str),
    /// A server does not answer; it may later.
    #[error("the model server does not answer ({0}); check remote.urls, and that the server is running")]
    Unreachable(String),
    /// A server cannot be used as it is.
    #[error("{0}: {1}")]
    Remote(String, String),
    /// The file of scripted answers is invalid.
    #[error("the file of scripted answers is invalid: {0}")]
    Script(String),
}

/// Tokenises a job and checks that it can run: [`Engine::compile`] of engines that use script machines.
///
/// # Errors
/// If it cannot.
fn compiled(job: Job, info: &EngineInfo, vocabulary: &dyn Vocabulary) -> Result<Compiled, EngineError> {
    job.script.check()?;
    check_grammars(&job.script, vocabulary)?;
    let size = vocabulary.size();
    if let Some(token) = job.prompt.unknown_token(size) {
        return Err(EngineError::UnknownToken { token, size });
    }
    check_length(info, &job, vocabulary.longest_piece())?;
    let encoded = job.prompt.encode_seeing(vocabulary)?;
    check_pictures(&job, &encoded)?;
    check_fit(info, encoded.ids.len(), &job.script)?;
    Ok(Compiled::new(job, encoded, vocabulary)?)
}

/// Checks that a script gets logits only after text: a model that computes a picture gives none.
///
/// # Errors
/// [`EngineError::Unseen`].
fn check_pictures(job: &Job, encoded: &Encoded) -> Result<(), EngineError> {
    let (Some(shown), Some(look)) = (job.prompt.pictures().last(), encoded.looks.last()) else { return Ok(()) };
    let reason = if look.at + look.glance.tokens == encoded.ids.len() {
        "there must be a text after it"
    } else if job.script.0.iter().any(|step| matches!(step, Step::PromptLogprobs(_))) {
        "a prompt with pictures has no log probabilities"
    } else {
        return Ok(());
    };
    let (pointer, reason) = (Arc::clone(&shown.pointer), Unseen::Refused(reason.to_owned()));
    Err(UnseenPicture { pointer, reason }.into())
}

/// Checks that the grammars of a script are supported.
///
/// # Errors
/// [`InvalidScript::BadGrammar`].
pub(crate) fn check_grammars(script: &Script, vocabulary: &dyn Vocabulary) -> Result<(), EngineError> {
    script.grammars().try_for_each(|grammar| match vocabulary.constrain(grammar) {
        Ok(_) => Ok(()),
        Err(reason) => Err(InvalidScript::BadGrammar(reason).into()),
    })
}

/// Refuses a prompt that can never fit, without tokenising it: a token has at most `longest` bytes.
///
/// # Errors
/// [`EngineError::ContextOverflow`] with the minimum number of tokens that it can have.
pub(crate) fn check_length(info: &EngineInfo, job: &Job, longest: usize) -> Result<(), EngineError> {
    let least = job.prompt.least_tokens(longest);
    if least <= info.context {
        return Ok(());
    }
    Err(EngineError::ContextOverflow {
        model: info.model.clone(),
        prompt_tokens: least,
        at_least: true,
        context: info.context,
        reserved: job.script.most_tokens(),
    })
}

/// Checks that prompt and answer fit. Every engine's `compile` uses it.
///
/// # Errors
/// [`EngineError::ContextOverflow`] with the token counts, or [`EngineError::EmptyPrompt`].
pub(crate) fn check_fit(info: &EngineInfo, prompt_tokens: usize, script: &Script) -> Result<(), EngineError> {
    if prompt_tokens == 0 {
        return Err(EngineError::EmptyPrompt);
    }
    let reserved = script.most_tokens();
    if prompt_tokens.saturating_add(reserved) > info.context {
        return Err(EngineError::ContextOverflow {
            model: info.model.clone(),
            prompt_tokens,
            at_least: false,
            context: info.context,
            reserved,
        });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::script::{Prompt, SamplerSettings, Script, Segment, Step};

    fn small() -> EngineInfo {
        EngineInfo {
            engine: "any",
            model: "small".into(),
            digest: String::new(),
            context: 10,
            sequences: 1,
            device: "cpu",
            threads: None,
        }
    }

    #[test]
    fn what_is_far_too_long_is_refused_without_its_tokens() {
        let info = small();
        let job = |text: &str| Job {
            prompt: Prompt(vec![Segment::Control("<user>".into()), Segment::Text(text.into())]),
            script: Script(vec![Step::Say("abc".into())]),
            sampling: SamplerSettings { temperature: 0.0, top_p: 1.0, top_k: 0, min_p: 0.0, seed: 0 },
            deterministic: false,
        };
        assert_eq!(check_length(&info, &job(&"x".repeat(36)), 4), Ok(()), "nine tokens of four, and the control token");
        let error = check_length(&info, &job(&"x".repeat(37)), 4).unwrap_err();
        assert!(error.to_string().contains("at least 11 tokens; small takes 10 minus 4"), "{error}");
    }

    #[test]
    fn what_cannot_run_is_refused_before_it_is_queued() {
        let info = small();
        let script = Script(vec![Step::Say("abc".into())]);
        assert_eq!(check_fit(&info, 0, &script), Err(EngineError::EmptyPrompt));
        assert_eq!(check_fit(&info, 6, &script), Ok(()));
        let too_long = check_fit(&info, 7, &script);
        assert!(
            matches!(too_long, Err(EngineError::ContextOverflow { prompt_tokens: 7, reserved: 4, .. })),
            "{too_long:?}"
        );
    }
}
