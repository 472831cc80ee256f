//! What several people say of the same items: the label that most give, and how far they agree.

use std::collections::BTreeMap;

/// The most people that may be asked for a label of one item.
pub const MOST_REVIEWERS: u32 = 20;

/// The label that most give; `None` without one, or where two are given equally often.
#[must_use]
pub fn majority<'a>(labels: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    labels.into_iter().for_each(|label| *counts.entry(label).or_default() += 1);
    let most = counts.values().max().copied()?;
    let mut first = counts.into_iter().filter(|(_, count)| *count == most);
    let label = first.next().map(|(label, _)| label);
    if first.next().is_some() { None } else { label }
}

/// Krippendorff's alpha of nominal labels (Krippendorff 2011, "Computing Krippendorff's alpha-reliability"): 1 if all
/// agree, 0 if they agree as by chance, -1 at worst. Items with fewer than two labels say nothing and are left out. `None`
/// where no disagreement was possible.
#[must_use]
pub fn alpha<'a>(items: impl IntoIterator<Item = Vec<&'a str>>) -> Option<f64> {
    let (mut totals, mut observed, mut all): (BTreeMap<&str, f64>, f64, f64) = (BTreeMap::new(), 0.0, 0.0);
    for labels in items.into_iter().filter(|labels| labels.len() > 1) {
        let mut counts: BTreeMap<&str, f64> = BTreeMap::new();
        labels.iter().for_each(|label| *counts.entry(label).or_default() += 1.0);
        let voters = labels.len() as f64;
        observed += counts.values().map(|count| count * (voters - count)).sum::<f64>() / (voters - 1.0);
        counts.into_iter().for_each(|(label, count)| *totals.entry(label).or_default() += count);
        all += voters;
    }
    let expected = totals.values().map(|total| total * (all - total)).sum::<f64>() / (all - 1.0);
    (all > 1.0 && expected > 0.0).then(|| 1.0 - observed / expected)
}

/// Cohen's kappa of pairs of nominal labels; `None` without pairs, or where no disagreement was possible.
#[must_use]
pub fn kappa<'a>(pairs: &[(&'a str, &'a str)]) -> Option<f64> {
    let all = pairs.len() as f64;
    let (mut left, mut right): (BTreeMap<&str, f64>, BTreeMap<&str, f64>) = (BTreeMap::new(), BTreeMap::new());
    for (one, other) in pairs {
        *left.entry(one).or_default() += 1.0;
        *right.entry(other).or_default() += 1.0;
    }
    let agreed = pairs.iter().filter(|(one, other)| one == other).count() as f64 / all;
    let chance: f64 =
        left.iter().map(|(label, count)| count * right.get(label).unwrap_or(&0.0)).sum::<f64>() / all / all;
    (all > 0.0 && chance < 1.0).then(|| (agreed - chance) / (1.0 - chance))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_majority_is_one_label() {
        assert_eq!(majority(["A", "B", "A"]), Some("A"));
        assert_eq!(majority(["A", "B"]), None);
        assert_eq!(majority([]), None);
    }

    /// Alpha is that of the package krippendorff 0.8.1.
    #[test]
    fn agreement_is_what_others_compute() {
        let check = |items: &[&[&str]], expected: Option<f64>| {
            let found = alpha(items.iter().map(|labels| labels.to_vec()));
            assert!(found.zip(expected).map_or(found == expected, |(a, b)| (a - b).abs() < 1e-9), "{found:?}");
        };
        check(&[], None);
        check(&[&["A"], &["B"]], None);
        check(&[&["A", "A"], &["A", "A"]], None);
        check(&[&["A", "A"], &["B", "B"]], Some(1.0));
        check(&[&["A", "B"], &["B", "A"]], Some(-0.5));
        check(&[&["A", "A", "B"], &["B", "B", "B"], &["C", "C"]], Some(0.65));
        let pairs = [("A", "A"), ("A", "B"), ("B", "B"), ("B", "B")];
        assert!((kappa(&pairs).unwrap() - 0.5).abs() < 1e-12);
        assert_eq!(kappa(&[]), None);
        assert_eq!(kappa(&[("A", "A")]), None);
    }

    proptest! {
        #[test]
        fn the_names_of_labels_do_not_matter(items in prop::collection::vec(prop::collection::vec(0_usize..3, 0..5), 0..8)) {
            let named = |names: [&'static str; 3]| alpha(items.iter().map(|labels| labels.iter().map(|label| names[*label]).collect()));
            let (one, other) = (named(["A", "B", "C"]), named(["C", "A", "B"]));
            prop_assert!(one.zip(other).map_or(one == other, |(a, b)| (a - b).abs() < 1e-9));
            prop_assert!(one.is_none_or(|alpha| (-1.0..=1.0).contains(&alpha)));
        }
    }
}
