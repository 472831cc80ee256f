//! promptfoo's webhook assertion.

use actix_web::{HttpRequest, HttpResponse, web};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

use super::super::bulk::{BulkItem, BulkJudging};
use super::super::json;
use super::super::problem::{Problem, ProblemBody};
use super::{Url, dialogue, invalid, reference, turns};
use crate::app::App;
use crate::domain::Mode;
use crate::tasks::Absolute;

/// Default threshold of the reward.
const THRESHOLD: f64 = 0.5;

/// An output to check.
#[derive(Debug, Deserialize, ToSchema)]
#[schema(example = json!({"output": "Light scatters.", "context": {"prompt": "Why is the sky blue?", "vars": {}}}))]
pub(in super::super) struct WebhookBody {
    /// A text, or JSON, which is judged as text.
    output: Value,
    context: WebhookContext,
}

#[derive(Debug, Deserialize, ToSchema)]
struct WebhookContext {
    /// A text, or a JSON list of messages as text.
    prompt: String,
    #[serde(default)]
    vars: Value,
}

/// The result of the assertion.
#[derive(Debug, Serialize, ToSchema)]
pub(in super::super) struct WebhookReply {
    pass: bool,
    /// The reward in 0..1.
    score: f64,
    /// The feedback, if there is any, and the score with its label mass.
    reason: String,
}

/// Checks that an output reaches a threshold by a rubric: `type: webhook`.
///
/// Score mode is the default, because promptfoo's timeout is 5 s; `?mode=feedback` adds feedback. `?threshold=` is the
/// minimum score (default 0.5), `?reference=` the variable with the reference (default `reference_answer`).
#[utoipa::path(
    post, path = "/compat/promptfoo/{rubric}", operation_id = "promptfoo", tag = "tools", request_body = WebhookBody,
    params(("rubric" = String, Path, example = "helpfulness"), ("threshold" = Option<f64>, Query), ("reference" = Option<String>, Query)),
    responses((status = 200, body = WebhookReply), (status = "default", body = ProblemBody, content_type = "application/problem+json"))
)]
pub(in super::super) async fn webhook(
    app: web::Data<App>,
    http: HttpRequest,
    payload: web::Payload,
) -> Result<HttpResponse, Problem> {
    let mut url = Url::of(&http)?;
    let threshold = url.take_own("threshold", "a number between 0 and 1")?.unwrap_or(THRESHOLD);
    let variable = url.take_own("reference", "a name")?.unwrap_or_else(|| "reference_answer".to_owned());
    let body: WebhookBody = json::lenient(&http, payload, app.config.limits.bulk_body_bytes).await?;
    let judging = url.judging(&app, &http, None, Mode::Score).await?;
    let output = reference(Some(&body.output)).ok_or_else(|| invalid("there is no output").at("/output"))?;
    let messages: Option<Vec<Value>> = serde_json::from_str(&body.context.prompt).ok();
    let (mut item, response) =
        match messages.filter(|messages| messages.iter().all(|message| message["role"].is_string())) {
            Some(messages) => dialogue::conversed(turns(&messages, "/context/prompt")?, "", output),
            None => dialogue::conversed(Vec::new(), &body.context.prompt, output),
        };
    item.reference_answer = reference(body.context.vars.get(&variable));
    let graded = judging.one(BulkItem::new(item, response)).await?;
    let score = judging.reward(&graded.verdict)?;
    Ok(HttpResponse::Ok().json(WebhookReply {
        pass: score >= threshold,
        score,
        reason: reason(&judging, &graded.verdict),
    }))
}

fn reason(judging: &BulkJudging, verdict: &Absolute) -> String {
    let said = verdict.verdicts().zip(&judging.rubrics).map(|(verdict, weighted)| {
        let (name, scale) = (&weighted.rubric.name, weighted.rubric.rubric.scale());
        let highest = scale.scores().last().map_or(0, |score| score.value());
        let sure = format!("{name}: {} of {highest} (label mass {:.2})", verdict.score.value(), verdict.label_mass);
        match verdict.feedback() {
            Some(feedback) if !feedback.is_empty() => format!("{feedback} {sure}"),
            _ => sure,
        }
    });
    said.collect::<Vec<_>>().join("\n")
}
