//! Splits by instruction, so that no instruction is on both sides.

use std::collections::{BTreeSet, HashMap};

use sha2::{Digest, Sha256};

/// The place of each example's instruction when all instructions are put in an order that the seed decides. The same
/// instructions have the same order whatever the order of the examples is.
fn places(instructions: &[&str], seed: u64) -> (Vec<usize>, usize) {
    let distinct: BTreeSet<&str> = instructions.iter().copied().collect();
    let key = |text: &&str| -> [u8; 32] {
        let mut hash = Sha256::new();
        hash.update(seed.to_le_bytes());
        hash.update(text);
        hash.finalize().into()
    };
    let mut ordered: Vec<&str> = distinct.into_iter().collect();
    ordered.sort_by_cached_key(key);
    let place: HashMap<&str, usize> = ordered.iter().copied().zip(0..).collect();
    (instructions.iter().map(|text| place[text]).collect(), ordered.len())
}

/// For each example, whether it is in the half that is fitted; the other half is held out.
#[must_use]
pub(super) fn halves(instructions: &[&str], seed: u64) -> Vec<bool> {
    let (places, count) = places(instructions, seed);
    places.into_iter().map(|place| place < count.div_ceil(2)).collect()
}

/// The fold of each example, 0 to `count - 1`.
#[must_use]
pub(in crate::domain) fn folds(instructions: &[&str], count: usize, seed: u64) -> Vec<usize> {
    places(instructions, seed).0.into_iter().map(|place| place % count).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_instruction_is_on_one_side_only() {
        let names: Vec<String> = (0..40).map(|i| format!("instruction {}", i % 10)).collect();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let (halves_of, folds_of) = (halves(&names, 3), folds(&names, 4, 3));
        for i in 0..30 {
            assert_eq!((halves_of[i], folds_of[i]), (halves_of[i + 10], folds_of[i + 10]));
        }
        assert_eq!(halves_of.iter().filter(|fitted| **fitted).count(), 20);
        assert_eq!(folds_of.iter().collect::<BTreeSet<_>>().len(), 4);
        assert_ne!(halves(&names, 4), halves_of, "the seed decides");
        let mut turned = names.clone();
        turned.reverse();
        let mut again = halves(&turned, 3);
        again.reverse();
        assert_eq!(again, halves_of, "the order of the examples does not");
    }
}
