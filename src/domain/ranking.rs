//! Ranking of responses by their rewards, or by a Bradley-Terry model of pairwise comparisons. Works on numbers and
//! indexes only.

/// Maximum number of responses for which every pair is compared; for more, [`pairs`] selects pairs.
pub const ALL_PAIRS_UP_TO: usize = 8;

/// Number of wins that are added for each side of a comparison, so that the strength of a response that always wins is
/// finite.
const PRIOR_WINS: f64 = 0.5;
/// The fit has converged when no logarithm of a strength changes by more than this in an iteration.
const CONVERGED: f64 = 1e-12;
/// Maximum number of iterations; 64 responses with the pairs of [`pairs`] need some hundred.
const MAX_ITERATIONS: usize = 10_000;
/// Strengths that differ by less are equal in a ranking, because their last digits depend on the order of sums.
const EQUAL: f64 = 1e-9;

/// The result of comparing two different responses, given by their indexes.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct PairResult {
    /// Index of response A.
    pub a: usize,
    /// Index of response B.
    pub b: usize,
    /// The probability that A is better, 0..1.
    pub probability_a: f64,
}

/// The pairs of `count` responses to compare, each in the order in which it is shown.
///
/// Up to [`ALL_PAIRS_UP_TO`] responses, these are all pairs. With more, each response is compared with those that are
/// 1, 2, 4, 8, … positions away on a circle: at most n·⌈log₂ n⌉ pairs instead of n·(n-1)/2. Such a circulant design is
/// connected, has each response in the same number of pairs, and connects any two responses by a few comparisons. Each
/// response is first in a pair as often as second, give or take one.
#[must_use]
pub fn pairs(count: usize) -> Vec<(usize, usize)> {
    let all = count <= ALL_PAIRS_UP_TO;
    let steps = (1..=count / 2).filter(|step| all || step.is_power_of_two());
    // A step of half the circle would give every pair twice.
    let starts = |step: usize| if step * 2 == count { step } else { count };
    steps.flat_map(|step| (0..starts(step)).map(move |from| (from, (from + step) % count))).collect()
}

/// The strengths of a Bradley-Terry model, in which response i beats response j with probability
/// sᵢ / (sᵢ + sⱼ). They sum to 1, and none is 0.
///
/// A comparison is a fractional win: `probability_a` of a win for A, and the rest for B. So a tie is half a win for
/// each, as in the model for ties of Davidson (1970, JASA 65, 317-328). Half a win for each side is added to every
/// comparison. The likelihood is maximised by the minorise-maximise iteration of Hunter (2004, Annals of Statistics 32,
/// 384-406, section 2), which increases it in every iteration. Strengths of responses that are not [`joined`] are not
/// comparable.
#[must_use]
pub fn strengths(count: usize, results: &[PairResult]) -> Vec<f64> {
    let mut wins = vec![0.0; count];
    for result in results {
        wins[result.a] += result.probability_a + PRIOR_WINS;
        wins[result.b] += 1.0 - result.probability_a + PRIOR_WINS;
    }
    let games = 1.0 + 2.0 * PRIOR_WINS;
    let mut fitted = vec![1.0 / count as f64; count];
    for _ in 0..MAX_ITERATIONS {
        let mut expected = vec![0.0; count];
        for PairResult { a, b, .. } in results {
            let share = games / (fitted[*a] + fitted[*b]);
            expected[*a] += share;
            expected[*b] += share;
        }
        let met = |i: usize| expected[i] > 0.0;
        let next = (0..count).map(|i| if met(i) { wins[i] / expected[i] } else { fitted[i] });
        let next = to_shares(&next.collect::<Vec<_>>());
        let moved = fitted.iter().zip(&next).map(|(old, new)| (new / old).ln().abs()).fold(0.0, f64::max);
        fitted = next;
        if moved < CONVERGED {
            break;
        }
    }
    fitted
}

/// Whether a chain of comparisons connects two responses, so that their strengths are comparable.
#[must_use]
pub fn joined(results: &[PairResult], one: usize, other: usize) -> bool {
    let mut reached = vec![one];
    let mut next = 0;
    while let Some(&from) = reached.get(next) {
        next += 1;
        for PairResult { a, b, .. } in results {
            for (near, far) in [(a, b), (b, a)] {
                if *near == from && !reached.contains(far) {
                    reached.push(*far);
                }
            }
        }
    }
    reached.contains(&other)
}

/// Scales non-negative numbers so that they sum to 1; equal shares if all are 0.
#[must_use]
pub fn to_shares(numbers: &[f64]) -> Vec<f64> {
    let total: f64 = numbers.iter().sum();
    let share = |number: &f64| if total > 0.0 { number / total } else { 1.0 / numbers.len() as f64 };
    numbers.iter().map(share).collect()
}

/// The indexes from the highest value to the lowest; of equal values, the lower index first.
#[must_use]
pub fn best_first(values: &[f64]) -> Vec<usize> {
    let mut order: Vec<usize> = (0..values.len()).collect();
    let rounded = |i: &usize| (values[*i] / EQUAL).round();
    order.sort_by(|i, j| rounded(j).total_cmp(&rounded(i)));
    order
}

/// Whether two rewards are a tie: equal, or closer than `margin`.
#[must_use]
pub fn is_tie(one: f64, other: f64, margin: f64) -> bool {
    one == other || (one - other).abs() < margin
}

/// The pairs of indexes whose rewards are ties, each with the lower index first.
#[must_use]
pub fn ties(rewards: &[f64], margin: f64) -> Vec<[usize; 2]> {
    let pairs = (0..rewards.len()).flat_map(|j| (0..j).map(move |i| [i, j]));
    let mut ties: Vec<[usize; 2]> = pairs.filter(|&[i, j]| is_tie(rewards[i], rewards[j], margin)).collect();
    ties.sort_unstable();
    ties
}

#[cfg(test)]
mod tests;
