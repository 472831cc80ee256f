//! Fits maps to labelled verdicts.

use std::collections::BTreeMap;

use super::features::{AbsoluteFeature, PairFeature, RawAbsolute, RawPair};
use super::linear::{Model, Rows};
use super::parameters::Parameters;
use super::{isotonic, ordinal, temperature};

/// The fewest labels that anything is fitted to.
const FEWEST: usize = 10;

/// A verdict, and what people say.
#[derive(Debug, Clone, PartialEq)]
pub struct Labelled<R> {
    /// What the judge says.
    pub raw: R,
    /// The label on 0..1; of a pair 1 for A, 0 for B, and one half for a tie.
    pub label: f64,
}

/// How a calibration maps.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs, reason = "Parameters says what each is")]
pub enum MapMethod {
    Temperature,
    Isotonic,
    Ordinal,
}

/// Why nothing is fitted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CannotFit {
    /// There are too few labels.
    #[error("there are {0} labelled verdicts to fit to; {FEWEST} are the least, and 100 a good beginning")]
    TooFew(usize),
    /// Scores are on scales of different sizes.
    #[error("scores are on scales of {0} and of {1} levels; fit each alone")]
    Levels(usize, usize),
    /// All labels are of one instruction.
    #[error("all labels are of one instruction; a fit is tried on instructions that it has not seen")]
    OneInstruction,
    /// Pairs have no order of labels.
    #[error("the method `ordinal` is for scores; for pairs take temperature or isotonic")]
    OrdinalPairs,
    /// Pairs of which each response was graded alone have no distribution of their own.
    #[error(
        "a calibration of pairs maps verdicts of the method `pairwise`; `gavel fit` makes a reward model from pairs of \
         which each response was graded alone"
    )]
    GradedAlone,
    /// The numbers have no best fit.
    #[error("nothing can be fitted to these numbers")]
    Degenerate,
}

/// Fits a calibration of scores.
///
/// # Errors
/// When there are too few, or not all on one scale.
pub(super) fn calibrate_absolute(
    method: MapMethod,
    examples: &[Labelled<RawAbsolute>],
) -> Result<Parameters, CannotFit> {
    enough(examples.len())?;
    let levels = examples[0].raw.probabilities.len();
    if let Some(other) = examples.iter().map(|example| example.raw.probabilities.len()).find(|other| *other != levels) {
        return Err(CannotFit::Levels(levels, other));
    }
    Ok(match method {
        MapMethod::Temperature => {
            let pairs = examples.iter().map(|e| (e.raw.probabilities.clone(), shares(e.label, levels)));
            Parameters::Temperature { temperature: temperature::fit(&pairs.collect::<Vec<_>>()) }
        }
        MapMethod::Isotonic => {
            let points: Vec<(f64, f64)> = examples.iter().map(|e| (e.raw.reward, e.label)).collect();
            Parameters::Isotonic { knots: isotonic::fit(&points) }
        }
        MapMethod::Ordinal => {
            let points: Vec<_> = examples.iter().map(|e| (e.raw.reward, shares(e.label, levels))).collect();
            let odds = ordinal::fit(&points).ok_or(CannotFit::Degenerate)?;
            Parameters::Ordinal { slope: odds.slope, thresholds: odds.thresholds }
        }
    })
}

/// Fits a calibration of pairs; it has no term for either side.
///
/// # Errors
/// When there are too few, or for the method `ordinal`.
pub(super) fn calibrate_pairs(method: MapMethod, examples: &[Labelled<RawPair>]) -> Result<Parameters, CannotFit> {
    enough(examples.len())?;
    let points = examples.iter().map(|e| (e.raw.probability_a, e.label));
    match method {
        MapMethod::Temperature => {
            let pairs = points.map(|(p, label)| (vec![p, 1.0 - p], vec![label, 1.0 - label]));
            Ok(Parameters::Temperature { temperature: temperature::fit(&pairs.collect::<Vec<_>>()) })
        }
        MapMethod::Isotonic => Ok(Parameters::Isotonic { knots: isotonic::fit_pairs(&points.collect::<Vec<_>>()) }),
        MapMethod::Ordinal => Err(CannotFit::OrdinalPairs),
    }
}

/// Fits a linear model of scores; gives it with what it says of each example when its fold is left out. `folds` holds
/// the fold of each example.
///
/// # Errors
/// When there are too few.
pub(super) fn fit_absolute(
    examples: &[Labelled<RawAbsolute>],
    folds: &[usize],
) -> Result<(Parameters, Vec<f64>), CannotFit> {
    let row = |e: &Labelled<RawAbsolute>| AbsoluteFeature::ALL.map(|feature| feature.of(&e.raw)).to_vec();
    let rows = Rows { x: examples.iter().map(row).collect(), y: examples.iter().map(|e| e.label).collect() };
    let (ridge, (intercept, weights), left_out) = fit_linear(Model::Ridge, &rows, folds)?;
    let weights: BTreeMap<_, _> = AbsoluteFeature::ALL.into_iter().zip(weights).collect();
    Ok((Parameters::RidgeRegression { ridge, intercept, weights }, left_out))
}

/// The same of pairs: a Bradley-Terry model on differences.
///
/// # Errors
/// When there are too few.
pub(super) fn fit_pairs(examples: &[Labelled<RawPair>], folds: &[usize]) -> Result<(Parameters, Vec<f64>), CannotFit> {
    let row = |e: &Labelled<RawPair>| PairFeature::ALL.map(|feature| feature.of(&e.raw)).to_vec();
    let rows = Rows { x: examples.iter().map(row).collect(), y: examples.iter().map(|e| e.label).collect() };
    let (ridge, (_, weights), left_out) = fit_linear(Model::BradleyTerry, &rows, folds)?;
    let weights: BTreeMap<_, _> = PairFeature::ALL.into_iter().zip(weights).collect();
    Ok((Parameters::BradleyTerry { ridge, weights }, left_out))
}

/// A reward model of pairs whose responses were each graded alone: a Bradley-Terry model on the differences between the
/// features of both.
///
/// # Errors
/// When there are too few.
pub(super) fn fit_reward_model(
    examples: &[Labelled<[RawAbsolute; 2]>],
    folds: &[usize],
) -> Result<(Parameters, Vec<f64>), CannotFit> {
    let of = |raw: &RawAbsolute| AbsoluteFeature::ALL.map(|feature| feature.of(raw));
    let row = |e: &Labelled<[RawAbsolute; 2]>| {
        let [a, b] = e.raw.each_ref().map(of);
        a.into_iter().zip(b).map(|(a, b)| a - b).collect()
    };
    let rows = Rows { x: examples.iter().map(row).collect(), y: examples.iter().map(|e| e.label).collect() };
    let (ridge, (_, weights), left_out) = fit_linear(Model::BradleyTerry, &rows, folds)?;
    let utility = |raw: &RawAbsolute| of(raw).into_iter().zip(&weights).map(|(x, weight)| x * weight).sum::<f64>();
    let utilities: Vec<f64> = examples.iter().flat_map(|e| &e.raw).map(utility).collect();
    let intercept = -utilities.iter().sum::<f64>() / utilities.len() as f64;
    let weights: BTreeMap<_, _> = AbsoluteFeature::ALL.into_iter().zip(weights).collect();
    Ok((Parameters::RewardModel { ridge, intercept, weights }, left_out))
}

type Fitted = (f64, (f64, Vec<f64>), Vec<f64>);

fn fit_linear(model: Model, rows: &Rows, folds: &[usize]) -> Result<Fitted, CannotFit> {
    enough(rows.y.len())?;
    if folds.iter().all(|fold| *fold == folds[0]) {
        return Err(CannotFit::OneInstruction);
    }
    let fitted = || {
        let ridge = model.choose_ridge(rows, folds)?;
        Some((ridge, model.fit(rows, ridge)?, model.cross_predicted(rows, folds, ridge)?))
    };
    fitted().ok_or(CannotFit::Degenerate)
}

fn enough(count: usize) -> Result<(), CannotFit> {
    if count < FEWEST { Err(CannotFit::TooFew(count)) } else { Ok(()) }
}

/// A label on 0..1 as shares of the two levels that it lies between.
fn shares(label: f64, levels: usize) -> Vec<f64> {
    let at = label.clamp(0.0, 1.0) * (levels - 1) as f64;
    (0..levels).map(|level| (1.0 - (at - level as f64).abs()).max(0.0)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_label_between_two_levels_is_shared() {
        let check = |label: f64, levels: usize, expected: &[f64]| {
            let found = shares(label, levels);
            assert!(found.iter().zip(expected).all(|(a, b)| (a - b).abs() < 1e-12), "{found:?}");
            assert!((found.iter().sum::<f64>() - 1.0).abs() < 1e-12);
        };
        check(0.0, 3, &[1.0, 0.0, 0.0]);
        check(0.5, 3, &[0.0, 1.0, 0.0]);
        check(0.625, 5, &[0.0, 0.0, 0.5, 0.5, 0.0]);
        check(1.0, 2, &[0.0, 1.0]);
    }

    #[test]
    fn what_cannot_be_fitted_says_why() {
        let of = |levels: usize| Labelled {
            raw: RawAbsolute {
                probabilities: vec![1.0 / levels as f64; levels],
                reward: 0.5,
                label_mass: 1.0,
                characters: 1,
            },
            label: 0.5,
        };
        let few = vec![of(5); 9];
        assert_eq!(calibrate_absolute(MapMethod::Isotonic, &few), Err(CannotFit::TooFew(9)));
        let mut mixed = vec![of(5); 12];
        mixed.push(of(3));
        assert_eq!(calibrate_absolute(MapMethod::Temperature, &mixed), Err(CannotFit::Levels(5, 3)));
        let order = super::super::RawOrder { probability_a: 0.5, label_mass: 1.0 };
        let pair = RawPair { probability_a: 0.5, orders: [order; 2], characters: [1, 1] };
        let pairs = vec![Labelled { raw: pair, label: 1.0 }; 12];
        assert_eq!(calibrate_pairs(MapMethod::Ordinal, &pairs), Err(CannotFit::OrdinalPairs));
    }
}
