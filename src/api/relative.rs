//! `POST /v1/grade/relative`

use actix_web::{HttpRequest, HttpResponse, web};
use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;

use super::absolute::CriterionBody;
use super::comparison_options::{ComparisonFields, ComparisonOptions};
use super::context;
use super::jury::{JuryBody, NoiseBody, PanelRequest, jury_of};
use super::messages::{self, ContentBody};
use super::middleware::{base, request_id};
use super::pictures::PictureReader;
use super::problem::{Problem, ProblemBody};
use super::routing::{self, Asked, Judging, Routable, RoutedBody};
use super::schema::grading_body;
use super::verdict::{self, Calibration, Debug, Produced, Told};
use super::{json, stream};
use crate::app::App;
use crate::domain::jury::Combine;
use crate::domain::{Finish, Judgement, Kind, Method, Order, Preference, RelativeRequest};
use crate::service::{self, Progress, RequestContext};
use crate::tasks::{Absolute, Relative};

grading_body! {
    /// Two responses to compare by a rubric.
    #[schema(example = json!({
        "instruction": "Why is the sky blue?",
        "response_a": "Sunlight scatters in the air, blue light the most.",
        "response_b": "It mirrors the sea.",
        "rubric": "factual_validity",
        "mode": "score",
    }))]
    RelativeBody {
        /// The first response: a text, or a list of parts with pictures.
        #[schema(value_type = ContentBody)]
        response_a: Value,
        /// The second response.
        #[schema(value_type = ContentBody)]
        response_b: Value,
        /// With the method `pairwise`, whether both orders are judged.
        swap: Option<bool>,
        /// A comparison is a tie if `probability_a` is closer to one half than this, 0 to 0.5; with the method
        /// `absolute`, if the rewards are closer than this.
        tie_margin: Option<f64>,
        /// Compare both responses in one prompt (`pairwise`), or grade each alone and prefer the higher reward
        /// (`absolute`). Default: the model's own, which `/v1/info` names as `preference_method`.
        method: Option<Method>,
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

/// The result of one run of the judging script, as the caller named the responses. The feedback is unchanged, and uses
/// the labels as shown in its order.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct RelativeJudgement {
    sample: u32,
    seed: u64,
    order: Option<Order>,
    preference: Preference,
    probability_a: f64,
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

/// With the method `absolute`, the verdict on each response.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Grades {
    a: Grade,
    b: Grade,
}

/// The verdict on one response; several if several rubrics were sent.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Grade {
    reward: f64,
    criteria: Vec<CriterionBody>,
}

/// The verdict on two responses.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = RelativeVerdict)]
pub(super) struct RelativeVerdictBody {
    id: String,
    object: &'static str,
    /// How the two were compared.
    method: Method,
    preference: Preference,
    /// The mean over orders and samples, after calibration if there is one. Exchanging the responses gives
    /// exactly 1 - probability_a.
    probability_a: f64,
    /// The calibration of `probability_a`, if the judge has one. The preference follows the calibrated probability.
    #[serde(skip_serializing_if = "Option::is_none")]
    calibration: Option<Calibration>,
    /// Whether both orders agree; null if only one was judged.
    consistent: Option<bool>,
    label_mass: f64,
    /// What a reasoning judge thought first, which is no part of the feedback.
    #[serde(skip_serializing_if = "Option::is_none")]
    thoughts: Option<String>,
    feedback: Option<String>,
    judgements: Vec<RelativeJudgement>,
    #[serde(skip_serializing_if = "Option::is_none")]
    grades: Option<Grades>,
    /// If a jury judged: its jurors, and how far they agree. The judgements are then those of the jurors' verdicts.
    #[serde(flatten)]
    jury: Option<JuryBody<RelativeVerdictBody>>,
    /// If the request has `route`: whether the verdict is for people.
    #[serde(flatten)]
    route: RoutedBody,
    #[serde(flatten)]
    produced: Produced,
    #[serde(skip_serializing_if = "Option::is_none")]
    debug: Option<Debug>,
}

/// Compares two responses by a rubric: both in one prompt, in both orders unless `swap` is false, or each graded alone.
///
/// With `Accept: text/event-stream`, feedback is streamed while it is generated, and the verdict is the last event.
#[utoipa::path(
    post, path = "/v1/grade/relative", operation_id = "grade_relative", tag = "grading",
    request_body(content = RelativeBody, examples(
        ("texts" = (summary = "Two texts", value = json!({
            "instruction": "Why is the sky blue?",
            "response_a": "Sunlight scatters in the air, blue light the most.",
            "response_b": "It mirrors the sea.",
            "rubric": "factual_validity",
        }))),
        ("edits" = (summary = "Two edits of a picture, for models with eyes", value = json!({
            "messages": [{"role": "user", "content": [
                {"type": "image_url", "image_url": {"url": "data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAAgAAAAECAIAAAA8r+mnAAAAEUlEQVR42mP4z8CAFTFQTwIAWl4f4Q122OMAAAAASUVORK5CYII="}},
                {"type": "text", "text": "Make it blue."},
            ]}],
            "response_a": [{"type": "image_url", "image_url": {"url": "data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAAQAAAAECAIAAAAmkwkpAAAAEElEQVR42mNgYPiPhIjiAACOsw/xW6KAvAAAAABJRU5ErkJggg=="}}],
            "response_b": [{"type": "image_url", "image_url": {"url": "data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAAgAAAAECAIAAAA8r+mnAAAAEUlEQVR42mP4z8CAFTFQTwIAWl4f4Q122OMAAAAASUVORK5CYII="}}],
            "rubric": "helpfulness",
        }))),
    )),
    responses((status = 200, content((RelativeVerdictBody = "application/json"), (String = "text/event-stream"))), (status = "default", body = super::problem::ProblemBody, content_type = "application/problem+json"))
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
    Asked { body, json }: Asked<RelativeBody>,
    context: &RequestContext,
    owner: String,
) -> Result<Judging<RelativeRequest>, Problem> {
    Judging::begin(app, (Kind::Relative, check(app, body)?), json, context, owner).await
}

/// Judges, and routes the verdict if that was asked for; `shown` writes the problems of jurors.
///
/// # Errors
/// Those of the judges, of the router and of the review queue.
pub(super) async fn judged(
    app: &App,
    judging: Judging<RelativeRequest>,
    progress: Option<Progress>,
    shown: &(dyn Fn(Problem) -> ProblemBody + Sync),
) -> Result<RelativeVerdictBody, Problem> {
    let debug = judging.debug;
    let body = |graded| verdict_body(graded, debug, shown);
    judging.run(app, progress, |verdict, spread| Some(verdict.signals(spread)), body, |body| &mut body.route).await
}

pub(super) fn check(app: &App, mut body: RelativeBody) -> Result<PanelRequest<RelativeRequest>, Problem> {
    let (jury, route) = (body.jury(), routing::check(app, body.route.as_ref())?);
    let checked = body.common().check(app)?;
    let comparison = ComparisonFields { method: body.method, swap: body.swap, tie_margin: body.tie_margin };
    let ComparisonOptions { method, swap, tie_margin } = comparison.check(app)?;
    let mut pictures = PictureReader::after(&checked.item, &app.config.pictures);
    let request = RelativeRequest {
        response_a: messages::response(&body.response_a, "/response_a", "response A", &mut pictures)?,
        response_b: messages::response(&body.response_b, "/response_b", "response B", &mut pictures)?,
        swap,
        item: checked.item,
        rubrics: checked.rubrics,
        multi: checked.multi,
        options: checked.options,
        tie_margin,
        method,
    };
    Ok(PanelRequest { request, judges: jury.check(app, checked.model)?, debug: checked.debug, route })
}

impl Routable for RelativeBody {
    fn has_route(&self) -> bool {
        self.route.is_some()
    }
}

jury_of!(RelativeBody);

/// A verdict's JSON; `shown` writes the problems of jurors.
pub(super) fn verdict_body(
    graded: service::Graded<Relative>,
    debug: bool,
    shown: &dyn Fn(Problem) -> ProblemBody,
) -> RelativeVerdictBody {
    let service::Graded { id, verdict, provenance, stats, jury, .. } = graded;
    let jury = jury.map(|report| JuryBody::of(*report, |own| verdict_body(own, debug, shown), shown));
    let (judgements, grades) = match &verdict {
        // The verdicts of jurors have their judgements.
        _ if jury.is_some() => (Vec::new(), None),
        Relative::Pairwise(v) => (v.judgements.iter().map(judgement_body).collect(), None),
        Relative::Graded { a, b, .. } => (Vec::new(), Some(Grades { a: grade_body(a), b: grade_body(b) })),
    };
    RelativeVerdictBody {
        id,
        object: "verdict.relative",
        method: verdict.method(),
        preference: verdict.preference(),
        probability_a: verdict.probability_a(),
        calibration: Calibration::of(verdict.calibration()),
        consistent: verdict.consistent(),
        label_mass: verdict.label_mass(),
        thoughts: verdict.thoughts().map(str::to_owned),
        feedback: verdict.feedback().map(str::to_owned),
        judgements,
        grades,
        debug: verdict::debug(debug && jury.is_none(), verdict.first_judgement(), &stats),
        jury,
        route: RoutedBody::default(),
        produced: Produced::new(provenance, &stats, Some(verdict.label_mass())),
    }
}

fn judgement_body(judgement: &Judgement) -> RelativeJudgement {
    RelativeJudgement {
        sample: judgement.sample,
        seed: judgement.seed,
        order: judgement.order,
        preference: judgement.preference(),
        probability_a: judgement.probability_a(),
        label_mass: judgement.label_mass,
        thoughts: judgement.thoughts.as_ref().map(|thoughts| thoughts.text.clone()),
        thoughts_finish: judgement.thoughts.as_ref().map(|thoughts| thoughts.finish),
        feedback: judgement.feedback.clone(),
        finish: judgement.finish,
        told: Told::of(judgement),
    }
}

pub(super) fn grade_body(verdict: &Absolute) -> Grade {
    Grade { reward: verdict.reward(), criteria: verdict.verdicts().map(CriterionBody::of).collect() }
}
