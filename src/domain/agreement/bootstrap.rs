//! Statistics with intervals: a bootstrap that draws instructions, not items, since items on one instruction are not
//! independent of each other.

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::report::Figure;

/// How often instructions are drawn anew, and from which seed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bootstrap {
    /// Equal seeds draw the same.
    pub seed: u64,
    /// How many resamples are drawn.
    pub resamples: usize,
}

impl Default for Bootstrap {
    fn default() -> Self {
        Self { seed: 0, resamples: 1000 }
    }
}

/// The tails outside of a 95 % interval.
const TAIL: f64 = 0.025;

/// A function of how often each cluster counts.
type OfWeights<'a> = dyn Fn(&[u32]) -> Option<f64> + 'a;

/// A function of how often each cluster counts, and how many items it is taken over. It is `None` where the statistic is
/// not defined.
pub(super) struct Statistic<'a> {
    pub(super) n: usize,
    at: Box<OfWeights<'a>>,
}

impl<'a> Statistic<'a> {
    pub(super) fn new(n: usize, at: impl Fn(&[u32]) -> Option<f64> + 'a) -> Self {
        Self { n, at: Box::new(at) }
    }

    /// The ratio of two sums over items, each a cluster, a numerator and a denominator.
    pub(super) fn ratio(clusters: usize, n: usize, items: impl Iterator<Item = (usize, f64, f64)>) -> Self {
        let sums = Sums::of(clusters, items.map(|(cluster, over, under)| (cluster, [over, under])));
        Self::new(n, move |weights| {
            let [over, under] = sums.weighted(weights);
            (under > 0.0).then(|| over / under)
        })
    }

    /// The share of the items for which something holds.
    pub(super) fn share(clusters: usize, items: &[(usize, bool)]) -> Self {
        let ones = items.iter().map(|(cluster, holds)| (*cluster, f64::from(u8::from(*holds)), 1.0));
        Self::ratio(clusters, items.len(), ones)
    }

    /// This one less another one.
    pub(super) fn less(self, other: Self) -> Self {
        let n = self.n.min(other.n);
        Self::new(n, move |weights| Some((self.at)(weights)? - (other.at)(weights)?))
    }

    /// Its value where clusters count as often as this says.
    pub(super) fn with(&self, weights: &[u32]) -> Option<f64> {
        (self.at)(weights)
    }

    /// Its value where every cluster counts once.
    pub(super) fn value(&self, clusters: usize) -> Option<f64> {
        self.with(&vec![1; clusters])
    }
}

/// Sums over the items of each cluster, so that a resample costs as many steps as there are clusters.
pub(super) struct Sums<const K: usize> {
    of_cluster: Vec<[f64; K]>,
}

impl<const K: usize> Sums<K> {
    pub(super) fn of(clusters: usize, items: impl Iterator<Item = (usize, [f64; K])>) -> Self {
        let mut of_cluster = vec![[0.0; K]; clusters];
        for (cluster, numbers) in items {
            of_cluster[cluster].iter_mut().zip(numbers).for_each(|(sum, number)| *sum += number);
        }
        Self { of_cluster }
    }

    pub(super) fn weighted(&self, weights: &[u32]) -> [f64; K] {
        let mut total = [0.0; K];
        for (sums, weight) in self.of_cluster.iter().zip(weights).filter(|(_, weight)| **weight > 0) {
            let weight = f64::from(*weight);
            total.iter_mut().zip(sums).for_each(|(total, sum)| *total += weight * sum);
        }
        total
    }
}

/// How often each of some clusters counts in each resample.
pub(in crate::domain) struct Draws {
    clusters: usize,
    weights: Vec<u32>,
}

impl Draws {
    pub(in crate::domain) fn new(bootstrap: Bootstrap, clusters: usize) -> Self {
        let mut random = ChaCha8Rng::seed_from_u64(bootstrap.seed);
        let mut weights = vec![0; clusters * bootstrap.resamples];
        // With one cluster, every resample is the whole again.
        if clusters > 1 {
            for resample in weights.chunks_exact_mut(clusters) {
                (0..clusters).for_each(|_| resample[random.random_range(0..clusters)] += 1);
            }
        }
        Self { clusters, weights }
    }

    /// How often each cluster counts, resample by resample; none where there is one cluster or none at all.
    pub(in crate::domain) fn resamples(&self) -> impl Iterator<Item = &[u32]> {
        let drawn = if self.clusters < 2 { &[][..] } else { &self.weights[..] };
        drawn.chunks_exact(self.clusters.max(1))
    }

    /// The statistic in each resample; none where there is one cluster or none at all.
    pub(super) fn replicates(&self, statistic: &Statistic<'_>) -> Vec<Option<f64>> {
        self.resamples().map(|weights| statistic.with(weights)).collect()
    }

    /// A statistic with its percentile interval; `None` where it is not defined.
    pub(super) fn figure(&self, statistic: &Statistic<'_>) -> Option<Figure> {
        let value = statistic.value(self.clusters)?;
        Some(figure(value, statistic.n, &self.replicates(statistic)))
    }

    /// A difference with its interval and its p-value; `None` where it is not defined.
    pub(super) fn difference(&self, statistic: &Statistic<'_>) -> Option<(Figure, f64)> {
        let value = statistic.value(self.clusters)?;
        Some(difference(value, statistic.n, &self.replicates(statistic)))
    }
}

/// A difference with its interval, and a two-sided p-value: twice the share of the resamples on the smaller side of zero,
/// each side with one more, so that it is never 0 (Davison and Hinkley 1997, section 4.4).
fn difference(value: f64, n: usize, replicates: &[Option<f64>]) -> (Figure, f64) {
    let defined = || replicates.iter().flatten();
    let share = |count: usize| (count + 1) as f64 / (defined().count() + 1) as f64;
    let below = share(defined().filter(|difference| **difference <= 0.0).count());
    let above = share(defined().filter(|difference| **difference >= 0.0).count());
    (figure(value, n, replicates), (2.0 * below.min(above)).min(1.0))
}

/// The mean of numbers with its interval, each number with the key of its instruction; `None` of no numbers.
#[must_use]
pub fn mean(numbers: &[(u64, f64)], bootstrap: Bootstrap) -> Option<Figure> {
    let (value, replicates) = replicated_mean(numbers, bootstrap)?;
    Some(figure(value, numbers.len(), &replicates))
}

/// The mean of paired differences with its interval and its two-sided p-value, each difference with the key of its
/// instruction; `None` of no numbers.
#[must_use]
pub fn mean_difference(numbers: &[(u64, f64)], bootstrap: Bootstrap) -> Option<(Figure, f64)> {
    let (value, replicates) = replicated_mean(numbers, bootstrap)?;
    Some(difference(value, numbers.len(), &replicates))
}

/// A mean, and the same in each resample. They are those of [`Draws`], which keeps its draws for several statistics; a
/// run may have a million instructions.
fn replicated_mean(numbers: &[(u64, f64)], bootstrap: Bootstrap) -> Option<(f64, Vec<Option<f64>>)> {
    let (cluster, count) = clusters(numbers.iter().map(|(key, _)| *key));
    let each = cluster.iter().zip(numbers).map(|(cluster, (_, number))| (*cluster, *number, 1.0));
    let statistic = Statistic::ratio(count, numbers.len(), each);
    let value = statistic.value(count)?;
    if count < 2 {
        return Some((value, Vec::new()));
    }
    let (mut random, mut weights) = (ChaCha8Rng::seed_from_u64(bootstrap.seed), vec![0; count]);
    let resample = |_| {
        weights.fill(0);
        (0..count).for_each(|_| weights[random.random_range(0..count)] += 1);
        statistic.with(&weights)
    };
    Some((value, (0..bootstrap.resamples).map(resample).collect()))
}

/// A value and the percentiles of its replicates. Where the statistic is not defined in most resamples, there is no
/// interval.
pub(in crate::domain) fn figure(value: f64, n: usize, replicates: &[Option<f64>]) -> Figure {
    let mut defined: Vec<f64> = replicates.iter().copied().flatten().collect();
    let enough = !defined.is_empty() && defined.len() * 2 > replicates.len();
    defined.sort_unstable_by(f64::total_cmp);
    let at = |share: f64| enough.then(|| percentile(&defined, share));
    Figure { value, low: at(TAIL), high: at(1.0 - TAIL), n }
}

/// A percentile of sorted numbers, linear between them.
fn percentile(sorted: &[f64], share: f64) -> f64 {
    let at = share * (sorted.len() - 1) as f64;
    let (low, part) = (at.floor() as usize, at.fract());
    let high = (low + 1).min(sorted.len() - 1);
    sorted[low] + part * (sorted[high] - sorted[low])
}

/// Numbers clusters from 0, in the order of their keys; gives the cluster of each item, and how many there are.
pub(in crate::domain) fn clusters(keys: impl Iterator<Item = u64> + Clone) -> (Vec<usize>, usize) {
    let mut all: Vec<u64> = keys.clone().collect();
    all.sort_unstable();
    all.dedup();
    let of = |key| all.binary_search(&key).expect("every key is there");
    (keys.map(of).collect(), all.len())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn percentiles_are_those_of_numpy() {
        let sorted: Vec<f64> = (0..10).map(f64::from).collect();
        let check = |share: f64, expected: f64| assert!((percentile(&sorted, share) - expected).abs() < 1e-12);
        check(0.0, 0.0);
        check(0.025, 0.225);
        check(0.5, 4.5);
        check(1.0, 9.0);
        assert_eq!(percentile(&[3.0], 0.975), 3.0);
    }

    #[test]
    fn items_of_one_instruction_are_drawn_together() {
        // Ten instructions of 30 equal items each: the interval is that of 10 draws, not of 300.
        let items: Vec<(usize, bool)> = (0..300).map(|i| (i / 30, (i / 30) % 2 == 0)).collect();
        let draws = Draws::new(Bootstrap::default(), 10);
        let figure = draws.figure(&Statistic::share(10, &items)).unwrap();
        let width = figure.high.unwrap() - figure.low.unwrap();
        assert!((figure.value, figure.n) == (0.5, 300) && (0.5..0.75).contains(&width), "{figure:?}");
        let alone: Vec<(usize, bool)> = (0..300).map(|i| (i, i % 2 == 0)).collect();
        let figure = Draws::new(Bootstrap::default(), 300).figure(&Statistic::share(300, &alone)).unwrap();
        assert!((0.08..0.15).contains(&(figure.high.unwrap() - figure.low.unwrap())), "{figure:?}");
    }

    #[test]
    fn one_instruction_has_no_interval() {
        let draws = Draws::new(Bootstrap::default(), 1);
        let figure = draws.figure(&Statistic::share(1, &[(0, true), (0, false)])).unwrap();
        assert_eq!((figure.value, figure.low, figure.high), (0.5, None, None));
        assert_eq!(draws.figure(&Statistic::share(1, &[])), None);
        assert_eq!(Draws::new(Bootstrap::default(), 0).figure(&Statistic::share(0, &[])), None);
    }

    #[test]
    fn no_difference_has_a_p_value_of_one_and_a_sure_one_a_small_one() {
        let draws = Draws::new(Bootstrap::default(), 40);
        let share =
            |holds: fn(usize) -> bool| Statistic::share(40, &(0..40).map(|i| (i, holds(i))).collect::<Vec<_>>());
        let (figure, p) = draws.difference(&share(|i| i % 3 == 0).less(share(|i| i % 3 == 0))).unwrap();
        assert_eq!((figure.value, figure.low, p), (0.0, Some(0.0), 1.0));
        let (figure, p) = draws.difference(&share(|i| i % 8 > 0).less(share(|i| i % 8 == 0))).unwrap();
        assert!(figure.value == 0.75 && p < 0.01, "{figure:?} {p}");
    }

    #[test]
    fn a_mean_has_the_interval_of_kept_draws() {
        let numbers: Vec<(u64, f64)> = (0..60).map(|i| (i / 3, (i % 7) as f64)).collect();
        let (cluster, count) = clusters(numbers.iter().map(|(key, _)| *key));
        let each = cluster.iter().zip(&numbers).map(|(cluster, (_, number))| (*cluster, *number, 1.0));
        let (statistic, bootstrap) = (Statistic::ratio(count, numbers.len(), each), Bootstrap::default());
        assert_eq!(mean(&numbers, bootstrap), Draws::new(bootstrap, count).figure(&statistic));
        assert_eq!(mean_difference(&numbers, bootstrap), Draws::new(bootstrap, count).difference(&statistic));
        assert_eq!((mean(&[], bootstrap), mean_difference(&[], bootstrap)), (None, None));
    }

    proptest! {
        #[test]
        fn clusters_are_numbered_whatever_their_order(keys in prop::collection::vec(0_u64..20, 1..50)) {
            let (of, count) = clusters(keys.iter().copied());
            prop_assert!(of.iter().all(|cluster| *cluster < count));
            for (i, j) in (0..keys.len()).flat_map(|i| (0..i).map(move |j| (i, j))) {
                prop_assert_eq!(keys[i].cmp(&keys[j]), of[i].cmp(&of[j]));
            }
        }

        #[test]
        fn a_share_stays_within_its_bounds_and_its_interval_around_it(
            items in prop::collection::vec((0_usize..12, any::<bool>()), 1..80),
            seed in any::<u64>(),
        ) {
            let draws = Draws::new(Bootstrap { seed, resamples: 200 }, 12);
            let figure = draws.figure(&Statistic::share(12, &items)).unwrap();
            if let (Some(low), Some(high)) = (figure.low, figure.high) {
                prop_assert!((0.0..=1.0).contains(&low) && low <= high && high <= 1.0);
            }
            prop_assert_eq!(Draws::new(Bootstrap { seed, resamples: 200 }, 12).figure(&Statistic::share(12, &items)), Some(figure));
        }
    }
}
