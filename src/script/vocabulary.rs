//! The interface of a model's vocabulary.

use std::sync::Arc;

use super::{Constraint, Grammar, Token};
use crate::pictures::Picture;

/// What a picture takes of a context.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Glance {
    /// Stands for each of its tokens: negative, and of no other picture.
    pub id: Token,
    /// Cells of the context, at least 1.
    pub tokens: usize,
    /// Positions of the context: as many, or fewer for models with positions in two dimensions.
    pub positions: usize,
}

/// Why a model does not take a picture.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unseen {
    /// The model reads text only.
    #[error("the model reads text only, not pictures")]
    NoEyes,
    /// This picture cannot be shown to it.
    #[error("the model cannot be shown this picture: {0}")]
    Refused(String),
}

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

    /// What a decoded picture takes of a context.
    ///
    /// # Errors
    /// If the model has no eyes, or not for this picture.
    fn look(&self, _picture: &Arc<Picture>) -> Result<Glance, Unseen> {
        Err(Unseen::NoEyes)
    }

    /// Starts a text that matches a grammar.
    ///
    /// # Errors
    /// If the grammar is invalid, or the vocabulary does not support grammars.
    fn constrain(&self, _grammar: &Grammar) -> Result<Box<dyn Constraint>, String> {
        Err("this engine writes no structured output".to_owned())
    }
}
