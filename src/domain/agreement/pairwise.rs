//! Preferences against labels.

use std::collections::BTreeMap;

use super::bootstrap::{Bootstrap, Draws, Statistic, clusters, figure};
use super::categorical::{Rated, Votes, alpha, confusion, kappa, nominal};
use super::correlation::{Point, spearman};
use super::items::{Judged, PairItem, PairVerdict, Placed, by_set, by_subset};
use super::report::{Figure, PairFigures, Pairwise};
use crate::domain::Preference;

/// An item, its verdict, and nothing else.
pub(super) type Compared<'a> = Judged<'a, PairItem, PairVerdict>;

/// The places of preferences in tables.
pub(super) fn index(preference: Preference) -> usize {
    match preference {
        Preference::A => 0,
        Preference::B => 1,
        Preference::Tie => 2,
    }
}

/// How many voters gave each label.
pub(super) fn counts(votes: impl Iterator<Item = Preference>) -> [u32; 3] {
    let mut counts = [0; 3];
    votes.for_each(|vote| counts[index(vote)] += 1);
    counts
}

/// Compared items with their clusters.
pub(super) struct Pairs<'a> {
    pub(super) clusters: usize,
    items: Vec<(usize, Compared<'a>)>,
}

impl<'a> Pairs<'a> {
    pub(super) fn of(items: &[Compared<'a>]) -> Self {
        let (cluster, clusters) = clusters(items.iter().map(|item| item.place().instruction));
        Self { clusters, items: cluster.into_iter().zip(items.iter().copied()).collect() }
    }

    /// The share of the items that have one, for which something holds.
    fn share(&self, holds: impl Fn(&Compared<'a>) -> Option<bool>) -> Statistic<'static> {
        let known = self.items.iter().filter_map(|(cluster, item)| Some((*cluster, holds(item)?)));
        Statistic::share(self.clusters, &known.collect::<Vec<_>>())
    }

    pub(super) fn accuracy_non_ties(&self) -> Statistic<'static> {
        self.share(|(item, verdict)| decided(item, verdict).then(|| verdict.leaning() == item.label))
    }

    pub(super) fn accuracy_ties_half(&self) -> Statistic<'static> {
        let decided = || self.items.iter().filter(|(_, (item, _))| item.label != Preference::Tie);
        let right = |leaning: Preference, label: Preference| match leaning {
            Preference::Tie => 0.5,
            leaning => f64::from(u8::from(leaning == label)),
        };
        let scores = decided().map(|(cluster, (item, verdict))| (*cluster, right(verdict.leaning(), item.label), 1.0));
        Statistic::ratio(self.clusters, decided().count(), scores)
    }

    pub(super) fn accuracy(&self) -> Statistic<'static> {
        self.share(|(item, verdict)| Some(verdict.preference == item.label))
    }

    pub(super) fn position_consistency(&self) -> Statistic<'static> {
        self.share(|(_, verdict)| verdict.consistent)
    }

    fn first_lean(&self) -> Statistic<'static> {
        self.share(|(_, verdict)| verdict.first_preferred.filter(|_| verdict.consistent == Some(false)))
    }

    fn length_bias(&self) -> Statistic<'static> {
        let longer = |item: &PairItem, preference: Preference| {
            f64::from(u8::from((preference == Preference::A) == (item.lengths[0] > item.lengths[1])))
        };
        let of_interest = || {
            let unlike = |item: &PairItem| item.lengths[0] != item.lengths[1];
            self.items.iter().filter(move |(_, (item, verdict))| unlike(item) && decided(item, verdict))
        };
        let differences = of_interest().map(|(cluster, (item, verdict))| {
            (*cluster, longer(item, verdict.leaning()) - longer(item, item.label), 1.0)
        });
        Statistic::ratio(self.clusters, of_interest().count(), differences)
    }

    fn rated(&self) -> Vec<Rated> {
        let rated = |(cluster, (item, verdict)): &(usize, Compared<'_>)| {
            (*cluster, index(item.label), index(verdict.preference))
        };
        self.items.iter().map(rated).collect()
    }

    /// The people's votes, and the judge's preference as one more.
    fn votes(&self) -> Vec<Votes> {
        let with_votes = self.items.iter().filter(|(_, (item, _))| !item.votes.is_empty());
        let votes = |(cluster, (item, verdict)): &(usize, Compared<'_>)| {
            let all = item.votes.iter().copied().chain([verdict.preference]);
            Votes { cluster: *cluster, counts: counts(all) }
        };
        with_votes.map(votes).collect()
    }

    /// How much longer A is, and how much it is preferred.
    fn lengths(&self) -> Vec<Point> {
        let point = |(cluster, (item, verdict)): &(usize, Compared<'_>)| {
            // An empty response is as long as one of half a character, so that a ratio is there.
            let length = |of: usize| (of as f64).max(0.5);
            let preferred = verdict.probability_a.unwrap_or(match verdict.preference {
                Preference::A => 1.0,
                Preference::B => 0.0,
                Preference::Tie => 0.5,
            });
            Point { cluster: *cluster, x: (length(item.lengths[0]) / length(item.lengths[1])).ln(), y: preferred }
        };
        self.items.iter().map(point).collect()
    }

    fn figures(&self, draws: &Draws) -> PairFigures {
        PairFigures {
            accuracy_non_ties: draws.figure(&self.accuracy_non_ties()),
            accuracy_ties_half: draws.figure(&self.accuracy_ties_half()),
            accuracy: draws.figure(&self.accuracy()),
            cohen_kappa: draws.figure(&kappa(3, &self.rated(), nominal)),
            position_consistency: draws.figure(&self.position_consistency()),
            first_lean: draws.figure(&self.first_lean()),
            length_bias: draws.figure(&self.length_bias()),
        }
    }
}

/// Whether neither the label nor what the judge leans to is a tie.
pub(super) fn decided(item: &PairItem, verdict: &PairVerdict) -> bool {
    item.label != Preference::Tie && verdict.leaning() != Preference::Tie
}

/// How far preferences agree with labels; `None` where nothing was compared.
pub(super) fn pairwise(items: &[Judged<'_, PairItem, PairVerdict>], bootstrap: Bootstrap) -> Option<Pairwise> {
    if items.is_empty() {
        return None;
    }
    let of_groups = |groups: BTreeMap<String, Vec<Compared<'_>>>| {
        let of_group = |items: Vec<Compared<'_>>| {
            let pairs = Pairs::of(&items);
            pairs.figures(&Draws::new(bootstrap, pairs.clusters))
        };
        groups.into_iter().map(|(name, items)| (name, of_group(items))).collect()
    };
    let all = Pairs::of(items);
    let draws = Draws::new(bootstrap, all.clusters);
    let table = confusion(3, &all.rated());
    let sets = by_set(items);
    Some(Pairwise {
        figures: all.figures(&draws),
        macro_accuracy_non_ties: macro_accuracy(&sets, bootstrap),
        krippendorff_alpha: draws.figure(&alpha(all.clusters, &all.votes())),
        length_correlation: draws.figure(&spearman(&all.lengths())),
        confusion: std::array::from_fn(|row| std::array::from_fn(|column| table[row][column])),
        by_set: of_groups(sets),
        by_subset: of_groups(by_subset(items)),
    })
}

/// The mean of the sets' accuracies, each counting alike. Instructions are drawn within each set.
fn macro_accuracy(sets: &BTreeMap<String, Vec<Compared<'_>>>, bootstrap: Bootstrap) -> Option<Figure> {
    let (mut values, mut n, mut sum) = (Vec::new(), 0, vec![Some(0.0); bootstrap.resamples]);
    let mut any_drawn = false;
    for (nth, items) in sets.values().enumerate() {
        let pairs = Pairs::of(items);
        let accuracy = pairs.accuracy_non_ties();
        // A set whose labels are all ties has none.
        let Some(value) = accuracy.value(pairs.clusters) else { continue };
        values.push(value);
        n += accuracy.n;
        // Sets are drawn apart from each other.
        let seed = bootstrap.seed.wrapping_add(1 + nth as u64);
        let replicates = Draws::new(Bootstrap { seed, ..bootstrap }, pairs.clusters).replicates(&accuracy);
        any_drawn |= !replicates.is_empty();
        let replicates = if replicates.is_empty() { vec![Some(value); bootstrap.resamples] } else { replicates };
        sum.iter_mut().zip(replicates).for_each(|(sum, one)| *sum = sum.zip(one).map(|(sum, one)| sum + one));
    }
    let count = values.len() as f64;
    // Where each set has a single instruction, there is nothing to draw.
    let sum = if any_drawn { sum } else { Vec::new() };
    let means: Vec<Option<f64>> = sum.into_iter().map(|sum| sum.map(|sum| sum / count)).collect();
    (!values.is_empty()).then(|| figure(values.iter().sum::<f64>() / count, n, &means))
}
