//! Reads JSON bodies: bounded in size and time, in UTF-8, with a pointer to whatever is wrong.

use actix_web::dev::Decompress;
use actix_web::error::PayloadError;
use actix_web::http::header::{CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE};
use actix_web::{HttpRequest, web};
use futures::{Stream, StreamExt};
use serde::de::{DeserializeOwned, Deserializer, MapAccess, Visitor, value::MapAccessDeserializer};

use super::problem::{Code, Problem};
use super::wire;
use crate::app::App;
use crate::json_text::readable;

/// How much of a refused body is read on, so that the caller reads the answer and not a reset connection.
const DRAINED: usize = 128 << 20;

/// Bytes of a body above which it is parsed away from the thread that serves others: some milliseconds.
const LARGE: usize = 1 << 20;

/// Reads a JSON object of at most `limit` bytes. Unknown fields are an error.
///
/// # Errors
/// `unsupported_media_type`, `payload_too_large`, `deadline_exceeded`, `malformed_json`, `invalid_request`,
/// `unknown_field`.
pub(super) async fn json<T: DeserializeOwned + Send + 'static>(
    request: &HttpRequest,
    payload: web::Payload,
    limit: usize,
) -> Result<T, Problem> {
    body(request, payload, limit, parse).await
}

/// The same, with unknown fields ignored: for the protocols of others.
///
/// # Errors
/// `unsupported_media_type`, `payload_too_large`, `deadline_exceeded`, `malformed_json`, `invalid_request`.
pub(super) async fn lenient<T: DeserializeOwned + Send + 'static>(
    request: &HttpRequest,
    payload: web::Payload,
    limit: usize,
) -> Result<T, Problem> {
    body(request, payload, limit, |body| parsed(body, true)).await
}

async fn body<T: Send + 'static>(
    request: &HttpRequest,
    payload: web::Payload,
    limit: usize,
    parse: fn(&[u8]) -> Result<T, Problem>,
) -> Result<T, Problem> {
    let app = request.app_data::<web::Data<App>>();
    let app = app.ok_or_else(|| Problem::new(Code::Internal, "there is no server behind this route"))?;
    // The framework bounds the time that a head may take, but not that of a body.
    let asked = wire::deadline(request, app);
    let deadline = asked.as_ref().copied().unwrap_or(wire::ceiling(request, app));
    let body = deadline.within(received(request, payload, limit)).await??;
    asked?;
    if body.len() < LARGE {
        return parse(&body);
    }
    let parsed = web::block(move || parse(&body)).await;
    parsed.map_err(|_| Problem::new(Code::Internal, "the body could not be parsed"))?
}

/// The bytes of a body that says it is JSON.
async fn received(request: &HttpRequest, payload: web::Payload, limit: usize) -> Result<Vec<u8>, Problem> {
    let encoding = request.headers().get(CONTENT_ENCODING).map_or("identity", |value| value.to_str().unwrap_or("?"));
    if !["identity", "gzip", "deflate"].contains(&encoding.trim().to_ascii_lowercase().as_str()) {
        drain(payload).await;
        let detail = format!("the body's encoding `{encoding}` is not understood; gzip is");
        return Err(Problem::new(Code::UnsupportedMediaType, detail));
    }
    let body = read(request, payload, limit).await?;
    let is_json = request.headers().get(CONTENT_TYPE).is_none_or(|kind| {
        let kind = kind.to_str().unwrap_or_default().split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
        kind == "application/json" || kind.ends_with("+json")
    });
    if !is_json {
        return Err(Problem::new(Code::UnsupportedMediaType, "the body must be application/json"));
    }
    Ok(body)
}

async fn read(request: &HttpRequest, payload: web::Payload, limit: usize) -> Result<Vec<u8>, Problem> {
    let announced = request.headers().get(CONTENT_LENGTH).and_then(|v| v.to_str().ok()?.parse::<usize>().ok());
    let mut chunks = Decompress::from_headers(payload.into_inner(), request.headers());
    let mut body = Vec::new();
    let mut too_large = announced.is_some_and(|length| length > limit);
    while let (false, Some(chunk)) = (too_large, chunks.next().await) {
        let chunk = chunk.map_err(unreadable)?;
        too_large = body.len() + chunk.len() > limit;
        body.extend_from_slice(&chunk);
    }
    if too_large {
        drain(chunks).await;
        return Err(Problem::new(Code::PayloadTooLarge, format!("the body has more than {limit} bytes")));
    }
    Ok(body)
}

fn unreadable(error: PayloadError) -> Problem {
    match error {
        PayloadError::UnknownLength | PayloadError::EncodingCorrupted => {
            Problem::new(Code::UnsupportedMediaType, "the body cannot be decompressed; gzip is understood")
        }
        other => Problem::new(Code::MalformedJson, format!("the body could not be read: {other}")),
    }
}

async fn drain(mut chunks: impl Stream<Item = Result<web::Bytes, PayloadError>> + Unpin) {
    let mut left = DRAINED;
    while let (true, Some(Ok(chunk))) = (left > 0, chunks.next().await) {
        left = left.saturating_sub(chunk.len());
    }
}

/// Parses a JSON object. Unknown fields are an error.
///
/// # Errors
/// `malformed_json`, `invalid_request`, `unknown_field`, with a JSON pointer.
pub(super) fn parse<T: DeserializeOwned>(body: &[u8]) -> Result<T, Problem> {
    parsed(body, false)
}

fn parsed<T: DeserializeOwned>(body: &[u8], lenient: bool) -> Result<T, Problem> {
    let text = std::str::from_utf8(body).map_err(|error| {
        Problem::new(Code::MalformedJson, format!("the body is not UTF-8 from byte {}", error.valid_up_to()))
    })?;
    let text = readable(text);
    let mut json = serde_json::Deserializer::from_str(&text);
    let parsed = tracked(&mut json, "", lenient)?;
    json.end().map_err(|error| Problem::new(Code::MalformedJson, error.to_string()))?;
    Ok(parsed)
}

/// Parses a part of a body that was read as JSON before; `base` is its pointer.
///
/// # Errors
/// `invalid_request`, `unknown_field`.
pub(super) fn parse_value<T: DeserializeOwned>(value: &serde_json::Value, base: &str) -> Result<T, Problem> {
    tracked(value, base, false)
}

/// The same, with unknown fields ignored.
///
/// # Errors
/// `invalid_request`.
pub(super) fn parse_lenient<T: DeserializeOwned>(value: &serde_json::Value, base: &str) -> Result<T, Problem> {
    tracked(value, base, true)
}

fn tracked<'de, T: DeserializeOwned, D>(source: D, base: &str, lenient: bool) -> Result<T, Problem>
where
    D: Deserializer<'de, Error = serde_json::Error>,
{
    let mut unknown = None;
    let mut track = serde_path_to_error::Track::new();
    let parsed = serde_ignored::deserialize::<_, _, Object<T>>(
        serde_path_to_error::Deserializer::new(source, &mut track),
        |path| {
            unknown.get_or_insert_with(|| format!("{base}{}", pointer(&path)));
        },
    );
    match (parsed, unknown) {
        (Ok(_), Some(pointer)) if !lenient => {
            Err(Problem::new(Code::UnknownField, format!("`{pointer}` is not known")).at(pointer))
        }
        (Ok(Object(parsed)), _) => Ok(parsed),
        (Err(error), _) if error.is_data() => {
            let message = error.to_string();
            let message = message.split(" at line ").next().unwrap_or_default();
            let mut pointer = format!("{base}{}", path_pointer(&track.path()));
            // serde blames the object for a field that is not in it.
            if let Some(field) = message.strip_prefix("missing field `").and_then(|rest| rest.strip_suffix('`')) {
                pointer = format!("{pointer}/{field}");
            }
            Err(Problem::new(Code::InvalidRequest, message).at(pointer))
        }
        (Err(error), _) => Err(Problem::new(Code::MalformedJson, error.to_string())),
    }
}

fn pointer(path: &serde_ignored::Path<'_>) -> String {
    use serde_ignored::Path;
    match path {
        Path::Root => String::new(),
        Path::Seq { parent, index } => format!("{}/{index}", pointer(parent)),
        Path::Map { parent, key } => format!("{}/{}", pointer(parent), escaped(key)),
        Path::Some { parent } | Path::NewtypeStruct { parent } | Path::NewtypeVariant { parent } => pointer(parent),
    }
}

fn path_pointer(path: &serde_path_to_error::Path) -> String {
    use serde_path_to_error::Segment;
    path.iter()
        .map(|segment| match segment {
            Segment::Seq { index } => format!("/{index}"),
            Segment::Map { key } => format!("/{}", escaped(key)),
            Segment::Enum { variant } => format!("/{}", escaped(variant)),
            Segment::Unknown => String::new(),
        })
        .collect()
}

fn escaped(key: &str) -> String {
    key.replace('~', "~0").replace('/', "~1")
}

/// A struct that is read from an object only: serde would take an array for it as well.
#[derive(Debug)]
pub(super) struct Object<T>(pub(super) T);

impl<'de, T: serde::Deserialize<'de>> serde::Deserialize<'de> for Object<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct OfMap<T>(std::marker::PhantomData<T>);
        impl<'de, T: serde::Deserialize<'de>> Visitor<'de> for OfMap<T> {
            type Value = T;
            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("a JSON object")
            }
            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<T, A::Error> {
                T::deserialize(MapAccessDeserializer::new(map))
            }
        }
        deserializer.deserialize_map(OfMap(std::marker::PhantomData)).map(Object)
    }
}

/// For fields: an optional struct that is read from an object or null only.
///
/// # Errors
/// Those of the struct.
pub(super) fn object_or_null<'de, T, D>(deserializer: D) -> Result<Option<T>, D::Error>
where
    T: serde::Deserialize<'de>,
    D: Deserializer<'de>,
{
    let object: Option<Object<T>> = serde::Deserialize::deserialize(deserializer)?;
    Ok(object.map(|Object(inner)| inner))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, serde::Deserialize)]
    #[allow(dead_code)]
    struct Outer {
        count: u32,
        #[serde(default, deserialize_with = "object_or_null")]
        inner: Option<Inner>,
        list: Option<Vec<Inner>>,
    }

    #[derive(Debug, serde::Deserialize)]
    #[allow(dead_code)]
    struct Inner {
        name: Option<String>,
    }

    #[test]
    fn every_mistake_has_its_code_and_pointer() {
        let check = |body: &[u8], code: &str, pointer: Option<&str>| {
            let problem = parse::<Outer>(body).unwrap_err();
            let found = problem.body("", "").pointer;
            assert_eq!(
                (problem.code().name(), found.as_deref()),
                (code, pointer),
                "{}: {problem}",
                String::from_utf8_lossy(body)
            );
        };
        check(b"{", "malformed_json", None);
        check(b"", "malformed_json", None);
        check(b"{\"count\": 1} x", "malformed_json", None);
        check(b"{\"count\": 1, \"list\": \xff}", "malformed_json", None);
        check(b"[1]", "invalid_request", Some(""));
        check(b"\"x\"", "invalid_request", Some(""));
        check(b"{}", "invalid_request", Some("/count"));
        check(b"{\"count\": -1}", "invalid_request", Some("/count"));
        check(b"{\"count\": 1, \"inner\": [\"a\"]}", "invalid_request", Some("/inner"));
        check(b"{\"count\": 1, \"other\": 2}", "unknown_field", Some("/other"));
        check(b"{\"count\": 1, \"a/b\": 2}", "unknown_field", Some("/a~1b"));
        check(b"{\"count\": 1, \"inner\": {\"nane\": \"x\"}}", "unknown_field", Some("/inner/nane"));
        check(b"{\"count\": 1, \"list\": [{}, {\"name\": 1}]}", "invalid_request", Some("/list/1/name"));
        parse::<Outer>(b"{\"count\": 1, \"inner\": null}").unwrap();
        parse::<Outer>(b"\xef\xbb\xbf{\"count\": 1, \"inner\": {\"name\": \"\\ud83d\"}}\r\n").unwrap();
    }
}
