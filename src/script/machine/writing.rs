//! The text of a `Generate` step.

use crate::domain::TokenLogprob;
use crate::script::stop::{Progress, Stops};
use crate::script::{Constraint, Generate};

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

    /// Appends the bytes of a token; invalid UTF-8 becomes U+FFFD.
    pub(super) fn push(&mut self, piece: &[u8]) {
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
