//! The HTTP client of the commands.

use std::error::Error;
use std::time::Duration;

use serde_json::Value;

use super::CliError;
use super::failures::FailureKind;

/// Maximum time to connect.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// Maximum length of the part of an answer without JSON that is shown, in characters.
const LONGEST_ANSWER: usize = 200;

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
    /// What can be done about it.
    pub(super) kind: FailureKind,
    /// The `Retry-After` of the server, if there is one.
    pub(super) wait: Option<Duration>,
}

impl Client {
    pub(super) fn new(base: &str) -> Result<Self, CliError> {
        let http = reqwest::Client::builder().no_proxy().connect_timeout(CONNECT_TIMEOUT).build();
        let http = http.map_err(|error| CliError::because("cannot create an HTTP client", error))?;
        Ok(Self { http, base: base.trim_end_matches('/').to_owned() })
    }

    /// Checks that a server answers, whatever it says.
    ///
    /// # Errors
    /// With the reason.
    pub(super) async fn check(&self) -> Result<(), CliError> {
        match self.http.get(format!("{}/livez", self.base)).send().await {
            Ok(_) => Ok(()),
            Err(error) => Err(CliError::because(format!("{} does not answer", self.base), causes(&error))),
        }
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
        let unreachable = |error| {
            let problem = no_answer(&format!("{} does not answer: {}", self.base, causes(&error)));
            Failure { problem, kind: FailureKind::Unanswered, wait: None }
        };
        let response = self.http.post(&url).json(body).send().await.map_err(unreachable)?;
        let (status, wait) = (response.status(), retry_after(&response));
        let text = response.text().await.unwrap_or_default();
        match serde_json::from_str(&text) {
            Ok(verdict) if status.is_success() => Ok(verdict),
            Ok(problem) => {
                let kind = FailureKind::of(status.as_u16(), &problem, wait.is_some());
                Err(Failure { problem, kind, wait })
            }
            Err(_) => {
                let text: String = text.chars().take(LONGEST_ANSWER).collect();
                let problem = no_answer(&format!("{url} answered {status}: {text}"));
                // A success that is cut off may be whole the next time.
                let kind = match FailureKind::of(status.as_u16(), &problem, wait.is_some()) {
                    FailureKind::Refused if status.is_success() => FailureKind::Passing,
                    kind => kind,
                };
                Err(Failure { problem, kind, wait })
            }
        }
    }
}

/// The error with its causes, which say what it is: refused, no such host, …
fn causes(error: &dyn Error) -> String {
    let (mut text, mut cause) = (error.to_string(), error.source());
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}

/// The problem of a request without an answer.
pub(super) fn no_answer(detail: &str) -> Value {
    serde_json::json!({"code": "no_answer", "detail": detail})
}

fn retry_after(response: &reqwest::Response) -> Option<Duration> {
    let value = response.headers().get(reqwest::header::RETRY_AFTER)?;
    value.to_str().ok()?.parse().ok().map(Duration::from_secs)
}
