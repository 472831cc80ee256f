//! Why a configuration is invalid: the file or the variable, the key, and the key that was meant.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use config::ConfigError as Unread;

use super::variables::{keys, variable_of};
use crate::domain::spelling::nearest;

/// Why the configuration is invalid.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// A value is missing, unknown, or of the wrong type.
    #[error("the configuration is invalid: {0} (`gavel docs configuration` lists every key)")]
    Invalid(String),
    /// The system has no home folder for this user.
    #[error("no home folder found for {0}; set {0} in the configuration, or {1} in the environment")]
    NoHome(&'static str, &'static str),
    /// A number is out of range.
    #[error("{0} {1}")]
    Range(&'static str, &'static str),
    /// The list of models is invalid.
    #[error("[[models]] {0}")]
    Models(String),
    /// The servers of a remote engine are invalid.
    #[error("{0}")]
    Remote(String),
    /// A variable that the configuration names is not set.
    #[error("the environment variable {0}, which the configuration names, is not set")]
    Variable(String),
    /// Everyone could use the server.
    #[error(
        "{0} can be reached from other machines, and there are no API keys, so that everyone could use the server. \
         Create a key (gavel keys create --name me --scope grade), listen on 127.0.0.1, or say --insecure \
         (insecure = true)"
    )]
    Open(SocketAddr),
    /// The API keys cannot be read.
    #[error("the API keys cannot be read: {0}")]
    Keys(String),
    /// A jury cannot decide.
    #[error("[juries.{name}] {at}: {reason}")]
    Jury {
        /// The jury.
        name: String,
        /// The key at fault.
        at: String,
        /// The reason.
        reason: String,
    },
    /// A router has a wrong number.
    #[error("[routers.{name}] {at} {reason}")]
    Router {
        /// The router.
        name: String,
        /// The key at fault.
        at: String,
        /// The reason.
        reason: String,
    },
    /// A judge model names an unknown model.
    #[error("[[judges]] {name}: there is no model `{model}`; there are: {known}")]
    Judges {
        /// The judge model.
        name: String,
        /// The model that it names.
        model: String,
        /// The known names.
        known: String,
    },
    /// One of these errors, and the file that is at fault.
    #[error("{}: {error}", .path.display())]
    InFile {
        /// The file.
        path: PathBuf,
        /// The error.
        error: Box<Self>,
    },
}

impl From<Unread> for ConfigError {
    fn from(error: Unread) -> Self {
        Self::Invalid(Fault::of(&error).to_string())
    }
}

/// Where values come from beside the file.
pub(super) struct Others<'a> {
    /// The names of the environment variables that are settings.
    pub(super) variables: Vec<String>,
    /// The keys that flags set.
    pub(super) flags: &'a [(&'a str, String)],
}

impl Others<'_> {
    fn set(&self, key: &str) -> bool {
        let variable = variable_of(key);
        self.variables.contains(&variable) || self.flags.iter().any(|(flag, _)| *flag == key)
    }
}

/// Names the file in an error of the reader, unless a variable or a flag is at fault.
pub(super) fn unread(error: &Unread, file: Option<&Path>, others: &Others<'_>) -> ConfigError {
    let fault = Fault::of(error);
    let elsewhere = fault.key.as_deref().is_some_and(|key| others.set(key));
    let invalid = ConfigError::Invalid(fault.to_string());
    match file {
        Some(path) if !elsewhere => in_file(path, invalid),
        _ => invalid,
    }
}

/// The same for an error of a value that was read.
pub(super) fn unfit(error: ConfigError, file: Option<&Path>, others: &Others<'_>) -> ConfigError {
    let Some(path) = file else { return error };
    let of_file = match &error {
        ConfigError::Range(key, _) => !others.set(key),
        ConfigError::Models(_) | ConfigError::Judges { .. } => true,
        _ => false,
    };
    if of_file { in_file(path, error) } else { error }
}

fn in_file(path: &Path, error: ConfigError) -> ConfigError {
    ConfigError::InFile { path: path.to_owned(), error: Box::new(error) }
}

/// What the reader says, taken apart.
struct Fault {
    what: String,
    key: Option<String>,
    /// Whether the value is that of an environment variable.
    variable: bool,
}

impl Fault {
    fn of(error: &Unread) -> Self {
        match error {
            Unread::At { error, origin, key } => {
                let inner = Self::of(error);
                Self {
                    what: inner.what,
                    key: key.as_deref().map(dotted).or(inner.key),
                    variable: inner.variable || is_environment(origin.as_deref()),
                }
            }
            Unread::Type { origin, unexpected, expected, key } => Self {
                what: format!("invalid type: {unexpected}, expected {}", readable(expected)),
                key: key.as_deref().map(dotted),
                variable: is_environment(origin.as_deref()),
            },
            Unread::NotFound(key) => {
                Self { what: format!("the key `{}` is missing", dotted(key)), key: None, variable: false }
            }
            Unread::FileParse { cause, .. } => {
                Self { what: cause.to_string().trim_end().to_owned(), key: None, variable: false }
            }
            other => Self { what: other.to_string(), key: None, variable: false },
        }
    }
}

impl std::fmt::Display for Fault {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if let Some((name, known)) = unknown(&self.what) {
            let table = self.key.as_ref().map(|table| format!("{table}.")).unwrap_or_default();
            write!(f, "unknown key `{table}{name}`")?;
            return match meant(name, &known) {
                Some(meant) => write!(f, "; did you mean `{meant}`?"),
                None => write!(f, "; the keys are {}", known.join(", ")),
            };
        }
        write!(f, "{}", self.what)?;
        match &self.key {
            Some(key) if self.variable => write!(f, " for {}", variable_of(key)),
            Some(key) => write!(f, " for key `{key}`"),
            None => Ok(()),
        }
    }
}

/// The name of an unknown field, and those that are known.
fn unknown(what: &str) -> Option<(&str, Vec<&str>)> {
    let (name, rest) = what.strip_prefix("unknown field `")?.split_once('`')?;
    Some((name, rest.split('`').skip(1).step_by(2).collect()))
}

/// The key of this table that a name is close to, or the key of that name in another table.
fn meant(name: &str, known: &[&str]) -> Option<String> {
    let of_other = keys().into_iter().find(|key| key.rsplit_once('.').is_some_and(|(_, last)| last == name));
    of_other.or_else(|| nearest(name, known.iter().copied()).map(str::to_owned))
}

fn is_environment(origin: Option<&str>) -> bool {
    origin == Some("the environment")
}

/// A path of the reader, which has no dot after an index.
fn dotted(path: &str) -> String {
    path.replace(']', "].").replace("..", ".").trim_end_matches('.').to_owned()
}

/// What the reader expects, without the names of types.
fn readable(expected: &str) -> String {
    let types = [
        ("an unsigned 8 bit integer", "a number from 0 to 255"),
        ("an unsigned 16 bit integer", "a number from 0 to 65535"),
        ("an unsigned 32 bit integer", "a number from 0 to 4294967295"),
        ("an unsigned 64 bit integer", "a number of 0 or more"),
    ];
    types.iter().fold(expected.to_owned(), |text, (from, to)| text.replace(from, to))
}
