//! `POST /v1/grade/label`

use actix_web::{HttpRequest, HttpResponse, web};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

use super::context;
use super::json::{self, Object, object_or_null};
use super::messages::{self, MessageBody};
use super::method::{self, ChosenLabel};
use super::problem::Problem;
use super::samples::SamplesBody;
use super::schema::{self, ContextBody, ItemFields, JudgingFields, SamplingBody};
use super::verdict::{self, Debug, Produced};
use crate::app::App;
use crate::domain::{Instruction, InvalidRequest, LabelSet, Mode, Role, Turn, check_text};
use crate::service;
use crate::tasks::{Labelling, LabelsVerdict};

/// A text or turns of a conversation to label.
#[derive(Debug, Deserialize, ToSchema)]
#[schema(example = json!({
    "messages": [
        {"role": "user", "content": "Which is the largest moon of Saturn?"},
        {"role": "assistant", "content": "Europa."},
        {"role": "user", "content": "No, Europa is a moon of Jupiter. It is Titan."},
    ],
    "turn": "each_user",
    "labels": "user_feedback",
}))]
pub(super) struct LabelBody {
    /// The text; use either this or `messages`.
    text: Option<String>,
    /// The conversation; it may end with any turn.
    #[schema(value_type = Option<Vec<MessageBody>>)]
    messages: Option<Vec<Object<MessageBody>>>,
    /// Of `messages`: `last` (default), the index of a message, or `each_user`.
    #[schema(value_type = Option<TurnChoice>)]
    #[serde(default)]
    turn: Value,
    /// A set's name, or 2 to 26 labels with what each means.
    #[schema(value_type = method::DescribedLabels)]
    labels: Value,
    /// Documents that help to judge.
    #[schema(value_type = Option<Vec<ContextBody>>)]
    context: Option<Vec<Object<ContextBody>>>,
    /// The sampling of the reply's tail; nothing is written.
    #[serde(default, deserialize_with = "object_or_null")]
    sampling: Option<SamplingBody>,
    /// A name of `GET /v1/models`, or null for the default one.
    model: Option<String>,
    /// A prompt set; null for the model's own, or `plain` where that has no such prompt.
    prompt: Option<String>,
    /// The persona whose judgement is requested.
    annotator: Option<String>,
    /// Whether the verdict cache may be used.
    cache: Option<bool>,
    /// Run alone and without prefix reuse, which gives the same bytes every time.
    deterministic: Option<bool>,
    /// Return the exact prompt and answer of the model.
    debug: Option<bool>,
}

/// `last`, `each_user`, or the index of a message, from 0.
#[derive(ToSchema)]
#[schema(as = TurnChoice)]
#[serde(untagged)]
#[allow(dead_code, reason = "only documents what `turn` reads by hand, for the sake of pointers")]
enum TurnChoice {
    Name(String),
    Index(usize),
}

/// The label of a turn, or of the text.
#[derive(Debug, Serialize, ToSchema)]
struct TurnLabel {
    /// The index of the message; null for a text.
    turn: Option<usize>,
    #[serde(flatten)]
    chosen: ChosenLabel,
}

/// The labels of a text or of turns.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = LabelVerdict)]
struct LabelVerdictBody {
    id: String,
    object: &'static str,
    /// One for each turn, in order.
    labels: Vec<TurnLabel>,
    /// The lowest label mass of the labels.
    label_mass: f64,
    #[serde(flatten)]
    produced: Produced,
    #[serde(skip_serializing_if = "Option::is_none")]
    debug: Option<Debug>,
}

/// The most turns that one request labels.
const MOST_TURNS: usize = 64;

/// Labels a text, or turns of a conversation.
///
/// All turns share one prefill of the whole conversation, and none sees the label of another. `rubric` in the reply is
/// the label set.
#[utoipa::path(
    post, path = "/v1/grade/label", operation_id = "grade_label", tag = "grading", request_body = LabelBody,
    responses((status = 200, body = LabelVerdictBody), (status = "default", body = super::problem::ProblemBody, content_type = "application/problem+json"))
)]
pub(super) async fn grade(
    app: web::Data<App>,
    http: HttpRequest,
    payload: web::Payload,
) -> Result<HttpResponse, Problem> {
    let body: LabelBody = json::strict(&http, payload, app.config.limits.body_bytes).await?;
    let labels = method::described_labels(&body.labels, &app)?;
    let (instruction, turns) = match (body.text, body.messages) {
        (Some(text), None) if body.turn.is_null() => {
            (Instruction::Text(schema::not_empty(text, "/text", "the text")?), Vec::new())
        }
        (Some(_), None) => return Err(InvalidRequest::at("/turn", "a text has no turns; send `messages`").into()),
        (None, Some(messages)) => {
            // Results in a row become one turn, and indexes would no longer be those of the messages.
            if let Some(index) = messages.iter().position(|json::Object(message)| message.is_tool_result()) {
                let why = "results of tools are not labelled; leave them out";
                return Err(InvalidRequest::at(format!("/messages/{index}/role"), why).into());
            }
            let conversation = messages::turns(messages, &app.config.pictures)?;
            let turns = labelled_turns(&body.turn, &conversation)?;
            (Instruction::Conversation(conversation), turns)
        }
        (Some(_), Some(_)) => {
            return Err(InvalidRequest::at("/messages", "send `text` or `messages`, not both").into());
        }
        (None, None) => return Err(InvalidRequest::at("/text", "send `text`, or a conversation as `messages`").into()),
    };
    let fields = JudgingFields {
        mode: Some(Mode::Score),
        samples: Some(SamplesBody::ONE),
        sampling: body.sampling.unwrap_or_default(),
        model: body.model,
        prompt: body.prompt,
        cache: body.cache,
        deterministic: body.deterministic.unwrap_or(false),
        ..JudgingFields::default()
    };
    let judging = fields.check_of_items(&app)?;
    let item = ItemFields { context: body.context, annotator: body.annotator, ..ItemFields::default() };
    let item = item.about(instruction, &app)?;
    let (set, named, debug) = (labels.clone(), turns.clone(), body.debug.unwrap_or(false));
    let task = Labelling { item, turns, labels, options: judging.options };
    let context = context::of_request(&http, &app)?;
    let graded = app.service.run(&context, judging.model.as_deref(), task, None).await?;
    Ok(HttpResponse::Ok().json(verdict_body(graded, &named, &set, debug)))
}

/// The indexes of the turns to label.
fn labelled_turns(turn: &Value, conversation: &[Turn]) -> Result<Vec<usize>, Problem> {
    const AT: &str = "/turn";
    let wrong = |reason: String| Err(InvalidRequest::at(AT, reason).into());
    if conversation.is_empty() {
        return Err(InvalidRequest::at("/messages", "there is no message to label").into());
    }
    let turns: Vec<usize> = match (turn, turn.as_str(), turn.as_u64().and_then(|n| usize::try_from(n).ok())) {
        (Value::Null, ..) | (_, Some("last"), _) => vec![conversation.len() - 1],
        (_, Some("each_user"), _) => {
            let users = conversation.iter().enumerate().filter(|(_, turn)| turn.role == Role::User);
            users.map(|(index, _)| index).collect()
        }
        (.., Some(index)) if index < conversation.len() => vec![index],
        (.., Some(index)) => {
            return wrong(format!("is {index}, but there are {} messages, counted from 0", conversation.len()));
        }
        _ => return wrong("is \"last\", \"each_user\", or the index of a message, from 0".to_owned()),
    };
    if turns.is_empty() {
        return wrong("there is no turn of a user".to_owned());
    }
    if turns.len() > MOST_TURNS {
        return wrong(format!("a request labels at most {MOST_TURNS} turns, this one has {}", turns.len()));
    }
    for index in &turns {
        let at = format!("/messages/{index}/content");
        check_text(&conversation[*index].content.texts(), &at, "the text of the message")?;
    }
    Ok(turns)
}

fn verdict_body(
    graded: service::Graded<LabelsVerdict>,
    turns: &[usize],
    set: &LabelSet,
    debug: bool,
) -> LabelVerdictBody {
    let service::Graded { id, verdict, provenance, stats, .. } = graded;
    let label_mass = method::lowest_mass(verdict.labels.iter().map(|chosen| &chosen.choice));
    let turns = turns.iter().copied().map(Some).chain(std::iter::repeat(None));
    let labels = verdict
        .labels
        .iter()
        .zip(turns)
        .map(|(chosen, turn)| TurnLabel { turn, chosen: ChosenLabel::of(set, chosen.label, &chosen.choice) });
    LabelVerdictBody {
        id,
        object: "verdict.label",
        labels: labels.collect(),
        label_mass,
        debug: verdict::debug(debug, Some(&verdict.judgement), &stats),
        produced: Produced::new(provenance, &stats, Some(label_mass)),
    }
}
