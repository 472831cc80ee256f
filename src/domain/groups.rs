//! Normalised rewards within a group, as in GRPO (Shao et al. 2024, "DeepSeekMath", section 4.1.2).

use std::collections::HashMap;
use std::hash::Hash;

/// Rewards that are closer than this are equal up to rounding; dividing by their standard deviation would amplify
/// noise.
const EQUAL: f64 = 1e-9;

/// `(reward - mean) / standard deviation` within each group, with n - 1 as in `torch.std`. Items without a reward are
/// left out, and have none in the result. In a group of one, or if all rewards are equal, each is 0.
///
/// # Panics
/// When there are fewer groups than rewards.
#[must_use]
pub fn normalized<G: Eq + Hash>(rewards: &[Option<f64>], groups: &[G]) -> Vec<Option<f64>> {
    let mut members: HashMap<&G, Vec<f64>> = HashMap::new();
    for (index, reward) in rewards.iter().enumerate() {
        members.entry(&groups[index]).or_default().extend(reward);
    }
    let scales: HashMap<&G, (f64, f64)> =
        members.into_iter().map(|(group, of)| (group, mean_and_spread(&of))).collect();
    let normalize = |(reward, group): (&Option<f64>, &G)| {
        let (mean, spread) = scales[group];
        reward.map(|reward| if spread > EQUAL { (reward - mean) / spread } else { 0.0 })
    };
    rewards.iter().zip(groups).map(normalize).collect()
}

fn mean_and_spread(values: &[f64]) -> (f64, f64) {
    let count = values.len() as f64;
    let mean = values.iter().sum::<f64>() / count;
    let squares: f64 = values.iter().map(|value| (value - mean).powi(2)).sum();
    // One value has no standard deviation: 0 / 0 is NaN, and the comparison is false.
    (mean, (squares / (count - 1.0)).sqrt())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn groups_by_hand() {
        let check = |rewards: &[Option<f64>], groups: &str, expected: &[Option<f64>]| {
            let found = normalized(rewards, &groups.chars().collect::<Vec<_>>());
            let near = |(found, expected): (&Option<f64>, &Option<f64>)| match (found, expected) {
                (Some(found), Some(expected)) => (found - expected).abs() < 1e-12,
                (found, expected) => found == expected,
            };
            assert_eq!(found.len(), expected.len());
            assert!(found.iter().zip(expected).all(near), "{rewards:?} in {groups}: {found:?}");
        };
        let half = 0.5_f64.sqrt();
        check(&[], "", &[]);
        check(&[Some(0.0), Some(1.0)], "aa", &[Some(-half), Some(half)]);
        check(
            &[Some(0.0), Some(0.9), Some(1.0), Some(0.8)],
            "abab",
            &[Some(-half), Some(half), Some(half), Some(-half)],
        );
        check(&[Some(0.0), None, Some(1.0)], "aaa", &[Some(-half), None, Some(half)]);
        check(&[Some(1.0), Some(2.0), Some(3.0)], "aaa", &[Some(-1.0), Some(0.0), Some(1.0)]);
        // Nothing to compare with.
        check(&[Some(0.7)], "a", &[Some(0.0)]);
        check(&[Some(0.7), None], "aa", &[Some(0.0), None]);
        check(&[None, None], "aa", &[None, None]);
        // The mean of these three is not one of them.
        check(&[Some(0.1), Some(0.1), Some(0.1)], "aaa", &[Some(0.0), Some(0.0), Some(0.0)]);
    }

    proptest! {
        #[test]
        fn every_group_has_mean_0_and_deviation_1(
            items in proptest::collection::vec((proptest::option::weighted(0.9, 0.0..=1.0_f64), 0_u8..4), 0..64),
        ) {
            let (rewards, groups): (Vec<_>, Vec<_>) = items.into_iter().unzip();
            let found = normalized(&rewards, &groups);
            prop_assert_eq!(found.len(), rewards.len());
            for (before, after) in rewards.iter().zip(&found) {
                prop_assert_eq!(before.is_some(), after.is_some());
                prop_assert!(after.is_none_or(f64::is_finite));
            }
            for group in 0..4 {
                let of = |all: &[Option<f64>]| -> Vec<f64> {
                    all.iter().zip(&groups).filter(|(_, g)| **g == group).filter_map(|(reward, _)| *reward).collect()
                };
                let (before, after) = (of(&rewards), of(&found));
                let spread = mean_and_spread(&before).1;
                if before.len() < 2 || spread <= EQUAL {
                    prop_assert!(after.iter().all(|reward| *reward == 0.0));
                } else if spread > 1e-6 {
                    let (mean, deviation) = mean_and_spread(&after);
                    prop_assert!(mean.abs() < 1e-6 && (deviation - 1.0).abs() < 1e-6);
                    // The order inside a group stays.
                    for (i, j) in (0..before.len()).flat_map(|i| (0..before.len()).map(move |j| (i, j))) {
                        prop_assert!(before[i] <= before[j] || after[i] >= after[j]);
                    }
                }
            }
        }

        #[test]
        fn a_group_does_not_see_the_others(
            rewards in proptest::collection::vec(0.0..=1.0_f64, 1..16), others in proptest::collection::vec(0.0..=1.0_f64, 0..16),
        ) {
            let all: Vec<Option<f64>> = rewards.iter().chain(&others).copied().map(Some).collect();
            let groups: Vec<bool> = rewards.iter().map(|_| true).chain(others.iter().map(|_| false)).collect();
            let alone: Vec<Option<f64>> = rewards.iter().copied().map(Some).collect();
            prop_assert_eq!(&normalized(&all, &groups)[..rewards.len()], &normalized(&alone, &vec![(); rewards.len()])[..]);
        }
    }
}
