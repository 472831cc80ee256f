//! Prompts that were computed and may be the beginning of others.

use super::{Slot, shared};
use crate::script::Token;

/// Cached prefixes, the one used longest ago first.
#[derive(Default)]
pub(super) struct Prefixes(Vec<(Slot, Vec<Token>)>);

impl Prefixes {
    /// Keeps a prefix, and gives the slots of those that it makes needless: the ones that it begins with, or
    /// itself when another already begins with it.
    pub(super) fn insert(&mut self, slot: Slot, tokens: Vec<Token>) -> Vec<Slot> {
        if let Some(at) = self.0.iter().position(|(_, held)| shared(held, &tokens) == tokens.len()) {
            let longer = self.0.remove(at);
            self.0.push(longer);
            return vec![slot];
        }
        let covered = |held: &[Token]| shared(held, &tokens) == held.len();
        let needless = self.0.iter().filter(|(_, held)| covered(held)).map(|(slot, _)| *slot).collect();
        self.0.retain(|(_, held)| !covered(held));
        self.0.push((slot, tokens));
        needless
    }

    /// Marks a prefix as just used.
    pub(super) fn touch(&mut self, slot: Slot) {
        if let Some(at) = self.0.iter().position(|(s, _)| *s == slot) {
            let used = self.0.remove(at);
            self.0.push(used);
        }
    }

    /// Drops the prefix that was used longest ago, but not the one in `keep`.
    pub(super) fn evict(&mut self, keep: Option<Slot>) -> Option<Slot> {
        let at = self.0.iter().position(|(slot, _)| Some(*slot) != keep)?;
        Some(self.0.remove(at).0)
    }

    /// Drops all of them.
    pub(super) fn drain(&mut self) -> impl Iterator<Item = Slot> + '_ {
        self.0.drain(..).map(|(slot, _)| slot)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (Slot, &[Token])> {
        self.0.iter().map(|(slot, tokens)| (*slot, tokens.as_slice()))
    }

    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    /// Tokens held in all. Prefixes that share cells are counted apart: an upper bound.
    pub(super) fn tokens(&self) -> usize {
        self.0.iter().map(|(_, tokens)| tokens.len()).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_longest_of_nested_prefixes_is_kept() {
        let mut prefixes = Prefixes::default();
        assert!(prefixes.insert(1, vec![1, 2]).is_empty());
        assert!(prefixes.insert(2, vec![1, 3]).is_empty());
        assert_eq!(prefixes.insert(3, vec![1, 2, 4]), [1]);
        assert_eq!(prefixes.insert(4, vec![1, 2]), [4]);
        assert_eq!((prefixes.len(), prefixes.tokens()), (2, 5));
        assert_eq!(prefixes.evict(Some(2)), Some(3), "2 is older, but kept");
    }
}
