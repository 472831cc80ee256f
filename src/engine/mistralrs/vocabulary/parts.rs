//! What a vocabulary is made of, as its files have it.

use tokenizers::Tokenizer;

use super::kind::Kind;
use super::spm::Spm;
use crate::script::Token;

/// What makes tokens of text between user-defined tokens.
pub(super) enum Encoder {
    Library(Box<Tokenizer>),
    Spm(Spm),
}

/// A vocabulary's parts, as its files have them.
pub(super) struct Parts {
    pub(super) encoder: Encoder,
    pub(super) tokens: Vec<(String, Kind)>,
    /// Whether tokens spell bytes as GPT-2 does, one character each; else `▁` is the space.
    pub(super) byte_level: bool,
    pub(super) adds_space: bool,
    pub(super) begin: Option<Token>,
    pub(super) bos: Option<Token>,
    pub(super) eos: Option<Token>,
    /// Further tokens that end a turn.
    pub(super) ends: Vec<Token>,
    pub(super) template: Option<String>,
}
