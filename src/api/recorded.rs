//! Middleware that keeps verdicts in the log of verdicts, with their requests.

use std::pin::Pin;
use std::task::{Context, Poll};

use actix_web::body::{BodySize, BoxBody, MessageBody};
use actix_web::dev::{ServiceRequest, ServiceResponse};
use actix_web::http::Method;
use actix_web::middleware::Next;
use actix_web::web::{Bytes, Data};
use actix_web::{Error, HttpMessage, HttpRequest};
use serde::Deserialize;

use super::access;
use super::of_batch::OfBatch;
use crate::app::App;
use crate::store::{VerdictRow, now};

/// How the last event of a stream begins.
const VERDICT: &[u8] = b"event: verdict\ndata: ";

/// The body of a request whose verdict is kept.
pub(super) struct RawBody(pub(super) Bytes);

/// What is read of a verdict.
#[derive(Deserialize)]
struct Verdict {
    id: String,
    #[serde(default)]
    model: Option<Named>,
    #[serde(default)]
    rubric: Option<Named>,
}

#[derive(Deserialize)]
struct Named {
    name: String,
}

/// Whether the body of a request is to be kept.
pub(super) fn keeps_body(request: &HttpRequest) -> bool {
    request.method() == Method::POST && request.app_data::<Data<App>>().is_some_and(|app| app.verdicts.on())
}

pub(super) async fn recorded(
    request: ServiceRequest,
    next: Next<impl MessageBody + 'static>,
) -> Result<ServiceResponse<BoxBody>, Error> {
    let response = next.call(request).await?.map_into_boxed_body();
    let request = response.request().clone();
    if !response.status().is_success() || !keeps_body(&request) {
        return Ok(response);
    }
    if response.response().body().size() == BodySize::Stream {
        return Ok(response.map_body(|_, body| BoxBody::new(Recorded { body, request })));
    }
    Ok(response.map_body(|_, body| match body.try_into_bytes() {
        Ok(bytes) => {
            keep(&request, &bytes);
            BoxBody::new(bytes)
        }
        Err(body) => body,
    }))
}

/// Keeps an answer if it is a verdict.
fn keep(request: &HttpRequest, answer: &[u8]) {
    let asked = request.extensions_mut().remove::<RawBody>();
    let verdict = serde_json::from_slice::<Verdict>(answer).ok().filter(|verdict| verdict.id.starts_with("vrd_"));
    let (Some(RawBody(asked)), Some(verdict), Some(app)) = (asked, verdict, request.app_data::<Data<App>>()) else {
        return;
    };
    let of_batch = OfBatch::mark(request).map(|batch| batch.owner().to_owned());
    let name = |named: Option<Named>| named.map(|named| named.name).unwrap_or_default();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).replace('\0', "\u{fffd}");
    app.verdicts.keep(VerdictRow {
        id: verdict.id,
        owner: of_batch.or_else(|| access::key_name(request)).unwrap_or_default(),
        route: request.path().to_owned(),
        rubric: name(verdict.rubric),
        model: name(verdict.model),
        request: text(&asked),
        verdict: text(answer),
        created_at: now(),
    });
}

/// A stream whose last event is a verdict.
struct Recorded {
    body: BoxBody,
    request: HttpRequest,
}

impl MessageBody for Recorded {
    type Error = <BoxBody as MessageBody>::Error;

    fn size(&self) -> BodySize {
        self.body.size()
    }

    fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Bytes, Self::Error>>> {
        let Self { body, request } = self.get_mut();
        let polled = Pin::new(body).poll_next(context);
        if let Poll::Ready(Some(Ok(event))) = &polled
            && let Some(verdict) = event.strip_prefix(VERDICT)
        {
            keep(request, verdict);
        }
        polled
    }
}
