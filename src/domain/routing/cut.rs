//! From which score on an item goes to people.

/// A budget or a threshold.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Cut {
    /// The share of the items that people can label, 0 to 1. 0 is none, 1 is all.
    Budget(f64),
    /// The score from which on an item goes to people, 0 to 1.
    Threshold(f64),
}

/// A share that is none.
#[derive(Debug, Clone, Copy, PartialEq, thiserror::Error)]
#[error("is {0}; it must be between 0 and 1")]
pub struct OutOfRange(pub f64);

impl Default for Cut {
    fn default() -> Self {
        Self::Threshold(0.5)
    }
}

impl Cut {
    /// A budget.
    ///
    /// # Errors
    /// [`OutOfRange`].
    pub fn budget(share: f64) -> Result<Self, OutOfRange> {
        checked(share).map(Self::Budget)
    }

    /// A threshold.
    ///
    /// # Errors
    /// [`OutOfRange`].
    pub fn threshold(score: f64) -> Result<Self, OutOfRange> {
        checked(score).map(Self::Threshold)
    }

    /// Whether an item of this score goes to people. `threshold` gives the score above which the share of a budget lies,
    /// and must not rise with the budget: so a larger budget takes all items of a smaller one, and more.
    #[must_use]
    pub fn takes(self, score: f64, threshold: impl Fn(f64) -> f64) -> bool {
        match self {
            Self::Budget(share) if share <= 0.0 => false,
            Self::Budget(share) if share >= 1.0 => true,
            Self::Budget(share) => score >= threshold(share),
            Self::Threshold(least) => score >= least,
        }
    }
}

fn checked(share: f64) -> Result<f64, OutOfRange> {
    if (0.0..=1.0).contains(&share) { Ok(share) } else { Err(OutOfRange(share)) }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_share_is_between_0_and_1() {
        for share in [-0.1, 1.1, f64::NAN, f64::INFINITY] {
            let [budget, threshold] = [Cut::budget(share), Cut::threshold(share)];
            let error = budget.unwrap_err().to_string();
            assert!(error.contains("between 0 and 1") && threshold.is_err(), "{error}");
        }
        for (share, taken) in [(0.0, false), (1.0, true)] {
            let cut = Cut::budget(share).unwrap();
            assert!([0.0, 0.5, 1.0].into_iter().all(|score| cut.takes(score, |budget| 1.0 - budget) == taken));
        }
    }

    proptest! {
        #[test]
        fn a_larger_budget_takes_more(small in 0.0..=1.0_f64, more in 0.0..=1.0_f64, score in 0.0..=1.0_f64) {
            let large = small + (1.0 - small) * more;
            let takes = |share: f64| Cut::budget(share).unwrap().takes(score, |budget| 1.0 - budget);
            prop_assert!(!takes(small) || takes(large));
        }
    }
}
