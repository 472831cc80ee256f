//! The report of `gavel agree`: every figure, and what it was taken over. It is printed as JSON as it stands; tables and
//! pages are made from it.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// A statistic with its bootstrap interval.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Figure {
    /// Its value on all items.
    pub value: f64,
    /// The lower end of the 95 % interval; `None` where there is no interval, as with a single instruction.
    pub low: Option<f64>,
    /// The upper end of the 95 % interval.
    pub high: Option<f64>,
    /// How many items it is taken over.
    pub n: usize,
}

/// How far judges agree with labels.
///
/// A figure is `None` where it is not defined: a correlation with labels that are all alike, or a statistic of nothing.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Report {
    /// `agreement`.
    pub object: String,
    /// The version of Gavel that made it.
    pub version: String,
    /// The seed of the bootstrap, and of the sample where there is one.
    pub seed: u64,
    /// How often instructions were drawn anew.
    pub resamples: usize,
    /// How many items were drawn; `None` where all were taken.
    pub sample: Option<usize>,
    /// The half of the instructions that was taken, `dev` or `test`.
    pub split: Option<String>,
    /// The labelled files.
    pub data: Vec<DataFile>,
    /// The judges, in the order in which they were given.
    pub judges: Vec<Judge>,
    /// What the labels say by themselves.
    pub labels: Labels,
    /// Each two judges against each other.
    pub comparisons: Vec<Comparison>,
}

/// A labelled file.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct DataFile {
    /// As it was given.
    pub path: String,
    /// Of its bytes, in hexadecimal digits.
    pub sha256: String,
    /// How it was read: `gavel`, `rewardbench`, `prometheus-eval`; behind a `csv:` or `parquet:` where it is a table.
    pub format: String,
    /// How many items it has.
    pub items: usize,
    /// How many of them have no label, and are left out.
    pub unlabelled: usize,
    /// How many of the items taken from it have one response and a score.
    pub absolute: usize,
    /// How many of the items taken from it are pairs.
    pub pairwise: usize,
}

/// How far one judge agrees with the labels.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Judge {
    /// As it was asked for, or the name of its file of verdicts.
    pub name: String,
    /// The model that judged; `None` where the verdicts do not say, or not all say the same.
    pub model: Option<Model>,
    /// The prompt set, likewise.
    pub prompt: Option<Named>,
    /// How many items it judged.
    pub coverage: Coverage,
    /// On items with a score.
    pub absolute: Option<Absolute>,
    /// On pairs.
    pub pairwise: Option<Pairwise>,
    /// Of its probabilities, where it gave any.
    pub reward: Option<Reward>,
}

/// A model.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Model {
    /// The name that requests use.
    pub name: String,
    /// The engine that ran it.
    pub engine: String,
    /// `sha256:<hex>` of the model.
    pub digest: String,
}

/// The templates of a prompt set, such as `plain/relative`; the set, where both kinds were graded.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Named {
    /// The name that requests use.
    pub name: String,
    /// `sha256:<hex>` of its content for a kind of grading; where both kinds were graded, that of absolute and that of
    /// relative grading with a `+` between them.
    pub digest: String,
}

/// What became of the items: `judged + unscored + failed = items`. Figures are over what was judged, and nothing is
/// guessed for the rest.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Coverage {
    /// All items.
    pub items: usize,
    /// Those with a verdict.
    pub judged: usize,
    /// Those without one: the judge gave no score, or its file does not name them.
    pub unscored: usize,
    /// Those whose grading ended in an error.
    pub failed: usize,
}

/// Scores against labels.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Absolute {
    /// Over all items.
    #[serde(flatten)]
    pub figures: ScoreFigures,
    /// The lowest and the highest score.
    pub scale: [i32; 2],
    /// How many items have this label (row) and this score (column), both from the lowest to the highest. Labels between
    /// two scores are rounded, halves up.
    pub confusion: Vec<Vec<usize>>,
    /// How often each score occurs, from the lowest to the highest.
    pub histogram: Histogram,
    /// Of each set.
    pub by_set: BTreeMap<String, ScoreFigures>,
    /// Of each subset, as `set/subset`, where items name one.
    pub by_subset: BTreeMap<String, ScoreFigures>,
}

/// Figures of scores. Correlations and the error are of the expected score where there is a distribution, and of the
/// score otherwise; the others are of the score, with the label rounded to the scale.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct ScoreFigures {
    /// Pearson's correlation, -1 to 1.
    pub pearson: Option<Figure>,
    /// Spearman's rank correlation, -1 to 1; equal values share their mean rank.
    pub spearman: Option<Figure>,
    /// Kendall's tau-b, -1 to 1.
    pub kendall_tau_b: Option<Figure>,
    /// The mean absolute difference, in points of the scale.
    pub mae: Option<Figure>,
    /// Cohen's kappa with quadratic weights, 1 is full agreement and 0 that of chance.
    pub quadratic_kappa: Option<Figure>,
    /// The share of items whose score is the label.
    pub exact: Option<Figure>,
    /// The share of items whose score is the label or next to it.
    pub off_by_one: Option<Figure>,
}

/// How often each score occurs, from the lowest to the highest.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Histogram {
    /// Among the labels, rounded.
    pub label: Vec<usize>,
    /// Among the judge's scores.
    pub judge: Vec<usize>,
}

/// Preferences against labels.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Pairwise {
    /// Over all pairs.
    #[serde(flatten)]
    pub figures: PairFigures,
    /// The mean of the sets' `accuracy_non_ties`, each set counting alike.
    pub macro_accuracy_non_ties: Option<Figure>,
    /// Krippendorff's alpha (nominal) of the votes with the judge as one more voter, beside `labels`, which has that of
    /// the votes alone; `None` where items have no votes.
    pub krippendorff_alpha: Option<Figure>,
    /// Spearman's correlation of how much longer A is (log of the ratio) with how much A is preferred.
    pub length_correlation: Option<Figure>,
    /// How many pairs have this label (row) and this preference (column), in the order A, B, tie.
    pub confusion: [[usize; 3]; 3],
    /// Of each set.
    pub by_set: BTreeMap<String, PairFigures>,
    /// Of each subset, as `set/subset`, where items name one.
    pub by_subset: BTreeMap<String, PairFigures>,
}

/// Figures of preferences.
///
/// Which response a judge takes for the better one is decided by `probability_a` where it gave one: above one half it
/// is A, below it B. So a judge whose orders disagree, whose preference is a tie, is still measured by what it leans to.
/// `accuracy` and `cohen_kappa` are of the preference as it is given, ties included.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct PairFigures {
    /// The share of pairs on which judge and label agree, where neither of them is a tie.
    pub accuracy_non_ties: Option<Figure>,
    /// The share of pairs with a label other than a tie on which the judge agrees, its own ties counted half.
    pub accuracy_ties_half: Option<Figure>,
    /// The share of pairs whose preference (A, B or tie) is the label.
    pub accuracy: Option<Figure>,
    /// Cohen's kappa of preference and label (A, B or tie): 1 is full agreement, 0 that of chance.
    pub cohen_kappa: Option<Figure>,
    /// The share of pairs whose two orders agree.
    pub position_consistency: Option<Figure>,
    /// Of pairs whose orders disagree, the share on which the response shown first is preferred in both; one half leans
    /// neither way.
    pub first_lean: Option<Figure>,
    /// How much more often the judge prefers the longer response than the labels do, over pairs of different lengths
    /// where neither is a tie: -1 to 1.
    pub length_bias: Option<Figure>,
}

/// Probabilities against outcomes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Reward {
    /// What the probabilities are of: `pairs` (`probability_a` against the labels A and B), or `scores` (the reward
    /// against the labels of a scale of two levels).
    pub of: String,
    /// The area under the receiver operating characteristic: 0.5 is chance, 1 a perfect order.
    pub auc: Option<Figure>,
    /// The mean squared error of the probability: 0 is best, 0.25 always saying one half.
    pub brier: Option<Figure>,
    /// The expected calibration error over 15 bins of equal mass: 0 is best.
    pub ece: Option<Figure>,
    /// The bins, from the lowest probability to the highest.
    pub reliability: Vec<Bin>,
}

/// One bin of a reliability curve.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Bin {
    /// The lowest probability in it.
    pub low: f64,
    /// The highest probability in it.
    pub high: f64,
    /// Its mean probability.
    pub predicted: f64,
    /// How often it came true, 0..1.
    pub observed: f64,
    /// How many items it has.
    pub n: usize,
}

/// What the labels say by themselves: what a judge without any insight reaches, and what people reach.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Labels {
    /// Of scores.
    pub absolute: Option<ScoreLabels>,
    /// Of pairs.
    pub pairwise: Option<PairLabels>,
}

/// Of labels that are scores: what takes no judge.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct ScoreLabels {
    /// Spearman's correlation of the label with the length of the response, in characters.
    pub length_spearman: Option<Figure>,
    /// The mean absolute difference from always giving the median label.
    pub median_mae: Option<Figure>,
    /// The share of items that have the most frequent label, rounded.
    pub most_frequent_exact: Option<Figure>,
}

/// Of labels that are preferences.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct PairLabels {
    /// Over all pairs.
    #[serde(flatten)]
    pub figures: PairLabelFigures,
    /// Krippendorff's alpha (nominal) of the votes.
    pub krippendorff_alpha: Option<Figure>,
    /// Of each set.
    pub by_set: BTreeMap<String, PairLabelFigures>,
}

/// What people and simple rules reach on pairs.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct PairLabelFigures {
    /// How often one vote agrees with another one on the same pair, ties left out.
    pub human_ceiling: Option<Figure>,
    /// The `accuracy_non_ties` of rules that read nothing.
    pub baselines: Baselines,
}

/// The `accuracy_non_ties` of rules that read nothing.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Baselines {
    /// Takes the longer response, in characters; pairs of equal lengths are left out.
    pub longer: Option<Figure>,
    /// Always takes A.
    pub always_a: Option<Figure>,
    /// Tosses a coin: what that comes to in the mean.
    pub random: Option<Figure>,
}

/// One figure of two judges, over the items that count for both.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Comparison {
    /// The name of one judge.
    pub a: String,
    /// The name of the other judge.
    pub b: String,
    /// Its path in a judge's report, such as `pairwise.accuracy_non_ties`.
    pub figure: String,
    /// The figure of `a` less that of `b`.
    pub difference: Figure,
    /// How probable so large a difference is where there is none: two-sided, of the same bootstrap.
    pub p_value: f64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_is_read_back_as_it_was_written() {
        let text = include_str!("../../../tests/agreement/report.json");
        let written: serde_json::Value = serde_json::from_str(text).unwrap();
        let report: Report = serde_json::from_str(text).unwrap();
        assert_eq!(serde_json::to_value(&report).unwrap(), written);
    }
}
