//! How sure the judge is of a verdict, for routing to people.

use super::{Absolute, Relative};
use crate::domain::routing::Signals;
use crate::domain::{AbsoluteVerdict, Calibrated, Judgement, Order, Weight, prefer_by_reward};

impl Absolute {
    /// Its signals; of several criteria those of the one that the judge is least sure of. `spread` is that of a jury.
    #[must_use]
    pub fn signals(&self, spread: Option<f64>) -> Option<Signals> {
        let of = |verdict: &AbsoluteVerdict| {
            Signals::of_score(verdict.distribution.probabilities(), verdict.label_mass, spread)
        };
        self.verdicts().map(of).max_by(|one, other| one.doubt(false).total_cmp(&other.doubt(false)))
    }
}

impl Absolute {
    /// Those of a pair of responses that were each graded alone, this one as A.
    pub(super) fn signals_against(&self, other: &Self, spread: Option<f64>) -> Option<Signals> {
        let weights: Vec<Weight> = match self {
            Self::Single(_) => vec![Weight::ONE],
            Self::Multi(all) => all.criteria.iter().map(|(_, weight)| *weight).collect(),
        };
        let pairs = self.verdicts().zip(other.verdicts()).zip(weights);
        let pairs: Vec<_> =
            pairs.map(|((one, other), weight)| (&one.distribution, &other.distribution, weight)).collect();
        let (_, probability_a) = prefer_by_reward(self.reward(), other.reward(), &pairs, 0.0).ok()?;
        let label_mass = self.label_mass().min(other.label_mass());
        Some(Signals::of_pair(probability_a, label_mass, None, false, spread))
    }
}

impl Relative {
    /// Its signals: the judge's own numbers, before any calibration. `spread` is that of a jury.
    #[must_use]
    pub fn signals(&self, spread: Option<f64>) -> Signals {
        if let Self::Graded { a, b, .. } = self
            && let Some(signals) = a.signals_against(b, spread)
        {
            return signals;
        }
        let probability_a =
            self.calibration().map_or(self.probability_a(), |Calibrated { raw_reward, .. }| *raw_reward);
        let [ab, ba] = [Order::AB, Order::BA].map(|order| mean(self.judgements(), order));
        let flipped = self.consistent() == Some(false);
        Signals::of_pair(probability_a, self.label_mass(), ab.zip(ba).map(|(ab, ba)| [ab, ba]), flipped, spread)
    }
}

/// The mean P(A) over the judgements of an order.
fn mean(judgements: &[Judgement], order: Order) -> Option<f64> {
    let of_order = judgements.iter().filter(|judgement| judgement.order == Some(order));
    let all: Vec<f64> = of_order.map(Judgement::probability_a).collect();
    (!all.is_empty()).then(|| all.iter().sum::<f64>() / all.len() as f64)
}
