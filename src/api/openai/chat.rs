//! `POST /v1/chat/completions`

use actix_web::{HttpRequest, HttpResponse, web};

use super::chat_request::ChatBody;
use super::schema::ChatCompletion;
use super::{judge, text};
use crate::api::json;
use crate::api::problem::{OpenAiError, Problem};
use crate::app::App;

/// Answers a conversation: a judge model with a verdict in the format that the caller parses, a hosted model with
/// generated text.
///
/// With `"stream": true`, the answer is sent as server-sent events.
#[utoipa::path(
    post, path = "/v1/chat/completions", operation_id = "create_chat_completion", tag = "openai", request_body = ChatBody,
    responses((status = 200, content((ChatCompletion = "application/json"), (String = "text/event-stream"))), (status = "default", body = OpenAiError))
)]
pub(in crate::api) async fn create(
    app: web::Data<App>,
    http: HttpRequest,
    payload: web::Payload,
) -> Result<HttpResponse, Problem> {
    let body: ChatBody = json::lenient(&http, payload, app.config.limits.body_bytes).await?;
    let asked = body.model.clone().unwrap_or_default();
    match app.judge_models.find(app.judge_models.resolve(&asked)) {
        Some((judge, rubric)) => judge::answer(&app, &http, body, judge, rubric).await,
        None => text::answer(&app, &http, body).await,
    }
}
