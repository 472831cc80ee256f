//! Answers a grading request with one JSON object, or with server-sent events while feedback is generated.
//!
//! The work runs in its own task: if a caller stops reading, the response stops, but not the work or its deadline, and
//! no permit is held.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use actix_web::http::header::{ACCEPT, CACHE_CONTROL};
use actix_web::web::{Bytes, Data};
use actix_web::{HttpRequest, HttpResponse};
use futures::{StreamExt, stream};
use serde::Serialize;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use super::middleware::{base, in_spans, request_id};
use super::problem::{Code, Problem};
use crate::app::App;
use crate::domain::Order;
use crate::service::{Delta, Progress};
use crate::tasks::RunKey;

#[derive(Serialize)]
struct FeedbackEvent {
    /// The juror, if a jury judges.
    #[serde(skip_serializing_if = "Option::is_none")]
    judge: Option<String>,
    sample: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    order: Option<Order>,
    #[serde(skip_serializing_if = "is_first")]
    criterion: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    response: Option<char>,
    delta: String,
}

fn is_first(criterion: &usize) -> bool {
    *criterion == 0
}

/// How many bytes of each sample were shown.
#[derive(Debug, Default)]
pub(super) struct Shown(Mutex<HashMap<u32, usize>>);

impl Shown {
    /// Appends to the streamed text, and returns the text before.
    pub(super) fn add(&self, sample: u32, bytes: usize) -> usize {
        let mut shown = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let so_far = shown.entry(sample).or_default();
        std::mem::replace(so_far, *so_far + bytes)
    }

    /// The streamed text; `None` if there is none.
    pub(super) fn of(&self, sample: u32) -> Option<usize> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get(&sample).copied()
    }
}

/// Formats the events of a stream.
pub(super) struct Events<T> {
    /// An event with the text since the last event; empty for no event.
    pub(super) delta: Progress<String>,
    /// The last event.
    pub(super) last: Box<dyn FnOnce(T) -> String>,
    /// An error after the first byte, for the base URL of the server and the id of the request.
    pub(super) failed: fn(&Problem, &str, &str) -> String,
}

/// Runs a grading, and answers in the format that the caller accepts.
pub(super) async fn answer<T, B, F>(
    http: &HttpRequest,
    run: impl FnOnce(Option<Progress>) -> F,
    body: impl FnOnce(T) -> B + 'static,
) -> Result<HttpResponse, Problem>
where
    T: 'static,
    B: Serialize + 'static,
    F: Future<Output = Result<T, Problem>> + 'static,
{
    let accepts = http.headers().get(ACCEPT).and_then(|value| value.to_str().ok());
    if !accepts.is_some_and(|accepts| accepts.contains("text/event-stream")) {
        return Ok(HttpResponse::Ok().json(body(run(None).await?)));
    }
    let form = Events {
        delta: Arc::new(|delta: Delta| {
            let Delta { run: RunKey { criterion, response, order, .. }, sample, judge, text } = delta;
            let judge = judge.map(|judge| judge.to_string());
            event("feedback", &FeedbackEvent { judge, sample, order, criterion, response, delta: text })
        }),
        last: Box::new(move |verdict| event("verdict", &body(verdict))),
        failed: |problem, base, id| event("error", &problem.body(base, id)),
    };
    events(http, run, form).await
}

/// Work that is stopped when its response is dropped.
struct AbortOnDrop(JoinHandle<()>);

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Runs a job and streams its events. If the caller disconnects, the job is dropped, and its work stops.
pub(super) async fn events<T, F>(
    http: &HttpRequest,
    run: impl FnOnce(Option<Progress>) -> F,
    Events { delta, last, failed }: Events<T>,
) -> Result<HttpResponse, Problem>
where
    T: 'static,
    F: Future<Output = Result<T, Problem>> + 'static,
{
    let (sender, events) = mpsc::unbounded_channel();
    let deltas = sender.clone();
    let progress: Progress = Arc::new(move |written: Delta| {
        let event = delta(written);
        if !event.is_empty() {
            // The receiver is gone, and the work will be dropped.
            let _ = deltas.send(Ok(event));
        }
    });
    let run = run(Some(progress));
    let work = AbortOnDrop(actix_web::rt::spawn(in_spans(http, async move {
        let ended = run.await.map(last);
        // The same holds here.
        let _ = sender.send(ended);
    })));
    let mut events = stream::unfold((events, work), |(mut events, work)| async move {
        let event: Result<String, Problem> = events.recv().await?;
        Some((event, (events, work)))
    })
    .boxed_local();
    // An error before the first text is answered as without streaming.
    let interrupted = || Err(Problem::new(Code::Internal, "the work was interrupted"));
    let first = events.next().await.unwrap_or_else(interrupted)?;
    let (base, id) = (base(http), request_id(http));
    let app = http.app_data::<Data<App>>().cloned();
    let rest = events.map(move |next| {
        next.unwrap_or_else(|problem| {
            // The status has been sent, so the error must be logged here.
            let code = problem.code().name();
            app.iter().for_each(|app| app.metrics.rejected.with_label_values(&[code]).inc());
            tracing::warn!(code, %problem, "the stream ends with an error");
            failed(&problem, &base, &id)
        })
    });
    let all = stream::iter([first]).chain(rest);
    Ok(HttpResponse::Ok()
        .content_type("text/event-stream; charset=utf-8")
        .insert_header((CACHE_CONTROL, "no-cache"))
        .streaming(all.map(|event| Ok::<_, std::convert::Infallible>(Bytes::from(unbroken(event))))))
}

/// An event whose JSON escapes the characters that some readers (Python's `splitlines`, and so `iter_lines` of its HTTP
/// clients) treat as line breaks.
fn unbroken(event: String) -> String {
    const ENDS: [char; 3] = ['\u{85}', '\u{2028}', '\u{2029}'];
    if !event.contains(ENDS) {
        return event;
    }
    let escaped = |c: char| if ENDS.contains(&c) { format!("\\u{:04x}", u32::from(c)) } else { c.to_string() };
    event.chars().map(escaped).collect()
}

fn event(name: &str, data: &impl Serialize) -> String {
    format!("event: {name}\ndata: {}\n\n", serde_json::to_string(data).expect("wire types are plain data"))
}
