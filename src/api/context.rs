//! The caller and the deadline of a request.

use std::time::Duration;

use actix_web::HttpRequest;

use super::access;
use super::middleware::{arrived, tally};
use super::of_batch::OfBatch;
use super::problem::{Code, Problem};
use crate::app::App;
use crate::service::{Deadline, RequestContext};

/// The context of an HTTP request: its caller and its deadline. The caller is its API key, or else its address.
///
/// # Errors
/// `invalid_request` for a malformed `X-Request-Timeout-Ms`.
pub(super) fn of_request(request: &HttpRequest, app: &App) -> Result<RequestContext, Problem> {
    let deadline = deadline(request, app)?;
    let peer = || request.peer_addr().map(|peer| peer.ip().to_canonical().to_string());
    let (batch, share) = (OfBatch::mark(request), access::share(request));
    let caller = batch.as_ref().map(OfBatch::caller).or_else(|| access::key_name(request)).or_else(peer);
    let mut context = app.service.context(caller.as_deref().unwrap_or("unknown"), deadline);
    context.flow.weight = if batch.is_some() { share.of_batches() } else { share };
    context.tally = tally(request);
    Ok(context)
}

/// The context of a request from this process.
pub(super) fn local(app: &App) -> RequestContext {
    app.service.context("local", Deadline::after(Duration::from_millis(app.config.limits.deadline_ms)))
}

/// The deadline of a request: `X-Request-Timeout-Ms`, at most the configured maximum, from the arrival of its head.
///
/// # Errors
/// `invalid_request` for a malformed `X-Request-Timeout-Ms`.
pub(super) fn deadline(request: &HttpRequest, app: &App) -> Result<Deadline, Problem> {
    let Some(value) = request.headers().get("x-request-timeout-ms") else { return Ok(ceiling(request, app)) };
    match value.to_str().ok().and_then(|text| text.parse::<u64>().ok()) {
        Some(asked) if asked > 0 => Ok(within(request, asked.min(app.config.limits.deadline_ms))),
        _ => Err(Problem::new(Code::InvalidRequest, "X-Request-Timeout-Ms is a number of milliseconds above 0")),
    }
}

/// The configured maximum deadline, from the arrival of the request's head.
pub(super) fn ceiling(request: &HttpRequest, app: &App) -> Deadline {
    within(request, app.config.limits.deadline_ms)
}

fn within(request: &HttpRequest, milliseconds: u64) -> Deadline {
    Deadline::since(arrived(request), Duration::from_millis(milliseconds))
}
