//! One judge against the labels, and two judges against each other.

use super::absolute::{Scores, absolute, rounded};
use super::bootstrap::{Bootstrap, Draws, Statistic, clusters};
use super::items::{Judged, PairItem, PairVerdict, ScoreItem, ScoreVerdict};
use super::pairwise::{Pairs, decided, pairwise};
use super::probability::{Forecast, auc, brier, ece, reliability, sorted};
use super::report::{Absolute, Comparison, Pairwise, Reward};
use crate::domain::{Preference, Scale};

/// The items that verdicts are compared with.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Items {
    /// Those with scores.
    pub scores: Vec<ScoreItem>,
    /// The scale of their labels; `None` where there are none.
    pub scale: Option<Scale>,
    /// Those with preferences.
    pub pairs: Vec<PairItem>,
}

/// What one judge says of the items, in their order; `None` where it says nothing.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Verdicts {
    /// On those with scores.
    pub scores: Vec<Option<ScoreVerdict>>,
    /// On those with preferences.
    pub pairs: Vec<Option<PairVerdict>>,
}

/// How far one judge agrees with the labels.
#[derive(Debug, Clone, PartialEq)]
pub struct Measured {
    /// On items with a score.
    pub absolute: Option<Absolute>,
    /// On pairs.
    pub pairwise: Option<Pairwise>,
    /// Of its probabilities.
    pub reward: Option<Reward>,
}

/// The items that have a verdict, each with it.
fn judged<'a, I, V>(items: &'a [I], verdicts: &'a [Option<V>]) -> Vec<Judged<'a, I, V>> {
    items.iter().zip(verdicts).filter_map(|(item, verdict)| Some((item, verdict.as_ref()?))).collect()
}

/// The items that have a verdict of both judges, each with the one and with the other.
#[allow(clippy::type_complexity, reason = "two lists of the same")]
fn judged_by_both<'a, I, V>(
    items: &'a [I],
    one: &'a [Option<V>],
    other: &'a [Option<V>],
    counts: impl Fn(&I, &V) -> bool,
) -> (Vec<Judged<'a, I, V>>, Vec<Judged<'a, I, V>>) {
    let both = items.iter().zip(one.iter().zip(other)).filter_map(|(item, (one, other))| {
        let (one, other) = (one.as_ref()?, other.as_ref()?);
        (counts(item, one) && counts(item, other)).then_some(((item, one), (item, other)))
    });
    both.unzip()
}

/// Measures a judge.
#[must_use]
pub fn measure(items: &Items, verdicts: &Verdicts, bootstrap: Bootstrap) -> Measured {
    let scores = judged(&items.scores, &verdicts.scores);
    let pairs = judged(&items.pairs, &verdicts.pairs);
    Measured {
        absolute: items.scale.and_then(|scale| absolute(scale, &scores, bootstrap)),
        pairwise: pairwise(&pairs, bootstrap),
        reward: reward(items.scale, &scores, &pairs, bootstrap),
    }
}

/// The probability of A against the labels A and B; without pairs, the reward against the labels of a scale of two
/// levels. `None` where there is neither.
fn reward(
    scale: Option<Scale>,
    scores: &[Judged<'_, ScoreItem, ScoreVerdict>],
    pairs: &[Judged<'_, PairItem, PairVerdict>],
    bootstrap: Bootstrap,
) -> Option<Reward> {
    let (of, (forecasts, clusters)) = match (forecasts_of_pairs(pairs), scale.filter(|scale| scale.levels() == 2)) {
        (all, _) if !all.0.is_empty() => ("pairs", all),
        (_, Some(scale)) => ("scores", forecasts_of_scores(scale, scores)),
        _ => return None,
    };
    if forecasts.is_empty() {
        return None;
    }
    let draws = Draws::new(bootstrap, clusters);
    Some(Reward {
        of: of.to_owned(),
        auc: draws.figure(&auc(&forecasts)),
        brier: draws.figure(&brier(clusters, &forecasts)),
        ece: draws.figure(&ece(&forecasts)),
        reliability: reliability(&forecasts),
    })
}

/// What probabilities of pairs come to, sorted, and how many clusters they are in.
fn forecasts_of_pairs(pairs: &[Judged<'_, PairItem, PairVerdict>]) -> (Vec<Forecast>, usize) {
    let (cluster, clusters) = clusters(pairs.iter().map(|(item, _)| item.place.instruction));
    let forecast = |(cluster, (item, verdict)): (&usize, &Judged<'_, PairItem, PairVerdict>)| {
        let came_true = match item.label {
            Preference::A => true,
            Preference::B => false,
            Preference::Tie => return None,
        };
        Some(Forecast { cluster: *cluster, probability: verdict.probability_a?, came_true })
    };
    (sorted(cluster.iter().zip(pairs).filter_map(forecast).collect()), clusters)
}

/// The same of rewards on a scale of two levels.
fn forecasts_of_scores(scale: Scale, scores: &[Judged<'_, ScoreItem, ScoreVerdict>]) -> (Vec<Forecast>, usize) {
    let (cluster, clusters) = clusters(scores.iter().map(|(item, _)| item.place.instruction));
    let forecast = |(cluster, (item, verdict)): (&usize, &Judged<'_, ScoreItem, ScoreVerdict>)| {
        let came_true = rounded(item.label) >= scale.highest();
        Some(Forecast { cluster: *cluster, probability: verdict.reward?, came_true })
    };
    (sorted(cluster.iter().zip(scores).filter_map(forecast).collect()), clusters)
}

/// Two judges against each other, over the items that count for both: the same instructions are drawn for both, so that
/// what is hard for both takes nothing from the difference.
#[must_use]
pub fn compare(
    items: &Items,
    (a, of_a): (&str, &Verdicts),
    (b, of_b): (&str, &Verdicts),
    bootstrap: Bootstrap,
) -> Vec<Comparison> {
    let mut found = Vec::new();
    let mut add = |figure: &str, clusters: usize, one: Statistic<'_>, other: Statistic<'_>| {
        if let Some((difference, p_value)) = Draws::new(bootstrap, clusters).difference(&one.less(other)) {
            let (a, b, figure) = (a.to_owned(), b.to_owned(), figure.to_owned());
            found.push(Comparison { a, b, figure, difference, p_value });
        }
    };
    if let Some(scale) = items.scale {
        let (one, other) = judged_by_both(&items.scores, &of_a.scores, &of_b.scores, |_, _| true);
        let (one, other) = (Scores::of(scale, &one), Scores::of(scale, &other));
        add("absolute.pearson", one.clusters, one.pearson(), other.pearson());
        add("absolute.spearman", one.clusters, one.spearman(), other.spearman());
        add("absolute.mae", one.clusters, one.mae(), other.mae());
        add("absolute.exact", one.clusters, one.within(0), other.within(0));
    }
    let pairs_of =
        |counts: fn(&PairItem, &PairVerdict) -> bool| judged_by_both(&items.pairs, &of_a.pairs, &of_b.pairs, counts);
    let of_pairs = |counts: fn(&PairItem, &PairVerdict) -> bool| {
        let (one, other) = pairs_of(counts);
        (Pairs::of(&one), Pairs::of(&other))
    };
    let (one, other) = of_pairs(decided);
    add("pairwise.accuracy_non_ties", one.clusters, one.accuracy_non_ties(), other.accuracy_non_ties());
    let (one, other) = of_pairs(|_, _| true);
    add("pairwise.accuracy", one.clusters, one.accuracy(), other.accuracy());
    let (one, other) = of_pairs(|_, verdict| verdict.consistent.is_some());
    add("pairwise.position_consistency", one.clusters, one.position_consistency(), other.position_consistency());
    let (one, other) = pairs_of(|_, verdict| verdict.probability_a.is_some());
    let ((one, clusters), (other, _)) = (forecasts_of_pairs(&one), forecasts_of_pairs(&other));
    add("reward.auc", clusters, auc(&one), auc(&other));
    add("reward.brier", clusters, brier(clusters, &one), brier(clusters, &other));
    found
}
