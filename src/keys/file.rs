//! The file of keys.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use serde::{Deserialize, Serialize};

use super::entry::Key;
use super::error::KeyError;

const HEADING: &str = "# API keys of Gavel, by their SHA-256. Written by `gavel keys create` and `gavel keys revoke`. \
                       While this file exists,\n# requests need a key.\n\n";

#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct KeyFile {
    #[serde(default)]
    keys: Vec<Key>,
}

/// What tells a version of the file from another: its time, length and number in the file system. None for no file.
pub(super) type Stamp = Option<(Option<SystemTime>, u64, u64)>;

/// The stamp of a file that may not exist.
pub(super) fn stamp(path: &Path) -> Stamp {
    let data = match fs::metadata(path) {
        Ok(data) => data,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return None,
        // It is there, and reading it says why it cannot be read.
        Err(_) => return Some((None, 0, 0)),
    };
    #[cfg(unix)]
    let number = std::os::unix::fs::MetadataExt::ino(&data);
    #[cfg(not(unix))]
    let number = 0;
    Some((data.modified().ok(), data.len(), number))
}

/// The keys of a file; `None` if there is no file.
pub(super) fn read(path: &Path) -> Result<Option<Vec<Key>>, KeyError> {
    let text = match fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(KeyError::access(path, "read")(error)),
    };
    let invalid = |line: usize, reason: String| KeyError::Invalid { path: path.display().to_string(), line, reason };
    let keys = toml::from_str::<KeyFile>(&text).map_err(|error| {
        let before = error.span().and_then(|span| text.get(..span.start)).unwrap_or_default();
        invalid(before.matches('\n').count() + 1, error.message().to_owned())
    })?;
    for (index, key) in keys.keys.iter().enumerate() {
        let same = |other: &Key| other.name == key.name || other.sha256 == key.sha256;
        let twice = keys.keys[..index].iter().any(same).then_some("is there twice, by its name or by its `sha256`");
        if let Some(fault) = key.fault().or(twice) {
            let tables = text.lines().enumerate().filter(|(_, line)| line.trim() == "[[keys]]");
            let line = tables.map(|(line, _)| line + 1).nth(index).unwrap_or(1);
            return Err(invalid(line, format!("key {} {fault}", index + 1)));
        }
    }
    Ok(Some(keys.keys))
}

/// Changes the file, one process at a time.
pub(super) fn update<T>(path: &Path, change: impl FnOnce(&mut Vec<Key>) -> Result<T, KeyError>) -> Result<T, KeyError> {
    let folder = path.parent().unwrap_or(Path::new("."));
    fs::create_dir_all(folder).map_err(KeyError::access(folder, "created"))?;
    let lock = beside(path, "lock");
    let held = private(OpenOptions::new().write(true).create(true).truncate(false)).open(&lock);
    let held = held.and_then(|file| file.lock().map(|()| file)).map_err(KeyError::access(&lock, "locked"))?;
    let mut keys = read(path)?.unwrap_or_default();
    let result = change(&mut keys)?;
    let text = toml::to_string(&KeyFile { keys }).expect("texts, numbers and lists of them");
    write(path, &format!("{HEADING}{text}")).map_err(KeyError::access(path, "written"))?;
    drop(held);
    Ok(result)
}

fn beside(path: &Path, ending: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(format!(".{ending}"));
    name.into()
}

/// Writes a file that its owner alone can read, and renames it, so that no reader sees half of it. The caller holds the
/// lock, so that what an interrupted run left can be replaced.
fn write(path: &Path, text: &str) -> io::Result<()> {
    let partial = beside(path, "partial");
    match fs::remove_file(&partial) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file = private(OpenOptions::new().write(true).create_new(true)).open(&partial)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    fs::rename(&partial, path)?;
    // The rename survives a power failure once its folder is on the disk; other systems cannot open folders.
    #[cfg(unix)]
    File::open(path.parent().unwrap_or(Path::new(".")))?.sync_all()?;
    Ok(())
}

/// Lets the owner alone read what is created.
fn private(options: &mut OpenOptions) -> &mut OpenOptions {
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(options, 0o600);
    options
}
