//! Functions of logits.

/// ln Σ exp(x), in double precision and without overflow.
pub(super) fn log_sum_exp(logits: &[f32]) -> f64 {
    let highest = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let sum: f64 = logits.iter().map(|l| f64::from(l - highest).exp()).sum();
    f64::from(highest) + sum.ln()
}

/// Whether logits are valid: none is NaN or +∞, and at least one token is possible.
pub(super) fn is_distribution(logits: &[f32]) -> bool {
    // No early exit, so that the compiler can vectorise the loop.
    let (finite, possible) = logits.iter().fold((true, false), |(finite, possible), logit| {
        (finite & (*logit < f32::INFINITY), possible | (*logit > f32::NEG_INFINITY))
    });
    finite && possible
}

/// The ids of the `most` highest logits, highest first; of equal logits, the lower id first.
pub(super) fn highest(logits: &[f32], most: usize) -> Vec<usize> {
    let mut found: Vec<usize> = Vec::with_capacity(most.min(logits.len()));
    if most == 0 {
        return found;
    }
    for (id, logit) in logits.iter().enumerate() {
        if found.len() == most {
            match found.last() {
                Some(lowest) if *logit > logits[*lowest] => found.pop(),
                _ => continue,
            };
        }
        found.insert(found.partition_point(|other| logits[*other] >= *logit), id);
    }
    found
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn the_highest_are_those_of_a_sorted_list(logits in prop::collection::vec(-3i8..4, 0..40), most in 0usize..45) {
            let logits: Vec<f32> = logits.into_iter().map(f32::from).collect();
            let mut sorted: Vec<usize> = (0..logits.len()).collect();
            sorted.sort_by(|a, b| logits[*b].total_cmp(&logits[*a]));
            sorted.truncate(most);
            prop_assert_eq!(highest(&logits, most), sorted);
        }
    }
}
