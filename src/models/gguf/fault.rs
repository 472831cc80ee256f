//! Why a GGUF header cannot be used.

use std::io;
use std::path::Path;

use crate::models::error::ModelError;

/// Why a header cannot be used.
pub(in crate::models) enum Fault {
    /// The header needs the file up to this byte, but the file is shorter.
    EndsBefore(u64),
    /// The header is inconsistent, or has impossible sizes.
    Wrong(String),
    /// The file cannot be read.
    Io(io::Error),
}

impl Fault {
    /// The error of a file with `actual` bytes.
    pub(in crate::models) fn of_file(self, path: &Path, actual: u64) -> ModelError {
        let path = path.to_path_buf();
        match self {
            Self::EndsBefore(needed) => ModelError::CutShort { path, needed, actual },
            Self::Wrong(why) => ModelError::NotGguf { path, why },
            Self::Io(cause) => ModelError::Unreadable { path, cause },
        }
    }
}

pub(super) fn wrong(why: impl Into<String>) -> Fault {
    Fault::Wrong(why.into())
}

pub(super) fn absurd() -> Fault {
    wrong("a length in its header is impossible")
}
