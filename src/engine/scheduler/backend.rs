//! What a scheduler asks of a model.

use super::sequence::Slot;
use crate::script::{Look, Token};

/// A token to decode.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Row {
    /// The token.
    pub token: Token,
    /// Its position in the sequence: its index, unless pictures before it take fewer positions than tokens.
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

    /// Makes a slot hold what was saved, up to a position, and nothing else.
    ///
    /// # Errors
    /// When the model refuses.
    fn restore(&mut self, saved: &Self::Saved, slot: Slot, position: usize) -> Result<(), String>;

    /// Forgets what a slot holds from a position on.
    ///
    /// # Errors
    /// When the model refuses.
    fn truncate(&mut self, slot: Slot, position: usize) -> Result<(), String>;

    /// Computes a picture at a position, which is where the slot ends. The logits of the last decode are lost.
    ///
    /// # Errors
    /// When this picture cannot be computed; what the slot holds from the position on is not defined then.
    fn see(&mut self, look: &Look, position: usize, slot: Slot) -> Result<(), String>;

    /// Forgets all slots, and wipes the memory that they were in.
    fn wipe(&mut self);
}
