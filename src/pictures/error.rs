//! Pictures that are not accepted.

/// Why a file is not shown to a model.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadPicture {
    /// The file has no bytes.
    #[error("the picture is empty")]
    Empty,
    /// The bytes are of no known image format.
    #[error("the data is not an image; send a PNG, JPEG, WebP or GIF file")]
    NoImage,
    /// A format that is not decoded.
    #[error("{0} is not supported; send a PNG, JPEG, WebP or GIF file")]
    Format(&'static str),
    /// More than one frame: a judge would see the first one only.
    #[error("the picture is an animation; send the frame that is to be judged as a picture of its own")]
    Animated,
    /// The file ends too early.
    #[error("the file is cut off: the end of the picture is missing")]
    CutOff,
    /// The file is not valid.
    #[error("the file is damaged: {0}")]
    Damaged(String),
    /// A file larger than allowed.
    #[error("the file has {bytes} bytes; at most {most} are allowed (pictures.bytes); send a smaller picture")]
    Bytes {
        /// Its size, or the least that it can have.
        bytes: usize,
        /// The limit.
        most: usize,
    },
    /// More pixels than allowed.
    #[error("the picture has {width}×{height} pixels; at most {most} in all are allowed (pictures.pixels)")]
    Pixels {
        /// Columns.
        width: u32,
        /// Rows.
        height: u32,
        /// The limit.
        most: u64,
    },
    /// One side is much longer than the other.
    #[error("the picture has {width}×{height} pixels; one side may be {most} times as long as the other")]
    Aspect {
        /// Columns.
        width: u32,
        /// Rows.
        height: u32,
        /// The limit.
        most: u32,
    },
}

impl BadPicture {
    /// Whether the file is valid, but of a kind that is not supported.
    #[must_use]
    pub fn is_unsupported(&self) -> bool {
        matches!(self, Self::Format(_) | Self::Animated)
    }
}
