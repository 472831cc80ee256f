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

/// Why there is no verdict.
pub(super) struct Refused {
    /// The problem, as servers write it.
    pub(super) problem: Value,
    /// Whether another try may help.
    pub(super) again: bool,
    /// When to try, if the server says so.
    pub(super) wait: Option<Duration>,
}

impl Client {
    pub(super) fn new(base: &str) -> Result<Self, CliError> {
        let http = reqwest::Client::builder().no_proxy().build();
        let http = http.map_err(|error| CliError::because("no HTTP client", error))?;
        Ok(Self { http, base: base.trim_end_matches('/').to_owned() })
    }

    /// The JSON of a route, asked once; `None` where there is none.
    pub(super) async fn get(&self, path: &str) -> Option<Value> {
        let response = self.http.get(format!("{}{path}", self.base)).send().await.ok()?;
        if response.status().is_success() { response.json().await.ok() } else { None }
    }

    /// Posts a body, once.
    ///
    /// # Errors
    /// When the server refuses it, is away, or answers with what is no JSON.
    pub(super) async fn post(&self, path: &str, body: &Value) -> Result<Value, Refused> {
        let url = format!("{}{path}", self.base);
        let away =
            |error| Refused { problem: no_answer(&format!("{url} does not answer: {error}")), again: true, wait: None };
        let response = self.http.post(&url).json(body).send().await.map_err(away)?;
        let (status, wait) = (response.status(), retry_after(&response));
        let text = response.text().await.unwrap_or_default();
        match serde_json::from_str(&text) {
            Ok(verdict) if status.is_success() => Ok(verdict),
            Ok(problem) => Err(Refused { problem, again: may_be_mended(status.as_u16()), wait }),
            Err(_) => {
                Err(Refused { problem: no_answer(&format!("{url} answered {status}: {text}")), again: true, wait })
            }
        }
    }
}

/// Whether a request that was answered with this status may get another answer later.
pub(super) fn may_be_mended(status: u16) -> bool {
    matches!(status, 429 | 502 | 503)
}

/// The problem of a request that nobody answers.
pub(super) fn no_answer(detail: &str) -> Value {
    serde_json::json!({"code": "no_answer", "detail": detail})
}

fn retry_after(response: &reqwest::Response) -> Option<Duration> {
    let value = response.headers().get(reqwest::header::RETRY_AFTER)?;
    value.to_str().ok()?.parse().ok().map(Duration::from_secs)
}
