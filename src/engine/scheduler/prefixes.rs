//! Prompts that were computed and may be the beginning of others.
//!
//! Their states lie in the host's memory, outside of the model's context, so an idle one costs memory and no time.
//! The one used longest ago makes room.

use crate::script::Token;

/// What is shared of fewer tokens is computed anew.
pub(super) const WORTH_SHARING: usize = 32;

struct Prefix<S> {
    tokens: Vec<Token>,
    state: S,
}

/// Cached prefixes with their saved states, the one used longest ago first.
pub(super) struct Prefixes<S> {
    held: Vec<Prefix<S>>,
    /// The most tokens that they hold together.
    most: usize,
}

impl<S> Prefixes<S> {
    /// None yet; they will hold at most that many tokens together.
    pub(super) fn new(most: usize) -> Self {
        Self { held: Vec::new(), most }
    }

    /// Whether a prefix of these tokens is wanted: it has room, and none begins with it already. One that does
    /// counts as used.
    pub(super) fn wants(&mut self, tokens: &[Token]) -> bool {
        match self.held.iter().position(|p| shared(&p.tokens, tokens) == tokens.len()) {
            Some(at) => {
                self.state(at);
                false
            }
            None => tokens.len() <= self.most,
        }
    }

    /// Keeps a prefix in place of those that it begins with.
    pub(super) fn insert(&mut self, tokens: Vec<Token>, state: S) {
        self.held.retain(|p| shared(&p.tokens, &tokens) < p.tokens.len());
        self.held.push(Prefix { tokens, state });
        while self.tokens() > self.most {
            self.held.remove(0);
        }
    }

    /// Drops those that such a sequence may have begun with.
    pub(super) fn drop_sharing(&mut self, tokens: &[Token]) {
        self.held.retain(|p| shared(&p.tokens, tokens) < WORTH_SHARING);
    }

    /// The state of a prefix, which counts as used now.
    pub(super) fn state(&mut self, at: usize) -> &S {
        let prefix = self.held.remove(at);
        self.held.push(prefix);
        &self.held.last().expect("one was put there").state
    }

    /// The tokens of each.
    pub(super) fn iter(&self) -> impl Iterator<Item = &[Token]> {
        self.held.iter().map(|p| p.tokens.as_slice())
    }

    /// Tokens held in all.
    pub(super) fn tokens(&self) -> usize {
        self.iter().map(<[Token]>::len).sum()
    }
}

/// How many tokens two sequences begin with in common.
pub(super) fn shared(a: &[Token], b: &[Token]) -> usize {
    a.iter().zip(b).take_while(|(x, y)| x == y).count()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lengths(prefixes: &Prefixes<char>) -> Vec<usize> {
        prefixes.iter().map(<[Token]>::len).collect()
    }

    #[test]
    fn only_the_longest_of_nested_prefixes_is_kept() {
        let mut prefixes = Prefixes::new(100);
        prefixes.insert(vec![1, 2], 'a');
        prefixes.insert(vec![1, 3, 3, 3], 'b');
        prefixes.insert(vec![1, 2, 4], 'c');
        assert_eq!(lengths(&prefixes), [4, 3]);
        assert!(!prefixes.wants(&[1, 2]), "one that is longer will do");
        assert!(prefixes.wants(&[1, 2, 5]));
        assert_eq!(*prefixes.state(1), 'c');
    }

    #[test]
    fn the_one_used_longest_ago_makes_room() {
        let mut prefixes = Prefixes::new(20);
        prefixes.insert(vec![1; 8], 'a');
        prefixes.insert(vec![2; 9], 'b');
        assert_eq!(*prefixes.state(0), 'a');
        prefixes.insert(vec![3; 7], 'c');
        assert_eq!(lengths(&prefixes), [8, 7]);
        assert!(!prefixes.wants(&[4; 21]), "it would push out all others, and not fit");
    }
}
