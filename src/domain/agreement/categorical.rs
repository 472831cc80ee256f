//! Agreement of labels that are names or levels, corrected for chance.

use super::bootstrap::{Statistic, Sums};

/// Two labels of each item: its cluster, and the levels that each rater gave, from 0.
pub(super) type Rated = (usize, usize, usize);

/// Cohen's kappa of two raters over `levels` labels: 1 less the disagreement there is, over that of raters who keep to
/// their habits but look at nothing. `disagreement` says how much two levels differ. `None` where two such raters could
/// not disagree.
pub(super) fn kappa<'a>(
    levels: usize,
    items: &'a [Rated],
    disagreement: impl Fn(usize, usize) -> f64 + 'a,
) -> Statistic<'a> {
    Statistic::new(items.len(), move |weights| {
        let (mut rows, mut columns) = (vec![0.0; levels], vec![0.0; levels]);
        let (mut total, mut found) = (0.0, 0.0);
        for &(cluster, row, column) in items {
            let weight = f64::from(weights[cluster]);
            rows[row] += weight;
            columns[column] += weight;
            found += weight * disagreement(row, column);
            total += weight;
        }
        let cells = (0..levels).flat_map(|row| (0..levels).map(move |column| (row, column)));
        let expected: f64 =
            cells.map(|(row, column)| rows[row] * columns[column] / total * disagreement(row, column)).sum();
        (expected > 0.0).then(|| 1.0 - found / expected)
    })
}

/// Whether two labels differ at all.
pub(super) fn nominal(one: usize, other: usize) -> f64 {
    f64::from(u8::from(one != other))
}

/// The square of how far two levels are apart.
pub(super) fn quadratic(one: usize, other: usize) -> f64 {
    (one.abs_diff(other) as f64).powi(2)
}

/// How many items have each pair of labels.
pub(super) fn confusion(levels: usize, items: &[Rated]) -> Vec<Vec<usize>> {
    let mut table = vec![vec![0; levels]; levels];
    items.iter().for_each(|(_, row, column)| table[*row][*column] += 1);
    table
}

/// The votes on one item: its cluster, and how many voters gave each of the labels A, B and tie.
#[derive(Debug, Clone, Copy)]
pub(super) struct Votes {
    pub(super) cluster: usize,
    pub(super) counts: [u32; 3],
}

/// Krippendorff's alpha for nominal labels and any number of voters an item (Krippendorff 2011, "Computing Krippendorff's
/// alpha-reliability"). Items with a single vote say nothing of agreement and are left out.
pub(super) fn alpha(clusters: usize, votes: &[Votes]) -> Statistic<'static> {
    let paired = || votes.iter().filter(|votes| votes.counts.iter().sum::<u32>() > 1);
    let rows = paired().map(|votes| {
        let counts = votes.counts.map(f64::from);
        let voters: f64 = counts.iter().sum();
        let agreeing = counts.iter().map(|count| count * (count - 1.0)).sum::<f64>() / (voters - 1.0);
        (votes.cluster, [agreeing, counts[0], counts[1], counts[2]])
    });
    let sums = Sums::of(clusters, rows);
    Statistic::new(paired().count(), move |weights| {
        let [agreeing, a, b, tie] = sums.weighted(weights);
        let total = a + b + tie;
        let expected = total * total - (a * a + b * b + tie * tie);
        (expected > 0.0).then(|| 1.0 - (total - 1.0) * (total - agreeing) / expected)
    })
}

/// How often one vote agrees with another one on the same item, both drawn at random, with ties left out. Every pair of
/// votes counts alike, so an item of more votes counts for more.
pub(super) fn agreement_of_votes(clusters: usize, votes: &[Votes]) -> Statistic<'static> {
    let pairs = |count: u32| f64::from(count) * (f64::from(count) - 1.0) / 2.0;
    let with_pairs = || votes.iter().filter(|votes| votes.counts[0] + votes.counts[1] > 1);
    let rows = with_pairs().map(|votes| {
        let [a, b, _] = votes.counts;
        (votes.cluster, pairs(a) + pairs(b), pairs(a + b))
    });
    Statistic::ratio(clusters, with_pairs().count(), rows)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn rated(levels: usize) -> impl Strategy<Value = Vec<Rated>> {
        prop::collection::vec((0..levels, 0..levels), 1..40)
            .prop_map(|pairs| pairs.into_iter().enumerate().map(|(i, (row, column))| (i, row, column)).collect())
    }

    #[test]
    fn one_label_alone_is_no_agreement_beyond_chance() {
        assert_eq!(kappa(3, &[(0, 1, 1), (1, 1, 1)], nominal).value(2), None);
        assert_eq!(kappa(3, &[], nominal).value(0), None);
        assert_eq!(alpha(1, &[Votes { cluster: 0, counts: [3, 0, 0] }]).value(1), None);
        assert_eq!(alpha(1, &[Votes { cluster: 0, counts: [1, 0, 0] }]).value(1), None);
    }

    #[test]
    fn votes_are_paired() {
        let votes = |counts| Votes { cluster: 0, counts };
        let check = |all: &[Votes], expected: Option<f64>| {
            let found = agreement_of_votes(1, all).value(1);
            assert!(
                found.zip(expected).map_or(found == expected, |(a, b)| (a - b).abs() < 1e-12),
                "{all:?}: {found:?}"
            );
        };
        check(&[votes([2, 1, 0])], Some(1.0 / 3.0));
        check(&[votes([2, 1, 0]), votes([3, 0, 1])], Some(4.0 / 6.0));
        check(&[votes([1, 0, 5])], None);
    }

    proptest! {
        #[test]
        fn kappa_is_symmetric_and_one_where_both_always_agree(items in rated(4)) {
            for disagreement in [nominal, quadratic] {
                let of = |items: &[Rated]| kappa(4, items, disagreement).value(items.len());
                let exchanged: Vec<Rated> = items.iter().map(|(cluster, row, column)| (*cluster, *column, *row)).collect();
                let same: Vec<Rated> = items.iter().map(|(cluster, row, _)| (*cluster, *row, *row)).collect();
                let (one, other) = (of(&items), of(&exchanged));
                prop_assert!(one.zip(other).map_or(one == other, |(a, b)| (a - b).abs() < 1e-12));
                prop_assert!(one.is_none_or(|kappa| (-1.0 - 1e-9..=1.0).contains(&kappa)));
                prop_assert!(of(&same).is_none_or(|kappa| kappa == 1.0));
            }
        }

        #[test]
        fn with_two_levels_quadratic_weights_change_nothing(items in rated(2)) {
            prop_assert_eq!(
                kappa(2, &items, nominal).value(items.len()),
                kappa(2, &items, quadratic).value(items.len())
            );
        }

        #[test]
        fn alpha_does_not_mind_the_names_of_labels(counts in prop::collection::vec([0_u32..4, 0..4, 0..4], 1..20)) {
            let of = |order: [usize; 3]| {
                let votes: Vec<Votes> = counts
                    .iter()
                    .enumerate()
                    .map(|(cluster, counts)| Votes { cluster, counts: order.map(|label| counts[label]) })
                    .collect();
                alpha(votes.len(), &votes).value(votes.len())
            };
            let (one, other) = (of([0, 1, 2]), of([2, 0, 1]));
            prop_assert!(one.zip(other).map_or(one == other, |(a, b)| (a - b).abs() < 1e-9));
            prop_assert!(one.is_none_or(|alpha| alpha <= 1.0));
        }
    }
}
