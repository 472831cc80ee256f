//! Reads request bodies, with limits for each body and for all bodies together, before and after decompression.

use std::cell::RefCell;
use std::io::Read;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};

use actix_web::body::{BodySize, BoxBody, MessageBody};
use actix_web::dev::{Payload, ServiceRequest};
use actix_web::error::PayloadError;
use actix_web::http::header::{CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE};
use actix_web::web::Bytes;
use actix_web::{HttpMessage, HttpRequest};
use flate2::read::{MultiGzDecoder, ZlibDecoder};
use futures::{Stream, StreamExt};

use super::problem::{Code, Problem};

/// Bodies up to this size do not count towards the limit of all bodies together. They are read even if the request is
/// refused, so that the connection can be reused.
const SMALL: usize = 64 << 10;

/// Number of bytes to decompress at once.
const PIECE: usize = 64 << 10;

/// The memory of the bodies of all requests of a server.
pub(super) struct Bodies {
    held: AtomicUsize,
    most: usize,
}

impl Bodies {
    /// A limit of `most` bytes.
    pub(super) fn new(most: usize) -> Arc<Self> {
        Arc::new(Self { held: AtomicUsize::new(0), most })
    }
}

/// The memory of one request's body; released when it is dropped.
pub(super) struct Held {
    bodies: Arc<Bodies>,
    bytes: usize,
    counted: usize,
}

impl Held {
    pub(super) fn new(bodies: &Arc<Bodies>) -> Self {
        Self { bodies: Arc::clone(bodies), bytes: 0, counted: 0 }
    }

    /// Reserves `more` bytes.
    ///
    /// # Errors
    /// `saturated`, if all requests together would exceed the limit.
    fn grow(&mut self, more: usize) -> Result<(), Problem> {
        self.bytes += more;
        let most = self.bodies.most;
        let new = self.bytes.saturating_sub(SMALL) - self.counted;
        let room = |held: usize| held.checked_add(new).filter(|held| *held <= most);
        if new > 0 && self.bodies.held.fetch_update(Ordering::AcqRel, Ordering::Acquire, room).is_err() {
            let detail = format!(
                "the server's memory for request bodies is full ({most} bytes, limits.held_body_bytes); try again later"
            );
            return Err(Problem::new(Code::Saturated, detail));
        }
        self.counted += new;
        Ok(())
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.bodies.held.fetch_sub(self.counted, Ordering::AcqRel);
    }
}

/// The encoding of a body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Encoding {
    Identity,
    Gzip,
    Deflate,
}

/// A received body, and its reserved memory.
pub(super) struct Received {
    raw: Vec<u8>,
    encoding: Encoding,
    pub(super) held: Held,
}

/// Reads a JSON body of at most `limit` bytes before decompression.
///
/// # Errors
/// `refusal`, if there is one and the body is not small, before the body is read; `unsupported_media_type`,
/// `payload_too_large`, `malformed_json` or `saturated`.
pub(super) async fn receive(
    request: &HttpRequest,
    mut payload: Payload,
    limit: usize,
    held: Held,
    refusal: Option<Problem>,
) -> Result<Received, Problem> {
    let announced = request.headers().get(CONTENT_LENGTH).and_then(|v| v.to_str().ok()?.parse::<usize>().ok());
    let small = announced.is_some_and(|length| length <= SMALL);
    let wanted = match refusal {
        Some(refusal) if !small => Err(refusal),
        _ => encoding(request),
    };
    let encoding = match wanted {
        Ok(_) if announced.is_some_and(|length| length > limit) => Err(too_large(limit)),
        wanted => wanted,
    };
    if encoding.is_err() && small {
        while let Some(Ok(_)) = payload.next().await {}
    }
    let encoding = encoding?;
    let mut received = Received { raw: Vec::new(), encoding, held };
    while let Some(chunk) = payload.next().await {
        let chunk = chunk.map_err(|error| match error {
            PayloadError::EncodingCorrupted => Problem::new(Code::UnsupportedMediaType, "the body cannot be decoded"),
            other => Problem::new(Code::MalformedJson, format!("the body could not be read: {other}")),
        })?;
        if received.raw.len() + chunk.len() > limit {
            return Err(too_large(limit));
        }
        received.held.grow(chunk.len())?;
        received.raw.extend_from_slice(&chunk);
    }
    Ok(received)
}

fn too_large(limit: usize) -> Problem {
    Problem::new(Code::PayloadTooLarge, format!("the body has more than {limit} bytes"))
}

/// The encoding of a request's body.
///
/// # Errors
/// If it is not JSON, or has an unsupported encoding.
fn encoding(request: &HttpRequest) -> Result<Encoding, Problem> {
    let said = request.headers().get(CONTENT_ENCODING).map_or("identity", |value| value.to_str().unwrap_or("?"));
    let encoding = match said.trim().to_ascii_lowercase().as_str() {
        "identity" => Encoding::Identity,
        "gzip" => Encoding::Gzip,
        "deflate" => Encoding::Deflate,
        _ => {
            let detail = format!("the content encoding `{said}` is not supported; use gzip, or none");
            return Err(Problem::new(Code::UnsupportedMediaType, detail));
        }
    };
    let is_json = request.headers().get(CONTENT_TYPE).is_none_or(|kind| {
        let kind = kind.to_str().unwrap_or_default().split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
        kind == "application/json" || kind.ends_with("+json")
    });
    if is_json {
        return Ok(encoding);
    }
    Err(Problem::new(Code::UnsupportedMediaType, "the body must be application/json"))
}

impl Received {
    /// Its length, if it is not compressed.
    pub(super) fn plain_len(&self) -> Option<usize> {
        (self.encoding == Encoding::Identity).then_some(self.raw.len())
    }

    /// The decompressed bytes, at most `limit`, and their reserved memory.
    ///
    /// # Errors
    /// `unsupported_media_type`, `payload_too_large` or `saturated`.
    pub(super) fn inflated(self, limit: usize) -> Result<(Vec<u8>, Held), Problem> {
        let Self { raw, encoding, mut held } = self;
        let body = match encoding {
            Encoding::Identity => return Ok((raw, held)),
            Encoding::Gzip => inflate(MultiGzDecoder::new(&raw[..]), limit, &mut held)?,
            Encoding::Deflate => inflate(ZlibDecoder::new(&raw[..]), limit, &mut held)?,
        };
        Ok((body, held))
    }
}

fn inflate(mut source: impl Read, limit: usize, held: &mut Held) -> Result<Vec<u8>, Problem> {
    let (mut body, mut piece) = (Vec::new(), vec![0; PIECE]);
    loop {
        let read = source.read(&mut piece).map_err(|_| {
            let detail = "the body cannot be decompressed: it is not valid gzip or deflate data";
            Problem::new(Code::UnsupportedMediaType, detail)
        })?;
        if read == 0 {
            return Ok(body);
        }
        if body.len() + read > limit {
            return Err(too_large(limit));
        }
        held.grow(read)?;
        body.extend_from_slice(&piece[..read]);
    }
}

/// The body of a request, kept until its answer has been sent. If the body was not read to its end, the connection is
/// then closed; otherwise the framework would read without limit to reuse the connection.
pub(super) struct Unread(Option<Rc<RefCell<Payload>>>);

impl Unread {
    pub(super) fn of(request: &mut ServiceRequest) -> Self {
        let payload = request.take_payload();
        if matches!(payload, Payload::None) {
            return Self(None);
        }
        let payload = Rc::new(RefCell::new(payload));
        request.set_payload(Payload::Stream { payload: Box::pin(SharedPayload(Rc::clone(&payload))) });
        Self(Some(payload))
    }

    /// The body of the answer, which keeps the body of the request until it has been sent.
    pub(super) fn beside(self, answer: BoxBody) -> BoxBody {
        match self.0 {
            Some(payload) => BoxBody::new(Beside { answer, _payload: payload }),
            None => answer,
        }
    }
}

struct SharedPayload(Rc<RefCell<Payload>>);

impl Stream for SharedPayload {
    type Item = Result<Bytes, PayloadError>;

    fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        Pin::new(&mut *self.0.borrow_mut()).poll_next(context)
    }
}

struct Beside {
    answer: BoxBody,
    _payload: Rc<RefCell<Payload>>,
}

impl MessageBody for Beside {
    type Error = <BoxBody as MessageBody>::Error;

    fn size(&self) -> BodySize {
        self.answer.size()
    }

    fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Bytes, Self::Error>>> {
        Pin::new(&mut self.get_mut().answer).poll_next(context)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use flate2::Compression;
    use flate2::write::GzEncoder;
    use std::io::Write;

    fn gzipped(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    fn received(bodies: &Arc<Bodies>, raw: Vec<u8>) -> Received {
        Received { raw, encoding: Encoding::Gzip, held: Held::new(bodies) }
    }

    #[test]
    fn what_is_inflated_is_counted_and_given_back() {
        let bodies = Bodies::new(100_000);
        let zeros = |bytes: usize| gzipped(&vec![0; bytes]);
        let (body, held) = received(&bodies, zeros(SMALL + 60_000)).inflated(1 << 20).unwrap();
        assert_eq!((body.len(), bodies.held.load(Ordering::Relaxed)), (SMALL + 60_000, 60_000));
        let full = received(&bodies, zeros(SMALL + 60_000)).inflated(1 << 20).err().unwrap();
        assert_eq!(full.code(), Code::Saturated);
        received(&bodies, zeros(SMALL)).inflated(1 << 20).map(drop).expect("small ones are always taken");
        drop(held);
        received(&bodies, zeros(SMALL + 60_000)).inflated(1 << 20).map(drop).unwrap();
        assert_eq!(bodies.held.load(Ordering::Relaxed), 0);
    }

    #[test]
    fn a_bomb_is_inflated_as_far_as_its_limit() {
        let bodies = Bodies::new(usize::MAX);
        let mut held = Held::new(&bodies);
        let bomb = gzipped(&vec![0; 64 << 20]);
        let problem = inflate(MultiGzDecoder::new(&bomb[..]), 1 << 20, &mut held).unwrap_err();
        assert_eq!(problem.code(), Code::PayloadTooLarge);
        assert!(held.bytes <= 1 << 20, "{} bytes", held.bytes);
        let two: Vec<u8> = [gzipped(b"{\"a\""), gzipped(b":1}")].concat();
        assert_eq!(inflate(MultiGzDecoder::new(&two[..]), 100, &mut held).unwrap(), b"{\"a\":1}");
        assert!(inflate(MultiGzDecoder::new(&two[..9]), 100, &mut held).is_err());
    }
}
