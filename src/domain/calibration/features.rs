//! What a judge has computed of a verdict, and the scalars that a fit is made on.

use serde::{Deserialize, Serialize};

use super::numeric::logit;
use crate::domain::verdict::{complement_exact, on_grid, scores_higher};

/// What the judge says of one response, before any calibration.
#[derive(Debug, Clone, PartialEq)]
pub struct RawAbsolute {
    /// The probability of each score, lowest first.
    pub probabilities: Vec<f64>,
    /// The expected score on 0..1.
    pub reward: f64,
    /// How much of the model's probability lay on the scores, 0..1.
    pub label_mass: f64,
    /// Characters of the response.
    pub characters: usize,
}

/// What the judge says of a pair, before any calibration.
#[derive(Debug, Clone, PartialEq)]
pub struct RawPair {
    /// The probability that A is better, over both orders.
    pub probability_a: f64,
    /// What it says when it is shown A first, and when it is shown B first.
    pub orders: [RawOrder; 2],
    /// Characters of A and of B.
    pub characters: [usize; 2],
}

/// What the judge says of a pair in one order.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct RawOrder {
    /// The probability that the caller's A is better.
    pub probability_a: f64,
    /// How much of the model's probability lay on the labels, 0..1.
    pub label_mass: f64,
}

/// The probability that A is better, of responses that were graded alone: that A scores higher, a tie counted half.
/// Exchanged, they give exactly the complement.
#[must_use]
pub fn graded_alone([a, b]: &[RawAbsolute; 2]) -> f64 {
    let above = |a: &RawAbsolute, b: &RawAbsolute| scores_higher(&a.probabilities, &b.probabilities);
    complement_exact(above(a, b), above(b, a))
}

impl RawOrder {
    /// The mean of what samples say, as `probability_a` and label mass; `None` of none.
    #[must_use]
    pub fn mean(samples: &[(f64, f64)]) -> Option<Self> {
        let count = samples.len() as f64;
        let (probability_a, label_mass) =
            samples.iter().fold((0.0, 0.0), |(p, mass), (sample_p, sample_mass)| (p + sample_p, mass + sample_mass));
        (!samples.is_empty())
            .then(|| Self { probability_a: on_grid(probability_a / count), label_mass: label_mass / count })
    }
}

impl RawPair {
    /// What both orders say, A shown first and B shown first.
    #[must_use]
    pub fn new(orders: [RawOrder; 2], characters: [usize; 2]) -> Self {
        let probability_a = on_grid(f64::midpoint(orders[0].probability_a, orders[1].probability_a));
        Self { probability_a, orders, characters }
    }

    /// The same pair with A and B exchanged.
    #[must_use]
    pub fn exchanged(&self) -> Self {
        let [ab, ba] = self.orders;
        let turned = |order: RawOrder| RawOrder { probability_a: 1.0 - order.probability_a, ..order };
        let [a, b] = self.characters;
        Self { probability_a: 1.0 - self.probability_a, orders: [turned(ba), turned(ab)], characters: [b, a] }
    }
}

/// A scalar of one response.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AbsoluteFeature {
    /// The reward.
    Reward,
    /// The probability of the most probable score.
    Certainty,
    /// The label mass.
    LabelMass,
    /// The logarithm of one more than the characters of the response.
    LogLength,
}

/// A scalar of a pair: each changes its sign, and nothing else, when A and B are exchanged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PairFeature {
    /// The mean over both orders of the logit of `probability_a`.
    Logit,
    /// The same times the label mass of both orders together: how much the judge meant it.
    LogitByMass,
    /// The label mass with A shown first, less that with B shown first.
    LabelMass,
    /// The logarithm of one more than the characters, of A less of B.
    LogLength,
}

impl AbsoluteFeature {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Reward, Self::Certainty, Self::LabelMass, Self::LogLength];

    pub(super) fn of(self, raw: &RawAbsolute) -> f64 {
        match self {
            Self::Reward => raw.reward,
            Self::Certainty => raw.probabilities.iter().copied().fold(0.0, f64::max),
            Self::LabelMass => raw.label_mass,
            Self::LogLength => log_length(raw.characters),
        }
    }
}

impl PairFeature {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Logit, Self::LogitByMass, Self::LabelMass, Self::LogLength];

    pub(super) fn of(self, raw: &RawPair) -> f64 {
        let [ab, ba] = raw.orders;
        let logits = f64::midpoint(logit(ab.probability_a), logit(ba.probability_a));
        match self {
            Self::Logit => logits,
            Self::LogitByMass => logits * f64::midpoint(ab.label_mass, ba.label_mass),
            Self::LabelMass => ab.label_mass - ba.label_mass,
            Self::LogLength => log_length(raw.characters[0]) - log_length(raw.characters[1]),
        }
    }
}

fn log_length(characters: usize) -> f64 {
    (characters as f64).ln_1p()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_exchanged_pair_turns_the_sign_of_each_feature() {
        let order = |probability_a, label_mass| RawOrder { probability_a, label_mass };
        let raw = RawPair { probability_a: 0.625, orders: [order(0.75, 0.9), order(0.5, 0.6)], characters: [120, 40] };
        for feature in PairFeature::ALL {
            assert_eq!(feature.of(&raw.exchanged()), -feature.of(&raw), "{feature:?}");
        }
        assert_eq!(raw.exchanged().exchanged(), raw);
    }
}
