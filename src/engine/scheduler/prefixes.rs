//! Prompts that were computed and may be the beginning of others.
//!
//! Every step looks at all cells in use, so an idle prefix costs running sequences time, and is worth it only if
//! it is used again. The order of eviction is therefore that of a segmented LRU: a prefix is on probation, where
//! there is little room, until another prompt has begun with it; a proven one that nobody has used for long is
//! dropped even when there is room. (Karedla, Love and Wherry, "Caching strategies to improve disk system
//! performance", 1994.)

use super::{Slot, shared};
use crate::script::Token;

/// Prefixes that were never reused hold at most this part of the room, the latest one excepted.
const PROBATION: usize = 4;
/// A prefix that helped none of this many prompts is dropped.
const STALE: u64 = 32;

struct Prefix {
    slot: Slot,
    tokens: Vec<Token>,
    proven: bool,
    /// How many prompts had been admitted when it was last of use.
    used: u64,
}

/// Cached prefixes, the one used longest ago first.
#[derive(Default)]
pub(super) struct Prefixes {
    held: Vec<Prefix>,
    admitted: u64,
}

impl Prefixes {
    /// Keeps a prefix, and gives the slots of those that it makes needless: the ones that it begins with, or
    /// itself when another already begins with it. `proven` says that others are known to begin with it.
    pub(super) fn insert(&mut self, slot: Slot, tokens: Vec<Token>, proven: bool) -> Vec<Slot> {
        if let Some(at) = self.held.iter().position(|p| shared(&p.tokens, &tokens) == tokens.len()) {
            self.refresh(at, proven);
            return vec![slot];
        }
        let covered = |p: &Prefix| shared(&p.tokens, &tokens) == p.tokens.len();
        let proven = proven || self.held.iter().any(|p| p.proven && covered(p));
        let needless = self.held.iter().filter(|p| covered(p)).map(|p| p.slot).collect();
        self.held.retain(|p| !covered(p));
        self.held.push(Prefix { slot, tokens, proven, used: self.admitted });
        needless
    }

    /// Counts an admitted prompt; `donor` is the slot that it began with.
    pub(super) fn admitted(&mut self, donor: Option<Slot>) {
        self.admitted += 1;
        if let Some(at) = self.held.iter().position(|p| Some(p.slot) == donor) {
            self.refresh(at, true);
        }
    }

    fn refresh(&mut self, at: usize, proven: bool) {
        let prefix = self.held.remove(at);
        self.held.push(Prefix { proven: prefix.proven || proven, used: self.admitted, ..prefix });
    }

    /// Drops one prefix: the unproven one that was used longest ago, else the proven one, but not that of `keep`.
    pub(super) fn evict(&mut self, keep: Option<Slot>) -> Option<Slot> {
        let spare = |p: &Prefix| Some(p.slot) != keep;
        let at = self.held.iter().position(|p| spare(p) && !p.proven);
        let at = at.or_else(|| self.held.iter().position(spare))?;
        Some(self.held.remove(at).slot)
    }

    /// Drops one prefix if there are more than `most`, if they hold more than `tokens`, if those on probation hold
    /// more than their part of that, or if one has helped nobody for long.
    pub(super) fn shrink(&mut self, most: usize, tokens: usize) -> Option<Slot> {
        let probation: Vec<usize> = self.held.iter().filter(|p| !p.proven).map(|p| p.tokens.len()).collect();
        let crowded = probation.len() > 1 && probation.iter().sum::<usize>() > tokens / PROBATION;
        if self.held.len() > most || self.tokens() > tokens || crowded {
            return self.evict(None);
        }
        let at = self.held.iter().position(|p| self.admitted - p.used > STALE)?;
        Some(self.held.remove(at).slot)
    }

    /// Drops all of them.
    pub(super) fn drain(&mut self) -> impl Iterator<Item = Slot> + '_ {
        self.held.drain(..).map(|p| p.slot)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (Slot, &[Token])> {
        self.held.iter().map(|p| (p.slot, p.tokens.as_slice()))
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.held.len()
    }

    /// Tokens held in all. Prefixes that share cells are counted apart: an upper bound.
    pub(super) fn tokens(&self) -> usize {
        self.held.iter().map(|p| p.tokens.len()).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_longest_of_nested_prefixes_is_kept() {
        let mut prefixes = Prefixes::default();
        assert!(prefixes.insert(1, vec![1, 2], false).is_empty());
        assert!(prefixes.insert(2, vec![1, 3], false).is_empty());
        assert_eq!(prefixes.insert(3, vec![1, 2, 4], false), [1]);
        assert_eq!(prefixes.insert(4, vec![1, 2], false), [4]);
        assert_eq!((prefixes.len(), prefixes.tokens()), (2, 5));
        assert_eq!(prefixes.evict(Some(2)), Some(3), "2 is older, but kept");
    }

    #[test]
    fn what_was_never_reused_goes_first() {
        let mut prefixes = Prefixes::default();
        prefixes.insert(1, vec![1; 8], false);
        prefixes.insert(2, vec![2; 8], false);
        prefixes.admitted(Some(1));
        prefixes.insert(3, vec![3; 8], false);
        assert_eq!(prefixes.evict(None), Some(2));
        assert_eq!(prefixes.evict(None), Some(3));
        assert_eq!(prefixes.evict(None), Some(1));
    }

    #[test]
    fn there_is_little_room_on_probation_and_none_for_the_stale() {
        let mut prefixes = Prefixes::default();
        prefixes.insert(1, vec![1; 20], true);
        prefixes.insert(2, vec![2; 30], false);
        assert_eq!(prefixes.shrink(9, 100), None, "the latest may be as long as it is");
        prefixes.insert(3, vec![3; 20], false);
        assert_eq!(prefixes.shrink(9, 100), Some(2));
        assert_eq!(prefixes.shrink(9, 100), None);
        (0..=STALE).for_each(|_| prefixes.admitted(Some(3)));
        assert_eq!(prefixes.shrink(9, 100), Some(1));
        assert_eq!(prefixes.shrink(9, 100), None, "3 was used all the time");
    }
}
