//! Linear models on a handful of scalars, with a ridge that cross-validation chooses.
//!
//! A dozen features need no library of linear algebra: Newton's method converges in about ten steps, each a system that
//! is solved in microseconds.

use super::numeric::{Local, minimise, sigmoid, softplus, solve};

/// The ridges that are tried, the strongest first: equal ones are decided for the simpler model.
pub(in crate::domain) const RIDGES: [f64; 9] = [1000.0, 300.0, 100.0, 30.0, 10.0, 3.0, 1.0, 0.3, 0.1];

/// Rows of features, and a target each in 0..1.
#[derive(Debug, Clone, Default)]
pub(in crate::domain) struct Rows {
    pub(in crate::domain) x: Vec<Vec<f64>>,
    pub(in crate::domain) y: Vec<f64>,
}

impl Rows {
    /// The rows whose fold is `fold`, or all others.
    fn of_fold(&self, folds: &[usize], fold: usize, within: bool) -> Self {
        let chosen = (0..self.y.len()).filter(|row| (folds[*row] == fold) == within);
        let (x, y) = chosen.map(|row| (self.x[row].clone(), self.y[row])).unzip();
        Self { x, y }
    }

    /// Each feature less its mean.
    pub(in crate::domain) fn centred(&self, means: &[f64]) -> Self {
        let centred = |row: &Vec<f64>| row.iter().zip(means).map(|(x, mean)| x - mean).collect();
        Self { x: self.x.iter().map(centred).collect(), y: self.y.clone() }
    }

    /// The root of the mean square of each feature, 1 where that is 0.
    pub(in crate::domain) fn scales(&self) -> Vec<f64> {
        let features = self.x.first().map_or(0, Vec::len);
        let root = |feature: usize| {
            let squares: f64 = self.x.iter().map(|row| row[feature] * row[feature]).sum();
            (squares / self.x.len() as f64).sqrt()
        };
        (0..features).map(root).map(|scale| if scale > 0.0 { scale } else { 1.0 }).collect()
    }

    /// Each feature divided by its scale.
    fn scaled(&self, scales: &[f64]) -> Self {
        let scaled = |row: &Vec<f64>| row.iter().zip(scales).map(|(x, scale)| x / scale).collect();
        Self { x: self.x.iter().map(scaled).collect(), y: self.y.clone() }
    }

    /// The mean of each feature, and of the targets.
    pub(in crate::domain) fn means(&self) -> (Vec<f64>, f64) {
        let count = self.y.len() as f64;
        let features = self.x.first().map_or(0, Vec::len);
        let mean = |feature: usize| self.x.iter().map(|row| row[feature]).sum::<f64>() / count;
        ((0..features).map(mean).collect(), self.y.iter().sum::<f64>() / count)
    }
}

/// A Bradley-Terry model: logistic regression without intercept, so that exchanged features give the complement.
/// Minimises the negative log-likelihood plus ridge / 2 times the squares of the weights. The returned weights are
/// for the original features; the ridge applies to features scaled to 1.
pub(super) fn bradley_terry(rows: &Rows, ridge: f64) -> Option<Vec<f64>> {
    let scales = rows.scales();
    let scaled = rows.scaled(&scales);
    let ridges = vec![ridge; scales.len()];
    let weights = minimise(vec![0.0; scales.len()], |weights| Some(logistic_loss(&scaled, weights, &ridges)))?;
    Some(weights.iter().zip(scales).map(|(weight, scale)| weight / scale).collect())
}

/// Logistic regression with an intercept, whose own ridge only keeps it finite where all targets of a fold are alike;
/// returns the intercept and the weights. The weights are for the original features; the ridge applies to features scaled
/// to 1 around their means.
pub(super) fn logistic(rows: &Rows, ridge: f64) -> Option<(f64, Vec<f64>)> {
    const OF_INTERCEPT: f64 = 1e-6;
    let (means, _) = rows.means();
    let centred = rows.centred(&means);
    let scales = centred.scales();
    let mut scaled = centred.scaled(&scales);
    scaled.x.iter_mut().for_each(|row| row.push(1.0));
    let ridges: Vec<f64> = std::iter::repeat_n(ridge, scales.len()).chain([OF_INTERCEPT]).collect();
    let fitted = minimise(vec![0.0; ridges.len()], |weights| Some(logistic_loss(&scaled, weights, &ridges)))?;
    let (intercept, weights) = fitted.split_last()?;
    let weights: Vec<f64> = weights.iter().zip(&scales).map(|(weight, scale)| weight / scale).collect();
    Some((intercept - dot(&weights, &means), weights))
}

fn logistic_loss(rows: &Rows, weights: &[f64], ridges: &[f64]) -> Local {
    let mut sum = Local::zeros(weights.len());
    for (x, y) in rows.x.iter().zip(&rows.y) {
        let z = dot(weights, x);
        let p = sigmoid(z);
        sum.value += softplus(z) - y * z;
        for (i, xi) in x.iter().enumerate() {
            sum.gradient[i] += (p - y) * xi;
            for (j, xj) in x.iter().enumerate() {
                sum.hessian[i][j] += p * (1.0 - p) * xi * xj;
            }
        }
    }
    for (i, (weight, ridge)) in weights.iter().zip(ridges).enumerate() {
        sum.add_ridge(i, *weight, *ridge);
    }
    sum
}

/// Ridge regression with an intercept, to which the ridge does not apply; returns the intercept and the weights. The
/// weights are for the original features; the ridge applies to features scaled to 1 around their means.
pub(super) fn ridge_regression(rows: &Rows, ridge: f64) -> Option<(f64, Vec<f64>)> {
    let (means, mean) = rows.means();
    let centred = Rows { y: rows.y.iter().map(|y| y - mean).collect(), ..rows.centred(&means) };
    let scales = centred.scales();
    let scaled = centred.scaled(&scales);
    let n = scales.len();
    let product = |i: usize, j: usize| scaled.x.iter().map(|row| row[i] * row[j]).sum::<f64>();
    let matrix: Vec<Vec<f64>> =
        (0..n).map(|i| (0..n).map(|j| product(i, j) + if i == j { ridge } else { 0.0 }).collect()).collect();
    let right: Vec<f64> = (0..n).map(|i| scaled.x.iter().zip(&scaled.y).map(|(row, y)| row[i] * y).sum()).collect();
    let weights: Vec<f64> = solve(&matrix, &right)?.iter().zip(&scales).map(|(weight, scale)| weight / scale).collect();
    Some((mean - dot(&weights, &means), weights))
}

/// Which linear model is fitted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::domain) enum Model {
    BradleyTerry,
    Logistic,
    Ridge,
}

impl Model {
    /// The intercept and the weights.
    pub(in crate::domain) fn fit(self, rows: &Rows, ridge: f64) -> Option<(f64, Vec<f64>)> {
        match self {
            Self::BradleyTerry => Some((0.0, bradley_terry(rows, ridge)?)),
            Self::Logistic => logistic(rows, ridge),
            Self::Ridge => ridge_regression(rows, ridge),
        }
    }

    /// What a row is predicted as.
    pub(in crate::domain) fn predict(self, (intercept, weights): &(f64, Vec<f64>), x: &[f64]) -> f64 {
        let z = intercept + dot(weights, x);
        match self {
            Self::BradleyTerry | Self::Logistic => sigmoid(z),
            Self::Ridge => z.clamp(0.0, 1.0),
        }
    }

    /// How wrong a fit is on rows: the negative log-likelihood, or the squared error.
    fn loss(self, fitted: &(f64, Vec<f64>), rows: &Rows) -> f64 {
        let of = |(x, y): (&Vec<f64>, &f64)| match self {
            Self::BradleyTerry | Self::Logistic => {
                let z = fitted.0 + dot(&fitted.1, x);
                softplus(z) - y * z
            }
            Self::Ridge => (self.predict(fitted, x) - y).powi(2),
        };
        rows.x.iter().zip(&rows.y).map(of).sum()
    }

    /// The ridge with the least loss on folds that were left out of the fit; `folds` holds the fold of each row.
    pub(in crate::domain) fn choose_ridge(self, rows: &Rows, folds: &[usize]) -> Option<f64> {
        let count = folds.iter().max()? + 1;
        let loss = |ridge: f64| -> Option<f64> {
            let left_out = |fold: usize| {
                let fitted = self.fit(&rows.of_fold(folds, fold, false), ridge)?;
                Some(self.loss(&fitted, &rows.of_fold(folds, fold, true)))
            };
            (0..count).map(left_out).sum()
        };
        let tried = RIDGES.iter().filter_map(|ridge| Some((*ridge, loss(*ridge)?)));
        tried.min_by(|(_, a), (_, b)| a.total_cmp(b)).map(|(ridge, _)| ridge)
    }

    /// What each row is predicted as by the fit to the other folds.
    pub(in crate::domain) fn cross_predicted(self, rows: &Rows, folds: &[usize], ridge: f64) -> Option<Vec<f64>> {
        let count = folds.iter().max()? + 1;
        let fits: Vec<(f64, Vec<f64>)> =
            (0..count).map(|fold| self.fit(&rows.of_fold(folds, fold, false), ridge)).collect::<Option<_>>()?;
        Some(rows.x.iter().zip(folds).map(|(x, fold)| self.predict(&fits[*fold], x)).collect())
    }
}

/// The sum of products, always in the same order.
pub(super) fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Rows of which the first feature decides in six of seven, and the second says nothing.
    fn rows() -> Rows {
        let x: Vec<Vec<f64>> = (0..420).map(|i| vec![f64::from(i % 12) - 5.5, f64::from(i % 5) - 2.0]).collect();
        let y = x.iter().enumerate().map(|(i, x)| f64::from(u8::from((x[0] > 0.0) != (i % 7 == 0)))).collect();
        Rows { x, y }
    }

    #[test]
    fn the_feature_that_decides_has_the_weight() {
        let rows = rows();
        let weights = bradley_terry(&rows, 0.1).unwrap();
        assert!(weights[0] > 0.1 && weights[1].abs() < 0.1 * weights[0], "{weights:?}");
        let (intercept, weights) = ridge_regression(&rows, 0.1).unwrap();
        assert!(weights[0] > 0.02 && (0.3..0.7).contains(&intercept), "{weights:?} {intercept}");
    }

    #[test]
    fn an_intercept_takes_what_the_features_do_not_say() {
        let mut rows = rows();
        // Three of four are 1, whatever the feature.
        rows.y = (0..420).map(|i| f64::from(u8::from(i % 4 != 0))).collect();
        rows.x = (0..420).map(|i| vec![100.0 + f64::from(i / 4 % 3)]).collect();
        let fitted = logistic(&rows, 1.0).unwrap();
        assert!((Model::Logistic.predict(&fitted, &[101.0]) - 0.75).abs() < 1e-4, "{fitted:?}");
        // Targets that are all alike have a finite fit, too.
        rows.y = vec![1.0; 420];
        let (intercept, weights) = logistic(&rows, 1.0).unwrap();
        assert!(intercept.is_finite() && weights[0].abs() < 1e-3, "{intercept} {weights:?}");
    }

    #[test]
    fn the_scale_of_a_feature_does_not_matter() {
        let (rows, mut other) = (rows(), rows());
        other.x.iter_mut().for_each(|row| row[0] *= 1000.0);
        let (one, thousand) = (bradley_terry(&rows, 3.0).unwrap(), bradley_terry(&other, 3.0).unwrap());
        assert!((one[0] - 1000.0 * thousand[0]).abs() < 1e-9);
    }

    #[test]
    fn a_ridge_is_chosen_by_what_was_left_out() {
        let rows = rows();
        let folds: Vec<usize> = (0..420).map(|i| i / 84).collect();
        for model in [Model::BradleyTerry, Model::Logistic, Model::Ridge] {
            let ridge = model.choose_ridge(&rows, &folds).unwrap();
            assert!(RIDGES.contains(&ridge));
            let predicted = model.cross_predicted(&rows, &folds, ridge).unwrap();
            let right = predicted.iter().zip(&rows.y).filter(|(p, y)| (**p > 0.5) == (**y > 0.5)).count();
            assert_eq!(right, 360);
        }
        // Features that are always zero have weights of zero.
        let nothing = Rows { x: vec![vec![0.0]; 4], y: vec![1.0, 0.0, 1.0, 0.0] };
        assert_eq!(bradley_terry(&nothing, 1.0), Some(vec![0.0]));
    }
}
