//! The persona whose judgement is requested.

use serde::{Deserialize, Serialize};

/// An annotator: a profile of the library, or the caller's own text.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Annotator {
    /// The name in the library; `None` for the caller's own text.
    pub name: Option<String>,
    /// Who judges, untrusted: it is escaped like every judged text.
    pub profile: String,
}

impl From<String> for Annotator {
    fn from(profile: String) -> Self {
        Self { name: None, profile }
    }
}

impl From<&str> for Annotator {
    fn from(profile: &str) -> Self {
        profile.to_owned().into()
    }
}
