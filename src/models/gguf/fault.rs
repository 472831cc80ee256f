//! Why a GGUF header cannot be used.

use std::io;

/// Why a header cannot be used.
pub(super) enum Fault {
    /// The header needs the file up to this byte, but the file is shorter.
    EndsBefore(u64),
    /// The header is inconsistent, or has impossible sizes.
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
