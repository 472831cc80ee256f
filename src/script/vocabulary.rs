//! The interface of a model's vocabulary.

use super::{Constraint, Grammar, Token};

/// A model's vocabulary, as scripts use it.
pub trait Vocabulary: Send + Sync {
    /// The number of tokens; ids are below it.
    fn size(&self) -> usize;

    /// Tokenises a run of plain text at the start of a sequence or after a control token. Nothing in the text becomes a
    /// control token.
    fn tokenize(&self, text: &str) -> Vec<Token>;

    /// The control token with this text, if there is one.
    fn control(&self, text: &str) -> Option<Token>;

    /// The bytes of a token; empty for control tokens.
    fn piece(&self, token: Token) -> Vec<u8>;

    /// Maximum number of bytes of one token, at least 1: a text of n bytes has at least n divided by this many tokens.
    fn longest_piece(&self) -> usize;

    /// Whether a token ends the model's turn: an end-of-generation token, or any other control token.
    fn ends_turn(&self, token: Token) -> bool;

    /// Whether the vocabulary adds a space before a run of text (SPM vocabularies), so that the first token begins with
    /// a space that is not in the text.
    fn adds_space(&self) -> bool;

    /// The BOS token, if the model uses one.
    fn begin(&self) -> Option<Token>;

    /// Starts a text that matches a grammar.
    ///
    /// # Errors
    /// If the grammar is invalid, or the vocabulary does not support grammars.
    fn constrain(&self, _grammar: &Grammar) -> Result<Box<dyn Constraint>, String> {
        Err("this engine writes no structured output".to_owned())
    }
}
