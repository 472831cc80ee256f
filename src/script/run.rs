//! A run of text and its token ids, as text is added to it.
//!
//! Text that is added changes the last few tokens before it, and no others. So only a window from shortly before the
//! end is tokenised again. The ids are those of the whole text tokenised at once, because a window
//! - is longer than any token, so that none reaches from before it into what is added;
//! - begins with a token of the known text, at the beginning of a word, where every pre-tokenizer splits;
//! - is taken only if its first tokens are those of the known text. Of tokenizers that merge the best pair first (BPE,
//!   SPM) that alone is proof: a merge across the window's beginning would have been made without what is added, too.

use super::{OptionTree, StepError, Token, Vocabulary};

/// How many tokens of a window must be those of the known text.
const AGREE: usize = 4;
/// The fewest bytes of known text in a window.
const LEAST: usize = 32;

/// A run of text, and the ids of as much of it as was tokenised.
#[derive(Debug, Clone, Default)]
pub(super) struct TextRun {
    text: String,
    /// The ids of the first `tokenized` bytes.
    ids: Vec<Token>,
    tokenized: usize,
}

/// What added text makes of the ids of a run: so many stay, and these follow.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Tail {
    pub(super) keep: usize,
    pub(super) ids: Vec<Token>,
}

impl TextRun {
    /// A text with its ids.
    pub(super) fn new(text: String, ids: Vec<Token>) -> Self {
        Self { tokenized: text.len(), text, ids }
    }

    pub(super) fn text(&self) -> &str {
        &self.text
    }

    /// The ids of all that was tokenised.
    pub(super) fn ids(&self) -> &[Token] {
        &self.ids
    }

    /// Adds text that is still to be tokenised.
    pub(super) fn push(&mut self, text: &str) {
        self.text.push_str(text);
    }

    /// Tokenises what was added, and says what it changed.
    pub(super) fn tokenize(&mut self, vocabulary: &dyn Vocabulary) -> Tail {
        let (known, added) = self.text.split_at(self.tokenized);
        let tail = TailTokenizer::new(vocabulary, known, &self.ids).append(added);
        self.apply(&tail);
        tail
    }

    /// Does what tokenising what was added has done to an equal run.
    pub(super) fn apply(&mut self, tail: &Tail) {
        self.ids.truncate(tail.keep);
        self.ids.extend_from_slice(&tail.ids);
        self.tokenized = self.text.len();
    }

    /// Adds text together with what it changes.
    pub(super) fn push_tokenized(&mut self, text: &str, tail: &Tail) {
        self.push(text);
        self.apply(tail);
    }

    /// The options that may follow as a tree of what comes after the first tokens of the run, and how many those are.
    /// All that was added must be tokenised.
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

/// Tokenises what may follow a known text.
struct TailTokenizer<'r> {
    vocabulary: &'r dyn Vocabulary,
    known: &'r str,
    ids: &'r [Token],
    /// How far the tokens of the known text were looked through from its end: the next one, and where it begins.
    walked: (usize, usize),
    /// The window that was last agreed on; `None` where only the whole text will do.
    window: Option<Window>,
}

/// Where a window begins: at a token, and at a byte of the text.
#[derive(Clone, Copy)]
struct Window {
    keep: usize,
    start: usize,
}

impl<'r> TailTokenizer<'r> {
    fn new(vocabulary: &'r dyn Vocabulary, known: &'r str, ids: &'r [Token]) -> Self {
        let mut tokenizer = Self { vocabulary, known, ids, walked: (ids.len(), known.len()), window: None };
        tokenizer.window = tokenizer.window_of(vocabulary.longest_piece().max(LEAST));
        tokenizer
    }

    fn append(&mut self, added: &str) -> Tail {
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

    /// The shortest window of at least so many bytes that was not looked at before.
    fn window_of(&mut self, least: usize) -> Option<Window> {
        loop {
            let (index, end) = self.walked;
            let index = index.checked_sub(1)?;
            let piece = self.vocabulary.piece(self.ids[index]);
            let start = end.checked_sub(piece.len())?;
            // Tokenizers may add spaces or change characters; beyond those it is not known where tokens begin.
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

    /// Where to begin a window at a word that begins here, if one does. A vocabulary that puts a space before all text puts
    /// it in the place of the word's own.
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
