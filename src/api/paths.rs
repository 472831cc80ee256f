//! Redundant slashes in paths, where callers join a base URL and a route.

use actix_web::Error;
use actix_web::body::MessageBody;
use actix_web::dev::{ServiceRequest, ServiceResponse};
use actix_web::http::Uri;
use actix_web::http::uri::PathAndQuery;
use actix_web::middleware::Next;

/// The folder of static files, which needs its trailing slash.
const PAGES: &str = "/docs/openapi/";

/// Middleware that merges repeated slashes, and removes a trailing slash.
pub(super) async fn tidied(
    mut request: ServiceRequest,
    next: Next<impl MessageBody>,
) -> Result<ServiceResponse<impl MessageBody>, Error> {
    if let Some(uri) = tidy(request.uri()) {
        request.match_info_mut().get_mut().update(&uri);
        request.head_mut().uri = uri;
    }
    next.call(request).await
}

/// The URI with a normalised path; `None` if it is already normal.
fn tidy(uri: &Uri) -> Option<Uri> {
    let path = uri.path();
    if !path.contains("//") && !path.ends_with('/') {
        return None;
    }
    let mut tidy = String::with_capacity(path.len());
    for c in path.chars() {
        if c != '/' || !tidy.ends_with('/') {
            tidy.push(c);
        }
    }
    if tidy.len() > 1 && tidy.ends_with('/') && tidy != PAGES {
        tidy.pop();
    }
    if tidy == path {
        return None;
    }
    let whole = uri.query().map_or_else(|| tidy.clone(), |query| format!("{tidy}?{query}"));
    let mut parts = uri.clone().into_parts();
    parts.path_and_query = Some(PathAndQuery::try_from(whole).ok()?);
    Uri::from_parts(parts).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slashes_are_as_many_as_they_mean() {
        let check = |path: &str, expected: Option<&str>| {
            assert_eq!(tidy(&path.parse().unwrap()).map(|uri| uri.to_string()).as_deref(), expected, "{path}");
        };
        check("/v1//chat/completions", Some("/v1/chat/completions"));
        check("//v1///rewards//?a=//b/", Some("/v1/rewards?a=//b/"));
        check("/v1/rewards/", Some("/v1/rewards"));
        check("/v1/models/a%2F%2Fb", None);
        check("/v1/rewards?rubric=x", None);
        check("/", None);
        check("//", Some("/"));
        check("/docs/", Some("/docs"));
        check("/docs/openapi/", None);
        check("/docs//openapi//", Some("/docs/openapi/"));
        check("/docs/openapi/index.html", None);
        check("*", None);
    }
}
