//! `GET /v1/usage`

use actix_web::{HttpRequest, HttpResponse, web};
use serde::Serialize;
use utoipa::ToSchema;

use super::access;
use super::problem::Problem;
use crate::app::App;
use crate::keys::{Moment, Scope};
use crate::usage_log::ALL;

/// What API keys have used.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct UsageList {
    object: &'static str,
    /// When counting began for the first of these keys (RFC 3339).
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

/// Returns what keys have used, on all servers that share the database: with the scope `admin` all of them, otherwise the
/// key of the request.
#[utoipa::path(
    get, path = "/v1/usage", tag = "server",
    responses((status = 200, body = UsageList), (status = "default", body = super::problem::ProblemBody, content_type = "application/problem+json"))
)]
pub(super) async fn usage(app: web::Data<App>, http: HttpRequest) -> Result<HttpResponse, Problem> {
    let Some(own) = access::key_name(&http) else {
        let since = Moment::of(app.keys.since()).to_string();
        return Ok(HttpResponse::Ok().json(UsageList { object: "list", since, data: Vec::new() }));
    };
    let all = access::has_scope(&http, Scope::Admin) == Some(true);
    let totals = app.usage.totals(if all { ALL } else { &own }).await?;
    let data = totals.keys.into_iter().map(|(key, used)| UsageEntry {
        key,
        requests: used.requests,
        judgements: used.judgements,
        prompt_tokens: used.prompt_tokens,
        completion_tokens: used.completion_tokens,
    });
    let since = Moment::of(totals.since).to_string();
    Ok(HttpResponse::Ok().json(UsageList { object: "list", since, data: data.collect() }))
}
