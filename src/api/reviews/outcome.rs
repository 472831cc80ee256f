//! What came of reviews: how far labels agree, and labelled items.

use actix_web::{HttpResponse, web};
use futures::{StreamExt, stream};
use serde_json::{Value, json};

use super::super::problem::Problem;
use super::labels;
use super::wire::ReviewAgreement;
use crate::app::App;
use crate::domain::consensus::{alpha, kappa, majority};
use crate::store::{Page, ReviewRow, ReviewState, SeatRow, StoreError};

/// Reviews of a page.
const PAGE: i64 = 100;

/// What the judge says, as a label.
fn judged(row: &ReviewRow) -> Option<String> {
    let verdict: Value = serde_json::from_str(row.verdict.as_deref()?).ok()?;
    let label = verdict.get("preference").or_else(|| verdict.get("score")).filter(|label| !label.is_null())?;
    Some(label.as_str().map_or_else(|| label.to_string(), str::to_owned))
}

/// Says how far reviewers agree with each other and with the judge.
#[utoipa::path(
    get, path = "/v1/reviews/agreement", operation_id = "review_agreement", tag = "reviews",
    responses((status = 200, body = ReviewAgreement), (status = "default", body = super::super::problem::ProblemBody, content_type = "application/problem+json"))
)]
pub(in crate::api) async fn agreement(app: web::Data<App>) -> Result<HttpResponse, Problem> {
    let (mut given, mut pairs, mut place) = (Vec::new(), Vec::new(), None);
    while let Some(page) = next_page(&app, &mut place).await? {
        for (row, seats) in page {
            let own: Vec<String> = labels(&seats).into_iter().map(|label| label.label).collect();
            let most = majority(own.iter().map(String::as_str)).map(str::to_owned);
            pairs.extend(most.zip(judged(&row)));
            given.push(own);
        }
    }
    given.retain(|labels| !labels.is_empty());
    let both: Vec<(&str, &str)> = pairs.iter().map(|(people, judge)| (people.as_str(), judge.as_str())).collect();
    let same = both.iter().filter(|(people, judge)| people == judge).count();
    Ok(HttpResponse::Ok().json(ReviewAgreement {
        object: "review.agreement",
        reviews: given.len(),
        labels: given.iter().map(Vec::len).sum(),
        alpha: alpha(given.iter().map(|labels| labels.iter().map(String::as_str).collect())),
        judged: both.len(),
        accuracy: (!both.is_empty()).then(|| same as f64 / both.len() as f64),
        kappa: kappa(&both),
    }))
}

/// The next reviews with their seats, the oldest first.
async fn next_page(
    app: &App,
    place: &mut Option<String>,
) -> Result<Option<Vec<(ReviewRow, Vec<SeatRow>)>>, StoreError> {
    let store = app.database.open().await?;
    let page = Page { after: place.as_deref(), limit: PAGE, newest_first: false };
    let rows = store.reviews("", ReviewState::All, page).await?;
    let Some(last) = rows.last() else { return Ok(None) };
    *place = Some(last.id.clone());
    let mut found = Vec::new();
    for row in rows {
        let seats = store.seats(&row.id).await?;
        found.push((row, seats));
    }
    Ok(Some(found))
}

/// Exports reviews with a label as labelled items, one JSON object a line, which `gavel agree` reads.
#[utoipa::path(
    get, path = "/v1/reviews/export", operation_id = "export_reviews", tag = "reviews",
    responses((status = 200, body = String, content_type = "application/jsonl"), (status = "default", body = super::super::problem::ProblemBody, content_type = "application/problem+json"))
)]
pub(in crate::api) async fn export(app: web::Data<App>) -> Result<HttpResponse, Problem> {
    let parts = stream::try_unfold((app, None), |(app, mut place)| async move {
        let Some(page) = next_page(&app, &mut place).await? else { return Ok::<_, StoreError>(None) };
        let lines: String = page.iter().filter_map(|(row, seats)| exported(row, seats)).collect();
        Ok(Some((web::Bytes::from(lines), (app, place))))
    });
    Ok(HttpResponse::Ok().content_type("application/jsonl").streaming(parts.boxed_local()))
}

fn exported(row: &ReviewRow, seats: &[SeatRow]) -> Option<String> {
    let labels = labels(seats);
    let most = majority(labels.iter().map(|label| label.label.as_str()));
    // Reviewers who do not agree on a pair have no preference together.
    let label = match most {
        None if labels.is_empty() => return None,
        None if row.kind == "relative" => Value::from("tie"),
        None => return None,
        Some(label) => label.parse::<i64>().map_or_else(|_| Value::from(label), Value::from),
    };
    let mut item: Value = serde_json::from_str(&row.request).ok()?;
    item["id"] = row.id.clone().into();
    item["label"] = label;
    item["meta"] = json!({ "labels": labels, "judge": judged(row) });
    Some(format!("{item}\n"))
}
