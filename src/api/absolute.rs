//! `POST /v1/grade/absolute`

use std::time::Duration;

use actix_web::{HttpRequest, HttpResponse, web};
use indexmap::IndexMap;
use serde::Serialize;
use utoipa::ToSchema;

use super::problem::Problem;
use super::verdict::{self, Debug, ModelRef, NamedDigest, Provenance, SamplingUsed};
use super::wire::{self, Asked, grading_body};
use super::{extract, stream};
use crate::app::{App, Deadline, ServiceError};
use crate::grading::{AbsoluteRequest, AbsoluteVerdict, Finish, Judgement, Kind, Scale, Timing, Usage, WeightedRubric};
use crate::panel::{Absolute, Account};

grading_body! {
    /// A response to grade against a rubric.
    AbsoluteBody {
        /// The response to grade.
        response: String,
    }
}

/// What one run of the judging script said.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct AbsoluteJudgement {
    sample: u32,
    seed: u64,
    score: i32,
    distribution: IndexMap<String, f64>,
    label_mass: f64,
    feedback: Option<String>,
    finish: Finish,
}

/// The verdict on one criterion of several.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct CriterionVerdict {
    rubric: NamedDigest,
    weight: f64,
    #[serde(flatten)]
    graded: Graded,
}

/// Score, distribution and feedback; null at the top of a multi-criteria verdict, where each criterion has its own.
#[derive(Debug, Default, Serialize, ToSchema)]
pub(super) struct Graded {
    /// The most probable label, or the majority of the samples.
    score: Option<i32>,
    /// The mean under the distribution.
    expected_score: Option<f64>,
    /// The expected score on 0..1.
    reward: f64,
    distribution: Option<IndexMap<String, f64>>,
    /// How much of the model's probability lay on the labels at all.
    label_mass: f64,
    /// In nats.
    entropy: Option<f64>,
    feedback: Option<String>,
    judgements: Vec<AbsoluteJudgement>,
    /// The share of the samples whose score is `score`.
    agreement: Option<f64>,
}

/// The verdict on a response.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = AbsoluteVerdict)]
pub(super) struct VerdictBody {
    id: String,
    object: &'static str,
    #[serde(flatten)]
    graded: Graded,
    /// One verdict a criterion, when a list of rubrics was sent.
    #[serde(skip_serializing_if = "Option::is_none")]
    criteria: Option<Vec<CriterionVerdict>>,
    model: ModelRef,
    rubric: NamedDigest,
    prompt: NamedDigest,
    usage: Usage,
    timing_ms: Timing,
    sampling: SamplingUsed,
    version: &'static str,
    cached: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    debug: Option<Debug>,
}

/// Grades a response against a rubric.
///
/// With `Accept: text/event-stream`, feedback is streamed as it is written, and the verdict is the last event.
#[utoipa::path(
    post, path = "/v1/grade/absolute", operation_id = "grade_absolute", tag = "grading", request_body = AbsoluteBody,
    responses((status = 200, content((VerdictBody = "application/json"), (String = "text/event-stream"))), (status = "default", body = super::problem::ProblemBody, content_type = "application/problem+json"))
)]
pub(super) async fn grade(
    app: web::Data<App>,
    http: HttpRequest,
    payload: web::Payload,
) -> Result<HttpResponse, Problem> {
    let body: AbsoluteBody = extract::json(&http, payload, app.config.limits.body_bytes).await?;
    let Asked { request, model, debug } = check(&app, body)?;
    let deadline = wire::deadline(&http, &app)?;
    let (rubrics, multi) = (request.rubrics.clone(), request.multi);
    let panel = app.panel(model.as_deref(), deadline).await?;
    let source = Provenance::new(panel.judge(), &rubrics, multi, &request.options, Kind::Absolute)?;
    let longest = wire::longest(&request.item, &[("/response", &request.response)]);
    let admitted = app.admit_absolute(panel, request, deadline).await;
    let admitted = admitted.map_err(|error| Problem::from(error).blame_overflow_on(longest))?;
    stream::answer(
        &http,
        |progress| admitted.run(progress),
        move |(verdict, account)| verdict_body(&verdict, &account, source, &rubrics, debug),
    )
    .await
}

fn check(app: &App, mut body: AbsoluteBody) -> Result<Asked<AbsoluteRequest>, Problem> {
    let checked = body.common().check(app)?;
    let request = AbsoluteRequest {
        response: wire::not_empty(body.response, "/response", "the response")?,
        item: checked.item,
        rubrics: checked.rubrics,
        multi: checked.multi,
        options: checked.options,
    };
    Ok(Asked { request, model: checked.model, debug: checked.debug })
}

/// Exactly what the body of a request would send to the model: a prompt for each rubric.
///
/// # Errors
/// Those of the request.
pub async fn prompts(app: &App, body: &str) -> Result<Vec<String>, Problem> {
    let Asked { request, model, .. } = check(app, extract::parse(body.as_bytes())?)?;
    let deadline = Deadline::after(Duration::from_millis(app.config.limits.deadline_ms));
    let panel = app.panel(model.as_deref(), deadline).await?;
    Ok(panel.plan_absolute(request).map_err(ServiceError::from)?.prompts())
}

/// A verdict's JSON.
pub(super) fn verdict_body(
    verdict: &Absolute,
    account: &Account,
    source: Provenance,
    rubrics: &[WeightedRubric],
    debug: bool,
) -> VerdictBody {
    let (graded, criteria) = match verdict {
        Absolute::Single(verdict) => (Graded::of(verdict), None),
        Absolute::Multi(all) => {
            let criteria = all.criteria.iter().zip(rubrics).map(|((verdict, weight), rubric)| CriterionVerdict {
                rubric: verdict::rubric_ref(&rubric.rubric),
                weight: weight.get(),
                graded: Graded::of(verdict),
            });
            let label_mass = verdict.label_mass();
            (Graded { reward: all.reward, label_mass, ..Graded::default() }, Some(criteria.collect()))
        }
    };
    VerdictBody {
        id: source.id,
        object: "verdict.absolute",
        graded,
        criteria,
        model: source.model,
        rubric: source.rubric,
        prompt: source.prompt,
        usage: account.usage,
        timing_ms: account.timing,
        sampling: source.sampling,
        version: env!("CARGO_PKG_VERSION"),
        cached: account.cached,
        debug: verdict::debug(debug, verdict.first_judgement(), account),
    }
}

impl Graded {
    pub(super) fn of(verdict: &AbsoluteVerdict) -> Self {
        Self {
            score: Some(verdict.score.value()),
            expected_score: Some(verdict.expected_score),
            reward: verdict.reward,
            distribution: Some(distribution(verdict.scale, verdict.distribution.probabilities())),
            label_mass: verdict.label_mass,
            entropy: Some(verdict.distribution.entropy()),
            feedback: verdict.feedback().map(str::to_owned),
            judgements: verdict
                .judgements
                .iter()
                .filter_map(|judgement| judgement_body(verdict.scale, judgement))
                .collect(),
            agreement: Some(verdict.agreement),
        }
    }
}

/// A judgement of a verdict on that scale.
fn judgement_body(scale: Scale, judgement: &Judgement) -> Option<AbsoluteJudgement> {
    Some(AbsoluteJudgement {
        sample: judgement.sample,
        seed: judgement.seed,
        score: scale.score(judgement.distribution.argmax())?.value(),
        distribution: distribution(scale, judgement.distribution.probabilities()),
        label_mass: judgement.label_mass,
        feedback: judgement.feedback.clone(),
        finish: judgement.finish,
    })
}

fn distribution(scale: Scale, probabilities: &[f64]) -> IndexMap<String, f64> {
    verdict::by_label(scale.scores().map(|score| score.value().to_string()), probabilities)
}
