//! Why keys cannot be read or changed.

use std::io;
use std::path::Path;

use crate::domain::spelling::suggestion;

/// The keys cannot be read or changed.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// The file is invalid. The text of the file is not shown: somebody may have put a key there.
    #[error("{path}:{line}: {reason}")]
    Invalid {
        /// The file.
        path: String,
        /// The line, from 1.
        line: usize,
        /// What is wrong.
        reason: String,
    },
    /// The file cannot be read or written.
    #[error("{path} cannot be {verb}: {cause}")]
    Access {
        /// The file.
        path: String,
        /// What was tried.
        verb: &'static str,
        /// The error of the operating system.
        cause: io::Error,
    },
    /// There is such a key.
    #[error("there is a key named `{0}` already; choose another name, or revoke it first: gavel keys revoke {0}")]
    Taken(String),
    /// There is no such key.
    #[error("there is no key named `{name}`{}; `gavel keys list` lists them", suggestion(name, known.iter().map(String::as_str)))]
    Unknown {
        /// The name.
        name: String,
        /// Those that there are.
        known: Vec<String>,
    },
    /// An invalid name.
    #[error("`{0}` is not a valid name of a key; use at most 64 letters, digits, `_`, `-` and `.`")]
    Name(String),
    /// The system gives no random bytes.
    #[error("the system gives no random bytes: {0}")]
    Random(String),
}

impl KeyError {
    pub(super) fn access(path: &Path, verb: &'static str) -> impl FnOnce(io::Error) -> Self {
        let path = path.display().to_string();
        move |cause| Self::Access { path, verb, cause }
    }
}
