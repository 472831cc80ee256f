//! `/v1/reviews`: the queue of judgements that people are asked for. A reviewer claims an item, and labels or skips it,
//! without seeing what the judge or others say of it.

pub(super) mod outcome;
mod wire;

use actix_web::{HttpRequest, HttpResponse, web};
use serde_json::Value;
use ulid::Ulid;

use self::wire::{NewLabel, NewReview, Review, ReviewLabel, ReviewList, ReviewQuery, ReviewRubric, Reviewer};
use super::access;
use super::files::{owner, page};
use super::json;
use super::problem::{Code, Problem};
use super::schema::RubricBody;
use crate::app::App;
use crate::domain::{NamedRubric, WeightedRubric};
use crate::keys::Scope;
use crate::store::{ReviewRow, ReviewState, SeatChange, SeatRow, Seated, Store, now};

/// How long a reviewer keeps a claimed item, in milliseconds.
const CLAIMED: i64 = 15 * 60 * 1000;
/// The most people that may be asked for a label of one item.
const MOST: u32 = 20;
/// The most characters of a reviewer's name, a label and a note.
const LONGEST: [usize; 3] = [64, 64, 4_000];

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
        (None, Some(named)) if (1..=LONGEST[0]).contains(&named.chars().count()) => Ok(named),
        (None, Some(_)) => {
            Err(invalid(format!("a reviewer has a name of 1 to {} characters", LONGEST[0]), "/reviewer"))
        }
        (None, None) => Err(invalid("name the reviewer: API keys are off", "/reviewer")),
    }
}

async fn store(app: &App) -> Result<&Store, Problem> {
    Ok(app.database.open().await?)
}

async fn found(app: &App, id: &str) -> Result<(ReviewRow, Vec<SeatRow>), Problem> {
    let store = store(app).await?;
    let row = store.review(id).await?.ok_or_else(|| unknown(id))?;
    let seats = store.seats(id).await?;
    Ok((row, seats))
}

fn unknown(id: &str) -> Problem {
    Problem::new(Code::UnknownReview, format!("there is no review `{id}`"))
}

/// Asks people for a judgement.
#[utoipa::path(
    post, path = "/v1/reviews", operation_id = "create_review", tag = "reviews", request_body = NewReview,
    responses((status = 200, body = Review), (status = "default", body = super::problem::ProblemBody, content_type = "application/problem+json"))
)]
pub(super) async fn create(
    app: web::Data<App>,
    http: HttpRequest,
    payload: web::Payload,
) -> Result<HttpResponse, Problem> {
    let body: NewReview = json::strict_unadmitted(&http, payload, app.config.limits.body_bytes).await?;
    let kind = match (body.request.get("response").is_some(), body.request.get("response_a").is_some()) {
        (true, false) => "absolute",
        (false, true) => "relative",
        _ => return Err(invalid("a request has either `response`, or `response_a` and `response_b`", "/request")),
    };
    let bytes = body.request.to_string();
    let checked = if kind == "absolute" {
        super::absolute::check(&app, json::parse(bytes.as_bytes()).map_err(|problem| problem.within("/request"))?)
            .map(drop)
    } else {
        super::relative::check(&app, json::parse(bytes.as_bytes()).map_err(|problem| problem.within("/request"))?)
            .map(drop)
    };
    checked.map_err(|problem| problem.within("/request"))?;
    let wanted = body.reviewers.unwrap_or(1);
    if !(1..=MOST).contains(&wanted) {
        return Err(invalid(format!("1 to {MOST} reviewers may label an item"), "/reviewers"));
    }
    let row = ReviewRow {
        id: format!("rev_{}", Ulid::new()),
        owner: owner(&http),
        kind: kind.to_owned(),
        request: bytes,
        verdict: body.verdict.map(|verdict| verdict.to_string()),
        wanted: i64::from(wanted),
        created_at: now(),
    };
    store(&app).await?.put_review(&row).await?;
    Ok(HttpResponse::Ok().json(shown(&app, row, &[], None, true)))
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
    let store = store(&app).await?;
    let mut rows = store.reviews(&who, state, page).await?;
    let has_more = rows.len() as i64 == page.limit;
    rows.truncate(page.limit as usize - 1);
    let (mut data, admin) = (Vec::new(), is_admin(&http));
    for row in rows {
        let seats = store.seats(&row.id).await?;
        data.push(shown(&app, row, &seats, Some(&who), admin));
    }
    let last_id = data.last().map(|review| review.id.clone());
    Ok(HttpResponse::Ok().json(ReviewList { object: "list", data, last_id, has_more }))
}

/// Whether a caller sees everything.
fn is_admin(http: &HttpRequest) -> bool {
    access::has_scope(http, Scope::Admin) == Some(true)
}

/// Returns a review.
#[utoipa::path(
    get, path = "/v1/reviews/{id}", operation_id = "get_review", tag = "reviews", params(ReviewQuery),
    responses((status = 200, body = Review), (status = "default", body = super::problem::ProblemBody, content_type = "application/problem+json"))
)]
pub(super) async fn show(
    app: web::Data<App>,
    http: HttpRequest,
    id: web::Path<String>,
    query: web::Query<ReviewQuery>,
) -> Result<HttpResponse, Problem> {
    let who = access::key_name(&http).or_else(|| query.reviewer.clone());
    let (row, seats) = found(&app, &id).await?;
    Ok(HttpResponse::Ok().json(shown(&app, row, &seats, who.as_deref(), is_admin(&http))))
}

/// Claims a review for 15 minutes.
#[utoipa::path(
    post, path = "/v1/reviews/{id}/claim", operation_id = "claim_review", tag = "reviews", request_body = Reviewer,
    responses((status = 200, body = Review), (status = "default", body = super::problem::ProblemBody, content_type = "application/problem+json"))
)]
pub(super) async fn claim(
    app: web::Data<App>,
    http: HttpRequest,
    id: web::Path<String>,
    payload: web::Payload,
) -> Result<HttpResponse, Problem> {
    let body: Reviewer = json::strict_unadmitted(&http, payload, app.config.limits.body_bytes).await?;
    let who = reviewer(&http, body.reviewer)?;
    seated(&app, &http, &id, &who, SeatChange::Claim(CLAIMED)).await
}

/// Leaves a review to others.
#[utoipa::path(
    post, path = "/v1/reviews/{id}/skip", operation_id = "skip_review", tag = "reviews", request_body = Reviewer,
    responses((status = 200, body = Review), (status = "default", body = super::problem::ProblemBody, content_type = "application/problem+json"))
)]
pub(super) async fn skip(
    app: web::Data<App>,
    http: HttpRequest,
    id: web::Path<String>,
    payload: web::Payload,
) -> Result<HttpResponse, Problem> {
    let body: Reviewer = json::strict_unadmitted(&http, payload, app.config.limits.body_bytes).await?;
    let who = reviewer(&http, body.reviewer)?;
    seated(&app, &http, &id, &who, SeatChange::Skip).await
}

/// Labels a claimed review, or labels it anew.
#[utoipa::path(
    post, path = "/v1/reviews/{id}/label", operation_id = "label_review", tag = "reviews", request_body = NewLabel,
    responses((status = 200, body = Review), (status = "default", body = super::problem::ProblemBody, content_type = "application/problem+json"))
)]
pub(super) async fn label(
    app: web::Data<App>,
    http: HttpRequest,
    id: web::Path<String>,
    payload: web::Payload,
) -> Result<HttpResponse, Problem> {
    let body: NewLabel = json::strict_unadmitted(&http, payload, app.config.limits.body_bytes).await?;
    let who = reviewer(&http, body.reviewer)?;
    if body.note.as_ref().is_some_and(|note| note.chars().count() > LONGEST[2] || note.contains('\0')) {
        return Err(invalid(format!("a note has up to {} characters", LONGEST[2]), "/note"));
    }
    let (row, _) = found(&app, &id).await?;
    let label = allowed(&app, &row, &body.label)?;
    seated(&app, &http, &id, &who, SeatChange::Label(&label, body.note.as_deref())).await
}

/// The rubrics of a review's request, as the libraries have them now.
fn rubrics(app: &App, row: &ReviewRow) -> Result<Vec<WeightedRubric>, Problem> {
    let bytes = row.request.as_bytes();
    Ok(if row.kind == "relative" {
        super::relative::check(app, json::parse(bytes)?)?.request.rubrics
    } else {
        super::absolute::check(app, json::parse(bytes)?)?.request.rubrics
    })
}

/// The labels that a review may get: those of its first rubric, or of a pair.
fn options(row: &ReviewRow, rubrics: &[WeightedRubric]) -> Vec<String> {
    if row.kind == "relative" {
        return ["A", "B", "tie"].map(str::to_owned).to_vec();
    }
    let scale = rubrics.first().map(|rubric| rubric.rubric.rubric.scale());
    scale.into_iter().flat_map(|scale| scale.scores()).map(|score| score.value().to_string()).collect()
}

impl ReviewRubric {
    fn of(NamedRubric { name, rubric }: &NamedRubric) -> Self {
        let descriptions = rubric.descriptions().map(|(score, text)| (score.to_string(), text.to_owned()));
        let rubric = RubricBody { criterion: rubric.criterion().to_owned(), descriptions: descriptions.collect() };
        Self { name: name.clone(), rubric }
    }
}

/// A label that a review may get.
fn allowed(app: &App, row: &ReviewRow, label: &Value) -> Result<String, Problem> {
    let given = match label {
        Value::String(text) => text.clone(),
        label => label.to_string(),
    };
    let rubrics = if row.kind == "relative" { Vec::new() } else { rubrics(app, row)? };
    let labels = options(row, &rubrics);
    if labels.contains(&given) {
        return Ok(given);
    }
    let shown: String = given.chars().take(LONGEST[1]).collect();
    Err(invalid(format!("`{shown}` is no label of this review; there are: {}", labels.join(", ")), "/label"))
}

async fn seated(
    app: &App,
    http: &HttpRequest,
    id: &str,
    who: &str,
    change: SeatChange<'_>,
) -> Result<HttpResponse, Problem> {
    match store(app).await?.seat(id, who, change).await? {
        Seated::Done => {}
        Seated::Unknown => return Err(unknown(id)),
        Seated::Taken => return Err(Problem::new(Code::Conflict, "others review it already; take another one")),
        Seated::NotClaimed => {
            return Err(Problem::new(Code::Conflict, "claim it first; a claim is kept for 15 minutes"));
        }
    }
    let (row, seats) = found(app, id).await?;
    Ok(HttpResponse::Ok().json(shown(app, row, &seats, Some(who), is_admin(http))))
}

/// A review as a reader may see it: without what others say, until the reader has labelled.
fn shown(app: &App, row: ReviewRow, seats: &[SeatRow], who: Option<&str>, all: bool) -> Review {
    let own = seats.iter().find(|seat| Some(seat.reviewer.as_str()) == who).and_then(|seat| seat.label.clone());
    let open = all || own.is_some();
    // A rubric that is gone is said when somebody labels.
    let rubrics = rubrics(app, &row).unwrap_or_default();
    let options = options(&row, &rubrics);
    let labels = open.then(|| labels(seats));
    let verdict = row.verdict.filter(|_| open).and_then(|verdict| serde_json::from_str(&verdict).ok());
    Review {
        object: "review",
        options,
        rubrics: rubrics.iter().map(|rubric| ReviewRubric::of(&rubric.rubric)).collect(),
        kind: row.kind,
        created_at: row.created_at / 1000,
        request: serde_json::from_str(&row.request).unwrap_or_default(),
        wanted: row.wanted,
        labelled: seats.iter().filter(|seat| seat.state == "labelled").count() as i64,
        label: own,
        verdict,
        labels,
        id: row.id,
    }
}

fn labels(seats: &[SeatRow]) -> Vec<ReviewLabel> {
    let label = |seat: &SeatRow| {
        let (reviewer, note, at) = (seat.reviewer.clone(), seat.note.clone(), seat.changed_at / 1000);
        Some(ReviewLabel { reviewer, label: seat.label.clone()?, note, at })
    };
    seats.iter().filter(|seat| seat.state == "labelled").filter_map(label).collect()
}
