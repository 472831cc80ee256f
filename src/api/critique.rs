//! `POST /v1/critique`

use actix_web::{HttpRequest, HttpResponse, web};
use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;

use super::messages::{self, ContentBody};
use super::method::{MethodFields, method_body, one_rubric};
use super::pictures::PictureReader;
use super::problem::Problem;
use super::schema::{ItemFields, RubricChoice};
use super::verdict::{self, Debug, Produced};
use super::{context, json, stream};
use crate::app::App;
use crate::domain::{Finish, Instruction, InvalidRequest, Item, Judgement, Mode, Role};
use crate::service;
use crate::tasks::Critique;

method_body! {
    /// A response, or a conversation, to write feedback on.
    #[schema(example = json!({
        "instruction": "Why is the sky blue?",
        "response": "Because the sea is blue.",
        "rubric": "factual_validity",
    }))]
    CritiqueBody {
        /// The response; without it, the feedback is on the turns of the assistant in `messages`, the last one of which
        /// is the assistant's.
        #[schema(value_type = Option<ContentBody>)]
        #[serde(default)]
        response: Value,
        /// What the feedback is about: a rubric's name or an inline rubric; default: anything.
        #[schema(value_type = Option<RubricChoice>)]
        #[serde(default)]
        rubric: Value,
    }
}

/// Feedback without a score.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = CritiqueVerdict)]
struct CritiqueVerdictBody {
    id: String,
    object: &'static str,
    feedback: String,
    /// `length`: the feedback reached `max_feedback_tokens`.
    finish: Finish,
    #[serde(flatten)]
    produced: Produced,
    #[serde(skip_serializing_if = "Option::is_none")]
    debug: Option<Debug>,
}

/// Writes feedback on a response, or on the turns of the assistant in a conversation, without a score.
///
/// With `Accept: text/event-stream`, feedback is streamed while it is generated, and the whole is the last event.
#[utoipa::path(
    post, path = "/v1/critique", operation_id = "critique", tag = "grading", request_body = CritiqueBody,
    responses((status = 200, content((CritiqueVerdictBody = "application/json"), (String = "text/event-stream"))), (status = "default", body = super::problem::ProblemBody, content_type = "application/problem+json"))
)]
pub(super) async fn critique(
    app: web::Data<App>,
    http: HttpRequest,
    payload: web::Payload,
) -> Result<HttpResponse, Problem> {
    let mut body: CritiqueBody = json::strict(&http, payload, app.config.limits.body_bytes).await?;
    let rubric = body.rubric.take();
    let fields = body.common(rubric);
    let (fields, response) = match &body.response {
        Value::Null => (MethodFields::check_by(fields, Mode::Feedback, &app, conversation)?, None),
        value => {
            let fields = MethodFields::check(fields, Mode::Feedback, &app)?;
            let mut pictures = PictureReader::after(&fields.item, &app.config.pictures);
            let response = messages::response(value, "/response", "the response", &mut pictures)?;
            (fields, Some(response))
        }
    };
    let MethodFields { item, judging, debug } = fields;
    let rubric = one_rubric(judging.rubrics, judging.multi)?;
    let task = Critique { item, response, rubric, options: judging.options };
    let context = context::of_request(&http, &app)?;
    let session = app.service.begin(&context, judging.model.as_deref()).await?;
    stream::answer(
        &http,
        |progress| async move { Ok(session.run(task, progress).await?) },
        move |graded| verdict_body(graded, debug),
    )
    .await
}

/// The item of a conversation whose assistant is criticised.
fn conversation(mut fields: ItemFields, app: &App) -> Result<Item, Problem> {
    let wrong = |pointer: &str, reason: &str| Err(InvalidRequest::at(pointer, reason).into());
    if fields.instruction.is_some() {
        return wrong("/response", "send the response to the instruction");
    }
    let Some(messages) = fields.messages.take() else {
        return wrong("/response", "send `response`, or `messages` that end with a turn of the assistant");
    };
    let turns = messages::turns(messages, &app.config.pictures)?;
    if turns.last().is_none_or(|turn| turn.role != Role::Assistant) {
        return wrong("/messages", "without `response`, the last message must be the assistant's");
    }
    fields.about(Instruction::Conversation(turns), app)
}

fn verdict_body(graded: service::Graded<Judgement>, debug: bool) -> CritiqueVerdictBody {
    let service::Graded { id, verdict: judgement, provenance, stats, .. } = graded;
    CritiqueVerdictBody {
        id,
        object: "critique",
        debug: verdict::debug(debug, Some(&judgement), &stats),
        feedback: judgement.feedback.unwrap_or_default(),
        finish: judgement.finish,
        produced: Produced::new(provenance, &stats, None),
    }
}
