//! `POST /v1/chat/completions`

use actix_web::{HttpRequest, HttpResponse, web};

use super::chat_request::ChatBody;
use super::response_events::Envelope;
use super::schema::ChatCompletion;
use super::{judge, text};
use crate::api::json;
use crate::api::problem::{Code, OpenAiError, Problem};
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
    answer(&app, &http, body, Envelope::Chat).await
}

/// Answers with a judge model or a hosted one.
pub(super) async fn answer(
    app: &App,
    http: &HttpRequest,
    body: ChatBody,
    envelope: Envelope,
) -> Result<HttpResponse, Problem> {
    let asked = body.model.clone().unwrap_or_default();
    match app.judge_models.find(app.judge_models.resolve(&asked)) {
        Some((judge, rubric)) => judge::answer(app, http, body, (judge, rubric), &envelope).await,
        None => {
            if let Err(error) = app.models().check_name(app.hosted(body.model.as_deref())) {
                let judges = app.other_model_names().join(", ");
                let detail = format!("{error}; judge models are {judges}, each also as NAME:RUBRIC");
                return Err(Problem::new(Code::UnknownModel, detail).at("/model"));
            }
            text::answer(app, http, body, &envelope).await
        }
    }
}
