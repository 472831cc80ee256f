//! The pictures that a model saw.

use std::sync::Arc;

use crate::engine::Compiled;
use crate::pictures::Shown;
use crate::script::Look;

/// A picture that a model saw.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SeenPicture {
    /// JSON pointer to the picture in the request.
    pub pointer: Arc<str>,
    /// SHA-256 of its file, in hexadecimal digits.
    pub sha256: String,
    /// Columns of pixels, upright.
    pub width: u32,
    /// Rows of pixels.
    pub height: u32,
    /// Tokens that it took of the context.
    pub tokens: usize,
}

/// The pictures of a prompt, with what they take of the context.
pub(super) fn seen(compiled: &Compiled) -> Arc<[SeenPicture]> {
    let looks = compiled.job.prompt.pictures().zip(&compiled.encoded.looks);
    let seen = |(Shown { picture, pointer }, look): (&Shown, &Look)| {
        let (width, height) = picture.pixels().map(|pixels| (pixels.width, pixels.height)).unwrap_or_default();
        SeenPicture {
            pointer: Arc::clone(pointer),
            sha256: picture.sha256(),
            width,
            height,
            tokens: look.glance.tokens,
        }
    };
    looks.map(seen).collect()
}
