//! Grading requests within this process, with the bodies and verdicts of the routes, but without HTTP.

use std::sync::Arc;

use actix_web::web;
use serde::Serialize;

use super::absolute::{self, AbsoluteBody};
use super::context;
use super::json;
use super::jury::PanelRequest;
use super::preferences;
use super::problem::{Problem, ProblemBody};
use super::rank::{self, RankBody};
use super::relative::{self, RelativeBody};
use super::rewards::{self, RewardsBody};
use super::routing;
use crate::app::App;
use crate::domain::{Kind, WeightedRubric};
use crate::service::Graded;
use crate::tasks::{Absolute, Relative};

/// Handles the body of a request to `/v1/grade/{kind}`, and returns the JSON of the route.
///
/// # Errors
/// Those of the route.
pub async fn grade(app: &App, kind: Kind, body: &[u8]) -> Result<String, Problem> {
    let context = context::local(app);
    match kind {
        Kind::Absolute => {
            let judging = absolute::begin(app, routing::asked(body)?, &context, String::new()).await?;
            Ok(json(&absolute::judged(app, judging, None, &shown).await?))
        }
        Kind::Relative => {
            let judging = relative::begin(app, routing::asked(body)?, &context, String::new()).await?;
            Ok(json(&relative::judged(app, judging, None, &shown).await?))
        }
    }
}

/// The same for the body of a request to `/v1/rank`.
///
/// # Errors
/// Those of the route.
pub async fn rank(app: &App, body: &[u8]) -> Result<String, Problem> {
    Ok(json(&rank::ranked(app, json::parse::<RankBody>(body)?, context::local(app), &shown).await?))
}

/// The same for the body of a request to `/v1/preferences`.
///
/// # Errors
/// Those of the route.
pub async fn preferences(app: &App, body: &[u8]) -> Result<String, Problem> {
    let asked = routing::asked(body)?;
    Ok(json(&preferences::made(app, asked, context::local(app), String::new(), &shown).await?))
}

/// The same for the body of a request to `/v1/rewards`.
///
/// # Errors
/// Those of the route; those of items are in its answer.
pub async fn rewards(app: &Arc<App>, body: &[u8]) -> Result<String, Problem> {
    let (app, context) = (web::Data::from(Arc::clone(app)), context::local(app));
    Ok(json(&rewards::rewarded(&app, json::parse::<RewardsBody>(body)?, context, shown).await?))
}

/// A problem within a reply that has no server and no request to name.
fn shown(problem: Problem) -> ProblemBody {
    problem.body("", "")
}

/// The exact prompts of such a request: one for each rubric or order, of each juror.
///
/// # Errors
/// Those of the request.
pub async fn prompts(app: &App, kind: Kind, body: &[u8]) -> Result<Vec<String>, Problem> {
    let context = context::local(app);
    match kind {
        Kind::Absolute => {
            let PanelRequest { request, judges, .. } = absolute::check(app, json::parse::<AbsoluteBody>(body)?)?;
            Ok(app.service.panel(&context, judges).await?.prompts(request).await?)
        }
        Kind::Relative => {
            let PanelRequest { request, judges, .. } = relative::check(app, json::parse::<RelativeBody>(body)?)?;
            Ok(app.service.panel(&context, judges).await?.prompts(request).await?)
        }
    }
}

/// The JSON of an absolute verdict.
#[must_use]
pub fn absolute_verdict(graded: Graded<Absolute>, rubrics: &[WeightedRubric]) -> String {
    json(&absolute::verdict_body(graded, rubrics, false, &shown))
}

/// The JSON of a relative verdict.
#[must_use]
pub fn relative_verdict(graded: Graded<Relative>) -> String {
    json(&relative::verdict_body(graded, false, &shown))
}

fn json(verdict: &impl Serialize) -> String {
    serde_json::to_string(verdict).expect("verdicts are texts, finite numbers and lists of them")
}
