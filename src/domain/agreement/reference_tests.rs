//! Figures against those of scipy, scikit-learn and krippendorff; tests/agreement/reference.py wrote them.

use serde::Deserialize;
use serde_json::Value;

use super::report::Figure;
use super::{
    Bootstrap, Items, PairItem, PairVerdict, Place, ScoreItem, ScoreVerdict, Verdicts, compare, measure, pair_labels,
    score_labels,
};
use crate::domain::{Preference, Scale};

#[derive(Deserialize)]
struct Reference {
    scores: Vec<Case<Scored>>,
    pairs: Vec<Case<Pair>>,
    forecasts: Vec<Case<Forecast>>,
}

#[derive(Deserialize)]
struct Case<T> {
    levels: Option<i32>,
    items: Vec<T>,
    expected: Value,
}

#[derive(Deserialize)]
struct Scored {
    instruction: u64,
    label: f64,
    score: i32,
    expected: f64,
    length: usize,
}

#[derive(Deserialize)]
struct Pair {
    instruction: u64,
    label: Preference,
    votes: Vec<Preference>,
    probability_a: f64,
    preference: Preference,
    consistent: bool,
    first_preferred: Option<bool>,
    lengths: [usize; 2],
}

#[derive(Deserialize)]
struct Forecast {
    probability_a: f64,
    label: Preference,
}

const QUICK: Bootstrap = Bootstrap { seed: 7, resamples: 50 };

fn reference() -> Reference {
    serde_json::from_str(include_str!("../../../tests/agreement/reference.json")).unwrap()
}

fn place(instruction: u64) -> Place {
    Place { set: format!("set {}", instruction % 2), subset: None, instruction }
}

fn scores(case: &Case<Scored>) -> (Items, Verdicts) {
    let scale = Scale::from_levels(&(1..=case.levels.unwrap()).collect::<Vec<_>>()).unwrap();
    let item = |item: &Scored| ScoreItem { place: place(item.instruction), label: item.label, length: item.length };
    let verdict = |item: &Scored| {
        Some(ScoreVerdict { score: item.score, expected: item.expected, reward: Some(scale.fraction(item.expected)) })
    };
    let items = Items { scores: case.items.iter().map(item).collect(), scale: Some(scale), pairs: Vec::new() };
    (items, Verdicts { scores: case.items.iter().map(verdict).collect(), pairs: Vec::new() })
}

fn pairs(case: &Case<Pair>) -> (Items, Verdicts) {
    let item = |item: &Pair| PairItem {
        place: place(item.instruction),
        label: item.label,
        votes: item.votes.clone(),
        lengths: item.lengths,
    };
    let verdict = |item: &Pair| {
        Some(PairVerdict {
            preference: item.preference,
            probability_a: Some(item.probability_a),
            consistent: Some(item.consistent),
            first_preferred: item.first_preferred,
        })
    };
    let items = Items { pairs: case.items.iter().map(item).collect(), ..Items::default() };
    (items, Verdicts { scores: Vec::new(), pairs: case.items.iter().map(verdict).collect() })
}

#[track_caller]
fn check(name: &str, found: Option<Figure>, expected: &Value) {
    let (found, expected) = (found.unwrap().value, expected[name].as_f64().unwrap());
    assert!((found - expected).abs() < 1e-9, "{name}: {found} where the reference has {expected}");
}

#[test]
fn scores_are_measured_as_scipy_and_scikit_learn_do() {
    for case in reference().scores {
        let (items, verdicts) = scores(&case);
        let found = measure(&items, &verdicts, QUICK).absolute.unwrap();
        let (expected, figures) = (&case.expected, &found.figures);
        check("pearson", figures.pearson, expected);
        check("spearman", figures.spearman, expected);
        check("kendall_tau_b", figures.kendall_tau_b, expected);
        check("mae", figures.mae, expected);
        check("quadratic_kappa", figures.quadratic_kappa, expected);
        check("exact", figures.exact, expected);
        check("off_by_one", figures.off_by_one, expected);
        assert_eq!(serde_json::to_value(&found.confusion).unwrap(), expected["confusion"]);
        check("length_spearman", score_labels(&items.scores, QUICK).unwrap().length_spearman, expected);
        let n: usize = found.by_set.values().map(|set| set.mae.unwrap().n).sum();
        assert_eq!((n, found.histogram.judge.iter().sum::<usize>()), (case.items.len(), case.items.len()));
    }
}

#[test]
fn preferences_are_measured_as_scikit_learn_and_krippendorff_do() {
    for case in reference().pairs {
        let (items, verdicts) = pairs(&case);
        let measured = measure(&items, &verdicts, QUICK);
        let (found, reward) = (measured.pairwise.unwrap(), measured.reward.unwrap());
        let (expected, figures) = (&case.expected, &found.figures);
        check("accuracy_non_ties", figures.accuracy_non_ties, expected);
        check("accuracy_ties_half", figures.accuracy_ties_half, expected);
        check("accuracy", figures.accuracy, expected);
        check("cohen_kappa", figures.cohen_kappa, expected);
        check("position_consistency", figures.position_consistency, expected);
        check("first_lean", figures.first_lean, expected);
        check("length_bias", figures.length_bias, expected);
        check("length_correlation", found.length_correlation, expected);
        check("krippendorff_alpha", found.krippendorff_alpha, expected);
        check("auc", reward.auc, expected);
        check("brier", reward.brier, expected);
        let labels = pair_labels(&items.pairs, QUICK).unwrap();
        check("votes_alpha", labels.krippendorff_alpha, expected);
        check("longer", labels.figures.baselines.longer, expected);
        check("always_a", labels.figures.baselines.always_a, expected);
        let of_sets: Vec<f64> = found.by_set.values().map(|set| set.accuracy_non_ties.unwrap().value).collect();
        let mean = of_sets.iter().sum::<f64>() / of_sets.len() as f64;
        assert!((found.macro_accuracy_non_ties.unwrap().value - mean).abs() < 1e-12);
    }
}

#[test]
fn calibration_is_measured_over_bins_as_numpy_splits_them() {
    for case in reference().forecasts {
        let item = |(instruction, item): (usize, &Forecast)| PairItem {
            place: place(instruction as u64),
            label: item.label,
            votes: Vec::new(),
            lengths: [1, 1],
        };
        let verdict = |item: &Forecast| {
            Some(PairVerdict {
                preference: item.label,
                probability_a: Some(item.probability_a),
                consistent: None,
                first_preferred: None,
            })
        };
        let items = Items { pairs: case.items.iter().enumerate().map(item).collect(), ..Items::default() };
        let verdicts = Verdicts { scores: Vec::new(), pairs: case.items.iter().map(verdict).collect() };
        let reward = measure(&items, &verdicts, QUICK).reward.unwrap();
        check("ece", reward.ece, &case.expected);
        assert_eq!(reward.reliability.iter().map(|bin| bin.n).sum::<usize>(), case.items.len());
    }
}

/// The same pairs with A and B exchanged, in labels and verdicts alike.
fn exchanged(items: &Items, verdicts: &Verdicts) -> (Items, Verdicts) {
    let other = |preference: Preference| match preference {
        Preference::A => Preference::B,
        Preference::B => Preference::A,
        Preference::Tie => Preference::Tie,
    };
    let item = |item: &PairItem| PairItem {
        label: other(item.label),
        votes: item.votes.iter().map(|vote| other(*vote)).collect(),
        lengths: [item.lengths[1], item.lengths[0]],
        ..item.clone()
    };
    let verdict = |verdict: &Option<PairVerdict>| {
        verdict.map(|verdict| PairVerdict {
            preference: other(verdict.preference),
            probability_a: verdict.probability_a.map(|probability| 1.0 - probability),
            ..verdict
        })
    };
    let items = Items { pairs: items.pairs.iter().map(item).collect(), ..items.clone() };
    (items, Verdicts { pairs: verdicts.pairs.iter().map(verdict).collect(), ..verdicts.clone() })
}

#[test]
fn to_exchange_a_and_b_everywhere_changes_no_figure() {
    for case in reference().pairs {
        let (items, verdicts) = pairs(&case);
        let (other_items, other_verdicts) = exchanged(&items, &verdicts);
        let (one, other) = (measure(&items, &verdicts, QUICK), measure(&other_items, &other_verdicts, QUICK));
        let figures = |found: &super::Measured| {
            let (pairs, reward) = (found.pairwise.clone().unwrap(), found.reward.clone().unwrap());
            let all = serde_json::to_value(pairs.figures).unwrap();
            let more = [pairs.krippendorff_alpha, pairs.length_correlation, reward.auc, reward.brier];
            let all = all.as_object().unwrap().values().map(|figure| serde_json::from_value(figure.clone()).unwrap());
            all.chain(more).flatten().collect::<Vec<Figure>>()
        };
        let (one, other) = (figures(&one), figures(&other));
        assert_eq!(one.len(), 11);
        for (one, other) in one.iter().zip(&other) {
            let near = |a: f64, b: f64| (a - b).abs() < 1e-9;
            assert!(near(one.value, other.value) && near(one.low.unwrap(), other.low.unwrap()), "{one:?} {other:?}");
        }
    }
}

#[test]
fn a_judge_does_not_differ_from_itself_and_does_from_a_worse_one() {
    let bootstrap = Bootstrap { seed: 3, resamples: 400 };
    let case = &reference().pairs[1];
    let (items, verdicts) = pairs(case);
    let same = compare(&items, ("one", &verdicts), ("other", &verdicts), bootstrap);
    assert!(same.len() == 5 && same.iter().all(|found| found.difference.value == 0.0 && found.p_value == 1.0));
    // Always the opposite.
    let (_, opposite) = exchanged(&items, &verdicts);
    let found = compare(&items, ("one", &verdicts), ("other", &opposite), bootstrap);
    let accuracy = found.iter().find(|found| found.figure == "pairwise.accuracy_non_ties").unwrap();
    assert!(accuracy.difference.value > 0.3 && accuracy.p_value < 0.01, "{accuracy:?}");
    assert!(accuracy.difference.low.unwrap() > 0.0 && accuracy.difference.n < case.items.len());
}

#[test]
fn what_is_not_there_is_no_figure() {
    let found = measure(&Items::default(), &Verdicts::default(), QUICK);
    assert_eq!((found.absolute, found.pairwise, found.reward), (None, None, None));
    assert_eq!((score_labels(&[], QUICK), pair_labels(&[], QUICK)), (None, None));
    assert_eq!(compare(&Items::default(), ("a", &Verdicts::default()), ("b", &Verdicts::default()), QUICK), []);
    // Items without a verdict are left out, not guessed.
    let (items, mut verdicts) = pairs(&reference().pairs[0]);
    verdicts.pairs.iter_mut().skip(10).for_each(|verdict| *verdict = None);
    let found = measure(&items, &verdicts, QUICK).pairwise.unwrap();
    assert_eq!(found.figures.accuracy.unwrap().n, 10);
}
