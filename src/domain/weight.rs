//! Weights of criteria.

use serde::{Deserialize, Serialize};

/// A weight between [`Weight::LEAST`] and [`Weight::MOST`].
///
/// The bounds keep sums and products of weights far from floating-point overflow and loss of precision.
#[derive(Debug, Clone, Copy, PartialEq, PartialOrd, Serialize, Deserialize)]
#[serde(try_from = "f64", into = "f64")]
pub struct Weight(f64);

/// A number that is not a valid weight.
#[derive(Debug, Clone, Copy, PartialEq, thiserror::Error)]
#[error("is {0}; must be between {least} and {most}", least = Weight::LEAST, most = Weight::MOST)]
pub struct InvalidWeight(pub f64);

impl Weight {
    /// The minimum weight.
    pub const LEAST: f64 = 1e-6;
    /// The maximum weight.
    pub const MOST: f64 = 1e6;
    /// The default weight.
    pub const ONE: Self = Self(1.0);

    /// Checks a weight.
    ///
    /// # Errors
    /// If it is NaN or out of bounds.
    pub fn new(weight: f64) -> Result<Self, InvalidWeight> {
        if (Self::LEAST..=Self::MOST).contains(&weight) { Ok(Self(weight)) } else { Err(InvalidWeight(weight)) }
    }

    /// The weight as a number, [`Self::LEAST`] to [`Self::MOST`].
    #[must_use]
    pub fn get(self) -> f64 {
        self.0
    }
}

impl TryFrom<f64> for Weight {
    type Error = InvalidWeight;

    fn try_from(weight: f64) -> Result<Self, InvalidWeight> {
        Self::new(weight)
    }
}

impl From<Weight> for f64 {
    fn from(weight: Weight) -> Self {
        weight.get()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_overflows_or_vanishes_is_no_weight() {
        for good in [1e-6, 0.5, 1.0, 1e6] {
            assert_eq!(Weight::new(good).map(Weight::get), Ok(good));
        }
        for bad in [0.0, -0.0, -1.0, 5e-324, 1e308, f64::MAX, f64::INFINITY, f64::NEG_INFINITY] {
            assert_eq!(Weight::new(bad), Err(InvalidWeight(bad)));
        }
        assert!(Weight::new(f64::NAN).is_err());
    }
}
