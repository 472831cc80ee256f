//! Token ids.

/// A token id.
pub type Token = i32;
