//! Runs tasks for HTTP, the command line and users of the library: admission, scheduling and caching of judgements, and
//! verdicts with provenance and statistics.

pub mod admission;
pub mod cache;
mod context;
mod counted;
mod error;
mod judge;
mod jury;
mod pictures;
pub mod registry;
mod results;
pub mod reviews;
mod routing;
mod samples;
pub mod shutdown;
mod stages;
mod stats;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use tokio::task::coop::consume_budget;
use tracing::Instrument;
use tracing::field::Empty;
use ulid::Ulid;

use self::admission::{Admission, TooLate};
pub use self::context::{Deadline, DeadlinePassed, RequestContext, Tally, Totals};
use self::counted::JudgementCount;
pub use self::error::ServiceError;
pub use self::judge::Judge;
use self::judge::PlannedRun;
pub use self::jury::{JurorVerdict, JuryReport, Panel};
pub use self::pictures::SeenPicture;
use self::registry::ModelRegistry;
use self::results::JudgedSample;
pub use self::routing::{CannotDecide, RouteSubject, RouteWish, RoutedVerdict};
pub use self::stats::RunStats;
use crate::domain::{Judgement, NamedDigest, Order, Provenance, Turn, milliseconds};
use crate::engine::EngineError;
use crate::metrics::Metrics;
use crate::pictures::{PictureDecoder, PictureLimits, Shown};
use crate::script::{Prompt, Unseen, UnseenPicture};
use crate::tasks::{Answer, RunKey, TEXT, Task, TaskError};
use crate::telemetry::TRACES;

/// Texts with more bytes are planned on a blocking thread, because tokenising takes some milliseconds.
const LONG_TEXT: usize = 64 << 10;

/// Runs tasks on the models of a registry.
pub struct Service {
    models: Arc<ModelRegistry>,
    admission: Arc<Admission>,
    metrics: Arc<Metrics>,
    /// Maximum number of runs of one task that are planned at once; the others are planned later.
    window: usize,
    /// Counts requests, so that each has its own flow in the fair queue.
    requests: AtomicU64,
    pictures: Arc<PictureDecoder>,
}

/// An admitted request with its judge.
#[derive(Clone)]
pub struct Session {
    admission: Arc<Admission>,
    metrics: Arc<Metrics>,
    window: usize,
    judge: Arc<Judge>,
    context: RequestContext,
    pictures: Arc<PictureDecoder>,
}

/// A verdict with its provenance and statistics.
#[derive(Debug, Clone)]
pub struct Graded<V> {
    /// The verdict's id, unique: `vrd_` and a ULID.
    pub id: String,
    /// The verdict.
    pub verdict: V,
    /// Model, rubric, prompt and sampling.
    pub provenance: Provenance,
    /// Tokens, times and cache use.
    pub stats: RunStats,
    /// Failures, for tasks that allow them; verdicts refer to them by [`FailureIndex`](crate::tasks::FailureIndex).
    pub failures: Vec<ServiceError>,
    /// What the jurors say, if a jury judged.
    pub jury: Option<Box<JuryReport<V>>>,
}

impl<V> Graded<V> {
    /// The same with what is made of the verdict, and of those of the jurors.
    pub fn map<W>(self, make: &impl Fn(V) -> W) -> Graded<W> {
        let Self { id, verdict, provenance, stats, failures, jury } = self;
        let jury = jury.map(|report| Box::new(report.map(make)));
        Graded { id, verdict: make(verdict), provenance, stats, failures, jury }
    }
}

/// A piece of generated text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Delta {
    /// The run that generates it.
    pub run: RunKey,
    /// The sample of the run, from 0.
    pub sample: u32,
    /// The juror that generates it, if a jury judges.
    pub judge: Option<Arc<str>>,
    /// The new text, which continues earlier deltas of the same run and sample.
    pub text: String,
}

/// A callback for streamed text.
pub type Progress<T = ()> = Arc<dyn Fn(Delta) -> T + Send + Sync>;

impl Service {
    /// A service over these models. At most `window` runs of one task are planned at once.
    #[must_use]
    pub fn new(
        models: Arc<ModelRegistry>,
        admission: Arc<Admission>,
        metrics: Arc<Metrics>,
        window: usize,
        pictures: PictureLimits,
    ) -> Self {
        let pictures = Arc::new(PictureDecoder::new(pictures));
        Self { models, admission, metrics, window: window.max(1), requests: AtomicU64::new(0), pictures }
    }

    /// The context of a new request. `caller` is the key for fairness between callers.
    #[must_use]
    pub fn context(&self, caller: &str, deadline: Deadline) -> RequestContext {
        RequestContext::new(caller, self.requests.fetch_add(1, Ordering::Relaxed), deadline)
    }

    /// Admits a request, and finds the judge that it names, or the default one. Waits until the deadline for a model
    /// that is loaded on first use.
    ///
    /// # Errors
    /// If the request is not admitted, or the model does not exist, is still loading, or could not be loaded.
    pub async fn begin(&self, context: &RequestContext, model: Option<&str>) -> Result<Session, ServiceError> {
        self.admission.check()?;
        let judge = self.models.judge(model, context.deadline.left());
        let judge = self.admission.shutdown.unless_cut_off(judge).await??;
        Ok(Session {
            admission: Arc::clone(&self.admission),
            metrics: Arc::clone(&self.metrics),
            window: self.window,
            judge,
            context: context.clone(),
            pictures: Arc::clone(&self.pictures),
        })
    }

    /// Admits a CPU-bound computation, and runs it on a blocking thread. It holds its permit until it ends, even if its
    /// caller disconnects, because it cannot be cancelled: so the permits limit this work.
    ///
    /// # Errors
    /// If it is not admitted, or the deadline passes first.
    pub async fn compute<T: Send + 'static>(
        &self,
        context: &RequestContext,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, ServiceError> {
        self.admission.check()?;
        let computed = async {
            let permit = self.admission.enter(context.flow.clone(), None).await;
            let permit = permit.map_err(|TooLate| EngineError::TooLate)?;
            blocking(move || {
                let result = work();
                drop(permit);
                result
            })
            .await
        };
        Ok(self.admission.shutdown.unless_cut_off(context.deadline.within(computed)).await???)
    }

    /// Runs a task: [`Service::begin`] and [`Session::run`].
    ///
    /// # Errors
    /// Those of both.
    pub async fn run<T: Task>(
        &self,
        context: &RequestContext,
        model: Option<&str>,
        task: T,
        progress: Option<Progress>,
    ) -> Result<Graded<T::Verdict>, ServiceError> {
        self.begin(context, model).await?.run(task, progress).await
    }
}

impl Session {
    /// The judge that the request named.
    #[must_use]
    pub fn judge(&self) -> &Judge {
        &self.judge
    }

    /// The deadline of the request.
    #[must_use]
    pub fn deadline(&self) -> Deadline {
        self.context.deadline
    }

    /// Runs a task. `progress` gets generated text; dropping the future stops the work.
    ///
    /// The first runs of the task are planned before anything runs, which finds invalid requests. The others are
    /// planned at their turn, so that waiting runs take only the memory of their texts.
    ///
    /// # Errors
    /// The first error of a run, which stops the others. For a task that allows failures, the last error, and only if
    /// all runs fail. If the deadline passes, or the server shuts down and does not wait for it any longer.
    pub async fn run<T: Task>(&self, task: T, progress: Option<Progress>) -> Result<Graded<T::Verdict>, ServiceError> {
        let deadline = self.context.deadline;
        deadline.check()?;
        let task = Arc::new(task.settled(&self.judge.profile()));
        // Boxed, because all that waits for it would move its whole state with it.
        let graded = deadline.within(Box::pin(self.run_all(task, progress)));
        self.admission.shutdown.unless_cut_off(graded).await??
    }

    /// The prompts of all runs.
    ///
    /// # Errors
    /// If a prompt cannot be rendered or does not fit.
    pub async fn prompts<T: Task>(&self, task: T) -> Result<Vec<String>, ServiceError> {
        let task = Arc::new(task.settled(&self.judge.profile()));
        task.check().map_err(TaskError::from)?;
        let planned = self.plan(&task, task.runs()).await;
        let planned: Vec<PlannedRun> = planned.into_iter().map(|(_, planned)| planned).collect::<Result<_, _>>()?;
        Ok(planned.iter().filter(|planned| planned.sample == 0).map(|planned| planned.prompt().to_owned()).collect())
    }

    async fn run_all<T: Task>(
        &self,
        task: Arc<T>,
        progress: Option<Progress>,
    ) -> Result<Graded<T::Verdict>, ServiceError> {
        let started = Instant::now();
        task.check().map_err(TaskError::from)?;
        let mut provenance = Provenance {
            model: self.judge.model(),
            rubric: task.rubric(),
            prompt: task.prompt(&self.judge.profile())?,
            annotator: task.annotator().map(NamedDigest::of_annotator),
            examples: task.options().examples.as_deref().map(NamedDigest::of_examples),
            sampling: task.options().sampling,
        };
        let mut runs = task.runs();
        let rest = runs.split_off(runs.len().min(self.window));
        let planned = self.plan(&task, runs).await;
        let refused = planned.iter().find_map(|(_, planned)| planned.as_ref().err());
        if let (false, Some(error)) = (task.allows_failures(), refused) {
            return Err(error.clone());
        }
        let first = planned.iter().find_map(|(_, planned)| planned.as_ref().ok());
        let neutralized = first.map(|planned| Arc::clone(&planned.neutralized)).unwrap_or_default();
        let outcome = self.judge_all(&task, planned, rest, progress.as_ref()).await?;
        let mut stats = outcome.stats;
        stats.neutralized = neutralized;
        if !stats.pictures.is_empty() {
            provenance.prompt = provenance.prompt.map(|prompt| self.judge.with_pictures(prompt));
            stats.eyes = self.judge.eyes().map(|eyes| eyes.digest);
        }
        stats.timing.total = stats.timing.total.max(milliseconds(started.elapsed()));
        // A verdict counts as a miss if one of its judgements was computed.
        if let Some(lookup) = outcome.lookup {
            self.metrics.verdict_cache.with_label_values(&[lookup.name()]).inc();
        }
        if task.kind() != TEXT {
            let histogram = self.metrics.label_mass.with_label_values(&[task.kind(), &self.judge.engine().model]);
            let judged = outcome.answers.iter().filter_map(|answer| answer.judgement.as_ref().ok());
            judged.flat_map(Judgement::label_masses).for_each(|mass| histogram.observe(mass));
        }
        let judged = || outcome.answers.iter().filter_map(|answer| answer.judgement.as_ref().ok());
        let masses = judged().flat_map(Judgement::label_masses);
        self.context.tally.add(&provenance, stats.usage, judged().count() as u64, masses);
        let answers = self.with_turns(&*task, outcome.answers)?;
        let model = &provenance.model.name;
        // Calibrations are made for prompts without examples.
        let prompt = provenance.prompt.as_ref().filter(|_| provenance.examples.is_none());
        let prompt = prompt.map(|prompt| prompt.digest.as_str());
        let calibrator = self.judge.calibrator(prompt, task.options().mode);
        let verdict = task.combine(answers, calibrator, &mut |seen| self.metrics.observe(model, seen));
        let verdict = verdict.map_err(TaskError::from)?;
        Ok(Graded {
            id: format!("vrd_{}", Ulid::new()),
            verdict,
            provenance,
            stats,
            failures: outcome.failures,
            jury: None,
        })
    }

    /// The answers with the turns of their prompts, if the request asks for debug output.
    fn with_turns<T: Task>(&self, task: &T, mut answers: Vec<Answer>) -> Result<Vec<Answer>, ServiceError> {
        if !task.options().debug {
            return Ok(answers);
        }
        let mut last: Option<(RunKey, Arc<[Turn]>)> = None;
        for Answer { run, judgement } in &mut answers {
            let turns = match last.take().filter(|(of, _)| of == run) {
                Some((_, turns)) => turns,
                None => task.messages(*run, &self.judge.profile())?.into(),
            };
            if let Ok(judgement) = judgement {
                judgement.turns = Arc::clone(&turns);
            }
            last = Some((*run, turns));
        }
        Ok(answers)
    }

    /// Renders and tokenises runs, on a blocking thread if there is much text. Returns the samples of each run, or its
    /// error.
    async fn plan<T: Task>(&self, task: &Arc<T>, runs: Vec<RunKey>) -> Vec<Planned> {
        let (length, long) = (task.text_len().saturating_mul(runs.len()), task.is_long_to_plan());
        let first = runs.first().copied().unwrap_or_default();
        let (judge, metrics, task) = (Arc::clone(&self.judge), Arc::clone(&self.metrics), Arc::clone(task));
        let pictures = Arc::clone(&self.pictures);
        let plan =
            move || runs.into_iter().flat_map(|run| plan_run(&judge, &metrics, &pictures, &*task, run)).collect();
        if length < LONG_TEXT && !long {
            return plan();
        }
        let permit = match long.then(|| self.admission.enter(self.context.flow.clone(), None)) {
            Some(entering) => match entering.await {
                Ok(permit) => Some(permit),
                Err(TooLate) => return vec![(first, Err(EngineError::TooLate.into()))],
            },
            None => None,
        };
        let planned = blocking(move || {
            let planned = plan();
            drop(permit);
            planned
        });
        planned.await.unwrap_or_else(|error| vec![(first, Err(error.into()))])
    }

    /// Runs one sample.
    async fn judge_one<T: Task>(
        &self,
        task: &T,
        (run, planned): Planned,
        progress: Option<&Progress>,
    ) -> (RunKey, Result<JudgedSample, ServiceError>) {
        // Yield, because many failed or cached runs, which finish at once, would block the thread.
        consume_budget().await;
        let planned = match planned {
            Ok(planned) => planned,
            Err(error) => return (run, Err(error)),
        };
        let (sample, kind, rubric) = (planned.sample, task.kind(), task.label(run));
        let show = progress
            .map(|progress| move |text: &str| progress(Delta { run, sample, judge: None, text: text.to_owned() }));
        let show = show.as_ref().map(|show| show as &(dyn Fn(&str) + Send + Sync));
        let mut counted = JudgementCount::new(&self.metrics, kind, rubric, self.judge.engine());
        let span = tracing::info_span!(
            target: TRACES,
            "judgement",
            kind,
            rubric,
            sample,
            order = run.order.map(Order::name),
            cache = Empty,
        );
        let pictures = Arc::clone(&planned.pictures);
        let judged = self.judge.run(planned, &self.context, show).instrument(span.clone()).await;
        if let Ok((_, Some(lookup))) = &judged {
            span.record("cache", lookup.name());
        }
        counted.ended = Some(if judged.is_ok() { "ok" } else { "failed" });
        let sample = |(judgement, lookup)| JudgedSample { judgement, lookup, pictures };
        (run, judged.map(sample).map_err(ServiceError::from))
    }
}

/// One sample of a run, or why the run cannot be planned.
type Planned = (RunKey, Result<PlannedRun, ServiceError>);

/// Renders and tokenises a run, decodes its pictures, and returns its samples.
fn plan_run<T: Task>(
    judge: &Judge,
    metrics: &Metrics,
    pictures: &PictureDecoder,
    task: &T,
    run: RunKey,
) -> Vec<Planned> {
    let started = Instant::now();
    let set = task.options().prompt.as_deref().unwrap_or(judge.profile().default_set);
    let ask =
        tracing::info_span!(target: TRACES, "render", prompt_set = set).in_scope(|| task.ask(run, &judge.profile()));
    metrics.stage.render.observe(started.elapsed().as_secs_f64());
    let planned = ask.map_err(ServiceError::from).and_then(|ask| {
        open(judge, &ask.prompt, pictures)?;
        judge.plan(run, ask, task.options()).map_err(|error| match error {
            EngineError::ContextOverflow { .. } => {
                ServiceError::TooLong { error, longest: task.longest_text(), mode: task.options().mode }
            }
            error => error.into(),
        })
    });
    match planned {
        Ok(samples) => samples.into_iter().map(|sample| (run, Ok(sample))).collect(),
        Err(error) => vec![(run, Err(error))],
    }
}

/// Decodes the pictures of a prompt. Those for a model without eyes are refused before.
fn open(judge: &Judge, prompt: &Prompt, decoder: &PictureDecoder) -> Result<(), ServiceError> {
    match prompt.pictures().next() {
        None => Ok(()),
        Some(_) if judge.eyes().is_some() => Ok(decoder.open(prompt.pictures())?),
        Some(Shown { pointer, .. }) => {
            let (pointer, reason) = (Arc::clone(pointer), Unseen::NoEyes);
            Err(EngineError::from(UnseenPicture { pointer, reason }).into())
        }
    }
}

/// Runs work on a blocking thread, in the current tracing span.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, EngineError> {
    let span = tracing::Span::current();
    let done = tokio::task::spawn_blocking(move || span.in_scope(work)).await;
    done.map_err(|panic| EngineError::Failed(panic.to_string()))
}
