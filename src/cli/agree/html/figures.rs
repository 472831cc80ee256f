//! Every figure of a report: what it is called, how it is written, and what it says in one line.

use serde::Serialize;

use crate::domain::agreement::report::{Figure, Judge, Labels};

/// How a figure is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Unit {
    /// A share, as a percentage.
    Share,
    /// A difference of shares, in percentage points, with its sign.
    Points,
    /// A plain number.
    Number,
    /// A difference of plain numbers, with its sign.
    Difference,
}

impl Unit {
    /// That of the difference of two figures.
    pub(super) fn of_differences(self) -> Self {
        match self {
            Self::Share | Self::Points => Self::Points,
            Self::Number | Self::Difference => Self::Difference,
        }
    }

    /// The value without what follows it.
    fn bare(self, value: f64) -> String {
        let text = match self {
            Self::Share => format!("{:.1}", value * 100.0),
            Self::Points => format!("{:+.1}", value * 100.0),
            Self::Number => format!("{value:.3}"),
            Self::Difference => format!("{value:+.3}"),
        };
        signed(&text)
    }

    fn behind(self) -> &'static str {
        match self {
            Self::Share => "\u{a0}%",
            Self::Points => "\u{a0}points",
            Self::Number | Self::Difference => "",
        }
    }

    /// The value as text.
    pub(super) fn value(self, value: f64) -> String {
        self.bare(value) + self.behind()
    }

    /// A place on an axis with marks so far apart.
    pub(super) fn tick(self, value: f64, step: f64) -> String {
        let (value, step, behind) = match self {
            Self::Share => (value * 100.0, step * 100.0, self.behind()),
            Self::Points => (value * 100.0, step * 100.0, ""),
            Self::Number | Self::Difference => (value, step, ""),
        };
        // As many decimals as tell two marks apart.
        let decimals = (-(step * 1.000_001).log10().floor()).max(0.0) as usize;
        signed(&format!("{value:.decimals$}")) + behind
    }

    /// The interval as text; `None` where there is none, or where it is a point by definition.
    pub(super) fn range(self, figure: &Figure) -> Option<String> {
        let (low, high) = (figure.low?, figure.high?);
        (low < high).then(|| format!("{} to {}", self.bare(low), self.bare(high)))
    }

    /// The value and its interval, in a sentence.
    pub(super) fn sentence(self, figure: &Figure) -> String {
        match self.range(figure) {
            Some(range) => format!("{} ({range})", self.value(figure.value)),
            None => self.value(figure.value),
        }
    }
}

/// With a minus sign as wide as a plus sign, and no sign before a zero.
fn signed(text: &str) -> String {
    let digits = text.trim_start_matches(['-', '+']);
    if digits.chars().all(|digit| matches!(digit, '0' | '.')) {
        return digits.to_owned();
    }
    text.replace('-', "\u{2212}")
}

/// A count with a comma before every three digits.
pub(super) fn count(n: usize) -> String {
    let digits = n.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (nth, digit) in digits.chars().enumerate() {
        if nth > 0 && (digits.len() - nth) % 3 == 0 {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// `1 item`, `2 items`.
pub(super) fn counted(n: usize, what: &str) -> String {
    format!("{} {what}{}", count(n), if n == 1 { "" } else { "s" })
}

/// A figure as it stands in a table.
#[derive(Debug, Serialize)]
pub(super) struct Written {
    value: String,
    range: Option<String>,
    n: String,
}

impl Written {
    pub(super) fn of(figure: &Figure, unit: Unit) -> Self {
        Self { value: unit.value(figure.value), range: unit.range(figure), n: count(figure.n) }
    }
}

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
    ($path:literal, $name:literal, $unit:ident, $says:literal, |$judge:ident| $of:expr) => {
        Measure { path: $path, name: $name, unit: Unit::$unit, says: $says, of: |$judge| $of.as_ref() }
    };
}

/// Of pairs.
pub(super) const PAIRS: &[Measure] = &[
    measure!(
        "pairwise.accuracy_non_ties",
        "Accuracy, no ties",
        Share,
        "how often judge and label prefer the same response, where neither is a tie",
        |judge| judge.pairwise.as_ref()?.figures.accuracy_non_ties
    ),
    measure!(
        "pairwise.macro_accuracy_non_ties",
        "Mean of the sets",
        Share,
        "the same in the mean of the sets, a large set counting no more than a small one",
        |judge| judge.pairwise.as_ref()?.macro_accuracy_non_ties
    ),
    measure!(
        "pairwise.accuracy_ties_half",
        "Accuracy, ties half",
        Share,
        "over all pairs whose label is no tie; a tie of the judge is half right, so it gains nothing by abstaining",
        |judge| judge.pairwise.as_ref()?.figures.accuracy_ties_half
    ),
    measure!(
        "pairwise.accuracy",
        "Accuracy, with ties",
        Share,
        "how often the preference (A, B or tie) is the label",
        |judge| judge.pairwise.as_ref()?.figures.accuracy
    ),
    measure!(
        "pairwise.cohen_kappa",
        "Cohen’s kappa",
        Number,
        "agreement of preference and label beyond chance: 1 is full, 0 that of chance",
        |judge| judge.pairwise.as_ref()?.figures.cohen_kappa
    ),
    measure!(
        "pairwise.krippendorff_alpha",
        "Krippendorff’s alpha, with the judge",
        Number,
        "agreement of people’s votes with the judge as one more voter; below that of the votes alone, the judge differs \
         from people more than they do from each other",
        |judge| judge.pairwise.as_ref()?.krippendorff_alpha
    ),
    measure!(
        "pairwise.position_consistency",
        "Position consistency",
        Share,
        "how often the same response is preferred when the two change places",
        |judge| judge.pairwise.as_ref()?.figures.position_consistency
    ),
    measure!(
        "pairwise.first_lean",
        "Lean to the first",
        Share,
        "where the two orders disagree, how often the response shown first won both times: 50 % leans neither way",
        |judge| judge.pairwise.as_ref()?.figures.first_lean
    ),
    measure!(
        "pairwise.length_bias",
        "Length bias",
        Points,
        "how much more often the judge prefers the longer response than the labels do: 0 is none",
        |judge| judge.pairwise.as_ref()?.figures.length_bias
    ),
    measure!(
        "pairwise.length_correlation",
        "Length correlation",
        Number,
        "rank correlation of how much longer A is with how much A is preferred; labels have one, too, so it is no bias by \
         itself",
        |judge| judge.pairwise.as_ref()?.length_correlation
    ),
];

/// Of scores.
pub(super) const SCORES: &[Measure] = &[
    measure!(
        "absolute.pearson",
        "Pearson’s correlation",
        Number,
        "how far the expected score follows the label on a line: 1 is full, 0 none",
        |judge| judge.absolute.as_ref()?.figures.pearson
    ),
    measure!(
        "absolute.spearman",
        "Spearman’s correlation",
        Number,
        "the same of ranks: whether better responses get higher scores, by whatever steps",
        |judge| judge.absolute.as_ref()?.figures.spearman
    ),
    measure!(
        "absolute.kendall_tau_b",
        "Kendall’s tau-b",
        Number,
        "of two items with unlike labels: how much more often they are in order than not, corrected for equal ones",
        |judge| judge.absolute.as_ref()?.figures.kendall_tau_b
    ),
    measure!(
        "absolute.mae",
        "Mean absolute error",
        Number,
        "how far the expected score is from the label, in points of the scale: 0 is best",
        |judge| judge.absolute.as_ref()?.figures.mae
    ),
    measure!(
        "absolute.quadratic_kappa",
        "Quadratic weighted kappa",
        Number,
        "agreement beyond chance, where far misses count more: 1 is full, 0 that of chance",
        |judge| judge.absolute.as_ref()?.figures.quadratic_kappa
    ),
    measure!("absolute.exact", "Exact", Share, "how often the score is the label, rounded", |judge| judge
        .absolute
        .as_ref()?
        .figures
        .exact),
    measure!(
        "absolute.off_by_one",
        "Off by at most one",
        Share,
        "how often the score is the label or next to it",
        |judge| judge.absolute.as_ref()?.figures.off_by_one
    ),
];

/// Of probabilities.
pub(super) const PROBABILITIES: &[Measure] = &[
    measure!(
        "reward.auc",
        "Area under the ROC curve (AUC)",
        Number,
        "how often something that is so has a higher probability than something that is not: 0.5 is chance",
        |judge| judge.reward.as_ref()?.auc
    ),
    measure!(
        "reward.brier",
        "Brier score",
        Number,
        "mean squared error of the probability: 0 is best, 0.25 is that of always saying one half",
        |judge| judge.reward.as_ref()?.brier
    ),
    measure!(
        "reward.ece",
        "Expected calibration error (ECE)",
        Number,
        "how far probabilities are from what comes true, over 15 bins of equal mass: 0 is best; noise raises it",
        |judge| judge.reward.as_ref()?.ece
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
    ($name:literal, $unit:ident, $says:literal, |$labels:ident| $of:expr) => {
        Rule { name: $name, unit: Unit::$unit, says: $says, of: |$labels| $of.as_ref() }
    };
}

/// What takes no judge, and what people reach.
pub(super) const RULES: &[Rule] = &[
    rule!(
        "People, one with another",
        Share,
        "how often one person’s vote agrees with another’s on the same pair, without ties: the human ceiling",
        |labels| labels.pairwise.as_ref()?.figures.human_ceiling
    ),
    rule!(
        "The longer response",
        Share,
        "accuracy, no ties, of always preferring the longer response; pairs of equal lengths are left out",
        |labels| labels.pairwise.as_ref()?.figures.baselines.longer
    ),
    rule!("Always A", Share, "accuracy, no ties, of always preferring A", |labels| labels
        .pairwise
        .as_ref()?
        .figures
        .baselines
        .always_a),
    rule!("A coin", Share, "accuracy, no ties, of a coin in the mean", |labels| labels
        .pairwise
        .as_ref()?
        .figures
        .baselines
        .random),
    rule!(
        "Krippendorff’s alpha of the votes",
        Number,
        "agreement of people’s votes with each other: 1 is full, 0 that of chance",
        |labels| labels.pairwise.as_ref()?.krippendorff_alpha
    ),
    rule!(
        "Length of the response",
        Number,
        "Spearman’s correlation of the response’s length with the label",
        |labels| labels.absolute.as_ref()?.length_spearman
    ),
    rule!(
        "Always the median",
        Number,
        "mean absolute error of always giving the median label",
        |labels| labels.absolute.as_ref()?.median_mae
    ),
    rule!(
        "Always the most frequent",
        Share,
        "how often the most frequent label is right",
        |labels| labels.absolute.as_ref()?.most_frequent_exact
    ),
];
