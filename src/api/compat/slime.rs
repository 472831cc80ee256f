//! slime's remote reward model: a sample in, a bare number out.

use actix_web::{HttpRequest, HttpResponse, web};
use serde::Deserialize;
use serde_json::{Value, json};
use utoipa::ToSchema;

use super::super::extract;
use super::super::judging::Subject;
use super::super::problem::{Problem, ProblemBody};
use super::{Url, dialogue, invalid, reference, turns};
use crate::app::App;
use crate::grading::Mode;

/// A sample of a rollout.
#[derive(Debug, Deserialize, ToSchema)]
pub(in super::super) struct SlimeBody {
    /// A text, as a chat template wrote it or plain, or a list of messages.
    prompt: Value,
    response: String,
    /// The reference, or null.
    #[serde(default)]
    label: Value,
}

/// A reward for slime: `--rm-type remote_rm --rm-url URL`.
///
/// The reply is a bare number; with `?reward_key=K`, for slime's `--reward-key K`, an object that has it.
#[utoipa::path(
    post, path = "/compat/slime/{rubric}", operation_id = "slime", tag = "trainers", request_body = SlimeBody,
    params(("rubric" = String, Path), ("reward_key" = Option<String>, Query)),
    responses((status = 200, body = f64), (status = "default", body = ProblemBody, content_type = "application/problem+json"))
)]
pub(in super::super) async fn reward(
    app: web::Data<App>,
    http: HttpRequest,
    payload: web::Payload,
) -> Result<HttpResponse, Problem> {
    let mut url = Url::of(&http)?;
    let key: Option<String> = url.take("reward_key", "a name")?;
    let body: SlimeBody = extract::lenient(&http, payload, app.config.limits.bulk_body_bytes).await?;
    let judging = url.judging(&app, &http, None, Mode::Feedback).await?;
    let (mut item, response) = match &body.prompt {
        Value::String(prompt) => dialogue::answered(prompt, &body.response),
        Value::Array(messages) => {
            dialogue::conversed(turns(messages, "/prompt")?, "", dialogue::bare(&body.response).to_owned())
        }
        _ => return Err(invalid("`prompt` is a text or a list of messages").at("/prompt")),
    };
    item.reference_answer = reference(Some(&body.label));
    let (verdict, _) = judging.one(Subject { item, response }).await?;
    let reward = judging.reward(&verdict)?;
    Ok(match key {
        Some(key) => HttpResponse::Ok().json(json!({ key: reward })),
        None => HttpResponse::Ok().json(reward),
    })
}
