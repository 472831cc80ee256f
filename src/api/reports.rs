//! `/v1/reports`: the stored reports of `gavel agree` and `gavel redteam`, which say how far judges are to be trusted.

use std::time::UNIX_EPOCH;

use actix_web::{HttpResponse, web};
use serde::Serialize;
use utoipa::ToSchema;

use super::problem::{Code, Problem};
use crate::app::App;
use crate::domain::agreement::report::{Model, Named};
use crate::reports::{ReportEntry, ReportError, ReportedJudge};

/// The stored reports by name.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct ReportList {
    object: &'static str,
    data: Vec<StoredReport>,
    /// Files beyond the first 200, which are not listed.
    left_out: usize,
}

/// A file of the folder `reports` of the data directory.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct StoredReport {
    /// The name of the file without `.json`.
    name: String,
    bytes: u64,
    /// When the file was written, in seconds since 1970.
    modified_at: Option<u64>,
    /// `agreement` or `redteam`; null if the file is no report.
    report: Option<&'static str>,
    /// The version of Gavel that made it.
    version: Option<String>,
    judges: Vec<StoredJudge>,
    /// Why the file is no report.
    error: Option<String>,
}

/// A judge of a report.
#[derive(Debug, Serialize, ToSchema)]
struct StoredJudge {
    name: String,
    model: Option<StoredModel>,
    prompt: Option<StoredPrompt>,
}

/// The model that judged; null where the verdicts do not say, or not all say the same.
#[derive(Debug, Serialize, ToSchema)]
struct StoredModel {
    name: String,
    engine: String,
    digest: String,
}

/// The prompt set that was judged with; null likewise.
#[derive(Debug, Serialize, ToSchema)]
struct StoredPrompt {
    name: String,
    digest: String,
}

impl StoredReport {
    fn of(ReportEntry { name, bytes, modified, content }: ReportEntry) -> Self {
        let since = modified.and_then(|at| at.duration_since(UNIX_EPOCH).ok());
        let (summary, error) = match content {
            Ok(summary) => (Some(summary), None),
            Err(reason) => (None, Some(reason)),
        };
        Self {
            name,
            bytes,
            modified_at: since.map(|since| since.as_secs()),
            report: summary.as_ref().map(|summary| summary.object),
            version: summary.as_ref().map(|summary| summary.version.clone()),
            judges: summary.into_iter().flat_map(|summary| summary.judges).map(StoredJudge::of).collect(),
            error,
        }
    }
}

impl StoredJudge {
    fn of(ReportedJudge { name, model, prompt }: ReportedJudge) -> Self {
        Self {
            name,
            model: model.map(|Model { name, engine, digest }| StoredModel { name, engine, digest }),
            prompt: prompt.map(|Named { name, digest }| StoredPrompt { name, digest }),
        }
    }
}

/// Runs what reads files away from the threads of the server.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, ReportError> + Send + 'static,
) -> Result<T, Problem> {
    let done = web::block(work).await;
    let done =
        done.map_err(|_| Problem::new(Code::ShuttingDown, "the server has stopped while it read the reports"))?;
    Ok(done?)
}

/// Lists the stored reports, by name.
#[utoipa::path(
    get, path = "/v1/reports", operation_id = "list_reports", tag = "reports",
    responses((status = 200, body = ReportList), (status = "default", body = super::problem::ProblemBody, content_type = "application/problem+json"))
)]
pub(super) async fn list(app: web::Data<App>) -> Result<HttpResponse, Problem> {
    let listing = blocking(move || app.reports.list()).await?;
    let data = listing.entries.into_iter().map(StoredReport::of).collect();
    Ok(HttpResponse::Ok().json(ReportList { object: "list", data, left_out: listing.left_out }))
}

/// Returns a stored report, as `gavel agree --json` or `gavel redteam --json` has printed it.
#[utoipa::path(
    get, path = "/v1/reports/{name}", operation_id = "get_report", tag = "reports", params(("name" = String, Path)),
    responses((status = 200, body = Object), (status = "default", body = super::problem::ProblemBody, content_type = "application/problem+json"))
)]
pub(super) async fn show(app: web::Data<App>, name: web::Path<String>) -> Result<HttpResponse, Problem> {
    let text = blocking(move || app.reports.get(&name)).await?;
    Ok(HttpResponse::Ok().content_type("application/json").body(text))
}
