//! `/v1/reviews`: the queue of judgements that people are asked for. A reviewer claims an item, and labels or skips it,
//! without seeing what the judge or others say of it.

pub(super) mod outcome;
mod wire;

use self::wire::{NewLabel, NewReviewBody, ReviewBody, ReviewList, ReviewQuery, Reviewer};
use super::access;
use super::files::{idempotency_key, owner, page};
use super::json;
use super::problem::{Code, Problem};
use crate::app::App;
use crate::domain::{Kind, WeightedRubric};
use crate::keys::Scope;
use crate::service::reviews::{NewReview, Review, ReviewAct, SeenReview, check_reviewer};
use crate::store::{Once, ReviewRow, ReviewState};
use actix_web::{HttpRequest, HttpResponse, web};
use sha2::{Digest, Sha256};

fn invalid(detail: impl Into<String>, at: &str) -> Problem {
    Problem::new(Code::InvalidRequest, detail).at(at)
}

/// The reviewer of a request: the name of its key, or while keys are off the one that it names.
fn reviewer(http: &HttpRequest, named: Option<String>) -> Result<String, Problem> {
    match (access::key_name(http), named) {
        (Some(key), None) => Ok(key),
        (Some(key), Some(named)) if key == named => Ok(key),
        (Some(key), Some(_)) => {
            Err(invalid(format!("the reviewer is the API key, `{key}`; leave it out"), "/reviewer"))
        }
        (None, Some(named)) => {
            check_reviewer(&named)?;
            Ok(named)
        }
        (None, None) => Err(invalid("name the reviewer: API keys are off", "/reviewer")),
    }
}

/// Asks people for a judgement.
#[utoipa::path(
    post, path = "/v1/reviews", operation_id = "create_review", tag = "reviews", request_body = NewReviewBody,
    responses((status = 200, body = ReviewBody), (status = "default", body = super::problem::ProblemBody, content_type = "application/problem+json"))
)]
pub(super) async fn create(
    app: web::Data<App>,
    http: HttpRequest,
    payload: web::Payload,
) -> Result<HttpResponse, Problem> {
    let key = idempotency_key(&http)?;
    let body: NewReviewBody = json::strict_unadmitted(&http, payload, app.config.limits.body_bytes).await?;
    let kind = match (body.request.get("response").is_some(), body.request.get("response_a").is_some()) {
        (true, false) => Kind::Absolute,
        (false, true) => Kind::Relative,
        _ => return Err(invalid("a request has either `response`, or `response_a` and `response_b`", "/request")),
    };
    let request = body.request.to_string();
    check_request(&app, kind, &request).map_err(|problem| problem.within("/request"))?;
    let (verdict, wanted) = (body.verdict.map(|verdict| verdict.to_string()), body.reviewers.unwrap_or(1));
    let asked = format!("{request}\n{}\n{wanted}", verdict.as_deref().unwrap_or_default());
    let asked = format!("{:x}", Sha256::digest(asked));
    let new = NewReview { owner: owner(&http), kind, request, verdict, wanted, item: None };
    let review = app.reviews.ask(new, key.map(|key| Once { key, request: &asked })).await?;
    Ok(HttpResponse::Ok().json(body_of(&app, review.seen_by(None, true))))
}

/// Checks the grading request of a review.
fn check_request(app: &App, kind: Kind, request: &str) -> Result<(), Problem> {
    match kind {
        Kind::Absolute => super::absolute::check(app, json::parse(request.as_bytes())?).map(drop),
        Kind::Relative => super::relative::check(app, json::parse(request.as_bytes())?).map(drop),
    }
}

/// Lists reviews, the oldest first.
#[utoipa::path(
    get, path = "/v1/reviews", operation_id = "list_reviews", tag = "reviews", params(ReviewQuery),
    responses((status = 200, body = ReviewList), (status = "default", body = super::problem::ProblemBody, content_type = "application/problem+json"))
)]
pub(super) async fn list(
    app: web::Data<App>,
    http: HttpRequest,
    query: web::Query<ReviewQuery>,
) -> Result<HttpResponse, Problem> {
    let state = match query.state.as_deref().unwrap_or("open") {
        "open" => ReviewState::Open,
        "done" => ReviewState::Done,
        "all" => ReviewState::All,
        _ => return Err(invalid("state is `open`, `done` or `all`", "/state")),
    };
    let who = access::key_name(&http).or_else(|| query.reviewer.clone()).unwrap_or_default();
    let page = page(query.after.as_ref(), query.limit, Some("asc"), 20)?;
    let mut found = app.reviews.list(&who, state, page).await?;
    let has_more = found.len() as i64 == page.limit;
    found.truncate(page.limit as usize - 1);
    let admin = is_admin(&http);
    let data: Vec<ReviewBody> =
        found.into_iter().map(|review| body_of(&app, review.seen_by(Some(&who), admin))).collect();
    let last_id = data.last().map(|review| review.id.clone());
    Ok(HttpResponse::Ok().json(ReviewList { object: "list", data, last_id, has_more }))
}

/// Whether a caller sees everything.
fn is_admin(http: &HttpRequest) -> bool {
    access::has_scope(http, Scope::Admin) == Some(true)
}

/// A review as its reader may see it.
fn shown(app: &App, http: &HttpRequest, review: Review, who: Option<&str>) -> HttpResponse {
    HttpResponse::Ok().json(body_of(app, review.seen_by(who, is_admin(http))))
}

fn body_of(app: &App, seen: SeenReview) -> ReviewBody {
    // A rubric that is gone is said when somebody labels.
    let rubrics = rubrics(app, &seen.row).unwrap_or_default();
    let options = options(&seen.row, &rubrics);
    ReviewBody::of(seen, options, &rubrics)
}

/// Returns a review.
#[utoipa::path(
    get, path = "/v1/reviews/{id}", operation_id = "get_review", tag = "reviews", params(ReviewQuery),
    responses((status = 200, body = ReviewBody), (status = "default", body = super::problem::ProblemBody, content_type = "application/problem+json"))
)]
pub(super) async fn show(
    app: web::Data<App>,
    http: HttpRequest,
    id: web::Path<String>,
    query: web::Query<ReviewQuery>,
) -> Result<HttpResponse, Problem> {
    let who = access::key_name(&http).or_else(|| query.reviewer.clone());
    Ok(shown(&app, &http, app.reviews.find(&id).await?, who.as_deref()))
}

/// Claims a review for 15 minutes.
#[utoipa::path(
    post, path = "/v1/reviews/{id}/claim", operation_id = "claim_review", tag = "reviews", request_body = Reviewer,
    responses((status = 200, body = ReviewBody), (status = "default", body = super::problem::ProblemBody, content_type = "application/problem+json"))
)]
pub(super) async fn claim(
    app: web::Data<App>,
    http: HttpRequest,
    id: web::Path<String>,
    payload: web::Payload,
) -> Result<HttpResponse, Problem> {
    seat(&app, &http, &id, payload, ReviewAct::Claim).await
}

/// Leaves a review to others.
#[utoipa::path(
    post, path = "/v1/reviews/{id}/skip", operation_id = "skip_review", tag = "reviews", request_body = Reviewer,
    responses((status = 200, body = ReviewBody), (status = "default", body = super::problem::ProblemBody, content_type = "application/problem+json"))
)]
pub(super) async fn skip(
    app: web::Data<App>,
    http: HttpRequest,
    id: web::Path<String>,
    payload: web::Payload,
) -> Result<HttpResponse, Problem> {
    seat(&app, &http, &id, payload, ReviewAct::Skip).await
}

/// What a reviewer does without saying more.
async fn seat(
    app: &App,
    http: &HttpRequest,
    id: &str,
    payload: web::Payload,
    act: ReviewAct<'_>,
) -> Result<HttpResponse, Problem> {
    let body: Reviewer = json::strict_unadmitted(http, payload, app.config.limits.body_bytes).await?;
    let who = reviewer(http, body.reviewer)?;
    Ok(shown(app, http, app.reviews.act(id, &who, act).await?, Some(&who)))
}

/// Labels a claimed review, or labels it anew.
#[utoipa::path(
    post, path = "/v1/reviews/{id}/label", operation_id = "label_review", tag = "reviews", request_body = NewLabel,
    responses((status = 200, body = ReviewBody), (status = "default", body = super::problem::ProblemBody, content_type = "application/problem+json"))
)]
pub(super) async fn label(
    app: web::Data<App>,
    http: HttpRequest,
    id: web::Path<String>,
    payload: web::Payload,
) -> Result<HttpResponse, Problem> {
    let body: NewLabel = json::strict_unadmitted(&http, payload, app.config.limits.body_bytes).await?;
    let who = reviewer(&http, body.reviewer)?;
    let row = app.reviews.find(&id).await?.row;
    let rubrics = if row.kind == Kind::Relative.name() { Vec::new() } else { rubrics(&app, &row)? };
    let allowed = options(&row, &rubrics);
    let label = body.label.as_str().map_or_else(|| body.label.to_string(), str::to_owned);
    let act = ReviewAct::Label { label: &label, allowed: &allowed, note: body.note.as_deref() };
    Ok(shown(&app, &http, app.reviews.act(&id, &who, act).await?, Some(&who)))
}

/// The rubrics of a review's request, as the libraries have them now.
fn rubrics(app: &App, row: &ReviewRow) -> Result<Vec<WeightedRubric>, Problem> {
    let bytes = row.request.as_bytes();
    Ok(if row.kind == Kind::Relative.name() {
        super::relative::check(app, json::parse(bytes)?)?.request.rubrics
    } else {
        super::absolute::check(app, json::parse(bytes)?)?.request.rubrics
    })
}

/// The labels that a review may get: those of its first rubric, or of a pair.
fn options(row: &ReviewRow, rubrics: &[WeightedRubric]) -> Vec<String> {
    if row.kind == Kind::Relative.name() {
        return ["A", "B", "tie"].map(str::to_owned).to_vec();
    }
    let scale = rubrics.first().map(|rubric| rubric.rubric.rubric.scale());
    scale.into_iter().flat_map(|scale| scale.scores()).map(|score| score.value().to_string()).collect()
}
