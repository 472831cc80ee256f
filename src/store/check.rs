//! A look at a database before it is used, which changes nothing.

use std::collections::BTreeMap;
use std::path::Path;
use std::str::FromStr;

use sqlx::any::AnyConnectOptions;
use sqlx::{AnyConnection, ConnectOptions, Connection, Row};

use super::{Database, Location, PATIENCE, StoreError, migrations, sqlite_url};

/// The largest file of SQLite, in bytes, that is read whole to find damaged parts: it takes some seconds.
const READ_WHOLE: u64 = 1 << 30;

/// A database that can be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Checked {
    /// How many changes its tables still need, which are made when it is first opened.
    pub changes: usize,
    /// Whether it was read whole, so that a damaged part would have been found. PostgreSQL finds damages itself.
    pub whole: bool,
}

impl Database {
    /// Looks at the database without changing anything; `None`: there is none yet.
    ///
    /// # Errors
    /// What is wrong with it: it cannot be reached, is damaged, or has tables of a later version.
    pub async fn check(&self) -> Result<Option<Checked>, StoreError> {
        if self.exists() { check(&self.location).await.map(Some) } else { Ok(None) }
    }
}

async fn check(location: &Location) -> Result<Checked, StoreError> {
    sqlx::any::install_default_drivers();
    let (url, file) = match location {
        Location::Postgres(url) => (url.clone(), None),
        Location::File(path) => (unchanged(path), Some(path.as_path())),
    };
    let name = file.map(|path| path.display().to_string());
    let failed = |error: sqlx::Error| match StoreError::of(&error, name.as_deref()) {
        // SQLite does not say which file.
        StoreError::Unavailable(why) => {
            StoreError::Unavailable(name.iter().fold(why, |why, name| format!("{name}: {why}")))
        }
        error => error,
    };
    let options = AnyConnectOptions::from_str(&url).map_err(failed)?.disable_statement_logging();
    let connected = tokio::time::timeout(PATIENCE, AnyConnection::connect_with(&options)).await;
    let silent = |_| StoreError::Unavailable(format!("no answer for {} s", PATIENCE.as_secs()));
    let mut connection = connected.map_err(silent)?.map_err(failed)?;
    let applied = applied(&mut connection, file.is_some()).await.map_err(failed)?;
    let changes = compare(&applied)?;
    let mut whole = true;
    if let Some(path) = file {
        whole = path.metadata().is_ok_and(|data| data.len() <= READ_WHOLE);
        if whole {
            let found: String =
                sqlx::query_scalar("PRAGMA quick_check(1)").fetch_one(&mut connection).await.map_err(failed)?;
            if found != "ok" {
                let file = path.display().to_string();
                return Err(StoreError::Damaged { file, why: found.replace('\n', " ") });
            }
        }
    }
    connection.close().await.map_err(failed)?;
    Ok(Checked { changes, whole })
}

/// The URL that opens a file of SQLite and writes neither to it nor beside it. While a process has it open, its log is
/// there and must be read, too; without a log, the file alone is complete.
fn unchanged(path: &Path) -> String {
    let mut log = path.as_os_str().to_owned();
    log.push("-wal");
    sqlite_url(path, if Path::new(&log).exists() { "mode=ro" } else { "mode=ro&immutable=true" })
}

/// A change that was made: its SHA-384, and whether it was completed.
type Applied = BTreeMap<i64, (Vec<u8>, bool)>;

/// The changes that were made to a database.
async fn applied(connection: &mut AnyConnection, sqlite: bool) -> Result<Applied, sqlx::Error> {
    let known = if sqlite {
        "SELECT COUNT(*) FROM sqlite_master WHERE name = '_sqlx_migrations'"
    } else {
        "SELECT COUNT(to_regclass('_sqlx_migrations'))"
    };
    if sqlx::query_scalar::<_, i64>(known).fetch_one(&mut *connection).await? == 0 {
        return Ok(Applied::new());
    }
    let made = "SELECT version, checksum, CASE WHEN success THEN 1 ELSE 0 END AS completed FROM _sqlx_migrations";
    let rows = sqlx::query(made).fetch_all(&mut *connection).await?;
    let read = |row: &sqlx::any::AnyRow| {
        // An integer of 32 bits in PostgreSQL, of 64 in SQLite.
        let completed =
            row.try_get::<i64, _>("completed").or_else(|_| row.try_get::<i32, _>("completed").map(i64::from));
        Ok((row.try_get("version")?, (row.try_get("checksum")?, completed? == 1)))
    };
    rows.iter().map(read).collect()
}

/// Compares what was made with what this version makes; returns how many changes are left.
fn compare(applied: &Applied) -> Result<usize, StoreError> {
    let migrations = migrations();
    let ours: BTreeMap<i64, &[u8]> = migrations.iter().map(|change| (change.version, &*change.checksum)).collect();
    for (version, (checksum, completed)) in applied {
        let wrong = match ours.get(version) {
            None => format!("a later version of Gavel has changed them (change {version}); use that version"),
            Some(_) if !completed => format!("change {version} was interrupted; restore a backup"),
            Some(ours) if *ours != checksum.as_slice() => {
                format!(
                    "change {version} is not that of this version; restore a backup, or begin with an empty database"
                )
            }
            Some(_) => continue,
        };
        return Err(StoreError::Version(wrong));
    }
    Ok(ours.len() - applied.len())
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;
    use crate::store::Store;

    /// The bytes of all files of a folder, but for the index of SQLite's log, which has nothing of its own.
    fn files(folder: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
        let entries = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
        let entries = entries.filter(|path| !path.to_string_lossy().ends_with("-shm") && path.is_file());
        entries.map(|path| (path.clone(), std::fs::read(path).unwrap())).collect()
    }

    async fn execute(location: &Location, statement: &str) {
        let Location::File(path) = location else { panic!("a file") };
        sqlx::any::install_default_drivers();
        let mut connection = AnyConnection::connect(&sqlite_url(path, "mode=rw")).await.unwrap();
        sqlx::query(statement).execute(&mut connection).await.unwrap();
        connection.close().await.unwrap();
    }

    #[tokio::test]
    async fn a_check_changes_nothing_and_says_what_is_wrong() {
        let folder = tempfile::tempdir().unwrap();
        let location = Location::of(folder.path(), "");
        let check = async || {
            let before = files(folder.path());
            let found = Database::new(location.clone()).check().await;
            assert_eq!(files(folder.path()), before);
            found.map_err(|error| error.to_string())
        };
        assert_eq!(check().await, Ok(None));
        let store = Store::open(&location).await.unwrap();
        store.join("worker", 1).await.unwrap();
        let good = Ok(Some(Checked { changes: 0, whole: true }));
        assert_eq!(check().await, good, "while a server has it open");
        store.pool.close().await;
        assert_eq!(check().await, good);
        let last = migrations().iter().map(|change| change.version).max().unwrap();
        execute(&location, &format!("UPDATE _sqlx_migrations SET checksum = x'00' WHERE version = {last}")).await;
        assert!(check().await.unwrap_err().contains(&format!("change {last} is not that of this version")));
        execute(&location, &format!("UPDATE _sqlx_migrations SET success = 0 WHERE version = {last}")).await;
        assert!(check().await.unwrap_err().contains("was interrupted"));
        execute(&location, &format!("DELETE FROM _sqlx_migrations WHERE version = {last}")).await;
        assert_eq!(check().await, Ok(Some(Checked { changes: 1, whole: true })));
        execute(&location, "UPDATE _sqlx_migrations SET version = 9999 WHERE version = 1").await;
        assert!(check().await.unwrap_err().contains("a later version of Gavel has changed them (change 9999)"));
        execute(&location, "DROP TABLE _sqlx_migrations").await;
        assert_eq!(check().await, Ok(Some(Checked { changes: migrations().iter().count(), whole: true })));
        let Location::File(path) = &location else { panic!("a file") };
        let bytes = std::fs::read(path).unwrap();
        let noise = [&bytes[..4096], &vec![0xa5; bytes.len() - 4096][..]].concat();
        for bad in [&noise[..], &bytes[..bytes.len() / 2 / 4096 * 4096], &b"the notes of a person".repeat(500)[..]] {
            std::fs::write(path, bad).unwrap();
            let error = check().await.unwrap_err();
            assert!(error.contains("gavel.db is damaged") && error.contains(".recover"), "{error}");
        }
        std::fs::remove_file(path).unwrap();
        std::fs::create_dir(path).unwrap();
        assert!(check().await.unwrap_err().contains("gavel.db: "));
    }

    #[tokio::test]
    async fn a_database_that_is_away_is_told() {
        let away = Location::Postgres("postgres://gavel:secret@127.0.0.1:1/gavel".to_owned());
        let error = Database::new(away).check().await.unwrap_err().to_string();
        assert!(error.contains("the database is not available") && !error.contains("secret"), "{error}");
    }
}
