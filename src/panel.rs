//! The panel: many judgements made into one verdict. Swap, self-consistency and several criteria are all
//! judgements side by side, combined by the rules of [`crate::grading`].

mod chat;
mod many;
mod preferences;

use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::future::try_join_all;
use tracing::Instrument;
use tracing::field::Empty;

pub use self::many::{Many, Pair, Ranked, meetings};
pub use self::preferences::{LeftOut, PairRules, PreferencePair, Preferences, Reason};
use crate::cache::Lookup;
use crate::grading::{
    AbsoluteRequest, AbsoluteVerdict, CriteriaVerdict, Distribution, InvalidVerdict, Judgement, Kind, Method, Order,
    Preference, RelativeRequest, RelativeVerdict, Timing, Usage, Weight, WeightedRubric, prefer_by_reward,
};
use crate::judge::{Judge, JudgeError, Ready, milliseconds};
use crate::metrics::Metrics;
use crate::prompts::{Neutralized, Subject};
use crate::telemetry::TRACES;

pub use self::chat::{Chat, MOST_CHOICES};

/// Feedback as it is written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Delta {
    /// The sample.
    pub sample: u32,
    /// The order, in relative grading.
    pub order: Option<Order>,
    /// The criterion, in the order of the request.
    pub criterion: usize,
    /// The response that is graded, where the two of a pair are graded alone.
    pub response: Option<char>,
    /// The text.
    pub text: String,
}

/// Takes feedback as it is written.
pub type Progress<T = ()> = Arc<dyn Fn(Delta) -> T + Send + Sync>;

/// What a verdict took, and what produced it.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Account {
    /// Tokens of all its judgements.
    pub usage: Usage,
    /// The longest of each stage, and the total.
    pub timing: Timing,
    /// Whether every judgement came from the cache.
    pub cached: bool,
    /// What was changed in the judged texts, for the first judgement.
    pub neutralized: Arc<[Neutralized]>,
}

/// An absolute verdict against one rubric or several.
#[derive(Debug, Clone, PartialEq)]
pub enum Absolute {
    /// Against one rubric.
    Single(AbsoluteVerdict),
    /// Against a list of rubrics with weights.
    Multi(CriteriaVerdict),
}

/// A relative verdict.
#[derive(Debug, Clone, PartialEq)]
pub enum Relative {
    /// Both responses were shown together.
    Pairwise(RelativeVerdict),
    /// Each response was graded alone.
    Graded {
        /// The one with the higher reward.
        preference: Preference,
        /// The probability that A scores higher, ties counted half.
        probability_a: f64,
        /// The verdict on A.
        a: Absolute,
        /// The verdict on B.
        b: Absolute,
    },
}

/// Judgements that are ready to run, and how to combine them.
pub struct Plan<R> {
    request: R,
    runs: Vec<Planned>,
}

impl<R> Plan<R> {
    /// Says how long it has waited to be let in.
    pub fn has_waited(&mut self, waited: Duration) {
        self.runs.iter_mut().for_each(|run| run.ready.has_waited(waited));
    }

    /// The prompts, in order; samples of one prompt are one.
    #[must_use]
    pub fn prompts(&self) -> Vec<String> {
        let first_samples = self.runs.iter().filter(|run| run.ready.place().0 == 0);
        first_samples.map(|run| run.ready.prompt().to_owned()).collect()
    }
}

struct Planned {
    criterion: usize,
    response: Option<char>,
    ready: Ready,
}

/// A judgement with its criterion and response.
type Judged = (usize, Option<char>, Judgement);

/// Combines the judgements of one judge.
pub struct Panel {
    judge: Judge,
    metrics: Arc<Metrics>,
}

impl Panel {
    /// A panel of one judge.
    #[must_use]
    pub fn new(judge: Judge, metrics: Arc<Metrics>) -> Self {
        Self { judge, metrics }
    }

    /// Its judge.
    #[must_use]
    pub fn judge(&self) -> &Judge {
        &self.judge
    }

    /// Renders and tokenises everything that an absolute grading needs.
    ///
    /// # Errors
    /// When the request makes no sense, or a prompt cannot be rendered or does not fit.
    pub fn plan_absolute(&self, request: AbsoluteRequest) -> Result<Plan<AbsoluteRequest>, JudgeError> {
        request.check()?;
        let runs = self.absolute_runs(&request, &request.response, None)?;
        Ok(Plan { request, runs })
    }

    /// Renders and tokenises everything that a relative grading needs.
    ///
    /// # Errors
    /// When the request makes no sense, or a prompt cannot be rendered or does not fit.
    pub fn plan_relative(&self, request: RelativeRequest) -> Result<Plan<RelativeRequest>, JudgeError> {
        request.check()?;
        let mut runs = Vec::new();
        match request.method {
            Method::Absolute => {
                for (name, response) in [('A', &request.response_a), ('B', &request.response_b)] {
                    let alone = AbsoluteRequest {
                        item: request.item.clone(),
                        response: response.clone(),
                        rubrics: request.rubrics.clone(),
                        multi: request.multi,
                        options: request.options.clone(),
                    };
                    runs.extend(self.absolute_runs(&alone, response, Some(name))?);
                }
            }
            Method::Pairwise => {
                let (a, b) = ((request.response_a.as_str(), "response_a"), (request.response_b.as_str(), "response_b"));
                let orders =
                    if request.swap { vec![(Order::AB, a, b), (Order::BA, b, a)] } else { vec![(Order::AB, a, b)] };
                for (order, (first, first_field), (second, second_field)) in orders {
                    let subject = Subject::Relative {
                        item: &request.item,
                        first,
                        second,
                        first_field,
                        second_field,
                        rubric: &request.rubrics[0].rubric.rubric,
                    };
                    let ready = self.judge.prepare(&subject, Some(order), &request.options)?;
                    runs.extend(ready.into_iter().map(|ready| Planned { criterion: 0, response: None, ready }));
                }
            }
        }
        Ok(Plan { request, runs })
    }

    fn absolute_runs(
        &self,
        request: &AbsoluteRequest,
        response: &str,
        name: Option<char>,
    ) -> Result<Vec<Planned>, JudgeError> {
        let mut runs = Vec::new();
        for (criterion, weighted) in request.rubrics.iter().enumerate() {
            let subject = Subject::Absolute { item: &request.item, response, rubric: &weighted.rubric.rubric };
            let ready = self.judge.prepare(&subject, None, &request.options)?;
            runs.extend(ready.into_iter().map(|ready| Planned { criterion, response: name, ready }));
        }
        Ok(runs)
    }

    /// Runs an absolute grading.
    ///
    /// # Errors
    /// When the engine fails.
    pub async fn absolute(
        &self,
        plan: Plan<AbsoluteRequest>,
        progress: Option<Progress>,
    ) -> Result<(Absolute, Account), JudgeError> {
        let rubrics = &plan.request.rubrics;
        let names: Vec<&str> = rubrics.iter().map(|weighted| weighted.rubric.name.as_str()).collect();
        let (judged, account) = self.run(plan.runs, &names, Kind::Absolute.name(), progress).await?;
        Ok((self.combine(rubrics, plan.request.multi, judged)?, account))
    }

    /// Runs a relative grading.
    ///
    /// # Errors
    /// When the engine fails.
    pub async fn relative(
        &self,
        plan: Plan<RelativeRequest>,
        progress: Option<Progress>,
    ) -> Result<(Relative, Account), JudgeError> {
        let request = plan.request;
        let kind = request.method.kind();
        let names: Vec<&str> = request.rubrics.iter().map(|weighted| weighted.rubric.name.as_str()).collect();
        let (judged, account) = self.run(plan.runs, &names, kind.name(), progress).await?;
        let rubric = if request.multi { "multi" } else { request.rubrics[0].rubric.name.as_str() };
        let verdict = match request.method {
            Method::Pairwise => {
                let judgements = judged.into_iter().map(|(_, _, judgement)| judgement).collect();
                let verdict = RelativeVerdict::combine(judgements, request.tie_margin)?;
                let flipped = u64::from(verdict.consistent == Some(false));
                self.metrics.position_flips.with_label_values(&[rubric]).inc_by(flipped);
                Relative::Pairwise(verdict)
            }
            Method::Absolute => {
                let (a, b): (Vec<_>, Vec<_>) = judged.into_iter().partition(|(_, response, _)| *response == Some('A'));
                let combine = |judged| self.combine(&request.rubrics, request.multi, judged);
                let (a, b) = (combine(a)?, combine(b)?);
                let pairs: Vec<(&Distribution, &Distribution, Weight)> = a
                    .verdicts()
                    .zip(b.verdicts())
                    .zip(&request.rubrics)
                    .map(|((a, b), rubric)| (&a.distribution, &b.distribution, rubric.weight))
                    .collect();
                let (preference, probability_a) = prefer_by_reward(a.reward(), b.reward(), &pairs, request.tie_margin)?;
                Relative::Graded { preference, probability_a, a, b }
            }
        };
        let choice = match verdict.preference() {
            Preference::A => "A",
            Preference::B => "B",
            Preference::Tie => "tie",
        };
        self.metrics.preferences.with_label_values(&[choice, rubric]).inc();
        Ok((verdict, account))
    }

    fn combine(
        &self,
        rubrics: &[WeightedRubric],
        multi: bool,
        judged: Vec<Judged>,
    ) -> Result<Absolute, InvalidVerdict> {
        let mut by_criterion: Vec<Vec<Judgement>> = vec![Vec::new(); rubrics.len()];
        for (criterion, _, judgement) in judged {
            by_criterion[criterion].push(judgement);
        }
        let verdicts = rubrics.iter().zip(by_criterion).map(|(weighted, judgements)| {
            let verdict = AbsoluteVerdict::combine(weighted.rubric.rubric.scale(), judgements)?;
            let labels = [weighted.rubric.name.as_str(), self.judge.engine().model.as_str()];
            self.metrics.score.with_label_values(&labels).observe(verdict.reward);
            Ok((verdict, weighted.weight))
        });
        let mut verdicts: Vec<(AbsoluteVerdict, Weight)> = verdicts.collect::<Result<_, InvalidVerdict>>()?;
        if multi {
            return Ok(Absolute::Multi(CriteriaVerdict::combine(verdicts)?));
        }
        verdicts.pop().map(|(verdict, _)| Absolute::Single(verdict)).ok_or(InvalidVerdict::Empty)
    }

    /// Runs judgements side by side; `names` are those of the criteria. Gives each with its criterion and response,
    /// in the order of the plan.
    async fn run(
        &self,
        runs: Vec<Planned>,
        names: &[&str],
        kind: &'static str,
        progress: Option<Progress>,
    ) -> Result<(Vec<Judged>, Account), JudgeError> {
        let started = Instant::now();
        let neutralized = runs.first().map(|run| Arc::clone(&run.ready.neutralized)).unwrap_or_default();
        let progress = &progress;
        let judged = try_join_all(runs.into_iter().map(|Planned { criterion, response, ready }| async move {
            let (sample, order) = ready.place();
            let show = progress.as_ref().map(|progress| {
                move |text: &str| progress(Delta { sample, order, criterion, response, text: text.to_owned() })
            });
            let show = show.as_ref().map(|show| show as &(dyn Fn(&str) + Send + Sync));
            let mut outcome = OutcomeCount::new(&self.metrics, kind, names[criterion], self.judge.engine());
            let span = tracing::info_span!(
                target: TRACES,
                "judgement",
                kind,
                rubric = names[criterion],
                sample,
                order = order.map(Order::name),
                cache = Empty,
            );
            let judged = self.judge.run(ready, show).instrument(span.clone()).await;
            if let Ok((_, Some(lookup))) = &judged {
                span.record("cache", lookup.name());
            }
            outcome.ended = Some(if judged.is_ok() { "ok" } else { "failed" });
            judged.map(|(judgement, lookup)| ((criterion, response, judgement), lookup))
        }))
        .await?;
        let (judged, lookups): (Vec<_>, Vec<Option<Lookup>>) = judged.into_iter().unzip();
        // A verdict counts as a miss as soon as one of its judgements had to be computed.
        if let Some(lookup) = lookups.iter().flatten().max() {
            self.metrics.verdict_cache.with_label_values(&[lookup.name()]).inc();
        }
        let mut account = Account {
            usage: Usage::default(),
            timing: Timing::default(),
            cached: judged.iter().all(|(_, _, judgement)| judgement.cached),
            neutralized,
        };
        for (_, _, judgement) in &judged {
            account.usage += judgement.usage;
            account.timing = account.timing.longest(judgement.timing);
            // What only writes has no labels.
            if kind != chat::TEXT {
                self.metrics.label_mass.with_label_values(&[kind]).observe(judgement.label_mass);
            }
        }
        account.timing.total = account.timing.total.max(milliseconds(started.elapsed()));
        Ok((judged, account))
    }
}

impl Account {
    /// What several verdicts took together.
    #[must_use]
    pub fn of_all(accounts: impl IntoIterator<Item = Self>) -> Self {
        accounts.into_iter().reduce(Self::and).unwrap_or_default()
    }

    fn and(mut self, other: Self) -> Self {
        self.usage += other.usage;
        Self { timing: self.timing.longest(other.timing), cached: self.cached && other.cached, ..self }
    }
}

impl Absolute {
    /// The reward: of the one verdict, or the weighted mean.
    #[must_use]
    pub fn reward(&self) -> f64 {
        match self {
            Self::Single(verdict) => verdict.reward,
            Self::Multi(criteria) => criteria.reward,
        }
    }

    /// How much of the model's probability lay on the labels: that of the least sure criterion.
    #[must_use]
    pub fn label_mass(&self) -> f64 {
        self.verdicts().map(|verdict| verdict.label_mass).fold(1.0, f64::min)
    }

    /// The verdict of each criterion.
    pub fn verdicts(&self) -> impl Iterator<Item = &AbsoluteVerdict> {
        let (one, many) = match self {
            Self::Single(verdict) => (Some(verdict), None),
            Self::Multi(criteria) => (None, Some(criteria.criteria.iter().map(|(verdict, _)| verdict))),
        };
        one.into_iter().chain(many.into_iter().flatten())
    }

    /// The first of its judgements.
    #[must_use]
    pub fn first_judgement(&self) -> Option<&Judgement> {
        self.verdicts().next()?.judgements.first()
    }
}

impl Relative {
    /// Which response is better.
    #[must_use]
    pub fn preference(&self) -> Preference {
        match self {
            Self::Pairwise(verdict) => verdict.preference,
            Self::Graded { preference, .. } => *preference,
        }
    }

    /// The probability that A is better.
    #[must_use]
    pub fn probability_a(&self) -> f64 {
        match self {
            Self::Pairwise(verdict) => verdict.probability_a,
            Self::Graded { probability_a, .. } => *probability_a,
        }
    }

    /// Whether both orders agree; `None` where not both were judged.
    #[must_use]
    pub fn consistent(&self) -> Option<bool> {
        match self {
            Self::Pairwise(verdict) => verdict.consistent,
            Self::Graded { .. } => None,
        }
    }

    /// How much of the model's probability lay on the labels at all.
    #[must_use]
    pub fn label_mass(&self) -> f64 {
        match self {
            Self::Pairwise(verdict) => verdict.label_mass,
            Self::Graded { a, b, .. } => a.label_mass().min(b.label_mass()),
        }
    }

    /// The feedback of an AB judgement, where the two were shown together.
    #[must_use]
    pub fn feedback(&self) -> Option<&str> {
        match self {
            Self::Pairwise(verdict) => verdict.feedback(),
            Self::Graded { .. } => None,
        }
    }

    /// The first of its judgements.
    #[must_use]
    pub fn first_judgement(&self) -> Option<&Judgement> {
        match self {
            Self::Pairwise(verdict) => verdict.judgements.first(),
            Self::Graded { a, .. } => a.first_judgement(),
        }
    }
}

/// Counts how a judgement ended; one that is dropped before its end was cancelled.
struct OutcomeCount<'a> {
    metrics: &'a Metrics,
    labels: [&'a str; 3],
    ended: Option<&'static str>,
}

impl<'a> OutcomeCount<'a> {
    fn new(metrics: &'a Metrics, kind: &'static str, rubric: &'a str, engine: &'a crate::engine::EngineInfo) -> Self {
        Self { metrics, labels: [kind, rubric, engine.model.as_str()], ended: None }
    }
}

impl Drop for OutcomeCount<'_> {
    fn drop(&mut self) {
        let [kind, rubric, model] = self.labels;
        self.metrics.judgements.with_label_values(&[kind, rubric, model, self.ended.unwrap_or("cancelled")]).inc();
    }
}
