//! The text of a `Generate` step.

use super::stop::{Progress, Stops};
use super::{Constraint, Generate, Token, Vocabulary};
use crate::domain::TokenLogprob;

/// A token that was appended to a text.
pub(super) struct Read {
    /// Its bytes.
    pub(super) piece: Vec<u8>,
    /// Whether it ends the turn.
    pub(super) ends: bool,
    /// The start of a stop text that it completes.
    pub(super) stopped: Option<usize>,
}

/// A text in progress.
pub(super) struct Writing {
    pub(super) limits: Generate,
    pub(super) text: String,
    /// Bytes of an incomplete character.
    pub(super) tail: Vec<u8>,
    pub(super) tokens: usize,
    pub(super) shown: usize,
    pub(super) drop_space: bool,
    pub(super) stops: Stops,
    pub(super) progress: Progress,
    pub(super) constraint: Option<Box<dyn Constraint>>,
    pub(super) logprobs: Vec<TokenLogprob>,
    /// Whether a stop text was cut off.
    pub(super) cut: bool,
}

impl Writing {
    pub(super) fn new(limits: Generate, drop_space: bool) -> Self {
        let stops = Stops::new(&limits);
        Self {
            limits,
            progress: stops.begin(),
            stops,
            text: String::new(),
            tail: Vec::new(),
            tokens: 0,
            shown: 0,
            drop_space,
            constraint: None,
            logprobs: Vec::new(),
            cut: false,
        }
    }

    /// Appends a token, unless it ends the turn, and searches for a stop text.
    pub(super) fn read(&mut self, token: Token, vocabulary: &dyn Vocabulary) -> Read {
        let ends = vocabulary.ends_turn(token);
        let mut piece = if ends { Vec::new() } else { vocabulary.piece(token) };
        if self.drop_space && self.tokens == 0 && piece.first() == Some(&b' ') {
            piece.remove(0);
        }
        let begins = self.text.len();
        self.push(&piece);
        let stopped = self.stops.read(&mut self.progress, &self.text[begins..]);
        Read { piece, ends, stopped }
    }

    /// Appends text of which the tokens are not known; returns the start of a stop text that it completes.
    pub(super) fn read_text(&mut self, text: &str) -> Option<usize> {
        let begins = self.text.len();
        self.text.push_str(text);
        self.stops.read(&mut self.progress, &self.text[begins..])
    }

    /// Appends the bytes of a token; invalid UTF-8 becomes U+FFFD.
    fn push(&mut self, piece: &[u8]) {
        self.tail.extend_from_slice(piece);
        loop {
            match std::str::from_utf8(&self.tail) {
                Ok(whole) => {
                    self.text.push_str(whole);
                    self.tail.clear();
                    return;
                }
                Err(error) => {
                    let valid = error.valid_up_to();
                    self.text.push_str(&String::from_utf8_lossy(&self.tail[..valid]));
                    match error.error_len() {
                        Some(bad) => {
                            self.text.push(char::REPLACEMENT_CHARACTER);
                            self.tail.drain(..valid + bad);
                        }
                        None => {
                            self.tail.drain(..valid);
                            return;
                        }
                    }
                }
            }
        }
    }
}
