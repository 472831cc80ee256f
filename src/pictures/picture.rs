//! Image files of requests.

use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::{Arc, Mutex, OnceLock};

use sha2::{Digest, Sha256};

use super::decode::{self, Format, Pixels};
use super::error::BadPicture;
use super::memory::Memory;

/// An image file.
pub struct Picture {
    pub(super) file: Vec<u8>,
    pub(super) format: Format,
    digest: OnceLock<[u8; 32]>,
    /// Width and height as in the file.
    size: OnceLock<Result<(u32, u32), BadPicture>>,
    /// Held while it is decoded.
    pub(super) opening: Mutex<()>,
    pub(super) opened: OnceLock<Result<Opened, BadPicture>>,
}

/// Decoded pixels, and their share of the memory.
pub(super) struct Opened {
    pub(super) pixels: Pixels,
    #[allow(dead_code, reason = "it is given back when it is dropped")]
    pub(super) memory: Memory,
}

/// A picture, and where the request has it.
#[derive(Clone)]
pub struct Shown {
    /// The picture.
    pub picture: Arc<Picture>,
    /// JSON pointer to the part of the request.
    pub pointer: Arc<str>,
}

impl Picture {
    /// A file of at most this many bytes, of which only the format has been looked at.
    ///
    /// # Errors
    /// If it is too large, or of a format that is not decoded.
    pub fn new(file: Vec<u8>, most: usize) -> Result<Self, BadPicture> {
        if file.len() > most {
            return Err(BadPicture::Bytes { bytes: file.len(), most });
        }
        let format = Format::of(&file)?;
        let (digest, size, opening, opened) = Default::default();
        Ok(Self { file, format, digest, size, opening, opened })
    }

    /// The bytes of the file.
    #[must_use]
    pub fn file(&self) -> &[u8] {
        &self.file
    }

    /// The media type of the file, by its bytes: `image/png`, `image/jpeg`, `image/gif` or `image/webp`.
    #[must_use]
    pub fn media_type(&self) -> &'static str {
        self.format.media_type()
    }

    /// The SHA-256 of the file, which stands for the picture: what has the same digest looks the same.
    #[must_use]
    pub fn digest(&self) -> &[u8; 32] {
        self.digest.get_or_init(|| Sha256::digest(&self.file).into())
    }

    /// The digest in hexadecimal digits.
    #[must_use]
    pub fn sha256(&self) -> String {
        self.digest().iter().map(|byte| format!("{byte:02x}")).collect()
    }

    /// The pixels; `None` before a decoder has decoded them.
    #[must_use]
    pub fn pixels(&self) -> Option<&Pixels> {
        self.opened.get()?.as_ref().ok().map(|opened| &opened.pixels)
    }

    /// What stands for the picture in texts, such as logs: the beginning of its digest and its size, if it is known.
    #[must_use]
    pub fn mention(&self) -> String {
        let size = self.pixels().map(|pixels| format!(" {}×{}", pixels.width, pixels.height)).unwrap_or_default();
        format!("‹picture sha256:{}…{size}›", &self.sha256()[..12])
    }

    /// Width and height as in the file, read from its header.
    pub(super) fn size(&self) -> Result<(u32, u32), BadPicture> {
        self.size.get_or_init(|| decode::size(self.format, &self.file)).clone()
    }
}

impl PartialEq for Picture {
    fn eq(&self, other: &Self) -> bool {
        self.digest() == other.digest()
    }
}

impl Eq for Picture {}

impl Hash for Picture {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.digest().hash(state);
    }
}

impl fmt::Debug for Picture {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.mention())
    }
}

/// Where a picture stands in a request makes no difference to what a model sees.
impl PartialEq for Shown {
    fn eq(&self, other: &Self) -> bool {
        self.picture == other.picture
    }
}

impl Eq for Shown {}

impl Hash for Shown {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.picture.hash(state);
    }
}

impl fmt::Debug for Shown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} at {}", self.picture.mention(), self.pointer)
    }
}
