//! Isotonic regression: the increasing step function nearest to the labels, joined by straight lines.
//!
//! Pool-adjacent-violators (Barlow et al. 1972); for calibration see Zadrozny and Elkan 2002. Equal values of x are one
//! point, between two knots the line is straight, and outside of them it is level, as in scikit-learn's
//! `IsotonicRegression(out_of_bounds="clip")`.

use crate::domain::verdict::complement_exact;

/// A run of points that share one value.
struct Block {
    first: f64,
    last: f64,
    sum: f64,
    count: f64,
}

impl Block {
    fn mean(&self) -> f64 {
        self.sum / self.count
    }
}

/// The knots [x, y] of the fit to points (x, y), x rising.
pub(super) fn fit(points: &[(f64, f64)]) -> Vec<[f64; 2]> {
    let mut sorted = points.to_vec();
    sorted.sort_by(|(a, _), (b, _)| a.total_cmp(b));
    let mut blocks: Vec<Block> = Vec::new();
    for (x, y) in sorted {
        match blocks.last_mut().filter(|block| block.last == x && block.first == x) {
            Some(same) => (same.sum, same.count) = (same.sum + y, same.count + 1.0),
            None => blocks.push(Block { first: x, last: x, sum: y, count: 1.0 }),
        }
    }
    let mut pooled: Vec<Block> = Vec::new();
    for mut block in blocks {
        while let Some(before) = pooled.pop_if(|before| before.mean() >= block.mean()) {
            block.first = before.first;
            block.sum += before.sum;
            block.count += before.count;
        }
        pooled.push(block);
    }
    let ends = |block: &Block| {
        let y = block.mean();
        let last = (block.last > block.first).then_some([block.last, y]);
        std::iter::once([block.first, y]).chain(last)
    };
    pooled.iter().flat_map(ends).collect()
}

/// The knots of the fit to pairs (probability_a, label) that are each seen from both sides, so that neither is
/// preferred.
pub(super) fn fit_pairs(points: &[(f64, f64)]) -> Vec<[f64; 2]> {
    let both: Vec<(f64, f64)> = points.iter().flat_map(|&(p, y)| [(p, y), (1.0 - p, 1.0 - y)]).collect();
    fit(&both)
}

/// The value at x.
pub(super) fn at(knots: &[[f64; 2]], x: f64) -> f64 {
    let after = knots.partition_point(|[knot, _]| *knot <= x);
    match (after.checked_sub(1).map(|before| knots[before]), knots.get(after)) {
        (Some([x0, y0]), Some([x1, y1])) => y0 + (y1 - y0) * ((x - x0) / (x1 - x0)),
        (Some([_, y]), None) | (None, Some(&[_, y])) => y,
        (None, None) => x,
    }
}

/// The probability that A is better; of `1 - probability_a` exactly the complement.
pub(super) fn at_pair(knots: &[[f64; 2]], probability_a: f64) -> f64 {
    complement_exact(at(knots, probability_a), at(knots, 1.0 - probability_a))
}

/// Whether the knots rise in x, never fall in y, and stay in 0..1.
pub(super) fn is_valid(knots: &[[f64; 2]]) -> bool {
    let rise = knots.windows(2).all(|pair| pair[0][0] < pair[1][0] && pair[0][1] <= pair[1][1]);
    !knots.is_empty() && rise && knots.iter().flatten().all(|value| (0.0..=1.0).contains(value))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn violators_are_pooled() {
        let check = |points: &[(f64, f64)], expected: &[[f64; 2]]| assert_eq!(fit(points), expected, "{points:?}");
        check(&[(0.1, 0.0), (0.2, 1.0)], &[[0.1, 0.0], [0.2, 1.0]]);
        check(&[(0.2, 0.0), (0.1, 1.0)], &[[0.1, 0.5], [0.2, 0.5]]);
        check(&[(0.1, 0.0), (0.2, 1.0), (0.3, 0.0), (0.4, 1.0)], &[[0.1, 0.0], [0.2, 0.5], [0.3, 0.5], [0.4, 1.0]]);
        check(&[(0.3, 0.0), (0.3, 1.0), (0.3, 1.0)], &[[0.3, 2.0 / 3.0]]);
        check(&[], &[]);
    }

    #[test]
    fn lines_are_straight_between_knots_and_level_outside() {
        let knots = [[0.2, 0.1], [0.6, 0.5]];
        let check = |x: f64, y: f64| assert!((at(&knots, x) - y).abs() < 1e-15, "{x}");
        check(0.0, 0.1);
        check(0.2, 0.1);
        check(0.3, 0.2);
        check(0.6, 0.5);
        check(1.0, 0.5);
    }
}
