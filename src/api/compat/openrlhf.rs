//! OpenRLHF's remote reward model, for all versions of its payload.

use actix_web::{HttpRequest, HttpResponse, web};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

use super::super::bulk::BulkItem;
use super::super::json;
use super::super::problem::{Problem, ProblemBody};
use super::super::schema::Rubrics;
use super::{Url, all, dialogue, invalid, reference};
use crate::app::App;
use crate::domain::{Mode, WeightedRubric};
use crate::service::Graded;
use crate::tasks::Absolute;

/// Prompts and responses of a policy. Before 0.5.8 only `query`, before 0.6.0 no `labels`.
#[derive(Debug, Deserialize, ToSchema)]
#[schema(example = json!({
    "query": ["<|im_start|>user\nWhy is the sky blue?<|im_end|>\n<|im_start|>assistant\nLight scatters.<|im_end|>"],
    "prompts": ["<|im_start|>user\nWhy is the sky blue?<|im_end|>\n<|im_start|>assistant\n"],
    "labels": [null],
}))]
pub(in super::super) struct OpenRlhfBody {
    /// Prompt and response as one text, with special tokens.
    query: Vec<String>,
    /// The prompts, rendered with the chat template.
    prompts: Option<Vec<String>>,
    /// The references, or null. With `?labels=json`, JSON texts of objects with `reference_answer` and `rubric`.
    labels: Option<Vec<Value>>,
}

/// A label with `?labels=json`: an object, or JSON text of one.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Label {
    reference_answer: Value,
    rubric: Value,
}

fn label_of(label: Option<&Value>) -> Result<Label, Problem> {
    let object = match label {
        None | Some(Value::Null) => return Ok(Label::default()),
        Some(Value::String(text)) if text.trim().is_empty() => return Ok(Label::default()),
        Some(Value::String(text)) => serde_json::from_str(text).map_err(|error| {
            invalid(format!(
                "with ?labels=json a label is JSON text of an object with `reference_answer` and `rubric`: {error}"
            ))
        })?,
        Some(object) => object.clone(),
    };
    json::parse_value(&object, "")
}

/// Rewards in the order of the queries.
#[derive(Debug, Serialize, ToSchema)]
pub(in super::super) struct OpenRlhfReply {
    rewards: Vec<f64>,
    /// The same, in 0..1.
    scores: Vec<f64>,
    extra_logs: ExtraLogs,
}

/// Values for the trainer's log; its code needs the same keys in every reply.
#[derive(Debug, Serialize, ToSchema)]
struct ExtraLogs {
    /// The expected score on the rubric's scale.
    judge_score: Vec<f64>,
    label_mass: Vec<f64>,
}

/// Rewards for OpenRLHF: `--reward.remote_url` (`--remote_rm_url` before 0.10.2).
#[utoipa::path(
    post, path = "/compat/openrlhf/{rubric}", operation_id = "openrlhf", tag = "trainers", request_body = OpenRlhfBody,
    params(("rubric" = String, Path, example = "helpfulness")),
    responses((status = 200, body = OpenRlhfReply), (status = "default", body = ProblemBody, content_type = "application/problem+json"))
)]
pub(in super::super) async fn rewards(
    app: web::Data<App>,
    http: HttpRequest,
    payload: web::Payload,
) -> Result<HttpResponse, Problem> {
    let mut url = Url::of(&http)?;
    let asked: Option<String> = url.take_own("labels", "a form of labels")?;
    let with_rubrics = match asked.as_deref() {
        None | Some("reference") => false,
        Some("json") => true,
        Some(other) => return Err(invalid(format!("?labels={other} is neither `reference` nor `json`"))),
    };
    let body: OpenRlhfBody = json::lenient_bulk(&http, payload).await?;
    let OpenRlhfBody { query, prompts, labels } = body;
    same_length("prompts", prompts.as_ref().map(Vec::len), query.len())?;
    same_length("labels", labels.as_ref().map(Vec::len), query.len())?;
    let judging = match with_rubrics {
        true => url.judging_items(&app, &http, Mode::Feedback).await?,
        false => url.judging(&app, &http, None, Mode::Feedback).await?,
    };
    let read = |index: usize, query: String| {
        let prompt = prompts.as_ref().map(|prompts| prompts[index].as_str());
        let (mut item, response) =
            dialogue::read(&query, prompt).map_err(|problem| problem.within(&format!("/query/{index}")))?;
        let label = labels.as_ref().map(|labels| &labels[index]);
        if !with_rubrics {
            item.reference_answer = reference(label);
            return Ok(BulkItem::new(item, response));
        }
        let Label { reference_answer, rubric } =
            label_of(label).map_err(|problem| problem.within(&format!("/labels/{index}")))?;
        item.reference_answer = reference(Some(&reference_answer));
        let rubrics = (!rubric.is_null()).then(|| Rubrics::read(&rubric, &app)).transpose();
        let rubrics = rubrics.map_err(|problem| problem.within(&format!("/labels/{index}")))?;
        Ok(BulkItem { item, response: response.into(), rubrics })
    };
    let graded = all(judging.each(query, read, scored).await)?;
    let column = |of: fn(&(f64, (f64, f64))) -> f64| graded.iter().map(of).collect::<Vec<f64>>();
    Ok(HttpResponse::Ok().json(OpenRlhfReply {
        rewards: column(|graded| graded.0),
        scores: column(|graded| graded.0),
        extra_logs: ExtraLogs { judge_score: column(|graded| graded.1.0), label_mass: column(|graded| graded.1.1) },
    }))
}

/// The same with the path of OpenRLHF's own server, and the rubric in the query.
#[utoipa::path(
    post, path = "/get_reward", operation_id = "openrlhf_get_reward", tag = "trainers", request_body = OpenRlhfBody,
    params(("rubric" = String, Query, example = "helpfulness")),
    responses((status = 200, body = OpenRlhfReply), (status = "default", body = ProblemBody, content_type = "application/problem+json"))
)]
pub(in super::super) async fn get_reward(
    app: web::Data<App>,
    http: HttpRequest,
    payload: web::Payload,
) -> Result<HttpResponse, Problem> {
    rewards(app, http, payload).await
}

/// The expected score and the label mass of a verdict.
fn scored(Graded { verdict, .. }: Graded<Absolute>, _: &[WeightedRubric]) -> (f64, f64) {
    let expected = verdict.verdicts().next().map_or(f64::NAN, |verdict| verdict.expected_score);
    (expected, verdict.label_mass())
}

fn same_length(field: &str, found: Option<usize>, queries: usize) -> Result<(), Problem> {
    match found {
        Some(found) if found != queries => {
            let detail = format!(
                "`{field}` has {found} entries and `query` has {queries}: send equally many, or omit `{field}`"
            );
            Err(invalid(detail).at(format!("/{field}")))
        }
        _ => Ok(()),
    }
}
