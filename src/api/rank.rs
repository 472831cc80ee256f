//! `POST /v1/rank`

use actix_web::{HttpRequest, HttpResponse, web};
use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;

use super::candidates;
use super::comparison_options::ComparisonFields;
use super::context;
use super::json;
use super::jury::{JuryBody, NoiseBody, PanelRequest, jury_of};
use super::messages::ContentBody;
use super::middleware::{base, request_id};
use super::problem::{Problem, ProblemBody};
use super::relative::{Grade, grade_body};
use super::schema::grading_body;
use super::verdict::{self, Calibration, Debug, Produced};
use crate::app::App;
use crate::domain::jury::Combine;
use crate::domain::{Method, Preference};
use crate::service::{self, RequestContext};
use crate::tasks::{ByMethod, Ranked, Ranking, Relative, ResponsePair};

grading_body! {
    /// Responses to rank.
    #[schema(example = json!({
        "instruction": "Why is the sky blue?",
        "responses": ["It mirrors the sea.", "Sunlight scatters in the air, blue light the most.", "It just is."],
        "rubric": "factual_validity",
        "mode": "score",
    }))]
    RankBody {
        /// 2 to 64 responses, each a text, or a list of parts with pictures.
        #[schema(value_type = Vec<ContentBody>)]
        responses: Vec<Value>,
        /// Compare responses in pairs (`pairwise`), or grade each alone and rank by reward (`absolute`). Default: the
        /// model's own, which `/v1/info` names as `preference_method`.
        method: Option<Method>,
        /// With the method `pairwise`, whether both orders of a pair are judged.
        swap: Option<bool>,
        /// A comparison is a tie if `probability_a` is closer to one half than this, 0 to 0.5; with the method
        /// `absolute`, if the rewards are closer than this.
        tie_margin: Option<f64>,
        /// Several judges in place of `model`: 1 to 16 models, each a name or an object.
        #[schema(value_type = Option<Vec<super::jury::JudgeChoice>>)]
        judges: Option<Vec<serde_json::Value>>,
        /// A jury of the server's configuration in place of `model`.
        jury: Option<String>,
        /// How a jury's verdicts on each response or pair are combined. Default: `weighted` if a juror has a weight, else
        /// `mean`.
        combine: Option<Combine>,
        /// How many jurors must have a verdict on each response or pair; default: more than half.
        quorum: Option<usize>,
        /// Label noise, which mimics how people differ.
        #[serde(default, deserialize_with = "crate::api::json::object_or_null")]
        noise: Option<NoiseBody>,
    }
}

jury_of!(RankBody);

/// One comparison. Responses are given by their indexes in the request.
#[derive(Debug, Serialize, ToSchema)]
struct Comparison {
    /// Index of response A.
    a: usize,
    /// Index of response B.
    b: usize,
    preference: Preference,
    /// Probability that A is better: the mean over orders and samples, after calibration if there is one.
    probability_a: f64,
    /// The calibration of `probability_a`, if the judge has one.
    #[serde(skip_serializing_if = "Option::is_none")]
    calibration: Option<Calibration>,
    /// Whether both orders agree; null if only one was judged.
    consistent: Option<bool>,
    label_mass: f64,
    feedback: Option<String>,
}

/// A ranking of responses.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = RankVerdict)]
struct RankVerdictBody {
    id: String,
    object: &'static str,
    /// How the responses were compared.
    method: Method,
    /// Indexes of the responses, best first.
    ranking: Vec<usize>,
    /// The strength of each response, in the order of the request; they sum to 1. With the method `pairwise`, response
    /// i beats response j with probability strengths[i] / (strengths[i] + strengths[j]). With `absolute`, each reward
    /// divided by their sum.
    strengths: Vec<f64>,
    /// Pairs of which neither is better.
    ties: Vec<[usize; 2]>,
    /// The compared pairs; empty with the method `absolute`.
    comparisons: Vec<Comparison>,
    /// With the method `absolute`, the verdict on each response, in the order of the request.
    #[serde(skip_serializing_if = "Option::is_none")]
    grades: Option<Vec<Grade>>,
    /// The lowest label mass of the verdicts.
    label_mass: f64,
    /// If a jury judged: the ranking of each juror, and how far they agree, as the mean over the responses or pairs.
    #[serde(flatten)]
    jury: Option<JuryBody<RankVerdictBody>>,
    #[serde(flatten)]
    produced: Produced,
    #[serde(skip_serializing_if = "Option::is_none")]
    debug: Option<Debug>,
}

/// Ranks responses by a rubric.
///
/// `pairwise` fits a Bradley-Terry model to comparisons: of all pairs with up to 8 responses, of some pairs with more.
/// `absolute` grades each response alone. docs/ranking.md has the details.
#[utoipa::path(
    post, path = "/v1/rank", operation_id = "rank", tag = "grading", request_body = RankBody,
    responses((status = 200, body = RankVerdictBody), (status = "default", body = super::problem::ProblemBody, content_type = "application/problem+json"))
)]
pub(super) async fn rank(
    app: web::Data<App>,
    http: HttpRequest,
    payload: web::Payload,
) -> Result<HttpResponse, Problem> {
    let body: RankBody = json::strict(&http, payload, app.config.limits.body_bytes).await?;
    let (context, base, id) = (context::of_request(&http, &app)?, base(&http), request_id(&http));
    Ok(HttpResponse::Ok().json(ranked(&app, body, context, &|problem| problem.body(&base, &id)).await?))
}

/// Ranks the responses of a body; `shown` writes the problems of jurors.
///
/// # Errors
/// Those of the route.
pub(super) async fn ranked(
    app: &App,
    mut body: RankBody,
    context: RequestContext,
    shown: &(dyn Fn(Problem) -> ProblemBody + Sync),
) -> Result<impl Serialize, Problem> {
    let (jury, common) = (body.jury(), body.common());
    let comparison = ComparisonFields { method: body.method, swap: body.swap, tie_margin: body.tie_margin };
    let PanelRequest { request, judges, debug, .. } = candidates::check(app, common, body.responses, comparison, jury)?;
    let panel = app.service.panel(&context, judges).await?;
    Ok(verdict_body(candidates::judged(&panel, request, Ranking).await?, debug, shown))
}

fn verdict_body(
    graded: service::Graded<Ranked>,
    debug: bool,
    shown: &dyn Fn(Problem) -> ProblemBody,
) -> RankVerdictBody {
    let service::Graded { id, verdict: ranked, provenance, stats, jury, .. } = graded;
    let jury = jury.map(|report| JuryBody::of(*report, |own| verdict_body(own, debug, shown), shown));
    let (comparisons, grades) = match &ranked.verdicts {
        ByMethod::Pointwise(graded) => (Vec::new(), Some(graded.iter().map(grade_body).collect())),
        ByMethod::Pairwise(pairs) => (pairs.iter().map(comparison).collect(), None),
    };
    RankVerdictBody {
        id,
        object: "verdict.rank",
        method: ranked.verdicts.method(),
        label_mass: ranked.verdicts.label_mass(),
        debug: verdict::debug(debug && jury.is_none(), ranked.verdicts.first_judgement(), &stats),
        produced: Produced::new(provenance, &stats, Some(ranked.verdicts.label_mass())),
        ranking: ranked.ranking,
        strengths: ranked.strengths,
        ties: ranked.ties,
        comparisons,
        grades,
        jury,
    }
}

fn comparison(pair: &ResponsePair<Relative>) -> Comparison {
    Comparison {
        a: pair.a,
        b: pair.b,
        preference: pair.verdict.preference(),
        probability_a: pair.verdict.probability_a(),
        calibration: Calibration::of(pair.verdict.calibration()),
        consistent: pair.verdict.consistent(),
        label_mass: pair.verdict.label_mass(),
        feedback: pair.verdict.feedback().map(str::to_owned),
    }
}
