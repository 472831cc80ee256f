//! What a verdict says of how sure the judge is.

/// How sure a judge is of a verdict: its own numbers, before any calibration. They are the same for A and B exchanged, but
/// for `lean`, which changes its sign.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Signals {
    /// The entropy of the distribution over that of an even one, 0 to 1.
    pub entropy: f64,
    /// How much of the model's probability lay on the labels, 0 to 1.
    pub label_mass: f64,
    /// The distance between the two most probable labels, 0 to 1; of a pair 2·|P(A) − ½|.
    pub margin: f64,
    /// Of a pair, 2·P(A) − 1; 0 of a score.
    pub lean: f64,
    /// Of a pair, how far P(A) differs between the two orders, 0 to 1; 0 where one was judged.
    pub order_gap: f64,
    /// Whether the two orders of a pair disagree.
    pub flipped: bool,
    /// The standard deviation of the jurors' rewards, or of their P(A); 0 without a jury.
    pub spread: f64,
}

impl Signals {
    /// Of a pair. `orders` is P(A) with A shown first and with B shown first.
    #[must_use]
    pub fn of_pair(
        probability_a: f64,
        label_mass: f64,
        orders: Option<[f64; 2]>,
        flipped: bool,
        spread: Option<f64>,
    ) -> Self {
        let lean = 2.0 * probability_a - 1.0;
        Self {
            entropy: share_of_most(&[probability_a, 1.0 - probability_a]),
            label_mass,
            margin: lean.abs(),
            lean,
            order_gap: orders.map_or(0.0, |[ab, ba]| (ab - ba).abs()),
            flipped,
            spread: spread.unwrap_or_default(),
        }
    }

    /// Of a score, from the probability of each level of its scale.
    #[must_use]
    pub fn of_score(probabilities: &[f64], label_mass: f64, spread: Option<f64>) -> Self {
        let mut sorted = probabilities.to_vec();
        sorted.sort_by(|one, other| other.total_cmp(one));
        let nth = |n: usize| sorted.get(n).copied().unwrap_or_default();
        Self {
            entropy: share_of_most(probabilities),
            label_mass,
            margin: nth(0) - nth(1),
            lean: 0.0,
            order_gap: 0.0,
            flipped: false,
            spread: spread.unwrap_or_default(),
        }
    }

    /// With A and B exchanged.
    #[must_use]
    pub fn exchanged(self) -> Self {
        Self { lean: -self.lean, ..self }
    }

    /// The score without a fitted router, 0 to 1: 1 − label mass · certainty · (1 − order gap) · (1 − 2·spread), where the
    /// certainty of a pair is 2·|P(A) − ½|, and that of a score 1 − its entropy. A spread of one half or more counts as one
    /// half, which is that of jurors who are all sure of the opposite.
    #[must_use]
    pub fn doubt(&self, pair: bool) -> f64 {
        let certainty = if pair { self.margin } else { 1.0 - self.entropy };
        let unanimous = 1.0 - (2.0 * self.spread).min(1.0);
        (1.0 - self.label_mass * certainty * (1.0 - self.order_gap) * unanimous).clamp(0.0, 1.0)
    }
}

/// The entropy of probabilities over that of as many equal ones, 0 to 1.
fn share_of_most(probabilities: &[f64]) -> f64 {
    let entropy: f64 = probabilities.iter().filter(|p| **p > 0.0).map(|p| -p * p.ln()).sum();
    (entropy / (probabilities.len().max(2) as f64).ln()).clamp(0.0, 1.0)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn doubt_is_none_where_all_is_sure_and_whole_where_nothing_is() {
        let sure = Signals::of_pair(1.0, 1.0, Some([1.0, 1.0]), false, Some(0.0));
        assert_eq!((sure.doubt(true), sure.entropy, sure.margin), (0.0, 0.0, 1.0));
        let even = Signals::of_pair(0.5, 1.0, Some([0.5, 0.5]), false, None);
        assert_eq!((even.doubt(true), even.entropy), (1.0, 1.0));
        // The order alone decides: P(A) is one half over both.
        assert_eq!(Signals::of_pair(0.5, 1.0, Some([0.9, 0.1]), true, None).doubt(true), 1.0);
        assert_eq!(Signals::of_score(&[0.0, 1.0, 0.0], 1.0, None).doubt(false), 0.0);
        assert_eq!(Signals::of_score(&[0.25; 4], 1.0, None).doubt(false), 1.0);
        // A forced guess is no certainty.
        assert!((Signals::of_score(&[0.0, 1.0], 0.2, None).doubt(false) - 0.8).abs() < 1e-12);
    }

    proptest! {
        #[test]
        fn doubt_is_a_share_and_the_same_for_an_exchanged_pair(
            ab in 0.0..=1.0_f64, ba in 0.0..=1.0_f64, mass in 0.0..=1.0_f64, spread in prop::option::of(0.0..=0.8_f64),
        ) {
            let pair = Signals::of_pair(f64::midpoint(ab, ba), mass, Some([ab, ba]), (ab > 0.5) != (ba > 0.5), spread);
            let [a, b] = [1.0 - ba, 1.0 - ab];
            let other = Signals::of_pair(f64::midpoint(a, b), mass, Some([a, b]), (a > 0.5) != (b > 0.5), spread);
            prop_assert!((0.0..=1.0).contains(&pair.doubt(true)));
            prop_assert!((pair.doubt(true) - other.doubt(true)).abs() < 1e-9);
            prop_assert!((pair.lean + other.lean).abs() < 1e-9);
            // Less label mass, more doubt.
            let less = Signals { label_mass: mass / 2.0, ..pair };
            prop_assert!(less.doubt(true) >= pair.doubt(true));
        }

        #[test]
        fn doubt_about_a_score_is_a_share(weights in prop::collection::vec(0.0..1.0_f64, 2..11), mass in 0.0..=1.0_f64) {
            let sum: f64 = weights.iter().sum::<f64>().max(1e-9);
            let probabilities: Vec<f64> = weights.iter().map(|weight| weight / sum).collect();
            let signals = Signals::of_score(&probabilities, mass, None);
            prop_assert!((0.0..=1.0).contains(&signals.doubt(false)), "{signals:?}");
            prop_assert!((0.0..=1.0).contains(&signals.entropy) && (0.0..=1.0).contains(&signals.margin));
        }
    }
}
