//! Pairs for preference learning: which of several responses is better than which, and what became no pair, and why.

use super::candidates::Candidates;
use super::{
    Absolute, Answer, Ask, FailureIndex, JudgeProfile, Many, Observe, Pair, Relative, RunKey, Task, TaskError,
    rubric_of,
};
use crate::domain::calibration::Calibrator;
use crate::domain::ranking::{self, Contest};
use crate::domain::{InvalidRequest, InvalidVerdict, ManyRequest, NamedDigest, Options, Preference};

/// Margins are differences of rounded numbers: one that falls short by less is not short.
const ROUNDING: f64 = 1e-9;

/// Which pairs are made, and what a pair needs.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct PairRules {
    /// Every pair that was judged, or the best response against the worst.
    pub all: bool,
    /// The least difference of scores, 0..1.
    pub min_margin: f64,
    /// The least label mass of a verdict, 0..1; a forced guess is no training signal.
    pub min_label_mass: f64,
}

/// Makes pairs of several responses. What fails fails alone, and is listed with what else became no pair.
#[derive(Debug, Clone)]
pub struct MakePairs {
    candidates: Candidates,
    rules: PairRules,
}

/// What became of several responses.
#[derive(Debug, Clone)]
pub struct Preferences<E> {
    /// The pairs that qualify.
    pub pairs: Vec<PreferencePair>,
    /// What became no pair.
    pub left_out: Vec<LeftOut<E>>,
}

/// A pair to learn from. Responses are named by their places in the request.
#[derive(Debug, Clone, PartialEq)]
pub struct PreferencePair {
    /// The position of the better response.
    pub chosen: usize,
    /// The position of the worse response.
    pub rejected: usize,
    /// The reward of the better one, or the probability that it is the better one; 0..1.
    pub score_chosen: f64,
    /// The same of the other.
    pub score_rejected: f64,
    /// Whether both orders agree; `None` where not both were judged.
    pub consistent: Option<bool>,
}

/// One or two responses that became no pair, and why.
#[derive(Debug, Clone)]
pub struct LeftOut<E> {
    /// Their places in the request.
    pub responses: Vec<usize>,
    /// Why there is no pair.
    pub reason: Reason<E>,
}

/// Why there is no pair.
#[derive(Debug, Clone)]
pub enum Reason<E> {
    /// There is no verdict.
    Failed(E),
    /// The judge hardly wanted to answer; holds the label mass.
    LowLabelMass(f64),
    /// The two orders of the pair disagree.
    Inconsistent,
    /// Neither is better.
    Tie,
    /// One is hardly better, or, by a direct comparison, worse; holds the margin.
    SmallMargin(f64),
}

/// Two responses of which the first is thought to be the better one.
struct Candidate {
    pair: PreferencePair,
    tie: bool,
}

impl MakePairs {
    /// A task for a checked request.
    #[must_use]
    pub fn new(request: ManyRequest, rules: PairRules) -> Self {
        Self { candidates: Candidates::new(request), rules }
    }
}

impl Task for MakePairs {
    type Verdict = Preferences<FailureIndex>;

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
    ) -> Result<Self::Verdict, InvalidVerdict> {
        let request = &self.candidates.request;
        let judged = self.candidates.combine(answers, calibrator, observe)?;
        Ok(Preferences::new(judged, request.responses.len(), request.tie_margin, self.rules))
    }

    fn allows_failures(&self) -> bool {
        true
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

impl<E> Preferences<E> {
    /// Makes pairs of what was judged of `count` responses, or failed. Rewards that are closer than `tie_margin` are
    /// ties.
    #[must_use]
    pub fn new(
        tried: Many<Result<Absolute, E>, Result<Relative, E>>,
        count: usize,
        tie_margin: f64,
        rules: PairRules,
    ) -> Self {
        let mut left_out = Vec::new();
        let candidates = match tried {
            Many::Alone(graded) => {
                let mut scored = Vec::new();
                for (place, graded) in graded.into_iter().enumerate() {
                    match sure(graded, Absolute::label_mass, rules.min_label_mass) {
                        Ok(graded) => scored.push((place, graded.reward())),
                        Err(reason) => left_out.push(LeftOut { responses: vec![place], reason }),
                    }
                }
                by_reward(&scored, tie_margin, rules.all)
            }
            Many::Pairs(pairs) => {
                let (mut judged, mut unsure) = (Vec::new(), Vec::new());
                for pair in pairs {
                    let places = pair.places();
                    match sure(pair.of, Relative::label_mass, rules.min_label_mass) {
                        Ok(of) => judged.push(Pair { a: pair.a, b: pair.b, of }),
                        Err(reason) => {
                            unsure.push(places);
                            left_out.push(LeftOut { responses: places.to_vec(), reason });
                        }
                    }
                }
                if rules.all {
                    judged.iter().map(Candidate::judged).collect()
                } else {
                    best_and_worst(&judged, count)
                        .filter(|found| !unsure.contains(&found.places()))
                        .into_iter()
                        .collect()
                }
            }
        };
        let mut pairs = Vec::new();
        for candidate in candidates {
            match candidate.reason_against(rules.min_margin) {
                None => pairs.push(candidate.pair),
                Some(reason) => left_out.push(LeftOut { responses: candidate.places().to_vec(), reason }),
            }
        }
        Self { pairs, left_out }
    }
}

/// A verdict that is there and that the judge meant.
fn sure<V, E>(verdict: Result<V, E>, label_mass: impl Fn(&V) -> f64, least: f64) -> Result<V, Reason<E>> {
    let verdict = verdict.map_err(Reason::Failed)?;
    let mass = label_mass(&verdict);
    if mass < least { Err(Reason::LowLabelMass(mass)) } else { Ok(verdict) }
}

/// Candidates among responses with rewards: every two, or the best and the worst.
fn by_reward(scored: &[(usize, f64)], tie_margin: f64, all: bool) -> Vec<Candidate> {
    let rewards: Vec<f64> = scored.iter().map(|(_, reward)| *reward).collect();
    let order = ranking::best_first(&rewards);
    let candidate = |better: usize, worse: usize| {
        let ((chosen, score_chosen), (rejected, score_rejected)) = (scored[better], scored[worse]);
        Candidate {
            pair: PreferencePair { chosen, rejected, score_chosen, score_rejected, consistent: None },
            tie: ranking::is_tie(score_chosen, score_rejected, tie_margin),
        }
    };
    match order[..] {
        [best, .., worst] if !all => vec![candidate(best, worst)],
        _ => {
            let worse = |i: usize| order[i + 1..].iter().map(move |&other| (i, other));
            (0..order.len()).flat_map(worse).map(|(i, worse)| candidate(order[i], worse)).collect()
        }
    }
}

/// The strongest against the weakest of the responses that were compared. None where too much has failed to set the
/// two against each other.
fn best_and_worst(judged: &[Pair<Relative>], count: usize) -> Option<Candidate> {
    let contests: Vec<Contest> = judged.iter().map(Pair::contest).collect();
    let strengths = ranking::strengths(count, &contests);
    let mut order = ranking::best_first(&strengths);
    order.retain(|place| contests.iter().any(|contest| [contest.a, contest.b].contains(place)));
    let (&chosen, &rejected) = (order.first()?, order.last()?);
    let places = [chosen.min(rejected), chosen.max(rejected)];
    if let Some(pair) = judged.iter().find(|pair| pair.places() == places) {
        return Some(Candidate::of(pair, chosen, rejected));
    }
    let score_chosen = strengths[chosen] / (strengths[chosen] + strengths[rejected]);
    let score_rejected = 1.0 - score_chosen;
    let pair = PreferencePair { chosen, rejected, score_chosen, score_rejected, consistent: None };
    ranking::joined(&contests, chosen, rejected).then_some(Candidate { pair, tie: false })
}

impl Candidate {
    /// The response that a comparison prefers, against the other.
    fn judged(pair: &Pair<Relative>) -> Self {
        let a_is_better = match pair.of.preference() {
            Preference::Tie => pair.of.probability_a() >= 0.5,
            preferred => preferred == Preference::A,
        };
        let (chosen, rejected) = if a_is_better { (pair.a, pair.b) } else { (pair.b, pair.a) };
        Self::of(pair, chosen, rejected)
    }

    fn of(pair: &Pair<Relative>, chosen: usize, rejected: usize) -> Self {
        let a = pair.of.probability_a();
        let (score_chosen, score_rejected) = if chosen == pair.a { (a, 1.0 - a) } else { (1.0 - a, a) };
        let consistent = pair.of.consistent();
        let tie = pair.of.preference() == Preference::Tie;
        Self { pair: PreferencePair { chosen, rejected, score_chosen, score_rejected, consistent }, tie }
    }

    fn places(&self) -> [usize; 2] {
        let PreferencePair { chosen, rejected, .. } = self.pair;
        [chosen.min(rejected), chosen.max(rejected)]
    }

    fn reason_against<E>(&self, min_margin: f64) -> Option<Reason<E>> {
        let margin = self.pair.margin();
        match self.pair.consistent {
            Some(false) => Some(Reason::Inconsistent),
            _ if self.tie || margin == 0.0 => Some(Reason::Tie),
            _ if margin < 0.0 || margin < min_margin - ROUNDING => Some(Reason::SmallMargin(margin)),
            _ => None,
        }
    }
}

impl PreferencePair {
    /// How much better the chosen one is: the difference of the scores, above 0 and at most 1.
    #[must_use]
    pub fn margin(&self) -> f64 {
        self.score_chosen - self.score_rejected
    }
}
