//! The wire types of reviews.

use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::{IntoParams, ToSchema};

use super::super::schema::RubricBody;
use crate::domain::{NamedRubric, WeightedRubric};
use crate::service::reviews::{GivenLabel, SeenReview};
use crate::store::ReviewRow;

/// A judgement that people are asked for.
#[derive(Debug, Deserialize, ToSchema)]
#[schema(as = NewReview, example = json!({
    "request": {
        "instruction": "Why is the sky blue?",
        "response_a": "Air scatters blue light most.",
        "response_b": "Because of the sea.",
        "rubric": "helpfulness",
    },
    "reviewers": 2,
}))]
pub(in crate::api) struct NewReviewBody {
    /// The body of a request to `/v1/grade/absolute` (with `response`) or `/v1/grade/relative` (with `response_a` and
    /// `response_b`).
    #[schema(value_type = Object)]
    pub(super) request: Value,
    /// The judge's verdict, which reviewers do not see before they have labelled.
    #[serde(default)]
    #[schema(value_type = Option<Object>)]
    pub(super) verdict: Option<Value>,
    /// How many people are to label it, 1 to 20; 1 by default.
    #[serde(default)]
    pub(super) reviewers: Option<u32>,
}

/// Who does something. Needed while API keys are off; otherwise the name of the key counts.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[schema(example = json!({"reviewer": "ada"}))]
pub(in crate::api) struct Reviewer {
    #[serde(default)]
    pub(super) reviewer: Option<String>,
}

/// A reviewer's label.
#[derive(Debug, Deserialize, ToSchema)]
#[schema(example = json!({"reviewer": "ada", "label": "A", "note": "B is wrong."}))]
pub(in crate::api) struct NewLabel {
    #[serde(default)]
    pub(super) reviewer: Option<String>,
    /// A score of the rubric's scale, or `A`, `B` or `tie`.
    #[schema(value_type = Object)]
    pub(super) label: Value,
    #[serde(default)]
    pub(super) note: Option<String>,
}

/// A review, as its reader may see it.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Review)]
pub(in crate::api) struct ReviewBody {
    pub(super) id: String,
    pub(super) object: &'static str,
    /// `absolute` or `relative`.
    pub(super) kind: String,
    /// Seconds since 1970.
    pub(super) created_at: i64,
    #[schema(value_type = Object)]
    pub(super) request: Value,
    /// The rubrics of the request, that of the configuration included; empty if they cannot be found any more.
    pub(super) rubrics: Vec<ReviewRubric>,
    /// The labels that it may get; empty if the rubric cannot be found any more.
    pub(super) options: Vec<String>,
    /// How many people are to label it, and how many have.
    pub(super) wanted: i64,
    pub(super) labelled: usize,
    /// The reader's own label.
    pub(super) label: Option<String>,
    /// What the judge says; null until the reader has labelled.
    #[schema(value_type = Option<Object>)]
    pub(super) verdict: Option<Value>,
    /// What all reviewers say; null until the reader has labelled.
    pub(super) labels: Option<Vec<ReviewLabel>>,
}

/// A rubric of a review.
#[derive(Debug, Serialize, ToSchema)]
pub(in crate::api) struct ReviewRubric {
    /// The name in the library, or `inline`.
    pub(super) name: String,
    #[serde(flatten)]
    pub(super) rubric: RubricBody,
}

/// A label of a review.
#[derive(Debug, Serialize, ToSchema)]
pub(in crate::api) struct ReviewLabel {
    pub(super) reviewer: String,
    pub(super) label: String,
    pub(super) note: Option<String>,
    /// Seconds since 1970.
    pub(super) at: i64,
}

/// A page of reviews, and how far the labels agree.
#[derive(Debug, Serialize, ToSchema)]
pub(in crate::api) struct ReviewList {
    pub(super) object: &'static str,
    pub(super) data: Vec<ReviewBody>,
    pub(super) last_id: Option<String>,
    pub(super) has_more: bool,
}

/// How far labels agree.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = ReviewAgreement)]
pub(in crate::api) struct AgreementBody {
    pub(super) object: &'static str,
    /// Reviews with a label.
    pub(super) reviews: usize,
    pub(super) labels: usize,
    /// Krippendorff's alpha of the reviewers (nominal); null where no disagreement was possible.
    pub(super) alpha: Option<f64>,
    /// Reviews on which the reviewers have a majority and the judge a verdict.
    pub(super) judged: usize,
    /// The share of these on which both are the same.
    pub(super) accuracy: Option<f64>,
    /// Cohen's kappa of both.
    pub(super) kappa: Option<f64>,
}

/// Which reviews to list.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(in crate::api) struct ReviewQuery {
    /// `open` (the reader may claim them; the default), `done` or `all`.
    pub(super) state: Option<String>,
    /// Who reads, while API keys are off.
    pub(super) reviewer: Option<String>,
    pub(super) after: Option<String>,
    pub(super) limit: Option<i64>,
}

impl ReviewRubric {
    fn of(NamedRubric { name, rubric }: &NamedRubric) -> Self {
        let descriptions = rubric.descriptions().map(|(score, text)| (score.to_string(), text.to_owned()));
        let rubric = RubricBody { criterion: rubric.criterion().to_owned(), descriptions: descriptions.collect() };
        Self { name: name.clone(), rubric }
    }
}

impl ReviewBody {
    /// `options` and `rubrics` are those of the request; none if they cannot be found any more.
    pub(super) fn of(
        SeenReview { row, labelled, own, labels }: SeenReview,
        options: Vec<String>,
        rubrics: &[WeightedRubric],
    ) -> Self {
        let ReviewRow { id, kind, request, verdict, wanted, created_at, .. } = row;
        Self {
            id,
            object: "review",
            kind,
            created_at: created_at / 1000,
            request: serde_json::from_str(&request).unwrap_or_default(),
            rubrics: rubrics.iter().map(|rubric| ReviewRubric::of(&rubric.rubric)).collect(),
            options,
            wanted,
            labelled,
            label: own,
            verdict: verdict.and_then(|verdict| serde_json::from_str(&verdict).ok()),
            labels: labels.map(|labels| labels.into_iter().map(ReviewLabel::of).collect()),
        }
    }
}

impl ReviewLabel {
    fn of(GivenLabel { reviewer, label, note, at }: GivenLabel) -> Self {
        Self { reviewer, label, note, at: at / 1000 }
    }
}
