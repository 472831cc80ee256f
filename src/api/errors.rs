//! `GET /v1/errors`: the last requests that were refused or failed, for people who look for one by its request id.

use actix_web::{HttpRequest, HttpResponse, web};
use serde::Serialize;
use utoipa::ToSchema;

use super::access;
use super::recent_errors::{RecentError, RecentErrors};
use crate::keys::Scope;

/// The last errors, newest first.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct ErrorList {
    object: &'static str,
    data: Vec<RecentError>,
}

/// Returns the last 200 requests to this process that were refused or failed: with the scope `admin`, or while keys are
/// off, all of them, otherwise those of the key of the request. They have the code of the error and no text that was sent;
/// the log has their details. Items that failed within an answer of status 200 are not among them.
#[utoipa::path(
    get, path = "/v1/errors", tag = "server",
    responses((status = 200, body = ErrorList), (status = "default", body = super::problem::ProblemBody, content_type = "application/problem+json"))
)]
pub(super) async fn errors(errors: web::Data<RecentErrors>, http: HttpRequest) -> HttpResponse {
    let own = access::key_name(&http).filter(|_| access::has_scope(&http, Scope::Admin) != Some(true));
    let data = errors.newest(|error| own.is_none() || error.key == own);
    HttpResponse::Ok().json(ErrorList { object: "list", data })
}
