//! `/v1/rubrics`

use actix_web::{HttpRequest, HttpResponse, web};
use serde::Serialize;
use utoipa::ToSchema;

use super::extract;
use super::problem::{Code, Problem};
use super::wire::RubricBody;
use crate::app::App;
use crate::grading::Rubric;
use crate::rubrics::Entry;

/// A rubric of the library.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct RubricEntry {
    name: String,
    object: &'static str,
    digest: String,
    /// Whether it is Gavel's own; else it is a file of the user's.
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

/// Reads a rubric.
#[utoipa::path(
    get, path = "/v1/rubrics/{name}", tag = "rubrics", params(("name" = String, Path)),
    responses((status = 200, body = RubricEntry), (status = "default", body = super::problem::ProblemBody, content_type = "application/problem+json"))
)]
pub(super) async fn show(app: web::Data<App>, name: web::Path<String>) -> Result<HttpResponse, Problem> {
    Ok(HttpResponse::Ok().json(entry(&app.rubrics.get(&name)?)))
}

/// Adds or replaces a rubric; its file is written.
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
    admin(&http)?;
    let body: RubricBody = extract::json_always(&http, payload, app.config.limits.body_bytes).await?;
    let rubric = Rubric::new(&body.criterion, &body.descriptions)?;
    let mut response = if app.rubrics.put(&name, &rubric)? { HttpResponse::Created() } else { HttpResponse::Ok() };
    Ok(response.json(entry(&app.rubrics.get(&name)?)))
}

/// Removes a rubric's file; a built-in one of the same name comes back.
#[utoipa::path(
    delete, path = "/v1/rubrics/{name}", tag = "rubrics", params(("name" = String, Path)),
    responses((status = 204), (status = "default", body = super::problem::ProblemBody, content_type = "application/problem+json"))
)]
pub(super) async fn delete(
    app: web::Data<App>,
    http: HttpRequest,
    name: web::Path<String>,
) -> Result<HttpResponse, Problem> {
    admin(&http)?;
    app.rubrics.remove(&name)?;
    Ok(HttpResponse::NoContent().finish())
}

/// Until there are keys with scopes, the server's own machine is the administrator.
fn admin(http: &HttpRequest) -> Result<(), Problem> {
    // A proxy on this machine speaks for callers from anywhere.
    let proxied = ["forwarded", "x-forwarded-for", "via"].iter().any(|name| http.headers().contains_key(*name));
    if !proxied && http.peer_addr().is_some_and(|peer| peer.ip().to_canonical().is_loopback()) {
        return Ok(());
    }
    Err(Problem::new(Code::Forbidden, "rubrics are written from the server's own machine only, or as files"))
}

fn entry(entry: &Entry) -> RubricEntry {
    let descriptions = entry.rubric.descriptions().map(|(score, text)| (score.to_string(), text.to_owned())).collect();
    RubricEntry {
        name: entry.name.clone(),
        object: "rubric",
        digest: entry.rubric.digest().to_owned(),
        built_in: entry.file.is_none(),
        rubric: RubricBody { criterion: entry.rubric.criterion().to_owned(), descriptions },
    }
}
