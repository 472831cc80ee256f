//! What became of items: the numbers that summaries are made of.

use serde_json::Value;

use super::super::agree::verdicts::{self, Answer};
use super::super::outcomes::{self, Outcome};

/// What became of an item.
pub(in super::super) struct Kept {
    /// Its numbers, whose instruction is not set.
    pub(in super::super) outcome: Outcome,
    /// What is held against its label, if there is one.
    pub(in super::super) answer: Option<Answer>,
}

impl Kept {
    pub(super) fn verdict(verdict: &Value) -> Self {
        let numbers = outcomes::verdict(verdict, 0).ok().flatten();
        Self { outcome: numbers.map_or(Outcome::Unscored, Outcome::Verdict), answer: verdicts::answer(verdict).ok() }
    }

    pub(super) fn error() -> Self {
        Self { outcome: Outcome::Failed, answer: Some(Answer::Failed) }
    }
}
