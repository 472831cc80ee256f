//! The HTTP client of the commands.

use std::time::Duration;

use reqwest::StatusCode;
use serde_json::Value;

use super::CliError;

/// How often a refused or broken request is sent in all.
const TRIES: u32 = 6;
/// Statuses after which trying again may help.
const MENDABLE: [StatusCode; 3] =
    [StatusCode::BAD_GATEWAY, StatusCode::SERVICE_UNAVAILABLE, StatusCode::TOO_MANY_REQUESTS];

/// Sends grading requests to one server.
#[derive(Clone)]
pub(super) struct Client {
    http: reqwest::Client,
    base: String,
}

/// What came of a request.
pub(super) enum Reply {
    /// A verdict.
    Verdict(Value),
    /// A problem that trying again did not mend.
    Problem(Value),
}

impl Client {
    pub(super) fn new(base: &str) -> Result<Self, CliError> {
        let http = reqwest::Client::builder().no_proxy().build();
        let http = http.map_err(|error| CliError::because("no HTTP client", error))?;
        Ok(Self { http, base: base.trim_end_matches('/').to_owned() })
    }

    /// Posts a body. A server that is busy, loading, mending its engine or away for a moment is asked again.
    pub(super) async fn post(&self, path: &str, body: &Value) -> Reply {
        let url = format!("{}{path}", self.base);
        let mut tries = 0;
        loop {
            tries += 1;
            let (problem, wait) = match self.http.post(&url).json(body).send().await {
                Ok(response) => {
                    let (status, wait) = (response.status(), retry_after(&response));
                    let text = response.text().await.unwrap_or_default();
                    match serde_json::from_str(&text) {
                        Ok(verdict) if status.is_success() => return Reply::Verdict(verdict),
                        Ok(problem) if !MENDABLE.contains(&status) => return Reply::Problem(problem),
                        Ok(problem) => (problem, wait),
                        Err(_) => (unreadable(&format!("{url} answered {status}: {text}")), wait),
                    }
                }
                Err(error) => (unreadable(&format!("{url} does not answer: {error}")), None),
            };
            if tries == TRIES {
                return Reply::Problem(problem);
            }
            tracing::debug!(%problem, tries, "trying again");
            tokio::time::sleep(wait.unwrap_or(Duration::from_millis(125 << tries))).await;
        }
    }
}

fn unreadable(detail: &str) -> Value {
    serde_json::json!({"code": "no_answer", "detail": detail})
}

fn retry_after(response: &reqwest::Response) -> Option<Duration> {
    let value = response.headers().get(reqwest::header::RETRY_AFTER)?;
    value.to_str().ok()?.parse().ok().map(Duration::from_secs)
}
