//! What is compared: labelled items, and a judge's verdicts on them.

use std::collections::BTreeMap;

use crate::domain::Preference;

/// Where an item belongs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// The set that it is from.
    pub set: String,
    /// The part of the set, where items say so.
    pub subset: Option<String>,
    /// Stands for its instruction: equal for items on the same one.
    pub instruction: u64,
}

impl Place {
    /// `set/subset`, where the item has a subset.
    fn path(&self) -> Option<String> {
        self.subset.as_ref().map(|subset| format!("{}/{subset}", self.set))
    }
}

/// One response, with a score as its label.
#[derive(Debug, Clone, PartialEq)]
pub struct ScoreItem {
    /// Where it belongs.
    pub place: Place,
    /// The label; between two scores where it is a mean of several graders.
    pub label: f64,
    /// Characters of the response.
    pub length: usize,
}

/// Two responses, with a preference as their label.
#[derive(Debug, Clone, PartialEq)]
pub struct PairItem {
    /// Where it belongs.
    pub place: Place,
    /// Which response is better.
    pub label: Preference,
    /// What each of several people said.
    pub votes: Vec<Preference>,
    /// Characters of response A and of response B.
    pub lengths: [usize; 2],
}

/// A judge's verdict on one response.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ScoreVerdict {
    /// The most probable score.
    pub score: i32,
    /// The mean under the distribution; the score itself where there is none.
    pub expected: f64,
    /// The expected score on 0..1, where there is a distribution.
    pub reward: Option<f64>,
}

/// A judge's verdict on two responses.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct PairVerdict {
    /// Which response is better.
    pub preference: Preference,
    /// The probability that A is better.
    pub probability_a: Option<f64>,
    /// Whether both orders agree, where both were judged.
    pub consistent: Option<bool>,
    /// Where they disagree: whether the response shown first was preferred in both, where that is known.
    pub first_preferred: Option<bool>,
}

impl PairVerdict {
    /// What it leans to: what `probability_a` says where it is there, and the preference otherwise.
    pub(super) fn leaning(&self) -> Preference {
        match self.probability_a {
            Some(probability) if probability > 0.5 => Preference::A,
            Some(probability) if probability < 0.5 => Preference::B,
            Some(_) => Preference::Tie,
            None => self.preference,
        }
    }
}

/// An item and the verdict on it.
pub(super) type Judged<'a, I, V> = (&'a I, &'a V);

/// Has a place.
pub(super) trait Placed {
    fn place(&self) -> &Place;
}

impl Placed for ScoreItem {
    fn place(&self) -> &Place {
        &self.place
    }
}

impl Placed for PairItem {
    fn place(&self) -> &Place {
        &self.place
    }
}

/// The same for an item and its verdict.
impl<I: Placed, V> Placed for Judged<'_, I, V> {
    fn place(&self) -> &Place {
        self.0.place()
    }
}

impl<I: Placed> Placed for &I {
    fn place(&self) -> &Place {
        (**self).place()
    }
}

/// Items by a name; those without one are left out.
pub(super) fn grouped<T: Placed + Copy>(
    items: &[T],
    name: impl Fn(&Place) -> Option<String>,
) -> BTreeMap<String, Vec<T>> {
    let mut groups: BTreeMap<String, Vec<T>> = BTreeMap::new();
    for item in items {
        if let Some(name) = name(item.place()) {
            groups.entry(name).or_default().push(*item);
        }
    }
    groups
}

/// Items by their set.
pub(super) fn by_set<T: Placed + Copy>(items: &[T]) -> BTreeMap<String, Vec<T>> {
    grouped(items, |place| Some(place.set.clone()))
}

/// Items by their subset, as `set/subset`.
pub(super) fn by_subset<T: Placed + Copy>(items: &[T]) -> BTreeMap<String, Vec<T>> {
    grouped(items, Place::path)
}
