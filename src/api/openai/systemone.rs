//! `POST /v1/systemone`: decisions in the format of System One.

use std::time::{SystemTime, UNIX_EPOCH};

use actix_web::{HttpRequest, HttpResponse, web};
use indexmap::IndexMap;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use ulid::Ulid;
use utoipa::ToSchema;

use super::ask;
use super::decisions::check_count;
use crate::api::context;
use crate::api::json;
use crate::api::problem::{OpenAiError, Problem};
use crate::app::App;
use crate::domain::{BranchChoice, InvalidRequest, Role, Turn};
use crate::tasks::{AnswerOption, Question, QuestionKind, confidence};

/// Questions about one state, by their names. Other fields are ignored.
#[derive(Debug, Deserialize, ToSchema)]
#[schema(example = json!({
    "state": "The sky is blue because air scatters short waves most.",
    "questions": {"about_physics": {"type": "noul", "instructions": "The text is about physics."}},
}))]
pub(in crate::api) struct SystemOneBody {
    /// A name of `GET /v1/models`; default: the default model.
    model: Option<String>,
    /// A text, or an object.
    state: Value,
    #[schema(value_type = std::collections::BTreeMap<String, SystemOneQuestion>)]
    questions: IndexMap<String, SystemOneQuestion>,
}

/// A question.
#[derive(Debug, Deserialize, ToSchema)]
pub(in crate::api) struct SystemOneQuestion {
    #[serde(rename = "type")]
    kind: SystemOneKind,
    /// A text, or an object.
    instructions: Value,
    /// choice: descriptions by name; noul: descriptions of `true` and `false`, or nothing; score: the levels, lowest
    /// first.
    criteria: Option<Value>,
}

/// The kinds of questions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
enum SystemOneKind {
    Choice,
    Noul,
    Score,
}

/// The answers, by the names of their questions.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct SystemOneAnswers {
    id: String,
    object: &'static str,
    created: u64,
    model: String,
    answers: IndexMap<String, SystemOneAnswer>,
    usage: SystemOneUsage,
    diagnostics: IndexMap<String, Diagnostics>,
}

/// An answer: exactly one of `choice`, `noul` and `score`.
#[derive(Debug, Serialize, ToSchema)]
struct SystemOneAnswer {
    #[serde(rename = "type")]
    kind: SystemOneKind,
    #[serde(skip_serializing_if = "Option::is_none")]
    choice: Option<String>,
    /// The probability that it is true.
    #[serde(skip_serializing_if = "Option::is_none")]
    noul: Option<f64>,
    /// The mean of the levels, counted from 0.
    #[serde(skip_serializing_if = "Option::is_none")]
    score: Option<f64>,
    probabilities: IndexMap<String, f64>,
    confidence: f64,
    /// What each level means.
    #[serde(skip_serializing_if = "Option::is_none")]
    legend: Option<IndexMap<String, String>>,
}

/// Tokens; the state counts once.
#[derive(Debug, Serialize, ToSchema)]
struct SystemOneUsage {
    input_tokens: u64,
    output_tokens: u64,
}

/// Diagnostics of an answer.
#[derive(Debug, Serialize, ToSchema)]
struct Diagnostics {
    /// Total probability of the answers before normalising.
    label_mass: f64,
    /// Whether the label mass is above one half.
    argmax_is_label: bool,
}

/// Answers questions about a state. No question sees another. A question with a label mass below
/// `grading.min_label_mass` has no answer; its diagnostics have the label mass.
#[utoipa::path(
    post, path = "/v1/systemone", operation_id = "create_structured_decision", tag = "openai", request_body = SystemOneBody,
    responses((status = 200, body = SystemOneAnswers), (status = "default", body = OpenAiError))
)]
pub(in crate::api) async fn create(
    app: web::Data<App>,
    http: HttpRequest,
    payload: web::Payload,
) -> Result<HttpResponse, Problem> {
    let body: SystemOneBody = json::lenient(&http, payload, app.config.limits.body_bytes).await?;
    check_count(body.questions.len(), 1, 400, "/questions")?;
    let turns = vec![Turn::new(Role::User, text(&body.state))];
    let questions: Vec<Question> =
        body.questions.iter().map(|(id, question)| question.check(id)).collect::<Result<_, _>>()?;
    let context = context::of_request(&http, &app)?;
    let answered =
        ask::questions(&app, body.model.as_deref(), (turns, "/state"), questions.clone(), "systemone", &context)
            .await?;
    let both = || body.questions.keys().cloned().zip(questions.iter().zip(&answered.checked.answers));
    let usage = answered.checked.usage;
    Ok(HttpResponse::Ok().json(SystemOneAnswers {
        id: format!("decision-{}", Ulid::new()),
        object: "structured_decision",
        created: SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs()),
        model: body.model.clone().unwrap_or_else(|| answered.model.clone()),
        // Clients read only the answers, and the protocol has no refusal: a missing answer is an error for them, and
        // never a verdict.
        answers: both()
            .filter(|(_, (_, choice))| choice.label_mass >= app.config.grading.min_label_mass)
            .map(|(id, (question, choice))| (id, SystemOneAnswer::of(question, choice)))
            .collect(),
        usage: SystemOneUsage { input_tokens: usage.prompt_tokens, output_tokens: usage.completion_tokens },
        diagnostics: both()
            .map(|(id, (_, BranchChoice { label_mass, .. }))| {
                (id, Diagnostics { label_mass: *label_mass, argmax_is_label: *label_mass > 0.5 })
            })
            .collect(),
    }))
}

/// A text as it is, anything else as JSON.
fn text(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

impl SystemOneQuestion {
    fn check(&self, id: &str) -> Result<Question, Problem> {
        let at = format!("/questions/{id}/criteria");
        let described = |value: &Value| Some(value).filter(|value| !value.is_null()).map(text);
        let criteria = self.criteria.as_ref().unwrap_or(&Value::Null);
        let kind = match (self.kind, criteria) {
            (SystemOneKind::Noul, Value::Null | Value::Object(_)) => QuestionKind::Predicate {
                if_true: criteria.get("true").and_then(described),
                if_false: criteria.get("false").and_then(described),
            },
            (SystemOneKind::Choice, Value::Object(names)) => {
                check_count(names.len(), 2, 255, &at)?;
                let listed =
                    names.iter().map(|(name, text)| AnswerOption { name: name.clone(), description: described(text) });
                QuestionKind::Choice(listed.collect())
            }
            (SystemOneKind::Score, Value::Array(levels)) => {
                check_count(levels.len(), 2, 255, &at)?;
                QuestionKind::Score(levels.iter().map(|l| AnswerOption { name: text(l), description: None }).collect())
            }
            _ => {
                let reason = "criteria are an object of descriptions for choice and noul, a list of levels for score";
                return Err(InvalidRequest::at(at, reason).into());
            }
        };
        Ok(Question { instructions: text(&self.instructions), kind })
    }
}

impl SystemOneAnswer {
    fn of(question: &Question, choice: &BranchChoice) -> Self {
        let distribution = &choice.distribution;
        let probabilities = distribution.probabilities();
        let by = |names: Vec<String>| names.into_iter().zip(probabilities.iter().copied()).collect();
        let answer = |kind| Self {
            kind,
            choice: None,
            noul: None,
            score: None,
            probabilities: IndexMap::new(),
            confidence: confidence(distribution),
            legend: None,
        };
        match &question.kind {
            QuestionKind::Predicate { .. } => Self {
                noul: Some(probabilities[0]),
                probabilities: by(vec!["true".to_owned(), "false".to_owned()]),
                ..answer(SystemOneKind::Noul)
            },
            QuestionKind::Choice(listed) => Self {
                choice: Some(listed[distribution.argmax()].name.clone()),
                probabilities: by(listed.iter().map(|listed| listed.name.clone()).collect()),
                ..answer(SystemOneKind::Choice)
            },
            QuestionKind::Score(listed) => {
                let places: Vec<String> = (0..listed.len()).map(|place| place.to_string()).collect();
                let legend = places.iter().cloned().zip(listed.iter().map(|listed| listed.name.clone())).collect();
                Self {
                    score: Some(distribution.expectation((0..listed.len()).map(|place| place as f64))),
                    probabilities: by(places),
                    legend: Some(legend),
                    ..answer(SystemOneKind::Score)
                }
            }
        }
    }
}
