//! `POST /v1/rank`

use actix_web::{HttpRequest, HttpResponse, web};
use serde::Serialize;
use utoipa::ToSchema;

use super::candidates;
use super::comparison_options::ComparisonFields;
use super::context;
use super::json;
use super::problem::Problem;
use super::relative::{Grade, grade_body};
use super::schema::{GradingRequest, grading_body};
use super::verdict::{self, Calibration, Debug, Produced};
use crate::app::App;
use crate::domain::{Method, Preference};
use crate::service;
use crate::tasks::{Many, Pair, Rank, Ranked, Relative};

grading_body! {
    /// Responses to put in order.
    RankBody {
        /// 2 to 64 responses.
        responses: Vec<String>,
        /// Compare them in pairs, or grade each alone and order them by reward.
        method: Option<Method>,
        /// Whether both orders of a pair are judged.
        swap: Option<bool>,
        /// How near to one half `probability_a` is a tie, 0 to 0.5; with the method `absolute`, how near the rewards.
        tie_margin: Option<f64>,
    }
}

/// One comparison. The responses are named by their places in the request.
#[derive(Debug, Serialize, ToSchema)]
struct Comparison {
    /// The place of the response that is A here.
    a: usize,
    /// The place of the response that is B here.
    b: usize,
    preference: Preference,
    /// The mean over orders and samples; with `calibration`, what that makes of it.
    probability_a: f64,
    /// What made `probability_a` of the judge's own, where the judge is calibrated.
    #[serde(skip_serializing_if = "Option::is_none")]
    calibration: Option<Calibration>,
    /// Whether both orders agree; null where only one was judged.
    consistent: Option<bool>,
    label_mass: f64,
    feedback: Option<String>,
}

/// Responses in order.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = RankVerdict)]
struct RankVerdictBody {
    id: String,
    object: &'static str,
    /// The places of the responses in the request, best first.
    ranking: Vec<usize>,
    /// How strong each response is, in the order of the request; their sum is 1. With the method `pairwise`, response
    /// i beats response j with probability strengths[i] / (strengths[i] + strengths[j]); with `absolute`, the
    /// share of the rewards.
    strengths: Vec<f64>,
    /// Pairs of which neither is better.
    ties: Vec<[usize; 2]>,
    /// The pairs that were compared; none with the method `absolute`.
    comparisons: Vec<Comparison>,
    /// With the method `absolute`, the verdict on each response, in the order of the request.
    #[serde(skip_serializing_if = "Option::is_none")]
    grades: Option<Vec<Grade>>,
    /// That of the least sure verdict.
    label_mass: f64,
    #[serde(flatten)]
    produced: Produced,
    #[serde(skip_serializing_if = "Option::is_none")]
    debug: Option<Debug>,
}

/// Puts responses in order by a rubric.
///
/// `pairwise` fits a Bradley-Terry model to comparisons: of all pairs up to 8 responses, of a part of them above;
/// `absolute` grades each response alone. docs/ranking.md says how.
#[utoipa::path(
    post, path = "/v1/rank", operation_id = "rank", tag = "grading", request_body = RankBody,
    responses((status = 200, body = RankVerdictBody), (status = "default", body = super::problem::ProblemBody, content_type = "application/problem+json"))
)]
pub(super) async fn rank(
    app: web::Data<App>,
    http: HttpRequest,
    payload: web::Payload,
) -> Result<HttpResponse, Problem> {
    let mut body: RankBody = json::strict(&http, payload, app.config.limits.body_bytes).await?;
    let common = body.common();
    let comparison = ComparisonFields { method: body.method, swap: body.swap, tie_margin: body.tie_margin };
    let GradingRequest { request, model, debug } = candidates::check(&app, common, body.responses, comparison)?;
    let context = context::of_request(&http, &app)?;
    let graded = app.service.run(&context, model.as_deref(), Rank::new(request), None).await?;
    Ok(HttpResponse::Ok().json(verdict_body(graded, debug)))
}

fn verdict_body(graded: service::Graded<Ranked>, debug: bool) -> RankVerdictBody {
    let service::Graded { id, verdict: ranked, provenance, stats, .. } = graded;
    let (comparisons, grades) = match &ranked.verdicts {
        Many::Alone(graded) => (Vec::new(), Some(graded.iter().map(grade_body).collect())),
        Many::Pairs(pairs) => (pairs.iter().map(comparison).collect(), None),
    };
    RankVerdictBody {
        id,
        object: "verdict.rank",
        label_mass: ranked.verdicts.label_mass(),
        debug: verdict::debug(debug, ranked.verdicts.first_judgement(), &stats),
        ranking: ranked.ranking,
        strengths: ranked.strengths,
        ties: ranked.ties,
        comparisons,
        grades,
        produced: Produced::new(provenance, &stats),
    }
}

fn comparison(pair: &Pair<Relative>) -> Comparison {
    Comparison {
        a: pair.a,
        b: pair.b,
        preference: pair.of.preference(),
        probability_a: pair.of.probability_a(),
        calibration: Calibration::of(pair.of.calibration()),
        consistent: pair.of.consistent(),
        label_mass: pair.of.label_mass(),
        feedback: pair.of.feedback().map(str::to_owned),
    }
}
