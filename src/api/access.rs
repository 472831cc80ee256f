//! Who may call what: the check of API keys, before a request reaches its handler.

use std::time::{Instant, SystemTime};

use actix_web::body::{BoxBody, MessageBody};
use actix_web::dev::{ServiceRequest, ServiceResponse};
use actix_web::http::Method;
use actix_web::http::header::{AUTHORIZATION, HeaderMap};
use actix_web::middleware::Next;
use actix_web::web::Data;
use actix_web::{Error, HttpRequest};

use super::middleware;
use super::problem::{Code, Problem};
use crate::app::App;
use crate::domain::fair_queue::Share;
use crate::keys::Scope;

/// Paths that need no key.
const OPEN: [&str; 7] = ["/", "/livez", "/readyz", "/health", "/version", "/openapi.json", "/docs"];
/// Where every path is open: pages, and what they load.
const OPEN_BELOW: [&str; 2] = ["/docs/", "/web/"];
/// Headers with a key, as the clients of OpenAI's, Anthropic's and Azure's APIs send it.
const HEADERS: [&str; 2] = ["x-api-key", "api-key"];

/// Middleware that lets a request pass if its key may make it, or if keys are off.
pub(super) async fn checked(
    request: ServiceRequest,
    next: Next<impl MessageBody + 'static>,
) -> Result<ServiceResponse<BoxBody>, Error> {
    match check(&request) {
        Ok(()) => Ok(next.call(request).await?.map_into_boxed_body()),
        Err(problem) => Ok(request.error_response(problem)),
    }
}

fn check(request: &ServiceRequest) -> Result<(), Problem> {
    let Some(app) = request.app_data::<Data<App>>() else { return Ok(()) };
    // As the router will read it, so that no spelling of a path leads around the check.
    let path = request.match_info().as_str();
    let is_open = OPEN.contains(&path) || OPEN_BELOW.iter().any(|below| path.starts_with(below));
    if is_open || (path == "/metrics" && app.config.keys.open_metrics) {
        return Ok(());
    }
    let caller = app.keys.caller(presented(request.headers()), SystemTime::now());
    let caller = caller.map_err(|unknown| Problem::new(Code::Unauthenticated, unknown.to_string()))?;
    let Some(caller) = caller else { return Ok(()) };
    let needed = needed(request.method(), path);
    if let Some(scope) = needed.filter(|scope| !caller.may(*scope)) {
        let (name, scope) = (&caller.key.name, scope.name());
        let detail = format!("the API key `{name}` does not have the scope `{scope}`, which this route needs");
        return Err(Problem::new(Code::Forbidden, detail));
    }
    let admitted = caller.admit(needed == Some(Scope::Grade), Instant::now());
    let admitted = admitted.map_err(|over| Problem::new(Code::RateLimited, over.to_string()).again(over.wait))?;
    app.metrics.key_requests.with_label_values(&[caller.key.name.as_str()]).inc();
    middleware::take_seat(request.request(), admitted);
    Ok(())
}

/// The scope that a request needs; any key may read.
fn needed(method: &Method, path: &str) -> Option<Scope> {
    let reviews = path.starts_with("/v1/reviews");
    match *method {
        // Judged texts of all callers.
        _ if reviews && (*method != Method::POST || path != "/v1/reviews") => Some(Scope::Review),
        Method::GET | Method::HEAD | Method::OPTIONS => None,
        _ if path.starts_with("/v1/rubrics") => Some(Scope::Admin),
        _ if path.starts_with("/v1/files") || path.starts_with("/v1/batches") => Some(Scope::Batch),
        _ => Some(Scope::Grade),
    }
}

/// The key in a request.
fn presented(headers: &HeaderMap) -> Option<&str> {
    let text = |name| headers.get(name).and_then(|value| value.to_str().ok()).map(str::trim);
    let bearer = headers.get(AUTHORIZATION).and_then(|value| value.to_str().ok()).and_then(|value| {
        let (scheme, key) = value.trim().split_once(' ')?;
        scheme.eq_ignore_ascii_case("bearer").then(|| key.trim())
    });
    bearer.or_else(|| HEADERS.into_iter().find_map(text)).filter(|key| !key.is_empty())
}

/// The name of the key of a request that has passed; `None` if keys are off.
pub(super) fn key_name(request: &HttpRequest) -> Option<String> {
    middleware::seat(request).get().map(|seat| seat.caller.key.name.clone())
}

/// The share of the models that the key of a request has.
pub(super) fn share(request: &HttpRequest) -> Share {
    middleware::seat(request).get().map(|seat| seat.caller.key.share()).unwrap_or_default()
}

/// Whether the key of a request has a scope; `None` if keys are off.
pub(super) fn has_scope(request: &HttpRequest, scope: Scope) -> Option<bool> {
    middleware::seat(request).get().map(|seat| seat.caller.may(scope))
}

#[cfg(test)]
mod tests {
    use actix_web::test::TestRequest;

    use super::*;

    #[test]
    fn keys_are_read_where_clients_put_them() {
        let check = |headers: &[(&str, &str)], expected: Option<&str>| {
            let request = headers.iter().fold(TestRequest::get(), |request, header| request.append_header(*header));
            assert_eq!(presented(request.to_http_request().headers()), expected, "{headers:?}");
        };
        check(&[], None);
        check(&[("Authorization", "Bearer gvl_1")], Some("gvl_1"));
        check(&[("authorization", "bearer  gvl_1 ")], Some("gvl_1"));
        check(&[("X-API-Key", "gvl_1")], Some("gvl_1"));
        check(&[("api-key", "gvl_1")], Some("gvl_1"));
        check(&[("Authorization", "Bearer gvl_1"), ("X-API-Key", "gvl_2")], Some("gvl_1"));
        // A proxy's own.
        check(&[("Authorization", "Basic eDp5"), ("X-API-Key", "gvl_2")], Some("gvl_2"));
        for nothing in ["Bearer", "Bearer ", "gvl_1", "Basic gvl_1", ""] {
            check(&[("Authorization", nothing)], None);
        }
    }
}
