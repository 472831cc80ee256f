//! Verdicts: many judgements combined into the one answer that a caller gets.

use serde::{Deserialize, Serialize};

use super::distribution::Distribution;
use super::judgement::{Judgement, Order};
use super::scale::{Scale, Score};

/// The combined answer of absolute grading against one rubric.
#[derive(Debug, Clone, PartialEq)]
pub struct AbsoluteVerdict {
    /// The scale of the rubric.
    pub scale: Scale,
    /// The majority label of the samples, ties broken by the higher mean probability.
    pub score: Score,
    /// The mean of the scale under `distribution`.
    pub expected_score: f64,
    /// The expected score on 0..1.
    pub reward: f64,
    /// The mean distribution of the samples.
    pub distribution: Distribution,
    /// The mean label mass of the samples.
    pub label_mass: f64,
    /// The share of samples whose score is `score`.
    pub agreement: f64,
    /// What was combined, in order of sample.
    pub judgements: Vec<Judgement>,
}

/// Several criteria, each with its own verdict and weight.
#[derive(Debug, Clone, PartialEq)]
pub struct CriteriaVerdict {
    /// A verdict a criterion, with its weight.
    pub criteria: Vec<(AbsoluteVerdict, f64)>,
    /// The weighted mean of their rewards.
    pub reward: f64,
}

/// Which response is better, in the caller's terms.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Preference {
    /// The caller's A.
    A,
    /// The caller's B.
    B,
    /// Neither.
    #[serde(rename = "tie")]
    Tie,
}

/// The combined answer of pairwise relative grading.
#[derive(Debug, Clone, PartialEq)]
pub struct RelativeVerdict {
    /// Which response is better.
    pub preference: Preference,
    /// The mean over orders and samples of the probability that A is better.
    pub probability_a: f64,
    /// Whether both orders agree; `None` where only one was asked.
    pub consistent: Option<bool>,
    /// The mean label mass of the judgements.
    pub label_mass: f64,
    /// What was combined: the AB order's samples, then the BA order's.
    pub judgements: Vec<Judgement>,
}

impl AbsoluteVerdict {
    /// Combines the samples of one grading.
    ///
    /// # Panics
    /// When there are none, or when their labels are not the scale's.
    #[must_use]
    pub fn combine(scale: Scale, judgements: Vec<Judgement>) -> Self {
        let distribution = Distribution::mean(judgements.iter().map(|j| &j.distribution));
        let mut votes = vec![0_u32; distribution.probabilities().len()];
        for judgement in &judgements {
            votes[judgement.distribution.argmax()] += 1;
        }
        let winner = (1..votes.len()).fold(0, |best, i| {
            let key = |i: usize| (votes[i], distribution.probabilities()[i]);
            if key(i) > key(best) { i } else { best }
        });
        let expected_score = distribution.expectation(scale.scores().map(|s| f64::from(s.value())));
        Self {
            scale,
            score: scale.score(winner),
            expected_score,
            reward: scale.fraction(expected_score),
            label_mass: mean(judgements.iter().map(|j| j.label_mass)),
            agreement: f64::from(votes[winner]) / judgements.len() as f64,
            distribution,
            judgements,
        }
    }

    /// The feedback of the first sample that voted for the score.
    #[must_use]
    pub fn feedback(&self) -> Option<&str> {
        let agrees = |j: &&Judgement| self.scale.score(j.distribution.argmax()) == self.score;
        self.judgements.iter().find(agrees).or(self.judgements.first())?.feedback.as_deref()
    }
}

impl CriteriaVerdict {
    /// Combines one verdict a criterion with positive weights.
    #[must_use]
    pub fn combine(criteria: Vec<(AbsoluteVerdict, f64)>) -> Self {
        let total: f64 = criteria.iter().map(|(_, weight)| weight).sum();
        let reward = criteria.iter().map(|(verdict, weight)| verdict.reward * weight).sum::<f64>() / total;
        Self { criteria, reward }
    }
}

/// Probabilities of a pair live on a grid of 2⁻⁴⁰, where sums and complements are exact, so that exchanging
/// A and B gives exactly `1 - probability_a`.
const GRID: f64 = (1_u64 << 40) as f64;

fn on_grid(p: f64) -> f64 {
    (p * GRID).round_ties_even() / GRID
}

impl Judgement {
    /// The probability that the caller's A is better, for a judgement over the two labels as shown.
    #[must_use]
    pub fn probability_a(&self) -> f64 {
        let first = on_grid(self.distribution.probabilities()[0]);
        if self.order == Some(Order::BA) { 1.0 - first } else { first }
    }

    /// The preferred response in the caller's terms.
    #[must_use]
    pub fn preference(&self) -> Preference {
        Preference::of(self.probability_a())
    }
}

impl Preference {
    fn of(probability_a: f64) -> Self {
        match probability_a.partial_cmp(&0.5) {
            Some(std::cmp::Ordering::Greater) => Self::A,
            Some(std::cmp::Ordering::Less) => Self::B,
            _ => Self::Tie,
        }
    }
}

impl RelativeVerdict {
    /// Combines the judgements of one order or of both.
    ///
    /// # Panics
    /// When there are none.
    #[must_use]
    pub fn combine(judgements: Vec<Judgement>, tie_margin: f64) -> Self {
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
        let probability_a =
            on_grid(judgements.iter().map(Judgement::probability_a).sum::<f64>() / judgements.len() as f64);
        let (voted, consistent) = match (vote(Order::AB), vote(Order::BA)) {
            (Some(ab), Some(ba)) if ab == ba => (ab, Some(true)),
            (Some(_), Some(_)) => (Preference::Tie, Some(false)),
            (one, other) => (one.or(other).unwrap_or(Preference::Tie), None),
        };
        let preference = if (probability_a - 0.5).abs() < tie_margin { Preference::Tie } else { voted };
        let label_mass = mean(judgements.iter().map(|j| j.label_mass));
        Self { preference, probability_a, consistent, label_mass, judgements }
    }

    /// The feedback of an AB judgement, one that shares the verdict's preference where there is one.
    #[must_use]
    pub fn feedback(&self) -> Option<&str> {
        let mut ab = self.judgements.iter().filter(|j| j.order == Some(Order::AB));
        let first = ab.clone().next();
        ab.find(|j| j.preference() == self.preference).or(first)?.feedback.as_deref()
    }
}

/// Prefers the response with the higher reward, as the Prometheus papers do for ranking by absolute scores.
///
/// `pairs` holds, for each criterion, A's distribution, B's, and the weight. Gives the preference and the
/// probability that A scores higher, ties counted half, with the two scores taken as independent.
#[must_use]
pub fn prefer_by_reward(
    reward_a: f64,
    reward_b: f64,
    pairs: &[(&Distribution, &Distribution, f64)],
    tie_margin: f64,
) -> (Preference, f64) {
    let above = |a: &Distribution, b: &Distribution| -> f64 {
        let mut below_b = 0.0;
        a.probabilities()
            .iter()
            .zip(b.probabilities())
            .map(|(pa, pb)| {
                let wins = pa * (below_b + 0.5 * pb);
                below_b += pb;
                wins
            })
            .sum()
    };
    let total: f64 = pairs.iter().map(|(_, _, weight)| weight).sum();
    let weighted = |flip: bool| -> f64 {
        pairs.iter().map(|(a, b, w)| if flip { above(b, a) * w } else { above(a, b) * w }).sum::<f64>() / total
    };
    // Taken from both sides, so that exchanging A and B gives the exact complement.
    let probability_a = 0.5 + on_grid((weighted(false) - weighted(true)) / 2.0);
    let margin = reward_a - reward_b;
    let preference = if margin == 0.0 || margin.abs() < tie_margin {
        Preference::Tie
    } else if margin > 0.0 {
        Preference::A
    } else {
        Preference::B
    };
    (preference, probability_a)
}

fn mean(values: impl ExactSizeIterator<Item = f64>) -> f64 {
    let count = values.len() as f64;
    values.sum::<f64>() / count
}

#[cfg(test)]
mod tests;
