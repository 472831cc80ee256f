//! The metadata in the header of a GGUF file, for readers that need no weights.

use std::io::Cursor;
use std::path::Path;

use super::error::ModelError;
use super::gguf;
use super::gguf::fault::Fault;
use super::gguf::metadata::{Metadata, Value};

/// The metadata of a GGUF file: its tokenizer, its chat template, and numbers of its architecture.
///
/// Of the lists, it has those of the tokenizer. The file may end after its metadata.
pub struct GgufHeader {
    metadata: Metadata,
    bytes: u64,
}

impl GgufHeader {
    /// Most bytes of metadata that are read.
    pub const MOST: u64 = 64 << 20;

    /// Reads the metadata at the beginning of a file, and checks its vocabulary. Blocks the thread briefly.
    ///
    /// # Errors
    /// [`ModelError::CutShort`] if it ends within its metadata; [`ModelError::NotGguf`] if it is no GGUF file, has more
    /// than [`Self::MOST`] bytes of metadata, or an invalid vocabulary.
    pub fn read(path: &Path) -> Result<Self, ModelError> {
        let (file, len) = gguf::open(path)?;
        let (metadata, bytes) = gguf::metadata_of(file, len, Self::MOST).map_err(|fault| fault.of_file(path, len))?;
        Ok(Self { metadata, bytes })
    }

    /// Reads the metadata at the beginning of some bytes.
    pub(super) fn parse(bytes: &[u8]) -> Result<Self, Fault> {
        let (metadata, bytes) = gguf::metadata_of(Cursor::new(bytes), bytes.len() as u64, Self::MOST)?;
        Ok(Self { metadata, bytes })
    }

    /// Bytes from the beginning of the file to the end of its metadata.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// A text. Bytes that are not UTF-8 are replaced.
    #[must_use]
    pub fn text(&self, key: &str) -> Option<String> {
        match self.metadata.get(key)? {
            Value::Text(text) => Some(lossy(text)),
            _ => None,
        }
    }

    /// An integer that is not negative, or a flag as 0 or 1.
    #[must_use]
    pub fn number(&self, key: &str) -> Option<u64> {
        match self.metadata.get(key)? {
            Value::Number(number) => Some(*number),
            _ => None,
        }
    }

    /// A list of texts of the tokenizer.
    #[must_use]
    pub fn texts(&self, key: &str) -> Option<Vec<String>> {
        match self.metadata.get(key)? {
            Value::Texts(texts) => Some(texts.iter().map(|text| lossy(text)).collect()),
            _ => None,
        }
    }

    /// A list of integers of 32 bits of the tokenizer.
    #[must_use]
    pub fn integers(&self, key: &str) -> Option<&[i64]> {
        match self.metadata.get(key)? {
            Value::Integers(integers) => Some(integers),
            _ => None,
        }
    }

    /// A list of real numbers of single precision of the tokenizer.
    #[must_use]
    pub fn reals(&self, key: &str) -> Option<&[f32]> {
        match self.metadata.get(key)? {
            Value::Reals(reals) => Some(reals),
            _ => None,
        }
    }
}

fn lossy(text: &[u8]) -> String {
    String::from_utf8_lossy(text).into_owned()
}
