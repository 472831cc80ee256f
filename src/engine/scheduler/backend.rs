//! What a scheduler asks of a model.

use super::sequence::Slot;
use crate::script::Token;

/// A token to decode.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Row {
    /// The token.
    pub token: Token,
    /// Its position in the sequence.
    pub position: usize,
    /// The sequence.
    pub slot: Slot,
    /// Whether the logits after it are wanted.
    pub logits: bool,
}

/// A model that decodes batches. Each slot holds a sequence of its own.
pub trait Backend {
    /// What a slot holds, kept outside of the model's context.
    type Saved;

    /// Decodes the rows.
    ///
    /// # Errors
    /// When the model fails; the scheduler then fails what was in flight.
    fn decode(&mut self, rows: &[Row]) -> Result<(), String>;

    /// The logits after the row at `index` of the last decode.
    fn logits(&self, index: usize) -> &[f32];

    /// A copy of all that a slot holds.
    ///
    /// # Errors
    /// When the model refuses.
    fn save(&mut self, slot: Slot) -> Result<Self::Saved, String>;

    /// Makes a slot hold the first `len` tokens of what was saved, and nothing else.
    ///
    /// # Errors
    /// When the model refuses.
    fn restore(&mut self, saved: &Self::Saved, slot: Slot, len: usize) -> Result<(), String>;

    /// Forgets all but the first `len` tokens of a slot.
    ///
    /// # Errors
    /// When the model refuses.
    fn truncate(&mut self, slot: Slot, len: usize) -> Result<(), String>;

    /// Forgets all slots, and wipes the memory that they were in.
    fn wipe(&mut self);
}
