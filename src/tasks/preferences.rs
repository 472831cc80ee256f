//! Preference pairs of several responses, and the reasons for skipped ones.

use serde::{Deserialize, Serialize};

use super::candidates::{CandidateGoal, CandidateVerdicts};
use super::{Absolute, ByMethod, FailureIndex, Relative, ResponsePair};
use crate::domain::ranking::{self, PairResult};
use crate::domain::routing::Signals;
use crate::domain::{ManyRequest, Method, Preference};

/// Tolerance for margins, which are differences of rounded numbers.
const ROUNDING: f64 = 1e-9;

/// Which pairs are made, and their requirements.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct PairRules {
    /// Every pair that was judged, or the best response against the worst.
    pub all: bool,
    /// Minimum difference of scores, 0..1.
    pub min_margin: f64,
    /// Minimum label mass of a verdict, 0..1; a forced guess is not a training signal.
    pub min_label_mass: f64,
}

/// Preference pairs, and skipped responses.
#[derive(Debug, Clone)]
pub struct Preferences<E> {
    /// How the responses were compared.
    pub method: Method,
    /// The pairs that meet the rules.
    pub pairs: Vec<PreferencePair>,
    /// Responses and pairs that do not.
    pub skipped: Vec<Skipped<E>>,
}

/// A preference pair. Responses are named by their indexes in the request.
#[derive(Debug, Clone, PartialEq)]
pub struct PreferencePair {
    /// Index of the better response.
    pub chosen: usize,
    /// Index of the worse response.
    pub rejected: usize,
    /// The reward of the chosen response, or the probability that it is better; 0..1.
    pub score_chosen: f64,
    /// The same for the rejected response.
    pub score_rejected: f64,
    /// Whether both orders agree; `None` unless both were judged.
    pub consistent: Option<bool>,
    /// How sure the judge is, with the chosen response as A; `None` if the two were not compared with each other.
    pub signals: Option<Signals>,
}

/// One or two skipped responses, and the reason.
#[derive(Debug, Clone)]
pub struct Skipped<E> {
    /// Their indexes in the request.
    pub responses: Vec<usize>,
    /// The reason.
    pub reason: Reason<E>,
    /// Of two responses with a verdict: which is the better one, if either is, and how sure the judge is.
    pub pair: Option<PreferencePair>,
}

/// Why a response or pair is skipped.
#[derive(Debug, Clone)]
pub enum Reason<E> {
    /// The judgement failed.
    Failed(E),
    /// The label mass is too low; holds the label mass.
    LowLabelMass(f64),
    /// The two orders of the pair disagree.
    Inconsistent,
    /// Neither is better.
    Tie,
    /// The margin is too small, or a direct comparison contradicts the ranking; holds the margin.
    SmallMargin(f64),
}

/// A candidate pair.
struct Candidate {
    pair: PreferencePair,
    tie: bool,
}

impl CandidateGoal for PairRules {
    type Verdict = Preferences<FailureIndex>;

    const ALLOWS_FAILURES: bool = true;

    fn combine(&self, request: &ManyRequest, verdicts: CandidateVerdicts) -> Self::Verdict {
        Preferences::new(verdicts, request.responses.len(), request.tie_margin, *self)
    }
}

impl<E> Preferences<E> {
    /// Makes pairs from the verdicts on `count` responses, some of which may have failed. Rewards that are closer than
    /// `tie_margin` are ties.
    #[must_use]
    pub fn new(
        tried: ByMethod<Result<Absolute, E>, Result<Relative, E>>,
        count: usize,
        tie_margin: f64,
        rules: PairRules,
    ) -> Self {
        let method = tried.method();
        let mut skipped = Vec::new();
        let candidates = match tried {
            ByMethod::Pointwise(graded) => {
                let mut scored = Vec::new();
                for (index, graded) in graded.into_iter().enumerate() {
                    match sure(graded, Absolute::label_mass, rules.min_label_mass) {
                        Ok(graded) => scored.push((index, graded)),
                        Err((reason, _)) => skipped.push(Skipped { responses: vec![index], reason, pair: None }),
                    }
                }
                by_reward(&scored, tie_margin, rules.all)
            }
            ByMethod::Pairwise(pairs) => {
                let (mut judged, mut unsure) = (Vec::new(), Vec::new());
                for pair in pairs {
                    let indexes = pair.indexes();
                    match sure(pair.verdict, Relative::label_mass, rules.min_label_mass) {
                        Ok(verdict) => judged.push(ResponsePair { a: pair.a, b: pair.b, verdict }),
                        Err((reason, verdict)) => {
                            unsure.push(indexes);
                            let judged = verdict.map(|verdict| ResponsePair { a: pair.a, b: pair.b, verdict });
                            let pair = judged.map(|judged| Candidate::judged(&judged).pair);
                            skipped.push(Skipped { responses: indexes.to_vec(), reason, pair });
                        }
                    }
                }
                if rules.all {
                    judged.iter().map(Candidate::judged).collect()
                } else {
                    best_and_worst(&judged, count)
                        .filter(|found| !unsure.contains(&found.indexes()))
                        .into_iter()
                        .collect()
                }
            }
        };
        let mut pairs = Vec::new();
        for candidate in candidates {
            match candidate.reason_against(rules.min_margin) {
                None => pairs.push(candidate.pair),
                Some(reason) => {
                    let responses = candidate.indexes().to_vec();
                    skipped.push(Skipped { responses, reason, pair: Some(candidate.pair) });
                }
            }
        }
        Self { method, pairs, skipped }
    }
}

/// Checks that there is a verdict with enough label mass. One with too little comes with the reason.
fn sure<V, E>(verdict: Result<V, E>, label_mass: impl Fn(&V) -> f64, least: f64) -> Result<V, (Reason<E>, Option<V>)> {
    let verdict = verdict.map_err(|error| (Reason::Failed(error), None))?;
    let mass = label_mass(&verdict);
    if mass < least { Err((Reason::LowLabelMass(mass), Some(verdict))) } else { Ok(verdict) }
}

/// Candidate pairs of responses with rewards: all pairs, or the best and the worst.
fn by_reward(scored: &[(usize, Absolute)], tie_margin: f64, all: bool) -> Vec<Candidate> {
    let rewards: Vec<f64> = scored.iter().map(|(_, graded)| graded.reward()).collect();
    let order = ranking::best_first(&rewards);
    let candidate = |better: usize, worse: usize| {
        let ((chosen, graded), (rejected, other)) = (&scored[better], &scored[worse]);
        let (score_chosen, score_rejected, signals) =
            (graded.reward(), other.reward(), graded.signals_against(other, None));
        let (chosen, rejected) = (*chosen, *rejected);
        Candidate {
            pair: PreferencePair { chosen, rejected, score_chosen, score_rejected, consistent: None, signals },
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

/// The strongest and the weakest of the compared responses. `None` if failed comparisons leave them unconnected.
fn best_and_worst(judged: &[ResponsePair<Relative>], count: usize) -> Option<Candidate> {
    let results: Vec<PairResult> = judged.iter().map(ResponsePair::result).collect();
    let strengths = ranking::strengths(count, &results);
    let mut order = ranking::best_first(&strengths);
    order.retain(|index| results.iter().any(|result| [result.a, result.b].contains(index)));
    let (&chosen, &rejected) = (order.first()?, order.last()?);
    let indexes = [chosen.min(rejected), chosen.max(rejected)];
    if let Some(pair) = judged.iter().find(|pair| pair.indexes() == indexes) {
        return Some(Candidate::of(pair, chosen, rejected));
    }
    let score_chosen = strengths[chosen] / (strengths[chosen] + strengths[rejected]);
    let score_rejected = 1.0 - score_chosen;
    let pair = PreferencePair { chosen, rejected, score_chosen, score_rejected, consistent: None, signals: None };
    ranking::joined(&results, chosen, rejected).then_some(Candidate { pair, tie: false })
}

impl Candidate {
    /// The pair of a comparison, with the preferred response as the chosen one.
    fn judged(pair: &ResponsePair<Relative>) -> Self {
        let a_is_better = match pair.verdict.preference() {
            Preference::Tie => pair.verdict.probability_a() >= 0.5,
            preferred => preferred == Preference::A,
        };
        let (chosen, rejected) = if a_is_better { (pair.a, pair.b) } else { (pair.b, pair.a) };
        Self::of(pair, chosen, rejected)
    }

    fn of(pair: &ResponsePair<Relative>, chosen: usize, rejected: usize) -> Self {
        let a = pair.verdict.probability_a();
        let (score_chosen, score_rejected) = if chosen == pair.a { (a, 1.0 - a) } else { (1.0 - a, a) };
        let consistent = pair.verdict.consistent();
        let tie = pair.verdict.preference() == Preference::Tie;
        let signals = pair.verdict.signals(None);
        let signals = Some(if chosen == pair.a { signals } else { signals.exchanged() });
        Self { pair: PreferencePair { chosen, rejected, score_chosen, score_rejected, consistent, signals }, tie }
    }

    fn indexes(&self) -> [usize; 2] {
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
    /// The difference of the scores, above 0 and at most 1.
    #[must_use]
    pub fn margin(&self) -> f64 {
        self.score_chosen - self.score_rejected
    }
}
