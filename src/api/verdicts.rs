//! `/v1/verdicts`: the log of verdicts.

use actix_web::{HttpRequest, HttpResponse, web};
use serde::{Deserialize, Serialize};
use serde_json::value::Value;
use utoipa::{IntoParams, ToSchema};

use super::files::{page, seen_by};
use super::problem::{Code, Problem};
use crate::app::App;
use crate::store::{VerdictFilter, VerdictRow};

/// A verdict and its request.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct LoggedVerdict {
    id: String,
    object: &'static str,
    /// When it was given (seconds since 1970).
    created_at: i64,
    /// The route that answered.
    route: String,
    /// What was asked, as it was sent.
    #[schema(value_type = Object)]
    request: Value,
    /// What was answered.
    #[schema(value_type = Object)]
    verdict: Value,
}

/// A page of verdicts.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct VerdictList {
    object: &'static str,
    data: Vec<LoggedVerdict>,
    last_id: Option<String>,
    has_more: bool,
}

/// Which verdicts to list.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct VerdictQuery {
    /// The name of a rubric.
    rubric: Option<String>,
    /// The name of a model.
    model: Option<String>,
    /// Given at this time or later (RFC 3339, or seconds since 1970).
    from: Option<String>,
    /// Given before this time.
    to: Option<String>,
    /// The id that the last page ended with.
    after: Option<String>,
    /// The most verdicts, 1 to 10,000; 20 by default.
    limit: Option<i64>,
    /// `asc` or `desc` (the newest first).
    order: Option<String>,
}

impl From<VerdictRow> for LoggedVerdict {
    fn from(row: VerdictRow) -> Self {
        let json = |text: &str| serde_json::from_str(text).unwrap_or_else(|_| Value::from(text));
        Self {
            object: "verdict.logged",
            created_at: row.created_at / 1000,
            request: json(&row.request),
            verdict: json(&row.verdict),
            id: row.id,
            route: row.route,
        }
    }
}

/// A time in milliseconds since 1970.
fn time(text: Option<&String>, otherwise: i64, at: &str) -> Result<i64, Problem> {
    let Some(text) = text else { return Ok(otherwise) };
    let seconds = text.parse::<i64>().ok().and_then(|seconds| seconds.checked_mul(1000));
    let read = || chrono::DateTime::parse_from_rfc3339(text).ok().map(|time| time.timestamp_millis());
    let wrong = || Problem::new(Code::InvalidRequest, "a time is RFC 3339, or a number of seconds since 1970").at(at);
    seconds.or_else(read).ok_or_else(wrong)
}

fn is_on(app: &App) -> Result<(), Problem> {
    let off = || Problem::new(Code::Conflict, "the log of verdicts is off (verdict_log.enabled)");
    if app.verdicts.on() { Ok(()) } else { Err(off()) }
}

/// Lists verdicts of the log, the newest first.
#[utoipa::path(
    get, path = "/v1/verdicts", operation_id = "list_verdicts", tag = "verdicts", params(VerdictQuery),
    responses((status = 200, body = VerdictList), (status = "default", body = super::problem::ProblemBody, content_type = "application/problem+json"))
)]
pub(super) async fn list(
    app: web::Data<App>,
    http: HttpRequest,
    query: web::Query<VerdictQuery>,
) -> Result<HttpResponse, Problem> {
    is_on(&app)?;
    let page = page(query.after.as_ref(), query.limit, query.order.as_deref(), 20)?;
    let filter = VerdictFilter {
        rubric: query.rubric.as_deref().unwrap_or_default(),
        model: query.model.as_deref().unwrap_or_default(),
        from: time(query.from.as_ref(), i64::MIN, "/from")?,
        to: time(query.to.as_ref(), i64::MAX, "/to")?,
    };
    let mut rows = app.verdicts.list(&seen_by(&http), filter, page).await?;
    let has_more = rows.len() as i64 == page.limit;
    rows.truncate(page.limit as usize - 1);
    let data: Vec<LoggedVerdict> = rows.into_iter().map(LoggedVerdict::from).collect();
    let last_id = data.last().map(|verdict| verdict.id.clone());
    Ok(HttpResponse::Ok().json(VerdictList { object: "list", data, last_id, has_more }))
}

/// Returns a verdict of the log with its request.
#[utoipa::path(
    get, path = "/v1/verdicts/{id}", operation_id = "get_verdict", tag = "verdicts",
    responses((status = 200, body = LoggedVerdict), (status = "default", body = super::problem::ProblemBody, content_type = "application/problem+json"))
)]
pub(super) async fn show(
    app: web::Data<App>,
    http: HttpRequest,
    id: web::Path<String>,
) -> Result<HttpResponse, Problem> {
    is_on(&app)?;
    let found = app.verdicts.find(&id, &seen_by(&http)).await?;
    let missing = || Problem::new(Code::UnknownVerdict, format!("there is no verdict `{id}` in the log"));
    Ok(HttpResponse::Ok().json(LoggedVerdict::from(found.ok_or_else(missing)?)))
}
