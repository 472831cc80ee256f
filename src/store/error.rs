//! Why the store could not do something.

use std::time::Duration;

/// An error of the database.
#[derive(Debug, Clone, thiserror::Error)]
pub enum StoreError {
    /// It cannot be reached now; a retry may help.
    #[error("the database is not available: {0}")]
    Unavailable(String),
    /// Its disk is full.
    #[error("the disk of the database is full")]
    Full,
    /// Its file is damaged.
    #[error(
        "{file} is damaged ({why}). It is left as it is, and nothing is written to it. Recover it with \
         `sqlite3 {file} .recover | sqlite3 recovered.db`, or move it away to begin with an empty one"
    )]
    Damaged {
        /// The file.
        file: String,
        /// What SQLite says.
        why: String,
    },
    /// Another version of Gavel has changed its tables.
    #[error("the tables of the database are not those of this version: {0}")]
    Version(String),
    /// The database refused a statement.
    #[error("the database refused a statement: {0}")]
    Refused(String),
}

/// SQLite's result codes: those of files that cannot be read as a database, and of full disks.
const DAMAGED: [&str; 2] = ["11", "26"];
const FULL: &str = "13";
/// Codes of SQLite that a retry may not meet again: busy, locked, and errors of input and output.
const PASSING: [&str; 4] = ["5", "6", "10", "14"];

impl StoreError {
    /// Whether the same may succeed later.
    #[must_use]
    pub fn is_passing(&self) -> bool {
        matches!(self, Self::Unavailable(_) | Self::Full)
    }

    /// How long to wait before trying again.
    #[must_use]
    pub fn retry_after(&self) -> Option<Duration> {
        self.is_passing().then_some(Duration::from_secs(5))
    }

    /// What an error of the driver means; `file` is SQLite's file.
    pub(super) fn of(error: &sqlx::Error, file: Option<&str>) -> Self {
        let why = error.to_string();
        match (error, file) {
            (sqlx::Error::Database(refused), Some(file)) => {
                // Extended codes have the primary one in their lowest byte.
                let code = refused.code().and_then(|code| code.parse::<u32>().ok()).map_or(0, |code| code & 0xff);
                let code = code.to_string();
                match code.as_str() {
                    code if DAMAGED.contains(&code) => Self::Damaged { file: file.to_owned(), why },
                    FULL => Self::Full,
                    code if PASSING.contains(&code) => Self::Unavailable(why),
                    _ => Self::Refused(why),
                }
            }
            (sqlx::Error::Database(refused), None) => match refused.code().as_deref() {
                Some("53100") => Self::Full,
                // Classes of PostgreSQL: connection, rollback of a transaction, resources, intervention, system.
                Some(code) if ["08", "40", "53", "57", "58"].iter().any(|class| code.starts_with(class)) => {
                    Self::Unavailable(why)
                }
                _ => Self::Refused(why),
            },
            (sqlx::Error::Migrate(_), _) => Self::Version(why),
            _ => Self::Unavailable(why),
        }
    }
}
