//! What came of reviews: how far labels agree, and labelled items.

use actix_web::{HttpResponse, web};
use futures::{StreamExt, stream};

use super::super::problem::Problem;
use super::wire::AgreementBody;
use crate::app::App;
use crate::service::reviews::{ReviewAgreement, ReviewError};

/// Says how far reviewers agree with each other and with the judge.
#[utoipa::path(
    get, path = "/v1/reviews/agreement", operation_id = "review_agreement", tag = "reviews",
    responses((status = 200, body = AgreementBody), (status = "default", body = super::super::problem::ProblemBody, content_type = "application/problem+json"))
)]
pub(in crate::api) async fn agreement(app: web::Data<App>) -> Result<HttpResponse, Problem> {
    let ReviewAgreement { reviews, labels, alpha, judged, accuracy, kappa } = app.reviews.agreement().await?;
    let object = "review.agreement";
    Ok(HttpResponse::Ok().json(AgreementBody { object, reviews, labels, alpha, judged, accuracy, kappa }))
}

/// Exports reviews with a label as labelled items, one JSON object a line, which `gavel agree` reads.
#[utoipa::path(
    get, path = "/v1/reviews/export", operation_id = "export_reviews", tag = "reviews",
    responses((status = 200, body = String, content_type = "application/jsonl"), (status = "default", body = super::super::problem::ProblemBody, content_type = "application/problem+json"))
)]
pub(in crate::api) async fn export(app: web::Data<App>) -> Result<HttpResponse, Problem> {
    let parts = stream::try_unfold((app, None), |(app, mut place)| async move {
        let Some(lines) = app.reviews.exported(&mut place).await? else { return Ok::<_, ReviewError>(None) };
        Ok(Some((web::Bytes::from(lines), (app, place))))
    });
    Ok(HttpResponse::Ok().content_type("application/jsonl").streaming(parts.boxed_local()))
}
