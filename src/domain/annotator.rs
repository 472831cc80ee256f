//! The persona whose judgement is requested.

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::provenance::NamedDigest;

/// An annotator: a profile of the library, or the caller's own text.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Annotator {
    /// The name in the library; `None` for the caller's own text.
    pub name: Option<String>,
    /// Who judges, untrusted: it is escaped like every judged text.
    pub profile: String,
}

impl Annotator {
    /// The name, and the digest of the profile; the name of a caller's own text is `inline`.
    #[must_use]
    pub fn named_digest(&self) -> NamedDigest {
        let digest = format!("sha256:{:x}", Sha256::digest(self.profile.as_bytes()));
        NamedDigest { name: self.name.clone().unwrap_or_else(|| "inline".to_owned()), digest }
    }
}

impl<T: Into<String>> From<T> for Annotator {
    fn from(profile: T) -> Self {
        Self { name: None, profile: profile.into() }
    }
}
