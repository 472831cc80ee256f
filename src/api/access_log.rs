//! The record of one request and its response, for metrics, the access log and traces.

use std::pin::Pin;
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll};
use std::time::Instant;

use actix_web::body::{BodySize, BoxBody, MessageBody};
use actix_web::dev::ServiceRequest;
use actix_web::http::StatusCode;
use actix_web::web::{Bytes, Data};
use tracing::Span;
use tracing::field::Empty;

use super::problem::Problem;
use super::recent_errors::{self, RecentError, RecentErrors};
use crate::app::App;
use crate::keys::Admitted;
use crate::service::{Tally, Totals};
use crate::telemetry::{self, TRACES};

/// The status that is counted where the client closed the connection before its response, as in nginx.
const GONE: u16 = 499;
/// Routes that are polled, and logged at debug level only.
const PROBES: [&str; 4] = ["/livez", "/readyz", "/health", "/metrics"];
/// The methods that are metric labels; any other is `other`, so that clients cannot create labels.
const METHODS: [&str; 7] = ["GET", "POST", "PUT", "DELETE", "HEAD", "OPTIONS", "PATCH"];

/// The request of an API key, once it has passed.
pub(super) type Seat = Arc<OnceLock<Admitted>>;

/// The record of a request in progress. It is counted, logged and traced when it is dropped: after the response, or
/// when the client closes the connection.
pub(super) struct AccessRecord {
    app: Option<Data<App>>,
    errors: Option<Data<RecentErrors>>,
    id: String,
    started: Instant,
    route: String,
    method: &'static str,
    line: Span,
    trace: Span,
    answer: Option<(StatusCode, Option<Problem>)>,
    tally: Arc<Tally>,
    seat: Seat,
}

impl AccessRecord {
    pub(super) fn begin(request: &ServiceRequest, id: &str) -> Self {
        let route = request.match_pattern().unwrap_or_else(|| "unmatched".to_owned());
        let method = METHODS.into_iter().find(|m| *m == request.method().as_str()).unwrap_or("other");
        let peer = request.peer_addr().map(|peer| tracing::field::display(peer.ip().to_canonical()));
        let line = tracing::info_span!("request", request_id = id, method, route, peer);
        let trace = tracing::info_span!(
            target: TRACES,
            "request",
            otel.name = format_args!("{method} {route}"),
            otel.kind = "server",
            otel.status_code = Empty,
            http.request.method = method,
            http.route = route,
            http.response.status_code = Empty,
            error.type = Empty,
            request_id = id,
        );
        let header = |name| request.headers().get(name).and_then(|value| value.to_str().ok());
        telemetry::continue_trace(&trace, header("traceparent"), header("tracestate"));
        let app = request.app_data::<Data<App>>().cloned();
        let (errors, id) = (request.app_data::<Data<RecentErrors>>().cloned(), id.to_owned());
        let (tally, seat) = (Arc::default(), Seat::default());
        Self { app, errors, id, started: Instant::now(), route, method, line, trace, answer: None, tally, seat }
    }

    /// The span of log lines, and the span of traces.
    pub(super) fn spans(&self) -> (Span, Span) {
        (self.line.clone(), self.trace.clone())
    }

    /// What the request comes to, filled while it is served.
    pub(super) fn tally(&self) -> Arc<Tally> {
        Arc::clone(&self.tally)
    }

    /// The API key of the request, filled when it has passed.
    pub(super) fn seat(&self) -> Seat {
        Arc::clone(&self.seat)
    }

    /// Records the status of the response, and its error.
    pub(super) fn answered(&mut self, status: StatusCode, problem: Option<Problem>) {
        self.answer = Some((status, problem));
    }

    /// Keeps the error for `/v1/errors`.
    fn keep(&self, status: u16, code: &'static str) {
        if let Some(errors) = &self.errors {
            let key = self.seat.get().map(|admitted| admitted.caller.key.name.clone());
            let (request_id, route) = (self.id.clone(), self.route.clone());
            errors.push(RecentError {
                at: recent_errors::now(),
                request_id,
                method: self.method,
                route,
                status,
                code,
                key,
            });
        }
    }

    /// Keeps the record open until the body has been sent or dropped.
    pub(super) fn until_sent(self, body: BoxBody) -> BoxBody {
        BoxBody::new(RecordedBody { body, record: self })
    }
}

impl Drop for AccessRecord {
    fn drop(&mut self) {
        let (status, problem) = match self.answer.take() {
            Some((status, problem)) => (status.as_u16(), problem),
            None => (GONE, None),
        };
        let code = problem.as_ref().map(|problem| problem.code().name());
        let elapsed = self.started.elapsed();
        if let Some(app) = &self.app {
            let labels = [self.route.as_str(), self.method, &status.to_string()];
            app.metrics.http_requests.with_label_values(&labels).inc();
            app.metrics.http_duration.with_label_values(&labels[..1]).observe(elapsed.as_secs_f64());
            if let Some(code) = code {
                app.metrics.rejected.with_label_values(&[code]).inc();
            }
        }
        if let Some(code) = code.filter(|_| !PROBES.contains(&self.route.as_str())) {
            self.keep(status, code);
        }
        self.trace.record("http.response.status_code", i64::from(status));
        if status >= 500 {
            self.trace.record("otel.status_code", "ERROR");
        }
        if let Some(code) = code {
            self.trace.record("error.type", code);
        }
        let milliseconds = (elapsed.as_secs_f64() * 1e6).round() / 1e3;
        let _line = self.line.enter();
        let Totals { model, rubric, judgements, usage, label_mass } = self.tally.totals();
        let key = self.seat.get().map(|admitted| {
            admitted.end(judgements, usage.prompt_tokens, usage.completion_tokens, Instant::now());
            admitted.caller.key.name.as_str()
        });
        let counted = |count: u64| (judgements > 0).then_some(count);
        let (prompt_tokens, completion_tokens) = (counted(usage.prompt_tokens), counted(usage.completion_tokens));
        let judgements = counted(judgements);
        match problem {
            _ if PROBES.contains(&self.route.as_str()) => tracing::debug!(status, milliseconds, code, "answered"),
            Some(problem) if status >= 500 => {
                let _trace = self.trace.enter();
                tracing::warn!(status, milliseconds, code, %problem, "answered");
            }
            None if status == GONE => tracing::info!(status, milliseconds, "the caller went away"),
            _ => tracing::info!(
                status,
                milliseconds,
                code,
                key,
                model,
                rubric,
                judgements,
                prompt_tokens,
                completion_tokens,
                label_mass,
                "answered"
            ),
        }
    }
}

/// A body that is a part of its record until its end.
struct RecordedBody {
    body: BoxBody,
    record: AccessRecord,
}

impl MessageBody for RecordedBody {
    type Error = <BoxBody as MessageBody>::Error;

    fn size(&self) -> BodySize {
        self.body.size()
    }

    fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Bytes, Self::Error>>> {
        let Self { body, record } = self.get_mut();
        let (_line, _trace) = (record.line.enter(), record.trace.enter());
        Pin::new(body).poll_next(context)
    }
}
