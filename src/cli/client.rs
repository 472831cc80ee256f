//! The HTTP client of the commands.

use std::time::Duration;

use reqwest::StatusCode;
use reqwest::header::ACCEPT;
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

    /// The JSON of a route, asked once; `None` where there is none.
    pub(super) async fn get(&self, path: &str) -> Option<Value> {
        let response = self.http.get(format!("{}{path}", self.base)).send().await.ok()?;
        if response.status().is_success() { response.json().await.ok() } else { None }
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

    /// Posts a body once, and hears what is written until the verdict comes.
    pub(super) async fn stream(&self, path: &str, body: &Value, mut hear: impl FnMut(&Value)) -> Reply {
        let url = format!("{}{path}", self.base);
        let broken = |error: reqwest::Error| Reply::Problem(unreadable(&format!("{url} does not answer: {error}")));
        let request = self.http.post(&url).header(ACCEPT, "text/event-stream").json(body);
        let mut response = match request.send().await {
            Ok(response) if response.status().is_success() => response,
            Ok(response) => return response.json().await.map_or_else(broken, Reply::Problem),
            Err(error) => return broken(error),
        };
        let mut come = Vec::new();
        loop {
            match response.chunk().await {
                Ok(Some(bytes)) => come.extend(bytes),
                Ok(None) => return Reply::Problem(unreadable(&format!("{url} ended without a verdict"))),
                Err(error) => return broken(error),
            }
            while let Some(end) = come.windows(2).position(|two| two == b"\n\n") {
                let text: Vec<u8> = come.drain(..end + 2).collect();
                match event(&String::from_utf8_lossy(&text)) {
                    Some(("verdict", verdict)) => return Reply::Verdict(verdict),
                    Some(("error", problem)) => return Reply::Problem(problem),
                    Some((_, written)) => hear(&written),
                    None => {}
                }
            }
        }
    }
}

/// One server-sent event: its name and its data.
fn event(text: &str) -> Option<(&str, Value)> {
    let field = |name: &str| text.lines().find_map(|line| line.strip_prefix(name));
    Some((field("event: ")?, serde_json::from_str(field("data: ")?).ok()?))
}

fn unreadable(detail: &str) -> Value {
    serde_json::json!({"code": "no_answer", "detail": detail})
}

fn retry_after(response: &reqwest::Response) -> Option<Duration> {
    let value = response.headers().get(reqwest::header::RETRY_AFTER)?;
    value.to_str().ok()?.parse().ok().map(Duration::from_secs)
}
