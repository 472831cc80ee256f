//! Pictures that a judge is shown: image files of requests, and their decoding.
//!
//! A [`Picture`] is a file in a format that can be decoded. Its pixels are decoded once, late, and under the limits of a
//! [`PictureDecoder`]: upright, opaque, 8 bits a channel. Models get the same pixels whatever the format of the file.

mod decode;
mod error;
mod limits;
mod memory;
mod picture;

#[cfg(test)]
mod tests;

pub use decode::Pixels;
pub use error::BadPicture;
pub use limits::{CannotOpen, PictureDecoder, PictureLimits};
pub use picture::{Picture, Shown};
