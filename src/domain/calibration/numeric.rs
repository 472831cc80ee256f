//! The few numerical tools of fitting: logits, a solver of small linear systems, and Newton's method.

/// The least probability that a logit is taken of; the greatest is its complement. A step of the grid of pairs.
const LEAST: f64 = 1.0 / (1_u64 << 40) as f64;
/// Newton's method has come to rest when a step would gain less than this share of the value.
const AT_REST: f64 = 1e-18;
/// Ends a search in any case; the problems here take about ten steps.
const MOST_STEPS: usize = 200;
/// The shortest part of a step that is tried.
const SHORTEST: f64 = 1e-10;

/// The logistic function, 1 / (1 + exp(-x)).
pub(in crate::domain) fn sigmoid(x: f64) -> f64 {
    if x >= 0.0 {
        1.0 / (1.0 + (-x).exp())
    } else {
        let e = x.exp();
        e / (1.0 + e)
    }
}

/// ln(1 + exp(x)), for any x.
pub(super) fn softplus(x: f64) -> f64 {
    x.max(0.0) + (-x.abs()).exp().ln_1p()
}

/// The logarithm of the odds. Where `1 - p` is exact, `logit(1 - p)` is exactly `-logit(p)`. Probabilities of 0 and 1
/// count as a step of the grid away from them.
pub(super) fn logit(p: f64) -> f64 {
    let p = p.clamp(LEAST, 1.0 - LEAST);
    p.ln() - (1.0 - p).ln()
}

/// Solves a·x = b for a symmetric, positive definite `a` by Cholesky's decomposition; `None` where it is not definite.
pub(super) fn solve(a: &[Vec<f64>], b: &[f64]) -> Option<Vec<f64>> {
    let n = b.len();
    let mut lower = vec![vec![0.0; n]; n];
    for i in 0..n {
        for j in 0..=i {
            let sum: f64 = (0..j).map(|k| lower[i][k] * lower[j][k]).sum();
            let rest = a[i][j] - sum;
            if i == j {
                if rest.is_nan() || rest <= 0.0 {
                    return None;
                }
                lower[i][i] = rest.sqrt();
            } else {
                lower[i][j] = rest / lower[j][j];
            }
        }
    }
    let mut x = b.to_vec();
    for i in 0..n {
        let sum: f64 = (0..i).map(|k| lower[i][k] * x[k]).sum();
        x[i] = (x[i] - sum) / lower[i][i];
    }
    for i in (0..n).rev() {
        let sum: f64 = (i + 1..n).map(|k| lower[k][i] * x[k]).sum();
        x[i] = (x[i] - sum) / lower[i][i];
    }
    Some(x)
}

/// A function at one point.
pub(super) struct Local {
    pub(super) value: f64,
    pub(super) gradient: Vec<f64>,
    pub(super) hessian: Vec<Vec<f64>>,
}

impl Local {
    /// Zeros, to add to.
    pub(super) fn zeros(n: usize) -> Self {
        Self { value: 0.0, gradient: vec![0.0; n], hessian: vec![vec![0.0; n]; n] }
    }

    /// Adds half of `ridge` times the square of coordinate `i`.
    pub(super) fn add_ridge(&mut self, i: usize, x: f64, ridge: f64) {
        self.value += ridge / 2.0 * x * x;
        self.gradient[i] += ridge * x;
        self.hessian[i][i] += ridge;
    }
}

/// Minimises a strictly convex function by Newton's method with halved steps. `at` is `None` outside of its domain.
/// `None` where the start is outside, or the function is not strictly convex.
pub(super) fn minimise(start: Vec<f64>, at: impl Fn(&[f64]) -> Option<Local>) -> Option<Vec<f64>> {
    let mut x = start;
    let mut here = at(&x)?;
    for _ in 0..MOST_STEPS {
        let step = solve(&here.hessian, &here.gradient)?;
        let gain: f64 = step.iter().zip(&here.gradient).map(|(step, slope)| step * slope).sum();
        let mut part = 1.0;
        let next = loop {
            let tried: Vec<f64> = x.iter().zip(&step).map(|(x, step)| x - part * step).collect();
            match at(&tried).filter(|there| there.value <= here.value - 1e-4 * part * gain) {
                Some(there) => break Some((tried, there)),
                None if part < SHORTEST => break None,
                None => part /= 2.0,
            }
        };
        // Where no part of the step goes down, what is left is rounding.
        let Some((tried, there)) = next else { break };
        (x, here) = (tried, there);
        if gain <= AT_REST * (1.0 + here.value.abs()) {
            break;
        }
    }
    Some(x)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_system_is_solved_and_one_that_is_not_definite_is_not() {
        let a = vec![vec![4.0, 2.0, 0.5], vec![2.0, 5.0, 1.0], vec![0.5, 1.0, 3.0]];
        let x = solve(&a, &[1.0, 2.0, 3.0]).unwrap();
        for (row, b) in a.iter().zip([1.0, 2.0, 3.0]) {
            let sum: f64 = row.iter().zip(&x).map(|(a, x)| a * x).sum();
            assert!((sum - b).abs() < 1e-12);
        }
        assert_eq!(solve(&[vec![1.0, 2.0], vec![2.0, 1.0]], &[1.0, 1.0]), None);
        assert_eq!(solve(&[vec![f64::NAN]], &[1.0]), None);
    }

    #[test]
    fn logits_are_antisymmetric_and_finite() {
        for p in [0.0, 0.25, 0.5, 0.875, 1.0] {
            assert_eq!(logit(1.0 - p), -logit(p));
            assert!((sigmoid(logit(p)) - p).abs() < 1e-11);
        }
        assert!((softplus(800.0) - 800.0).abs() < 1e-12 && softplus(-800.0) == 0.0);
        assert!((softplus(0.3) - (1.0 + 0.3f64.exp()).ln()).abs() < 1e-15);
    }
}
