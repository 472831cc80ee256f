//! Correlations of two numbers of each item, in time that resampling can afford: what does not change with the weights is
//! sorted once.

use super::bootstrap::{Statistic, Sums};

/// An item's cluster and its two numbers, which are finite.
#[derive(Debug, Clone, Copy)]
pub(super) struct Point {
    pub(super) cluster: usize,
    pub(super) x: f64,
    pub(super) y: f64,
}

/// What is left of a variance by rounding, as a share of the sum of squares.
const ROUNDING: f64 = 1e-12;

/// Pearson's product-moment correlation.
pub(super) fn pearson(clusters: usize, points: &[Point]) -> Statistic<'static> {
    let n = points.len() as f64;
    // Near their means, sums of squares lose nothing that matters.
    let mean = |of: fn(&Point) -> f64| points.iter().map(of).sum::<f64>() / n;
    let (mean_x, mean_y) = (mean(|point| point.x), mean(|point| point.y));
    let moments = points.iter().map(|point| {
        let (x, y) = (point.x - mean_x, point.y - mean_y);
        (point.cluster, [1.0, x, y, x * x, y * y, x * y])
    });
    let sums = Sums::of(clusters, moments);
    Statistic::new(points.len(), move |weights| {
        let [n, x, y, xx, yy, xy] = sums.weighted(weights);
        let (variance_x, variance_y) = (n * xx - x * x, n * yy - y * y);
        let constant = variance_x <= ROUNDING * n * xx || variance_y <= ROUNDING * n * yy;
        (!constant).then(|| ((n * xy - x * y) / (variance_x.sqrt() * variance_y.sqrt())).clamp(-1.0, 1.0))
    })
}

/// Numbers by their places among all different ones.
struct Ranked {
    code: Vec<usize>,
    codes: usize,
}

impl Ranked {
    fn of(numbers: impl Iterator<Item = f64> + Clone) -> Self {
        let mut different: Vec<f64> = numbers.clone().collect();
        different.sort_unstable_by(f64::total_cmp);
        different.dedup();
        let code = numbers.map(|number| different.partition_point(|other| *other < number)).collect();
        Self { code, codes: different.len() }
    }

    /// How many items have each place.
    fn counts(&self, weight_of: impl Fn(usize) -> f64) -> Vec<f64> {
        let mut counts = vec![0.0; self.codes];
        self.code.iter().enumerate().for_each(|(item, code)| counts[*code] += weight_of(item));
        counts
    }
}

/// The mean rank of the items at each place, less the mean of all ranks.
fn centred_ranks(counts: &[f64], total: f64) -> Vec<f64> {
    let mut before = 0.0;
    let rank = |count: &f64| {
        let rank = before + (count + 1.0) / 2.0;
        before += count;
        rank - (total + 1.0) / 2.0
    };
    counts.iter().map(rank).collect()
}

/// Spearman's correlation: Pearson's of the ranks, where equal numbers share the mean of their ranks.
pub(super) fn spearman(points: &[Point]) -> Statistic<'_> {
    let x = Ranked::of(points.iter().map(|point| point.x));
    let y = Ranked::of(points.iter().map(|point| point.y));
    Statistic::new(points.len(), move |weights| {
        let weight_of = |item: usize| f64::from(weights[points[item].cluster]);
        let (counts_x, counts_y) = (x.counts(weight_of), y.counts(weight_of));
        let total: f64 = counts_x.iter().sum();
        let (ranks_x, ranks_y) = (centred_ranks(&counts_x, total), centred_ranks(&counts_y, total));
        let variance = |ranks: &[f64], counts: &[f64]| {
            ranks.iter().zip(counts).map(|(rank, count)| count * rank * rank).sum::<f64>()
        };
        let product = variance(&ranks_x, &counts_x) * variance(&ranks_y, &counts_y);
        let together: f64 =
            (0..points.len()).map(|item| weight_of(item) * ranks_x[x.code[item]] * ranks_y[y.code[item]]).sum();
        (product > 0.0).then(|| (together / product.sqrt()).clamp(-1.0, 1.0))
    })
}

/// Kendall's tau-b: concordant less discordant pairs, over the geometric mean of the pairs that are not tied in either
/// number. In O(n log n), by counting with a Fenwick tree (Knight 1966 sorts to the same end).
pub(super) fn kendall_tau_b(points: &[Point]) -> Statistic<'_> {
    let x = Ranked::of(points.iter().map(|point| point.x));
    let y = Ranked::of(points.iter().map(|point| point.y));
    let mut order: Vec<usize> = (0..points.len()).collect();
    order.sort_unstable_by_key(|item| x.code[*item]);
    Statistic::new(points.len(), move |weights| {
        let weight_of = |item: usize| f64::from(weights[points[item].cluster]);
        let mut seen = Fenwick(vec![0.0; y.codes + 1]);
        let (mut balance, mut inserted) = (0.0, 0.0);
        for tied in order.chunk_by(|one, other| x.code[*one] == x.code[*other]) {
            for &item in tied.iter().filter(|item| weight_of(**item) > 0.0) {
                let code = y.code[item];
                let (below, up_to) = (seen.sum_before(code), seen.sum_before(code + 1));
                balance += weight_of(item) * (below - (inserted - up_to));
            }
            for &item in tied {
                seen.add(y.code[item], weight_of(item));
                inserted += weight_of(item);
            }
        }
        let pairs = |count: f64| count * (count - 1.0) / 2.0;
        let untied = |ranked: &Ranked| pairs(inserted) - ranked.counts(weight_of).into_iter().map(pairs).sum::<f64>();
        let product = untied(&x) * untied(&y);
        (product > 0.0).then(|| (balance / product.sqrt()).clamp(-1.0, 1.0))
    })
}

/// Sums of everything before a place, and additions, each in O(log n).
struct Fenwick(Vec<f64>);

impl Fenwick {
    fn add(&mut self, place: usize, weight: f64) {
        let mut at = place + 1;
        while at < self.0.len() {
            self.0[at] += weight;
            at += at & at.wrapping_neg();
        }
    }

    fn sum_before(&self, place: usize) -> f64 {
        let (mut at, mut sum) = (place, 0.0);
        while at > 0 {
            sum += self.0[at];
            at -= at & at.wrapping_neg();
        }
        sum
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn points(pairs: &[(f64, f64)]) -> Vec<Point> {
        pairs.iter().enumerate().map(|(cluster, (x, y))| Point { cluster, x: *x, y: *y }).collect()
    }

    fn all(points: &[Point]) -> [Option<f64>; 3] {
        let n = points.len();
        [pearson(n, points), spearman(points), kendall_tau_b(points)].map(|statistic| statistic.value(n))
    }

    /// Kendall's tau-b by its definition, over all pairs.
    fn slow_tau(points: &[Point]) -> Option<f64> {
        let (mut balance, mut untied_x, mut untied_y) = (0.0, 0.0, 0.0);
        for (i, j) in (0..points.len()).flat_map(|i| (0..i).map(move |j| (i, j))) {
            let sign = |difference: f64| if difference == 0.0 { 0.0 } else { difference.signum() };
            let (x, y) = (sign(points[i].x - points[j].x), sign(points[i].y - points[j].y));
            balance += x * y;
            untied_x += x * x;
            untied_y += y * y;
        }
        (untied_x * untied_y > 0.0).then(|| balance / f64::sqrt(untied_x * untied_y))
    }

    #[test]
    fn what_does_not_vary_has_no_correlation() {
        for constant in [0.0, 0.1, 3.0, 1e9] {
            assert_eq!(all(&points(&[(constant, 1.0), (constant, 2.0), (constant, 4.0)])), [None; 3], "{constant}");
        }
        assert_eq!(all(&points(&[(1.0, 2.0)])), [None; 3]);
        assert_eq!(all(&[]), [None; 3]);
    }

    fn numbers() -> impl Strategy<Value = Vec<(f64, f64)>> {
        // Few different values, so that there are many ties.
        prop::collection::vec((0_i32..7, 0_i32..7), 2..40)
            .prop_map(|pairs| pairs.into_iter().map(|(x, y)| (f64::from(x) / 3.0, f64::from(y) / 3.0)).collect())
    }

    proptest! {
        #[test]
        fn correlations_are_symmetric_and_keep_to_their_bounds(pairs in numbers()) {
            let exchanged: Vec<(f64, f64)> = pairs.iter().map(|(x, y)| (*y, *x)).collect();
            let negated: Vec<(f64, f64)> = pairs.iter().map(|(x, y)| (-*x, *y)).collect();
            let moved: Vec<(f64, f64)> = pairs.iter().map(|(x, y)| (3.0 * x + 2.0, *y)).collect();
            let own: Vec<(f64, f64)> = pairs.iter().map(|(x, _)| (*x, *x)).collect();
            let of = |pairs: &[(f64, f64)]| all(&points(pairs));
            for (i, value) in of(&pairs).into_iter().enumerate() {
                let near = |other: Option<f64>, sign: f64| match (value, other) {
                    (Some(value), Some(other)) => (value - sign * other).abs() < 1e-9,
                    (one, other) => one == other,
                };
                prop_assert!(value.is_none_or(|value| (-1.0..=1.0).contains(&value)));
                prop_assert!(near(of(&exchanged)[i], 1.0) && near(of(&negated)[i], -1.0) && near(of(&moved)[i], 1.0));
                prop_assert!(of(&own)[i].is_none_or(|value| (value - 1.0).abs() < 1e-9));
            }
        }

        #[test]
        fn tau_is_what_its_definition_says(pairs in numbers()) {
            let points = points(&pairs);
            let (fast, slow) = (kendall_tau_b(&points).value(points.len()), slow_tau(&points));
            prop_assert!(fast.zip(slow).map_or(fast == slow, |(fast, slow)| (fast - slow).abs() < 1e-12));
        }

        #[test]
        fn a_weight_of_two_is_the_item_twice(pairs in numbers()) {
            let twice: Vec<(f64, f64)> = pairs.iter().chain(&pairs[..1]).copied().collect();
            let points_once = points(&pairs);
            let mut weights = vec![1; pairs.len()];
            weights[0] = 2;
            let weighted = [pearson(pairs.len(), &points_once), spearman(&points_once), kendall_tau_b(&points_once)];
            for (weighted, whole) in weighted.iter().zip(all(&points(&twice))) {
                let draws = weighted.with(&weights);
                prop_assert!(draws.zip(whole).map_or(draws == whole, |(a, b)| (a - b).abs() < 1e-9));
            }
        }
    }
}
