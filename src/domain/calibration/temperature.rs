//! Temperature scaling: the logarithms of the probabilities are divided by one number.
//!
//! Guo et al. 2017, "On calibration of modern neural networks", section 4.2. It keeps the order of the labels, and has
//! no term of its own for a label, so that of a pair neither side is preferred.

use super::numeric::{logit, sigmoid};
use crate::domain::verdict::complement_exact;

/// The temperatures that are searched; a judge beyond them says nothing, or nothing but certainties.
const COLDEST: f64 = 0.01;
const HOTTEST: f64 = 100.0;
/// Halvings of the range of inverse temperatures; more change no digit.
const HALVINGS: usize = 200;
/// What a probability of zero counts as.
const LEAST: f64 = 1e-12;

/// The probabilities at a temperature: the softmax of their logarithms divided by it.
pub(super) fn tempered(probabilities: &[f64], temperature: f64) -> Vec<f64> {
    let logs: Vec<f64> = probabilities.iter().map(|p| p.max(LEAST).ln() / temperature).collect();
    let highest = logs.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let scaled: Vec<f64> = logs.iter().map(|log| (log - highest).exp()).collect();
    let sum: f64 = scaled.iter().sum();
    scaled.into_iter().map(|p| p / sum).collect()
}

/// The probability that A is better at a temperature; of `1 - probability_a` exactly the complement.
pub(super) fn tempered_pair(probability_a: f64, temperature: f64) -> f64 {
    let z = logit(probability_a) / temperature;
    complement_exact(sigmoid(z), sigmoid(-z))
}

/// The temperature that makes the labels most probable. Each example has the probabilities of the labels, and the share
/// of each in what people say.
///
/// The negative log-likelihood is convex in the inverse of the temperature, so its slope is halved in on.
pub(super) fn fit(examples: &[(Vec<f64>, Vec<f64>)]) -> f64 {
    let logs: Vec<(Vec<f64>, &Vec<f64>)> = examples
        .iter()
        .map(|(probabilities, target)| (probabilities.iter().map(|p| p.max(LEAST).ln()).collect(), target))
        .collect();
    // How much more probable the labels would become with less of it.
    let slope = |inverse: f64| -> f64 {
        let of = |(logs, target): &(Vec<f64>, &Vec<f64>)| -> f64 {
            let expected = tempered(&logs.iter().map(|log| log.exp()).collect::<Vec<_>>(), 1.0 / inverse);
            logs.iter().zip(expected.iter().zip(*target)).map(|(log, (p, share))| log * (p - share)).sum()
        };
        logs.iter().map(of).sum()
    };
    let (mut low, mut high) = (1.0 / HOTTEST, 1.0 / COLDEST);
    if slope(low) == 0.0 && slope(high) == 0.0 {
        // A judge without an opinion has no temperature.
        return 1.0;
    }
    for _ in 0..HALVINGS {
        let middle = f64::midpoint(low, high);
        if slope(middle) < 0.0 { low = middle } else { high = middle }
    }
    1.0 / f64::midpoint(low, high)
}

/// Whether it is a temperature.
pub(super) fn is_valid(temperature: f64) -> bool {
    (COLDEST * 0.99..=HOTTEST * 1.01).contains(&temperature)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_temperature_leaves_all_as_it_is_and_others_sharpen_or_flatten() {
        let p = [0.2, 0.5, 0.3];
        let same = tempered(&p, 1.0);
        assert!(p.iter().zip(&same).all(|(p, q)| (p - q).abs() < 1e-15));
        assert!(tempered(&p, 0.5)[1] > 0.5 && tempered(&p, 2.0)[1] < 0.5);
        assert!((tempered_pair(0.8, 2.0) - 2.0 / 3.0).abs() < 1e-9);
    }

    #[test]
    fn the_temperature_of_a_judge_that_is_too_sure() {
        // It says 0.9, and is right 3 times in 4: sigmoid(logit(0.9) / T) = 0.75.
        let examples: Vec<_> =
            (0..8).map(|i| (vec![0.9, 0.1], if i % 4 == 0 { vec![0.0, 1.0] } else { vec![1.0, 0.0] })).collect();
        assert!((fit(&examples) - 9f64.ln() / 3f64.ln()).abs() < 1e-9);
        // A judge that is right each time is as cold as may be, one that is wrong each time as hot.
        assert!((fit(&[(vec![0.9, 0.1], vec![1.0, 0.0])]) - COLDEST).abs() < 1e-9);
        assert!((fit(&[(vec![0.9, 0.1], vec![0.0, 1.0])]) - HOTTEST).abs() < 1e-6);
        assert_eq!(fit(&[(vec![0.5, 0.5], vec![0.0, 1.0])]), 1.0);
    }
}
