//! Probability distributions over the labels of a choice.

/// A probability distribution over labels: not empty, no entry negative, the sum is one.
#[derive(Debug, Clone, PartialEq)]
pub struct Distribution(Vec<f64>);

/// Why a distribution cannot be computed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum InvalidDistribution {
    /// No labels, or the mean of no distributions.
    #[error("a distribution needs at least one label, and a mean at least one distribution")]
    Empty,
    /// A mass is NaN or infinite.
    #[error("a probability is not a number")]
    NotANumber,
    /// Two distributions are over different labels.
    #[error("the distributions are over {0} and {1} labels")]
    Labels(usize, usize),
}

impl Distribution {
    /// Normalises disjoint masses, given as natural logarithms; also returns their sum, `label_mass` (0..1).
    ///
    /// Logarithms keep the shape of a distribution whose masses are too small for a float. If no label has any mass,
    /// the distribution is uniform and `label_mass` is zero.
    ///
    /// # Errors
    /// When there are no labels, or a mass is NaN or infinite.
    pub fn from_log_masses(log_masses: &[f64]) -> Result<(Self, f64), InvalidDistribution> {
        if log_masses.is_empty() {
            return Err(InvalidDistribution::Empty);
        }
        if log_masses.iter().any(|mass| mass.is_nan() || *mass == f64::INFINITY) {
            return Err(InvalidDistribution::NotANumber);
        }
        let highest = log_masses.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        if !highest.is_finite() {
            return Ok((Self(vec![1.0 / log_masses.len() as f64; log_masses.len()]), 0.0));
        }
        let scaled: Vec<f64> = log_masses.iter().map(|m| (m - highest).exp()).collect();
        let sum: f64 = scaled.iter().sum();
        let label_mass = (highest + sum.ln()).exp().min(1.0);
        Ok((Self(scaled.into_iter().map(|p| p / sum).collect()), label_mass))
    }

    /// The mean of several distributions over the same labels.
    ///
    /// # Errors
    /// When there are none, or when they differ in length.
    pub fn mean<'a>(distributions: impl IntoIterator<Item = &'a Self>) -> Result<Self, InvalidDistribution> {
        let mut distributions = distributions.into_iter();
        let mut sum = distributions.next().ok_or(InvalidDistribution::Empty)?.0.clone();
        let mut count = 1.0;
        for distribution in distributions {
            if distribution.0.len() != sum.len() {
                return Err(InvalidDistribution::Labels(sum.len(), distribution.0.len()));
            }
            sum.iter_mut().zip(&distribution.0).for_each(|(total, p)| *total += p);
            count += 1.0;
        }
        sum.iter_mut().for_each(|p| *p /= count);
        Ok(Self(sum))
    }

    /// The mean of several distributions over the same labels, with weights above 0.
    ///
    /// # Errors
    /// When there are none, or when they differ in length.
    pub fn weighted_mean<'a>(
        distributions: impl IntoIterator<Item = (&'a Self, f64)>,
    ) -> Result<Self, InvalidDistribution> {
        let (mut sum, mut total) = (Vec::new(), 0.0);
        for (Self(probabilities), weight) in distributions {
            if sum.is_empty() {
                sum = vec![0.0; probabilities.len()];
            } else if sum.len() != probabilities.len() {
                return Err(InvalidDistribution::Labels(sum.len(), probabilities.len()));
            }
            sum.iter_mut().zip(probabilities).for_each(|(sum, p)| *sum += p * weight);
            total += weight;
        }
        if sum.is_empty() {
            return Err(InvalidDistribution::Empty);
        }
        sum.iter_mut().for_each(|p| *p /= total);
        Ok(Self(sum))
    }

    /// The same with the labels in reverse order.
    #[must_use]
    pub fn reversed(&self) -> Self {
        Self(self.0.iter().rev().copied().collect())
    }

    /// The probability of each label, in order.
    #[must_use]
    pub fn probabilities(&self) -> &[f64] {
        &self.0
    }

    /// The most probable label; of equal ones, the first.
    #[must_use]
    pub fn argmax(&self) -> usize {
        (1..self.0.len()).fold(0, |best, i| if self.0[i] > self.0[best] { i } else { best })
    }

    /// The mean of `values` under the distribution.
    #[must_use]
    pub fn expectation(&self, values: impl IntoIterator<Item = f64>) -> f64 {
        self.0.iter().zip(values).map(|(p, value)| p * value).sum()
    }

    /// Shannon entropy in nats: 0 for a certain label, ln(n) for a uniform one.
    #[must_use]
    pub fn entropy(&self) -> f64 {
        // Subtracted from zero, so that a certain label has 0 and not -0.
        0.0 - self.0.iter().filter(|p| **p > 0.0).map(|p| p * p.ln()).sum::<f64>()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn masses_too_small_for_a_float_keep_their_shape() {
        let (distribution, label_mass) = Distribution::from_log_masses(&[-2000.0, -2000.0 + 3f64.ln()]).unwrap();
        assert!((distribution.probabilities()[1] - 0.75).abs() < 1e-12);
        assert_eq!(label_mass, 0.0);
    }

    #[test]
    fn no_mass_at_all_is_uniform_and_says_so() {
        let (distribution, label_mass) = Distribution::from_log_masses(&[f64::NEG_INFINITY; 4]).unwrap();
        assert_eq!((distribution.probabilities()[2], label_mass), (0.25, 0.0));
    }

    #[test]
    fn what_is_no_distribution_is_an_error() {
        assert_eq!(Distribution::from_log_masses(&[]), Err(InvalidDistribution::Empty));
        for bad in [f64::NAN, f64::INFINITY] {
            assert_eq!(Distribution::from_log_masses(&[-1.0, bad]), Err(InvalidDistribution::NotANumber));
        }
        assert_eq!(Distribution::mean([]), Err(InvalidDistribution::Empty));
        let [two, three] = [2, 3].map(|labels| Distribution::from_log_masses(&vec![-1.0; labels]).unwrap().0);
        assert_eq!(Distribution::mean([&two, &three]), Err(InvalidDistribution::Labels(2, 3)));
    }

    proptest! {
        #[test]
        fn always_sums_to_one(masses in prop::collection::vec(-60.0..0.0f64, 1..12)) {
            let (distribution, label_mass) = Distribution::from_log_masses(&masses).unwrap();
            prop_assert!((distribution.probabilities().iter().sum::<f64>() - 1.0).abs() < 1e-9);
            prop_assert!((0.0..=1.0).contains(&label_mass));
            prop_assert!(distribution.entropy() <= (masses.len() as f64).ln() + 1e-9);
            let mean = Distribution::mean([&distribution, &distribution]).unwrap();
            prop_assert_eq!(mean.argmax(), distribution.argmax());
        }
    }
}
