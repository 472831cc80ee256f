//! Grading for a command: on a server over HTTP, or with the library in this process. Both take the same bodies and
//! return the same verdicts.

use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;

use super::CliError;
use super::client::{Client, Failure, no_answer};
use super::failures::FailureKind;
use super::items::{Route, reward_request};
use crate::api::local;
use crate::facade::Gavel;

/// Maximum number of attempts for a request.
const MAX_ATTEMPTS: u32 = 6;

pub(super) enum Grader {
    /// A server.
    Server(Client),
    /// This process.
    InProcess(Gavel),
}

/// The result of a request.
pub(super) enum Reply {
    /// A verdict.
    Verdict(Value),
    /// The problem of the last attempt.
    Problem(Value, FailureKind),
}

impl Grader {
    /// A server that answers, each request within `timeout`.
    ///
    /// # Errors
    /// If it does not, with the reason: a run of many items is not begun without one.
    pub(super) async fn of_server(url: &str, timeout: Duration) -> Result<Self, CliError> {
        let client = Client::new(url, timeout)?;
        client.check().await?;
        Ok(Self::Server(client))
    }

    /// Grades a request. Retries if the server is at capacity, loading, restarting its engine or unreachable.
    pub(super) async fn grade(&self, route: Route, body: &Value) -> Reply {
        let mut tries = 0;
        let reward = (route == Route::Reward).then(|| reward_request(body));
        let body = reward.as_ref().unwrap_or(body);
        loop {
            tries += 1;
            let graded = match self {
                Self::Server(client) => client.post(route.path(), body).await,
                Self::InProcess(gavel) => grade_in_process(gavel, route, body.to_string()).await,
            };
            let graded = if reward.is_some() { graded.and_then(of_one_item) } else { graded };
            let Failure { problem, kind, wait } = match graded {
                Ok(verdict) => return Reply::Verdict(verdict),
                Err(failure) => failure,
            };
            if !kind.is_retried() || tries == MAX_ATTEMPTS {
                return Reply::Problem(problem, kind);
            }
            tracing::debug!(%problem, tries, "retrying");
            tokio::time::sleep(wait.unwrap_or(Duration::from_millis(125 << tries))).await;
        }
    }

    /// The models, the default one first, each with its digest if that is known.
    pub(super) async fn models(&self) -> Vec<(String, Option<String>)> {
        match self {
            Self::Server(client) => {
                let info = client.get("/v1/info").await.unwrap_or_default();
                let text = |value: &Value| value.as_str().map(str::to_owned);
                let models = info["models"].as_array().into_iter().flatten();
                models.map(|model| (text(&model["name"]).unwrap_or_default(), text(&model["digest"]))).collect()
            }
            Self::InProcess(gavel) => {
                let models = gavel.app().models().all().into_iter();
                models.map(|model| (model.name, model.judge.map(|judge| judge.engine().digest.clone()))).collect()
            }
        }
    }

    /// The digest of a prompt, such as `plain/absolute`, if the judge has it.
    pub(super) async fn prompt_digest(&self, name: &str) -> Option<String> {
        match self {
            Self::Server(client) => client.get("/v1/info").await?["prompt_digests"][name].as_str().map(str::to_owned),
            Self::InProcess(gavel) => gavel.app().prompts().digests().remove(name),
        }
    }

    /// The digest of a rubric, if the rubric exists.
    pub(super) async fn rubric_digest(&self, name: &str) -> Option<String> {
        match self {
            Self::Server(client) => {
                let rubric = client.get(&format!("/v1/rubrics/{name}")).await?;
                rubric["digest"].as_str().map(str::to_owned)
            }
            Self::InProcess(gavel) => Some(gavel.app().rubrics.get(name).ok()?.rubric.digest().to_owned()),
        }
    }
}

/// Grades in a task, so that requests are parsed and rendered in parallel.
async fn grade_in_process(gavel: &Gavel, route: Route, body: String) -> Result<Value, Failure> {
    let failure = |problem, kind| Failure { problem, kind, wait: None };
    let app = Arc::clone(gavel.app());
    let graded = async move {
        let body = body.as_bytes();
        match route {
            Route::Grade(kind) => local::grade(&app, kind.into(), body).await,
            Route::Reward => local::rewards(&app, body).await,
            Route::Rank => local::rank(&app, body).await,
            Route::Preferences => local::preferences(&app, body).await,
        }
    };
    let graded = tokio::spawn(graded).await;
    let verdict = match graded {
        Ok(Ok(verdict)) => verdict,
        Ok(Err(problem)) => {
            let status = problem.code().status().as_u16();
            let problem = serde_json::to_value(problem.body("", "")).unwrap_or_default();
            let kind = FailureKind::of(status, &problem, false);
            return Err(failure(problem, kind));
        }
        Err(panic) => return Err(failure(no_answer(&panic.to_string()), FailureKind::Unfinished)),
    };
    serde_json::from_str(&verdict).map_err(|error| failure(no_answer(&error.to_string()), FailureKind::Refused))
}

/// The verdict of a request for the reward of one item.
fn of_one_item(mut answer: Value) -> Result<Value, Failure> {
    let mut first = |list: &str| answer[list].get_mut(0).map(Value::take).unwrap_or_default();
    let problem = first("errors");
    if problem.is_null() {
        return Ok(first("verdicts"));
    }
    let status = problem["status"].as_u64().and_then(|status| u16::try_from(status).ok()).unwrap_or_default();
    let kind = FailureKind::of(status, &problem, false);
    Err(Failure { problem, kind, wait: None })
}
