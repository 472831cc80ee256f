//! An entry of the file of keys.

use std::fmt;
use std::num::NonZeroU32;
use std::time::{SystemTime, UNIX_EPOCH};

use chrono::{DateTime, SecondsFormat, Utc};
use rand::TryRng;
use rand::rngs::SysRng;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::error::KeyError;
use crate::domain::fair_queue::Share;

/// The beginning of every key, by which scanners of repositories find those that were committed.
const PREFIX: &str = "gvl_";
/// Random bytes of a key.
const RANDOM: usize = 32;

/// What a key may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Scope {
    /// Grade, rank, compare: every route that judges.
    Grade,
    /// Batches.
    Batch,
    /// Reviews: judgements by people.
    Review,
    /// Everything, and what changes the server: its rubrics, the usage of all keys.
    Admin,
}

impl Scope {
    /// The name in files and options.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Grade => "grade",
            Self::Batch => "batch",
            Self::Review => "review",
            Self::Admin => "admin",
        }
    }
}

/// A key as the file has it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Key {
    /// Its name, unique; the caller's name for fairness, usage and logs.
    pub name: String,
    /// The digest of the key, in hexadecimal.
    pub sha256: String,
    /// What it may do.
    pub scopes: Vec<Scope>,
    /// When it was made.
    pub created: Moment,
    /// From when on it is refused.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expires: Option<Moment>,
    /// The most requests in a minute.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub requests_per_minute: Option<NonZeroU32>,
    /// The most tokens in a minute: those of prompts and of answers, as `/v1/usage` counts them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tokens_per_minute: Option<NonZeroU32>,
    /// The most requests at a time.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub concurrent: Option<NonZeroU32>,
    /// Its share of the models beside other keys, 1 to 1000; the usual one is 100.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub weight: Option<NonZeroU32>,
}

impl Key {
    /// An entry without its digest, which [`create`](super::create) fills in.
    ///
    /// # Errors
    /// If the name is invalid.
    pub fn wanted(name: &str, scopes: Vec<Scope>, now: SystemTime) -> Result<Self, KeyError> {
        if !is_name(name) {
            return Err(KeyError::Name(name.to_owned()));
        }
        let (sha256, created) = (String::new(), Moment::of(now));
        let name = name.to_owned();
        Ok(Self {
            name,
            sha256,
            scopes,
            created,
            expires: None,
            requests_per_minute: None,
            tokens_per_minute: None,
            concurrent: None,
            weight: None,
        })
    }

    /// The end of the digest, by which people tell keys apart.
    #[must_use]
    pub fn tail(&self) -> &str {
        &self.sha256[self.sha256.len().saturating_sub(4)..]
    }

    /// Its share of the models beside other keys.
    #[must_use]
    pub fn share(&self) -> Share {
        self.weight.map_or_else(Share::default, |weight| Share::new(weight.get()))
    }

    /// What is wrong with an entry of the file.
    pub(super) fn fault(&self) -> Option<&'static str> {
        let is_digest = self.sha256.len() == 64 && self.sha256.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
        match () {
            () if !is_name(&self.name) => Some("has an invalid name"),
            () if !is_digest => Some("has a `sha256` that is not 64 hexadecimal digits"),
            () if self.scopes.is_empty() => Some("has no scope"),
            () if self.weight.is_some_and(|weight| weight.get() > Share::MOST) => Some("has a `weight` above 1000"),
            () => None,
        }
    }
}

fn is_name(name: &str) -> bool {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.');
    !name.is_empty() && name.len() <= 64 && name.chars().all(plain)
}

/// A point in time, to the second, as files and answers write it (RFC 3339, UTC).
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Moment(DateTime<Utc>);

impl Moment {
    /// The moment of a time.
    #[must_use]
    pub fn of(time: SystemTime) -> Self {
        let seconds = time.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
        let moment = i64::try_from(seconds).ok().and_then(|seconds| DateTime::from_timestamp(seconds, 0));
        Self(moment.unwrap_or(DateTime::<Utc>::MAX_UTC))
    }
}

impl fmt::Display for Moment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.to_rfc3339_opts(SecondsFormat::Secs, true))
    }
}

impl From<Moment> for String {
    fn from(moment: Moment) -> Self {
        moment.to_string()
    }
}

impl TryFrom<String> for Moment {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let parsed = DateTime::parse_from_rfc3339(&text);
        let moment = parsed.map_err(|_| format!("`{text}` is not a time such as 2030-01-31T12:00:00Z"))?;
        Ok(Self(moment.with_timezone(&Utc)))
    }
}

/// A new key.
pub(super) fn random() -> Result<String, KeyError> {
    let mut bytes = [0; RANDOM];
    SysRng.try_fill_bytes(&mut bytes).map_err(|error| KeyError::Random(error.to_string()))?;
    Ok(bytes.iter().fold(PREFIX.to_owned(), |text, byte| format!("{text}{byte:02x}")))
}

/// The digest by which a key is known. Comparing digests tells a guesser nothing: no one can choose a key whose digest
/// begins as another's does.
pub(super) fn digest(key: &str) -> String {
    format!("{:x}", Sha256::digest(key.as_bytes()))
}
