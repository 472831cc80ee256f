//! What every request goes through: its id, its metrics, its log line, and the one form of errors.

use std::time::Instant;

use actix_web::body::{BoxBody, MessageBody};
use actix_web::dev::{ServiceRequest, ServiceResponse};
use actix_web::http::header::{ALLOW, CONTENT_TYPE, HeaderName, HeaderValue};
use actix_web::middleware::Next;
use actix_web::{Error, HttpMessage, HttpRequest, web};
use ulid::Ulid;

use super::problem::{Code, Problem};
use crate::app::App;

/// The header that names a request.
pub(super) const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// The id of a request, given by the caller or made here.
#[derive(Clone)]
pub(super) struct RequestId(pub(super) String);

/// The id of a request that has passed [`observe`].
pub(super) fn request_id(request: &HttpRequest) -> String {
    request.extensions().get::<RequestId>().map(|id| id.0.clone()).unwrap_or_default()
}

/// Where this server is, as the caller addresses it.
pub(super) fn base(request: &HttpRequest) -> String {
    let connection = request.connection_info();
    format!("{}://{}", connection.scheme(), connection.host())
}

pub(super) async fn observe(
    request: ServiceRequest,
    next: Next<impl MessageBody + 'static>,
) -> Result<ServiceResponse<BoxBody>, Error> {
    let started = Instant::now();
    let given = request.headers().get(REQUEST_ID).and_then(|value| value.to_str().ok());
    let usable = given.filter(|id| !id.is_empty() && id.len() <= 128 && id.chars().all(|c| c.is_ascii_graphic()));
    let id = usable.map_or_else(|| format!("req_{}", Ulid::new()), str::to_owned);
    request.extensions_mut().insert(RequestId(id.clone()));
    let response = next.call(request).await?.map_into_boxed_body();
    let mut response = as_problem(response, &id);
    if let Ok(value) = HeaderValue::from_str(&id) {
        response.headers_mut().insert(REQUEST_ID, value);
    }
    count(&response, started, &id);
    Ok(response)
}

/// Gives errors their one form, those of the framework as well.
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
            Problem::new(
                Code::of_status(status),
                format!("{reason}: {} {}", response.request().method(), response.request().path()),
            )
        }
    };
    let mut answer = problem.response(&base(response.request()), id);
    if let Some(allow) = response.headers().get(ALLOW) {
        answer.headers_mut().insert(ALLOW, allow.clone());
    }
    answer.extensions_mut().insert(problem);
    let request = response.request().clone();
    ServiceResponse::new(request, answer)
}

fn count(response: &ServiceResponse<BoxBody>, started: Instant, id: &str) {
    let request = response.request();
    let route = request.match_pattern().unwrap_or_else(|| "unmatched".to_owned());
    let (status, method) = (response.status(), request.method());
    let elapsed = started.elapsed();
    if let Some(app) = request.app_data::<web::Data<App>>() {
        // Methods are the caller's to invent; labels are not.
        let known = ["GET", "POST", "PUT", "DELETE", "HEAD", "OPTIONS", "PATCH"];
        let label = known.into_iter().find(|m| *m == method.as_str()).unwrap_or("other");
        app.metrics.http_requests.with_label_values(&[route.as_str(), label, status.as_str()]).inc();
        app.metrics.http_duration.with_label_values(&[route.as_str()]).observe(elapsed.as_secs_f64());
        if let Some(problem) = response.response().extensions().get::<Problem>() {
            app.metrics.rejected.with_label_values(&[problem.code().name()]).inc();
        }
    }
    let (milliseconds, status) = (elapsed.as_secs_f64() * 1e3, status.as_u16());
    match response.response().extensions().get::<Problem>() {
        Some(problem) if status >= 500 => {
            tracing::warn!(request_id = id, %method, route, status, milliseconds, %problem, "answered");
        }
        _ => tracing::debug!(request_id = id, %method, route, status, milliseconds, "answered"),
    }
}
