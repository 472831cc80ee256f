//! The HTTP client of the commands.

use std::error::Error;
use std::time::Duration;

use reqwest::StatusCode;
use reqwest::header::{AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderValue};
use serde_json::Value;

use super::CliError;
use super::failures::FailureKind;
use crate::config::api_key;

/// Maximum time to connect, and for the answers of routes that grade nothing.
const PROBE_TIMEOUT: Duration = Duration::from_secs(10);
/// Default of the maximum time for the answer to a grading: longer than the default deadline of a server (ten minutes),
/// which answers with the reason when it has passed.
pub(super) const ANSWER_TIMEOUT: Duration = Duration::from_secs(630);
/// Maximum time of an upload or a download.
const WHOLE_FILE: Duration = Duration::from_secs(24 * 60 * 60);
/// Maximum length of the part of an answer without JSON that is shown, in characters.
const LONGEST_ANSWER: usize = 200;

/// Sends grading requests to one server.
#[derive(Clone)]
pub(super) struct Client {
    http: reqwest::Client,
    base: String,
    /// Maximum time for an answer.
    timeout: Duration,
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

/// The URL of a server without what clients of OpenAI's API have at its end.
fn root_of(base: &str) -> &str {
    let base = base.trim_end_matches('/');
    base.strip_suffix("/v1").unwrap_or(base).trim_end_matches('/')
}

impl Client {
    /// A client of the server with this URL, whose gradings take at most `timeout`.
    ///
    /// # Errors
    /// If it is no URL of a server, or the system has no usable TLS.
    pub(super) fn new(base: &str, timeout: Duration) -> Result<Self, CliError> {
        if !base.starts_with("http://") && !base.starts_with("https://") {
            let what = format!("--server {base}: the URL must begin with http:// or https://, such as http://{base}");
            return Err(CliError::Usage(what));
        }
        let http = reqwest::Client::builder().default_headers(key_header()?).no_proxy();
        let http = http.connect_timeout(PROBE_TIMEOUT.min(timeout)).timeout(timeout);
        let http = http.build().map_err(|error| CliError::because("cannot create an HTTP client", error))?;
        Ok(Self { http, base: root_of(base).to_owned(), timeout })
    }

    /// A GET of a route that answers at once.
    async fn probe(&self, path: &str) -> Result<reqwest::Response, reqwest::Error> {
        self.http.get(format!("{}{path}", self.base)).timeout(PROBE_TIMEOUT.min(self.timeout)).send().await
    }

    /// Checks that a server answers, whatever it says, unless it wants another key.
    ///
    /// # Errors
    /// With the reason.
    pub(super) async fn check(&self) -> Result<(), CliError> {
        match self.probe("/v1/info").await {
            Ok(response) if response.status() == StatusCode::UNAUTHORIZED => {
                let why = if api_key().is_some() { "refuses the API key in" } else { "needs an API key; set" };
                Err(CliError::Failed(format!("{} {why} GAVEL_API_KEY", self.base)))
            }
            Ok(_) => Ok(()),
            Err(error) => Err(CliError::Failed(self.unanswered(&error, PROBE_TIMEOUT.min(self.timeout)))),
        }
    }

    /// The JSON of a route, without retries; `None` if there is none.
    pub(super) async fn get(&self, path: &str) -> Option<Value> {
        let response = self.probe(path).await.ok()?;
        if response.status().is_success() { response.json().await.ok() } else { None }
    }

    /// Posts a body, without retries.
    ///
    /// # Errors
    /// If the server refuses it, is unreachable, or answers with invalid JSON.
    pub(super) async fn post(&self, path: &str, body: &Value) -> Result<Value, Failure> {
        let url = format!("{}{path}", self.base);
        let unreachable = |error: reqwest::Error| {
            let problem = no_answer(&self.unanswered(&error, self.timeout));
            let kind = if is_late(&error) { FailureKind::TimedOut } else { FailureKind::Unanswered };
            Failure { problem, kind, wait: None }
        };
        let response = self.http.post(&url).json(body).send().await.map_err(unreachable)?;
        let (status, wait) = (response.status(), retry_after(&response));
        let text = match response.text().await {
            Err(error) if is_late(&error) => return Err(unreachable(error)),
            text => text.unwrap_or_default(),
        };
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

    /// The JSON of a route.
    ///
    /// # Errors
    /// [`CliError::Refused`] with what the server says, or why there is no answer.
    pub(super) async fn fetch(&self, path: &str) -> Result<Value, CliError> {
        self.json_of(self.http.get(format!("{}{path}", self.base))).await
    }

    /// The JSON of a route with a query.
    ///
    /// # Errors
    /// Those of [`Client::fetch`].
    pub(super) async fn fetch_with(&self, path: &str, query: &[(&str, String)]) -> Result<Value, CliError> {
        let url = reqwest::Url::parse_with_params(&format!("{}{path}", self.base), query);
        let url = url.map_err(|error| CliError::because(&self.base, error))?;
        self.json_of(self.http.get(url)).await
    }

    /// The answer of a route that posts.
    ///
    /// # Errors
    /// Those of [`Client::fetch`].
    pub(super) async fn send(&self, path: &str, body: &Value) -> Result<Value, CliError> {
        self.json_of(self.http.post(format!("{}{path}", self.base)).json(body)).await
    }

    /// Posts a body that takes as long as it takes.
    ///
    /// # Errors
    /// Those of [`Client::fetch`].
    pub(super) async fn upload(&self, path: &str, kind: &str, body: reqwest::Body) -> Result<Value, CliError> {
        let request = self.http.post(format!("{}{path}", self.base)).header(CONTENT_TYPE, kind).body(body);
        self.json_of(request.timeout(WHOLE_FILE)).await
    }

    /// The answer of a route whose body takes as long as it takes.
    ///
    /// # Errors
    /// Those of [`Client::fetch`].
    pub(super) async fn download(&self, path: &str) -> Result<reqwest::Response, CliError> {
        self.accepted(self.http.get(format!("{}{path}", self.base)).timeout(WHOLE_FILE)).await
    }

    async fn json_of(&self, request: reqwest::RequestBuilder) -> Result<Value, CliError> {
        let answer = self.accepted(request).await?.json().await;
        answer.map_err(|error| CliError::because(format!("the answer of {}", self.base), error))
    }

    /// A response that is no error.
    async fn accepted(&self, request: reqwest::RequestBuilder) -> Result<reqwest::Response, CliError> {
        let response = request.send().await;
        let response = response.map_err(|error| CliError::Failed(self.unanswered(&error, self.timeout)))?;
        let status = response.status();
        if status.is_success() {
            return Ok(response);
        }
        let text = response.text().await.unwrap_or_default();
        let body: Value = serde_json::from_str(&text).unwrap_or_default();
        let said = body["error"]["message"].as_str().or(body["detail"].as_str());
        let short = || text.chars().take(LONGEST_ANSWER).collect::<String>();
        let said = said.map_or_else(|| format!("{status}: {}", short()), str::to_owned);
        if status.is_server_error() { Err(CliError::Failed(said)) } else { Err(CliError::Refused(said)) }
    }

    /// Why there is no answer, after at most `limit`.
    fn unanswered(&self, error: &reqwest::Error, limit: Duration) -> String {
        if is_late(error) {
            return format!("{} did not answer within {} s", self.base, limit.as_secs_f64());
        }
        format!("{} does not answer: {}", self.base, causes(error))
    }
}

/// The header with the API key of the environment, if there is one.
///
/// # Errors
/// If it cannot be in a header.
pub(super) fn key_header() -> Result<HeaderMap, CliError> {
    let mut headers = HeaderMap::new();
    if let Some(key) = api_key() {
        let value = HeaderValue::from_str(&format!("Bearer {}", key.reveal()));
        let mut value = value.map_err(|_| CliError::Usage("GAVEL_API_KEY is not an API key".to_owned()))?;
        value.set_sensitive(true);
        headers.insert(AUTHORIZATION, value);
    }
    Ok(headers)
}

/// Whether a server was connected to, and gave no answer in time.
fn is_late(error: &reqwest::Error) -> bool {
    error.is_timeout() && !error.is_connect()
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_base_url_of_openais_clients_is_that_of_the_server() {
        let check = |base: &str, expected: &str| assert_eq!(root_of(base), expected, "{base}");
        check("http://127.0.0.1:8080", "http://127.0.0.1:8080");
        check("http://127.0.0.1:8080/", "http://127.0.0.1:8080");
        check("http://127.0.0.1:8080/v1", "http://127.0.0.1:8080");
        check("https://host/judge/v1/", "https://host/judge");
        check("https://host/v12", "https://host/v12");
    }
}
