//! Grading requests.

mod panel;

use std::future::IntoFuture;
use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;

use super::error::Error;
use super::judges::PanelChoice;
use crate::app::App;
use crate::domain::{
    AbsoluteRequest, Annotator, Content, Document, Example, Instruction, InvalidRequest, Item, ManyRequest, Method,
    Mode, NamedRubric, Options, RelativeRequest, Rubric, Weight, WeightedRubric, check_text,
};
use crate::service::{Deadline, Delta, Graded, Panel, Progress};
use crate::tasks::{Absolute, CandidateVerdicts, JudgeParts, JuryTask, Ranked, Ranking, Relative, Task};

/// A grading request; awaiting it gives the verdict. Dropping the future stops the work.
///
/// Defaults are those of the configuration (`[grading]` in config.default.toml): one judgement with feedback at
/// temperature 0, with the rubric `grading.rubric`, and a deadline of `limits.deadline_ms`.
///
/// ```
/// use std::time::Duration;
///
/// use gavel::{EngineChoice, Gavel, Mode, Rubric};
///
/// # #[tokio::main]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let gavel = Gavel::builder().engine(EngineChoice::Scripted).build().await?;
/// let short = Rubric::with_scores("Is the answer short?", [(0, "no"), (1, "yes")])?;
/// let graded = gavel
///     .absolute("Why is the sky blue?", "Because of the sea.")
///     .rubrics([("helpfulness".into(), 2.0), (short.into(), 1.0)])
///     .samples(3)
///     .temperature(0.7)
///     .seed(42)
///     .deadline(Duration::from_secs(60))
///     .await?;
/// assert_eq!(graded.verdict.verdicts().count(), 2);
/// println!("{} tokens, judged by {}", graded.stats.usage.completion_tokens, graded.provenance.model.name);
///
/// // The verdict alone, in one forward pass: a reward.
/// let graded = gavel.absolute("2 + 2 = ?", "4").rubric("correctness").mode(Mode::Score).await?;
/// assert!(graded.verdict.feedback().is_none() && graded.verdict.label_mass() > 0.5);
/// # Ok(())
/// # }
/// ```
#[must_use = "the request does nothing until it is awaited"]
pub struct Request<T> {
    app: Arc<App>,
    of: T,
    item: Item,
    rubrics: Vec<(RubricChoice, f64)>,
    multi: bool,
    options: Options,
    comparison: Comparison,
    panel: PanelChoice,
    examples: Vec<Example>,
    deadline: Duration,
    on_delta: Option<Progress>,
}

/// One response, for absolute grading.
#[derive(Debug, Clone)]
pub struct OneResponse {
    pub(super) response: String,
}

/// Two responses, A and B, for relative grading.
#[derive(Debug, Clone)]
pub struct TwoResponses {
    pub(super) a: String,
    pub(super) b: String,
}

/// Several responses, for ranking.
#[derive(Debug, Clone)]
pub struct ManyResponses {
    pub(super) responses: Vec<String>,
}

/// A rubric: a name or an inline rubric.
#[derive(Debug, Clone)]
pub enum RubricChoice {
    /// A built-in rubric, or one in the data folder.
    Named(String),
    /// A rubric of the program; its name in verdicts is `inline`.
    Inline(Arc<Rubric>),
}

/// How responses are compared.
#[derive(Debug, Clone, Copy)]
struct Comparison {
    swap: bool,
    tie_margin: f64,
    /// `None`: as the model prefers.
    method: Option<Method>,
}

impl From<&str> for RubricChoice {
    fn from(name: &str) -> Self {
        Self::Named(name.to_owned())
    }
}

impl From<String> for RubricChoice {
    fn from(name: String) -> Self {
        Self::Named(name)
    }
}

impl From<Rubric> for RubricChoice {
    fn from(rubric: Rubric) -> Self {
        Self::Inline(Arc::new(rubric))
    }
}

impl From<Arc<Rubric>> for RubricChoice {
    fn from(rubric: Arc<Rubric>) -> Self {
        Self::Inline(rubric)
    }
}

impl<T> Request<T> {
    pub(super) fn new(app: &Arc<App>, instruction: Instruction, of: T) -> Self {
        let grading = &app.config.grading;
        let rubric = Some(grading.rubric.as_str()).filter(|name| !name.is_empty());
        Self {
            of,
            item: Item { instruction, reference_answer: None, context: Vec::new(), annotator: None },
            rubrics: rubric.map(|name| (name.into(), 1.0)).into_iter().collect(),
            multi: false,
            options: app.default_options(),
            comparison: Comparison { swap: grading.swap, tie_margin: grading.tie_margin, method: None },
            panel: PanelChoice::default(),
            examples: Vec::new(),
            deadline: Duration::from_millis(app.config.limits.deadline_ms),
            on_delta: None,
            app: Arc::clone(app),
        }
    }

    /// The rubric: the name of a built-in rubric or of one in the data folder, or a [`Rubric`].
    pub fn rubric(mut self, rubric: impl Into<RubricChoice>) -> Self {
        self.rubrics = vec![(rubric.into(), 1.0)];
        self.multi = false;
        self
    }

    /// Several rubrics, each with a weight from 0.000001 to 1000000: the reward is the weighted mean. Comparisons
    /// support them with [`Method::Absolute`] only.
    pub fn rubrics(mut self, rubrics: impl IntoIterator<Item = (RubricChoice, f64)>) -> Self {
        self.rubrics = rubrics.into_iter().collect();
        self.multi = true;
        self
    }

    /// An answer that would get the highest score.
    pub fn reference_answer(mut self, answer: impl Into<String>) -> Self {
        self.item.reference_answer = Some(answer.into()).filter(|text| !text.trim().is_empty());
        self
    }

    /// Documents that the response is judged against.
    pub fn context(mut self, documents: impl IntoIterator<Item = Document>) -> Self {
        self.item.context = documents.into_iter().collect();
        self
    }

    /// The persona whose judgement is requested, such as `a teacher`.
    pub fn annotator(mut self, annotator: impl Into<String>) -> Self {
        self.item.annotator = Some(annotator.into()).filter(|text| !text.trim().is_empty()).map(Annotator::from);
        self
    }

    /// Feedback and verdict, or only the verdict.
    pub fn mode(mut self, mode: Mode) -> Self {
        self.options.mode = mode;
        self
    }

    /// Number of judgements to combine, 1 to 64. More than one needs feedback and a temperature above 0.
    pub fn samples(mut self, samples: u32) -> Self {
        self.options.samples = samples;
        self
    }

    /// Sampling temperature of the feedback: 0 (greedy) to 2. Verdicts are always read at temperature 1.
    pub fn temperature(mut self, temperature: f32) -> Self {
        self.options.sampling.temperature = temperature;
        self
    }

    /// Nucleus sampling of the feedback, above 0 and at most 1.
    pub fn top_p(mut self, top_p: f32) -> Self {
        self.options.sampling.top_p = top_p;
        self
    }

    /// Samples the feedback from the k most probable tokens; 0 keeps all.
    pub fn top_k(mut self, top_k: u32) -> Self {
        self.options.sampling.top_k = top_k;
        self
    }

    /// Minimum probability of a feedback token relative to the most probable one, 0 to 1.
    pub fn min_p(mut self, min_p: f32) -> Self {
        self.options.sampling.min_p = min_p;
        self
    }

    /// The seed of the first sample; sample i uses seed + i. With a seed, verdicts are cached at any temperature.
    pub fn seed(mut self, seed: u64) -> Self {
        (self.options.sampling.seed, self.options.sampling.seeded) = (seed, true);
        self
    }

    /// Maximum number of tokens of feedback.
    pub fn max_feedback_tokens(mut self, tokens: u32) -> Self {
        self.options.sampling.max_feedback_tokens = tokens;
        self
    }

    /// Minimum number of tokens of feedback.
    pub fn min_feedback_tokens(mut self, tokens: u32) -> Self {
        self.options.sampling.min_feedback_tokens = tokens;
        self
    }

    /// The prompt set. Default: the model's own.
    pub fn prompt_set(mut self, name: impl Into<String>) -> Self {
        self.options.prompt = Some(name.into());
        self
    }

    /// Whether the verdict cache may be used.
    pub fn cache(mut self, cache: bool) -> Self {
        self.options.cache = cache;
        self
    }

    /// Whether each judgement runs alone and without prefix reuse, so that it gives the same bytes every time.
    pub fn deterministic(mut self, deterministic: bool) -> Self {
        self.options.deterministic = deterministic;
        self
    }

    /// The deadline, from the time the request is awaited.
    pub fn deadline(mut self, deadline: Duration) -> Self {
        self.deadline = deadline;
        self
    }

    /// Receives feedback while it is generated. Sample and run identify judgements that run at once.
    pub fn on_delta(mut self, hear: impl Fn(Delta) + Send + Sync + 'static) -> Self {
        self.on_delta = Some(Arc::new(hear));
        self
    }

    /// Resolves the rubrics.
    fn weighted(&self) -> Result<Vec<WeightedRubric>, Error> {
        let weighted = self.rubrics.iter().enumerate().map(|(index, (choice, weight))| {
            let rubric = match choice {
                RubricChoice::Named(name) => self.app.rubrics.named(name)?,
                RubricChoice::Inline(rubric) => NamedRubric { name: "inline".into(), rubric: Arc::clone(rubric) },
            };
            let weight = Weight::new(*weight);
            let weight = weight.map_err(|e| InvalidRequest::at(format!("/rubric/{index}/weight"), e.to_string()))?;
            Ok(WeightedRubric { rubric, weight, gate: None })
        });
        weighted.collect()
    }
}

/// Options of comparisons.
macro_rules! comparison {
    ($of:ty) => {
        impl Request<$of> {
            /// Whether both orders of a pair are judged, which detects position bias.
            pub fn swap(mut self, swap: bool) -> Self {
                self.comparison.swap = swap;
                self
            }

            /// A comparison is a tie if the probability of A is closer to one half than this, 0 to 0.5; with
            /// [`Method::Absolute`], if the rewards are closer than this.
            pub fn tie_margin(mut self, tie_margin: f64) -> Self {
                self.comparison.tie_margin = tie_margin;
                self
            }

            /// Whether responses are compared in pairs, or each is graded alone and the higher reward is preferred.
            /// Default: the model's own.
            pub fn method(mut self, method: Method) -> Self {
                self.comparison.method = Some(method);
                self
            }
        }
    };
}
comparison!(TwoResponses);
comparison!(ManyResponses);

/// Turns a request into a task, depending on its responses.
trait Responses: Sized {
    type Task: JuryTask;
    /// What the caller gets.
    type Verdict;

    /// The task; `preferred` is how the judges compare responses if the request does not say, unless they differ.
    fn task(
        request: Request<Self>,
        rubrics: Vec<WeightedRubric>,
        preferred: Option<Method>,
    ) -> Result<Self::Task, InvalidRequest>;

    /// What is made of the verdict of a task.
    fn made(task: &Self::Task, verdict: <Self::Task as Task>::Verdict) -> Self::Verdict;
}

impl Responses for OneResponse {
    type Task = AbsoluteRequest;
    type Verdict = Absolute;

    fn task(
        request: Request<Self>,
        rubrics: Vec<WeightedRubric>,
        _preferred: Option<Method>,
    ) -> Result<Self::Task, InvalidRequest> {
        let Request { of: Self { response }, item, multi, options, .. } = request;
        check_text(&response, "/response", "the response")?;
        Ok(AbsoluteRequest { item, response: response.into(), rubrics, multi, options })
    }

    fn made(_task: &Self::Task, verdict: Absolute) -> Absolute {
        verdict
    }
}

impl Responses for TwoResponses {
    type Task = RelativeRequest;
    type Verdict = Relative;

    fn task(
        request: Request<Self>,
        rubrics: Vec<WeightedRubric>,
        _preferred: Option<Method>,
    ) -> Result<Self::Task, InvalidRequest> {
        let Request { of: Self { a, b }, item, multi, options, comparison, .. } = request;
        check_text(&a, "/response_a", "response A")?;
        check_text(&b, "/response_b", "response B")?;
        let Comparison { swap, tie_margin, method } = comparison;
        let (response_a, response_b) = (a.into(), b.into());
        Ok(RelativeRequest { item, response_a, response_b, rubrics, multi, swap, tie_margin, method, options })
    }

    fn made(_task: &Self::Task, verdict: Relative) -> Relative {
        verdict
    }
}

impl Responses for ManyResponses {
    type Task = JudgeParts<Ranking>;
    type Verdict = Ranked;

    fn task(
        request: Request<Self>,
        rubrics: Vec<WeightedRubric>,
        preferred: Option<Method>,
    ) -> Result<Self::Task, InvalidRequest> {
        let Request { of: Self { responses }, item, multi, options, comparison, .. } = request;
        for (place, response) in responses.iter().enumerate() {
            check_text(response, &format!("/responses/{place}"), "the response")?;
        }
        let responses = responses.into_iter().map(Content::from).collect();
        let Comparison { swap, tie_margin, method } = comparison;
        let differ = "the jurors' models differ in how they compare responses; set the method";
        let method = method.or(preferred).ok_or_else(|| InvalidRequest::at("/method", differ))?;
        let method = Some(method);
        let request = ManyRequest { item, responses, rubrics, multi, swap, tie_margin, method, options };
        Ok(JudgeParts::of(request, Ranking))
    }

    fn made(task: &Self::Task, verdict: CandidateVerdicts) -> Ranked {
        task.made_of(verdict)
    }
}

/// The judges, and the task.
async fn begin<T: Responses>(mut request: Request<T>) -> Result<(Panel, T::Task, Option<Progress>), Error> {
    request.item.instruction.check()?;
    let (rubrics, judges) = (request.weighted()?, request.chosen_judges()?);
    request.options.examples = request.example_set()?;
    let (app, on_delta) = (Arc::clone(&request.app), request.on_delta.clone());
    let context = app.service.context("local", Deadline::after(request.deadline));
    let panel = app.service.panel(&context, judges).await?;
    let task = T::task(request, rubrics, panel.preference_method())?;
    Ok((panel, task, on_delta))
}

async fn run<T: Responses>(request: Request<T>) -> Result<Graded<T::Verdict>, Error> {
    let (panel, task, on_delta) = begin(request).await?;
    let asked = task.clone();
    Ok(panel.run(task, on_delta).await?.map(&|verdict| T::made(&asked, verdict)))
}

/// Running a request.
macro_rules! awaited {
    ($of:ty => $verdict:ty) => {
        impl IntoFuture for Request<$of> {
            type Output = Result<Graded<$verdict>, Error>;
            type IntoFuture = BoxFuture<'static, Self::Output>;

            fn into_future(self) -> Self::IntoFuture {
                Box::pin(run(self))
            }
        }

        impl Request<$of> {
            /// The exact prompt of each judgement, without running them.
            ///
            /// # Errors
            /// Those of the request before the model runs.
            pub async fn prompts(self) -> Result<Vec<String>, Error> {
                let (panel, task, _) = begin(self).await?;
                Ok(panel.prompts(task).await?)
            }
        }
    };
}
awaited!(OneResponse => Absolute);
awaited!(TwoResponses => Relative);
awaited!(ManyResponses => Ranked);
