//! What outlives the process: files, batches and their lines. In SQLite in the data folder, or in PostgreSQL, which
//! several processes can share.
//!
//! One set of statements serves both: placeholders are `$1`, types are texts and 64-bit integers, and what differs is
//! filled in by `Store::sql`.

mod batches;
mod check;
mod error;
mod files;
mod idempotency;
mod key_usage;
mod lines;
mod reviews;
mod verdicts;
mod workers;

use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use sqlx::any::{AnyConnectOptions, AnyPoolOptions, AnyRow};
use sqlx::{Any, AnyConnection, AnyPool, ConnectOptions, Connection, Executor, Row, Transaction};
use tokio::sync::OnceCell;

pub use self::batches::{BatchRow, BatchStatus, Counted, NewBatch, Outcomes};
pub use self::check::Checked;
pub use self::error::StoreError;
pub use self::files::{FileRow, NewFile, Page};
pub use self::idempotency::{Made, Once};
pub use self::key_usage::KeyUsageRow;
pub use self::lines::{Answered, ClaimedLine, LineKind, NewLine, PutLines};
pub use self::reviews::{ReviewRow, ReviewState, SeatChange, SeatRow, Seated};
pub use self::verdicts::{VerdictFilter, VerdictRow};

/// The name of SQLite's file in the data folder.
const FILE: &str = "gavel.db";
/// How long a request waits for a connection.
const PATIENCE: Duration = Duration::from_secs(3);
/// Settings of a connection to SQLite: readers beside one writer, who waits for others up to 10 s. A crash of the machine
/// may lose the last answers, which are then made again, but never the file.
const SQLITE: &str = "PRAGMA busy_timeout = 10000; PRAGMA journal_mode = WAL; PRAGMA synchronous = NORMAL";
/// Settings of a connection to PostgreSQL: a process that stands still in the middle of a transaction loses it, and the
/// rows that it holds, after 5 s.
const POSTGRES: &str = "SET idle_in_transaction_session_timeout = 5000";

/// Where the database is.
#[derive(Debug, Clone)]
pub enum Location {
    /// SQLite's file.
    File(PathBuf),
    /// The URL of a PostgreSQL database, with its password.
    Postgres(String),
}

impl Location {
    /// The database in a data folder, or the one at `url` if that is not empty.
    #[must_use]
    pub fn of(data_dir: &Path, url: &str) -> Self {
        if url.is_empty() { Self::File(data_dir.join(FILE)) } else { Self::Postgres(url.to_owned()) }
    }

    /// Whether there may be work in it that was begun before.
    #[must_use]
    pub fn exists(&self) -> bool {
        match self {
            Self::File(file) => file.exists(),
            Self::Postgres(_) => true,
        }
    }
}

/// A database that is opened when it is first needed.
pub struct Database {
    location: Location,
    store: OnceCell<Store>,
}

impl Database {
    /// The database at a location.
    #[must_use]
    pub fn new(location: Location) -> Self {
        Self { location, store: OnceCell::new() }
    }

    /// Whether there may be work in it that was begun before.
    #[must_use]
    pub fn exists(&self) -> bool {
        self.location.exists()
    }

    /// The database if it has been opened.
    #[must_use]
    pub fn opened(&self) -> Option<&Store> {
        self.store.get()
    }

    /// Closes the database after the statements that run, so that its file alone is complete. A damaged one is left as it is.
    pub async fn close(&self) {
        if let Some(store) = self.store.get().filter(|store| store.damaged.get().is_none()) {
            store.pool.close().await;
        }
    }

    /// The open database.
    ///
    /// # Errors
    /// Those of [`Store::open`]; the next call tries again.
    pub async fn open(&self) -> Result<&Store, StoreError> {
        let store = self.store.get_or_try_init(|| Store::open(&self.location)).await?;
        match store.damaged.get() {
            Some(damaged) => Err(damaged.clone()),
            None => Ok(store),
        }
    }
}

/// An open database.
#[derive(Debug, Clone)]
pub struct Store {
    pool: AnyPool,
    /// SQLite's file; `None`: PostgreSQL.
    file: Option<String>,
    /// What was found of a damage, after which nothing is read or written any more until a restart.
    damaged: Arc<OnceLock<StoreError>>,
}

impl Store {
    /// Opens the database, and makes or updates its tables.
    ///
    /// # Errors
    /// If it cannot be reached, is damaged, or has tables of a later version.
    pub async fn open(location: &Location) -> Result<Self, StoreError> {
        sqlx::any::install_default_drivers();
        let (url, file) = match location {
            Location::Postgres(url) => (url.clone(), None),
            Location::File(path) => {
                if let Some(folder) = path.parent() {
                    let made = std::fs::create_dir_all(folder);
                    made.map_err(|error| StoreError::Unavailable(format!("{}: {error}", folder.display())))?;
                }
                (sqlite_url(path, "mode=rwc"), Some(path.display().to_string()))
            }
        };
        let failed = |error: sqlx::Error| StoreError::of(&error, file.as_deref());
        let options = AnyConnectOptions::from_str(&url).map_err(failed)?.disable_statement_logging();
        // A pool tries again for a while, and then knows no reason; this connection has one at once.
        let mut first = AnyConnection::connect_with(&options).await.map_err(failed)?;
        let settings = if file.is_some() { SQLITE } else { POSTGRES };
        first.execute(settings).await.map_err(failed)?;
        first.close().await.map_err(failed)?;
        let pool =
            AnyPoolOptions::new().max_connections(8).acquire_timeout(PATIENCE).idle_timeout(None).max_lifetime(None);
        let pool = pool
            .after_connect(move |connection, _| Box::pin(async move { connection.execute(settings).await.map(drop) }));
        let pool = pool.connect_lazy_with(options);
        let tables = migrations().run(&pool).await;
        tables.map_err(|error| match error {
            sqlx::migrate::MigrateError::Execute(error) => failed(error),
            error => StoreError::Version(error.to_string()),
        })?;
        Ok(Self { pool, file, damaged: Arc::default() })
    }

    /// A statement with what the two databases write differently: `{now}`, the database's own time in milliseconds, so
    /// that the clocks of several machines need not agree; `{skip_locked}`, which leaves rows to those who hold them.
    fn sql(&self, statement: &str) -> String {
        let (now, skip_locked) = match self.file {
            Some(_) => ("CAST(unixepoch('subsec') * 1000 AS BIGINT)", ""),
            None => ("CAST(EXTRACT(EPOCH FROM clock_timestamp()) * 1000 AS BIGINT)", "FOR UPDATE SKIP LOCKED"),
        };
        statement.replace("{now}", now).replace("{skip_locked}", skip_locked)
    }

    /// A transaction that writes.
    async fn begin(&self) -> Result<Transaction<'static, Any>, StoreError> {
        // SQLite's usual transactions fail if another one writes between their first read and their first write.
        let begun = match self.file {
            Some(_) => self.pool.begin_with("BEGIN IMMEDIATE").await,
            None => self.pool.begin().await,
        };
        begun.map_err(|error| self.failed(error))
    }

    #[allow(clippy::needless_pass_by_value, reason = "it is passed to `map_err`")]
    fn failed(&self, error: sqlx::Error) -> StoreError {
        let error = StoreError::of(&error, self.file.as_deref());
        if matches!(error, StoreError::Damaged { .. }) {
            self.damaged.get_or_init(|| {
                // The last connection that is closed writes to the file, so none is, until the process ends.
                std::mem::forget(self.pool.clone());
                error.clone()
            });
        }
        error
    }
}

/// The time of this process in milliseconds since 1970.
#[must_use]
pub fn now() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}

/// The changes of the tables, from none to those of this version.
fn migrations() -> sqlx::migrate::Migrator {
    sqlx::migrate!("src/store/migrations")
}

/// The URL of SQLite's file. Its driver decodes the path as bytes, and knows no host.
fn sqlite_url(path: &Path, parameters: &str) -> String {
    let encoded: String = path.to_string_lossy().chars().fold(String::new(), |mut url, c| {
        match c {
            '%' | '?' | '#' | ' ' | '"' | '<' | '>' | '`' | '{' | '}' | '\\' => {
                url.push_str(&format!("%{:02X}", c as u32));
            }
            c => url.push(c),
        }
        url
    });
    format!("sqlite:{encoded}?{parameters}")
}

/// A column of a row.
///
/// # Errors
/// If it is missing or of another type.
fn column<'r, T>(row: &'r AnyRow, name: &str) -> Result<T, sqlx::Error>
where
    T: sqlx::Decode<'r, Any> + sqlx::Type<Any>,
{
    row.try_get(name)
}
