//! Why a GGUF header cannot be used.

use std::io;

/// Why a header cannot be used.
pub(super) enum Fault {
    /// The header goes on to this byte, the file does not.
    EndsBefore(u64),
    /// The header contradicts itself, or asks for more than any model has.
    Wrong(String),
    /// The file cannot be read.
    Io(io::Error),
}

pub(super) fn wrong(why: impl Into<String>) -> Fault {
    Fault::Wrong(why.into())
}

pub(super) fn absurd() -> Fault {
    wrong("a length in its header is absurd")
}
