//! Middleware of every request: its id, its span, its metrics, its log line, and the format of errors.

use std::sync::Arc;
use std::time::Instant;

use actix_web::body::{BodySize, BoxBody, MessageBody};
use actix_web::dev::{ServiceRequest, ServiceResponse};
use actix_web::http::ConnectionType;
use actix_web::http::header::{ALLOW, CONTENT_TYPE, HeaderName, HeaderValue};
use actix_web::middleware::Next;
use actix_web::web::Data;
use actix_web::{Error, HttpMessage, HttpRequest};
use tracing::{Instrument, Span};
use ulid::Ulid;

use super::access_log::{AccessRecord, Seat};
use super::body::Unread;
use super::problem::{Code, Problem};
use crate::app::App;
use crate::keys::Admitted;
use crate::service::Tally;

/// The header with the id of a request.
pub(super) const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// The properties of a request that are known from its head.
struct RequestMeta {
    /// From the caller, or generated.
    id: String,
    at: Instant,
    /// The spans for log lines and for traces.
    spans: (Span, Span),
    tally: Arc<Tally>,
    seat: Seat,
}

/// The id of a request after [`observe`].
pub(super) fn request_id(request: &HttpRequest) -> String {
    request.extensions().get::<RequestMeta>().map(|arrival| arrival.id.clone()).unwrap_or_default()
}

/// The arrival time of the head of a request.
pub(super) fn arrived(request: &HttpRequest) -> Instant {
    request.extensions().get::<RequestMeta>().map_or_else(Instant::now, |arrival| arrival.at)
}

/// What a request comes to, for its log line.
pub(super) fn tally(request: &HttpRequest) -> Arc<Tally> {
    request.extensions().get::<RequestMeta>().map(|arrival| Arc::clone(&arrival.tally)).unwrap_or_default()
}

/// The API key of a request.
pub(super) fn seat(request: &HttpRequest) -> Seat {
    request.extensions().get::<RequestMeta>().map(|arrival| Arc::clone(&arrival.seat)).unwrap_or_default()
}

/// Notes the API key of a request, whose record ends it.
pub(super) fn take_seat(request: &HttpRequest, admitted: Admitted) {
    if let Err(second) = seat(request).set(admitted) {
        second.end(0, 0, 0, Instant::now());
    }
}

/// Wraps work of a request that runs outside of its handler in the spans of the request.
pub(super) fn in_spans<F: Future>(request: &HttpRequest, work: F) -> impl Future<Output = F::Output> + use<F> {
    let spans = request.extensions().get::<RequestMeta>().map(|arrival| arrival.spans.clone());
    let (line, trace) = spans.unwrap_or_else(|| (Span::none(), Span::none()));
    work.instrument(trace).instrument(line)
}

/// The base URL of this server, as the caller addresses it.
pub(super) fn base(request: &HttpRequest) -> String {
    let connection = request.connection_info();
    format!("{}://{}", connection.scheme(), connection.host())
}

pub(super) async fn observe(
    mut request: ServiceRequest,
    next: Next<impl MessageBody + 'static>,
) -> Result<ServiceResponse<BoxBody>, Error> {
    let given = request.headers().get(REQUEST_ID).and_then(|value| value.to_str().ok());
    let usable = given.filter(|id| !id.is_empty() && id.len() <= 128 && id.chars().all(|c| c.is_ascii_graphic()));
    let id = usable.map_or_else(|| format!("req_{}", Ulid::new()), str::to_owned);
    let mut record = AccessRecord::begin(&request, &id);
    let (line, trace) = record.spans();
    let spans = (line.clone(), trace.clone());
    let (tally, seat) = (record.tally(), record.seat());
    request.extensions_mut().insert(RequestMeta { id: id.clone(), at: Instant::now(), spans, tally, seat });
    let unread = Unread::of(&mut request);
    let answered = next.call(request).instrument(trace).instrument(line).await;
    let answered = answered.inspect_err(|error| record.answered(error.as_response_error().status_code(), None))?;
    let mut response = as_problem(answered.map_into_boxed_body(), &id);
    if let Ok(value) = HeaderValue::from_str(&id) {
        response.headers_mut().insert(REQUEST_ID, value);
    }
    if draining(&response) {
        // The caller's next request goes to another server.
        response.response_mut().head_mut().set_connection_type(ConnectionType::Close);
    }
    let problem = response.response().extensions().get::<Problem>().cloned();
    record.answered(response.status(), problem);
    let response = match response.response().body().size() {
        // A stream counts as answered when it has ended.
        BodySize::Stream => response.map_body(|_, body| record.until_sent(body)),
        _ => response,
    };
    Ok(response.map_body(|_, body| unread.beside(body)))
}

/// Whether the server of a response is shutting down.
fn draining(response: &ServiceResponse<BoxBody>) -> bool {
    response.request().app_data::<Data<App>>().is_some_and(|app| app.admission.shutdown.draining())
}

/// Formats errors, including those of the framework.
fn as_problem(response: ServiceResponse<BoxBody>, id: &str) -> ServiceResponse<BoxBody> {
    let status = response.status();
    if !status.is_client_error() && !status.is_server_error() {
        return response;
    }
    let known = response.response().error().and_then(|error| error.as_error::<Problem>()).cloned();
    let formed = response.headers().get(CONTENT_TYPE).is_some_and(|kind| kind == "application/problem+json");
    let problem = match known {
        Some(problem) => problem,
        None if formed => return response,
        None => {
            let reason = status.canonical_reason().unwrap_or("the request failed");
            let allowed = response.headers().get(ALLOW).and_then(|allow| allow.to_str().ok());
            let allowed = allowed.map(|methods| format!("; this route takes {methods}")).unwrap_or_default();
            let (method, path) = (response.request().method(), response.request().path());
            Problem::new(Code::of_status(status), format!("{reason}: {method} {path}{allowed}"))
        }
    };
    let form = problem.form(response.request().path());
    let mut answer = problem.response(form, &base(response.request()), id);
    if let Some(allow) = response.headers().get(ALLOW) {
        answer.headers_mut().insert(ALLOW, allow.clone());
    }
    answer.extensions_mut().insert(problem);
    let request = response.request().clone();
    ServiceResponse::new(request, answer)
}
