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
use crate::tasks::{ByMethod, Rank, Ranked, Ranking, Relative, ResponsePair};

grading_body! {
    /// Responses to rank.
    RankBody {
        /// 2 to 64 responses.
        responses: Vec<String>,
        /// Compare responses in pairs (`pairwise`), or grade each alone and rank by reward (`absolute`). Default: the
        /// model's own, which `/v1/info` names as `preference_method`.
        method: Option<Method>,
        /// With the method `pairwise`, whether both orders of a pair are judged.
        swap: Option<bool>,
        /// A comparison is a tie if `probability_a` is closer to one half than this, 0 to 0.5; with the method
        /// `absolute`, if the rewards are closer than this.
        tie_margin: Option<f64>,
    }
}

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
    let mut body: RankBody = json::strict(&http, payload, app.config.limits.body_bytes).await?;
    let common = body.common();
    let comparison = ComparisonFields { method: body.method, swap: body.swap, tie_margin: body.tie_margin };
    let GradingRequest { request, model, debug } = candidates::check(&app, common, body.responses, comparison)?;
    let context = context::of_request(&http, &app)?;
    let graded = app.service.run(&context, model.as_deref(), Rank::new(request, Ranking), None).await?;
    Ok(HttpResponse::Ok().json(verdict_body(graded, debug)))
}

fn verdict_body(graded: service::Graded<Ranked>, debug: bool) -> RankVerdictBody {
    let service::Graded { id, verdict: ranked, provenance, stats, .. } = graded;
    let (comparisons, grades) = match &ranked.verdicts {
        ByMethod::Pointwise(graded) => (Vec::new(), Some(graded.iter().map(grade_body).collect())),
        ByMethod::Pairwise(pairs) => (pairs.iter().map(comparison).collect(), None),
    };
    RankVerdictBody {
        id,
        object: "verdict.rank",
        method: ranked.verdicts.method(),
        label_mass: ranked.verdicts.label_mass(),
        debug: verdict::debug(debug, ranked.verdicts.first_judgement(), &stats),
        produced: Produced::new(provenance, &stats, Some(ranked.verdicts.label_mass())),
        ranking: ranked.ranking,
        strengths: ranked.strengths,
        ties: ranked.ties,
        comparisons,
        grades,
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
