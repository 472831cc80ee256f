//! `GET /v1/usage`

use actix_web::{HttpRequest, HttpResponse, web};
use serde::Serialize;
use utoipa::ToSchema;

use super::access;
use crate::app::App;
use crate::keys::Scope;

/// What API keys have used since the server started.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct UsageList {
    object: &'static str,
    /// The start of the server (RFC 3339).
    since: String,
    /// Empty if keys are off.
    data: Vec<UsageEntry>,
}

/// What a key has used.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct UsageEntry {
    /// The name of the key.
    key: String,
    /// Requests that were not refused for a limit or a scope.
    requests: u64,
    /// Judgements, including cached ones.
    judgements: u64,
    prompt_tokens: u64,
    completion_tokens: u64,
}

/// Returns what keys have used: with the scope `admin` all of them, otherwise the key of the request.
#[utoipa::path(
    get, path = "/v1/usage", tag = "server",
    responses((status = 200, body = UsageList), (status = "default", body = super::problem::ProblemBody, content_type = "application/problem+json"))
)]
pub(super) async fn usage(app: web::Data<App>, http: HttpRequest) -> HttpResponse {
    let (own, all) = (access::key_name(&http), access::has_scope(&http, Scope::Admin) == Some(true));
    let seen = app.keys.usage().into_iter().filter(|(name, _)| all || own.as_ref() == Some(name));
    let data = seen.map(|(key, used)| UsageEntry {
        key,
        requests: used.requests,
        judgements: used.judgements,
        prompt_tokens: used.prompt_tokens,
        completion_tokens: used.completion_tokens,
    });
    HttpResponse::Ok().json(UsageList { object: "list", since: app.keys.since().to_string(), data: data.collect() })
}
