//! Many responses put in order: by their rewards, or by a Bradley-Terry model of comparisons in pairs.
//!
//! Pure: it knows numbers and positions, and nothing of judges.

/// The most responses of which every pair is compared; of more, [`pairs`] chooses.
pub const ALL_PAIRS_UP_TO: usize = 8;

/// What one pair is given beside its comparison: so many wins for either side. They keep strengths finite where one
/// response wins every time.
const PRIOR_WINS: f64 = 0.5;
/// The fit has come to rest when no logarithm of a strength moves further than this in a round.
const AT_REST: f64 = 1e-12;
/// Ends a fit in any case; 64 responses on the pairs of [`pairs`] need some hundred rounds.
const MOST_ROUNDS: usize = 10_000;
/// Strengths that differ by less are equal in the order: their last digits depend on the order of sums.
const EQUAL: f64 = 1e-9;

/// What came of comparing two different responses, named by their positions.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Contest {
    /// The position of one response.
    pub a: usize,
    /// The position of the other response.
    pub b: usize,
    /// The probability that the first is better, 0..1.
    pub probability_a: f64,
}

/// The pairs of `count` positions to compare, each named in the order in which it is shown.
///
/// Up to [`ALL_PAIRS_UP_TO`] these are all pairs. Of more, each position meets those that are 1, 2, 4, 8, … places
/// away on a circle: n·⌈log₂ n⌉ pairs at most instead of n·(n-1)/2. Such a circulant design is connected, treats all
/// positions alike, so that each takes part equally often, and its long steps keep any two positions a few comparisons
/// apart. Each position is the first of its pairs as often as the second, or once more or less.
#[must_use]
pub fn pairs(count: usize) -> Vec<(usize, usize)> {
    let all = count <= ALL_PAIRS_UP_TO;
    let steps = (1..=count / 2).filter(|step| all || step.is_power_of_two());
    // A step across half the circle meets every pair from both of its ends.
    let starts = |step: usize| if step * 2 == count { step } else { count };
    steps.flat_map(|step| (0..starts(step)).map(move |from| (from, (from + step) % count))).collect()
}

/// The strengths of a Bradley-Terry model, in which response i beats response j with probability
/// sᵢ / (sᵢ + sⱼ): their sum is 1, and none is 0.
///
/// A comparison is a fractional win: `probability_a` of one for its first response, the rest for the second, so that
/// a tie is half a win for each, which is also all that the model of ties of Davidson (1970, JASA 65, 317-328) asks
/// of one. To each comparison half a win for either side is added. The likelihood is maximised by the
/// minorise-maximise iteration of Hunter (2004, Annals of Statistics 32, 384-406, section 2), which rises in every
/// round. Responses that no chain of comparisons joins cannot be set against each other.
#[must_use]
pub fn strengths(count: usize, contests: &[Contest]) -> Vec<f64> {
    let mut wins = vec![0.0; count];
    for contest in contests {
        wins[contest.a] += contest.probability_a + PRIOR_WINS;
        wins[contest.b] += 1.0 - contest.probability_a + PRIOR_WINS;
    }
    let games = 1.0 + 2.0 * PRIOR_WINS;
    let mut fitted = vec![1.0 / count as f64; count];
    for _ in 0..MOST_ROUNDS {
        let mut expected = vec![0.0; count];
        for Contest { a, b, .. } in contests {
            let share = games / (fitted[*a] + fitted[*b]);
            expected[*a] += share;
            expected[*b] += share;
        }
        let met = |i: usize| expected[i] > 0.0;
        let next = (0..count).map(|i| if met(i) { wins[i] / expected[i] } else { fitted[i] });
        let next = to_shares(&next.collect::<Vec<_>>());
        let moved = fitted.iter().zip(&next).map(|(old, new)| (new / old).ln().abs()).fold(0.0, f64::max);
        fitted = next;
        if moved < AT_REST {
            break;
        }
    }
    fitted
}

/// Whether a chain of comparisons joins two positions, so that their strengths can be set against each other.
#[must_use]
pub fn joined(contests: &[Contest], one: usize, other: usize) -> bool {
    let mut reached = vec![one];
    let mut next = 0;
    while let Some(&from) = reached.get(next) {
        next += 1;
        for Contest { a, b, .. } in contests {
            for (near, far) in [(a, b), (b, a)] {
                if *near == from && !reached.contains(far) {
                    reached.push(*far);
                }
            }
        }
    }
    reached.contains(&other)
}

/// Numbers of at least 0 scaled so that they sum to 1; equal ones if all are 0.
#[must_use]
pub fn to_shares(numbers: &[f64]) -> Vec<f64> {
    let total: f64 = numbers.iter().sum();
    let share = |number: &f64| if total > 0.0 { number / total } else { 1.0 / numbers.len() as f64 };
    numbers.iter().map(share).collect()
}

/// The positions from the highest value to the lowest; of equal ones, the first comes first.
#[must_use]
pub fn best_first(values: &[f64]) -> Vec<usize> {
    let mut order: Vec<usize> = (0..values.len()).collect();
    let rounded = |i: &usize| (values[*i] / EQUAL).round();
    order.sort_by(|i, j| rounded(j).total_cmp(&rounded(i)));
    order
}

/// Whether neither of two rewards is higher: they are equal, or closer than `margin`.
#[must_use]
pub fn is_tie(one: f64, other: f64, margin: f64) -> bool {
    one == other || (one - other).abs() < margin
}

/// The pairs of positions whose rewards are ties, each with the lower position first.
#[must_use]
pub fn ties(rewards: &[f64], margin: f64) -> Vec<[usize; 2]> {
    let pairs = (0..rewards.len()).flat_map(|j| (0..j).map(move |i| [i, j]));
    let mut ties: Vec<[usize; 2]> = pairs.filter(|&[i, j]| is_tie(rewards[i], rewards[j], margin)).collect();
    ties.sort_unstable();
    ties
}

#[cfg(test)]
mod tests;
