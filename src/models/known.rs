//! Stored digests, so that a model of many gigabytes is not hashed at each load.

use std::fs::{self, Metadata};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::digest;
use super::error::ModelError;

/// Digests of files that were modified more recently are not stored, because a further change within the resolution of
/// file times would not be noticed.
const SETTLED: Duration = Duration::from_secs(2);

/// Digests of files, stored in a folder.
#[derive(Debug, Clone)]
pub(super) struct KnownDigests {
    folder: PathBuf,
}

/// A digest, and the file's metadata at that time.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Record {
    path: PathBuf,
    looks: Looks,
    sha256: String,
}

/// Metadata that changes with a file's content, unless manipulated.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Looks {
    size: u64,
    /// Nanoseconds since 1970, as text: TOML's numbers end in the year 2262.
    modified: String,
    /// The ctime, which programs cannot set. Empty if the system has none.
    changed: String,
    /// Device and inode number. Empty if the system has none.
    file: String,
}

impl KnownDigests {
    /// Digests in `folder`, which need not exist.
    pub(super) fn new(folder: PathBuf) -> Self {
        Self { folder }
    }

    /// The hexadecimal SHA-256 of a file: the stored one if its metadata is unchanged, else hashes it. Blocks the
    /// thread.
    pub(super) fn of_file(&self, path: &Path) -> Result<String, ModelError> {
        let path = fs::canonicalize(path).map_err(ModelError::unreadable(path))?;
        let (looks, settled) = looks(&path)?;
        if let Some(sha256) = self.find(&path, &looks) {
            return Ok(sha256);
        }
        let sha256 = digest::of_file(&path)?;
        // The file was modified while it was hashed.
        if settled && self::looks(&path)?.0 == looks {
            let record = Record { path, looks, sha256: sha256.clone() };
            if let Err(error) = self.keep(&record) {
                tracing::debug!(%error, "cannot store a digest; the file will be hashed again");
            }
        }
        Ok(sha256)
    }

    fn find(&self, path: &Path, looks: &Looks) -> Option<String> {
        let record: Record = toml::from_str(&fs::read_to_string(self.file(path)).ok()?).ok()?;
        let same = record.path == path && record.looks == *looks && digest::is_sha256(&record.sha256);
        same.then_some(record.sha256)
    }

    /// Writes atomically, even with concurrent writers.
    fn keep(&self, record: &Record) -> std::io::Result<()> {
        let text = toml::to_string(record).map_err(std::io::Error::other)?;
        let file = self.file(&record.path);
        let unfinished = file.with_extension(format!("{}.unfinished", ulid::Ulid::new()));
        fs::create_dir_all(&self.folder)?;
        let kept = fs::write(&unfinished, text).and_then(|()| fs::rename(&unfinished, &file));
        kept.inspect_err(|_| _ = fs::remove_file(&unfinished))
    }

    fn file(&self, path: &Path) -> PathBuf {
        self.folder.join(format!("{:x}.toml", Sha256::digest(path.as_os_str().as_encoded_bytes())))
    }
}

/// The metadata of a file, and whether it has been unchanged for a while.
fn looks(path: &Path) -> Result<(Looks, bool), ModelError> {
    let metadata = fs::metadata(path).map_err(ModelError::unreadable(path))?;
    let modified = metadata.modified().map_err(ModelError::unreadable(path))?;
    let settled = SystemTime::now().duration_since(modified).is_ok_and(|age| age >= SETTLED);
    let nanoseconds = modified.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_nanos());
    let (changed, file) = identity(&metadata);
    Ok((Looks { size: metadata.len(), modified: nanoseconds.to_string(), changed, file }, settled))
}

#[cfg(unix)]
fn identity(metadata: &Metadata) -> (String, String) {
    use std::os::unix::fs::MetadataExt;
    let changed = format!("{}.{:09}", metadata.ctime(), metadata.ctime_nsec());
    (changed, format!("{}/{}", metadata.dev(), metadata.ino()))
}

#[cfg(not(unix))]
fn identity(_: &Metadata) -> (String, String) {
    (String::new(), String::new())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    /// Writes a file that was there for a minute.
    fn write(path: &Path, text: &str) {
        fs::write(path, text).unwrap();
        let file = fs::File::options().write(true).open(path).unwrap();
        file.set_modified(SystemTime::now() - Duration::from_secs(60)).unwrap();
    }

    /// Puts another digest where the right one is kept, which shows whether a file is read again.
    fn falsify(known: &KnownDigests) {
        for record in fs::read_dir(&known.folder).unwrap() {
            let record = record.unwrap().path();
            let mut kept: Record = toml::from_str(&fs::read_to_string(&record).unwrap()).unwrap();
            kept.sha256 = "f".repeat(64);
            fs::write(&record, toml::to_string(&kept).unwrap()).unwrap();
        }
    }

    #[test]
    fn a_file_is_read_once_and_again_when_it_has_changed() {
        let folder = tempfile::tempdir().unwrap();
        let (known, file) = (KnownDigests::new(folder.path().join("digests")), folder.path().join("m.gguf"));
        write(&file, "one");
        let first = known.of_file(&file).unwrap();
        assert_eq!(first, digest::of_file(&file).unwrap());
        falsify(&known);
        assert_eq!(known.of_file(&file).unwrap(), "f".repeat(64), "it was not read again");
        // Another store over the same folder knows it, too.
        assert_eq!(KnownDigests::new(folder.path().join("digests")).of_file(&file).unwrap(), "f".repeat(64));
        // As long as before, and another time.
        write(&file, "two");
        assert_eq!(known.of_file(&file).unwrap(), digest::of_file(&file).unwrap());
        falsify(&known);
        // Another file under the same name, with the same length.
        let other = folder.path().join("other");
        write(&other, "six");
        fs::rename(&other, &file).unwrap();
        assert_eq!(known.of_file(&file).unwrap(), digest::of_file(&file).unwrap());
        let left = fs::read_dir(&known.folder).unwrap().count();
        assert_eq!(left, 1, "one record a file, and nothing unfinished");
    }

    #[test]
    fn what_was_just_written_or_cannot_be_kept_is_read_each_time() {
        let folder = tempfile::tempdir().unwrap();
        let (known, file) = (KnownDigests::new(folder.path().join("digests")), folder.path().join("m.gguf"));
        fs::write(&file, "new").unwrap();
        known.of_file(&file).unwrap();
        assert!(!known.folder.exists());
        // The folder cannot be made, and a record that is damaged is none.
        write(&file, "old");
        let nowhere = KnownDigests::new(file.join("digests"));
        assert_eq!(nowhere.of_file(&file).unwrap(), digest::of_file(&file).unwrap());
        known.of_file(&file).unwrap();
        let record = fs::read_dir(&known.folder).unwrap().next().unwrap().unwrap().path();
        fs::write(record, "sha256 = ").unwrap();
        assert_eq!(known.of_file(&file).unwrap(), digest::of_file(&file).unwrap());
        assert!(known.of_file(&folder.path().join("nobody")).is_err());
    }
}
