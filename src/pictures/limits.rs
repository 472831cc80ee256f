//! Limits of decoding: how large pictures may be, how many are decoded at once, and the memory that they take.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError};

use serde::Deserialize;

use super::decode;
use super::error::BadPicture;
use super::memory::{Memory, Permits};
use super::picture::{Opened, Picture, Shown};

/// Bytes of a decoded pixel.
const PIXEL: u64 = 3;
/// How much longer one side may be than the other; Qwen's models have the same limit.
const MOST_ASPECT: u32 = 200;

/// Limits of pictures; `config.default.toml` documents each field.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PictureLimits {
    /// Bytes of a file.
    pub bytes: usize,
    /// Pixels of a picture.
    pub pixels: u64,
    /// Pictures of a request.
    pub each_request: usize,
    /// Pixels of all pictures of a prompt.
    pub all_pixels: u64,
    /// Pictures that are decoded at once, at least 1.
    pub decoding: usize,
    /// Bytes of all decoded pictures together.
    pub memory: u64,
}

/// Why pictures of a request are not decoded.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CannotOpen {
    /// A picture is not accepted.
    #[error("{reason}")]
    Bad {
        /// JSON pointer to it.
        pointer: Arc<str>,
        /// What is wrong with it.
        reason: BadPicture,
    },
    /// All pictures of a conversation together are too large.
    #[error("the pictures have {pixels} pixels together; at most {most} are allowed (pictures.all_pixels)")]
    TooLarge {
        /// JSON pointer to the one that is too much.
        pointer: Arc<str>,
        /// The pixels up to that one.
        pixels: u64,
        /// The limit.
        most: u64,
    },
    /// Other requests hold so many pictures that there is no memory for this one at present.
    #[error("pictures of other requests take all memory for pictures (pictures.memory)")]
    NoMemory,
}

/// Decodes pictures under limits that all requests share.
pub struct PictureDecoder {
    limits: PictureLimits,
    permits: Permits,
    used: Arc<AtomicU64>,
}

impl PictureDecoder {
    /// A decoder with these limits.
    #[must_use]
    pub fn new(limits: PictureLimits) -> Self {
        Self { limits, permits: Permits::new(limits.decoding.max(1)), used: Arc::default() }
    }

    /// Decodes the pictures of a conversation that are not decoded yet. All sizes are checked before the first is
    /// decoded. Takes up to a second for each, and waits while others decode: not for threads that must not block.
    ///
    /// # Errors
    /// At the first picture that cannot be decoded.
    pub fn open<'p>(&self, shown: impl Iterator<Item = &'p Shown> + Clone) -> Result<(), CannotOpen> {
        let mut all = 0_u64;
        for Shown { picture, pointer } in shown.clone() {
            let bad = |reason| CannotOpen::Bad { pointer: Arc::clone(pointer), reason };
            all = all.saturating_add(self.checked_size(picture).map_err(bad)?);
            if all > self.limits.all_pixels {
                let pointer = Arc::clone(pointer);
                return Err(CannotOpen::TooLarge { pointer, pixels: all, most: self.limits.all_pixels });
            }
        }
        for Shown { picture, pointer } in shown {
            self.open_one(picture, pointer)?;
        }
        Ok(())
    }

    /// The number of pixels of a picture.
    fn checked_size(&self, picture: &Picture) -> Result<u64, BadPicture> {
        let (width, height) = picture.size()?;
        let (pixels, most) = (u64::from(width) * u64::from(height), self.limits.pixels);
        if pixels > most {
            return Err(BadPicture::Pixels { width, height, most });
        }
        if u64::from(width.max(height)) > u64::from(MOST_ASPECT) * u64::from(width.min(height)) {
            return Err(BadPicture::Aspect { width, height, most: MOST_ASPECT });
        }
        Ok(pixels)
    }

    fn open_one(&self, picture: &Picture, pointer: &Arc<str>) -> Result<(), CannotOpen> {
        let bad = |reason| CannotOpen::Bad { pointer: Arc::clone(pointer), reason };
        let size = picture.size().map_err(bad)?;
        let opening = picture.opening.lock().unwrap_or_else(PoisonError::into_inner);
        if picture.opened.get().is_none() {
            let _permit = self.permits.enter();
            let bytes = PIXEL * u64::from(size.0) * u64::from(size.1);
            let memory = Memory::take(&self.used, bytes, self.limits.memory).ok_or(CannotOpen::NoMemory)?;
            let decode = || decode::pixels(picture.format, &picture.file, size);
            picture.opened.get_or_init(|| decode().map(|pixels| Opened { pixels, memory }));
        }
        drop(opening);
        match picture.opened.get() {
            Some(Err(reason)) => Err(bad(reason.clone())),
            _ => Ok(()),
        }
    }

    /// Bytes of the decoded pictures of all requests.
    #[must_use]
    pub fn used(&self) -> u64 {
        self.used.load(Ordering::Relaxed)
    }
}
