//! Proportional odds: P(label <= k) = sigmoid(thresholds[k] - slope * x).
//!
//! McCullagh 1980, "Regression models for ordinal data". x is the judge's reward; what comes of it is the expected label
//! on 0..1. Two things keep it finite on few or separable data: a small ridge on the slope, and half a label of each
//! level at the mean of x.

use super::numeric::{Local, minimise, sigmoid};

/// The ridge on the slope.
pub(super) const RIDGE: f64 = 1e-2;
/// Labels of each level that are added at the mean of x.
pub(super) const PRIOR: f64 = 0.5;

/// The slope and the thresholds, rising.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Odds {
    pub(super) slope: f64,
    pub(super) thresholds: Vec<f64>,
}

/// Fits x and, for each, the share of every level in what people say; `None` where there is nothing to fit.
pub(super) fn fit(examples: &[(f64, Vec<f64>)]) -> Option<Odds> {
    let levels = examples.first()?.1.len();
    let mean = examples.iter().map(|(x, _)| x).sum::<f64>() / examples.len() as f64;
    // Only the shares of levels that were given count; the prior is one more example.
    let mut seen: Vec<(f64, usize, f64)> = Vec::new();
    for (x, shares) in examples.iter().chain([&(mean, vec![PRIOR; levels])]) {
        seen.extend(
            shares.iter().enumerate().filter(|(_, share)| **share > 0.0).map(|(level, share)| (*x, level, *share)),
        );
    }
    let start = (0..levels - 1).map(|k| (k as f64 + 1.0) - levels as f64 / 2.0);
    let start: Vec<f64> = std::iter::once(0.0).chain(start).collect();
    let fitted = minimise(start, |at| likelihood(at, &seen, levels))?;
    Some(Odds { slope: fitted[0], thresholds: fitted[1..].to_vec() })
}

/// The negative log-likelihood at (slope, thresholds); `None` where the thresholds do not rise.
fn likelihood(at: &[f64], seen: &[(f64, usize, f64)], levels: usize) -> Option<Local> {
    let (slope, thresholds) = (at[0], &at[1..]);
    if thresholds.windows(2).any(|pair| pair[0] >= pair[1]) {
        return None;
    }
    let mut sum = Local::zeros(levels);
    for &(x, level, share) in seen {
        let upper = (level + 1 < levels).then(|| thresholds[level] - slope * x);
        let lower = (level > 0).then(|| thresholds[level - 1] - slope * x);
        let p = between(lower, upper);
        if p <= 0.0 {
            return None;
        }
        sum.value -= share * p.ln();
        let density = |z: Option<f64>| z.map_or(0.0, |z| sigmoid(z) * sigmoid(-z));
        let bend = |z: Option<f64>| z.map_or(0.0, |z| sigmoid(z) * sigmoid(-z) * (1.0 - 2.0 * sigmoid(z)));
        let (high, low) = (density(upper) / p, density(lower) / p);
        // The derivatives of ln p by its upper and lower end.
        let by = [high, -low];
        let bends = [[bend(upper) / p - high * high, high * low], [high * low, -bend(lower) / p - low * low]];
        // Both ends move with the slope, by -x, and each with its threshold.
        let ends = [level + 1, level];
        let moves = |end: usize| {
            let own = match end {
                0 => level + 1 < levels,
                _ => level > 0,
            };
            [Some((0, -x)), own.then_some((ends[end], 1.0))].into_iter().flatten()
        };
        for end in 0..2 {
            for (i, by_i) in moves(end) {
                sum.gradient[i] -= share * by[end] * by_i;
                for (other, bend) in bends[end].iter().enumerate() {
                    for (j, by_j) in moves(other) {
                        sum.hessian[i][j] -= share * bend * by_i * by_j;
                    }
                }
            }
        }
    }
    sum.add_ridge(0, slope, RIDGE);
    Some(sum)
}

/// sigmoid(upper) - sigmoid(lower) without a loss of digits; no end is infinity.
fn between(lower: Option<f64>, upper: Option<f64>) -> f64 {
    match (lower, upper) {
        (Some(lower), Some(upper)) if lower > 0.0 => sigmoid(-lower) - sigmoid(-upper),
        (Some(lower), Some(upper)) => sigmoid(upper) - sigmoid(lower),
        (None, Some(upper)) => sigmoid(upper),
        (Some(lower), None) => sigmoid(-lower),
        (None, None) => 1.0,
    }
}

impl Odds {
    /// The expected label on 0..1: the mean over thresholds of the probability to lie above.
    pub(super) fn at(&self, x: f64) -> f64 {
        let above = self.thresholds.iter().map(|threshold| sigmoid(self.slope * x - threshold));
        above.sum::<f64>() / self.thresholds.len() as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one_hot(level: usize, levels: usize) -> Vec<f64> {
        (0..levels).map(|i| if i == level { 1.0 } else { 0.0 }).collect()
    }

    #[test]
    fn separable_labels_and_levels_that_nobody_gave_stay_finite() {
        let examples: Vec<(f64, Vec<f64>)> =
            (0..20).map(|i| (f64::from(i) / 19.0, one_hot(if i < 10 { 1 } else { 3 }, 5))).collect();
        let odds = fit(&examples).unwrap();
        assert!(odds.slope.is_finite() && odds.slope > 0.0, "{odds:?}");
        assert!(odds.thresholds.windows(2).all(|pair| pair[0] < pair[1]), "{odds:?}");
        assert!(odds.at(0.0) < 0.35 && odds.at(1.0) > 0.65, "{} {}", odds.at(0.0), odds.at(1.0));
    }

    #[test]
    fn labels_that_do_not_follow_the_judge_have_no_slope() {
        let examples: Vec<(f64, Vec<f64>)> =
            (0..10).flat_map(|i| [(f64::from(i) / 9.0, one_hot(0, 3)), (f64::from(i) / 9.0, one_hot(2, 3))]).collect();
        let odds = fit(&examples).unwrap();
        assert!(odds.slope.abs() < 1e-6 && (odds.at(0.3) - 0.5).abs() < 1e-6, "{odds:?}");
    }
}
