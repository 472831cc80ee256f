//! The engine contract: run a script on a prompt, stream its progress, stop when the caller goes away.
//!
//! Nothing above this room knows which engine runs. An engine is given a [`Job`]; [`Engine::compile`] tokenises
//! it and refuses what can never fit, before anything is queued and away from the thread that computes;
//! [`Engine::start`] runs it. Dropping the [`Run`] cancels the work. [`Engine::shut_down`] ends it all.

pub mod append_only;
pub mod conformance;
pub mod length_buckets;
#[cfg(feature = "llama-cpp")]
pub mod llama_cpp;
#[cfg(feature = "mistralrs")]
pub mod mistralrs;
pub mod scheduler;
pub mod scripted;
pub mod shared;

use std::sync::Arc;

use futures::future::BoxFuture;
use std::time::Instant;

use tokio::sync::mpsc;

use crate::domain::fair_queue::Flow;
use crate::prompts::ChatFormat;
use crate::script::{
    CompiledScript, Encoded, InvalidScript, Machine, Prompt, SamplerSettings, Script, StepError, Token, Transcript,
    Vocabulary,
};

/// What runs scripts.
pub trait Engine: Send + Sync {
    /// What it is, for verdicts and metrics.
    fn info(&self) -> &EngineInfo;

    /// How the model wants to be spoken to.
    fn chat_format(&self) -> &ChatFormat;

    /// Tokenises a job and checks that it can ever run.
    ///
    /// # Errors
    /// [`EngineError::ContextOverflow`] when prompt and answer do not fit, [`EngineError::InvalidScript`].
    fn compile(&self, job: Job) -> Result<Compiled, EngineError>;

    /// Runs a compiled job.
    fn start(&self, compiled: Compiled) -> Run;

    /// How busy it is.
    fn load(&self) -> Load;

    /// Whether it still runs; one that has died for good needs a new process.
    fn alive(&self) -> bool {
        true
    }

    /// Ends it for good: what was started before is finished, what comes later ends with [`EngineError::Stopped`].
    /// Returns once its worker has ended and let go of the model; what the engine itself still holds goes with it, so
    /// after this and its drop its memory is free.
    fn shut_down(&self) -> BoxFuture<'_, ()> {
        Box::pin(std::future::ready(()))
    }
}

/// What an engine is, as verdicts report it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EngineInfo {
    /// The engine's name, such as `llama-cpp`.
    pub engine: &'static str,
    /// The model's name.
    pub model: String,
    /// `sha256:<hex>` of the model.
    pub digest: String,
    /// The most tokens that prompt and answer may have together.
    pub context: usize,
    /// The most sequences that run together.
    pub sequences: usize,
}

/// A script to run over a prompt.
#[derive(Debug, Clone)]
pub struct Job {
    /// What the model is given.
    pub prompt: Prompt,
    /// What it does.
    pub script: Script,
    /// How its `Generate` steps sample.
    pub sampling: SamplerSettings,
    /// Whether it runs alone and without prefix reuse, so that it gives the same bytes every time.
    pub deterministic: bool,
}

/// A job that is known to fit, with all the tokens that are known before it runs.
#[derive(Debug, Clone)]
pub struct Compiled {
    /// The job.
    pub job: Job,
    /// Its prompt as token ids.
    pub encoded: Encoded,
    /// Its script with the tokens that follow the prompt.
    pub script: CompiledScript,
    /// The number of tokens of the prompt.
    pub prompt_tokens: usize,
    /// Whose it is: an engine is fair between callers, and between the requests of one.
    pub flow: Flow,
    /// When its caller stops waiting; what cannot end by then is not begun.
    pub deadline: Option<Instant>,
}

impl Compiled {
    /// A job whose prompt was tokenised.
    ///
    /// # Errors
    /// When the vocabulary has no tokens for an option.
    pub fn new(job: Job, encoded: Encoded, vocabulary: &dyn Vocabulary) -> Result<Self, StepError> {
        let script = job.script.compile(&encoded, vocabulary)?;
        let prompt_tokens = encoded.ids.len();
        Ok(Self { job, encoded, script, prompt_tokens, flow: Flow::default(), deadline: None })
    }

    /// The most tokens that prompt and answer can come to.
    #[must_use]
    pub fn most_tokens(&self) -> usize {
        self.prompt_tokens.saturating_add(self.job.script.most_tokens())
    }

    /// The machine that runs it.
    #[must_use]
    pub fn machine(self, vocabulary: Arc<dyn Vocabulary>) -> Machine {
        Machine::new(vocabulary, self.encoded, self.script, self.job.sampling)
    }
}

/// What an engine reports while it runs a job.
#[derive(Debug)]
pub enum Event {
    /// Text was generated, and is certain to stay.
    Delta(String),
    /// The script has ended.
    Done(Box<Completion>),
    /// The job failed; nothing follows.
    Failed(EngineError),
}

/// What came of a job.
#[derive(Debug, Clone, PartialEq)]
pub struct Completion {
    /// An outcome a step.
    pub transcript: Transcript,
    /// Tokens of the prompt.
    pub prompt_tokens: usize,
    /// Those that were not computed again.
    pub cached_tokens: usize,
    /// Where the time went.
    pub stages: Stages,
}

/// Where the time of a job went.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Stages {
    /// From its start to its first share of the model.
    pub queue: std::time::Duration,
    /// From there until the whole prompt was read.
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
    /// A run and the sender that its engine reports to. The sender is closed once the caller goes away.
    #[must_use]
    pub fn channel() -> (mpsc::UnboundedSender<Event>, Self) {
        let (sender, events) = mpsc::unbounded_channel();
        (sender, Self { events })
    }

    /// Waits for the end; `on_delta` sees generated text as it comes.
    ///
    /// # Errors
    /// When the engine fails or stops.
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

/// How busy an engine is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Load {
    /// Sequences that wait for the model.
    pub waiting: usize,
    /// Sequences that share it.
    pub running: usize,
    /// Tokens that running sequences hold or may still need.
    pub kv_running: usize,
    /// Tokens of cached prefixes.
    pub kv_cached: usize,
    /// Tokens that are free.
    pub kv_free: usize,
    /// How often the engine came back after a failure.
    pub restarts: u64,
}

impl Load {
    /// Both together.
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

/// Why an engine does not run a job.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EngineError {
    /// Prompt and answer can never fit the model's context.
    #[error(
        "The prompt has {}{prompt_tokens} tokens; {model} takes {context} less {reserved} for the answer. \
         Shorten the texts or lower max_feedback_tokens.",
        if *.at_least { "at least " } else { "" }
    )]
    ContextOverflow {
        /// The model's name.
        model: String,
        /// Tokens of the prompt.
        prompt_tokens: usize,
        /// Whether it may have more: it is too long to be tokenised at all.
        at_least: bool,
        /// Tokens that fit in all.
        context: usize,
        /// Tokens kept for the answer.
        reserved: usize,
    },
    /// A token id of the caller's that the model does not have.
    #[error("The model has no token {token}; its ids are 0 to {}.", size - 1)]
    UnknownToken {
        /// The id.
        token: Token,
        /// The number of tokens of the model.
        size: usize,
    },
    /// There is nothing to begin with.
    #[error("The prompt has no tokens; send some text.")]
    EmptyPrompt,
    /// The script cannot be run.
    #[error(transparent)]
    InvalidScript(#[from] InvalidScript),
    /// The job failed by itself; others go on.
    #[error("the engine failed: {0}")]
    Step(#[from] StepError),
    /// The engine failed while the job was in flight.
    #[error("the engine failed: {0}")]
    Failed(String),
    /// It waited so long that it could not end before its deadline.
    #[error("the request waited its turn until too little time was left to judge before its deadline")]
    TooLate,
    /// The engine has stopped.
    #[error("the engine has stopped")]
    Stopped,
}

/// Why an engine cannot be started.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// The model file cannot be loaded.
    #[error("{path} cannot be loaded as a model: {reason}")]
    Model {
        /// The file.
        path: String,
        /// What the engine said.
        reason: String,
    },
    /// This build has no such engine.
    #[error("this build has no engine `{0}`; {1}")]
    NotBuilt(String, &'static str),
    /// A script of scripted answers cannot be read.
    #[error("the scripted answers cannot be used: {0}")]
    Script(String),
}

/// Tokenises a job and checks that it can run: [`Engine::compile`] of engines that run script machines.
///
/// # Errors
/// When it cannot.
#[cfg(any(feature = "llama-cpp", feature = "mistralrs"))]
fn compiled(job: Job, info: &EngineInfo, vocabulary: &dyn Vocabulary) -> Result<Compiled, EngineError> {
    job.script.check()?;
    check_grammars(&job.script, vocabulary)?;
    let size = vocabulary.size();
    if let Some(token) = job.prompt.unknown_token(size) {
        return Err(EngineError::UnknownToken { token, size });
    }
    check_length(info, &job, vocabulary.longest_piece())?;
    let encoded = job.prompt.encode(vocabulary);
    check_fit(info, encoded.ids.len(), &job.script)?;
    Ok(Compiled::new(job, encoded, vocabulary)?)
}

/// Checks that the grammars of a script can be written; what engines that run scripts themselves share.
///
/// # Errors
/// [`InvalidScript::BadGrammar`].
pub(crate) fn check_grammars(script: &Script, vocabulary: &dyn Vocabulary) -> Result<(), EngineError> {
    script.grammars().try_for_each(|grammar| match vocabulary.constrain(grammar) {
        Ok(_) => Ok(()),
        Err(reason) => Err(InvalidScript::BadGrammar(reason).into()),
    })
}

/// Checks that a prompt is not so long that it can never fit, whatever its tokens are: a token writes `longest` bytes
/// at most, and a text of many megabytes is not worth tokenising to be told so.
///
/// # Errors
/// [`EngineError::ContextOverflow`] with the fewest tokens that it can have.
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

/// Checks that prompt and answer fit; what every engine's `compile` shares.
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

    #[test]
    fn what_is_far_too_long_is_refused_without_its_tokens() {
        let info =
            EngineInfo { engine: "any", model: "small".into(), digest: String::new(), context: 10, sequences: 1 };
        let job = |text: &str| Job {
            prompt: Prompt(vec![Segment::Control("<user>".into()), Segment::Text(text.into())]),
            script: Script(vec![Step::Say("abc".into())]),
            sampling: SamplerSettings { temperature: 0.0, top_p: 1.0, top_k: 0, min_p: 0.0, seed: 0 },
            deterministic: false,
        };
        assert_eq!(check_length(&info, &job(&"x".repeat(36)), 4), Ok(()), "nine tokens of four, and the control token");
        let error = check_length(&info, &job(&"x".repeat(37)), 4).unwrap_err();
        assert!(error.to_string().contains("at least 11 tokens; small takes 10 less 4"), "{error}");
    }

    #[test]
    fn what_cannot_run_is_refused_before_it_is_queued() {
        let info =
            EngineInfo { engine: "any", model: "small".into(), digest: String::new(), context: 10, sequences: 1 };
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
