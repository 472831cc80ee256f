//! Files as they are sent, whole and hostile. All of them are made here.

use std::io::{Cursor, Write};
use std::sync::Arc;

use flate2::Compression;
use flate2::write::ZlibEncoder;
use image::codecs::gif::GifEncoder;
use image::codecs::jpeg::JpegEncoder;
use image::codecs::png::PngEncoder;
use image::codecs::webp::WebPEncoder;
use image::{DynamicImage, Frame, GrayImage, ImageBuffer, ImageEncoder, Luma, Rgb, RgbImage, Rgba, RgbaImage};
use proptest::prelude::*;

use super::*;

const LIMITS: PictureLimits = PictureLimits {
    bytes: 1 << 20,
    pixels: 16_000_000,
    each_request: 16,
    all_pixels: 64_000_000,
    decoding: 2,
    memory: 512 << 20,
};
/// EXIF data with one field: turn by a quarter, clockwise.
const TURNED: [u8; 26] = [
    b'M', b'M', 0, 42, 0, 0, 0, 8, // big-endian; the directory is at 8
    0, 1, // one field
    1, 18, 0, 3, 0, 0, 0, 1, 0, 6, 0, 0, // orientation, a 16-bit integer: 6
    0, 0, 0, 0, // no other directory
];

/// Red on the left, blue on the right.
fn sides() -> RgbImage {
    RgbImage::from_fn(40, 20, |x, _| if x < 20 { Rgb([255, 0, 0]) } else { Rgb([0, 0, 255]) })
}

fn noise(width: u32, height: u32) -> RgbImage {
    let mut state = 1_u32;
    RgbImage::from_fn(width, height, |_, _| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        let [red, green, blue, _] = state.to_be_bytes();
        Rgb([red, green, blue])
    })
}

fn encoded(image: impl Into<DynamicImage>, encode: impl FnOnce(&DynamicImage, &mut Vec<u8>)) -> Vec<u8> {
    let mut file = Vec::new();
    encode(&image.into(), &mut file);
    file
}

fn png(image: impl Into<DynamicImage>) -> Vec<u8> {
    encoded(image, |image, file| image.write_with_encoder(PngEncoder::new(file)).unwrap())
}

fn jpeg(image: impl Into<DynamicImage>) -> Vec<u8> {
    encoded(image, |image, file| image.write_with_encoder(JpegEncoder::new_with_quality(file, 95)).unwrap())
}

fn webp(image: impl Into<DynamicImage>) -> Vec<u8> {
    encoded(image, |image, file| image.write_with_encoder(WebPEncoder::new_lossless(file)).unwrap())
}

fn gif(frames: usize) -> Vec<u8> {
    let mut file = Vec::new();
    let mut encoder = GifEncoder::new(&mut file);
    for frame in 0..frames {
        let shade = u8::try_from(40 * frame).unwrap();
        encoder.encode_frame(Frame::new(RgbaImage::from_pixel(10, 10, Rgba([255, shade, 0, 255])))).unwrap();
    }
    drop(encoder);
    file
}

/// A chunk of a PNG file.
fn chunk(kind: &[u8; 4], data: &[u8]) -> Vec<u8> {
    let mut checked = flate2::Crc::new();
    checked.update(&[kind, data].concat());
    let length = u32::try_from(data.len()).unwrap().to_be_bytes();
    [&length[..], kind, data, &checked.sum().to_be_bytes()].concat()
}

fn deflated(data: impl Iterator<Item = Vec<u8>>) -> Vec<u8> {
    let mut encoder = ZlibEncoder::new(Vec::new(), Compression::fast());
    data.for_each(|data| encoder.write_all(&data).unwrap());
    encoder.finish().unwrap()
}

/// A PNG file that claims a size, with these chunks before its empty data.
fn claiming(width: u32, height: u32, between: &[u8]) -> Vec<u8> {
    let header = [&width.to_be_bytes()[..], &height.to_be_bytes(), &[8, 2, 0, 0, 0]].concat();
    let row = deflated([vec![0, 1, 2, 3]].into_iter());
    let chunks = [chunk(b"IHDR", &header), between.to_vec(), chunk(b"IDAT", &row), chunk(b"IEND", &[])];
    [b"\x89PNG\r\n\x1a\n".to_vec(), chunks.concat()].concat()
}

fn open_by(decoder: &PictureDecoder, file: &[u8]) -> Result<Pixels, BadPicture> {
    let picture = Arc::new(Picture::new(file.to_vec(), LIMITS.bytes)?);
    let shown = Shown { picture: Arc::clone(&picture), pointer: "/messages/0/content/1".into() };
    match decoder.open(std::iter::once(&shown)) {
        Ok(()) => Ok(picture.pixels().unwrap().clone()),
        Err(CannotOpen::Bad { pointer, reason }) => {
            assert_eq!(&*pointer, "/messages/0/content/1");
            assert_eq!(picture.pixels(), None);
            Err(reason)
        }
        Err(other) => panic!("{other}"),
    }
}

fn open(file: &[u8]) -> Result<Pixels, BadPicture> {
    let decoder = PictureDecoder::new(LIMITS);
    let opened = open_by(&decoder, file);
    assert_eq!(decoder.used(), 0, "what is dropped gives its memory back");
    opened
}

/// The pixel at a place.
fn at(pixels: &Pixels, x: u32, y: u32) -> [u8; 3] {
    let start = 3 * (y * pixels.width + x) as usize;
    pixels.rgb[start..start + 3].try_into().unwrap()
}

#[test]
fn a_picture_is_the_same_in_every_format() {
    let expected = open(&png(sides())).unwrap();
    assert_eq!((expected.width, expected.height), (40, 20));
    assert_eq!((at(&expected, 0, 0), at(&expected, 39, 19)), ([255, 0, 0], [0, 0, 255]));
    assert_eq!(open(&webp(sides())).unwrap(), expected);
    let lossy = open(&jpeg(sides())).unwrap();
    let near = |one: &u8, other: &u8| one.abs_diff(*other) < 16;
    let ends = [at(&lossy, 2, 2), at(&lossy, 37, 2)].map(|pixel| pixel.map(|channel| channel > 200));
    assert_eq!(ends, [[true, false, false], [false, false, true]]);
    assert!(lossy.rgb.iter().zip(&expected.rgb).filter(|(one, other)| near(one, other)).count() > 2_000);
    assert_eq!(at(&open(&gif(1)).unwrap(), 5, 5), [255, 0, 0]);
}

#[test]
fn other_colours_are_eight_bits_a_channel() {
    assert_eq!(at(&open(&jpeg(GrayImage::from_pixel(10, 10, Luma([128])))).unwrap(), 5, 5), [128; 3]);
    let deep = ImageBuffer::from_pixel(10, 10, Luma([40_000_u16]));
    assert_eq!(at(&open(&png(DynamicImage::ImageLuma16(deep))).unwrap(), 5, 5), [156; 3]);
}

#[test]
fn what_is_transparent_is_shown_over_white() {
    let hidden = RgbaImage::from_pixel(10, 10, Rgba([0, 255, 0, 0]));
    assert_eq!(at(&open(&png(hidden.clone())).unwrap(), 5, 5), [255; 3], "not the green that alpha hides");
    assert_eq!(at(&open(&webp(hidden)).unwrap(), 5, 5), [255; 3]);
    let half = RgbaImage::from_pixel(10, 10, Rgba([0, 0, 0, 51]));
    assert_eq!(at(&open(&png(half)).unwrap(), 5, 5), [204; 3], "a fifth of black");
}

#[test]
fn pictures_are_upright() {
    let turned = |pixels: Pixels, what: &str| {
        assert_eq!((pixels.width, pixels.height), (20, 40), "{what}");
        let ends = [at(&pixels, 2, 2), at(&pixels, 2, 37)].map(|[red, _, blue]| (red > 200, blue > 200));
        assert_eq!(ends, [(true, false), (false, true)], "{what}: left becomes top");
    };
    let mut file = Vec::new();
    let mut encoder = JpegEncoder::new_with_quality(&mut file, 95);
    encoder.set_exif_metadata(TURNED.to_vec()).unwrap();
    DynamicImage::from(sides()).write_with_encoder(encoder).unwrap();
    turned(open(&file).unwrap(), "JPEG");
    let mut file = Vec::new();
    let mut encoder = PngEncoder::new(&mut file);
    encoder.set_exif_metadata(TURNED.to_vec()).unwrap();
    DynamicImage::from(sides()).write_with_encoder(encoder).unwrap();
    turned(open(&file).unwrap(), "PNG");
    let mut file = Vec::new();
    let mut encoder = WebPEncoder::new_lossless(&mut file);
    encoder.set_exif_metadata(TURNED.to_vec()).unwrap();
    DynamicImage::from(sides()).write_with_encoder(encoder).unwrap();
    turned(open(&file).unwrap(), "WebP");
}

#[test]
fn files_that_end_too_early_are_refused() {
    for (name, file) in [
        ("PNG", png(noise(80, 60))),
        ("JPEG", jpeg(noise(80, 60))),
        ("WebP", webp(noise(80, 60))),
        ("GIF", {
            let mut file = Vec::new();
            GifEncoder::new(&mut file).encode(&noise(80, 60), 80, 60, image::ExtendedColorType::Rgb8).unwrap();
            file
        }),
    ] {
        assert!(open(&file).is_ok(), "{name}");
        for keep in [file.len() / 20, file.len() / 2, file.len() - 20] {
            assert!(open(&file[..keep]).is_err(), "{keep} of {} bytes of a {name}", file.len());
        }
    }
    let whole = jpeg(noise(80, 60));
    assert_eq!(open(&whole[..whole.len() - 2]), Err(BadPicture::CutOff), "the marker of the end alone");
    assert!(open(&[whole, vec![0; 100]].concat()).is_ok(), "bytes after the end, as cameras write them");
}

#[test]
fn damaged_files_are_refused() {
    let mut wrong = png(noise(80, 60));
    wrong[2_000] ^= 0xff;
    assert!(matches!(open(&wrong), Err(BadPicture::Damaged(_))), "a checksum");
    assert!(matches!(open(&claiming(0, 0, &[])), Err(BadPicture::Damaged(_))), "no pixels");
    assert!(open(b"\xff\xd8\xff").is_err() && open(b"GIF89a").is_err() && open(b"RIFF\0\0\0\0WEBP").is_err());
}

#[test]
fn what_is_no_picture_is_named() {
    for (file, expected) in [
        (&b""[..], BadPicture::Empty),
        (b"some text", BadPicture::NoImage),
        (b"ID3\x03\0", BadPicture::NoImage),
        (b"<svg xmlns=\"http://www.w3.org/2000/svg\"/>", BadPicture::Format("SVG")),
        (b"<?xml version=\"1.0\"?><svg/>", BadPicture::Format("SVG")),
        (b"II*\0\x08\0\0\0", BadPicture::Format("TIFF")),
        (b"BM\0\0\0\0", BadPicture::Format("BMP")),
        (b"\0\0\0\x1cftypavif", BadPicture::Format("AVIF")),
        (b"\0\0\0\x18ftypheic", BadPicture::Format("HEIC")),
        (b"%PDF-1.7", BadPicture::Format("PDF")),
    ] {
        assert_eq!(open(file), Err(expected));
    }
}

#[test]
fn animations_are_refused() {
    assert_eq!(open(&gif(3)), Err(BadPicture::Animated));
    let control = chunk(b"acTL", &[0, 0, 0, 2, 0, 0, 0, 0]);
    let frame = [&0_u32.to_be_bytes()[..], &1_u32.to_be_bytes(), &1_u32.to_be_bytes(), &[0; 8], &[0, 1, 0, 10, 0, 0]];
    let moving = claiming(1, 1, &[control, chunk(b"fcTL", &frame.concat())].concat());
    assert_eq!(open(&moving), Err(BadPicture::Animated));
    // A WebP file whose header has the flag of an animation, with one empty frame.
    let part = |kind: &[u8; 4], data: &[u8]| {
        let length = u32::try_from(data.len()).unwrap().to_le_bytes();
        [&kind[..], &length, data].concat()
    };
    let still = webp(RgbImage::from_pixel(1, 1, Rgb([1, 2, 3])));
    let frame = [&[0; 16][..], &still[12..]].concat();
    let parts = [
        part(b"VP8X", &[0b10, 0, 0, 0, 0, 0, 0, 0, 0, 0]),
        part(b"ANIM", &[0; 6]),
        part(b"ANMF", &frame),
        part(b"ANMF", &frame),
    ];
    let body = [b"WEBP".to_vec(), parts.concat()].concat();
    assert_eq!(open(&part(b"RIFF", &body)), Err(BadPicture::Animated));
}

#[test]
fn pictures_that_are_too_large_are_refused_by_their_headers() {
    let large = |width, height| Err(BadPicture::Pixels { width, height, most: LIMITS.pixels });
    assert_eq!(open(&claiming(30_000, 30_000, &[])), large(30_000, 30_000));
    assert_eq!(open(&claiming(4_001, 4_000, &[])), large(4_001, 4_000));
    assert_eq!(open(&png(RgbImage::new(4_001, 4_000))), large(4_001, 4_000), "whatever it compresses to");
    let mut canvas = gif(1);
    canvas[6..10].copy_from_slice(&[0xff; 4]);
    assert_eq!(open(&canvas), large(65_535, 65_535));
    let thin = |width, height| Err(BadPicture::Aspect { width, height, most: 200 });
    assert_eq!(open(&png(RgbImage::new(1, 201))), thin(1, 201));
    assert_eq!(open(&png(RgbImage::new(403, 2))), thin(403, 2));
    assert!(open(&png(RgbImage::new(1, 200))).is_ok() && open(&png(RgbImage::new(1, 1))).is_ok());
    let bytes = LIMITS.bytes + 1;
    assert_eq!(open(&vec![0; bytes]), Err(BadPicture::Bytes { bytes, most: LIMITS.bytes }));
}

#[test]
fn a_profile_that_inflates_is_not_inflated_without_limit() {
    let zeros = deflated(std::iter::repeat_n(vec![0; 1 << 20], 40));
    let profile = chunk(b"iCCP", &[b"x\0\0".to_vec(), zeros].concat());
    let opened = open(&claiming(1, 1, &profile));
    assert!(opened.is_ok() || matches!(opened, Err(BadPicture::Damaged(_))), "{opened:?}");
}

#[test]
fn what_requests_hold_is_limited() {
    let limits = PictureLimits { memory: 3 * 800, all_pixels: 1_000, ..LIMITS };
    let decoder = PictureDecoder::new(limits);
    let shown = |file: Vec<u8>, pointer: &str| Shown {
        picture: Arc::new(Picture::new(file, limits.bytes).unwrap()),
        pointer: pointer.into(),
    };
    let first = shown(png(sides()), "/1");
    decoder.open(std::iter::once(&first)).unwrap();
    assert_eq!(decoder.used(), 3 * 800);
    decoder.open(std::iter::once(&first)).unwrap();
    assert_eq!(decoder.used(), 3 * 800, "it is decoded once");
    let second = shown(jpeg(sides()), "/2");
    assert_eq!(decoder.open(std::iter::once(&second)), Err(CannotOpen::NoMemory));
    let too_many = decoder.open([&first, &second].into_iter());
    assert_eq!(too_many, Err(CannotOpen::TooLarge { pointer: "/2".into(), pixels: 1_600, most: 1_000 }));
    drop(first);
    decoder.open(std::iter::once(&second)).unwrap();
    drop(second);
    assert_eq!(decoder.used(), 0);
}

#[test]
fn a_picture_is_told_by_its_digest_and_never_written_out() {
    let one = Arc::new(Picture::new(png(sides()), LIMITS.bytes).unwrap());
    let same = Arc::new(Picture::new(png(sides()), LIMITS.bytes).unwrap());
    let other = Arc::new(Picture::new(webp(sides()), LIMITS.bytes).unwrap());
    assert!(one == same && one != other);
    let shown = |picture: &Arc<Picture>, pointer: &str| Shown { picture: Arc::clone(picture), pointer: pointer.into() };
    assert_eq!(shown(&one, "/a"), shown(&same, "/b"));
    assert_eq!(one.sha256().len(), 64);
    let beginning = &one.sha256()[..12];
    assert_eq!(format!("{:?}", shown(&one, "/a")), format!("‹picture sha256:{beginning}…› at /a"));
    PictureDecoder::new(LIMITS).open(std::iter::once(&shown(&one, "/a"))).unwrap();
    assert_eq!(one.mention(), format!("‹picture sha256:{beginning}… 40×20›"));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn no_bytes_make_the_decoder_panic(kind in 0..4_usize, changes in proptest::collection::vec((any::<u16>(), any::<u8>()), 1..8)) {
        let mut file = match kind {
            0 => png(noise(9, 7)),
            1 => jpeg(noise(9, 7)),
            2 => webp(noise(9, 7)),
            _ => gif(1),
        };
        let length = file.len();
        for (place, byte) in changes {
            file[usize::from(place) % length] = byte;
        }
        if let Ok(pixels) = open(&file) {
            prop_assert_eq!(pixels.rgb.len(), 3 * (pixels.width * pixels.height) as usize);
        }
    }
}

#[test]
fn sixty_four_threads_decode_one_picture_once() {
    let decoder = PictureDecoder::new(PictureLimits { memory: 3 * 4_800, ..LIMITS });
    let picture = Arc::new(Picture::new(png(noise(80, 60)), LIMITS.bytes).unwrap());
    std::thread::scope(|scope| {
        for _ in 0..64 {
            let shown = Shown { picture: Arc::clone(&picture), pointer: "/".into() };
            let decoder = &decoder;
            scope.spawn(move || decoder.open(std::iter::once(&shown)).unwrap());
        }
    });
    assert_eq!(decoder.used(), 3 * 4_800);
    let mut file = Cursor::new(picture.file());
    let expected = image::ImageReader::new(&mut file).with_guessed_format().unwrap().decode().unwrap();
    assert_eq!(picture.pixels().unwrap().rgb, expected.into_rgb8().into_raw());
}
