//! One judge: a loaded model with its prompts. It plans runs, runs them once their turn comes, and reads the answers.

use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;
use std::time::{Duration, Instant};

use tracing::Instrument;
use tracing::field::Empty;

use super::admission::{Admission, Pace, TooLate};
use super::cache::{Cache, Lookup, Writer};
use super::context::RequestContext;
use super::pictures::{LooksOfPrompt, SeenPicture, seen};
use crate::domain::calibration::{CalibrationFile, Calibrator};
use crate::domain::service_time::Due;
use crate::domain::{
    BranchChoice, Distribution, Finish, InvalidVerdict, Judgement, MassKind, Method, Mode, ModelRef, NamedDigest,
    Options, Sampling, Thoughts, Timing, Usage, milliseconds,
};
use crate::engine::{
    Compiled, Completion, Engine, EngineError, EngineInfo, Eyes, Job, Load, ModelMemory, Stages, Upstream,
};
use crate::metrics::Metrics;
use crate::prompts::{ChatFormat, EscapedMarker, PromptLibrary, PromptSet, Renderer};
use crate::script::{Outcome, Prompt, SamplerSettings, Script, Transcript, Vocabulary};
use crate::tasks::{Ask, JudgeProfile, RunKey, TaskError};
use crate::telemetry::TRACES;

/// A loaded model and what it is asked with.
pub struct Judge {
    engine: Arc<dyn Engine>,
    prompts: Arc<PromptLibrary>,
    renderer: Renderer,
    default_set: String,
    preference_method: Method,
    /// How well it is known to agree with people.
    agreement: Option<String>,
    /// The calibrations and fits of the model, each made for it.
    calibrations: Vec<Arc<CalibrationFile>>,
    cache: Cache<CacheKey, Arc<Judgement>, RunError>,
    /// They make cache keys. Each is seeded at random, so nobody can write two texts with the same key.
    hashers: [RandomState; 2],
    admission: Arc<Admission>,
    pace: Pace,
    metrics: Arc<Metrics>,
}

/// What a judgement depends on, as two hashes.
type CacheKey = [u64; 2];

/// One sample of a run, ready: rendered, tokenised, and known to fit.
#[derive(Clone)]
pub(super) struct PlannedRun {
    pub(super) run: RunKey,
    pub(super) sample: u32,
    /// What was changed in the judged texts so that they cannot forge markers.
    pub(super) neutralized: Arc<[EscapedMarker]>,
    /// The pictures of the prompt.
    pub(super) pictures: Arc<[SeenPicture]>,
    compiled: Compiled,
    prompt_text: Arc<str>,
    cacheable: bool,
    /// Whether what is written keeps the white space that it begins with.
    verbatim: bool,
}

/// Why there is no judgement.
#[derive(Debug, Clone, thiserror::Error)]
pub(super) enum RunError {
    /// The engine failed.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// What the model did makes no verdict.
    #[error(transparent)]
    Verdict(#[from] InvalidVerdict),
}

impl PlannedRun {
    /// What the model is given, control tokens written out.
    pub(super) fn prompt(&self) -> &str {
        &self.prompt_text
    }
}

impl Judge {
    /// A judge on an engine. `default_set` is the prompt set of requests that name none; `cached` judgements are
    /// kept.
    pub fn new(
        engine: Arc<dyn Engine>,
        prompts: Arc<PromptLibrary>,
        default_set: String,
        cached: u64,
        (admission, metrics): (Arc<Admission>, Arc<Metrics>),
    ) -> Self {
        let renderer = Renderer::new(engine.chat_format().clone());
        Self {
            engine,
            prompts,
            renderer,
            default_set,
            preference_method: Method::default(),
            agreement: None,
            calibrations: Vec::new(),
            cache: Cache::new(cached),
            hashers: Default::default(),
            admission,
            pace: Pace::default(),
            metrics,
        }
    }

    /// The same judge, calibrated by files that were made for it.
    #[must_use]
    pub fn calibrated(self, files: Vec<Arc<CalibrationFile>>) -> Self {
        Self { calibrations: files, ..self }
    }

    /// The same judge, which compares responses by this method if a request does not say, and what is known of its
    /// agreement with people.
    #[must_use]
    pub fn known_as(self, preference_method: Method, agreement: Option<String>) -> Self {
        Self { preference_method, agreement, ..self }
    }

    /// How well its verdicts are known to agree with people's, in words; `None` if nobody has measured it.
    #[must_use]
    pub fn agreement(&self) -> Option<&str> {
        self.agreement.as_deref()
    }

    /// How it compares responses if a request does not say.
    #[must_use]
    pub fn preference_method(&self) -> Method {
        self.preference_method
    }

    /// What calibrates its verdicts on a prompt, which is named by its digest.
    pub(super) fn calibrator<'a>(&'a self, prompt: Option<&'a str>, mode: Mode) -> Calibrator<'a> {
        Calibrator::new(&self.calibrations, &self.engine.info().digest, prompt, mode)
    }

    /// The calibrations and fits that its model is configured with.
    #[must_use]
    pub fn calibrations(&self) -> &[Arc<CalibrationFile>] {
        &self.calibrations
    }

    /// The memory that its model takes, as far as its engine knows.
    #[must_use]
    pub fn memory(&self) -> ModelMemory {
        self.engine.memory()
    }

    /// What it judges with.
    #[must_use]
    pub fn engine(&self) -> &EngineInfo {
        self.engine.info()
    }

    /// The vocabulary of its model, if its engine knows it.
    #[must_use]
    pub fn vocabulary(&self) -> Option<Arc<dyn Vocabulary>> {
        self.engine.vocabulary()
    }

    /// The chat format of its model.
    #[must_use]
    pub fn chat_format(&self) -> &ChatFormat {
        self.engine.chat_format()
    }

    /// Whether its engine still runs.
    #[must_use]
    pub fn alive(&self) -> bool {
        self.engine.alive()
    }

    /// How long the step that its model computes now has taken so far.
    #[must_use]
    pub fn stepping(&self) -> Option<Duration> {
        self.engine.stepping()
    }

    /// The servers behind its engine, if it has any.
    #[must_use]
    pub fn upstream(&self) -> Option<Upstream> {
        self.engine.upstream()
    }

    /// Whether its engine can take work at present.
    #[must_use]
    pub fn available(&self) -> bool {
        self.engine.available()
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

    /// The model, as verdicts name it.
    #[must_use]
    pub fn model(&self) -> ModelRef {
        let EngineInfo { model, engine, digest, .. } = self.engine.info();
        ModelRef { name: model.clone(), engine, digest: digest.clone() }
    }

    /// What tasks know of it.
    #[must_use]
    pub fn profile(&self) -> JudgeProfile<'_> {
        JudgeProfile {
            prompts: &self.prompts,
            default_set: &self.default_set,
            preference_method: self.preference_method,
            renderer: &self.renderer,
        }
    }

    /// The prompt set of that name, or the default one.
    ///
    /// # Errors
    /// [`TaskError::UnknownPrompt`].
    pub fn prompt_set(&self, name: Option<&str>) -> Result<&PromptSet, TaskError> {
        self.profile().prompt_set(name)
    }

    /// The eyes of its model, if it takes pictures.
    #[must_use]
    pub fn eyes(&self) -> Option<Eyes> {
        self.engine.eyes()
    }

    /// The templates of a prompt with pictures, which are more than those of its form.
    pub(super) fn with_pictures(&self, prompt: NamedDigest) -> NamedDigest {
        let set = prompt.name.split('/').next().and_then(|set| self.prompts.get(set));
        let digest = set.map(|set| set.digest_with_pictures(&prompt.digest));
        NamedDigest { digest: digest.unwrap_or(prompt.digest), name: prompt.name }
    }

    /// Tokenises what a run asks, and gives each of its samples. Where the context has no room for all that the script
    /// may write, it may write less, if the run allows it.
    ///
    /// # Errors
    /// When the prompt does not fit, or the script cannot be run.
    pub(super) fn plan(&self, run: RunKey, ask: Ask, options: &Options) -> Result<Vec<PlannedRun>, EngineError> {
        let Ask { prompt, script, neutralized, may_shorten, verbatim } = ask;
        let kept = may_shorten.then(|| (prompt.clone(), script.clone()));
        let compiled = match (self.engine.compile(job(prompt, script, options)), kept) {
            (
                Err(overflow @ EngineError::ContextOverflow { prompt_tokens, context, reserved, .. }),
                Some((prompt, script)),
            ) => {
                let shorter = script.shortened(prompt_tokens + reserved - context).ok_or(overflow)?;
                self.engine.compile(job(prompt, shorter, options))?
            }
            (compiled, _) => compiled?,
        };
        let sampling = &options.sampling;
        let repeats = sampling.temperature == 0.0 || sampling.seeded || !generates(&compiled.job.script);
        let first = PlannedRun {
            run,
            sample: 0,
            neutralized: neutralized.into(),
            pictures: seen(&compiled),
            prompt_text: compiled.job.prompt.text().into(),
            compiled,
            cacheable: options.cache && repeats,
            verbatim,
        };
        // All but the last are copies.
        let numbered = std::iter::repeat_n(first, options.samples as usize).zip(0..);
        let sample = |(mut planned, sample): (PlannedRun, u32)| {
            planned.sample = sample;
            planned.compiled.job.sampling.seed = sampling.seed.wrapping_add(u64::from(sample));
            planned
        };
        Ok(numbered.map(sample).collect())
    }

    /// Runs a judgement once its turn comes, or takes it from the cache. With `on_delta`, feedback is shown as it is written.
    ///
    /// # Errors
    /// When the engine fails.
    pub(super) async fn run(
        &self,
        planned: PlannedRun,
        context: &RequestContext,
        on_delta: Option<&(dyn Fn(&str) + Send + Sync)>,
    ) -> Result<(Judgement, Option<Lookup>), RunError> {
        let started = Instant::now();
        let (sample, order) = (planned.sample, planned.run.order);
        let seed = planned.compiled.job.sampling.seed;
        let (judged, lookup) = if planned.cacheable {
            let key = self.key(&planned);
            let mut planned = Some(planned);
            let (judged, lookup) = loop {
                let work = |writer: Writer| {
                    let planned = planned.take().expect("only who joined the work of others tries again");
                    let computing = self.computing(context);
                    async move { computing.run(planned, |text| writer.write(text)).await.map(Arc::new) }
                };
                match self.cache.get_or_run(key, work, on_delta).await {
                    // It was too late for the caller that it was begun for; nothing was written, and this one may have time.
                    (Err(RunError::Engine(EngineError::TooLate)), Lookup::Coalesced) => {}
                    ended => break ended,
                }
            };
            let judged = Arc::unwrap_or_clone(judged?);
            if let (Lookup::Hit, Some(show), Some(feedback)) = (lookup, on_delta, &judged.feedback) {
                show(feedback);
            }
            (judged, Some(lookup))
        } else {
            let show = |text: &str| on_delta.iter().for_each(|show| show(text));
            (self.computing(context).run(planned, show).await?, None)
        };
        let cached = lookup == Some(Lookup::Hit);
        let total = milliseconds(started.elapsed());
        let timing = if cached { Timing { total, ..Timing::default() } } else { Timing { total, ..judged.timing } };
        Ok((Judgement { sample, order, seed, cached, timing, ..judged }, lookup))
    }

    fn computing(&self, context: &RequestContext) -> Computing {
        Computing {
            engine: Arc::clone(&self.engine),
            admission: Arc::clone(&self.admission),
            pace: self.pace.clone(),
            metrics: Arc::clone(&self.metrics),
            context: context.clone(),
        }
    }

    /// What a judgement depends on. The digest stands for the model, the prompt for rubric and prompt set;
    /// sampling matters where text is generated.
    fn key(&self, planned: &PlannedRun) -> CacheKey {
        let Job { prompt, script, sampling, deterministic } = &planned.compiled.job;
        let SamplerSettings { temperature, top_p, top_k, min_p, seed } = sampling;
        let sampled = generates(script).then(|| ([temperature, top_p, min_p].map(|n| n.to_bits()), top_k, seed));
        let parts = (&self.engine.info().digest, prompt, script, deterministic, sampled);
        self.hashers.each_ref().map(|hasher| hasher.hash_one(parts))
    }
}

fn job(prompt: Prompt, script: Script, options: &Options) -> Job {
    let Sampling { temperature, top_p, top_k, min_p, seed, .. } = options.sampling;
    let sampling = SamplerSettings { temperature, top_p, top_k: top_k as usize, min_p, seed };
    Job { prompt, script, sampling, deterministic: options.deterministic }
}

/// Whether anything is sampled; a script that only chooses comes to the same every time.
fn generates(script: &Script) -> bool {
    script.most_generated() > 0
}

/// What computes one judgement.
struct Computing {
    engine: Arc<dyn Engine>,
    admission: Arc<Admission>,
    pace: Pace,
    metrics: Arc<Metrics>,
    context: RequestContext,
}

impl Computing {
    async fn run(self, mut planned: PlannedRun, show: impl Fn(&str) + Send) -> Result<Judgement, RunError> {
        let asked = Instant::now();
        let RequestContext { flow, deadline, .. } = self.context;
        planned.compiled.flow.clone_from(&flow);
        planned.compiled.deadline = deadline.at();
        let due = Due { at: deadline.at(), written: planned.compiled.job.script.most_generated() };
        let permit =
            self.admission.enter(flow, Some((due, self.pace))).await.map_err(|TooLate| EngineError::TooLate)?;
        let waited = asked.elapsed();
        let mut begun = planned.verbatim;
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
        let looks = LooksOfPrompt::of(&planned.compiled);
        let mut completion = self.engine.start(planned.compiled).finish(on_delta).instrument(span.clone()).await?;
        permit.ended();
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
        completion.stages.queue += waited;
        self.metrics.stage.queue.observe(completion.stages.queue.as_secs_f64());
        self.metrics.stage.prefill.observe(completion.stages.prefill.as_secs_f64());
        self.metrics.stage.decode.observe(completion.stages.decode.as_secs_f64());
        self.metrics.count_pictures(looks.encoded_after(completion.cached_tokens), looks.count());
        let mut judgement = read(completion, planned.prompt_text)?;
        judgement.usage.image_tokens = looks.tokens();
        self.metrics.count_tokens(&judgement.usage);
        Ok(judgement)
    }
}

/// Reads a judgement out of what came of its script: the last choice, and the last text, before or after it; and the last
/// choice of each branch.
fn read(completion: Completion, prompt: Arc<str>) -> Result<Judgement, InvalidVerdict> {
    let stages = completion.stages;
    let (mut feedback, mut finish, mut masses, mut branches) = (None, Finish::Stop, Vec::new(), Vec::new());
    let (mut mass, mut thoughts) = (MassKind::Exact, None);
    for outcome in completion.transcript.outcomes {
        match outcome {
            Outcome::Thought { text, finish } => thoughts = Some(Thoughts { text: text.trim().to_owned(), finish }),
            Outcome::Generated { text, finish: end } => {
                feedback = Some(text.trim().to_owned());
                finish = end;
            }
            Outcome::Chosen { log_masses, mass: kind, .. } => (masses, mass) = (log_masses, mass.worse(kind)),
            Outcome::Branched(transcripts) => {
                mass =
                    transcripts.iter().flat_map(|branch| &branch.outcomes).fold(mass, |mass, outcome| match outcome {
                        Outcome::Chosen { mass: kind, .. } => mass.worse(*kind),
                        _ => mass,
                    });
                branches = transcripts.iter().map(read_branch).collect::<Result<_, _>>()?;
            }
            Outcome::PromptLogprobs | Outcome::Said => {}
        }
    }
    let (distribution, label_mass) = chosen(&masses)?;
    Ok(Judgement {
        sample: 0,
        seed: 0,
        order: None,
        distribution,
        label_mass,
        mass,
        branches,
        thoughts,
        feedback,
        finish,
        usage: Usage {
            prompt_tokens: completion.prompt_tokens as u64,
            cached_tokens: completion.cached_tokens as u64,
            image_tokens: 0,
            completion_tokens: completion.transcript.completion_tokens as u64,
        },
        timing: Timing {
            queue: milliseconds(stages.queue),
            prefill: milliseconds(stages.prefill),
            decode: milliseconds(stages.decode),
            total: 0.0,
        },
        prompt,
        turns: Arc::new([]),
        answer: completion.transcript.answer,
        prompt_logprobs: completion.transcript.prompt_logprobs,
        output_logprobs: completion.transcript.output_logprobs,
        cached: false,
    })
}

fn read_branch(branch: &Transcript) -> Result<BranchChoice, InvalidVerdict> {
    let masses = branch.outcomes.iter().rev().find_map(|outcome| match outcome {
        Outcome::Chosen { log_masses, .. } => Some(&log_masses[..]),
        _ => None,
    });
    let (distribution, label_mass) = chosen(masses.unwrap_or(&[]))?;
    Ok(BranchChoice { distribution, label_mass })
}

/// What was chosen, and how much the model wanted to. A script that chooses nothing is certain of its one outcome.
fn chosen(log_masses: &[f64]) -> Result<(Distribution, f64), InvalidVerdict> {
    Ok(Distribution::from_log_masses(if log_masses.is_empty() { &[0.0] } else { log_masses })?)
}
