//! The tokenizer of SPM vocabularies, such as those of Llama 2 and Mistral.
//!
//! The merging of SentencePiece's BPE (Kudo and Richardson 2018) as in llama.cpp: of all adjacent pairs that form a
//! token, the one with the highest score is merged first, the leftmost of equal ones. A merge list of the `tokenizers`
//! library cannot express this: it ranks pairs, and equal scores are common.

use std::cmp::Ordering;
use std::collections::{BinaryHeap, HashMap};

use super::kind::Kind;
use crate::script::Token;

/// Merges by score.
pub(super) struct Spm {
    ids: HashMap<String, Token>,
    scores: Vec<f32>,
    bytes: HashMap<u8, Token>,
    adds_space: bool,
}

/// A piece of the text in a linked list; an empty one was merged into its left neighbour.
struct Symbol {
    start: usize,
    len: usize,
    left: Option<usize>,
    right: Option<usize>,
}

/// Two adjacent pieces that form a token; `len` detects later merges.
struct MergeCandidate {
    score: f32,
    left: usize,
    right: usize,
    len: usize,
}

impl Spm {
    /// A tokenizer over tokens and their scores; with `adds_space`, a space is added before text.
    pub(super) fn new(tokens: &[(String, Kind)], scores: Vec<f32>, adds_space: bool) -> Self {
        let numbered = || tokens.iter().zip(0..);
        Self {
            ids: numbered().map(|((text, _), id)| (text.clone(), id)).collect(),
            scores,
            bytes: numbered().filter_map(|((_, kind), id)| Some((byte(*kind)?, id))).collect(),
            adds_space,
        }
    }

    pub(super) fn tokenize(&self, text: &str) -> Vec<Token> {
        if text.is_empty() {
            return Vec::new();
        }
        let text = if self.adds_space { format!(" {text}") } else { text.to_owned() }.replace(' ', "▁");
        let count = text.chars().count();
        let mut symbols: Vec<Symbol> = (text.char_indices().enumerate())
            .map(|(index, (start, c))| Symbol {
                start,
                len: c.len_utf8(),
                left: index.checked_sub(1),
                right: Some(index + 1).filter(|next| *next < count),
            })
            .collect();
        let mut pairs: BinaryHeap<MergeCandidate> =
            (1..symbols.len()).filter_map(|right| self.pair(&text, &symbols, right - 1, right)).collect();
        while let Some(MergeCandidate { left, right, len, .. }) = pairs.pop() {
            let whole = symbols[left].len > 0 && symbols[right].len > 0;
            if !whole || symbols[left].len + symbols[right].len != len {
                continue;
            }
            symbols[left].len = len;
            symbols[right].len = 0;
            symbols[left].right = symbols[right].right;
            if let Some(next) = symbols[left].right {
                symbols[next].left = Some(left);
                pairs.extend(self.pair(&text, &symbols, left, next));
            }
            if let Some(before) = symbols[left].left {
                pairs.extend(self.pair(&text, &symbols, before, left));
            }
        }
        let pieces = symbols.iter().filter(|s| s.len > 0).map(|s| &text[s.start..s.start + s.len]);
        pieces.flat_map(|piece| self.spell(piece)).collect()
    }

    fn pair(&self, text: &str, symbols: &[Symbol], left: usize, right: usize) -> Option<MergeCandidate> {
        let len = symbols[left].len + symbols[right].len;
        let token = *self.ids.get(&text[symbols[left].start..symbols[left].start + len])?;
        let score = *self.scores.get(usize::try_from(token).ok()?)?;
        Some(MergeCandidate { score, left, right, len })
    }

    /// A token, or the bytes of a character without a token.
    fn spell(&self, piece: &str) -> Vec<Token> {
        match self.ids.get(piece) {
            Some(token) => vec![*token],
            None => piece.bytes().filter_map(|byte| self.bytes.get(&byte).copied()).collect(),
        }
    }
}

fn byte(kind: Kind) -> Option<u8> {
    if let Kind::Byte(byte) = kind { Some(byte) } else { None }
}

impl Ord for MergeCandidate {
    fn cmp(&self, other: &Self) -> Ordering {
        self.score.total_cmp(&other.score).then(other.left.cmp(&self.left))
    }
}

impl PartialOrd for MergeCandidate {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for MergeCandidate {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for MergeCandidate {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_highest_score_goes_first_and_the_leftmost_of_equals() {
        let tokens = [("▁", 0.0), ("a", 0.0), ("b", 0.0), ("ab", -1.0), ("ba", -1.0), ("bab", -3.0), ("▁a", -2.0)];
        let scores = tokens.iter().map(|(_, score)| *score).collect();
        let mut tokens: Vec<(String, Kind)> = tokens.iter().map(|(t, _)| ((*t).to_owned(), Kind::Plain)).collect();
        tokens.push(("<0x0A>".into(), Kind::Byte(b'\n')));
        let check = |text: &str, adds_space: bool, expected: &[Token]| {
            let spm = Spm::new(&tokens, Vec::clone(&scores), adds_space);
            assert_eq!(spm.tokenize(text), expected, "{text:?}");
        };
        check("ab", false, &[3]);
        check("aba", false, &[3, 1]);
        check("babb", false, &[5, 2]);
        check("ab", true, &[0, 3]);
        check("a", true, &[6]);
        check("a\nb", false, &[1, 7, 2]);
        check("", true, &[]);
    }
}
