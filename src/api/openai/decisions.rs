//! `POST /v1/decisions`

use actix_web::{HttpRequest, HttpResponse, web};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

use super::ask;
use super::messages;
use crate::api::context;
use crate::api::json;
use crate::api::problem::{OpenAiError, Problem};
use crate::app::App;
use crate::domain::{InvalidRequest, Role, Turn, Usage};
use crate::pictures::PictureLimits;
use crate::tasks::{AnswerOption, Question, QuestionKind, confidence};

/// Maximum number of questions of one request.
const MOST_QUESTIONS: usize = 400;
/// Maximum number of answers of one question.
const MOST_ANSWERS: usize = 255;

/// Questions about one input. Other fields are ignored.
#[derive(Debug, Deserialize, ToSchema)]
#[schema(example = json!({
    "input": "The sky is blue because air scatters short waves most.",
    "questions": [
        {"type": "predicate", "name": "about_physics", "instructions": "The text is about physics."},
        {"type": "score", "name": "clear", "instructions": "How clear is it?", "levels": [{"label": "unclear"}, {"label": "clear"}]},
    ],
}))]
pub(in crate::api) struct DecisionsBody {
    /// A name of `GET /v1/models`; default: the default model.
    model: Option<String>,
    /// A text, or messages.
    input: Value,
    /// 1 to 400 questions.
    questions: Vec<QuestionBody>,
}

/// A question.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(tag = "type", rename_all = "snake_case")]
enum QuestionBody {
    /// The probability that a statement about the input is true.
    Predicate {
        name: Option<String>,
        /// A text, or text parts.
        instructions: Value,
    },
    /// One of several values.
    Choice { name: Option<String>, instructions: Value, choices: Vec<ChoiceBody> },
    /// One of several levels, lowest first.
    Score { name: Option<String>, instructions: Value, levels: Vec<LevelBody> },
}

/// A value to choose.
#[derive(Debug, Deserialize, ToSchema)]
struct ChoiceBody {
    /// A text, or true or false.
    value: Value,
    description: Option<String>,
}

/// A level.
#[derive(Debug, Deserialize, ToSchema)]
struct LevelBody {
    label: String,
    description: Option<String>,
}

/// The answers, in the order of the questions.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Decisions {
    model: String,
    answers: Vec<AnswerBody>,
    usage: DecisionUsage,
}

/// An answer.
#[derive(Debug, Serialize, ToSchema)]
#[serde(tag = "type", rename_all = "snake_case")]
enum AnswerBody {
    Predicate {
        name: Option<String>,
        probability: f64,
    },
    Choice {
        name: Option<String>,
        choice: Value,
        confidence: f64,
        probabilities: Vec<ChoiceProbability>,
    },
    Score {
        name: Option<String>,
        score: f64,
        confidence: f64,
        probabilities: Vec<LevelProbability>,
    },
    /// The label mass is too low: the answer would be a forced guess.
    Refusal {
        name: Option<String>,
    },
}

/// The probability of a choice.
#[derive(Debug, Serialize, ToSchema)]
struct ChoiceProbability {
    value: Value,
    probability: f64,
}

/// The probability of a level; `value` is its index, from 0.
#[derive(Debug, Serialize, ToSchema)]
struct LevelProbability {
    label: String,
    value: usize,
    probability: f64,
}

/// Tokens; the input counts once.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct DecisionUsage {
    input_tokens: u64,
    input_tokens_details: InputDetails,
    output_tokens: u64,
    output_tokens_details: OutputDetails,
    total_tokens: u64,
}

/// Details of the input tokens.
#[derive(Debug, Serialize, ToSchema)]
struct InputDetails {
    cached_tokens: u64,
    cache_write_tokens: u64,
}

/// Details of the output tokens.
#[derive(Debug, Serialize, ToSchema)]
struct OutputDetails {
    reasoning_tokens: u64,
}

/// Answers questions about an input, with the probability of every answer. No question sees another. A question with a
/// label mass below `grading.min_label_mass` is a refusal.
#[utoipa::path(
    post, path = "/v1/decisions", operation_id = "create_decision", tag = "openai", request_body = DecisionsBody,
    responses((status = 200, body = Decisions), (status = "default", body = OpenAiError))
)]
pub(in crate::api) async fn create(
    app: web::Data<App>,
    http: HttpRequest,
    payload: web::Payload,
) -> Result<HttpResponse, Problem> {
    let body: DecisionsBody = json::lenient(&http, payload, app.config.limits.body_bytes).await?;
    let turns = input(&body.input, &app.config.pictures)?;
    let questions: Vec<Question> =
        body.questions.iter().enumerate().map(|(index, question)| question.check(index)).collect::<Result<_, _>>()?;
    check_count(questions.len(), 1, MOST_QUESTIONS, "/questions")?;
    let context = context::of_request(&http, &app)?;
    let answered =
        ask::questions(&app, body.model.as_deref(), (turns, "/input"), questions, "decisions", &context).await?;
    let least = app.config.grading.min_label_mass;
    let answers = body.questions.into_iter().zip(&answered.checked.answers).map(|(question, choice)| {
        let distribution = &choice.distribution;
        if choice.label_mass < least {
            return AnswerBody::Refusal { name: question.name() };
        }
        question.answer(distribution.probabilities(), distribution.argmax(), confidence(distribution))
    });
    let model = body.model.unwrap_or_else(|| answered.model.clone());
    Ok(HttpResponse::Ok().json(Decisions {
        model,
        answers: answers.collect(),
        usage: DecisionUsage::of(answered.checked.usage),
    }))
}

fn input(input: &Value, pictures: &PictureLimits) -> Result<Vec<Turn>, Problem> {
    match input {
        Value::String(text) if !text.trim().is_empty() => Ok(vec![Turn::new(Role::User, text.clone())]),
        Value::Array(items) => messages::turns_at(items, "/input", pictures),
        _ => Err(InvalidRequest::at("/input", "the input must be a non-empty text, or messages").into()),
    }
}

/// Checks the number of questions or answers.
pub(super) fn check_count(found: usize, least: usize, most: usize, at: &str) -> Result<(), Problem> {
    if (least..=most).contains(&found) {
        return Ok(());
    }
    Err(InvalidRequest::at(at, format!("must have {least} to {most} entries, has {found}")).into())
}

impl QuestionBody {
    fn check(&self, index: usize) -> Result<Question, Problem> {
        let at = format!("/questions/{index}");
        let (instructions, kind) = match self {
            Self::Predicate { instructions, .. } => {
                (instructions, QuestionKind::Predicate { if_true: None, if_false: None })
            }
            Self::Choice { instructions, choices, .. } => {
                check_count(choices.len(), 2, MOST_ANSWERS, &format!("{at}/choices"))?;
                let listed = choices.iter().enumerate().map(|(place, choice)| {
                    if choices[..place].iter().any(|other| other.value == choice.value) {
                        return Err(InvalidRequest::at(format!("{at}/choices/{place}"), "is a duplicate"));
                    }
                    let name = match &choice.value {
                        Value::String(text) => text.clone(),
                        Value::Bool(value) => value.to_string(),
                        _ => {
                            let at = format!("{at}/choices/{place}/value");
                            return Err(InvalidRequest::at(at, "a value is a text, true or false"));
                        }
                    };
                    Ok(AnswerOption { name, description: choice.description.clone() })
                });
                (instructions, QuestionKind::Choice(listed.collect::<Result<_, _>>()?))
            }
            Self::Score { instructions, levels, .. } => {
                check_count(levels.len(), 2, MOST_ANSWERS, &format!("{at}/levels"))?;
                let listed = |level: &LevelBody| AnswerOption {
                    name: level.label.clone(),
                    description: level.description.clone(),
                };
                (instructions, QuestionKind::Score(levels.iter().map(listed).collect()))
            }
        };
        Ok(Question { instructions: messages::text(instructions, &format!("{at}/instructions"))?, kind })
    }

    fn name(self) -> Option<String> {
        match self {
            Self::Predicate { name, .. } | Self::Choice { name, .. } | Self::Score { name, .. } => name,
        }
    }

    fn answer(self, probabilities: &[f64], taken: usize, confidence: f64) -> AnswerBody {
        match self {
            Self::Predicate { name, .. } => AnswerBody::Predicate { name, probability: probabilities[0] },
            Self::Choice { name, choices, .. } => {
                let choice = choices[taken].value.clone();
                let all = choices.into_iter().zip(probabilities);
                let probabilities =
                    all.map(|(choice, p)| ChoiceProbability { value: choice.value, probability: *p }).collect();
                AnswerBody::Choice { name, choice, confidence, probabilities }
            }
            Self::Score { name, levels, .. } => {
                let score = probabilities.iter().enumerate().map(|(value, p)| value as f64 * p).sum();
                let all = levels.into_iter().zip(probabilities).enumerate();
                let level = |(value, (level, p)): (usize, (LevelBody, &f64))| LevelProbability {
                    label: level.label,
                    value,
                    probability: *p,
                };
                AnswerBody::Score { name, score, confidence, probabilities: all.map(level).collect() }
            }
        }
    }
}

impl DecisionUsage {
    fn of(usage: Usage) -> Self {
        Self {
            input_tokens: usage.prompt_tokens,
            input_tokens_details: InputDetails { cached_tokens: usage.cached_tokens, cache_write_tokens: 0 },
            output_tokens: usage.completion_tokens,
            output_tokens_details: OutputDetails { reasoning_tokens: 0 },
            total_tokens: usage.prompt_tokens + usage.completion_tokens,
        }
    }
}
