//! Verdicts: judgements combined into one answer.

use serde::{Deserialize, Serialize};

use super::distribution::{Distribution, InvalidDistribution};
use super::judgement::{Judgement, Order};
use super::scale::{Scale, Score};
use super::weight::Weight;

/// The calibration or the fit that a verdict went through.
#[derive(Debug, Clone, PartialEq)]
pub struct Calibrated {
    /// `sha256:<hex>` of the file.
    pub digest: String,
    /// The judge's own reward; of a pair, its own `probability_a`.
    pub raw_reward: f64,
    /// Of a fit that was made from pairs of responses: the reward is the sigmoid of this, and the difference between two
    /// responses is the log-odds that people prefer the first.
    pub log_odds: Option<f64>,
}

/// The combined answer of absolute grading against one rubric.
#[derive(Debug, Clone, PartialEq)]
pub struct AbsoluteVerdict {
    /// The scale of the rubric.
    pub scale: Scale,
    /// The majority label of the samples, ties broken by the higher mean probability.
    pub score: Score,
    /// The mean of the scale under `distribution`.
    pub expected_score: f64,
    /// The expected score on 0..1, calibrated where the judge is.
    pub reward: f64,
    /// The mean distribution of the samples.
    pub distribution: Distribution,
    /// The mean label mass of the samples.
    pub label_mass: f64,
    /// The share of samples whose score is `score`.
    pub agreement: f64,
    /// The calibration of the reward, if there is one.
    pub calibration: Option<Box<Calibrated>>,
    /// The combined judgements, in order of sample.
    pub judgements: Vec<Judgement>,
}

/// Several criteria, each with its own verdict and weight.
#[derive(Debug, Clone, PartialEq)]
pub struct CriteriaVerdict {
    /// The verdict and weight of each criterion.
    pub criteria: Vec<(AbsoluteVerdict, Weight)>,
    /// The weighted mean of their rewards; 0 if a gate is closed.
    pub reward: f64,
    /// Whether every gate is open; `None` without gates.
    pub passed: Option<bool>,
}

/// The better response, as the caller named the responses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Preference {
    /// The caller's A.
    A,
    /// The caller's B.
    B,
    /// Neither is better, or the two orders disagree.
    #[serde(rename = "tie")]
    Tie,
}

/// The combined answer of pairwise relative grading.
#[derive(Debug, Clone, PartialEq)]
pub struct RelativeVerdict {
    /// Which response is better.
    pub preference: Preference,
    /// The mean over orders and samples of the probability that A is better, calibrated where the judge is.
    pub probability_a: f64,
    /// Whether both orders agree, before any calibration; `None` if only one was judged.
    pub consistent: Option<bool>,
    /// The lower label mass of the two orders, each the mean of its samples: if one order is a forced guess, so is half
    /// of the verdict.
    pub label_mass: f64,
    /// The calibration of the probability, if there is one.
    pub calibration: Option<Box<Calibrated>>,
    /// The combined judgements: the samples of order AB, then those of order BA.
    pub judgements: Vec<Judgement>,
}

/// Why judgements cannot be combined.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum InvalidVerdict {
    /// There are no judgements.
    #[error("there is nothing to combine")]
    Empty,
    /// A judgement has a different number of labels.
    #[error("a judgement over {found} labels where there are {expected}")]
    Labels {
        /// The expected number.
        expected: usize,
        /// The actual number.
        found: usize,
    },
    /// A reward is not a finite number.
    #[error("a reward is not a number")]
    NotANumber,
    /// A list that the judge wrote did not end by itself, or has no entries.
    #[error(
        "the list that the judge wrote did not end within max_feedback_tokens and 32 entries, or has none; raise the \
         limit, send the text in parts, or send the list yourself"
    )]
    NoList,
}

impl From<InvalidDistribution> for InvalidVerdict {
    fn from(error: InvalidDistribution) -> Self {
        match error {
            InvalidDistribution::Empty => Self::Empty,
            InvalidDistribution::NotANumber => Self::NotANumber,
            InvalidDistribution::Labels(expected, found) => Self::Labels { expected, found },
        }
    }
}

/// Checks that there are judgements, each over this number of labels.
fn check_labels(judgements: &[Judgement], expected: usize) -> Result<(), InvalidVerdict> {
    if judgements.is_empty() {
        return Err(InvalidVerdict::Empty);
    }
    let mut found = judgements.iter().map(|judgement| judgement.distribution.probabilities().len());
    found.find(|found| *found != expected).map_or(Ok(()), |found| Err(InvalidVerdict::Labels { expected, found }))
}

impl AbsoluteVerdict {
    /// Combines the samples of one grading.
    ///
    /// # Errors
    /// When there are none, or when their labels are not the scale's.
    pub fn combine(scale: Scale, judgements: Vec<Judgement>) -> Result<Self, InvalidVerdict> {
        check_labels(&judgements, scale.levels())?;
        let distribution = Distribution::mean(judgements.iter().map(|j| &j.distribution))?;
        let mut votes = vec![0_u32; distribution.probabilities().len()];
        for judgement in &judgements {
            votes[judgement.distribution.argmax()] += 1;
        }
        let winner = (1..votes.len()).fold(0, |best, i| {
            let key = |i: usize| (votes[i], distribution.probabilities()[i]);
            if key(i) > key(best) { i } else { best }
        });
        let score = scale.score(winner).ok_or(InvalidVerdict::Empty)?;
        let expected_score = distribution.expectation(scale.scores().map(|s| f64::from(s.value())));
        Ok(Self {
            scale,
            score,
            expected_score,
            reward: scale.fraction(expected_score),
            label_mass: mean(judgements.iter().map(|j| j.label_mass)),
            agreement: f64::from(votes[winner]) / judgements.len() as f64,
            distribution,
            calibration: None,
            judgements,
        })
    }

    /// Takes a calibrated reward; score, expected score and distribution stay the judge's own.
    pub(super) fn calibrate(&mut self, reward: f64, log_odds: Option<f64>, digest: &str) {
        let raw_reward = self.reward;
        self.calibration = Some(Box::new(Calibrated { digest: digest.to_owned(), raw_reward, log_odds }));
        self.reward = reward;
    }

    /// The first sample that voted for the score, or else the first.
    #[must_use]
    pub fn speaker(&self) -> Option<&Judgement> {
        let agrees = |j: &&Judgement| self.scale.score(j.distribution.argmax()) == Some(self.score);
        self.judgements.iter().find(agrees).or(self.judgements.first())
    }

    /// The feedback of [`AbsoluteVerdict::speaker`].
    #[must_use]
    pub fn feedback(&self) -> Option<&str> {
        self.speaker()?.feedback.as_deref()
    }
}

impl CriteriaVerdict {
    /// Combines the verdicts of several criteria.
    ///
    /// # Errors
    /// When there are none, or a reward is not a finite number.
    pub fn combine(criteria: Vec<(AbsoluteVerdict, Weight)>) -> Result<Self, InvalidVerdict> {
        if criteria.is_empty() {
            return Err(InvalidVerdict::Empty);
        }
        let total: f64 = criteria.iter().map(|(_, weight)| weight.get()).sum();
        let reward = criteria.iter().map(|(verdict, weight)| verdict.reward * weight.get()).sum::<f64>() / total;
        if !reward.is_finite() {
            return Err(InvalidVerdict::NotANumber);
        }
        Ok(Self { criteria, reward, passed: None })
    }

    /// Applies the gate of each criterion: a score that is not above it makes the reward 0, whatever the other criteria
    /// say.
    #[must_use]
    pub fn gated(self, gates: impl Iterator<Item = Option<i32>>) -> Self {
        let open =
            |((verdict, _), gate): (&(AbsoluteVerdict, Weight), Option<i32>)| Some(verdict.score.value() > gate?);
        let open: Vec<bool> = self.criteria.iter().zip(gates).filter_map(open).collect();
        let passed = (!open.is_empty()).then(|| open.iter().all(|open| *open));
        Self { reward: if passed == Some(false) { 0.0 } else { self.reward }, passed, ..self }
    }
}

/// Probabilities of a pair are multiples of 2⁻⁴⁰, so that sums and complements are exact, and exchanging A and B gives
/// exactly `1 - probability_a`.
const GRID: f64 = (1_u64 << 40) as f64;

/// The nearest number of the grid.
pub(super) fn on_grid(p: f64) -> f64 {
    (p * GRID).round_ties_even() / GRID
}

/// A probability of A out of what is seen from A's side and from B's, which should sum to 1: exchanging the two gives
/// the exact complement.
pub(super) fn complement_exact(of_a: f64, of_b: f64) -> f64 {
    0.5 + on_grid((of_a - of_b) / 2.0)
}

impl Judgement {
    /// The probability that the caller's A is better, for a judgement over the two labels as shown.
    #[must_use]
    pub fn probability_a(&self) -> f64 {
        let first = on_grid(self.distribution.probabilities()[0]);
        if self.order == Some(Order::BA) { 1.0 - first } else { first }
    }

    /// The preferred response, as the caller named the responses.
    #[must_use]
    pub fn preference(&self) -> Preference {
        Preference::of(self.probability_a())
    }
}

impl Preference {
    /// With A and B exchanged.
    #[must_use]
    pub fn exchanged(self) -> Self {
        match self {
            Self::A => Self::B,
            Self::B => Self::A,
            Self::Tie => Self::Tie,
        }
    }

    /// The preference that a probability has; a tie if it is closer to one half than `tie_margin`.
    #[must_use]
    pub fn with_margin(probability_a: f64, tie_margin: f64) -> Self {
        if (probability_a - 0.5).abs() < tie_margin { Self::Tie } else { Self::of(probability_a) }
    }

    /// The preference for the higher reward, `margin` being that of A less that of B; a tie if they are equal, or closer
    /// than `tie_margin`.
    #[must_use]
    pub fn of_margin(margin: f64, tie_margin: f64) -> Self {
        if margin == 0.0 || margin.abs() < tie_margin {
            Self::Tie
        } else if margin > 0.0 {
            Self::A
        } else {
            Self::B
        }
    }

    fn of(probability_a: f64) -> Self {
        match probability_a.partial_cmp(&0.5) {
            Some(std::cmp::Ordering::Greater) => Self::A,
            Some(std::cmp::Ordering::Less) => Self::B,
            _ => Self::Tie,
        }
    }
}

impl RelativeVerdict {
    /// Combines the judgements of one order or both.
    ///
    /// # Errors
    /// When there are none, or one is not over two labels.
    pub fn combine(judgements: Vec<Judgement>, tie_margin: f64) -> Result<Self, InvalidVerdict> {
        check_labels(&judgements, 2)?;
        let vote = |order: Order| {
            let of_order: Vec<&Judgement> = judgements.iter().filter(|j| j.order == Some(order)).collect();
            (!of_order.is_empty()).then(|| {
                let count = |p: Preference| of_order.iter().filter(|j| j.preference() == p).count();
                match count(Preference::A).cmp(&count(Preference::B)) {
                    std::cmp::Ordering::Greater => Preference::A,
                    std::cmp::Ordering::Less => Preference::B,
                    std::cmp::Ordering::Equal => {
                        Preference::of(of_order.iter().map(|j| j.probability_a()).sum::<f64>() / of_order.len() as f64)
                    }
                }
            })
        };
        // Each order counts the same, also where it has fewer samples.
        let of_orders: Vec<f64> = [None, Some(Order::AB), Some(Order::BA)]
            .into_iter()
            .filter_map(|order| {
                let of_order: Vec<f64> =
                    judgements.iter().filter(|j| j.order == order).map(Judgement::probability_a).collect();
                (!of_order.is_empty()).then(|| on_grid(mean(of_order.into_iter())))
            })
            .collect();
        let probability_a = on_grid(mean(of_orders.into_iter()));
        let (voted, consistent) = match (vote(Order::AB), vote(Order::BA)) {
            (Some(ab), Some(ba)) if ab == ba => (ab, Some(true)),
            (Some(_), Some(_)) => (Preference::Tie, Some(false)),
            (one, other) => (one.or(other).unwrap_or(Preference::Tie), None),
        };
        let preference = if (probability_a - 0.5).abs() < tie_margin { Preference::Tie } else { voted };
        let mass_of = |order: Option<Order>| {
            let masses: Vec<f64> = judgements.iter().filter(|j| j.order == order).map(|j| j.label_mass).collect();
            (!masses.is_empty()).then(|| mean(masses.into_iter()))
        };
        let orders = [None, Some(Order::AB), Some(Order::BA)];
        let label_mass = orders.into_iter().filter_map(mass_of).fold(1.0, f64::min);
        Ok(Self { preference, probability_a, consistent, label_mass, calibration: None, judgements })
    }

    /// Takes a calibrated probability, and prefers by it alone. Whether the orders agree stays as it is.
    pub(super) fn calibrate(&mut self, probability_a: f64, digest: &str, tie_margin: f64) {
        let raw_reward = self.probability_a;
        self.calibration = Some(Box::new(Calibrated { digest: digest.to_owned(), raw_reward, log_odds: None }));
        self.probability_a = probability_a;
        self.preference = Preference::with_margin(probability_a, tie_margin);
    }

    /// An AB judgement, preferably one with the verdict's preference.
    #[must_use]
    pub fn speaker(&self) -> Option<&Judgement> {
        let mut ab = self.judgements.iter().filter(|j| j.order == Some(Order::AB));
        let first = ab.clone().next();
        ab.find(|j| j.preference() == self.preference).or(first)
    }

    /// The feedback of [`RelativeVerdict::speaker`].
    #[must_use]
    pub fn feedback(&self) -> Option<&str> {
        self.speaker()?.feedback.as_deref()
    }
}

/// Prefers the response with the higher reward, as the Prometheus papers do for ranking by absolute scores.
///
/// `pairs` has, for each criterion, the distributions of A and B, and the weight. Returns the preference and the
/// probability that A scores higher, with ties counted half and the two scores treated as independent.
///
/// # Errors
/// When there is no criterion, the two distributions of one differ in their labels, or a reward is not a finite number.
pub fn prefer_by_reward(
    reward_a: f64,
    reward_b: f64,
    pairs: &[(&Distribution, &Distribution, Weight)],
    tie_margin: f64,
) -> Result<(Preference, f64), InvalidVerdict> {
    if pairs.is_empty() {
        return Err(InvalidVerdict::Empty);
    }
    let lengths = pairs.iter().map(|(a, b, _)| (a.probabilities().len(), b.probabilities().len()));
    if let Some((expected, found)) = lengths.into_iter().find(|(a, b)| a != b) {
        return Err(InvalidVerdict::Labels { expected, found });
    }
    let margin = reward_a - reward_b;
    if !margin.is_finite() {
        return Err(InvalidVerdict::NotANumber);
    }
    let above = |a: &Distribution, b: &Distribution| scores_higher(a.probabilities(), b.probabilities());
    let total: f64 = pairs.iter().map(|(_, _, weight)| weight.get()).sum();
    let weighted = |flip: bool| -> f64 {
        pairs.iter().map(|(a, b, w)| if flip { above(b, a) } else { above(a, b) } * w.get()).sum::<f64>() / total
    };
    // Computed from both sides, so that exchanging A and B gives the exact complement.
    let probability_a = complement_exact(weighted(false), weighted(true));
    Ok((Preference::of_margin(margin, tie_margin), probability_a))
}

/// The probability that a score of `a` is above one of `b`, a tie counted half and both taken as independent. Both hold
/// the probabilities of the same scores, lowest first.
pub(super) fn scores_higher(a: &[f64], b: &[f64]) -> f64 {
    let mut below_b = 0.0;
    a.iter()
        .zip(b)
        .map(|(pa, pb)| {
            let wins = pa * (below_b + 0.5 * pb);
            below_b += pb;
            wins
        })
        .sum()
}

fn mean(values: impl ExactSizeIterator<Item = f64>) -> f64 {
    let count = values.len() as f64;
    values.sum::<f64>() / count
}

#[cfg(test)]
mod tests;
