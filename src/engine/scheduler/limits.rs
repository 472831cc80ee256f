//! How large a scheduler may become.

/// Sizes of a scheduler.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// The most sequences that run together: the slots 0 and up.
    pub sequences: usize,
    /// The most tokens of a sequence.
    pub context: usize,
    /// The most tokens that cached prefixes hold; 0 keeps none and shares nothing.
    pub prefix_tokens: usize,
    /// The most tokens in one step.
    pub step: usize,
    /// How many tokens' states are copied in the time that one token of a prompt takes to compute, about.
    pub copies: usize,
}
