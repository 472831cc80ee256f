//! A run of text and its token ids, while text is appended.
//!
//! Appended text changes only the last few tokens before it. So only a window that starts shortly before the end is
//! tokenised again. The ids equal those of the whole text tokenised at once, because a window
//! - is longer than any token, so that no token reaches from before the window into the appended text;
//! - begins with a token of the known text, at the beginning of a word, where every pre-tokenizer splits;
//! - is used only if its first tokens are those of the known text. For tokenizers that merge the best pair first (BPE,
//!   SPM), this alone is proof: a merge across the start of the window would also happen without the appended text.

use super::{OptionTree, StepError, Token, Vocabulary};

/// Number of tokens of a window that must equal those of the known text.
const AGREE: usize = 4;
/// Minimum number of bytes of known text in a window.
const LEAST: usize = 32;

/// A run of text, and the ids of its tokenised part.
#[derive(Debug, Clone, Default)]
pub(super) struct TextRun {
    text: String,
    /// The ids of the first `tokenized` bytes.
    ids: Vec<Token>,
    tokenized: usize,
}

/// The change of a run's ids by appended text: this number of ids stay, and these follow.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Tail {
    pub(super) keep: usize,
    pub(super) ids: Vec<Token>,
}

impl TextRun {
    /// A tokenised text.
    pub(super) fn new(text: String, ids: Vec<Token>) -> Self {
        Self { tokenized: text.len(), text, ids }
    }

    pub(super) fn text(&self) -> &str {
        &self.text
    }

    /// The ids of the tokenised part.
    pub(super) fn ids(&self) -> &[Token] {
        &self.ids
    }

    /// Appends text without tokenising it.
    pub(super) fn push(&mut self, text: &str) {
        self.text.push_str(text);
    }

    /// Tokenises the appended text, and returns the change.
    pub(super) fn tokenize(&mut self, vocabulary: &dyn Vocabulary) -> Tail {
        let (known, added) = self.text.split_at(self.tokenized);
        let tail = TailTokenizer::new(vocabulary, known, &self.ids).append(added);
        self.apply(&tail);
        tail
    }

    /// Applies a change that was computed for an equal run.
    pub(super) fn apply(&mut self, tail: &Tail) {
        self.ids.truncate(tail.keep);
        self.ids.extend_from_slice(&tail.ids);
        self.tokenized = self.text.len();
    }

    /// Appends text with its known change.
    pub(super) fn push_tokenized(&mut self, text: &str, tail: &Tail) {
        self.push(text);
        self.apply(tail);
    }

    /// The tree of the options that may follow, and the number of the run's tokens before the tree. The whole run must
    /// be tokenised.
    ///
    /// # Errors
    /// [`StepError::NoTokens`].
    pub(super) fn options(
        &self,
        vocabulary: &dyn Vocabulary,
        options: &[String],
    ) -> Result<(usize, OptionTree), StepError> {
        debug_assert_eq!(self.tokenized, self.text.len());
        let mut tokenizer = TailTokenizer::new(vocabulary, &self.text, &self.ids);
        let tails: Vec<Tail> = options.iter().map(|option| tokenizer.append(option)).collect();
        let keep = tails.iter().map(|tail| tail.keep).min().unwrap_or(0);
        let path = |tail: Tail| [&self.ids[keep..tail.keep], &tail.ids].concat();
        let paths: Vec<Vec<Token>> = tails.into_iter().map(path).collect();
        if paths.iter().any(Vec::is_empty) {
            return Err(StepError::NoTokens);
        }
        Ok((keep, OptionTree::new(&paths)))
    }
}

/// Tokenises texts that may follow a known text.
pub(super) struct TailTokenizer<'r> {
    vocabulary: &'r dyn Vocabulary,
    known: &'r str,
    ids: &'r [Token],
    /// The search position in the known text, from its end: the next token and its start.
    walked: (usize, usize),
    /// The last valid window; `None` if the whole text is needed.
    window: Option<Window>,
}

/// The start of a window: a token index, and a byte of the text.
#[derive(Clone, Copy)]
struct Window {
    keep: usize,
    start: usize,
}

impl<'r> TailTokenizer<'r> {
    pub(super) fn new(vocabulary: &'r dyn Vocabulary, known: &'r str, ids: &'r [Token]) -> Self {
        let mut tokenizer = Self { vocabulary, known, ids, walked: (ids.len(), known.len()), window: None };
        tokenizer.window = tokenizer.window_of(vocabulary.longest_piece().max(LEAST));
        tokenizer
    }

    pub(super) fn append(&mut self, added: &str) -> Tail {
        if added.is_empty() {
            return Tail { keep: self.ids.len(), ids: Vec::new() };
        }
        while let Some(Window { keep, start }) = self.window {
            let ids = self.vocabulary.tokenize(&[&self.known[start..], added].concat());
            let expected = self.ids.get(keep..keep + AGREE);
            if expected.is_some_and(|expected| ids.starts_with(expected)) {
                return Tail { keep, ids };
            }
            self.window = self.window_of(2 * (self.known.len() - start));
        }
        Tail { keep: 0, ids: self.vocabulary.tokenize(&[self.known, added].concat()) }
    }

    /// The shortest window of at least this number of bytes that was not tried before.
    fn window_of(&mut self, least: usize) -> Option<Window> {
        loop {
            let (index, end) = self.walked;
            let index = index.checked_sub(1)?;
            let piece = self.vocabulary.piece(self.ids[index]);
            let start = end.checked_sub(piece.len())?;
            // Tokenizers may add spaces or change characters; before those, token positions are unknown.
            if piece.is_empty() || self.known.as_bytes()[start..end] != piece {
                return None;
            }
            self.walked = (index, start);
            if self.known.len() - start >= least
                && let Some(start) = self.word_at(start)
            {
                return Some(Window { keep: index, start });
            }
        }
    }

    /// The start of a window at a word that begins here, if there is one. If the vocabulary adds a space before all
    /// text, that space replaces the word's own.
    fn word_at(&self, at: usize) -> Option<usize> {
        let (before, word) = self.known.split_at_checked(at)?;
        let previous = before.chars().next_back()?;
        let begins = |word: &str| word.starts_with(char::is_alphanumeric);
        let spaced = word.strip_prefix(' ').is_some_and(begins) && !previous.is_whitespace();
        if self.vocabulary.adds_space() {
            return spaced.then_some(at + 1);
        }
        (spaced || (previous == '\n' && begins(word))).then_some(at)
    }
}

#[cfg(test)]
mod tests;
