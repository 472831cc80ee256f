//! Parts of messages, with pictures in the forms of OpenAI and Anthropic.

use std::sync::Arc;

use base64::Engine;
use base64::alphabet::STANDARD;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use serde_json::Value;

use super::problem::{Code, Problem};
use crate::domain::{InvalidRequest, Item, Part};
use crate::pictures::{BadPicture, Picture, PictureLimits, Shown};

/// Base64 without the padding at its end.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    GeneralPurposeConfig::new()
        .with_decode_padding_mode(DecodePaddingMode::RequireNone)
        .with_decode_allow_trailing_bits(true),
);

/// The fields of a part with a picture.
const FIELDS: [&str; 4] = ["type", "image_url", "detail", "source"];

/// Reads the pictures of a request, up to their number.
pub(super) struct PictureReader {
    limits: PictureLimits,
    read: usize,
}

impl PictureReader {
    /// A reader for one conversation.
    pub(super) fn new(limits: &PictureLimits) -> Self {
        Self { limits: *limits, read: 0 }
    }

    /// A reader for what comes after the conversation of an item.
    pub(super) fn after(item: &Item, limits: &PictureLimits) -> Self {
        Self { limits: *limits, read: item.instruction.pictures().count() }
    }

    /// A part that is not a text: a picture of the type `image_url`, `input_image` or `image`. Fields that are not known
    /// are an error if it is `strict`. The type that the sender gives for the data does not count, nor does `detail`.
    ///
    /// # Errors
    /// `unsupported_content` for what is no picture, or is not sent with the request; `invalid_request` for one that
    /// cannot be read or is too large.
    pub(super) fn part(&mut self, part: &Value, at: &str, strict: bool) -> Result<Part, Problem> {
        let kind = part["type"].as_str().unwrap_or("a part without a type");
        let unknown = part.as_object().into_iter().flatten().find(|(field, _)| !FIELDS.contains(&field.as_str()));
        let file = match (kind, unknown) {
            ("image_url" | "input_image" | "image", Some((field, _))) if strict => {
                return Err(
                    Problem::new(Code::UnknownField, format!("`{field}` is not known")).at(format!("{at}/{field}"))
                );
            }
            ("image_url" | "input_image", _) => self.of_url(part, at)?,
            ("image", _) => self.of_source(&part["source"], at)?,
            (kind, _) => {
                let detail = format!("models read text and pictures only, not `{kind}`");
                return Err(Problem::new(Code::UnsupportedContent, detail).at(at));
            }
        };
        self.read += 1;
        if self.read > self.limits.each_request {
            let most = self.limits.each_request;
            let reason = format!("there are more than {most} pictures, the most of a request (pictures.each_request)");
            return Err(InvalidRequest::at(at, reason).into());
        }
        let picture = Picture::new(file, self.limits.bytes).map_err(|reason| Problem::of_picture(&reason, at))?;
        Ok(Part::Picture(Shown { picture: Arc::new(picture), pointer: at.into() }))
    }

    /// The file of `image_url`: a data URL, or an object with one.
    fn of_url(&self, part: &Value, at: &str) -> Result<Vec<u8>, Problem> {
        let url = part["image_url"].as_str().or_else(|| part["image_url"]["url"].as_str());
        match url {
            Some(url) => self.of_data_url(url, at),
            None if part["file_id"].is_string() => {
                let detail = "pictures are not stored; send the picture itself as a data URL in `image_url`";
                Err(Problem::new(Code::UnsupportedContent, detail).at(at))
            }
            None => {
                let reason = "a picture needs `image_url`: a data URL, or an object with the data URL as `url`";
                Err(InvalidRequest::at(at, reason).into())
            }
        }
    }

    /// The file of `source`, as Anthropic's API has it.
    fn of_source(&self, source: &Value, at: &str) -> Result<Vec<u8>, Problem> {
        match (source["type"].as_str(), source["data"].as_str(), source["url"].as_str()) {
            (Some("base64"), Some(data), _) => self.decoded(data, at),
            (Some("url"), _, Some(url)) => self.of_data_url(url, at),
            _ => {
                let reason = "a picture needs a `source` of the type `base64`, with the file in base64 as `data`";
                Err(InvalidRequest::at(at, reason).into())
            }
        }
    }

    fn of_data_url(&self, url: &str, at: &str) -> Result<Vec<u8>, Problem> {
        const EXAMPLE: &str = "send the picture itself as data:image/png;base64,…";
        let url = url.trim_start();
        let begins = |scheme: &str| url.get(..scheme.len()).is_some_and(|head| head.eq_ignore_ascii_case(scheme));
        if !begins("data:") {
            let detail = if begins("http:") || begins("https:") {
                format!("addresses are not fetched; {EXAMPLE}")
            } else {
                format!("only data URLs are read; {EXAMPLE}")
            };
            return Err(Problem::new(Code::UnsupportedContent, detail).at(at));
        }
        match url.split_once(',') {
            Some((head, data)) if head.to_ascii_lowercase().ends_with(";base64") => self.decoded(data, at),
            _ => Err(InvalidRequest::at(at, format!("the data URL is not in base64; {EXAMPLE}")).into()),
        }
    }

    /// The bytes of a base64 text, in the standard alphabet or that of URLs, with or without padding and white space.
    fn decoded(&self, text: &str, at: &str) -> Result<Vec<u8>, Problem> {
        let plain = text.bytes().filter(|byte| !byte.is_ascii_whitespace()).map(|byte| match byte {
            b'-' => b'+',
            b'_' => b'/',
            other => other,
        });
        let mut plain: Vec<u8> = plain.collect();
        while plain.last() == Some(&b'=') {
            plain.pop();
        }
        let (bytes, most) = (plain.len() / 4 * 3, self.limits.bytes);
        if bytes > most {
            return Err(Problem::of_picture(&BadPicture::Bytes { bytes, most }, at));
        }
        BASE64.decode(&plain).map_err(|error| InvalidRequest::at(at, format!("the data is not base64: {error}")).into())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    const LIMITS: PictureLimits =
        PictureLimits { bytes: 64, pixels: 100, each_request: 2, all_pixels: 100, decoding: 1, memory: 1_000 };
    /// `GIF89a??>` in base64; it has both characters in which the alphabets differ.
    const GIF: &str = "R0lGODlhPz8+/+4=";

    fn read(part: &Value) -> Result<Vec<u8>, Problem> {
        match PictureReader::new(&LIMITS).part(part, "/at", true)? {
            Part::Picture(shown) => Ok(shown.picture.file().to_vec()),
            Part::Text(text) => panic!("{text}"),
        }
    }

    #[test]
    fn pictures_are_read_in_the_forms_of_both_apis() {
        let url = format!("data:image/png;base64,{GIF}");
        let url_safe = GIF.replace('+', "-").replace('/', "_");
        let wrapped = format!("DATA:;BASE64,\n{}\r\n {}", &GIF[..5], GIF[5..].trim_end_matches('='));
        for part in [
            json!({"type": "image_url", "image_url": {"url": url, "detail": "low"}}),
            json!({"type": "image_url", "image_url": url}),
            json!({"type": "image_url", "image_url": {"url": wrapped}}),
            json!({"type": "input_image", "image_url": url, "detail": "high"}),
            json!({"type": "input_image", "image_url": format!("data:text/plain;base64,{url_safe}")}),
            json!({"type": "image", "source": {"type": "base64", "media_type": "image/jpeg", "data": GIF}}),
        ] {
            assert_eq!(read(&part).unwrap(), b"GIF89a??>\xff\xee", "{part}");
        }
    }

    #[test]
    fn what_is_no_picture_is_refused_with_its_place() {
        let url = |url: &str| json!({"type": "image_url", "image_url": {"url": url}});
        let long = format!("data:image/gif;base64,{}", "R0lG".repeat(22));
        let (unsupported, invalid) = (Code::UnsupportedContent, Code::InvalidRequest);
        for (part, code, says) in [
            (json!({"type": "input_audio", "input_audio": {}}), unsupported, "`input_audio`"),
            (json!({"type": "image_url"}), invalid, "needs `image_url`"),
            (json!({"type": "image", "source": {"type": "file"}}), invalid, "needs a `source`"),
            (url("https://example.com/a.png"), unsupported, "addresses are not fetched"),
            (url("HTTP://127.0.0.1/"), unsupported, "addresses are not fetched"),
            (url("file:///etc/passwd"), unsupported, "only data URLs"),
            (url(""), unsupported, "only data URLs"),
            (url("data:image/svg+xml,<svg/>"), invalid, "not in base64"),
            (url("data:image/png;base64,R0lG!"), invalid, "the data is not base64"),
            (url("data:image/png;base64,R0=G"), invalid, "the data is not base64"),
            (url("data:image/png;base64,"), invalid, "empty"),
            (url("data:image/png;base64,aGVsbG8="), invalid, "not an image"),
            (url(&long), invalid, "66 bytes; at most 64"),
        ] {
            let problem = read(&part).unwrap_err();
            assert_eq!((problem.code(), problem.pointer()), (code, Some("/at")), "{part}: {problem}");
            assert!(problem.detail().contains(says), "{part}: {problem}");
        }
        let stored = json!({"type": "input_image", "file_id": "file_1"});
        let problem = read(&stored).unwrap_err();
        assert_eq!((problem.code(), problem.pointer()), (Code::UnknownField, Some("/at/file_id")));
        let problem = PictureReader::new(&LIMITS).part(&stored, "/at", false).unwrap_err();
        assert!(problem.detail().contains("pictures are not stored"), "{problem}");
    }

    #[test]
    fn a_conversation_has_only_so_many_pictures() {
        let part = json!({"type": "image_url", "image_url": format!("data:;base64,{GIF}")});
        let mut reader = PictureReader::new(&LIMITS);
        assert!(reader.part(&part, "/0", true).is_ok() && reader.part(&part, "/1", true).is_ok());
        let problem = reader.part(&part, "/2", true).unwrap_err();
        assert_eq!(problem.pointer(), Some("/2"));
        assert!(problem.detail().contains("more than 2 pictures"), "{problem}");
    }

    proptest! {
        #[test]
        fn any_bytes_come_through_base64(bytes in proptest::collection::vec(any::<u8>(), 0..40), gaps in "[ \n]{0,3}") {
            let file = [b"GIF89a".to_vec(), bytes].concat();
            let encoded = base64::engine::general_purpose::STANDARD.encode(&file);
            let url = format!("data:image/gif;base64,{gaps}{encoded}{gaps}");
            prop_assert_eq!(read(&json!({"type": "image_url", "image_url": url})).unwrap(), file);
        }
    }
}
