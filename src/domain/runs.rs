//! What a run over many items comes to: its mean with an interval, how scores are spread, and what is to be doubted; and
//! what changed from one run to another.
//!
//! Pure: it knows numbers and names of instructions, and nothing of files or judges.

use std::collections::BTreeMap;

use serde::Serialize;

use super::agreement::report::Figure;
use super::agreement::{Bootstrap, mean, mean_difference};
use super::verdict::Preference;

/// Below this label mass a judge that gave a verdict wanted to say something else more than half of the time.
pub const LOW_LABEL_MASS: f64 = 0.5;

/// A verdict as the statistics of a run take it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct RunVerdict {
    /// Stands for the instruction: equal for items on the same one, which are not independent of each other.
    pub instruction: u64,
    /// What is measured: the reward of a response, 0 to 1; of a pair, the probability that A is better.
    pub value: f64,
    /// The most probable score, and the ends of its scale; `None` for pairs, and where there are several criteria.
    pub score: Option<(i32, [i32; 2])>,
    /// The preference of a pair.
    pub preference: Option<Preference>,
    /// Whether both orders of a pair agree, where both were judged.
    pub consistent: Option<bool>,
    /// How much of its probability the judge gave to any verdict, 0 to 1.
    pub label_mass: f64,
    /// Whether feedback was cut at its limit.
    pub cut: bool,
}

/// What a run comes to.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct RunSummary {
    /// Items with a verdict.
    pub graded: usize,
    /// Verdicts below the minimum label mass: the judge was guessing. They count in no mean.
    pub unscored: usize,
    /// Other verdicts with a label mass below [`LOW_LABEL_MASS`]. They count.
    pub low_label_mass: usize,
    /// Verdicts whose feedback was cut at its limit. They count.
    pub cut: usize,
    /// Responses that were graded alone.
    pub responses: Option<ResponseSummary>,
    /// Pairs.
    pub pairs: Option<PairSummary>,
}

/// Responses that were graded alone.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ResponseSummary {
    /// The mean reward, 0 to 1.
    pub reward: Figure,
    /// How many responses have each score, every one of the scale; empty where there are several criteria.
    pub scores: BTreeMap<i32, usize>,
}

/// Pairs.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct PairSummary {
    /// The mean probability that A is better.
    pub probability_a: Figure,
    /// Pairs in which A is preferred.
    pub a: usize,
    /// Pairs in which B is preferred.
    pub b: usize,
    /// Pairs without a preference.
    pub tie: usize,
    /// Pairs whose two orders disagree.
    pub inconsistent: usize,
}

impl RunSummary {
    /// Summarises verdicts. Those with a label mass below `min_label_mass` are unscored.
    #[must_use]
    pub fn of(verdicts: &[RunVerdict], min_label_mass: f64, bootstrap: Bootstrap) -> Self {
        let (scored, guessed): (Vec<&RunVerdict>, Vec<&RunVerdict>) =
            verdicts.iter().partition(|verdict| verdict.label_mass >= min_label_mass);
        let (pairs, responses): (Vec<&RunVerdict>, Vec<&RunVerdict>) =
            scored.iter().partition(|verdict| verdict.preference.is_some());
        Self {
            graded: verdicts.len(),
            unscored: guessed.len(),
            low_label_mass: scored.iter().filter(|verdict| verdict.label_mass < LOW_LABEL_MASS).count(),
            cut: verdicts.iter().filter(|verdict| verdict.cut).count(),
            responses: ResponseSummary::of(&responses, bootstrap),
            pairs: PairSummary::of(&pairs, bootstrap),
        }
    }

    /// The mean that a limit is held against: the mean reward, or without responses the mean probability that A is
    /// better.
    #[must_use]
    pub fn mean(&self) -> Option<Figure> {
        let of_responses = self.responses.as_ref().map(|responses| responses.reward);
        of_responses.or(self.pairs.as_ref().map(|pairs| pairs.probability_a))
    }
}

fn mean_of(verdicts: &[&RunVerdict], bootstrap: Bootstrap) -> Option<Figure> {
    let values: Vec<(u64, f64)> = verdicts.iter().map(|verdict| (verdict.instruction, verdict.value)).collect();
    mean(&values, bootstrap)
}

impl ResponseSummary {
    fn of(verdicts: &[&RunVerdict], bootstrap: Bootstrap) -> Option<Self> {
        let mut scores = BTreeMap::new();
        for (score, [lowest, highest]) in verdicts.iter().filter_map(|verdict| verdict.score) {
            for level in lowest..=highest {
                *scores.entry(level).or_insert(0) += usize::from(level == score);
            }
        }
        mean_of(verdicts, bootstrap).map(|reward| Self { reward, scores })
    }
}

impl PairSummary {
    fn of(verdicts: &[&RunVerdict], bootstrap: Bootstrap) -> Option<Self> {
        let count = |wanted: Preference| verdicts.iter().filter(|verdict| verdict.preference == Some(wanted)).count();
        mean_of(verdicts, bootstrap).map(|probability_a| Self {
            probability_a,
            a: count(Preference::A),
            b: count(Preference::B),
            tie: count(Preference::Tie),
            inconsistent: verdicts.iter().filter(|verdict| verdict.consistent == Some(false)).count(),
        })
    }
}

/// What changed from one run to another, over the items that have a verdict in both.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Change {
    /// Items with a verdict of the same kind in both.
    pub both: usize,
    /// Responses that were graded alone.
    pub responses: Option<Shift>,
    /// Pairs.
    pub pairs: Option<Shift>,
}

/// How a number changed.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Shift {
    /// The mean in the first run, over the items of both.
    pub a: Figure,
    /// The mean in the second run, over the same items.
    pub b: Figure,
    /// The mean of the second less that of the first: of paired items, so what is hard in both takes nothing from it.
    pub difference: Figure,
    /// How probable so large a difference is where there is none: two-sided, of the same bootstrap.
    pub p_value: f64,
    /// Items whose score is higher in the second run; of pairs, whose preference went towards A.
    pub up: usize,
    /// Items whose score is lower in the second run; of pairs, whose preference went towards B.
    pub down: usize,
    /// Items whose score or preference stayed.
    pub same: usize,
}

/// Whether the score or the preference of an item changed, and in which direction.
#[must_use]
pub fn flip(a: &RunVerdict, b: &RunVerdict) -> std::cmp::Ordering {
    let towards_a = |preference: Preference| match preference {
        Preference::A => 1,
        Preference::Tie => 0,
        Preference::B => -1,
    };
    match (a.preference.zip(b.preference), a.score.zip(b.score)) {
        (Some((a, b)), _) => towards_a(b).cmp(&towards_a(a)),
        (None, Some(((a, _), (b, _)))) => b.cmp(&a),
        // Several criteria have a reward only.
        (None, None) => b.value.total_cmp(&a.value),
    }
}

impl Change {
    /// Compares two runs, item by item.
    #[must_use]
    pub fn of(both: &[(RunVerdict, RunVerdict)], bootstrap: Bootstrap) -> Self {
        let same_kind = both.iter().filter(|(a, b)| a.preference.is_some() == b.preference.is_some());
        let (pairs, responses): (Vec<_>, Vec<_>) = same_kind.partition(|(a, _)| a.preference.is_some());
        let both = pairs.len() + responses.len();
        Self { both, responses: Shift::of(&responses, bootstrap), pairs: Shift::of(&pairs, bootstrap) }
    }
}

impl Shift {
    fn of(both: &[&(RunVerdict, RunVerdict)], bootstrap: Bootstrap) -> Option<Self> {
        let figure = |value: fn(&(RunVerdict, RunVerdict)) -> f64| -> Vec<(u64, f64)> {
            both.iter().map(|pair| (pair.0.instruction, value(pair))).collect()
        };
        let (difference, p_value) = mean_difference(&figure(|(a, b)| b.value - a.value), bootstrap)?;
        let count = |wanted| both.iter().filter(|(a, b)| flip(a, b) == wanted).count();
        Some(Self {
            a: mean(&figure(|(a, _)| a.value), bootstrap)?,
            b: mean(&figure(|(_, b)| b.value), bootstrap)?,
            difference,
            p_value,
            up: count(std::cmp::Ordering::Greater),
            down: count(std::cmp::Ordering::Less),
            same: count(std::cmp::Ordering::Equal),
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn response(instruction: u64, score: i32, reward: f64, label_mass: f64) -> RunVerdict {
        RunVerdict {
            instruction,
            value: reward,
            score: Some((score, [1, 5])),
            preference: None,
            consistent: None,
            label_mass,
            cut: false,
        }
    }

    fn pair(instruction: u64, preference: Preference, probability_a: f64) -> RunVerdict {
        RunVerdict {
            score: None,
            preference: Some(preference),
            consistent: Some(preference != Preference::Tie),
            ..response(instruction, 0, probability_a, 1.0)
        }
    }

    #[test]
    fn a_run_is_summarised_without_its_guesses() {
        let verdicts = [
            response(1, 5, 1.0, 0.9),
            response(2, 3, 0.5, 0.4),
            RunVerdict { cut: true, ..response(3, 3, 0.6, 0.8) },
            response(4, 1, 0.0, 0.01),
            pair(5, Preference::A, 0.8),
            pair(6, Preference::Tie, 0.4),
        ];
        let summary = RunSummary::of(&verdicts, 0.05, Bootstrap::default());
        assert_eq!((summary.graded, summary.unscored, summary.low_label_mass, summary.cut), (6, 1, 1, 1));
        let responses = summary.responses.as_ref().unwrap();
        assert!((responses.reward.value - 0.7).abs() < 1e-12 && responses.reward.n == 3, "{responses:?}");
        assert_eq!(responses.scores, BTreeMap::from([(1, 0), (2, 0), (3, 2), (4, 0), (5, 1)]));
        let pairs = summary.pairs.as_ref().unwrap();
        assert_eq!((pairs.a, pairs.b, pairs.tie, pairs.inconsistent), (1, 0, 1, 1));
        assert!((pairs.probability_a.value - 0.6).abs() < 1e-12);
        assert_eq!(summary.mean().unwrap().value, responses.reward.value);
        let nothing = RunSummary::of(&[], 0.05, Bootstrap::default());
        assert_eq!((nothing.mean(), nothing.graded), (None, 0));
    }

    #[test]
    fn flips_have_a_direction() {
        use std::cmp::Ordering::{Equal, Greater, Less};
        let check = |a: RunVerdict, b: RunVerdict, expected| assert_eq!(flip(&a, &b), expected, "{a:?} {b:?}");
        check(response(1, 3, 0.5, 1.0), response(1, 4, 0.6, 1.0), Greater);
        check(response(1, 3, 0.5, 1.0), response(1, 3, 0.6, 1.0), Equal);
        check(pair(1, Preference::A, 0.8), pair(1, Preference::Tie, 0.5), Less);
        check(pair(1, Preference::B, 0.2), pair(1, Preference::Tie, 0.5), Greater);
        let several = |reward| RunVerdict { score: None, ..response(1, 0, reward, 1.0) };
        check(several(0.4), several(0.3), Less);
    }

    #[test]
    fn the_same_run_twice_shows_no_difference_and_another_one_does() {
        let run = |more: f64| (0..40).map(move |i| response(i, 3, 0.3 + more + (i % 5) as f64 * 0.05, 1.0));
        let both = |more: f64| run(0.0).zip(run(more)).collect::<Vec<_>>();
        let same = Change::of(&both(0.0), Bootstrap::default()).responses.unwrap();
        assert_eq!((same.difference.value, same.p_value, same.same), (0.0, 1.0, 40));
        let better = Change::of(&both(0.1), Bootstrap::default()).responses.unwrap();
        assert!((better.difference.value - 0.1).abs() < 1e-9 && better.p_value < 0.01, "{better:?}");
        // Every item moved by the same, so nothing is left to chance.
        assert!((better.difference.low.unwrap() - 0.1).abs() < 1e-9);
        let mixed = [(response(1, 3, 0.5, 1.0), pair(1, Preference::A, 0.9))];
        assert_eq!(Change::of(&mixed, Bootstrap::default()), Change::default());
    }

    proptest! {
        #[test]
        fn exchanging_the_runs_changes_the_sign(values in prop::collection::vec((0.0..1.0_f64, 0.0..1.0_f64), 2..30)) {
            let both: Vec<(RunVerdict, RunVerdict)> = (0..).zip(&values)
                .map(|(i, (a, b))| (response(i, 3, *a, 1.0), response(i, 4, *b, 1.0))).collect();
            let exchanged: Vec<_> = both.iter().map(|(a, b)| (*b, *a)).collect();
            let bootstrap = Bootstrap { seed: 1, resamples: 50 };
            let (one, other) = (Change::of(&both, bootstrap).responses.unwrap(), Change::of(&exchanged, bootstrap).responses.unwrap());
            prop_assert!((one.difference.value + other.difference.value).abs() < 1e-9);
            prop_assert!((one.p_value - other.p_value).abs() < 1e-9);
            prop_assert_eq!((one.up, one.down), (other.down, other.up));
        }
    }
}
