use std::collections::BTreeSet;

use proptest::prelude::*;

use super::*;

fn result(a: usize, b: usize, probability_a: f64) -> PairResult {
    PairResult { a, b, probability_a }
}

/// A number of responses, and a comparison for each of their pairs.
fn results() -> impl Strategy<Value = (usize, Vec<PairResult>)> {
    (2..20_usize).prop_flat_map(|count| {
        let pairs = pairs(count);
        let outcomes = prop_oneof![Just(0.0), Just(0.5), Just(1.0), 0.0..1.0];
        prop::collection::vec(outcomes, pairs.len()).prop_map(move |outcomes| {
            let all = pairs.iter().zip(outcomes).map(|(&(a, b), p)| result(a, b, p));
            (count, all.collect())
        })
    })
}

fn near(a: f64, b: f64) -> bool {
    (a - b).abs() < 1e-6
}

#[test]
fn few_responses_meet_all_and_many_meet_some() {
    let check = |count: usize, expected: usize| assert_eq!(pairs(count).len(), expected, "{count}");
    (0..=8).for_each(|count| check(count, count * count.saturating_sub(1) / 2));
    check(9, 9 * 3);
    check(16, 16 * 3 + 8);
    check(32, 32 * 4 + 16);
    check(64, 64 * 5 + 32);
}

#[test]
fn a_pair_is_met_once_and_everyone_equally_often() {
    for count in 2..=64 {
        let pairs = pairs(count);
        let unordered: BTreeSet<_> = pairs.iter().map(|&(a, b)| (a.min(b), a.max(b))).collect();
        assert_eq!(unordered.len(), pairs.len(), "{count}");
        assert!(pairs.iter().all(|&(a, b)| a != b && a.max(b) < count), "{count}");
        let met = |i: usize| pairs.iter().filter(|&&(a, b)| a == i || b == i).count();
        let first = |i: usize| pairs.iter().filter(|&&(a, _)| a == i).count();
        for i in 0..count {
            assert_eq!(met(i), met(0), "{count}: {i}");
            assert!(first(i).abs_diff(met(i) - first(i)) <= 1, "{count}: {i} is first {} of {}", first(i), met(i));
        }
    }
}

#[test]
fn everyone_is_a_few_comparisons_from_everyone() {
    for count in 2..=64 {
        let pairs = pairs(count);
        let mut reached = BTreeSet::from([0]);
        let mut steps = 0;
        while reached.len() < count {
            let before = reached.clone();
            pairs.iter().filter(|(a, b)| before.contains(a) || before.contains(b)).for_each(|(a, b)| {
                reached.extend([*a, *b]);
            });
            assert!(reached.len() > before.len(), "{count} positions are not connected");
            steps += 1;
        }
        assert!(steps <= 4, "{count}: {steps}");
    }
}

#[test]
fn the_prior_is_half_a_win_for_either_side() {
    let check = |probability_a: f64, expected: f64| {
        let fitted = strengths(2, &[result(0, 1, probability_a)]);
        assert!(near(fitted[0], expected), "{fitted:?}");
    };
    check(1.0, 0.75);
    check(0.9, 0.7);
    check(0.5, 0.5);
    check(0.0, 0.25);
}

#[test]
fn a_circle_of_wins_is_even() {
    let fitted = strengths(3, &[result(0, 1, 1.0), result(1, 2, 1.0), result(2, 0, 1.0)]);
    assert!(fitted.iter().all(|strength| near(*strength, 1.0 / 3.0)), "{fitted:?}");
    assert_eq!(best_first(&fitted), [0, 1, 2], "of equal ones, the first comes first");
}

#[test]
fn one_that_beats_all_stays_finite() {
    for count in [2, 8, 9, 64] {
        let all: Vec<_> = pairs(count).into_iter().map(|(a, b)| result(a, b, f64::from(u8::from(a < b)))).collect();
        let fitted = strengths(count, &all);
        assert!(fitted.iter().all(|strength| *strength > 0.0 && *strength < 1.0), "{fitted:?}");
        let order = best_first(&fitted);
        assert_eq!((order[0], order[count - 1]), (0, count - 1), "{fitted:?}");
    }
}

#[test]
fn who_met_nobody_keeps_an_even_share() {
    let fitted = strengths(3, &[result(0, 1, 1.0)]);
    assert!(fitted[2] > fitted[1] && fitted[2] < fitted[0], "{fitted:?}");
}

#[test]
fn chains_join() {
    let chain = [result(1, 0, 0.5), result(1, 2, 0.5), result(3, 4, 0.5)];
    assert!(joined(&chain, 0, 2) && joined(&chain, 2, 0) && joined(&chain, 4, 3));
    assert!(!joined(&chain, 0, 4) && !joined(&chain, 3, 1));
}

#[test]
fn ties_are_equal_or_within_the_margin() {
    assert_eq!(ties(&[0.5, 0.25, 0.5, 0.375], 0.0), [[0, 2]]);
    assert_eq!(ties(&[0.5, 0.25, 0.5, 0.375], 0.125), [[0, 2]], "the margin itself is no tie");
    assert_eq!(ties(&[0.5, 0.25, 0.5, 0.375], 0.1875), [[0, 2], [0, 3], [1, 3], [2, 3]]);
}

#[test]
fn shares_sum_to_one() {
    assert_eq!(to_shares(&[0.0, 0.0]), [0.5, 0.5]);
    assert_eq!(to_shares(&[3.0, 0.0, 1.0]), [0.75, 0.0, 0.25]);
    assert_eq!(to_shares(&[]), [0.0_f64; 0]);
}

proptest! {
    #[test]
    fn strengths_are_shares((count, results) in results()) {
        let fitted = strengths(count, &results);
        prop_assert!((fitted.iter().sum::<f64>() - 1.0).abs() < 1e-9);
        prop_assert!(fitted.iter().all(|strength| strength.is_finite() && *strength > 0.0));
    }

    /// At the maximum, everyone has won as much as the model expects.
    #[test]
    fn the_fit_is_the_most_likely((count, results) in results()) {
        let fitted = strengths(count, &results);
        let mut left = vec![0.0; count];
        for PairResult { a, b, probability_a } in &results {
            let off = probability_a + PRIOR_WINS - 2.0 * fitted[*a] / (fitted[*a] + fitted[*b]);
            left[*a] += off;
            left[*b] -= off;
        }
        prop_assert!(left.iter().all(|off| off.abs() < 1e-6), "{left:?}");
    }

    #[test]
    fn names_do_not_matter((count, results) in results(), seed in any::<u64>()) {
        let mut names: Vec<usize> = (0..count).collect();
        names.sort_by_key(|i| (*i as u64 + 1).wrapping_mul(seed | 1));
        let renamed: Vec<_> =
            results.iter().rev().map(|c| result(names[c.a], names[c.b], c.probability_a)).collect();
        let (one, other) = (strengths(count, &results), strengths(count, &renamed));
        prop_assert!((0..count).all(|i| near(one[i], other[names[i]])), "{one:?} {other:?}");
    }

    #[test]
    fn exchanging_a_pair_changes_nothing((count, mut results) in results(), which in any::<prop::sample::Index>()) {
        let before = strengths(count, &results);
        let chosen = which.get_mut(&mut results);
        *chosen = result(chosen.b, chosen.a, 1.0 - chosen.probability_a);
        let after = strengths(count, &results);
        prop_assert!((0..count).all(|i| near(before[i], after[i])), "{before:?} {after:?}");
    }

    /// If every outcome is turned round, the last is the first.
    #[test]
    fn turned_round_it_is_upside_down((count, results) in results()) {
        let turned: Vec<_> = results.iter().map(|c| result(c.a, c.b, 1.0 - c.probability_a)).collect();
        let upside_down: Vec<f64> = strengths(count, &results).iter().map(|strength| strength.recip()).collect();
        let (one, other) = (to_shares(&upside_down), strengths(count, &turned));
        prop_assert!((0..count).all(|i| near(one[i], other[i])), "{one:?} {other:?}");
    }

    #[test]
    fn winning_more_never_weakens(
        (count, mut results) in results(), which in any::<prop::sample::Index>(), more in 0.0..1.0f64
    ) {
        let before = strengths(count, &results);
        let chosen = which.get_mut(&mut results);
        chosen.probability_a += (1.0 - chosen.probability_a) * more;
        let (a, b) = (chosen.a, chosen.b);
        let after = strengths(count, &results);
        prop_assert!(after[a] >= before[a] - 1e-9 && after[b] <= before[b] + 1e-9);
    }

    #[test]
    fn the_order_holds_everyone_once_and_falls(values in prop::collection::vec(0.0..1.0f64, 0..40)) {
        let order = best_first(&values);
        let mut all = order.clone();
        all.sort_unstable();
        prop_assert_eq!(all, (0..values.len()).collect::<Vec<_>>());
        prop_assert!(order.windows(2).all(|two| values[two[0]] >= values[two[1]] - 2.0 * EQUAL));
    }
}
