//! Decoding of image files.

use std::fmt;
use std::io::Cursor;

use image::codecs::gif::GifDecoder;
use image::codecs::jpeg::JpegDecoder;
use image::codecs::png::PngDecoder;
use image::codecs::webp::WebPDecoder;
use image::metadata::Orientation;
use image::{AnimationDecoder, DynamicImage, ImageDecoder, ImageError, Limits};

use super::error::BadPicture;

/// Memory that a decoder may use beside the pixels, in bytes.
const WORKING_MEMORY: u64 = 64 << 20;
/// Bytes of a pixel in the widest format: four channels of 16 bits.
const WIDEST_PIXEL: u64 = 8;

/// The pixels of a picture: upright, over white where it is transparent, three bytes each, row by row.
#[derive(Clone, PartialEq, Eq)]
pub struct Pixels {
    /// Columns, at least 1.
    pub width: u32,
    /// Rows, at least 1.
    pub height: u32,
    /// Red, green and blue of each pixel.
    pub rgb: Vec<u8>,
}

impl fmt::Debug for Pixels {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}×{} pixels", self.width, self.height)
    }
}

/// The format of an image file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Format {
    Png,
    Jpeg,
    Gif,
    WebP,
}

impl Format {
    /// The media type of such files.
    pub(super) fn media_type(self) -> &'static str {
        match self {
            Self::Png => "image/png",
            Self::Jpeg => "image/jpeg",
            Self::Gif => "image/gif",
            Self::WebP => "image/webp",
        }
    }

    /// The format that a file begins as; what its sender calls it does not count.
    pub(super) fn of(file: &[u8]) -> Result<Self, BadPicture> {
        let is_at = |at: usize, magic: &[u8]| file.get(at..).is_some_and(|rest| rest.starts_with(magic));
        let is = |magic: &[u8]| is_at(0, magic);
        match () {
            () if file.is_empty() => Err(BadPicture::Empty),
            () if is(b"\x89PNG\r\n\x1a\n") => Ok(Self::Png),
            () if is(b"\xff\xd8\xff") => Ok(Self::Jpeg),
            () if is(b"GIF87a") || is(b"GIF89a") => Ok(Self::Gif),
            () if is(b"RIFF") && is_at(8, b"WEBP") => Ok(Self::WebP),
            () if is(b"II*\0") || is(b"MM\0*") => Err(BadPicture::Format("TIFF")),
            () if is(b"BM") => Err(BadPicture::Format("BMP")),
            () if is_at(4, b"ftypavif") => Err(BadPicture::Format("AVIF")),
            () if is_at(4, b"ftyphei") || is_at(4, b"ftypmif1") => Err(BadPicture::Format("HEIC")),
            () if is(b"%PDF-") => Err(BadPicture::Format("PDF")),
            () if is_svg(file) => Err(BadPicture::Format("SVG")),
            () => Err(BadPicture::NoImage),
        }
    }
}

fn is_svg(file: &[u8]) -> bool {
    let head = String::from_utf8_lossy(&file[..file.len().min(1024)]);
    head.trim_start().starts_with('<') && head.contains("<svg")
}

/// Width and height, from the header.
pub(super) fn size(format: Format, file: &[u8]) -> Result<(u32, u32), BadPicture> {
    // The decoder fills in what is missing of a file.
    if format == Format::Jpeg && !ends(file) {
        return Err(BadPicture::CutOff);
    }
    let size = match format {
        Format::Png => PngDecoder::new(Cursor::new(file)).map(|decoder| decoder.dimensions()),
        Format::Jpeg => JpegDecoder::new(Cursor::new(file)).map(|decoder| decoder.dimensions()),
        Format::Gif => GifDecoder::new(Cursor::new(file)).map(|decoder| decoder.dimensions()),
        Format::WebP => WebPDecoder::new(Cursor::new(file)).map(|decoder| decoder.dimensions()),
    };
    match size.map_err(|error| damaged(&error))? {
        (0, _) | (_, 0) => Err(BadPicture::Damaged("it has no pixels".to_owned())),
        size => Ok(size),
    }
}

/// The pixels of a file whose size has been checked.
pub(super) fn pixels(format: Format, file: &[u8], (width, height): (u32, u32)) -> Result<Pixels, BadPicture> {
    let mut limits = Limits::no_limits();
    limits.max_alloc = Some(WIDEST_PIXEL * u64::from(width) * u64::from(height) + WORKING_MEMORY);
    let decoded = match format {
        Format::Png => decoded(PngDecoder::with_limits(Cursor::new(file), limits.clone()), limits, |decoder| {
            decoder.is_apng().unwrap_or(false)
        }),
        Format::Jpeg => decoded(JpegDecoder::new(Cursor::new(file)), limits, |_| false),
        Format::Gif if has_frames(file) => return Err(BadPicture::Animated),
        Format::Gif => decoded(GifDecoder::new(Cursor::new(file)), limits, |_| false),
        Format::WebP => decoded(WebPDecoder::new(Cursor::new(file)), limits, WebPDecoder::has_animation),
    };
    decoded.map(opaque)
}

fn decoded<D: ImageDecoder>(
    decoder: Result<D, ImageError>,
    limits: Limits,
    is_animated: impl Fn(&D) -> bool,
) -> Result<DynamicImage, BadPicture> {
    let mut decoder = decoder.map_err(|error| damaged(&error))?;
    if is_animated(&decoder) {
        return Err(BadPicture::Animated);
    }
    decoder.set_limits(limits).map_err(|error| damaged(&error))?;
    // A picture whose orientation cannot be read is shown as it is, as browsers do.
    let orientation = decoder.orientation().unwrap_or(Orientation::NoTransforms);
    let mut image = DynamicImage::from_decoder(decoder).map_err(|error| damaged(&error))?;
    image.apply_orientation(orientation);
    Ok(image)
}

/// Whether a GIF has a second frame.
fn has_frames(file: &[u8]) -> bool {
    GifDecoder::new(Cursor::new(file)).is_ok_and(|decoder| decoder.into_frames().nth(1).is_some())
}

/// Whether a JPEG file has the marker of its end (EOI) after its last scan. Bytes after it are allowed.
fn ends(file: &[u8]) -> bool {
    const SCAN: u8 = 0xda;
    const END: u8 = 0xd9;
    let mut at = 2;
    let mut in_scan = false;
    while let [0xff, marker, rest @ ..] = file.get(at..).unwrap_or_default() {
        match (*marker, rest) {
            (END, _) => return true,
            // Bytes that fill up, and markers without a length.
            (0xff, _) => at += 1,
            (0x00 | 0x01 | 0xd0..=0xd8, _) => at += 2,
            (marker, [high, low, ..]) => {
                in_scan = marker == SCAN;
                at += 2 + usize::from(u16::from_be_bytes([*high, *low]));
            }
            _ => return false,
        }
        if in_scan {
            // The compressed data goes on up to the next marker.
            let data = file.get(at..).unwrap_or_default();
            let next = data.windows(2).position(|pair| pair[0] == 0xff && !matches!(pair[1], 0x00 | 0xd0..=0xd7));
            at += next.unwrap_or(data.len());
        }
    }
    false
}

/// Eight bits a channel, over white.
fn opaque(image: DynamicImage) -> Pixels {
    let (width, height) = (image.width(), image.height());
    if !image.color().has_alpha() {
        return Pixels { width, height, rgb: image.into_rgb8().into_raw() };
    }
    let over_white = |[red, green, blue, alpha]: [u8; 4]| {
        let mix = |channel: u8| {
            let (channel, alpha) = (u32::from(channel), u32::from(alpha));
            u8::try_from((channel * alpha + 255 * (255 - alpha) + 127) / 255).unwrap_or(u8::MAX)
        };
        [mix(red), mix(green), mix(blue)]
    };
    let rgba = image.into_rgba8();
    Pixels { width, height, rgb: rgba.pixels().flat_map(|pixel| over_white(pixel.0)).collect() }
}

fn damaged(error: &ImageError) -> BadPicture {
    match error {
        ImageError::IoError(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => BadPicture::CutOff,
        error => BadPicture::Damaged(error.to_string().trim().to_owned()),
    }
}
