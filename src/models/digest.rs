//! SHA-256 of files that do not fit in memory.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use sha1::Sha1;
use sha2::{Digest, Sha256};

use super::error::ModelError;

/// Number of bytes to read at once.
const BLOCK: usize = 1 << 20;

/// Whether a text is a lower-case hexadecimal SHA-256.
pub(super) fn is_sha256(text: &str) -> bool {
    text.len() == 64 && text.chars().all(|c| matches!(c, '0'..='9' | 'a'..='f'))
}

/// The digest of a model: that of its file, or for shards, of the list of their digests, one per line.
pub(super) fn of_all(digests: &[String]) -> String {
    match digests {
        [one] => one.clone(),
        shards => format!("{:x}", Sha256::digest(shards.iter().map(|d| format!("{d}\n")).collect::<String>())),
    }
}

/// The hexadecimal SHA-256 of a file. Blocks the thread.
pub(super) fn of_file(path: &Path) -> Result<String, ModelError> {
    let mut file = File::open(path).map_err(ModelError::unreadable(path))?;
    let unreadable = |e| ModelError::unreadable(path)(e);
    of_blocks(&mut file, unreadable, |_| Ok(()))
}

/// The hexadecimal SHA-256 of the first bytes of a file. Blocks the thread.
pub(super) fn of_beginning(path: &Path, bytes: u64) -> Result<String, ModelError> {
    let file = File::open(path).map_err(ModelError::unreadable(path))?;
    of_blocks(&mut file.take(bytes), |e| ModelError::unreadable(path)(e), |_| Ok(()))
}

/// The id of a file's content in git, in hexadecimal: the SHA-1 of its length and its bytes. Blocks the thread.
pub(super) fn git_id(path: &Path) -> Result<String, ModelError> {
    let bytes = std::fs::read(path).map_err(ModelError::unreadable(path))?;
    let mut hasher = Sha1::new_with_prefix(format!("blob {}\0", bytes.len()));
    hasher.update(&bytes);
    Ok(format!("{:x}", hasher.finalize()))
}

/// Reads to the end, passes each block to `each`, and returns the hexadecimal SHA-256.
pub(super) fn of_blocks(
    reader: &mut impl Read,
    unreadable: impl Fn(io::Error) -> ModelError,
    mut each: impl FnMut(&[u8]) -> Result<(), ModelError>,
) -> Result<String, ModelError> {
    let mut hasher = Sha256::new();
    let mut block = vec![0; BLOCK];
    loop {
        let n = reader.read(&mut block).map_err(&unreadable)?;
        if n == 0 {
            return Ok(format!("{:x}", hasher.finalize()));
        }
        hasher.update(&block[..n]);
        each(&block[..n])?;
    }
}
