//! The scalars that a router is fitted to.

use std::collections::HashSet;

use serde::{Deserialize, Serialize};

use super::signals::Signals;
use crate::domain::judgement::Kind;
use crate::domain::text_metrics::words;

/// Lengths of an item's texts, and how many words they share.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Texts {
    /// Characters of the instruction.
    instruction: usize,
    /// Characters of A and B; of a single response, twice its own.
    responses: [usize; 2],
    /// The share of the words that are in both responses of a pair, or in both the instruction and the response (Jaccard
    /// index over the words in lower case), 0 to 1.
    overlap: f64,
}

impl Texts {
    /// Of a response.
    #[must_use]
    pub fn of_response(instruction: &str, response: &str) -> Self {
        let length = response.chars().count();
        let overlap = overlap(instruction, response);
        Self { instruction: instruction.chars().count(), responses: [length; 2], overlap }
    }

    /// Of a pair.
    #[must_use]
    pub fn of_pair(instruction: &str, [a, b]: [&str; 2]) -> Self {
        let responses = [a, b].map(|text| text.chars().count());
        Self { instruction: instruction.chars().count(), responses, overlap: overlap(a, b) }
    }
}

fn overlap(one: &str, other: &str) -> f64 {
    let [one, other] = [one, other].map(|text| words(text).into_iter().collect::<HashSet<_>>());
    let both = one.intersection(&other).count();
    let all = one.len() + other.len() - both;
    if all == 0 { 1.0 } else { both as f64 / all as f64 }
}

/// What a router sees of an item and its verdict.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Observed {
    /// What the verdict says of itself.
    pub signals: Signals,
    /// What the texts are like.
    pub texts: Texts,
}

/// A scalar. Each is the same for A and B exchanged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RouteFeature {
    /// [`Signals::entropy`].
    Entropy,
    /// [`Signals::label_mass`].
    LabelMass,
    /// [`Signals::margin`].
    Margin,
    /// [`Signals::order_gap`].
    OrderGap,
    /// 1 if the two orders disagree, else 0.
    Flipped,
    /// [`Signals::spread`].
    Spread,
    /// ln(1 + characters) of the instruction.
    InstructionLength,
    /// ln(1 + characters) of the response; of a pair the mean of both.
    Length,
    /// How far that differs between A and B.
    LengthDifference,
    /// The same, below 0 if the judge prefers the shorter response.
    LongerPreferred,
    /// How many words the texts share.
    Overlap,
}

impl RouteFeature {
    /// Those of a kind of verdict.
    #[must_use]
    pub fn all(kind: Kind) -> &'static [Self] {
        match kind {
            Kind::Absolute => &[
                Self::Entropy,
                Self::LabelMass,
                Self::Margin,
                Self::Spread,
                Self::InstructionLength,
                Self::Length,
                Self::Overlap,
            ],
            Kind::Relative => &[
                Self::Entropy,
                Self::LabelMass,
                Self::Margin,
                Self::OrderGap,
                Self::Flipped,
                Self::Spread,
                Self::InstructionLength,
                Self::Length,
                Self::LengthDifference,
                Self::LongerPreferred,
                Self::Overlap,
            ],
        }
    }

    /// Its value.
    #[must_use]
    pub fn of(self, Observed { signals, texts }: &Observed) -> f64 {
        let [a, b] = texts.responses.map(log_length);
        match self {
            Self::Entropy => signals.entropy,
            Self::LabelMass => signals.label_mass,
            Self::Margin => signals.margin,
            Self::OrderGap => signals.order_gap,
            Self::Flipped => f64::from(u8::from(signals.flipped)),
            Self::Spread => signals.spread,
            Self::InstructionLength => log_length(texts.instruction),
            Self::Length => f64::midpoint(a, b),
            Self::LengthDifference => (a - b).abs(),
            Self::LongerPreferred if signals.lean == 0.0 => 0.0,
            Self::LongerPreferred => (a - b) * signals.lean.signum(),
            Self::Overlap => texts.overlap,
        }
    }
}

fn log_length(characters: usize) -> f64 {
    (characters as f64).ln_1p()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn words_are_compared_in_lower_case() {
        assert_eq!(overlap("The sky is blue.", "the SKY, blue?"), 0.75);
        assert_eq!((overlap("a", "b"), overlap("", "")), (0.0, 1.0));
    }

    proptest! {
        #[test]
        fn features_are_finite_and_the_same_for_an_exchanged_pair(
            a in "\\PC{0,60}", b in "\\PC{0,60}", ab in 0.0..=1.0_f64, ba in 0.0..=1.0_f64, mass in 0.0..=1.0_f64,
        ) {
            let observed = |[a, b]: [&str; 2], [ab, ba]: [f64; 2]| Observed {
                signals: Signals::of_pair(f64::midpoint(ab, ba), mass, Some([ab, ba]), false, None),
                texts: Texts::of_pair("Why?", [a, b]),
            };
            let (one, other) = (observed([&a, &b], [ab, ba]), observed([&b, &a], [1.0 - ba, 1.0 - ab]));
            // A lean of almost nothing may be rounded to either side.
            prop_assume!(one.signals.lean.abs() > 1e-9);
            for feature in RouteFeature::all(Kind::Relative) {
                let [x, y] = [feature.of(&one), feature.of(&other)];
                prop_assert!(x.is_finite() && (x - y).abs() < 1e-9, "{feature:?}: {x} and {y}");
            }
        }
    }
}
