//! The HTTP client of the commands.

use std::time::Duration;

use reqwest::StatusCode;
use serde_json::Value;

use super::CliError;

/// How often a refused or broken request is sent again.
const TRIES: u32 = 8;

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
    /// A problem that trying again does not mend.
    Problem(Value),
}

impl Client {
    pub(super) fn new(base: &str) -> Result<Self, CliError> {
        let http = reqwest::Client::builder().no_proxy().build();
        let http = http.map_err(|error| CliError::because("no HTTP client", error))?;
        Ok(Self { http, base: base.trim_end_matches('/').to_owned() })
    }

    /// Posts a body. A server that is busy, loading or away for a moment is asked again.
    pub(super) async fn post(&self, path: &str, body: &Value) -> Result<Reply, CliError> {
        let url = format!("{}{path}", self.base);
        let mut tries = 0;
        loop {
            tries += 1;
            let (why, wait) = match self.http.post(&url).json(body).send().await {
                Ok(response) if response.status().is_success() => {
                    let verdict = response.json().await.map_err(|error| CliError::because(&url, error))?;
                    return Ok(Reply::Verdict(verdict));
                }
                Ok(response) => {
                    let (status, wait) = (response.status(), retry_after(&response));
                    let text = response.text().await.unwrap_or_default();
                    let busy = [StatusCode::SERVICE_UNAVAILABLE, StatusCode::TOO_MANY_REQUESTS].contains(&status);
                    let problem = serde_json::from_str(&text).unwrap_or_else(
                        |_| serde_json::json!({"status": status.as_u16(), "code": "not_gavel", "detail": text}),
                    );
                    if !busy || tries == TRIES {
                        return Ok(Reply::Problem(problem));
                    }
                    (status.to_string(), wait)
                }
                Err(error) if tries == TRIES || !error.is_connect() => {
                    return Err(CliError::because(format!("{url} does not answer"), error));
                }
                Err(error) => (error.to_string(), None),
            };
            tracing::debug!(why, tries, "trying again");
            tokio::time::sleep(wait.unwrap_or(Duration::from_millis(250 << tries.min(5)))).await;
        }
    }
}

fn retry_after(response: &reqwest::Response) -> Option<Duration> {
    let value = response.headers().get(reqwest::header::RETRY_AFTER)?;
    value.to_str().ok()?.parse().ok().map(Duration::from_secs)
}
