//! Several responses to one instruction: each graded alone, or compared in pairs, and put in order.

use super::{
    Absolute, Answer, Ask, Criteria, FailureIndex, JudgeProfile, Observe, Relative, RunKey, Task, TaskError, rubric_of,
};
use crate::domain::calibration::Calibrator;
use crate::domain::ranking::{self, Contest};
use crate::domain::{
    InvalidRequest, InvalidVerdict, Judgement, ManyRequest, Method, NamedDigest, Options, Order, Preference,
};
use crate::prompts::Subject;

/// Puts responses in order.
#[derive(Debug, Clone)]
pub struct Rank {
    candidates: Candidates,
}

/// The verdict of each part, or why it has none.
pub(super) type Judged = Many<Result<Absolute, FailureIndex>, Result<Relative, FailureIndex>>;

/// Several responses, and what is judged of them.
#[derive(Debug, Clone)]
pub(super) struct Candidates {
    pub(super) request: ManyRequest,
    /// The parts of the task.
    meetings: Many<usize, ()>,
}

/// Something for each response, or for each of the pairs that are compared.
#[derive(Debug, Clone)]
pub enum Many<A, R> {
    /// For each response, in the order of the request.
    Alone(Vec<A>),
    /// For each pair.
    Pairs(Vec<Pair<R>>),
}

/// Two of the responses, named by their places in the request, and what is known of them together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pair<T> {
    /// The place of the one that is called A.
    pub a: usize,
    /// The place of the one that is called B.
    pub b: usize,
    /// What is known of them.
    pub of: T,
}

/// Responses put in order.
#[derive(Debug)]
pub struct Ranked {
    /// The places of the responses, best first.
    pub ranking: Vec<usize>,
    /// How strong each is, in the order of the request; their sum is 1.
    pub strengths: Vec<f64>,
    /// Pairs of which neither is better, each with the lower place first.
    pub ties: Vec<[usize; 2]>,
    /// What the order is made from.
    pub verdicts: Many<Absolute, Relative>,
}

/// What is to be judged so that responses can be put in order: each alone, or the pairs of [`ranking::pairs`].
///
/// Who meets whom is decided by the order of the texts and not by their places in the request, so that the same
/// responses in another order are compared in the same pairs.
#[must_use]
pub fn meetings(responses: &[String], method: Method) -> Many<usize, ()> {
    let count = responses.len();
    match method {
        Method::Absolute => Many::Alone((0..count).collect()),
        Method::Pairwise => {
            let mut seats: Vec<usize> = (0..count).collect();
            seats.sort_by_key(|place| &responses[*place]);
            let seated = |(a, b): (usize, usize)| Pair { a: seats[a], b: seats[b], of: () };
            let mut pairs: Vec<_> = ranking::pairs(count).into_iter().map(seated).collect();
            pairs.sort_unstable_by_key(Pair::places);
            Many::Pairs(pairs)
        }
    }
}

impl Rank {
    /// A task for a checked request.
    #[must_use]
    pub fn new(request: ManyRequest) -> Self {
        Self { candidates: Candidates::new(request) }
    }
}

impl Task for Rank {
    type Verdict = Ranked;

    fn kind(&self) -> &'static str {
        self.candidates.request.method.kind().name()
    }

    fn check(&self) -> Result<(), InvalidRequest> {
        self.candidates.request.check()
    }

    fn options(&self) -> &Options {
        &self.candidates.request.options
    }

    fn runs(&self) -> Vec<RunKey> {
        self.candidates.runs()
    }

    fn ask(&self, run: RunKey, judge: &JudgeProfile<'_>) -> Result<Ask, TaskError> {
        self.candidates.ask(run, judge)
    }

    fn combine(
        &self,
        answers: Vec<Answer>,
        calibrator: Calibrator<'_>,
        observe: Observe<'_>,
    ) -> Result<Ranked, InvalidVerdict> {
        let verdicts = match self.candidates.combine(answers, calibrator, observe)? {
            Many::Alone(graded) => Many::Alone(graded.into_iter().filter_map(Result::ok).collect()),
            Many::Pairs(pairs) => Many::Pairs(pairs.into_iter().filter_map(Pair::judged).collect()),
        };
        let request = &self.candidates.request;
        Ok(Ranked::new(verdicts, request.responses.len(), request.tie_margin))
    }

    fn text_len(&self) -> usize {
        self.candidates.text_len()
    }

    fn longest_text(&self) -> String {
        self.candidates.longest_text()
    }

    fn label(&self, run: RunKey) -> &str {
        self.candidates.label(run)
    }

    fn rubric(&self) -> Option<NamedDigest> {
        rubric_of(&self.candidates.request.rubrics, self.candidates.request.multi)
    }

    fn prompt(&self, judge: &JudgeProfile<'_>) -> Result<Option<NamedDigest>, TaskError> {
        judge.templates(self.candidates.request.method.kind(), self.options())
    }
}

impl Candidates {
    pub(super) fn new(request: ManyRequest) -> Self {
        let meetings = meetings(&request.responses, request.method);
        Self { request, meetings }
    }

    pub(super) fn runs(&self) -> Vec<RunKey> {
        match &self.meetings {
            Many::Alone(places) => {
                let of = |part| {
                    let criteria = 0..self.request.rubrics.len();
                    criteria.map(move |criterion| RunKey { part, criterion, ..RunKey::default() })
                };
                (0..places.len()).flat_map(of).collect()
            }
            Many::Pairs(pairs) => {
                let orders = if self.request.swap { &[Order::AB, Order::BA][..] } else { &[Order::AB] };
                let of =
                    |part| orders.iter().map(move |order| RunKey { part, order: Some(*order), ..RunKey::default() });
                (0..pairs.len()).flat_map(of).collect()
            }
        }
    }

    pub(super) fn ask(&self, run: RunKey, judge: &JudgeProfile<'_>) -> Result<Ask, TaskError> {
        let ManyRequest { item, responses, rubrics, options, .. } = &self.request;
        let rubric = &rubrics[run.criterion].rubric.rubric;
        let subject = match &self.meetings {
            Many::Alone(places) => Subject::Absolute { item, response: &responses[places[run.part]], rubric },
            Many::Pairs(pairs) => {
                let Pair { a, b, .. } = pairs[run.part];
                let (a, b) = ((responses[a].as_str(), "response_a"), (responses[b].as_str(), "response_b"));
                let ((first, first_field), (second, second_field)) =
                    if run.order == Some(Order::BA) { (b, a) } else { (a, b) };
                Subject::Relative { item, first, second, first_field, second_field, rubric }
            }
        };
        judge.grading(&subject, options)
    }

    /// The verdict of each part, or the first failure that it had.
    pub(super) fn combine(
        &self,
        answers: Vec<Answer>,
        calibrator: Calibrator<'_>,
        observe: Observe<'_>,
    ) -> Result<Judged, InvalidVerdict> {
        let parts = match &self.meetings {
            Many::Alone(places) => places.len(),
            Many::Pairs(pairs) => pairs.len(),
        };
        let mut by_part: Vec<Result<Vec<(RunKey, Judgement)>, FailureIndex>> = vec![Ok(Vec::new()); parts];
        for Answer { run, judgement } in answers {
            let part = &mut by_part[run.part];
            match (part.as_mut(), judgement) {
                (Ok(judged), Ok(judgement)) => judged.push((run, judgement)),
                (Ok(_), Err(failure)) => *part = Err(failure),
                (Err(_), _) => {}
            }
        }
        let ManyRequest { responses, rubrics, multi, tie_margin, .. } = &self.request;
        Ok(match &self.meetings {
            Many::Alone(places) => {
                let graded = places.iter().zip(by_part).map(|(place, part)| {
                    let criteria = Criteria { rubrics, multi: *multi, calibrator };
                    let graded =
                        part.map(|judged| Absolute::combine(criteria, &responses[*place], judged.into_iter(), observe));
                    graded.map_or_else(|failure| Ok(Err(failure)), |graded| graded.map(Ok))
                });
                Many::Alone(graded.collect::<Result<_, _>>()?)
            }
            Many::Pairs(pairs) => {
                let compared = pairs.iter().zip(by_part).map(|(Pair { a, b, .. }, part)| {
                    let of = match part {
                        Ok(judged) => {
                            let judgements = judged.into_iter().map(|(_, judgement)| judgement).collect();
                            let criteria = Criteria { rubrics, multi: *multi, calibrator };
                            let texts = [responses[*a].as_str(), &responses[*b]];
                            Ok(Relative::pairwise(criteria, texts, judgements, *tie_margin, observe)?)
                        }
                        Err(failure) => Err(failure),
                    };
                    Ok(Pair { a: *a, b: *b, of })
                });
                Many::Pairs(compared.collect::<Result<_, InvalidVerdict>>()?)
            }
        })
    }

    pub(super) fn text_len(&self) -> usize {
        let longest = self.request.responses.iter().map(String::len).max().unwrap_or(0);
        self.request.item.text_len() + 2 * longest
    }

    pub(super) fn longest_text(&self) -> String {
        let named: Vec<String> = (0..self.request.responses.len()).map(|place| format!("/responses/{place}")).collect();
        let texts = named.iter().map(String::as_str).zip(self.request.responses.iter().map(String::as_str));
        self.request.item.longest_text(&texts.collect::<Vec<_>>()).to_owned()
    }

    pub(super) fn label(&self, run: RunKey) -> &str {
        &self.request.rubrics[run.criterion].rubric.name
    }
}

impl Ranked {
    /// Puts `count` responses in order: by their rewards, or by the strengths that explain the comparisons best.
    /// Rewards that are closer than `tie_margin` are ties.
    #[must_use]
    pub fn new(verdicts: Many<Absolute, Relative>, count: usize, tie_margin: f64) -> Self {
        let (strengths, ties) = match &verdicts {
            Many::Alone(graded) => {
                let rewards: Vec<f64> = graded.iter().map(Absolute::reward).collect();
                (ranking::to_shares(&rewards), ranking::ties(&rewards, tie_margin))
            }
            Many::Pairs(pairs) => {
                let contests: Vec<Contest> = pairs.iter().map(Pair::contest).collect();
                let tied = pairs.iter().filter(|pair| pair.of.preference() == Preference::Tie);
                (ranking::strengths(count, &contests), tied.map(Pair::places).collect())
            }
        };
        Self { ranking: ranking::best_first(&strengths), strengths, ties, verdicts }
    }
}

impl Many<Absolute, Relative> {
    /// The first judgement of all.
    #[must_use]
    pub fn first_judgement(&self) -> Option<&Judgement> {
        match self {
            Self::Alone(graded) => graded.first()?.first_judgement(),
            Self::Pairs(pairs) => pairs.first()?.of.first_judgement(),
        }
    }

    /// The label mass of the least sure verdict.
    #[must_use]
    pub fn label_mass(&self) -> f64 {
        match self {
            Self::Alone(graded) => graded.iter().map(Absolute::label_mass).fold(1.0, f64::min),
            Self::Pairs(pairs) => pairs.iter().map(|pair| pair.of.label_mass()).fold(1.0, f64::min),
        }
    }
}

impl<T, E> Pair<Result<T, E>> {
    /// The pair, if it was judged.
    fn judged(self) -> Option<Pair<T>> {
        Some(Pair { a: self.a, b: self.b, of: self.of.ok()? })
    }
}

impl<T> Pair<T> {
    /// The places, the lower one first.
    #[must_use]
    pub fn places(&self) -> [usize; 2] {
        [self.a.min(self.b), self.a.max(self.b)]
    }
}

impl Pair<Relative> {
    pub(super) fn contest(&self) -> Contest {
        Contest { a: self.a, b: self.b, probability_a: self.of.probability_a() }
    }
}
