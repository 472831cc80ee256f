//! NeMo Gym: a resources server that judges, and the comparison of a group in the format of its GenRM server.

use actix_web::{HttpRequest, HttpResponse, web};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use utoipa::ToSchema;

use super::super::bulk::{BulkItem, BulkJudging};
use super::super::json;
use super::super::problem::{Problem, ProblemBody};
use super::{Url, all, dialogue, invalid, reference, text, turns};
use crate::app::App;
use crate::domain::{InvalidVerdict, Mode, Role, Rubric, Turn, Weight, prefer_by_reward};
use crate::service::ServiceError;
use crate::tasks::{Absolute, TaskError};

/// Fields with the reference of a task, in the task or in its `verifier_metadata`.
const REFERENCES: [&str; 4] = ["expected_answer", "reference_answer", "ground_truth", "label"];

/// A rollout to verify; other fields are returned unchanged.
#[derive(Debug, Deserialize, Serialize, ToSchema)]
#[schema(example = json!({
    "responses_create_params": {"input": "Why is the sky blue?"},
    "response": {"output": [{"type": "message", "content": [{"type": "output_text", "text": "Light scatters."}]}]},
}))]
pub(in super::super) struct VerifyBody {
    /// The request of the policy: `input`, and optional `instructions`.
    #[schema(value_type = Object)]
    responses_create_params: Map<String, Value>,
    /// The answer of the policy: an OpenAI response object.
    #[schema(value_type = Object)]
    response: Map<String, Value>,
    #[serde(flatten)]
    rest: Map<String, Value>,
}

/// Responses of a group to compare.
#[derive(Debug, Deserialize, ToSchema)]
#[schema(example = json!({
    "conversation_history": [{"role": "user", "content": "Why is the sky blue?"}],
    "response_objs": [
        {"output": [{"type": "message", "content": [{"type": "output_text", "text": "Light scatters."}]}]},
        {"output": [{"type": "message", "content": [{"type": "output_text", "text": "The sea is blue."}]}]},
    ],
    "principle": "The response should be short.",
}))]
pub(in super::super) struct CompareBody {
    #[schema(value_type = Vec<Object>)]
    conversation_history: Vec<Value>,
    #[schema(value_type = Vec<Object>)]
    response_objs: Vec<Value>,
    /// An additional criterion beside that of the rubric.
    principle: Option<String>,
}

/// Rewards in 1..5, as the scores of a GenRM, and every pair.
#[derive(Debug, Serialize, ToSchema)]
pub(in super::super) struct CompareReply {
    rewards: Vec<f64>,
    comparison_results: Vec<NemoGymComparison>,
    #[schema(value_type = Object)]
    metrics: Map<String, Value>,
}

/// A comparison of two responses.
#[derive(Debug, Serialize, ToSchema)]
struct NemoGymComparison {
    response_i: usize,
    response_j: usize,
    judge_idx: usize,
    score_1: f64,
    score_2: f64,
    /// From 1 (the first is much better) to 6 (the second is much better).
    ranking: f64,
}

/// Verifies a rollout: returns the body with its reward in 0..1.
///
/// If there is no reward, the row has the failure fields of NeMo Gym's own judge, so that it is excluded.
#[utoipa::path(
    post, path = "/compat/nemo-gym/{rubric}/verify", operation_id = "nemo_gym_verify", tag = "trainers",
    request_body = VerifyBody, params(("rubric" = String, Path, example = "helpfulness")),
    responses((status = 200, body = Object), (status = "default", body = ProblemBody, content_type = "application/problem+json"))
)]
pub(in super::super) async fn verify(
    app: web::Data<App>,
    http: HttpRequest,
    payload: web::Payload,
) -> Result<HttpResponse, Problem> {
    let url = Url::of(&http)?;
    let mut body: VerifyBody = json::lenient(&http, payload, app.config.limits.bulk_body_bytes).await?;
    let judging = url.judging(&app, &http, None, Mode::Feedback).await?;
    let rewarded = match bulk_item(&body) {
        Ok(subject) => judging.one(subject).await.and_then(|graded| judging.reward(&graded.verdict)),
        Err(problem) => return Err(problem),
    };
    for stale in ["_ng_failure_class", "_ng_failure_judge_error", "mask_sample", "failure_kind", "failure_reason"] {
        body.rest.remove(stale);
    }
    let (reward, failure) = match rewarded {
        Ok(reward) => (reward, Map::new()),
        Err(problem) => (0.0, failed(&problem)),
    };
    body.rest.insert("reward".into(), reward.into());
    body.rest.extend(failure);
    Ok(HttpResponse::Ok().json(body))
}

/// The failure fields of a row, which exclude it from the results.
fn failed(problem: &Problem) -> Map<String, Value> {
    let reason = problem.to_string();
    let marks = json!({
        "mask_sample": true,
        "failure_kind": "judge_failed",
        "failure_reason": reason,
        "_ng_failure_class": "judge_failed",
        "_ng_failure_judge_error": reason,
    });
    marks.as_object().cloned().unwrap_or_default()
}

fn bulk_item(body: &VerifyBody) -> Result<BulkItem, Problem> {
    const INPUT: &str = "/responses_create_params/input";
    let asked = &body.responses_create_params;
    let above = asked.get("instructions").and_then(Value::as_str);
    let above = above.map(|text| Turn::new(Role::System, text));
    let said = match asked.get("input") {
        Some(Value::String(text)) => vec![Turn::new(Role::User, text.clone())],
        Some(Value::Array(messages)) => {
            let messages: Vec<Value> = messages.iter().filter_map(message).collect();
            turns(&messages, INPUT)?
        }
        _ => return Err(invalid("`input` is a text or a list of messages").at(INPUT)),
    };
    let response = output_text(&body.response).ok_or_else(|| invalid(NO_OUTPUT).at("/response/output"))?;
    let (mut item, response) = dialogue::conversed(above.into_iter().chain(said).collect(), "", response);
    let metadata = body.rest.get("verifier_metadata");
    let of = |name| body.rest.get(name).or_else(|| metadata?.get(name));
    item.reference_answer = REFERENCES.into_iter().find_map(|name| reference(of(name)));
    Ok(BulkItem::new(item, response))
}

/// Converts an item of OpenAI's Responses API into a chat message; `None` for other items, such as reasoning.
fn message(item: &Value) -> Option<Value> {
    match item["type"].as_str() {
        _ if item["role"].is_string() => Some(item.clone()),
        Some("function_call") => {
            let function = json!({"name": item["name"], "arguments": item["arguments"]});
            let call = json!({"id": item["call_id"], "type": "function", "function": function});
            Some(json!({"role": "assistant", "content": null, "tool_calls": [call]}))
        }
        Some("function_call_output") => {
            Some(json!({"role": "tool", "tool_call_id": item["call_id"], "content": item["output"]}))
        }
        _ => None,
    }
}

/// Maximum number of responses in one comparison, whose reply has an entry for every pair.
const RESPONSES: usize = 64;
const NO_OUTPUT: &str = "a response has a list `output` whose messages have text";

/// The final answer of a response object: the text of its messages, without reasoning.
fn output_text(response: &Map<String, Value>) -> Option<String> {
    let output = response.get("output")?.as_array()?;
    let messages = output.iter().filter(|item| item["type"].as_str().is_none_or(|kind| kind == "message"));
    let texts: Vec<String> = messages.filter_map(|message| text(&message["content"])).collect();
    Some(dialogue::bare(&texts.join("\n")).to_owned())
}

/// Compares the responses of a group: each is graded alone, and every pair is derived from the two grades.
#[utoipa::path(
    post, path = "/compat/nemo-gym/{rubric}/compare", operation_id = "nemo_gym_compare", tag = "trainers",
    request_body = CompareBody, params(("rubric" = String, Path, example = "helpfulness")),
    responses((status = 200, body = CompareReply), (status = "default", body = ProblemBody, content_type = "application/problem+json"))
)]
pub(in super::super) async fn compare(
    app: web::Data<App>,
    http: HttpRequest,
    payload: web::Payload,
) -> Result<HttpResponse, Problem> {
    let url = Url::of(&http)?;
    let body: CompareBody = json::lenient_bulk(&http, payload).await?;
    let responses = body.response_objs.len();
    if responses > RESPONSES {
        return Err(invalid(format!("{RESPONSES} responses at most; there are {responses}")).at("/response_objs"));
    }
    let mut judging = url.judging(&app, &http, None, Mode::Feedback).await?;
    add_principle(&mut judging, body.principle.as_deref())?;
    let history = turns(&body.conversation_history, "/conversation_history")?;
    let read = |index: usize, response: Value| {
        let output = response.as_object().and_then(output_text);
        let at = format!("/response_objs/{index}/output");
        let response = output.ok_or_else(|| invalid(NO_OUTPUT).at(at))?;
        let (item, response) = dialogue::conversed(history.clone(), "", response);
        Ok(BulkItem::new(item, response))
    };
    let graded = all(judging.each(body.response_objs, read, |graded, _| graded.verdict).await)?;
    let rewards: Vec<f64> = graded.iter().map(|(reward, _)| on_genrm_scale(*reward)).collect();
    let pairs = (0..graded.len()).flat_map(|i| (i + 1..graded.len()).map(move |j| (i, j)));
    let comparison_results = pairs.map(|(i, j)| comparison(&graded, i, j)).collect::<Result<_, _>>();
    let comparison_results = comparison_results.map_err(|error| ServiceError::from(TaskError::from(error)))?;
    Ok(HttpResponse::Ok().json(CompareReply { rewards, comparison_results, metrics: Map::new() }))
}

/// Maps a reward in 0..1 to the scale 1 to 5 of a GenRM.
fn on_genrm_scale(reward: f64) -> f64 {
    1.0 + 4.0 * reward
}

fn comparison(graded: &[(f64, Absolute)], i: usize, j: usize) -> Result<NemoGymComparison, InvalidVerdict> {
    let ((reward_i, verdict_i), (reward_j, verdict_j)) = (&graded[i], &graded[j]);
    let distributions: Vec<_> = verdict_i
        .verdicts()
        .zip(verdict_j.verdicts())
        .map(|(one, other)| (&one.distribution, &other.distribution, Weight::ONE))
        .collect();
    let (_, probability_i) = prefer_by_reward(*reward_i, *reward_j, &distributions, 0.0)?;
    Ok(NemoGymComparison {
        response_i: i,
        response_j: j,
        judge_idx: 0,
        score_1: on_genrm_scale(*reward_i),
        score_2: on_genrm_scale(*reward_j),
        ranking: 1.0 + 5.0 * (1.0 - probability_i),
    })
}

/// Adds a principle to the criterion of the rubric.
fn add_principle(judging: &mut BulkJudging, principle: Option<&str>) -> Result<(), Problem> {
    let Some(principle) = principle.filter(|principle| !principle.trim().is_empty()) else { return Ok(()) };
    for weighted in &mut judging.rubrics {
        let rubric = &weighted.rubric.rubric;
        let criterion = format!("{} {principle}", rubric.criterion());
        let descriptions = rubric.descriptions().map(|(score, text)| (score.to_string(), text.to_owned())).collect();
        weighted.rubric.rubric = Rubric::new(&criterion, &descriptions)?.into();
    }
    Ok(())
}

/// Starts a session, without any state.
#[utoipa::path(
    post, path = "/compat/nemo-gym/{rubric}/seed_session", operation_id = "nemo_gym_seed_session", tag = "trainers",
    request_body = Object, params(("rubric" = String, Path, example = "helpfulness")),
    responses((status = 200, body = Object), (status = "default", body = ProblemBody, content_type = "application/problem+json"))
)]
pub(in super::super) async fn seed_session(app: web::Data<App>, http: HttpRequest) -> Result<HttpResponse, Problem> {
    let rubric = http.match_info().get("rubric").unwrap_or_default();
    app.rubrics.named(rubric).map_err(Problem::from)?;
    Ok(HttpResponse::Ok().json(json!({})))
}
