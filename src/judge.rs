//! One judgement: render the prompt, write the script, run it on the engine, read the answer.

use std::hash::{Hash, Hasher};
use std::sync::Arc;
use std::time::{Duration, Instant};

use sha2::{Digest, Sha256};
use tracing::Instrument;
use tracing::field::Empty;

use crate::cache::{Cache, Lookup, Writer};
use crate::engine::{Completion, Engine, EngineError, EngineInfo, Job, Load, Prepared, Stages};
use crate::grading::{Distribution, Finish, Judgement, Kind, Options, Order, Sampling, Scale, Timing, Turn, Usage};
use crate::metrics::Metrics;
use crate::prompts::{Neutralized, PromptError, PromptLibrary, PromptSet, Renderer, Subject};
use crate::script::{Outcome, Prompt, SamplerSettings, Script, Segment, Token};
use crate::telemetry::TRACES;

/// Judges with one engine.
pub struct Judge {
    engine: Arc<dyn Engine>,
    prompts: Arc<PromptLibrary>,
    renderer: Renderer,
    default_set: String,
    cache: Cache<[u8; 32], Arc<Judgement>, JudgeError>,
    metrics: Arc<Metrics>,
}

/// A judgement that is ready to run: rendered, tokenised, and known to fit.
#[derive(Clone)]
pub struct Ready {
    prepared: Prepared,
    prompt_text: Arc<str>,
    /// What was changed in the judged texts so that they cannot forge markers.
    pub neutralized: Arc<[Neutralized]>,
    sample: u32,
    order: Option<Order>,
    cacheable: bool,
    waited: Duration,
    /// Whether what is written keeps the white space that it begins with.
    verbatim: bool,
}

impl Ready {
    /// Says how long it has waited to be let in; that is a part of its time in the queue.
    pub fn has_waited(&mut self, waited: Duration) {
        self.waited = waited;
    }

    /// Which sample it is, and in which order the responses are shown.
    #[must_use]
    pub fn place(&self) -> (u32, Option<Order>) {
        (self.sample, self.order)
    }

    /// What the model is given, control tokens written out.
    #[must_use]
    pub fn prompt(&self) -> &str {
        &self.prompt_text
    }
}

/// What a prompt of the caller's own is.
#[derive(Debug, Clone)]
pub enum Opening {
    /// A conversation, in the form of the model's chat template.
    Conversation(Vec<Turn>),
    /// A text that the model goes on with.
    Text(String),
    /// The same as token ids.
    Tokens(Vec<Token>),
}

/// Why there is no judgement.
#[derive(Debug, Clone, thiserror::Error)]
pub enum JudgeError {
    /// There is no such prompt set.
    #[error("there is no prompt set `{name}`; there are: {known}")]
    UnknownPrompt {
        /// The name.
        name: String,
        /// The names there are.
        known: String,
    },
    /// The prompt cannot be rendered.
    #[error(transparent)]
    Prompt(#[from] PromptError),
    /// The engine does not run it.
    #[error(transparent)]
    Engine(#[from] EngineError),
}

impl Judge {
    /// A judge on an engine. `default_set` is the prompt set of requests that name none; `cached` judgements are
    /// kept.
    pub fn new(
        engine: Arc<dyn Engine>,
        prompts: Arc<PromptLibrary>,
        default_set: String,
        cached: u64,
        metrics: Arc<Metrics>,
    ) -> Self {
        let renderer = Renderer::new(engine.chat_format().clone());
        Self { engine, prompts, renderer, default_set, cache: Cache::new(cached), metrics }
    }

    /// What it judges with.
    #[must_use]
    pub fn engine(&self) -> &EngineInfo {
        self.engine.info()
    }

    /// Whether its engine still runs.
    #[must_use]
    pub fn alive(&self) -> bool {
        self.engine.alive()
    }

    /// Ends its engine, and waits until that has let go of the model.
    pub async fn shut_down(&self) {
        self.engine.shut_down().await;
    }

    /// How busy its engine is.
    #[must_use]
    pub fn load(&self) -> Load {
        self.engine.load()
    }

    /// The prompt set of that name, or the default one.
    ///
    /// # Errors
    /// [`JudgeError::UnknownPrompt`].
    pub fn prompt_set(&self, name: Option<&str>) -> Result<&PromptSet, JudgeError> {
        let name = name.unwrap_or(&self.default_set);
        self.prompts.get(name).ok_or_else(|| JudgeError::UnknownPrompt {
            name: name.to_owned(),
            known: self.prompts.names().collect::<Vec<_>>().join(", "),
        })
    }

    /// Renders and tokenises one prompt, and gives a judgement for each of the request's samples.
    ///
    /// # Errors
    /// When the prompt set has no place for something that the request holds, or the prompt does not fit.
    pub fn prepare(
        &self,
        subject: &Subject<'_>,
        order: Option<Order>,
        options: &Options,
    ) -> Result<Vec<Ready>, JudgeError> {
        let started = Instant::now();
        let set = self.prompt_set(options.prompt.as_deref())?;
        let span = tracing::info_span!(target: TRACES, "render", prompt_set = set.name()).entered();
        let rendered = self.renderer.render(set, subject, options.mode)?;
        self.metrics.stage.render.observe(started.elapsed().as_secs_f64());
        drop(span);
        let (kind, scale): (Kind, Option<Scale>) = match subject {
            Subject::Absolute { rubric, .. } => (Kind::Absolute, Some(rubric.scale())),
            Subject::Relative { .. } => (Kind::Relative, None),
        };
        let sampling = &options.sampling;
        let (most, least) = (sampling.max_feedback_tokens as usize, sampling.min_feedback_tokens as usize);
        let script = set.script(kind, options.mode, scale, most, least);
        let prepared = self.engine.prepare(job(rendered.prompt, script, options))?;
        Ok(copies(prepared, rendered.neutralized, order, options))
    }

    /// Lays out a prompt of the caller's own and tokenises it, and gives a run of the script for each of the samples. Where the
    /// context has no room for all that the script may write, it may write less.
    ///
    /// # Errors
    /// When the model's chat template has no form for the conversation, or the prompt does not fit.
    pub fn prepare_chat(
        &self,
        opening: &Opening,
        script: &Script,
        options: &Options,
    ) -> Result<Vec<Ready>, JudgeError> {
        let started = Instant::now();
        let (prompt, verbatim) = match opening {
            Opening::Conversation(turns) => (self.renderer.conversation(turns)?, false),
            Opening::Text(text) => (Prompt(vec![Segment::Text(text.clone())]), true),
            Opening::Tokens(ids) => (Prompt(vec![Segment::Tokens(ids.clone())]), true),
        };
        self.metrics.stage.render.observe(started.elapsed().as_secs_f64());
        let prepared = match self.engine.prepare(job(prompt.clone(), script.clone(), options)) {
            Err(overflow @ EngineError::ContextOverflow { prompt_tokens, context, reserved, .. }) => {
                let too_many = prompt_tokens + reserved - context;
                let shorter = script.clone().shortened(too_many).ok_or(overflow)?;
                self.engine.prepare(job(prompt, shorter, options))?
            }
            other => other?,
        };
        let mut ready = copies(prepared, Vec::new(), None, options);
        ready.iter_mut().for_each(|ready| ready.verbatim = verbatim);
        Ok(ready)
    }

    /// Runs a judgement, or takes it from the cache. With `on_delta`, feedback is shown as it is written.
    ///
    /// # Errors
    /// When the engine fails.
    pub async fn run(
        &self,
        ready: Ready,
        on_delta: Option<&(dyn Fn(&str) + Send + Sync)>,
    ) -> Result<(Judgement, Option<Lookup>), JudgeError> {
        let started = Instant::now();
        let (sample, order, waited) = (ready.sample, ready.order, ready.waited);
        let (judged, lookup) = if ready.cacheable {
            let (engine, metrics, key) = (Arc::clone(&self.engine), Arc::clone(&self.metrics), self.key(&ready));
            let work = move |writer: Writer| async move {
                compute(&*engine, &metrics, ready, |text| writer.write(text)).await.map(Arc::new)
            };
            let (judged, lookup) = self.cache.get_or_run(key, work, on_delta).await;
            let judged = Arc::unwrap_or_clone(judged?);
            if let (Lookup::Hit, Some(show), Some(feedback)) = (lookup, on_delta, &judged.feedback) {
                show(feedback);
            }
            (judged, Some(lookup))
        } else {
            let show = |text: &str| on_delta.iter().for_each(|show| show(text));
            (compute(&*self.engine, &self.metrics, ready, show).await?, None)
        };
        let cached = lookup == Some(Lookup::Hit);
        let total = milliseconds(waited + started.elapsed());
        let timing = if cached { Timing { total, ..Timing::default() } } else { Timing { total, ..judged.timing } };
        Ok((Judgement { sample, order, cached, timing, ..judged }, lookup))
    }

    /// What a judgement depends on. The digest stands for the model, the prompt for rubric and prompt set.
    fn key(&self, ready: &Ready) -> [u8; 32] {
        let Job { prompt, script, sampling, deterministic } = &ready.prepared.job;
        let SamplerSettings { temperature, top_p, top_k, min_p, seed } = sampling;
        let mut key = Key(Sha256::new());
        (&self.engine.info().digest, prompt, script, deterministic).hash(&mut key);
        ([temperature, top_p, min_p].map(|n| n.to_bits()), top_k, seed).hash(&mut key);
        key.0.finalize().into()
    }
}

fn job(prompt: Prompt, script: Script, options: &Options) -> Job {
    let Sampling { temperature, top_p, top_k, min_p, seed, .. } = options.sampling;
    let sampling = SamplerSettings { temperature, top_p, top_k: top_k as usize, min_p, seed };
    Job { prompt, script, sampling, deterministic: options.deterministic }
}

/// A run for each sample; all but the last are copies.
fn copies(prepared: Prepared, neutralized: Vec<Neutralized>, order: Option<Order>, options: &Options) -> Vec<Ready> {
    let sampling = &options.sampling;
    let first = Ready {
        prompt_text: prepared.job.prompt.text().into(),
        prepared,
        neutralized: neutralized.into(),
        sample: 0,
        order,
        cacheable: options.cache && (sampling.temperature == 0.0 || sampling.seeded),
        waited: Duration::ZERO,
        verbatim: false,
    };
    let numbered = std::iter::repeat_n(first, options.samples as usize).zip(0..);
    let sample = |(mut ready, sample): (Ready, u32)| {
        ready.sample = sample;
        ready.prepared.job.sampling.seed = sampling.seed.wrapping_add(u64::from(sample));
        ready
    };
    numbered.map(sample).collect()
}

/// Takes what is hashed into a digest.
struct Key(Sha256);

impl Hasher for Key {
    fn write(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    fn finish(&self) -> u64 {
        unreachable!("the digest itself is taken")
    }
}

async fn compute(
    engine: &dyn Engine,
    metrics: &Metrics,
    ready: Ready,
    show: impl Fn(&str) + Send,
) -> Result<Judgement, JudgeError> {
    let (seed, mut begun) = (ready.prepared.job.sampling.seed, ready.verbatim);
    let on_delta = move |delta: String| {
        // Feedback is given without the white space that it may begin with.
        let text = if begun { delta.as_str() } else { delta.trim_start() };
        if !text.is_empty() {
            begun = true;
            show(text);
        }
    };
    let span = tracing::info_span!(
        target: TRACES,
        "engine",
        queue_seconds = Empty,
        prefill_seconds = Empty,
        decode_seconds = Empty,
        prompt_tokens = Empty,
        cached_tokens = Empty,
        completion_tokens = Empty,
        skipped_mass = Empty,
    );
    let mut completion = engine.start(ready.prepared).finish(on_delta).instrument(span.clone()).await?;
    let Stages { queue, prefill, decode } = completion.stages;
    span.record("queue_seconds", queue.as_secs_f64());
    span.record("prefill_seconds", prefill.as_secs_f64());
    span.record("decode_seconds", decode.as_secs_f64());
    // Traces know signed numbers only.
    let count = |tokens: usize| i64::try_from(tokens).unwrap_or(i64::MAX);
    span.record("prompt_tokens", count(completion.prompt_tokens));
    span.record("cached_tokens", count(completion.cached_tokens));
    span.record("completion_tokens", count(completion.transcript.completion_tokens));
    if completion.transcript.skipped_mass > 0.0 {
        span.record("skipped_mass", completion.transcript.skipped_mass);
    }
    completion.stages.queue += ready.waited;
    metrics.stage.queue.observe(completion.stages.queue.as_secs_f64());
    metrics.stage.prefill.observe(completion.stages.prefill.as_secs_f64());
    metrics.stage.decode.observe(completion.stages.decode.as_secs_f64());
    let judgement = read(completion, seed, &ready.prompt_text);
    metrics.count_tokens(&judgement.usage);
    Ok(judgement)
}

/// Reads a judgement out of what came of its script: the last choice, and the last text, before or after it. A script that
/// chooses nothing is certain of its one outcome.
fn read(completion: Completion, seed: u64, prompt: &str) -> Judgement {
    let stages = completion.stages;
    let (mut feedback, mut finish, mut masses) = (None, Finish::Stop, Vec::new());
    for outcome in completion.transcript.outcomes {
        match outcome {
            Outcome::Generated { text, finish: end } => {
                feedback = Some(text.trim().to_owned());
                finish = end;
            }
            Outcome::Chosen { log_masses, .. } => masses = log_masses,
            Outcome::Told | Outcome::Said | Outcome::Branched(_) => {}
        }
    }
    let (distribution, label_mass) = Distribution::from_log_masses(if masses.is_empty() { &[0.0] } else { &masses });
    Judgement {
        sample: 0,
        seed,
        order: None,
        distribution,
        label_mass,
        feedback,
        finish,
        usage: Usage {
            prompt_tokens: completion.prompt_tokens as u64,
            cached_tokens: completion.cached_tokens as u64,
            completion_tokens: completion.transcript.completion_tokens as u64,
        },
        timing: Timing {
            queue: milliseconds(stages.queue),
            prefill: milliseconds(stages.prefill),
            decode: milliseconds(stages.decode),
            total: 0.0,
        },
        prompt: prompt.to_owned(),
        answer: completion.transcript.answer,
        read: completion.transcript.read,
        written: completion.transcript.written,
        cached: false,
    }
}

/// For people: in milliseconds.
pub(crate) fn milliseconds(duration: Duration) -> f64 {
    // Microseconds are as fine as these figures are good for.
    (duration.as_secs_f64() * 1e6).round() / 1e3
}
