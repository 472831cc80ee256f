//! Probabilities against what came true: order, error and calibration.

use super::bootstrap::Statistic;
use super::report::Bin;

/// The bins of the calibration error and of the reliability curve.
const BINS: usize = 15;

/// A probability, 0..1, and whether what it is of came true.
#[derive(Debug, Clone, Copy)]
pub(super) struct Forecast {
    pub(super) cluster: usize,
    pub(super) probability: f64,
    pub(super) came_true: bool,
}

impl Forecast {
    fn outcome(&self) -> f64 {
        f64::from(u8::from(self.came_true))
    }
}

/// The mean squared error of the probability (Brier 1950).
pub(super) fn brier(clusters: usize, forecasts: &[Forecast]) -> Statistic<'static> {
    let errors = forecasts.iter().map(|forecast| {
        let error = forecast.probability - forecast.outcome();
        (forecast.cluster, error * error, 1.0)
    });
    Statistic::ratio(clusters, forecasts.len(), errors)
}

/// Forecasts from the lowest probability to the highest.
pub(super) fn sorted(mut forecasts: Vec<Forecast>) -> Vec<Forecast> {
    forecasts.sort_by(|one, other| one.probability.total_cmp(&other.probability));
    forecasts
}

/// Forecasts of one probability: how many there are, and how many of them came true.
struct Group {
    probability: f64,
    count: f64,
    came_true: f64,
}

/// The groups of equal probabilities among sorted forecasts.
fn groups<'a>(sorted: &'a [Forecast], weight_of: impl Fn(usize) -> f64 + 'a) -> impl Iterator<Item = Group> + 'a {
    sorted.chunk_by(|one, other| one.probability == other.probability).map(move |equal| {
        let count = equal.iter().map(|forecast| weight_of(forecast.cluster)).sum();
        let came_true = equal.iter().map(|forecast| weight_of(forecast.cluster) * forecast.outcome()).sum();
        Group { probability: equal[0].probability, count, came_true }
    })
}

/// The area under the receiver operating characteristic: how often something that came true had a higher probability than
/// something that did not, equal ones counted half (Mann and Whitney's U over the number of pairs). Of sorted forecasts.
pub(super) fn auc(sorted: &[Forecast]) -> Statistic<'_> {
    Statistic::new(sorted.len(), move |weights| {
        let (mut above, mut positive, mut negative) = (0.0, 0.0, 0.0);
        for group in groups(sorted, |cluster| f64::from(weights[cluster])) {
            let untrue = group.count - group.came_true;
            above += group.came_true * (negative + untrue / 2.0);
            positive += group.came_true;
            negative += untrue;
        }
        (positive > 0.0 && negative > 0.0).then(|| above / (positive * negative))
    })
}

/// The expected calibration error over bins of equal mass: how far the mean probability of a bin is from the share that
/// came true, in the mean over all items (Nixon et al. 2019, "Measuring calibration in deep learning", call bins of equal
/// mass adaptive). Of sorted forecasts.
pub(super) fn ece(sorted: &[Forecast]) -> Statistic<'_> {
    Statistic::new(sorted.len(), move |weights| {
        let weight_of = |cluster: usize| f64::from(weights[cluster]);
        let total: f64 = sorted.iter().map(|forecast| weight_of(forecast.cluster)).sum();
        error_of(&bins(groups(sorted, weight_of), total), total)
    })
}

/// The same of points (probability, outcome) whose outcomes may lie between 0 and 1, as scores do; `None` of none.
#[must_use]
pub fn calibration_error(points: &[(f64, f64)]) -> Option<f64> {
    let mut sorted = points.to_vec();
    sorted.sort_by(|(one, _), (other, _)| one.total_cmp(other));
    let groups = sorted.chunk_by(|one, other| one.0 == other.0).map(|equal| Group {
        probability: equal[0].0,
        count: equal.len() as f64,
        came_true: equal.iter().map(|(_, outcome)| outcome).sum(),
    });
    error_of(&bins(groups, sorted.len() as f64), sorted.len() as f64)
}

fn error_of(bins: &[Sum], total: f64) -> Option<f64> {
    (total > 0.0).then(|| bins.iter().map(|bin| (bin.predicted - bin.observed).abs()).sum::<f64>() / total)
}

/// The reliability curve of sorted forecasts.
pub(super) fn reliability(sorted: &[Forecast]) -> Vec<Bin> {
    let bins = bins(groups(sorted, |_| 1.0), sorted.len() as f64);
    let bin = |bin: Sum| Bin {
        low: bin.low,
        high: bin.high,
        predicted: bin.predicted / bin.count,
        observed: bin.observed / bin.count,
        n: bin.count as usize,
    };
    bins.into_iter().map(bin).collect()
}

/// What lies in one bin.
struct Sum {
    low: f64,
    high: f64,
    count: f64,
    predicted: f64,
    observed: f64,
}

/// Splits items into bins as equal as their number allows, the first ones larger by one. Where equal probabilities lie on
/// both sides of an edge, each side gets its share of those that came true, so that the order of items does not matter.
fn bins(groups: impl Iterator<Item = Group>, total: f64) -> Vec<Sum> {
    let (size, larger) = ((total / BINS as f64).floor(), total % BINS as f64);
    let size_of = |bin: usize| if (bin as f64) < larger { size + 1.0 } else { size };
    let mut bins: Vec<Sum> = Vec::with_capacity(BINS);
    let mut room = 0.0;
    for group in groups.filter(|group| group.count > 0.0) {
        let mut left = group.count;
        while left > 0.0 {
            if room == 0.0 {
                room = size_of(bins.len());
                let low = group.probability;
                bins.push(Sum { low, high: low, count: 0.0, predicted: 0.0, observed: 0.0 });
            }
            let taken = left.min(room);
            if let Some(bin) = bins.last_mut() {
                bin.high = group.probability;
                bin.count += taken;
                bin.predicted += taken * group.probability;
                bin.observed += group.came_true * (taken / group.count);
            }
            left -= taken;
            room -= taken;
        }
    }
    bins
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn forecasts() -> impl Strategy<Value = Vec<Forecast>> {
        prop::collection::vec((0_u32..=20, any::<bool>()), 1..80).prop_map(|all| {
            let forecast = |(cluster, (twentieth, came_true))| Forecast {
                cluster,
                probability: f64::from(twentieth) / 20.0,
                came_true,
            };
            all.into_iter().enumerate().map(forecast).collect()
        })
    }

    fn near(one: Option<f64>, other: Option<f64>) -> bool {
        one.zip(other).map_or(one == other, |(one, other)| (one - other).abs() < 1e-9)
    }

    #[test]
    fn an_order_needs_both_outcomes() {
        let of = |came_true| Forecast { cluster: 0, probability: 0.7, came_true };
        assert_eq!(auc(&[of(true)]).value(1), None);
        assert_eq!(auc(&[of(true), of(false)]).value(1), Some(0.5));
        assert_eq!((ece(&[]).value(0), brier(0, &[]).value(0)), (None, None));
        assert_eq!(reliability(&[]), []);
    }

    #[test]
    fn bins_are_of_equal_mass() {
        let sorted: Vec<Forecast> =
            (0..32).map(|i| Forecast { cluster: i, probability: i as f64 / 31.0, came_true: i % 2 == 0 }).collect();
        let sizes: Vec<usize> = reliability(&sorted).iter().map(|bin| bin.n).collect();
        assert_eq!(sizes, [[3, 3].as_slice(), &[2; 13]].concat());
    }

    proptest! {
        #[test]
        fn figures_keep_to_their_bounds_and_do_not_mind_the_order(all in forecasts()) {
            let n = all.len();
            let (one, other) = (sorted(all.clone()), sorted(all.iter().rev().copied().collect()));
            prop_assert!(near(auc(&one).value(n), auc(&other).value(n)));
            prop_assert!(near(ece(&one).value(n), ece(&other).value(n)));
            let points: Vec<(f64, f64)> = all.iter().map(|of| (of.probability, of.outcome())).collect();
            prop_assert!(near(ece(&one).value(n), calibration_error(&points)));
            for value in [auc(&one).value(n), ece(&one).value(n), brier(n, &one).value(n)].into_iter().flatten() {
                prop_assert!((-1e-12..=1.0 + 1e-12).contains(&value));
            }
            let bins = reliability(&one);
            prop_assert_eq!(bins.iter().map(|bin| bin.n).sum::<usize>(), n);
            prop_assert!(bins.windows(2).all(|pair| pair[0].high <= pair[1].low));
        }

        #[test]
        fn to_say_the_opposite_of_the_opposite_changes_nothing(all in forecasts()) {
            let n = all.len();
            let opposite = |forecast: &Forecast| Forecast {
                probability: 1.0 - forecast.probability,
                came_true: !forecast.came_true,
                ..*forecast
            };
            let (one, other) = (sorted(all.clone()), sorted(all.iter().map(opposite).collect()));
            prop_assert!(near(auc(&one).value(n), auc(&other).value(n)));
            prop_assert!(near(brier(n, &one).value(n), brier(n, &other).value(n)));
        }

        #[test]
        fn who_is_sure_and_right_is_without_error(outcomes in prop::collection::vec(any::<bool>(), 1..50)) {
            let sure = |(cluster, came_true): (usize, &bool)| Forecast {
                cluster,
                probability: f64::from(u8::from(*came_true)),
                came_true: *came_true,
            };
            let all = sorted(outcomes.iter().enumerate().map(sure).collect());
            let n = all.len();
            prop_assert_eq!((ece(&all).value(n), brier(n, &all).value(n)), (Some(0.0), Some(0.0)));
            prop_assert!(auc(&all).value(n).is_none_or(|auc| auc == 1.0));
        }
    }
}
