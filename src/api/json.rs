//! Reads JSON bodies in UTF-8, with limits of size and time, and with a pointer to each error.

use std::sync::Arc;

use actix_web::{HttpMessage, HttpRequest, web};
use serde::de::{DeserializeOwned, Deserializer, MapAccess, Visitor, value::MapAccessDeserializer};

use super::body::{self, Bodies, Held};
use super::body_scan::{escaped, scan};
use super::context;
use super::problem::{Code, Problem};
use super::recorded::{self, RawBody};
use crate::app::App;
use crate::domain::spelling::{nearest, suggestion};
use crate::json_text::readable;
use crate::service::ServiceError;

/// Bodies with more bytes are parsed on a blocking thread, because that takes some milliseconds.
const LARGE: usize = 1 << 20;
/// Maximum length of an error detail, in characters; parsers quote the invalid input.
const LONGEST_DETAIL: usize = 500;

/// The limits of a route's bodies.
struct BodyLimits {
    /// Maximum number of bytes after decompression.
    limit: usize,
    /// Maximum number of entries in each top-level list, for bulk routes.
    items: Option<usize>,
    /// Whether the body is refused while admission is closed.
    admitted: bool,
}

/// Reads a JSON object of at most `limit` bytes. Unknown fields are an error.
///
/// # Errors
/// `saturated`, `shutting_down`, `unsupported_media_type`, `payload_too_large`, `deadline_exceeded`, `malformed_json`,
/// `invalid_request`, `unknown_field`.
pub(super) async fn strict<T: DeserializeOwned + Send + 'static>(
    request: &HttpRequest,
    payload: web::Payload,
    limit: usize,
) -> Result<T, Problem> {
    read(request, payload, |_| BodyLimits { limit, items: None, admitted: true }, parse).await
}

/// The same with a parser of its own.
///
/// # Errors
/// Those of [`strict`] and of the parser.
pub(super) async fn strict_by<T: Send + 'static>(
    request: &HttpRequest,
    payload: web::Payload,
    limit: usize,
    parse: fn(&[u8]) -> Result<T, Problem>,
) -> Result<T, Problem> {
    read(request, payload, |_| BodyLimits { limit, items: None, admitted: true }, parse).await
}

/// The same without admission control, for routes that need no engine.
///
/// # Errors
/// Those of [`strict`].
pub(super) async fn strict_unadmitted<T: DeserializeOwned + Send + 'static>(
    request: &HttpRequest,
    payload: web::Payload,
    limit: usize,
) -> Result<T, Problem> {
    read(request, payload, |_| BodyLimits { limit, items: None, admitted: false }, parse).await
}

/// The same for bulk routes, with their limits.
///
/// # Errors
/// Those of [`strict`].
pub(super) async fn strict_bulk<T: DeserializeOwned + Send + 'static>(
    request: &HttpRequest,
    payload: web::Payload,
) -> Result<T, Problem> {
    read(request, payload, bulk_limits, parse).await
}

/// The same, but unknown fields are ignored: for other protocols.
///
/// # Errors
/// Those of [`strict`], except `unknown_field`.
pub(super) async fn lenient_bulk<T: DeserializeOwned + Send + 'static>(
    request: &HttpRequest,
    payload: web::Payload,
) -> Result<T, Problem> {
    read(request, payload, bulk_limits, |body| parsed(body, true)).await
}

/// [`strict`], but unknown fields are ignored: for other protocols.
///
/// # Errors
/// Those of [`strict`], except `unknown_field`.
pub(super) async fn lenient<T: DeserializeOwned + Send + 'static>(
    request: &HttpRequest,
    payload: web::Payload,
    limit: usize,
) -> Result<T, Problem> {
    read(request, payload, |_| BodyLimits { limit, items: None, admitted: true }, |body| parsed(body, true)).await
}

fn bulk_limits(app: &App) -> BodyLimits {
    let limits = &app.config.limits;
    BodyLimits { limit: limits.bulk_body_bytes, items: Some(limits.items), admitted: true }
}

async fn read<T: Send + 'static>(
    request: &HttpRequest,
    payload: web::Payload,
    limits: impl Fn(&App) -> BodyLimits,
    parse: fn(&[u8]) -> Result<T, Problem>,
) -> Result<T, Problem> {
    let (app, bodies) = (request.app_data::<web::Data<App>>(), request.app_data::<web::Data<Arc<Bodies>>>());
    let (Some(app), Some(bodies)) = (app, bodies) else {
        return Err(Problem::new(Code::Internal, "internal error: the route has no application state"));
    };
    let BodyLimits { limit, items, admitted } = limits(app);
    let refusal = app.admission.check().err().filter(|_| admitted).map(|refusal| ServiceError::from(refusal).into());
    // The framework limits the time of a head, but not of a body.
    let asked = context::deadline(request, app);
    let deadline = asked.as_ref().copied().unwrap_or(context::ceiling(request, app));
    let received = body::receive(request, payload.into_inner(), limit, Held::new(bodies), refusal);
    let received = app.admission.shutdown.unless_cut_off(deadline.within(received)).await;
    let received = received.map_err(ServiceError::from)???;
    asked?;
    let small = received.plain_len().is_some_and(|length| length < LARGE);
    let keeps = recorded::keeps_body(request);
    let work = move || -> Result<(T, Held, Option<RawBody>), Problem> {
        let (body, held) = received.inflated(limit)?;
        scan(&body, items)?;
        let parsed = parse(&body)?;
        Ok((parsed, held, keeps.then(|| RawBody(body.into()))))
    };
    let parsed = if small {
        work()
    } else {
        let parsed = web::block(work).await;
        parsed.map_err(|_| Problem::new(Code::Internal, "the body could not be parsed"))?
    };
    let (parsed, held, raw) = parsed?;
    // The read bytes live as long as their request.
    request.extensions_mut().insert(held);
    raw.map(|raw| request.extensions_mut().insert(raw));
    Ok(parsed)
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
        Problem::new(Code::MalformedJson, format!("the body is not valid UTF-8 (at byte {})", error.valid_up_to()))
    })?;
    let text = readable(text);
    let mut json = serde_json::Deserializer::from_str(&text);
    let parsed = tracked(&mut json, "", lenient)?;
    json.end().map_err(|error| Problem::new(Code::MalformedJson, error.to_string()))?;
    Ok(parsed)
}

/// Parses a part of a body that is already JSON; `base` is its pointer.
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
            let detail = format!("unknown field `{pointer}`{}", meant(&pointer));
            Err(Problem::new(Code::UnknownField, detail).at(pointer))
        }
        (Ok(Object(parsed)), _) => Ok(parsed),
        (Err(error), unknown) if error.is_data() => {
            let message = error.to_string();
            let mut message = message.split(" at line ").next().unwrap_or_default().to_owned();
            let mut pointer = format!("{base}{}", path_pointer(&track.path()));
            // serde reports a missing field at its object.
            if let Some(field) = message.strip_prefix("missing field `").and_then(|rest| rest.strip_suffix('`')) {
                pointer = format!("{pointer}/{field}");
                // It may be there under another name.
                let misspelt =
                    unknown.filter(|unknown| last(unknown).is_some_and(|name| nearest(name, [field]).is_some()));
                if let Some(misspelt) = misspelt {
                    message = format!("{message}; did you mean it by `{misspelt}`?");
                }
            }
            let message: String = message.chars().take(LONGEST_DETAIL).collect();
            Err(Problem::new(Code::InvalidRequest, message).at(pointer))
        }
        (Err(error), _) => Err(Problem::new(Code::MalformedJson, error.to_string())),
    }
}

/// The fields of Gavel's own requests, sorted.
pub(super) const FIELDS: [&str; 82] = [
    "against",
    "annotator",
    "budget",
    "cache",
    "claims",
    "combine",
    "content",
    "context",
    "count",
    "criterion",
    "debug",
    "descriptions",
    "deterministic",
    "draw",
    "end",
    "enqueue",
    "examples",
    "feedback",
    "flip",
    "from",
    "gate",
    "gates",
    "group",
    "id",
    "include",
    "instruction",
    "items",
    "judges",
    "jury",
    "labels",
    "max",
    "max_feedback_tokens",
    "max_thought_tokens",
    "meaning",
    "messages",
    "method",
    "min_feedback_tokens",
    "min_label_mass",
    "min_margin",
    "min_p",
    "mode",
    "model",
    "name",
    "noise",
    "normalize",
    "pairs",
    "preference",
    "prompt",
    "question",
    "questions",
    "quorum",
    "reference_answer",
    "refined",
    "response",
    "response_a",
    "response_b",
    "responses",
    "reviewers",
    "reward",
    "role",
    "route",
    "router",
    "rubric",
    "samples",
    "sampling",
    "scope",
    "score",
    "seed",
    "segments",
    "settle",
    "start",
    "swap",
    "temperature",
    "text",
    "threshold",
    "tie_margin",
    "tool_call_id",
    "tool_calls",
    "top_k",
    "top_p",
    "turn",
    "weight",
];

/// The last name of a pointer.
fn last(pointer: &str) -> Option<&str> {
    pointer.rsplit('/').next()
}

/// The known field that an unknown one may have been meant for, as the end of a sentence.
fn meant(pointer: &str) -> String {
    suggestion(last(pointer).unwrap_or_default(), FIELDS)
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

/// A struct that is only read from an object: serde would accept an array, too.
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

/// For fields: an optional struct that is only read from an object or null.
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
