//! slime's remote reward model: a sample in, a bare number out.

use actix_web::{HttpRequest, HttpResponse, web};
use serde::Deserialize;
use serde_json::{Value, json};
use utoipa::ToSchema;

use super::super::bulk::BulkItem;
use super::super::json;
use super::super::problem::{Problem, ProblemBody};
use super::{Url, dialogue, invalid, reference, turns};
use crate::app::App;
use crate::domain::Mode;

/// A sample of a rollout.
#[derive(Debug, Deserialize, ToSchema)]
#[schema(example = json!({"prompt": "Why is the sky blue?", "response": "Light scatters.", "label": null}))]
pub(in super::super) struct SlimeBody {
    /// A text, plain or rendered with a chat template, or a list of messages.
    #[schema(value_type = TextOrMessages)]
    prompt: Value,
    response: String,
    /// The reference, or null.
    #[serde(default)]
    label: Value,
}

/// A text, or a list of messages.
#[derive(ToSchema)]
#[serde(untagged)]
#[allow(dead_code, reason = "only documents what is read by hand")]
enum TextOrMessages {
    Text(String),
    #[schema(value_type = Vec<Object>)]
    Messages(Vec<Value>),
}

/// A number, or an object with the number under the requested key.
#[derive(ToSchema)]
#[serde(untagged)]
#[allow(dead_code, reason = "only documents what is written in two forms")]
pub(in super::super) enum SlimeReply {
    Bare(f64),
    #[schema(value_type = Object)]
    Keyed(Value),
}

/// A reward for slime: `--rm-type remote_rm --rm-url URL`.
///
/// The reply is a bare number; with `?reward_key=K`, for slime's `--reward-key K`, an object with this key.
#[utoipa::path(
    post, path = "/compat/slime/{rubric}", operation_id = "slime", tag = "trainers", request_body = SlimeBody,
    params(("rubric" = String, Path, example = "helpfulness"), ("reward_key" = Option<String>, Query)),
    responses((status = 200, body = SlimeReply, content_type = "application/json"), (status = "default", body = ProblemBody, content_type = "application/problem+json"))
)]
pub(in super::super) async fn reward(
    app: web::Data<App>,
    http: HttpRequest,
    payload: web::Payload,
) -> Result<HttpResponse, Problem> {
    let mut url = Url::of(&http)?;
    let key: Option<String> = url.take_own("reward_key", "a name")?;
    let body: SlimeBody = json::lenient(&http, payload, app.config.limits.bulk_body_bytes).await?;
    let judging = url.judging(&app, &http, None, Mode::Feedback).await?;
    let (mut item, response) = match &body.prompt {
        Value::String(prompt) => dialogue::answered(prompt, &body.response),
        Value::Array(messages) => {
            dialogue::conversed(turns(messages, "/prompt")?, "", dialogue::bare(&body.response).to_owned())
        }
        _ => return Err(invalid("`prompt` is a text or a list of messages").at("/prompt")),
    };
    item.reference_answer = reference(Some(&body.label));
    let graded = judging.one(BulkItem::new(item, response)).await?;
    let reward = judging.reward(&graded.verdict)?;
    Ok(match key {
        Some(key) => HttpResponse::Ok().json(json!({ key: reward })),
        None => HttpResponse::Ok().json(reward),
    })
}
