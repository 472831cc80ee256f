//! When enough samples have been taken: adaptive self-consistency.
//!
//! Samples are taken until the majority is settled, by the rule of Aggarwal et al. 2023, "Let's Sample Step by Step:
//! Adaptive-Consistency for Efficient Reasoning and Coding with LLMs", section 3: with v votes for the leading label and
//! w for the next one, the probability that the leader is more frequent of the two is that of p > 1/2 under
//! Beta(v + 1, w + 1). That rule says nothing of the error of looking after each sample. So its threshold is raised until
//! the samples that are not taken would change the majority with a probability of at most 1 - `settle`, even for two
//! labels that are equally probable, which is the worst case (a test looks at others). A tie of all samples counts half.

/// The most samples of one run.
pub const MOST_SAMPLES: u32 = 64;

/// When to stop taking samples of a run.
#[derive(Debug, Clone, PartialEq)]
pub struct SettlingRule {
    most: u32,
    /// How many votes settle the majority, by the number of votes of the next label.
    needed: Vec<u32>,
}

impl SettlingRule {
    /// The rule for at most `most` samples, at most [`MOST_SAMPLES`], and a majority that stays with a probability of at
    /// least `settle`, in [0.5, 1).
    #[must_use]
    pub fn new(most: u32, settle: f64) -> Self {
        const STEP: f64 = 1.25;
        let most = most.min(MOST_SAMPLES);
        let mut doubt = 1.0 - settle;
        loop {
            let rule = Self { most, needed: (0..=most).map(|next| votes_needed(next, most, doubt)).collect() };
            // Without doubt, no sample is left out, and nothing can change.
            if rule.error(0.5) <= 1.0 - settle || doubt < f64::EPSILON {
                return rule;
            }
            doubt /= STEP;
        }
    }

    /// How many more samples are needed at least, with the votes of each label so far; 0 if the majority is settled, or
    /// there are none left. Fewer cannot settle it, whatever they say.
    #[must_use]
    pub fn more(&self, votes: impl IntoIterator<Item = u32>) -> u32 {
        let (mut leader, mut next, mut drawn) = (0, 0, 0);
        for count in votes {
            drawn += count;
            if count > leader {
                (leader, next) = (count, leader);
            } else {
                next = next.max(count);
            }
        }
        let left = self.most.saturating_sub(drawn);
        let needed = self.needed.get(next as usize).copied().unwrap_or(self.most);
        // With so many more votes, all that is left could not change the majority.
        let certain = (next + left + 1).saturating_sub(leader).div_ceil(2);
        needed.saturating_sub(leader).min(certain).min(left)
    }

    /// The probability that the samples that are not taken would change the majority, for two labels of which the first
    /// has this probability.
    fn error(&self, p: f64) -> f64 {
        let most = self.most as usize;
        // The probability of each number of votes for the first label, if sampling has not stopped.
        let mut reached = vec![1.0];
        let mut error = 0.0;
        for drawn in 1..=most {
            let mut after = vec![0.0; drawn + 1];
            for (votes, probability) in reached.iter().enumerate() {
                after[votes + 1] += probability * p;
                after[votes] += probability * (1.0 - p);
            }
            for (votes, probability) in after.iter_mut().enumerate() {
                let (first, second) = (votes, drawn - votes);
                let counts = [first, second].map(|count| u32::try_from(count).unwrap_or(u32::MAX));
                if drawn < most && self.more(counts) == 0 {
                    let (ahead, behind, p) = if first > second { (first, second, p) } else { (second, first, 1.0 - p) };
                    error += *probability * overtaken(ahead, behind, most - drawn, 1.0 - p);
                    *probability = 0.0;
                }
            }
            reached = after;
        }
        error
    }
}

/// The fewest votes with which the leader is more frequent than a label with `next` votes, but for this doubt; `most` if
/// that many are not enough.
fn votes_needed(next: u32, most: u32, doubt: f64) -> u32 {
    // P(p <= 1/2) under Beta(v + 1, w + 1) is the probability of more than v heads in v + w + 1 throws of a coin.
    let doubted = |leader: u32| at_least(leader as usize + 1, (leader + next + 1) as usize, 0.5);
    (next + 1..most).find(|leader| doubted(*leader) <= doubt).unwrap_or(most)
}

/// The probability that a label that is `behind` overtakes one that is `ahead` in so many samples, each its own with
/// probability `p`; a tie counts half.
fn overtaken(ahead: usize, behind: usize, samples: usize, p: f64) -> f64 {
    let lead = ahead - behind;
    // With x of n samples it gains 2x - n.
    let ties = if (samples + lead).is_multiple_of(2) { probability_of((samples + lead) / 2, samples, p) } else { 0.0 };
    at_least((samples + lead) / 2 + 1, samples, p) + ties / 2.0
}

/// The probability of at least `least` successes in `trials`.
fn at_least(least: usize, trials: usize, p: f64) -> f64 {
    (least..=trials).map(|successes| probability_of(successes, trials, p)).sum()
}

/// The binomial probability of exactly so many successes.
fn probability_of(successes: usize, trials: usize, p: f64) -> f64 {
    if successes > trials {
        return 0.0;
    }
    // At most 129 factors, whose product is far from overflow.
    let choose = (0..successes).fold(1.0, |product, index| product * (trials - index) as f64 / (index + 1) as f64);
    choose * p.powi(successes as i32) * (1.0 - p).powi((trials - successes) as i32)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use rand::{RngExt, SeedableRng};
    use rand_chacha::ChaCha8Rng;

    #[test]
    fn the_votes_that_settle_are_those_of_the_paper() {
        let rule = SettlingRule::new(16, 0.95);
        // 1 - 2^-(v + 1) with no other vote: four of four, as in the paper.
        assert_eq!(rule.more([]), 4);
        assert_eq!(rule.more([4]), 0);
        assert_eq!(rule.more([3]), 1);
        assert_eq!(rule.more([3, 1]), 3);
        assert_eq!(rule.more([8, 8]), 0, "there are no more");
        assert_eq!(rule.more([8, 7]), 1);
        assert_eq!(SettlingRule::new(16, 0.99).more([]), 6);
        assert_eq!(SettlingRule::new(3, 0.99).more([]), 2, "two of three cannot be outvoted");
        assert_eq!(SettlingRule::new(1, 0.9).more([]), 1);
    }

    #[test]
    fn stopping_changes_a_majority_as_seldom_as_promised() {
        for most in [2, 3, 5, 8, 16, 32, 64] {
            for settle in [0.5, 0.8, 0.9, 0.95, 0.99] {
                let rule = SettlingRule::new(most, settle);
                for percent in (50..=100).step_by(5) {
                    let error = rule.error(f64::from(percent) / 100.0);
                    assert!(error <= 1.0 - settle + 1e-12, "{most} {settle} {percent}: {error}");
                }
            }
        }
    }

    /// Takes samples until they settle; returns their number, and the agreement of both majorities: 1, 0, or one half for
    /// a tie of all samples.
    fn simulated(rule: &SettlingRule, most: usize, shares: &[f64], random: &mut ChaCha8Rng) -> (usize, f64) {
        let total: f64 = shares.iter().sum();
        let draw = |random: &mut ChaCha8Rng| {
            let mut rest = random.random::<f64>() * total;
            shares
                .iter()
                .position(|share| {
                    rest -= share;
                    rest < 0.0
                })
                .unwrap_or(0)
        };
        let samples: Vec<usize> = (0..most).map(|_| draw(random)).collect();
        let votes = |taken: &[usize]| -> Vec<u32> {
            (0..shares.len()).map(|label| taken.iter().filter(|sample| **sample == label).count() as u32).collect()
        };
        let mut used = 0;
        loop {
            match rule.more(votes(&samples[..used])) {
                0 => break,
                more => used += more as usize,
            }
        }
        let leaders = |votes: &[u32]| -> Vec<usize> {
            let most = votes.iter().max().copied().unwrap_or_default();
            (0..votes.len()).filter(|label| votes[*label] == most).collect()
        };
        let (stopped, all) = (leaders(&votes(&samples[..used])), leaders(&votes(&samples)));
        let same = stopped.iter().any(|leader| all.contains(leader));
        (
            used,
            if used == most {
                1.0
            } else if same {
                1.0 / all.len().min(2) as f64
            } else {
                0.0
            },
        )
    }

    #[test]
    fn simulated_majorities_stay() {
        let mut random = ChaCha8Rng::seed_from_u64(7);
        for (most, settle) in [(16, 0.8), (16, 0.95), (40, 0.9)] {
            let rule = SettlingRule::new(most, settle);
            let shares: [&[f64]; 5] = [&[1.0, 1.0], &[0.45, 0.45, 0.1], &[1.0; 5], &[0.6, 0.2, 0.1, 0.1], &[1.0; 11]];
            for shares in shares {
                let (runs, mut agree, mut taken) = (2000, 0.0, 0);
                for _ in 0..runs {
                    let (used, same) = simulated(&rule, most as usize, shares, &mut random);
                    agree += same;
                    taken += used;
                }
                let (share, mean) = (agree / f64::from(runs), taken as f64 / f64::from(runs));
                // Three standard errors of the share.
                let noise = 3.0 * (settle * (1.0 - settle) / f64::from(runs)).sqrt();
                assert!(share >= settle - noise, "{most} {settle} {shares:?}: {share}");
                assert!(mean < f64::from(most), "{shares:?}: {mean} of {most}");
            }
        }
    }

    proptest! {
        #[test]
        fn what_is_still_needed_never_exceeds_what_is_left(
            most in 1..=64_u32, settle in 0.5..0.999f64, votes in prop::collection::vec(0..12_u32, 0..6),
        ) {
            let rule = SettlingRule::new(most, settle);
            let drawn: u32 = votes.iter().sum();
            let more = rule.more(votes.iter().copied());
            prop_assert!(more <= most.saturating_sub(drawn));
            let mut turned = votes.clone();
            turned.reverse();
            prop_assert_eq!(more, rule.more(turned), "the labels' order does not matter");
            prop_assert!(drawn > 0 || more > 0, "there is at least one sample");
            // All for the leader settle it, and no fewer do.
            if more > 0 && drawn <= most {
                let leader = (0..votes.len()).max_by_key(|index| votes[*index]);
                let mut after = votes.clone();
                match leader {
                    Some(leader) => after[leader] += more,
                    None => after.push(more),
                }
                prop_assert_eq!(rule.more(after.iter().copied()), 0);
                if let Some(index) = leader.filter(|_| more > 1) {
                    after[index] -= 1;
                    prop_assert!(rule.more(after) > 0);
                }
            }
        }
    }
}
