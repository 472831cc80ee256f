//! Atla's evaluation route; its SDK uses `ATLA_BASE_URL`.

use std::collections::BTreeMap;

use actix_web::{HttpRequest, HttpResponse, web};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use utoipa::ToSchema;

use super::super::bulk::BulkItem;
use super::super::json;
use super::super::middleware::request_id;
use super::super::problem::{Code, Problem, ProblemBody};
use super::super::schema;
use super::{Url, invalid};
use crate::app::App;
use crate::domain::{Document, Instruction, Item, Mode};

/// Descriptions of the scores, if a caller sends its criteria as one text.
const LEVELS: [(&str, &str); 5] = [
    ("1", "The response fails the criteria altogether."),
    ("2", "The response meets little of the criteria; what is wrong outweighs the rest."),
    ("3", "The response meets the criteria in part, with clear shortcomings."),
    ("4", "The response meets the criteria but for details."),
    ("5", "The response meets the criteria fully."),
];

/// A response to evaluate.
#[derive(Debug, Deserialize, ToSchema)]
#[schema(example = json!({
    "model_id": "atla-selene", "model_input": "Why is the sky blue?", "model_output": "Light scatters.",
    "metric_name": "helpfulness",
}))]
pub(in super::super) struct EvalBody {
    model_id: String,
    model_input: String,
    model_output: String,
    /// The criteria as free text; use either this or `metric_name`.
    evaluation_criteria: Option<String>,
    /// The name of a rubric.
    metric_name: Option<String>,
    expected_model_output: Option<String>,
    model_context: Option<String>,
    #[serde(default)]
    few_shot_examples: Option<Vec<Value>>,
}

/// An evaluation.
#[derive(Debug, Serialize, ToSchema)]
pub(in super::super) struct EvalReply {
    request_id: String,
    status: &'static str,
    result: EvalResult,
}

#[derive(Debug, Serialize, ToSchema)]
struct EvalResult {
    model_id: String,
    evaluation: Evaluation,
}

#[derive(Debug, Serialize, ToSchema)]
struct Evaluation {
    /// The score as text.
    score: String,
    critique: String,
}

/// Evaluates a response by a rubric or by free-text criteria, from 1 to 5.
#[utoipa::path(
    post, path = "/compat/atla/v1/eval", operation_id = "atla_eval", tag = "tools", request_body = EvalBody,
    responses((status = 200, body = EvalReply), (status = "default", body = ProblemBody, content_type = "application/problem+json"))
)]
pub(in super::super) async fn eval(
    app: web::Data<App>,
    http: HttpRequest,
    payload: web::Payload,
) -> Result<HttpResponse, Problem> {
    let url = Url::of(&http)?;
    let body: EvalBody = json::lenient(&http, payload, app.config.limits.bulk_body_bytes).await?;
    if body.few_shot_examples.is_some_and(|examples| !examples.is_empty()) {
        let detail = "few-shot examples are not supported; omit them";
        return Err(Problem::new(Code::UnsupportedContent, detail).at("/few_shot_examples"));
    }
    let rubric = match (body.metric_name, body.evaluation_criteria) {
        (Some(name), None) => {
            app.rubrics.named(&name).map_err(|error| Problem::from(error).at("/metric_name"))?;
            json!(name)
        }
        (None, Some(criterion)) => {
            let criterion = schema::not_empty(criterion, "/evaluation_criteria", "the text of the criteria")?;
            json!({"criterion": criterion, "descriptions": BTreeMap::from(LEVELS)})
        }
        _ => return Err(invalid("send `metric_name`, a rubric's name, or `evaluation_criteria`: one of the two")),
    };
    let judging = url.judging_by(&app, &http, rubric, Mode::Feedback).await?;
    let item = Item {
        instruction: Instruction::Text(body.model_input),
        reference_answer: body.expected_model_output.filter(|text| !text.trim().is_empty()),
        context: body.model_context.into_iter().map(|text| Document { id: None, text }).collect(),
        annotator: None,
    };
    let graded = judging.one(BulkItem::new(item, body.model_output)).await?;
    judging.reward(&graded.verdict)?;
    let scored = graded
        .verdict
        .verdicts()
        .next()
        .map(|verdict| (verdict.score.value().to_string(), verdict.feedback().unwrap_or_default().to_owned()));
    let (score, critique) = scored.ok_or_else(|| Problem::new(Code::Internal, "there is no verdict"))?;
    let result = EvalResult { model_id: body.model_id, evaluation: Evaluation { score, critique } };
    Ok(HttpResponse::Ok().json(EvalReply { request_id: request_id(&http), status: "success", result }))
}
