//! Fits a router to labelled verdicts.

use super::curve::{Routed, simulate};
use super::features::{Observed, RouteFeature};
use super::file::{BudgetThreshold, RouterFigures, RouterParameters, Standardised};
use crate::domain::agreement::{Bootstrap, instruction_key};
use crate::domain::calibration::linear::{Model, Rows};
use crate::domain::calibration::split::folds;
use crate::domain::judgement::Kind;

/// The fewest labels that a router is fitted to.
const FEWEST: usize = 20;
/// The folds of the cross-validation.
const FOLDS: usize = 5;
/// The budgets of a file: 5, 10, … 95 %.
const BUDGETS: usize = 20;

/// A labelled verdict.
#[derive(Debug, Clone, PartialEq)]
pub struct RouteExample {
    /// What the router sees.
    pub observed: Observed,
    /// How far the judge is right: 1, 0, or one half for a tie where people prefer one.
    pub right: f64,
    /// What is answered; no instruction is both fitted to and held out.
    pub instruction: String,
}

/// What a fit comes to.
#[derive(Debug, Clone, PartialEq)]
pub struct FittedRouter {
    /// The model of disagreement, fitted to all items.
    pub parameters: RouterParameters,
    /// The score behind each budget.
    pub thresholds: Vec<BudgetThreshold>,
    /// Figures on items of other folds than those that were fitted to.
    pub held_out: RouterFigures,
}

/// Why nothing is fitted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CannotRoute {
    /// There are too few labels.
    #[error("there are {0} labelled verdicts to fit to; {FEWEST} are the least, and some hundreds a good beginning")]
    TooFew(usize),
    /// All labels are of one instruction.
    #[error("all labels are of one instruction; a router is tried on instructions that it has not seen")]
    OneInstruction,
    /// The judge is always right.
    #[error("the judge agrees with every label, so there is nothing to learn; add labels that it disagrees with")]
    AlwaysRight,
    /// The judge is always wrong.
    #[error("the judge agrees with no label; check that labels mean what they should (--labels, --map)")]
    AlwaysWrong,
    /// The numbers have no best fit.
    #[error("nothing can be fitted to these numbers")]
    Degenerate,
}

/// Fits the probability that the judge disagrees with people, by logistic regression on standardised features whose ridge
/// five-fold cross-validation over instructions chooses. Scores of items out of the fold that was left out give figures
/// and thresholds.
///
/// # Errors
/// When there are too few labels, or all of one class or one instruction.
pub fn fit(kind: Kind, examples: &[RouteExample], bootstrap: Bootstrap) -> Result<FittedRouter, CannotRoute> {
    if examples.len() < FEWEST {
        return Err(CannotRoute::TooFew(examples.len()));
    }
    match examples
        .iter()
        .map(|example| example.right)
        .fold((1.0_f64, 0.0_f64), |(low, high), right| (low.min(right), high.max(right)))
    {
        (1.0, _) => return Err(CannotRoute::AlwaysRight),
        (_, 0.0) => return Err(CannotRoute::AlwaysWrong),
        _ => {}
    }
    let instructions: Vec<&str> = examples.iter().map(|example| example.instruction.as_str()).collect();
    let folds = folds(&instructions, FOLDS, bootstrap.seed);
    if folds.iter().all(|fold| *fold == folds[0]) {
        return Err(CannotRoute::OneInstruction);
    }
    let features = RouteFeature::all(kind);
    let row = |example: &RouteExample| features.iter().map(|feature| feature.of(&example.observed)).collect();
    let rows =
        Rows { x: examples.iter().map(row).collect(), y: examples.iter().map(|example| 1.0 - example.right).collect() };
    let fitted = || {
        let ridge = Model::Logistic.choose_ridge(&rows, &folds)?;
        let whole = Model::Logistic.fit(&rows, ridge)?;
        Some((ridge, whole, Model::Logistic.cross_predicted(&rows, &folds, ridge)?))
    };
    let (ridge, whole, left_out) = fitted().ok_or(CannotRoute::Degenerate)?;
    Ok(FittedRouter {
        parameters: parameters(features, &rows, ridge, whole),
        thresholds: thresholds(&left_out),
        held_out: figures(kind, examples, &left_out, bootstrap),
    })
}

/// The fit on standardised features.
fn parameters(
    features: &[RouteFeature],
    rows: &Rows,
    ridge: f64,
    (intercept, weights): (f64, Vec<f64>),
) -> RouterParameters {
    let (means, _) = rows.means();
    let scales = rows.centred(&means).scales();
    let at_means: f64 = weights.iter().zip(&means).map(|(weight, mean)| weight * mean).sum();
    let each = features.iter().zip(weights).zip(means.iter().zip(scales));
    RouterParameters {
        ridge,
        intercept: intercept + at_means,
        features: each
            .map(|((feature, weight), (mean, scale))| {
                (*feature, Standardised { mean: *mean, scale, weight: weight * scale })
            })
            .collect(),
    }
}

/// The quantiles of scores behind budgets.
fn thresholds(scores: &[f64]) -> Vec<BudgetThreshold> {
    let mut falling = scores.to_vec();
    falling.sort_by(|one, other| other.total_cmp(one));
    let at = |budget: f64| {
        // The items of the budget lie above the middle between its last and the next.
        let count = budget * falling.len() as f64;
        let last = (count.ceil() as usize).clamp(1, falling.len()) - 1;
        let next = (last + 1).min(falling.len() - 1);
        f64::midpoint(falling[last], falling[next])
    };
    let budgets = (1..BUDGETS).map(|nth| nth as f64 / BUDGETS as f64);
    budgets.map(|budget| BudgetThreshold { budget, threshold: at(budget).clamp(0.0, 1.0) }).collect()
}

fn figures(kind: Kind, examples: &[RouteExample], scores: &[f64], bootstrap: Bootstrap) -> RouterFigures {
    let count = examples.len() as f64;
    let wrong = || examples.iter().map(|example| 1.0 - example.right);
    let squares = wrong().zip(scores).map(|(wrong, score)| (wrong - score).powi(2));
    let area = |scores: &[f64]| {
        let routed = examples.iter().zip(scores).map(|(example, score)| Routed {
            instruction: instruction_key(&example.instruction),
            score: *score,
            right: example.right,
        });
        let routed: Vec<Routed> = routed.collect();
        simulate(&routed, bootstrap).expect("there are items").area
    };
    let doubts: Vec<f64> = examples.iter().map(|e| e.observed.signals.doubt(kind == Kind::Relative)).collect();
    RouterFigures {
        items: examples.len(),
        disagreement: wrong().sum::<f64>() / count,
        auc: auc(&wrong().zip(scores.iter().copied()).collect::<Vec<_>>()),
        brier: squares.sum::<f64>() / count,
        area: area(scores),
        area_of_doubt: area(&doubts),
    }
}

/// The area under the ROC curve of (how far wrong, score), ties counted half. An item that is half wrong counts half on
/// both sides.
fn auc(items: &[(f64, f64)]) -> f64 {
    let mut rising = items.to_vec();
    rising.sort_by(|(_, one), (_, other)| one.total_cmp(other));
    let (mut right_below, mut won) = (0.0, 0.0);
    for group in rising.chunk_by(|(_, one), (_, other)| one == other) {
        let wrong: f64 = group.iter().map(|(wrong, _)| wrong).sum();
        let right = group.len() as f64 - wrong;
        won += wrong * (right_below + right / 2.0);
        right_below += right;
    }
    let wrong: f64 = items.iter().map(|(wrong, _)| wrong).sum();
    let all = wrong * (items.len() as f64 - wrong);
    if all > 0.0 { won / all } else { 0.5 }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::{Cut, RouterContent, RouterFile, RouterObject, Signals, Texts};
    use super::*;
    use crate::domain::calibration::MadeFor;

    /// Pairs on which the judge is wrong mostly where it prefers the longer response; it is as sure each time.
    fn examples(count: usize) -> Vec<RouteExample> {
        let example = |i: usize| {
            let longer_first = i.is_multiple_of(2);
            let long = "word ".repeat(10 + i % 7);
            let (a, b) = if longer_first { (long.as_str(), "Short.") } else { ("Short.", long.as_str()) };
            let prefers_a = !i.is_multiple_of(3);
            let p = if prefers_a { 0.9 } else { 0.1 };
            let wrong = (prefers_a == longer_first) != i.is_multiple_of(10);
            RouteExample {
                observed: Observed {
                    signals: Signals::of_pair(p, 0.9, Some([p, p]), false, None),
                    texts: Texts::of_pair("Why?", [a, b]),
                },
                right: f64::from(u8::from(!wrong)),
                instruction: format!("Question {}", i / 2),
            }
        };
        (0..count).map(example).collect()
    }

    fn file(examples: &[RouteExample]) -> RouterFile {
        let FittedRouter { parameters, thresholds, held_out } =
            fit(Kind::Relative, examples, Bootstrap { seed: 0, resamples: 50 }).unwrap();
        let made_for = MadeFor { model: "m".into(), prompt: "p".into(), rubrics: None, mode: None };
        let content = RouterContent {
            object: RouterObject::Router,
            version: 1,
            kind: Kind::Relative,
            made_for,
            jury: false,
            parameters,
            thresholds,
            data: Vec::new(),
            held_out,
            created: String::new(),
        };
        RouterFile::new(&content).unwrap()
    }

    #[test]
    fn a_router_learns_where_the_judge_is_wrong() {
        let all = examples(100);
        let made = file(&all);
        let figures = &made.content().held_out;
        assert!(figures.auc > 0.8 && figures.area.value > 0.07, "{figures:?}");
        assert!(figures.area_of_doubt.value.abs() < 0.02, "it is as sure each time: {figures:?}");
        let of_longer = made.content().parameters.features[&RouteFeature::LongerPreferred];
        assert!(of_longer.weight > 0.5, "{of_longer:?}");
        let mean = |right: f64| {
            let scores: Vec<f64> = all.iter().filter(|e| e.right == right).map(|e| made.score(&e.observed)).collect();
            scores.iter().sum::<f64>() / scores.len() as f64
        };
        assert!(mean(0.0) > mean(1.0) + 0.3);
        assert_eq!(RouterFile::parse(&made.to_json()).unwrap(), made);
    }

    #[test]
    fn what_cannot_be_fitted_says_why() {
        let check = |examples: &[RouteExample], expected: CannotRoute| {
            assert_eq!(fit(Kind::Relative, examples, Bootstrap::default()).unwrap_err(), expected);
        };
        check(&examples(19), CannotRoute::TooFew(19));
        let with = |change: &dyn Fn(&mut RouteExample)| {
            let mut all = examples(40);
            all.iter_mut().for_each(change);
            all
        };
        check(&with(&|example| example.right = 1.0), CannotRoute::AlwaysRight);
        check(&with(&|example| example.right = 0.0), CannotRoute::AlwaysWrong);
        check(&with(&|example| example.instruction = "One".into()), CannotRoute::OneInstruction);
    }

    #[test]
    fn a_changed_file_is_refused() {
        let text = file(&examples(30)).to_json();
        let check = |from: &str, to: &str, word: &str| {
            assert!(text.contains(from), "{from} in {text}");
            let error = RouterFile::parse(&text.replacen(from, to, 1)).unwrap_err().to_string();
            assert!(error.contains(word), "{from} -> {to}: {error}");
        };
        check("\"version\": 1", "\"version\": 2", "version 2 of the format");
        check("\"gavel.router\"", "\"gavel.fit\"", "gavel.fit");
        check("\"kind\": \"relative\"", "\"kind\": \"absolute\"", "/parameters/features");
        check("\"budget\": 0.1,", "\"budget\": 0.01,", "/thresholds");
        check("\"budget\": 0.1,", "\"budget\": 0.11,", "was changed after it was made");
        check("\"auc\"", "\"auk\"", "auk");
        check("{", "[", "");
        check("\"digest\"", "\"digests\"", "digest");
    }

    #[test]
    fn a_larger_budget_sends_a_superset() {
        let all = examples(40);
        let made = file(&all);
        let takes = |budget: f64, example: &RouteExample| {
            let score = made.score(&example.observed);
            assert!((0.0..=1.0).contains(&score), "{score}");
            Cut::budget(budget).unwrap().takes(score, |budget| made.threshold(budget))
        };
        proptest!(|(small in 0.0..=1.0_f64, more in 0.0..=1.0_f64)| {
            let large = small + (1.0 - small) * more;
            for example in &all {
                prop_assert!(!takes(small, example) || takes(large, example));
            }
            prop_assert!(!takes(0.0, &all[0]) && takes(1.0, &all[0]));
        });
    }

    proptest! {
        #[test]
        fn the_share_above_a_threshold_is_the_budget(scores in prop::collection::hash_set(0_u32..10_000, 40..120)) {
            let scores: Vec<f64> = scores.into_iter().map(|score| f64::from(score) / 10_000.0).collect();
            for BudgetThreshold { budget, threshold } in thresholds(&scores) {
                let share = scores.iter().filter(|score| **score >= threshold).count() as f64 / scores.len() as f64;
                prop_assert!((share - budget).abs() <= 1.0 / scores.len() as f64 + 1e-9, "{budget}: {share}");
            }
        }
    }
}
