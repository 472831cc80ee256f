//! The HTTP client of the commands.

use std::time::Duration;

use serde_json::Value;

use super::CliError;

/// Sends grading requests to one server.
#[derive(Clone)]
pub(super) struct Client {
    http: reqwest::Client,
    base: String,
}

/// A request without a verdict.
pub(super) struct Failure {
    /// The problem, in the server's format.
    pub(super) problem: Value,
    /// Whether a retry may help.
    pub(super) retry: bool,
    /// The `Retry-After` of the server, if there is one.
    pub(super) wait: Option<Duration>,
}

impl Client {
    pub(super) fn new(base: &str) -> Result<Self, CliError> {
        let http = reqwest::Client::builder().no_proxy().build();
        let http = http.map_err(|error| CliError::because("cannot create an HTTP client", error))?;
        Ok(Self { http, base: base.trim_end_matches('/').to_owned() })
    }

    /// The JSON of a route, without retries; `None` if there is none.
    pub(super) async fn get(&self, path: &str) -> Option<Value> {
        let response = self.http.get(format!("{}{path}", self.base)).send().await.ok()?;
        if response.status().is_success() { response.json().await.ok() } else { None }
    }

    /// Posts a body, without retries.
    ///
    /// # Errors
    /// If the server refuses it, is unreachable, or answers with invalid JSON.
    pub(super) async fn post(&self, path: &str, body: &Value) -> Result<Value, Failure> {
        let url = format!("{}{path}", self.base);
        let unreachable =
            |error| Failure { problem: no_answer(&format!("{url} does not answer: {error}")), retry: true, wait: None };
        let response = self.http.post(&url).json(body).send().await.map_err(unreachable)?;
        let (status, wait) = (response.status(), retry_after(&response));
        let text = response.text().await.unwrap_or_default();
        match serde_json::from_str(&text) {
            Ok(verdict) if status.is_success() => Ok(verdict),
            Ok(problem) => Err(Failure { problem, retry: is_retryable(status.as_u16()), wait }),
            Err(_) => {
                Err(Failure { problem: no_answer(&format!("{url} answered {status}: {text}")), retry: true, wait })
            }
        }
    }
}

/// Whether a retry may help after this HTTP status.
pub(super) fn is_retryable(status: u16) -> bool {
    matches!(status, 429 | 502 | 503)
}

/// The problem of a request without an answer.
pub(super) fn no_answer(detail: &str) -> Value {
    serde_json::json!({"code": "no_answer", "detail": detail})
}

fn retry_after(response: &reqwest::Response) -> Option<Duration> {
    let value = response.headers().get(reqwest::header::RETRY_AFTER)?;
    value.to_str().ok()?.parse().ok().map(Duration::from_secs)
}
