//! SHA-256 of files that do not fit in memory.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use sha2::{Digest, Sha256};

use super::error::ModelError;

/// How much is read at once.
const BLOCK: usize = 1 << 20;

/// The hexadecimal SHA-256 of a file. Blocks the thread for as long as reading takes.
pub(super) fn of_file(path: &Path) -> Result<String, ModelError> {
    let mut file = File::open(path).map_err(ModelError::unreadable(path))?;
    let unreadable = |e| ModelError::unreadable(path)(e);
    of_blocks(&mut file, unreadable, |_| Ok(()))
}

/// Reads to the end, hands each block to `each`, and returns the hexadecimal SHA-256 of it all.
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
