//! The parameters of a map, and what it makes of a verdict.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::features::{AbsoluteFeature, PairFeature, RawAbsolute, RawPair, graded_alone};
use super::numeric::sigmoid;
use super::ordinal::Odds;
use super::{isotonic, temperature};
use crate::domain::judgement::Kind;
use crate::domain::verdict::complement_exact;

/// A fitted map.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "method", rename_all = "snake_case", deny_unknown_fields)]
pub enum Parameters {
    /// The logarithms of the probabilities are divided by the temperature.
    Temperature {
        /// Above 1 it flattens, below 1 it sharpens.
        temperature: f64,
    },
    /// A line through knots, level outside of them, from the reward or from `probability_a`.
    Isotonic {
        /// [what the judge says, what people say], both 0..1.
        knots: Vec<[f64; 2]>,
    },
    /// Proportional odds on the reward: `P(label above k) = sigmoid(slope * reward - thresholds[k])`.
    Ordinal {
        /// How much the odds rise with the reward.
        slope: f64,
        /// One less than the scale has levels, rising.
        thresholds: Vec<f64>,
    },
    /// Bradley-Terry on the features of a pair: probability_a = sigmoid(sum of weight * feature).
    BradleyTerry {
        /// The ridge that it was fitted with.
        ridge: f64,
        /// The weight of each feature.
        weights: BTreeMap<PairFeature, f64>,
    },
    /// Ridge regression on the features of one response: reward = intercept + sum of weight * feature, within 0..1.
    RidgeRegression {
        /// The ridge that it was fitted with.
        ridge: f64,
        /// What all features at zero come to.
        intercept: f64,
        /// The weight of each feature.
        weights: BTreeMap<AbsoluteFeature, f64>,
    },
    /// A reward model, fitted to pairs of responses that were each graded alone (Bradley-Terry):
    /// log-odds = intercept + sum of weight * feature. The reward is their sigmoid, and the probability that A is better
    /// that of their difference.
    RewardModel {
        /// The ridge that it was fitted with.
        ridge: f64,
        /// What makes the mean over the responses that it was fitted to zero.
        intercept: f64,
        /// The weight of each feature.
        weights: BTreeMap<AbsoluteFeature, f64>,
    },
}

impl Parameters {
    /// The name of the method, as files have it.
    #[must_use]
    pub fn method(&self) -> &'static str {
        match self {
            Self::Temperature { .. } => "temperature",
            Self::Isotonic { .. } => "isotonic",
            Self::Ordinal { .. } => "ordinal",
            Self::BradleyTerry { .. } => "bradley_terry",
            Self::RidgeRegression { .. } => "ridge_regression",
            Self::RewardModel { .. } => "reward_model",
        }
    }

    /// Whether it maps scalars beside the judge's own number, as fits do.
    #[must_use]
    pub fn is_fit(&self) -> bool {
        matches!(self, Self::BradleyTerry { .. } | Self::RidgeRegression { .. } | Self::RewardModel { .. })
    }

    /// Whether it maps verdicts of that kind.
    #[must_use]
    pub fn maps(&self, kind: Kind) -> bool {
        match self {
            Self::Temperature { .. } | Self::Isotonic { .. } => true,
            Self::Ordinal { .. } | Self::RidgeRegression { .. } | Self::RewardModel { .. } => kind == Kind::Absolute,
            Self::BradleyTerry { .. } => kind == Kind::Relative,
        }
    }

    /// Whether it maps verdicts on a scale of so many levels.
    #[must_use]
    pub fn maps_levels(&self, levels: usize) -> bool {
        match self {
            Self::Ordinal { thresholds, .. } => thresholds.len() + 1 == levels,
            _ => true,
        }
    }

    /// What is wrong with it, if anything is.
    pub(super) fn fault(&self) -> Option<&'static str> {
        let finite = |numbers: &[f64]| numbers.iter().all(|number| number.is_finite());
        match self {
            Self::Temperature { temperature } if !temperature::is_valid(*temperature) => {
                Some("temperature must be between 0.01 and 100")
            }
            Self::Isotonic { knots } if !isotonic::is_valid(knots) => {
                Some("knots must rise in their first number, never fall in the second, and be between 0 and 1")
            }
            Self::Ordinal { slope, thresholds } => {
                let rise = thresholds.windows(2).all(|pair| pair[0] < pair[1]);
                let good = (1..=10).contains(&thresholds.len()) && rise && finite(thresholds);
                (!good || !slope.is_finite()).then_some("thresholds must be 1 to 10 numbers that rise")
            }
            Self::BradleyTerry { weights, ridge } => {
                let good =
                    !weights.is_empty() && ridge.is_finite() && finite(&weights.values().copied().collect::<Vec<_>>());
                (!good).then_some("weights must be numbers, one at least")
            }
            Self::RidgeRegression { weights, intercept, ridge } | Self::RewardModel { weights, intercept, ridge } => {
                let good = !weights.is_empty() && ridge.is_finite() && intercept.is_finite();
                let good = good && finite(&weights.values().copied().collect::<Vec<_>>());
                (!good).then_some("intercept and weights must be numbers, one weight at least")
            }
            Self::Temperature { .. } | Self::Isotonic { .. } => None,
        }
    }

    /// The calibrated reward, 0..1; the judge's own where the map is not for verdicts of this kind.
    #[must_use]
    pub fn reward(&self, raw: &RawAbsolute) -> f64 {
        let reward = match self {
            Self::Temperature { temperature } => {
                let most = (raw.probabilities.len().max(2) - 1) as f64;
                let tempered = temperature::tempered(&raw.probabilities, *temperature);
                tempered.iter().zip(0_u32..).map(|(p, level)| p * f64::from(level)).sum::<f64>() / most
            }
            Self::Isotonic { knots } => isotonic::at(knots, raw.reward),
            Self::Ordinal { slope, thresholds } => {
                Odds { slope: *slope, thresholds: thresholds.clone() }.at(raw.reward)
            }
            Self::RidgeRegression { intercept, weights, .. } => intercept + weighted(weights, raw),
            Self::RewardModel { intercept, weights, .. } => sigmoid(intercept + weighted(weights, raw)),
            Self::BradleyTerry { .. } => raw.reward,
        };
        reward.clamp(0.0, 1.0)
    }

    /// The calibrated probability that A is better; of the exchanged pair exactly the complement. The judge's own where
    /// the map is not for pairs.
    #[must_use]
    pub fn probability_a(&self, raw: &RawPair) -> f64 {
        match self {
            Self::Temperature { temperature } => temperature::tempered_pair(raw.probability_a, *temperature),
            Self::Isotonic { knots } => isotonic::at_pair(knots, raw.probability_a),
            Self::BradleyTerry { weights, .. } => {
                let z: f64 = weights.iter().map(|(feature, weight)| weight * feature.of(raw)).sum();
                complement_exact(sigmoid(z), sigmoid(-z))
            }
            Self::Ordinal { .. } | Self::RidgeRegression { .. } | Self::RewardModel { .. } => raw.probability_a,
        }
    }

    /// What the reward of a reward model is the sigmoid of.
    #[must_use]
    pub fn log_odds(&self, raw: &RawAbsolute) -> Option<f64> {
        match self {
            Self::RewardModel { intercept, weights, .. } => Some(intercept + weighted(weights, raw)),
            _ => None,
        }
    }

    /// The probability that A is better, of responses that were each graded alone; the judge's own without a reward
    /// model. Exchanged, they give exactly the complement.
    #[must_use]
    pub fn preferred_alone(&self, grades: &[RawAbsolute; 2]) -> f64 {
        match [self.log_odds(&grades[0]), self.log_odds(&grades[1])] {
            [Some(a), Some(b)] => preferred(a, b),
            _ => graded_alone(grades),
        }
    }
}

/// The probability that A is better, from the log-odds of both: their difference is that of the pair (Bradley and Terry
/// 1952). Exchanged, they give exactly the complement.
#[must_use]
pub fn preferred(log_odds_a: f64, log_odds_b: f64) -> f64 {
    let z = log_odds_a - log_odds_b;
    complement_exact(sigmoid(z), sigmoid(-z))
}

fn weighted(weights: &BTreeMap<AbsoluteFeature, f64>, raw: &RawAbsolute) -> f64 {
    weights.iter().map(|(feature, weight)| weight * feature.of(raw)).sum()
}
