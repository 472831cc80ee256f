//! Several responses to one instruction: each graded alone, or compared in pairs, and ranked.

use serde::{Deserialize, Serialize};

use super::{
    Absolute, Answer, Ask, Criteria, FailureIndex, JudgeProfile, Observe, Relative, RunKey, Task, TaskError, rubric_of,
};
use crate::domain::calibration::Calibrator;
use crate::domain::ranking::{self, PairResult};
use crate::domain::{
    Annotator, Content, InvalidRequest, InvalidVerdict, Judgement, ManyRequest, Method, NamedDigest, Options, Order,
    Preference,
};
use crate::prompts::{Said, Subject};

/// Several responses to one instruction, and the judgements that they need. The goal makes of these what the caller
/// wants.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(from = "StoredCandidates<G>")]
pub struct Candidates<G> {
    pub(super) request: ManyRequest,
    pub(super) goal: G,
    /// The parts of the task, which follow from the request.
    #[serde(skip_serializing)]
    pub(super) parts: ByMethod<usize, ()>,
}

#[derive(Deserialize)]
struct StoredCandidates<G> {
    request: ManyRequest,
    goal: G,
}

/// What is made of the verdicts on several responses.
pub trait CandidateGoal: Send + Sync + 'static {
    /// The result for the caller.
    type Verdict: Send + 'static;

    /// Whether a judgement may fail without failing the task.
    const ALLOWS_FAILURES: bool;

    /// Combines the verdicts.
    fn combine(&self, request: &ManyRequest, verdicts: CandidateVerdicts) -> Self::Verdict;
}

/// The verdict of each part, or why it has none.
pub type CandidateVerdicts = ByMethod<Result<Absolute, FailureIndex>, Result<Relative, FailureIndex>>;

/// The goal of putting responses in order.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub struct Ranking;

/// One value for each response or for each compared pair, depending on the method.
#[derive(Debug, Clone)]
pub enum ByMethod<A, R> {
    /// Each response is graded alone: one value for each, in the order of the request.
    Pointwise(Vec<A>),
    /// Pairs are compared: one value for each pair.
    Pairwise(Vec<ResponsePair<R>>),
}

/// Two responses, named by their index in the request, and the verdict on them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ResponsePair<T> {
    /// The index of response A.
    pub a: usize,
    /// The index of response B.
    pub b: usize,
    /// The verdict; `()` if there is none yet.
    pub verdict: T,
}

/// Responses put in order.
#[derive(Debug)]
pub struct Ranked {
    /// The indexes of the responses, best first.
    pub ranking: Vec<usize>,
    /// The strength of each response, in the order of the request; they sum to 1.
    pub strengths: Vec<f64>,
    /// Pairs of which neither is better, each with the lower index first.
    pub ties: Vec<[usize; 2]>,
    /// The verdicts that the ranking is based on.
    pub verdicts: ByMethod<Absolute, Relative>,
}

/// The judgements that a ranking needs: of each response alone, or of the pairs of [`ranking::pairs`].
///
/// Pairs depend on the sorted texts, not on the order of the request, so that the same responses in another order give
/// the same comparisons.
#[must_use]
pub fn parts_to_judge(responses: &[Content], method: Method) -> ByMethod<usize, ()> {
    let count = responses.len();
    match method {
        Method::Absolute => ByMethod::Pointwise((0..count).collect()),
        Method::Pairwise => {
            let mut by_text: Vec<usize> = (0..count).collect();
            by_text.sort_by_cached_key(|index| responses[*index].identity());
            let pair = |(a, b): (usize, usize)| ResponsePair { a: by_text[a], b: by_text[b], verdict: () };
            let mut pairs: Vec<_> = ranking::pairs(count).into_iter().map(pair).collect();
            pairs.sort_unstable_by_key(ResponsePair::indexes);
            ByMethod::Pairwise(pairs)
        }
    }
}

impl CandidateGoal for Ranking {
    type Verdict = Ranked;

    const ALLOWS_FAILURES: bool = false;

    fn combine(&self, request: &ManyRequest, verdicts: CandidateVerdicts) -> Ranked {
        let verdicts = match verdicts {
            ByMethod::Pointwise(graded) => ByMethod::Pointwise(graded.into_iter().filter_map(Result::ok).collect()),
            ByMethod::Pairwise(pairs) => {
                ByMethod::Pairwise(pairs.into_iter().filter_map(ResponsePair::judged).collect())
            }
        };
        Ranked::new(verdicts, request.responses.len(), request.tie_margin)
    }
}

impl<G> Candidates<G> {
    /// A task for a checked request.
    #[must_use]
    pub fn new(request: ManyRequest, goal: G) -> Self {
        let parts = parts_to_judge(&request.responses, request.method());
        Self { request, goal, parts }
    }

    /// The verdict of each part, or its first failure.
    fn verdicts(
        &self,
        answers: Vec<Answer>,
        calibrator: Calibrator<'_>,
        observe: Observe<'_>,
    ) -> Result<CandidateVerdicts, InvalidVerdict> {
        let count = match &self.parts {
            ByMethod::Pointwise(indexes) => indexes.len(),
            ByMethod::Pairwise(pairs) => pairs.len(),
        };
        let mut by_part: Vec<Result<Vec<(RunKey, Judgement)>, FailureIndex>> = vec![Ok(Vec::new()); count];
        for Answer { run, judgement } in answers {
            let part = &mut by_part[run.part];
            match (part.as_mut(), judgement) {
                (Ok(judged), Ok(judgement)) => judged.push((run, judgement)),
                (Ok(_), Err(failure)) => *part = Err(failure),
                (Err(_), _) => {}
            }
        }
        let ManyRequest { responses, rubrics, multi, tie_margin, .. } = &self.request;
        Ok(match &self.parts {
            ByMethod::Pointwise(indexes) => {
                let graded = indexes.iter().zip(by_part).map(|(index, part)| {
                    let criteria = Criteria { rubrics, multi: *multi, calibrator };
                    let text = responses[*index].texts();
                    let graded = part.map(|judged| Absolute::combine(criteria, &text, judged.into_iter(), observe));
                    graded.map_or_else(|failure| Ok(Err(failure)), |graded| graded.map(Ok))
                });
                ByMethod::Pointwise(graded.collect::<Result<_, _>>()?)
            }
            ByMethod::Pairwise(pairs) => {
                let compared = pairs.iter().zip(by_part).map(|(ResponsePair { a, b, .. }, part)| {
                    let verdict = match part {
                        Ok(judged) => {
                            let judgements = judged.into_iter().map(|(_, judgement)| judgement).collect();
                            let criteria = Criteria { rubrics, multi: *multi, calibrator };
                            let texts = [responses[*a].texts(), responses[*b].texts()];
                            let texts = texts.each_ref().map(String::as_str);
                            Ok(Relative::pairwise(criteria, texts, judgements, *tie_margin, observe)?)
                        }
                        Err(failure) => Err(failure),
                    };
                    Ok(ResponsePair { a: *a, b: *b, verdict })
                });
                ByMethod::Pairwise(compared.collect::<Result<_, InvalidVerdict>>()?)
            }
        })
    }
}

impl<G> From<StoredCandidates<G>> for Candidates<G> {
    fn from(StoredCandidates { request, goal }: StoredCandidates<G>) -> Self {
        Self::new(request, goal)
    }
}

impl<G: CandidateGoal> Task for Candidates<G> {
    type Verdict = G::Verdict;

    fn kind(&self) -> &'static str {
        self.request.method().kind().name()
    }

    fn settled(self, judge: &JudgeProfile<'_>) -> Self {
        let method = self.request.method.or(Some(judge.preference_method));
        Self::new(ManyRequest { method, ..self.request }, self.goal)
    }

    fn check(&self) -> Result<(), InvalidRequest> {
        self.request.check()
    }

    fn options(&self) -> &Options {
        &self.request.options
    }

    fn runs(&self) -> Vec<RunKey> {
        match &self.parts {
            ByMethod::Pointwise(indexes) => {
                let of = |part| {
                    let criteria = 0..self.request.rubrics.len();
                    criteria.map(move |criterion| RunKey { part, criterion, ..RunKey::default() })
                };
                (0..indexes.len()).flat_map(of).collect()
            }
            ByMethod::Pairwise(pairs) => {
                let orders = if self.request.swap { &[Order::AB, Order::BA][..] } else { &[Order::AB] };
                let of =
                    |part| orders.iter().map(move |order| RunKey { part, order: Some(*order), ..RunKey::default() });
                (0..pairs.len()).flat_map(of).collect()
            }
        }
    }

    fn ask(&self, run: RunKey, judge: &JudgeProfile<'_>) -> Result<Ask, TaskError> {
        let ManyRequest { item, responses, rubrics, options, .. } = &self.request;
        let rubric = &rubrics[run.criterion].rubric.rubric;
        let subject = match &self.parts {
            ByMethod::Pointwise(indexes) => {
                Subject::Absolute { item, response: (&responses[indexes[run.part]]).into(), rubric }
            }
            ByMethod::Pairwise(pairs) => {
                let ResponsePair { a, b, .. } = pairs[run.part];
                let (a, b) = ((Said::from(&responses[a]), "response_a"), (Said::from(&responses[b]), "response_b"));
                let ((first, first_field), (second, second_field)) =
                    if run.order == Some(Order::BA) { (b, a) } else { (a, b) };
                Subject::Relative { item, first, second, first_field, second_field, rubric }
            }
        };
        judge.grading(&subject, options)
    }

    fn combine(
        &self,
        answers: Vec<Answer>,
        calibrator: Calibrator<'_>,
        observe: Observe<'_>,
    ) -> Result<G::Verdict, InvalidVerdict> {
        Ok(self.goal.combine(&self.request, self.verdicts(answers, calibrator, observe)?))
    }

    fn allows_failures(&self) -> bool {
        G::ALLOWS_FAILURES
    }

    fn text_len(&self) -> usize {
        let longest = self.request.responses.iter().map(Content::text_len_with_pictures).max().unwrap_or(0);
        self.request.item.text_len() + 2 * longest + self.request.options.examples_len()
    }

    fn longest_text(&self) -> String {
        let named: Vec<String> = (0..self.request.responses.len()).map(|index| format!("/responses/{index}")).collect();
        let texts = named.iter().map(String::as_str).zip(self.request.responses.iter().map(Content::text_len));
        let (item, examples) = (&self.request.item, self.request.options.examples_len());
        item.longest_text_or_examples(&texts.collect::<Vec<_>>(), examples).to_owned()
    }

    fn label(&self, run: RunKey) -> &str {
        &self.request.rubrics[run.criterion].rubric.name
    }

    fn rubric(&self) -> Option<NamedDigest> {
        rubric_of(&self.request.rubrics, self.request.multi)
    }

    fn annotator(&self) -> Option<&Annotator> {
        self.request.item.annotator.as_ref()
    }

    fn prompt(&self, judge: &JudgeProfile<'_>) -> Result<Option<NamedDigest>, TaskError> {
        judge.templates(self.request.method().kind(), self.options())
    }
}

impl Ranked {
    /// Ranks `count` responses by their rewards, or by the Bradley-Terry strengths of the comparisons. Rewards that are
    /// closer than `tie_margin` are ties.
    #[must_use]
    pub fn new(verdicts: ByMethod<Absolute, Relative>, count: usize, tie_margin: f64) -> Self {
        let (strengths, ties) = match &verdicts {
            ByMethod::Pointwise(graded) => {
                let rewards: Vec<f64> = graded.iter().map(Absolute::reward).collect();
                (ranking::to_shares(&rewards), ranking::ties(&rewards, tie_margin))
            }
            ByMethod::Pairwise(pairs) => {
                let results: Vec<PairResult> = pairs.iter().map(ResponsePair::result).collect();
                let tied = pairs.iter().filter(|pair| pair.verdict.preference() == Preference::Tie);
                (ranking::strengths(count, &results), tied.map(ResponsePair::indexes).collect())
            }
        };
        Self { ranking: ranking::best_first(&strengths), strengths, ties, verdicts }
    }
}

impl ByMethod<Absolute, Relative> {
    /// The first judgement.
    #[must_use]
    pub fn first_judgement(&self) -> Option<&Judgement> {
        match self {
            Self::Pointwise(graded) => graded.first()?.first_judgement(),
            Self::Pairwise(pairs) => pairs.first()?.verdict.first_judgement(),
        }
    }

    /// The lowest label mass of the verdicts.
    #[must_use]
    pub fn label_mass(&self) -> f64 {
        match self {
            Self::Pointwise(graded) => graded.iter().map(Absolute::label_mass).fold(1.0, f64::min),
            Self::Pairwise(pairs) => pairs.iter().map(|pair| pair.verdict.label_mass()).fold(1.0, f64::min),
        }
    }
}

impl<A, R> ByMethod<A, R> {
    /// The method.
    #[must_use]
    pub fn method(&self) -> Method {
        match self {
            Self::Pointwise(_) => Method::Absolute,
            Self::Pairwise(_) => Method::Pairwise,
        }
    }
}

impl<T, E> ResponsePair<Result<T, E>> {
    /// The pair, if it has a verdict.
    fn judged(self) -> Option<ResponsePair<T>> {
        Some(ResponsePair { a: self.a, b: self.b, verdict: self.verdict.ok()? })
    }
}

impl<T> ResponsePair<T> {
    /// Both indexes, the lower one first.
    #[must_use]
    pub fn indexes(&self) -> [usize; 2] {
        [self.a.min(self.b), self.a.max(self.b)]
    }
}

impl ResponsePair<Relative> {
    pub(super) fn result(&self) -> PairResult {
        PairResult { a: self.a, b: self.b, probability_a: self.verdict.probability_a() }
    }
}
