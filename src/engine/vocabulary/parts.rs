//! The parts of a vocabulary.

use tokenizers::Tokenizer;

use super::kind::Kind;
use super::spm::Spm;
use crate::script::Token;

/// The tokenizer for text between user-defined tokens.
pub(super) enum Encoder {
    Library(Box<Tokenizer>),
    Spm(Spm),
}

/// The parts of a vocabulary, from its files.
pub(super) struct Parts {
    pub(super) encoder: Encoder,
    pub(super) tokens: Vec<(String, Kind)>,
    /// Whether tokens encode bytes as in GPT-2, one character each; otherwise `▁` is the space.
    pub(super) byte_level: bool,
    pub(super) adds_space: bool,
    pub(super) begin: Option<Token>,
    pub(super) bos: Option<Token>,
    pub(super) eos: Option<Token>,
    /// Additional end-of-turn tokens.
    pub(super) ends: Vec<Token>,
    pub(super) template: Option<String>,
}
