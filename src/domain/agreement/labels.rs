//! What labels say by themselves: what rules reach that read nothing, and what people reach.

use std::collections::BTreeMap;

use super::absolute::rounded;
use super::bootstrap::{Bootstrap, Draws, Statistic, clusters};
use super::categorical::{Votes, agreement_of_votes, alpha};
use super::correlation::{Point, spearman};
use super::items::{PairItem, Placed, ScoreItem, by_set};
use super::pairwise::counts;
use super::report::{Baselines, Figure, PairLabelFigures, PairLabels, ScoreLabels};
use crate::domain::Preference;

/// What takes no judge on items with scores; `None` where there are none.
#[must_use]
pub fn score_labels(items: &[ScoreItem], bootstrap: Bootstrap) -> Option<ScoreLabels> {
    let (cluster, clusters) = clusters(items.iter().map(|item| item.place.instruction));
    let draws = Draws::new(bootstrap, clusters);
    let mut sorted: Vec<f64> = items.iter().map(|item| item.label).collect();
    sorted.sort_unstable_by(f64::total_cmp);
    let median = *sorted.get(sorted.len() / 2)?;
    let mut counts: BTreeMap<i32, usize> = BTreeMap::new();
    items.iter().for_each(|item| *counts.entry(rounded(item.label)).or_default() += 1);
    // Of scores that are equally frequent, the lowest.
    let (most_frequent, _) = counts.into_iter().rev().max_by_key(|(_, count)| *count)?;
    let all = || cluster.iter().zip(items);
    let points = all().map(|(cluster, item)| Point { cluster: *cluster, x: item.length as f64, y: item.label });
    let points: Vec<Point> = points.collect();
    let errors = all().map(|(cluster, item)| (*cluster, (item.label - median).abs(), 1.0));
    let hits: Vec<(usize, bool)> =
        all().map(|(cluster, item)| (*cluster, rounded(item.label) == most_frequent)).collect();
    Some(ScoreLabels {
        length_spearman: draws.figure(&spearman(&points)),
        median_mae: draws.figure(&Statistic::ratio(clusters, items.len(), errors)),
        most_frequent_exact: draws.figure(&Statistic::share(clusters, &hits)),
    })
}

/// What people and simple rules reach on pairs; `None` where there are none.
#[must_use]
pub fn pair_labels(items: &[PairItem], bootstrap: Bootstrap) -> Option<PairLabels> {
    if items.is_empty() {
        return None;
    }
    let all: Vec<&PairItem> = items.iter().collect();
    let (votes, clusters) = votes(&all);
    Some(PairLabels {
        figures: figures(&all, bootstrap),
        krippendorff_alpha: Draws::new(bootstrap, clusters).figure(&alpha(clusters, &votes)),
        by_set: by_set(&all).into_iter().map(|(set, items)| (set, figures(&items, bootstrap))).collect(),
    })
}

/// The votes on each item, and how many clusters there are.
fn votes(items: &[&PairItem]) -> (Vec<Votes>, usize) {
    let (cluster, clusters) = clusters(items.iter().map(|item| item.place().instruction));
    let votes =
        |(cluster, item): (&usize, &&PairItem)| Votes { cluster: *cluster, counts: counts(item.votes.iter().copied()) };
    (cluster.iter().zip(items).map(votes).collect(), clusters)
}

fn figures(items: &[&PairItem], bootstrap: Bootstrap) -> PairLabelFigures {
    let (votes, clusters) = votes(items);
    let draws = Draws::new(bootstrap, clusters);
    let cluster_of = |i: usize| votes[i].cluster;
    let decided = || items.iter().enumerate().filter(|(_, item)| item.label != Preference::Tie);
    let longer = decided()
        .filter(|(_, item)| item.lengths[0] != item.lengths[1])
        .map(|(i, item)| (cluster_of(i), (item.label == Preference::A) == (item.lengths[0] > item.lengths[1])));
    let longer: Vec<(usize, bool)> = longer.collect();
    let always_a: Vec<(usize, bool)> =
        decided().map(|(i, item)| (cluster_of(i), item.label == Preference::A)).collect();
    let n = always_a.len();
    PairLabelFigures {
        human_ceiling: draws.figure(&agreement_of_votes(clusters, &votes)),
        baselines: Baselines {
            longer: draws.figure(&Statistic::share(clusters, &longer)),
            always_a: draws.figure(&Statistic::share(clusters, &always_a)),
            // A coin is right half of the time, whatever was drawn.
            random: (n > 0).then_some(Figure { value: 0.5, low: Some(0.5), high: Some(0.5), n }),
        },
    }
}
