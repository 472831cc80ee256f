//! Every figure of a report: what it is called, its unit, and what it says in one line.

use super::super::super::page::units::Unit;
use crate::domain::agreement::report::{Figure, Judge, Labels};

/// A figure that a judge has.
pub(super) struct Measure {
    /// Its path in a judge's report.
    pub(super) path: &'static str,
    pub(super) name: &'static str,
    pub(super) unit: Unit,
    pub(super) says: &'static str,
    pub(super) of: fn(&Judge) -> Option<&Figure>,
}

macro_rules! measure {
    ($path:literal, $name:literal, $unit:ident, $says:literal, $part:ident.$($field:ident).+) => {
        Measure {
            path: $path,
            name: $name,
            unit: Unit::$unit,
            says: $says,
            of: |judge| judge.$part.as_ref()?.$($field).+.as_ref(),
        }
    };
}

/// Of pairs.
const PAIRS: &[Measure] = &[
    measure!(
        "pairwise.accuracy_non_ties",
        "Accuracy, no ties",
        Share,
        "how often judge and label prefer the same response, where neither is a tie",
        pairwise.figures.accuracy_non_ties
    ),
    measure!(
        "pairwise.macro_accuracy_non_ties",
        "Mean of the sets",
        Share,
        "the same as a mean of the sets, so that a large set counts no more than a small one",
        pairwise.macro_accuracy_non_ties
    ),
    measure!(
        "pairwise.accuracy_ties_half",
        "Accuracy, ties half",
        Share,
        "over all pairs whose label is no tie; a tie of the judge is half right, so it gains nothing by abstaining",
        pairwise.figures.accuracy_ties_half
    ),
    measure!(
        "pairwise.accuracy",
        "Accuracy, with ties",
        Share,
        "how often the preference (A, B or tie) is the label",
        pairwise.figures.accuracy
    ),
    measure!(
        "pairwise.cohen_kappa",
        "Cohen’s kappa",
        Number,
        "agreement of preference and label beyond chance: 1 is perfect, 0 is chance",
        pairwise.figures.cohen_kappa
    ),
    measure!(
        "pairwise.krippendorff_alpha",
        "Krippendorff’s alpha, with the judge",
        Number,
        "agreement of people’s votes with the judge as one more voter; below that of the votes alone, the judge differs \
         from people more than they do from each other",
        pairwise.krippendorff_alpha
    ),
    measure!(
        "pairwise.position_consistency",
        "Position consistency",
        Share,
        "how often the same response is preferred when the order is swapped",
        pairwise.figures.position_consistency
    ),
    measure!(
        "pairwise.first_lean",
        "Lean to the first",
        Share,
        "where the two orders disagree, how often the response shown first won both times: 50 % leans neither way",
        pairwise.figures.first_lean
    ),
    measure!(
        "pairwise.length_bias",
        "Length bias",
        Points,
        "how much more often the judge prefers the longer response than the labels do: 0 is none",
        pairwise.figures.length_bias
    ),
    measure!(
        "pairwise.length_correlation",
        "Length correlation",
        Number,
        "rank correlation of how much longer A is with how much A is preferred; labels have one, too, so it is no bias by \
         itself",
        pairwise.length_correlation
    ),
];

/// Of scores.
const SCORES: &[Measure] = &[
    measure!(
        "absolute.pearson",
        "Pearson’s correlation",
        Number,
        "linear correlation of the expected score with the label: 1 is perfect, 0 is none",
        absolute.figures.pearson
    ),
    measure!(
        "absolute.spearman",
        "Spearman’s correlation",
        Number,
        "the same of ranks: whether better responses get higher scores, by whatever steps",
        absolute.figures.spearman
    ),
    measure!(
        "absolute.kendall_tau_b",
        "Kendall’s tau-b",
        Number,
        "of two items with unlike labels: how much more often they are in order than not, corrected for equal ones",
        absolute.figures.kendall_tau_b
    ),
    measure!(
        "absolute.mae",
        "Mean absolute error",
        Number,
        "how far the expected score is from the label, in points of the scale: 0 is best",
        absolute.figures.mae
    ),
    measure!(
        "absolute.quadratic_kappa",
        "Quadratic weighted kappa",
        Number,
        "agreement beyond chance, where far misses count more: 1 is full, 0 that of chance",
        absolute.figures.quadratic_kappa
    ),
    measure!("absolute.exact", "Exact", Share, "how often the score is the label, rounded", absolute.figures.exact),
    measure!(
        "absolute.off_by_one",
        "Off by at most one",
        Share,
        "how often the score is the label or next to it",
        absolute.figures.off_by_one
    ),
];

/// Of probabilities.
const PROBABILITIES: &[Measure] = &[
    measure!(
        "reward.auc",
        "Area under the ROC curve (AUC)",
        Number,
        "how often a positive item has a higher probability than a negative one: 0.5 is chance",
        reward.auc
    ),
    measure!(
        "reward.brier",
        "Brier score",
        Number,
        "mean squared error of the probability: 0 is best, 0.25 is that of always saying one half",
        reward.brier
    ),
    measure!(
        "reward.ece",
        "Expected calibration error (ECE)",
        Number,
        "distance of predicted probabilities from observed shares, over 15 bins of equal mass: 0 is best; noise raises it",
        reward.ece
    ),
];

/// All of them with their headings.
pub(super) const GROUPS: [(&str, &[Measure]); 3] =
    [("Pairs", PAIRS), ("Scores", SCORES), ("Probabilities", PROBABILITIES)];

/// The figure of that path.
pub(super) fn measure(path: &str) -> Option<&'static Measure> {
    GROUPS.iter().flat_map(|(_, measures)| measures.iter()).find(|measure| measure.path == path)
}

/// What labels reach by themselves.
pub(super) struct Rule {
    pub(super) name: &'static str,
    pub(super) unit: Unit,
    pub(super) says: &'static str,
    pub(super) of: fn(&Labels) -> Option<&Figure>,
}

macro_rules! rule {
    ($name:literal, $unit:ident, $says:literal, $part:ident.$($field:ident).+) => {
        Rule { name: $name, unit: Unit::$unit, says: $says, of: |labels| labels.$part.as_ref()?.$($field).+.as_ref() }
    };
}

/// What takes no judge, and what people reach.
pub(super) const RULES: &[Rule] = &[
    rule!(
        "People with each other",
        Share,
        "how often one person’s vote agrees with another’s on the same pair, without ties: the human ceiling",
        pairwise.figures.human_ceiling
    ),
    rule!(
        "The longer response",
        Share,
        "accuracy, no ties, of always preferring the longer response; pairs of equal lengths are left out",
        pairwise.figures.baselines.longer
    ),
    rule!("Always A", Share, "accuracy, no ties, of always preferring A", pairwise.figures.baselines.always_a),
    rule!("A coin", Share, "accuracy, no ties, of a coin toss", pairwise.figures.baselines.random),
    rule!(
        "Krippendorff’s alpha of the votes",
        Number,
        "agreement of people’s votes with each other: 1 is full, 0 that of chance",
        pairwise.krippendorff_alpha
    ),
    rule!(
        "Length of the response",
        Number,
        "Spearman’s correlation of the response’s length with the label",
        absolute.length_spearman
    ),
    rule!("Always the median", Number, "mean absolute error of always giving the median label", absolute.median_mae),
    rule!(
        "Always the most frequent",
        Share,
        "how often the most frequent label is right",
        absolute.most_frequent_exact
    ),
];
