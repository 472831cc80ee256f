//! Who grades for a command: a server over HTTP, or the library in this process. Both take the same bodies and give the
//! same verdicts.

use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;

use super::CliError;
use super::client::{Client, Refused, may_be_mended, no_answer};
use super::items::KindArg;
use crate::api::local;
use crate::facade::Gavel;

/// How often a refused or broken request is tried in all.
const TRIES: u32 = 6;

pub(super) enum Grader {
    /// A server.
    Server(Client),
    /// This process.
    Here(Gavel),
}

/// What came of a request.
pub(super) enum Reply {
    /// A verdict.
    Verdict(Value),
    /// A problem that trying again did not mend.
    Problem(Value),
}

impl Grader {
    pub(super) fn of_server(url: &str) -> Result<Self, CliError> {
        Ok(Self::Server(Client::new(url)?))
    }

    /// Grades what a body asks. One that is busy, loading, mending its engine or away for a moment is asked again.
    pub(super) async fn grade(&self, kind: KindArg, body: &Value) -> Reply {
        let mut tries = 0;
        loop {
            tries += 1;
            let graded = match self {
                Self::Server(client) => client.post(kind.path(), body).await,
                Self::Here(gavel) => grade_here(gavel, kind, body.to_string()).await,
            };
            let Refused { problem, again, wait } = match graded {
                Ok(verdict) => return Reply::Verdict(verdict),
                Err(refused) => refused,
            };
            if !again || tries == TRIES {
                return Reply::Problem(problem);
            }
            tracing::debug!(%problem, tries, "trying again");
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
            Self::Here(gavel) => {
                let models = gavel.app().models().all().into_iter();
                models.map(|model| (model.name, model.judge.map(|judge| judge.engine().digest.clone()))).collect()
            }
        }
    }

    /// The digest of a rubric, if there is one of that name.
    pub(super) async fn rubric_digest(&self, name: &str) -> Option<String> {
        match self {
            Self::Server(client) => {
                let rubric = client.get(&format!("/v1/rubrics/{name}")).await?;
                rubric["digest"].as_str().map(str::to_owned)
            }
            Self::Here(gavel) => Some(gavel.app().rubrics.get(name).ok()?.rubric.digest().to_owned()),
        }
    }
}

/// On a task of its own, so that requests are read and rendered side by side.
async fn grade_here(gavel: &Gavel, kind: KindArg, body: String) -> Result<Value, Refused> {
    let refused = |problem, again| Refused { problem, again, wait: None };
    let app = Arc::clone(gavel.app());
    let graded = tokio::spawn(async move { local::grade(&app, kind.into(), body.as_bytes()).await }).await;
    let verdict = match graded {
        Ok(Ok(verdict)) => verdict,
        Ok(Err(problem)) => {
            let again = may_be_mended(problem.code().status().as_u16());
            return Err(refused(serde_json::to_value(problem.body("", "")).unwrap_or_default(), again));
        }
        Err(panic) => return Err(refused(no_answer(&panic.to_string()), false)),
    };
    serde_json::from_str(&verdict).map_err(|error| refused(no_answer(&error.to_string()), false))
}
