//! Which items are taken: samples and halves that stay the same.

use std::collections::BTreeMap;

use sha2::{Digest, Sha256};

/// A half of the instructions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Half {
    /// For what is tried out.
    Dev,
    /// For what is reported, once.
    Test,
}

/// Stands for an instruction, whatever file it comes from: the beginning of its SHA-256, without the space around it.
#[must_use]
pub fn instruction_key(instruction: &str) -> u64 {
    key(&[instruction.trim()])
}

/// The half that an instruction belongs to, by its [`instruction_key`].
#[must_use]
pub fn half(instruction: u64) -> Half {
    if instruction.is_multiple_of(2) { Half::Dev } else { Half::Test }
}

/// The beginning of the SHA-256 of some texts.
#[must_use]
pub fn key(texts: &[&str]) -> u64 {
    let mut hash = Sha256::new();
    for text in texts {
        hash.update((text.len() as u64).to_le_bytes());
        hash.update(text);
    }
    let digest = hash.finalize();
    digest.iter().take(8).fold(0, |key, byte| key << 8 | u64::from(*byte))
}

/// Draws items, of each set in proportion to its size; gives their positions, in order. Each item is a set and an id.
///
/// A larger sample of the same seed has all items of a smaller one, since places go to sets by the divisor method of
/// Sainte-Laguë, and within a set by a hash of seed and id.
#[must_use]
pub fn sample(items: &[(&str, &str)], size: usize, seed: u64) -> Vec<usize> {
    let seed = seed.to_string();
    let mut sets: BTreeMap<&str, Vec<(u64, usize)>> = BTreeMap::new();
    for (position, (set, id)) in items.iter().enumerate() {
        sets.entry(*set).or_default().push((key(&[seed.as_str(), *set, *id]), position));
    }
    let mut places = Vec::with_capacity(items.len());
    for (set, mut drawn) in sets {
        drawn.sort_unstable();
        let of_set = drawn.len() as f64;
        places.extend(drawn.iter().enumerate().map(|(nth, (_, at))| ((2 * nth + 1) as f64 / of_set, set, *at)));
    }
    places.sort_by(|one, other| one.0.total_cmp(&other.0).then_with(|| one.1.cmp(other.1)));
    let mut taken: Vec<usize> = places.into_iter().take(size).map(|(_, _, at)| at).collect();
    taken.sort_unstable();
    taken
}

/// Draws the same number of items of each set, or all of a smaller one; gives their positions, in order. Draws within a set
/// are those of [`sample`].
#[must_use]
pub fn sample_each(items: &[(&str, &str)], size: usize, seed: u64) -> Vec<usize> {
    let mut sets: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
    for (position, (set, _)) in items.iter().enumerate() {
        sets.entry(*set).or_default().push(position);
    }
    let of_set = |positions: Vec<usize>| {
        let names: Vec<(&str, &str)> = positions.iter().map(|position| items[*position]).collect();
        sample(&names, size, seed).into_iter().map(move |drawn| positions[drawn])
    };
    let mut taken: Vec<usize> = sets.into_values().flat_map(of_set).collect();
    taken.sort_unstable();
    taken
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn instructions_are_told_apart_but_for_the_space_around_them() {
        assert_eq!(instruction_key(" Why?\n"), instruction_key("Why?"));
        assert_ne!(instruction_key("Why?"), instruction_key("why?"));
        assert_ne!(key(&["ab", "c"]), key(&["a", "bc"]));
        let dev = (0..1000).filter(|i| half(instruction_key(&format!("Question {i}?"))) == Half::Dev).count();
        assert!((450..550).contains(&dev), "{dev}");
    }

    #[test]
    fn each_set_gives_as_many() {
        let names: Vec<String> = (0..30).map(|n| n.to_string()).collect();
        let items: Vec<(&str, &str)> =
            names.iter().enumerate().map(|(n, name)| (if n < 3 { "small" } else { "large" }, name.as_str())).collect();
        let taken = sample_each(&items, 5, 7);
        assert_eq!(taken.iter().filter(|at| **at < 3).count(), 3);
        assert_eq!(taken.len(), 8);
        let more = sample_each(&items, 9, 7);
        assert!(taken.iter().all(|at| more.contains(at)) && more.len() == 12);
    }

    proptest! {
        #[test]
        fn samples_are_nested_in_proportion_and_do_not_mind_the_order(
            sizes in prop::collection::vec(1_usize..40, 1..4),
            seed in any::<u64>(),
            share in 0.0..1.0_f64,
        ) {
            let names: Vec<(String, String)> = sizes
                .iter()
                .enumerate()
                .flat_map(|(set, size)| (0..*size).map(move |i| (format!("set {set}"), format!("{set}-{i}"))))
                .collect();
            let items: Vec<(&str, &str)> = names.iter().map(|(set, id)| (set.as_str(), id.as_str())).collect();
            let size = (share * items.len() as f64) as usize;
            let taken = sample(&items, size, seed);
            prop_assert_eq!(taken.len(), size);
            let larger = sample(&items, size + 1, seed);
            prop_assert!(taken.iter().all(|at| larger.contains(at)));
            for (set, of_set) in sizes.iter().enumerate() {
                let name = format!("set {set}");
                let drawn = taken.iter().filter(|at| items[**at].0 == name).count() as f64;
                prop_assert!((drawn - *of_set as f64 * size as f64 / items.len() as f64).abs() <= sizes.len() as f64);
            }
            let reversed: Vec<(&str, &str)> = items.iter().rev().copied().collect();
            let mut ids: Vec<&str> = taken.iter().map(|at| items[*at].1).collect();
            let mut other: Vec<&str> = sample(&reversed, size, seed).iter().map(|at| reversed[*at].1).collect();
            ids.sort_unstable();
            other.sort_unstable();
            prop_assert_eq!(ids, other);
        }
    }
}
