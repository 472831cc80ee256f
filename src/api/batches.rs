//! `/v1/batches`: durable jobs, in OpenAI's protocol.

use std::collections::BTreeMap;
use std::time::Duration;

use actix_web::{HttpRequest, HttpResponse, web};
use indexmap::IndexMap;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::{IntoParams, ToSchema};

use super::files::{idempotency_key, owner, page, seen_by};
use super::json;
use super::problem::{Code, Problem};
use crate::app::App;
use crate::jobs::{BatchRequest, Status};
use crate::store::{BatchRow, Once, now};

/// A batch to be made.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[schema(example = json!({
    "input_file_id": "file-01K9ZJ3V0W2M4N6P8Q0R2S4T6V",
    "endpoint": "/v1/grade/absolute",
    "completion_window": "24h",
}))]
pub(super) struct NewBatchBody {
    /// A file with the purpose `batch`.
    input_file_id: String,
    /// The route of all its lines. Not in OpenAI's protocol: without it, each line names its own.
    #[serde(default)]
    endpoint: Option<String>,
    /// How long it may take: a number of minutes, hours or days, such as `24h`; up to `30d`.
    #[serde(default)]
    completion_window: Option<String>,
    /// Up to 16 texts of yours.
    #[serde(default)]
    metadata: Option<BTreeMap<String, String>>,
}

/// A batch. Times are seconds since 1970.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Batch)]
pub(super) struct BatchBody {
    id: String,
    object: &'static str,
    endpoint: Option<String>,
    /// Why its input was refused.
    errors: Option<BatchErrors>,
    input_file_id: String,
    completion_window: String,
    /// `validating`, `in_progress`, `finalizing`, `completed`, `failed`, `expired`, `cancelling` or `cancelled`.
    status: &'static str,
    /// The answers, in the order of the input.
    output_file_id: Option<String>,
    /// The answers that are errors, in the order of the input.
    error_file_id: Option<String>,
    created_at: i64,
    in_progress_at: Option<i64>,
    expires_at: i64,
    finalizing_at: Option<i64>,
    completed_at: Option<i64>,
    failed_at: Option<i64>,
    expired_at: Option<i64>,
    cancelling_at: Option<i64>,
    cancelled_at: Option<i64>,
    request_counts: RequestCounts,
    /// Lines by outcome: `ok`, or the code of an error. Not in OpenAI's protocol; absent in lists.
    #[serde(skip_serializing_if = "Option::is_none")]
    outcomes: Option<IndexMap<String, i64>>,
    /// Seconds until it ends at the rate so far. Not in OpenAI's protocol.
    #[serde(skip_serializing_if = "Option::is_none")]
    seconds_left: Option<i64>,
    #[schema(value_type = Object)]
    metadata: Value,
}

/// What is wrong with an input.
#[derive(Debug, Serialize, ToSchema)]
struct BatchErrors {
    object: &'static str,
    /// At most 20: `code`, `message`, `param` and `line` of each.
    #[schema(value_type = Vec<Object>)]
    data: Value,
}

/// How many lines there are, were answered well, and were answered with an error.
#[derive(Debug, Serialize, ToSchema)]
struct RequestCounts {
    total: i64,
    completed: i64,
    failed: i64,
}

/// A page of batches.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct BatchList {
    object: &'static str,
    data: Vec<BatchBody>,
    first_id: Option<String>,
    last_id: Option<String>,
    has_more: bool,
}

/// Which batches to list.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct BatchQuery {
    /// The id that the last page ended with.
    after: Option<String>,
    /// The most batches; 20 by default.
    limit: Option<i64>,
}

impl BatchBody {
    fn new(batch: BatchRow, outcomes: Option<IndexMap<String, i64>>) -> Self {
        let seconds = |at: i64| at / 1000;
        let ended = |status: Status| batch.ended_at.filter(|_| batch.status == status).map(seconds);
        let errors = batch.errors.as_deref().and_then(|errors| serde_json::from_str(errors).ok());
        Self {
            object: "batch",
            endpoint: Some(batch.endpoint.clone()).filter(|endpoint| !endpoint.is_empty()),
            errors: errors.map(|data| BatchErrors { object: "list", data }),
            completion_window: window_name(batch.expires_at - batch.created_at),
            status: match batch.status {
                Status::Expiring => "finalizing",
                status => status.name(),
            },
            created_at: seconds(batch.created_at),
            in_progress_at: batch.in_progress_at.map(seconds),
            expires_at: seconds(batch.expires_at),
            finalizing_at: ended(Status::Completed),
            completed_at: ended(Status::Completed),
            failed_at: ended(Status::Failed),
            expired_at: ended(Status::Expired),
            cancelling_at: batch.cancelling_at.map(seconds),
            cancelled_at: ended(Status::Cancelled),
            request_counts: RequestCounts {
                total: batch.counted.total,
                completed: batch.counted.completed,
                failed: batch.counted.failed,
            },
            outcomes,
            seconds_left: seconds_left(&batch),
            metadata: serde_json::from_str(&batch.metadata).unwrap_or_default(),
            input_file_id: batch.input_file,
            output_file_id: batch.output_file,
            error_file_id: batch.error_file,
            id: batch.id,
        }
    }
}

/// Seconds until a batch ends at the rate so far.
fn seconds_left(batch: &BatchRow) -> Option<i64> {
    let since = batch.in_progress_at.filter(|_| batch.status == Status::InProgress)?;
    let done = batch.counted.completed + batch.counted.failed;
    (done > 0).then(|| (now() - since).max(0) * (batch.counted.total - done) / done / 1000)
}

/// Units of a window, in milliseconds.
const UNITS: [(char, i64); 3] = [('d', 86_400_000), ('h', 3_600_000), ('m', 60_000)];

/// The time of a window such as `24h`.
fn window(text: &str) -> Option<Duration> {
    let unit = text.chars().next_back()?;
    let (_, length) = UNITS.into_iter().find(|(name, _)| *name == unit)?;
    let number: i64 = text.strip_suffix(unit)?.parse().ok()?;
    let window = number.checked_mul(length)?;
    (60_000..=30 * UNITS[0].1).contains(&window).then(|| Duration::from_millis(window.unsigned_abs()))
}

/// A window of milliseconds in hours, if it is whole hours, as OpenAI's clients expect, or else in minutes.
fn window_name(milliseconds: i64) -> String {
    let hours = milliseconds / UNITS[1].1;
    if hours * UNITS[1].1 == milliseconds { format!("{hours}h") } else { format!("{}m", milliseconds / UNITS[2].1) }
}

/// Makes a batch.
#[utoipa::path(
    post, path = "/v1/batches", operation_id = "create_batch", tag = "batches", request_body = NewBatchBody,
    responses((status = 200, body = BatchBody), (status = "default", body = super::problem::OpenAiError))
)]
pub(super) async fn create(
    app: web::Data<App>,
    http: HttpRequest,
    payload: web::Payload,
) -> Result<HttpResponse, Problem> {
    let key = idempotency_key(&http)?;
    let body: NewBatchBody = json::strict_unadmitted(&http, payload, app.config.limits.body_bytes).await?;
    let asked = serde_json::to_string(&body).expect("texts");
    let invalid = |detail: &str, at: &str| Problem::new(Code::InvalidRequest, detail).at(at);
    let window = window(body.completion_window.as_deref().unwrap_or("24h")).ok_or_else(|| {
        invalid("a window is a number of minutes, hours or days, such as `90m`, `24h` or `7d`", "/completion_window")
    })?;
    let metadata = body.metadata.unwrap_or_default();
    let long = |(name, value): (&String, &String)| name.chars().count() > 64 || value.chars().count() > 512;
    if metadata.len() > 16 || metadata.iter().any(long) {
        return Err(invalid(
            "metadata has up to 16 entries, with names of 64 and texts of 512 characters",
            "/metadata",
        ));
    }
    let request = BatchRequest {
        input_file: body.input_file_id,
        endpoint: body.endpoint.unwrap_or_default(),
        window,
        metadata: serde_json::to_string(&metadata).expect("texts"),
    };
    let once = key.map(|key| Once { key, request: &asked });
    let owner = owner(&http);
    let batch = app.jobs.submit(&owner, &request, once).await?;
    Ok(HttpResponse::Ok().json(BatchBody::new(batch, None)))
}

/// Lists batches, the newest first.
#[utoipa::path(
    get, path = "/v1/batches", operation_id = "list_batches", tag = "batches", params(BatchQuery),
    responses((status = 200, body = BatchList), (status = "default", body = super::problem::OpenAiError))
)]
pub(super) async fn list(
    app: web::Data<App>,
    http: HttpRequest,
    query: web::Query<BatchQuery>,
) -> Result<HttpResponse, Problem> {
    let page = page(query.after.as_ref(), query.limit, None, 20)?;
    let mut batches = app.jobs.batches(&seen_by(&http), page).await?;
    let has_more = batches.len() as i64 == page.limit;
    batches.truncate(page.limit as usize - 1);
    let data: Vec<BatchBody> = batches.into_iter().map(|batch| BatchBody::new(batch, None)).collect();
    let (first_id, last_id) = (data.first().map(|batch| batch.id.clone()), data.last().map(|batch| batch.id.clone()));
    Ok(HttpResponse::Ok().json(BatchList { object: "list", data, first_id, last_id, has_more }))
}

/// Returns how far a batch is.
#[utoipa::path(
    get, path = "/v1/batches/{id}", operation_id = "get_batch", tag = "batches",
    responses((status = 200, body = BatchBody), (status = "default", body = super::problem::OpenAiError))
)]
pub(super) async fn show(
    app: web::Data<App>,
    http: HttpRequest,
    id: web::Path<String>,
) -> Result<HttpResponse, Problem> {
    let batch = app.jobs.batch(&id, &seen_by(&http)).await?;
    let outcomes = app.jobs.outcomes(&batch.id).await?;
    Ok(HttpResponse::Ok().json(BatchBody::new(batch, Some(outcomes.into_iter().collect()))))
}

/// Cancels a batch. What was answered until then becomes its output.
#[utoipa::path(
    post, path = "/v1/batches/{id}/cancel", operation_id = "cancel_batch", tag = "batches",
    responses((status = 200, body = BatchBody), (status = "default", body = super::problem::OpenAiError))
)]
pub(super) async fn cancel(
    app: web::Data<App>,
    http: HttpRequest,
    id: web::Path<String>,
) -> Result<HttpResponse, Problem> {
    let batch = app.jobs.cancel(&id, &seen_by(&http)).await?;
    Ok(HttpResponse::Ok().json(BatchBody::new(batch, None)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn windows_are_read_and_named() {
        let check = |text: &str, expected: Option<&str>| {
            let read = window(text).map(|window| window_name(window.as_millis() as i64));
            assert_eq!(read.as_deref(), expected, "{text}");
        };
        check("24h", Some("24h"));
        check("1d", Some("24h"));
        check("90m", Some("90m"));
        check("60m", Some("1h"));
        check("30d", Some("720h"));
        for wrong in ["", "h", "24", "0h", "31d", "-1h", "1.5h", "24 h", "9223372036854775807d", "1é"] {
            check(wrong, None);
        }
    }
}
