//! `/v1/rubrics`

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use actix_web::http::Version;
use actix_web::http::header::HOST;
use actix_web::http::uri::Authority;
use actix_web::{HttpRequest, HttpResponse, web};
use serde::Serialize;
use utoipa::ToSchema;

use super::access;
use super::json;
use super::problem::{Code, Problem};
use super::schema::RubricBody;
use crate::app::App;
use crate::domain::Rubric;
use crate::keys::Scope;
use crate::rubrics::{LibraryEntry, LibraryError};

/// A rubric of the library.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct RubricEntry {
    name: String,
    object: &'static str,
    digest: String,
    /// Whether it is built in; otherwise it is a file of the user.
    built_in: bool,
    #[serde(flatten)]
    rubric: RubricBody,
}

/// All rubrics, by name.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct RubricList {
    object: &'static str,
    data: Vec<RubricEntry>,
}

/// Lists the rubrics.
#[utoipa::path(get, path = "/v1/rubrics", tag = "rubrics", responses((status = 200, body = RubricList)))]
pub(super) async fn list(app: web::Data<App>) -> HttpResponse {
    HttpResponse::Ok().json(RubricList { object: "list", data: app.rubrics.list().iter().map(entry).collect() })
}

/// Returns a rubric.
#[utoipa::path(
    get, path = "/v1/rubrics/{name}", tag = "rubrics", params(("name" = String, Path)),
    responses((status = 200, body = RubricEntry), (status = "default", body = super::problem::ProblemBody, content_type = "application/problem+json"))
)]
pub(super) async fn show(app: web::Data<App>, name: web::Path<String>) -> Result<HttpResponse, Problem> {
    Ok(HttpResponse::Ok().json(entry(&app.rubrics.get(&name)?)))
}

/// Adds or replaces a rubric, and writes its file.
#[utoipa::path(
    put, path = "/v1/rubrics/{name}", tag = "rubrics", params(("name" = String, Path)), request_body = RubricBody,
    responses((status = 200, body = RubricEntry), (status = 201, body = RubricEntry), (status = "default", body = super::problem::ProblemBody, content_type = "application/problem+json"))
)]
pub(super) async fn put(
    app: web::Data<App>,
    http: HttpRequest,
    name: web::Path<String>,
    payload: web::Payload,
) -> Result<HttpResponse, Problem> {
    admin(&http, &app)?;
    let body: RubricBody = json::strict_unadmitted(&http, payload, app.config.limits.body_bytes).await?;
    let rubric = Rubric::new(&body.criterion, &body.descriptions)?;
    let library = Arc::clone(&app.rubrics);
    let (written, new) = written(move || library.put(&name, rubric)).await?;
    let mut response = if new { HttpResponse::Created() } else { HttpResponse::Ok() };
    Ok(response.json(entry(&written)))
}

/// Deletes a rubric's file; a built-in rubric of the same name is used again.
#[utoipa::path(
    delete, path = "/v1/rubrics/{name}", tag = "rubrics", params(("name" = String, Path)),
    responses((status = 204), (status = "default", body = super::problem::ProblemBody, content_type = "application/problem+json"))
)]
pub(super) async fn delete(
    app: web::Data<App>,
    http: HttpRequest,
    name: web::Path<String>,
) -> Result<HttpResponse, Problem> {
    admin(&http, &app)?;
    let library = Arc::clone(&app.rubrics);
    written(move || library.remove(&name)).await?;
    Ok(HttpResponse::NoContent().finish())
}

/// Runs file operations on a blocking thread.
async fn written<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, LibraryError> + Send + 'static,
) -> Result<T, Problem> {
    let done = web::block(work).await;
    Ok(done.map_err(|_| Problem::new(Code::Internal, "the rubric's file could not be written or deleted"))??)
}

/// Headers of proxies. Headers that begin with `x-forwarded` count, too.
const FORWARDED: [&str; 19] = [
    "forwarded",
    "via",
    "x-real-ip",
    "x-real-host",
    "x-client-ip",
    "x-cluster-client-ip",
    "x-original-forwarded-for",
    "x-original-host",
    "x-original-url",
    "x-envoy-external-address",
    "x-envoy-original-path",
    "x-amzn-trace-id",
    "x-azure-clientip",
    "cf-connecting-ip",
    "cf-ray",
    "true-client-ip",
    "fastly-client-ip",
    "fly-client-ip",
    "cdn-loop",
];

/// Checks that the caller is the administrator: by its API key, or, while keys are off, because it is on the server's own
/// machine. Then the server must listen on a loopback address only. The request must come from a loopback address and name
/// one (DNS rebinding names another host), and must not have a sign of a proxy, which forwards remote callers. A proxy
/// without any sign looks like a local caller; `rubrics.allow_writes` is for that case.
fn admin(http: &HttpRequest, app: &App) -> Result<(), Problem> {
    let refuse =
        |why: &str| Err(Problem::new(Code::Forbidden, format!("{why}; you can change the rubric files instead")));
    if !app.config.rubrics.allow_writes {
        return refuse("rubrics.allow_writes is off");
    }
    match access::has_scope(http, Scope::Admin) {
        Some(true) => return Ok(()),
        Some(false) => return refuse("writing rubrics needs an API key with the scope `admin`"),
        None => {}
    }
    let loopback = |address: SocketAddr| address.ip().to_canonical().is_loopback();
    if !loopback(http.app_config().local_addr()) {
        return refuse("rubrics cannot be written over HTTP while the server listens on a non-loopback address");
    }
    if !http.peer_addr().is_some_and(loopback) {
        return refuse("rubrics can be written from the server's own machine only");
    }
    let mut names = http.headers().keys().map(|name| name.as_str());
    // Proxies use HTTP/1.0 for upstream requests by default; few other clients do.
    if http.version() < Version::HTTP_11
        || names.any(|name| name.starts_with("x-forwarded") || FORWARDED.contains(&name))
    {
        return refuse("rubrics can be written from the server's own machine only, and not through a proxy");
    }
    let mut hosts = http.headers().get_all(HOST);
    let host = (hosts.next(), hosts.next());
    let named = http.uri().host().is_none_or(is_loopback_name);
    match host {
        (Some(host), None) if named && host.to_str().is_ok_and(is_loopback_host) => Ok(()),
        _ => refuse("to write rubrics, use a loopback address such as http://127.0.0.1:8080, not another host name"),
    }
}

/// Whether a `Host` header is a loopback name.
fn is_loopback_host(host: &str) -> bool {
    host.parse::<Authority>().is_ok_and(|authority| !host.contains('@') && is_loopback_name(authority.host()))
}

fn is_loopback_name(host: &str) -> bool {
    let host = host.to_ascii_lowercase();
    let host = host.trim_end_matches('.');
    let address = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    let address: Result<IpAddr, _> = address.parse();
    host == "localhost" || host.ends_with(".localhost") || address.is_ok_and(|ip| ip.to_canonical().is_loopback())
}

fn entry(entry: &LibraryEntry) -> RubricEntry {
    let descriptions = entry.rubric.descriptions().map(|(score, text)| (score.to_string(), text.to_owned())).collect();
    RubricEntry {
        name: entry.name.clone(),
        object: "rubric",
        digest: entry.rubric.digest().to_owned(),
        built_in: entry.file.is_none(),
        rubric: RubricBody { criterion: entry.rubric.criterion().to_owned(), descriptions },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_that_are_this_machine() {
        for host in ["localhost", "localhost:8080", "LOCALHOST", "127.0.0.1:1", "127.8.9.1", "[::1]", "[::1]:8080"] {
            assert!(is_loopback_host(host), "{host}");
        }
        for host in ["judge.localhost:1", "localhost.:8080", "[::ffff:127.0.0.1]"] {
            assert!(is_loopback_host(host), "{host}");
        }
        for host in ["", "example.com", "localhost.example.com", "127.0.0.1.nip.io", "10.0.0.1", "[::2]", "0.0.0.0"] {
            assert!(!is_loopback_host(host), "{host}");
        }
        for host in ["localhost@example.com", "example.com@localhost", "example.com:80 localhost", "local host"] {
            assert!(!is_loopback_host(host), "{host}");
        }
    }
}
