//! `POST /v1/grade/absolute`

use actix_web::{HttpRequest, HttpResponse, web};
use indexmap::IndexMap;
use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;

use super::context;
use super::jury::{JuryBody, NoiseBody, PanelRequest, jury_of};
use super::messages::{self, ContentBody};
use super::middleware::{base, request_id};
use super::pictures::PictureReader;
use super::problem::{Problem, ProblemBody};
use super::routing::{self, Asked, Judging, Routable, RoutedBody};
use super::schema::grading_body;
use super::verdict::{self, Calibration, Debug, NamedDigest, Produced, Told};
use super::{json, stream};
use crate::app::App;
use crate::domain::jury::Combine;
use crate::domain::{self, AbsoluteRequest, AbsoluteVerdict, Finish, Judgement, Kind, Scale, WeightedRubric};
use crate::service::{self, Progress, RequestContext};
use crate::tasks::Absolute;

grading_body! {
    /// A response to grade by a rubric.
    #[schema(example = json!({
        "instruction": "Why is the sky blue?",
        "response": "Sunlight scatters in the air, blue light the most.",
        "reference_answer": "Rayleigh scattering: air scatters short waves most.",
        "rubric": "factual_validity",
        "mode": "score",
    }))]
    AbsoluteBody {
        /// The response to grade: a text, or a list of parts with pictures.
        #[schema(value_type = ContentBody)]
        response: Value,
        /// Several judges in place of `model`: 1 to 16 models, each a name or an object.
        #[schema(value_type = Option<Vec<super::jury::JudgeChoice>>)]
        judges: Option<Vec<serde_json::Value>>,
        /// A jury of the server's configuration in place of `model`.
        jury: Option<String>,
        /// How a jury's verdicts are combined. Default: `weighted` if a juror has a weight, else `mean`.
        combine: Option<Combine>,
        /// How many jurors must have a verdict; default: more than half.
        quorum: Option<usize>,
        /// Label noise, which mimics how people differ.
        #[serde(default, deserialize_with = "crate::api::json::object_or_null")]
        noise: Option<NoiseBody>,
        /// Whether the verdict is for people: a router's name, or how to route.
        #[schema(value_type = Option<super::routing::RouteChoice>)]
        route: Option<serde_json::Value>,
    }
}

/// The result of one run of the judging script.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct AbsoluteJudgement {
    sample: u32,
    seed: u64,
    score: i32,
    distribution: IndexMap<String, f64>,
    label_mass: f64,
    /// What a reasoning judge thought first, which is no part of the feedback.
    #[serde(skip_serializing_if = "Option::is_none")]
    thoughts: Option<String>,
    /// Why the thoughts ended; `length`: at their limit, and the verdict was forced all the same.
    #[serde(skip_serializing_if = "Option::is_none")]
    thoughts_finish: Option<Finish>,
    feedback: Option<String>,
    finish: Finish,
    /// With `debug`, the prompt as messages and the whole answer.
    #[serde(flatten)]
    told: Option<Told>,
}

/// The verdict on one criterion of several.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct CriterionVerdict {
    rubric: NamedDigest,
    weight: f64,
    /// The score that the criterion has to be above, if it has a gate.
    #[serde(skip_serializing_if = "Option::is_none")]
    gate: Option<i32>,
    #[serde(flatten)]
    graded: CriterionBody,
}

/// Score, distribution and feedback; null at the top level of a multi-criteria verdict.
#[derive(Debug, Default, Serialize, ToSchema)]
#[schema(as = Graded)]
pub(super) struct CriterionBody {
    /// The most probable label, or the majority of the samples.
    score: Option<i32>,
    /// The mean under the distribution.
    expected_score: Option<f64>,
    /// The expected score mapped to 0..1, after calibration if there is one.
    reward: f64,
    /// The calibration of `reward`, if the judge has one.
    #[serde(skip_serializing_if = "Option::is_none")]
    calibration: Option<Calibration>,
    distribution: Option<IndexMap<String, f64>>,
    /// Total probability of the labels before normalising.
    label_mass: f64,
    /// Shannon entropy in nats.
    entropy: Option<f64>,
    /// What a reasoning judge thought first, which is no part of the feedback.
    #[serde(skip_serializing_if = "Option::is_none")]
    thoughts: Option<String>,
    feedback: Option<String>,
    judgements: Vec<AbsoluteJudgement>,
    /// The share of the samples whose score is `score`.
    agreement: Option<f64>,
}

/// The verdict on a response.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = AbsoluteVerdict)]
pub(super) struct AbsoluteVerdictBody {
    id: String,
    object: &'static str,
    #[serde(flatten)]
    graded: CriterionBody,
    /// One verdict for each criterion, if a list of rubrics was sent.
    #[serde(skip_serializing_if = "Option::is_none")]
    criteria: Option<Vec<CriterionVerdict>>,
    /// If a jury judged: its jurors, and how far they agree. The judgements are then those of the jurors' verdicts.
    #[serde(flatten)]
    jury: Option<JuryBody<AbsoluteVerdictBody>>,
    /// Whether every criterion with a gate is above it; missing without gates. If not, `reward` is 0.
    #[serde(skip_serializing_if = "Option::is_none")]
    passed: Option<bool>,
    /// If the request has `route`: whether the verdict is for people.
    #[serde(flatten)]
    route: RoutedBody,
    #[serde(flatten)]
    produced: Produced,
    #[serde(skip_serializing_if = "Option::is_none")]
    debug: Option<Debug>,
}

/// Grades a response by a rubric.
///
/// With `Accept: text/event-stream`, feedback is streamed while it is generated, and the verdict is the last event.
#[utoipa::path(
    post, path = "/v1/grade/absolute", operation_id = "grade_absolute", tag = "grading", request_body = AbsoluteBody,
    responses((status = 200, content((AbsoluteVerdictBody = "application/json"), (String = "text/event-stream"))), (status = "default", body = super::problem::ProblemBody, content_type = "application/problem+json"))
)]
pub(super) async fn grade(
    app: web::Data<App>,
    http: HttpRequest,
    payload: web::Payload,
) -> Result<HttpResponse, Problem> {
    let asked = json::strict_by(&http, payload, app.config.limits.body_bytes, routing::asked).await?;
    let judging = begin(&app, asked, &context::of_request(&http, &app)?, routing::asker(&http)).await?;
    let (base, id) = (base(&http), request_id(&http));
    let run = |progress| async move { judged(&app, judging, progress, &|problem| problem.body(&base, &id)).await };
    stream::answer(&http, run, |body| body).await
}

/// Admits a request of a caller, who is the `owner` of a review that it asks for.
///
/// # Errors
/// If it is invalid or is not admitted.
pub(super) async fn begin(
    app: &App,
    Asked { body, json }: Asked<AbsoluteBody>,
    context: &RequestContext,
    owner: String,
) -> Result<Judging<AbsoluteRequest>, Problem> {
    Judging::begin(app, (Kind::Absolute, check(app, body)?), json, context, owner).await
}

/// Judges, and routes the verdict if that was asked for; `shown` writes the problems of jurors.
///
/// # Errors
/// Those of the judges, of the router and of the review queue.
pub(super) async fn judged(
    app: &App,
    judging: Judging<AbsoluteRequest>,
    progress: Option<Progress>,
    shown: &(dyn Fn(Problem) -> ProblemBody + Sync),
) -> Result<AbsoluteVerdictBody, Problem> {
    let (debug, rubrics) = (judging.debug, judging.request.rubrics.clone());
    let body = |graded| verdict_body(graded, &rubrics, debug, shown);
    judging.run(app, progress, |verdict, spread| verdict.signals(spread), body, |body| &mut body.route).await
}

pub(super) fn check(app: &App, mut body: AbsoluteBody) -> Result<PanelRequest<AbsoluteRequest>, Problem> {
    let (jury, route) = (body.jury(), routing::check(app, body.route.as_ref())?);
    let checked = body.common().check(app)?;
    let mut pictures = PictureReader::after(&checked.item, &app.config.pictures);
    let request = AbsoluteRequest {
        response: messages::response(&body.response, "/response", "the response", &mut pictures)?,
        item: checked.item,
        rubrics: checked.rubrics,
        multi: checked.multi,
        options: checked.options,
    };
    Ok(PanelRequest { request, judges: jury.check(app, checked.model)?, debug: checked.debug, route })
}

impl Routable for AbsoluteBody {
    fn has_route(&self) -> bool {
        self.route.is_some()
    }
}

jury_of!(AbsoluteBody);

/// A verdict's JSON; `shown` writes the problems of jurors.
pub(super) fn verdict_body(
    graded: service::Graded<Absolute>,
    rubrics: &[WeightedRubric],
    debug: bool,
    shown: &dyn Fn(Problem) -> ProblemBody,
) -> AbsoluteVerdictBody {
    let service::Graded { id, verdict, provenance, stats, jury, .. } = graded;
    let jury = jury.map(|report| JuryBody::of(*report, |own| verdict_body(own, rubrics, debug, shown), shown));
    // The verdicts of jurors have their judgements.
    let body = |verdict: &AbsoluteVerdict| match jury {
        None => CriterionBody::of(verdict),
        Some(_) => CriterionBody { judgements: Vec::new(), ..CriterionBody::of(verdict) },
    };
    let (graded, criteria, passed) = match &verdict {
        Absolute::Single(verdict) => (body(verdict), None, None),
        Absolute::Multi(all) => {
            let criteria = all.criteria.iter().zip(rubrics).map(|((verdict, weight), rubric)| CriterionVerdict {
                rubric: NamedDigest::of(domain::NamedDigest::of(&rubric.rubric)),
                weight: weight.get(),
                gate: rubric.gate,
                graded: body(verdict),
            });
            let label_mass = verdict.label_mass();
            let graded = CriterionBody { reward: all.reward, label_mass, ..CriterionBody::default() };
            (graded, Some(criteria.collect()), all.passed)
        }
    };
    AbsoluteVerdictBody {
        id,
        object: "verdict.absolute",
        graded,
        criteria,
        passed,
        debug: verdict::debug(debug && jury.is_none(), verdict.first_judgement(), &stats),
        jury,
        route: RoutedBody::default(),
        produced: Produced::new(provenance, &stats, Some(verdict.label_mass())),
    }
}

impl CriterionBody {
    pub(super) fn of(verdict: &AbsoluteVerdict) -> Self {
        Self {
            score: Some(verdict.score.value()),
            expected_score: Some(verdict.expected_score),
            reward: verdict.reward,
            calibration: Calibration::of(verdict.calibration.as_deref()),
            distribution: Some(distribution(verdict.scale, verdict.distribution.probabilities())),
            label_mass: verdict.label_mass,
            entropy: Some(verdict.distribution.entropy()),
            thoughts: verdict.speaker().and_then(|judgement| Some(judgement.thoughts.as_ref()?.text.clone())),
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

/// A judgement of a verdict on this scale.
fn judgement_body(scale: Scale, judgement: &Judgement) -> Option<AbsoluteJudgement> {
    Some(AbsoluteJudgement {
        sample: judgement.sample,
        seed: judgement.seed,
        score: scale.score(judgement.distribution.argmax())?.value(),
        distribution: distribution(scale, judgement.distribution.probabilities()),
        label_mass: judgement.label_mass,
        thoughts: judgement.thoughts.as_ref().map(|thoughts| thoughts.text.clone()),
        thoughts_finish: judgement.thoughts.as_ref().map(|thoughts| thoughts.finish),
        feedback: judgement.feedback.clone(),
        finish: judgement.finish,
        told: Told::of(judgement),
    })
}

fn distribution(scale: Scale, probabilities: &[f64]) -> IndexMap<String, f64> {
    verdict::by_label(scale.scores().map(|score| score.value().to_string()), probabilities)
}
