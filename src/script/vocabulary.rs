//! What a script needs to know of a model's vocabulary.

use super::{Constraint, Grammar, Token};

/// A model's vocabulary, as far as scripts use it.
pub trait Vocabulary: Send + Sync {
    /// The number of tokens; ids are below it.
    fn size(&self) -> usize;

    /// The tokens of a run of plain text that stands at the start of a sequence or after a control token.
    /// Nothing in the text becomes a control token.
    fn tokenize(&self, text: &str) -> Vec<Token>;

    /// The control token that is written so, if there is one.
    fn control(&self, text: &str) -> Option<Token>;

    /// The bytes that a token writes; empty for control tokens.
    fn piece(&self, token: Token) -> Vec<u8>;

    /// The most bytes that one token writes, at least 1: a text of n bytes has at least n / that many tokens.
    fn longest_piece(&self) -> usize;

    /// Whether a token ends the model's turn: an end-of-generation token, or any other control token.
    fn ends_turn(&self, token: Token) -> bool;

    /// Whether a run of text that starts a turn is tokenised with a space of the vocabulary's own before it
    /// (SPM vocabularies), so that a first token's piece begins with a space that is not in the text.
    fn adds_space(&self) -> bool;

    /// The token that every sequence begins with, where the model wants one.
    fn begin(&self) -> Option<Token>;

    /// Begins a text that fits a grammar.
    ///
    /// # Errors
    /// When the grammar cannot be understood, or the vocabulary has no means for any.
    fn constrain(&self, _grammar: &Grammar) -> Result<Box<dyn Constraint>, String> {
        Err("this engine writes no structured output".to_owned())
    }
}
