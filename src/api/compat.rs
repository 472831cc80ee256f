//! Protocols of trainers, tools and reward servers.
//!
//! They do not send Gavel's fields, so the rubric and the options are in the URL. Unknown fields in a body are ignored,
//! as in the original servers; unknown parameters in the URL are an error. Most of these protocols cannot express that
//! an item has no reward, so a missing reward is an error of the whole request. docs/trainers.md describes what each
//! client does then.

pub(super) mod atla;
pub(super) mod classify;
mod dialogue;
pub(super) mod nemo_gym;
pub(super) mod openrlhf;
pub(super) mod promptfoo;
pub(super) mod score;
pub(super) mod slime;

use std::collections::BTreeMap;
use std::str::FromStr;

use actix_web::{HttpRequest, web};
use serde_json::Value;
use utoipa::ToSchema;

use super::bulk::{BulkJudging, ItemOutcome};
use super::context;
use super::problem::{Code, Problem};
use super::schema::{JudgingFields, SamplingBody};
use crate::app::App;
use crate::domain::spelling::suggestion;
use crate::domain::tool_calls::{self, Tools};
use crate::domain::{InvalidRequest, Mode, Role, Turn};

/// Prefix of a judge model name with a rubric.
const JUDGE: &str = "gavel-absolute:";

/// The query parameters of all these routes.
const PARAMETERS: [&str; 6] = ["rubric", "mode", "model", "prompt", "max_feedback_tokens", "min_label_mass"];

/// One text or several.
#[derive(ToSchema)]
#[serde(untagged)]
#[allow(dead_code, reason = "only documents what is read by hand")]
pub(super) enum OneOrMany {
    One(String),
    Many(Vec<String>),
}

/// The options in the URL.
pub(super) struct Url {
    rubric: Option<String>,
    query: BTreeMap<String, String>,
    /// The parameters of the route alone.
    own: Vec<&'static str>,
}

impl Url {
    /// Parses path and query.
    pub(super) fn of(http: &HttpRequest) -> Result<Self, Problem> {
        let query = web::Query::<BTreeMap<String, String>>::from_query(http.query_string());
        let query = query.map_err(|error| invalid(format!("the URL's query cannot be read: {error}")))?.into_inner();
        Ok(Self { rubric: http.match_info().get("rubric").map(str::to_owned), query, own: Vec::new() })
    }

    /// Removes and returns a parameter of the route alone.
    pub(super) fn take_own<T: FromStr>(&mut self, name: &'static str, what: &str) -> Result<Option<T>, Problem> {
        self.own.push(name);
        self.take(name, what)
    }

    /// Removes and returns a parameter.
    fn take<T: FromStr>(&mut self, name: &str, what: &str) -> Result<Option<T>, Problem> {
        let Some(text) = self.query.remove(name) else { return Ok(None) };
        text.parse().map(Some).map_err(|_| invalid(format!("?{name}={text} is not {what}")))
    }

    /// The rubric in the path, the query or the model name, or the configured default.
    fn rubric(&mut self, model: Option<&str>, app: &App) -> Option<String> {
        let model = model.map(|model| app.judge_models.resolve(model));
        let of_model = model.and_then(|model| model.strip_prefix(JUDGE)).map(str::to_owned);
        let default = Some(&app.config.grading.rubric).filter(|name| !name.is_empty()).cloned();
        self.rubric.take().or(self.query.remove("rubric")).or(of_model).or(default)
    }

    /// Finds the model, and the rubric if one is named; items may have their own.
    pub(super) async fn judging_items(
        mut self,
        app: &web::Data<App>,
        http: &HttpRequest,
        mode: Mode,
    ) -> Result<BulkJudging, Problem> {
        let rubric = self.rubric(None, app);
        rubric.iter().try_for_each(|rubric| app.rubrics.named(rubric).map(drop))?;
        self.judging_by(app, http, rubric.map_or(Value::Null, Value::String), mode).await
    }

    /// Finds rubric and model. `model` is the model name in the caller's protocol, which may contain a rubric.
    pub(super) async fn judging(
        mut self,
        app: &web::Data<App>,
        http: &HttpRequest,
        model: Option<&str>,
        mode: Mode,
    ) -> Result<BulkJudging, Problem> {
        let rubric = self.rubric(model, app).ok_or_else(|| {
            let known: Vec<String> = app.rubrics.list().into_iter().map(|entry| entry.name).collect();
            let known = known.join(", ");
            invalid(format!("name a rubric in the URL, as in ?rubric=helpfulness; there are: {known}"))
        })?;
        app.rubrics.named(&rubric)?;
        self.judging_by(app, http, Value::String(rubric), mode).await
    }

    /// Finds the model; the rubric is given, or null where items have their own.
    pub(super) async fn judging_by(
        mut self,
        app: &web::Data<App>,
        http: &HttpRequest,
        rubric: Value,
        mode: Mode,
    ) -> Result<BulkJudging, Problem> {
        let context = context::of_request(http, app)?;
        let asked: Option<String> = self.take("mode", "a mode")?;
        let mode = match asked.as_deref() {
            None => mode,
            Some("feedback") => Mode::Feedback,
            Some("score") => Mode::Score,
            Some(other) => return Err(invalid(format!("?mode={other} is neither `feedback` nor `score`"))),
        };
        let sampling = SamplingBody::of_at_most(self.take("max_feedback_tokens", "a number of tokens")?);
        let (model, prompt) = (self.take("model", "a name")?, self.take("prompt", "a name")?);
        let least = self.take("min_label_mass", "a number between 0 and 1")?;
        // The key is not checked here.
        self.query.remove("key");
        if let Some(name) = self.query.keys().next() {
            let known = [&PARAMETERS, &self.own[..]].concat();
            let (meant, known) = (suggestion(name, known.iter().copied()), known.join(", "));
            let detail = format!("unknown query parameter `{name}`{meant}; known are: {known}");
            return Err(Problem::new(Code::UnknownField, detail));
        }
        let settings = JudgingFields { rubric, mode: Some(mode), sampling, model, prompt, ..JudgingFields::default() };
        BulkJudging::begin(app, settings.check_of_items(app)?, least, context).await
    }
}

/// The rewards and kept parts of all items, or the first problem.
pub(super) fn all<R>(outcomes: Vec<ItemOutcome<R>>) -> Result<Vec<(f64, R)>, Problem> {
    let (count, failed) = (outcomes.len(), outcomes.iter().filter(|outcome| outcome.reward.is_err()).count());
    let rewards = outcomes.into_iter().enumerate().map(|(index, ItemOutcome { reward, kept })| match (reward, kept) {
        (Ok(reward), Some(kept)) => Ok((reward, kept)),
        (Err(problem), _) if count > 1 => Err(problem.of_many(index, failed, count)),
        (Err(problem), _) => Err(problem),
        (Ok(_), None) => Err(Problem::new(Code::Internal, "there is a reward without a verdict")),
    });
    rewards.collect()
}

pub(super) fn invalid(detail: impl Into<String>) -> Problem {
    Problem::new(Code::InvalidRequest, detail)
}

/// One text or a list of texts in one field.
pub(super) fn one_or_many(value: Value) -> Vec<Value> {
    match value {
        Value::Array(values) => values,
        one => vec![one],
    }
}

/// A text, or the text parts of a message's content.
pub(super) fn text(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Array(parts) => {
            let texts: Vec<&str> = parts.iter().filter_map(|part| part["text"].as_str()).collect();
            (!texts.is_empty()).then(|| texts.join("\n"))
        }
        Value::Object(fields) => fields.get("text")?.as_str().map(str::to_owned),
        _ => None,
    }
}

/// A reference from a trainer: a text or a number; null and an empty text mean none.
pub(super) fn reference(value: Option<&Value>) -> Option<String> {
    match value? {
        Value::Null => None,
        Value::String(text) => (!text.trim().is_empty()).then(|| text.clone()),
        other => Some(other.to_string()),
    }
}

/// The turns of a conversation; unknown roles become `user`.
pub(super) fn turns(messages: &[Value], at: &str) -> Result<Vec<Turn>, Problem> {
    let (tools, mut turns) = (Tools::of(messages), Vec::with_capacity(messages.len()));
    for (index, message) in messages.iter().enumerate() {
        let role = match message["role"].as_str() {
            Some("system" | "developer") => Role::System,
            Some("assistant" | "model") => Role::Assistant,
            Some(_) => Role::User,
            None => return Err(InvalidRequest::at(format!("{at}/{index}/role"), "a message has a role").into()),
        };
        if message["content"].as_array().is_some_and(|parts| parts.iter().any(|part| part["text"].is_null())) {
            let detail = "the model reads text only";
            return Err(Problem::new(Code::UnsupportedContent, detail).at(format!("{at}/{index}/content")));
        }
        let after_result = index > 0 && tool_calls::is_result(&messages[index - 1]);
        tools.add(&mut turns, role, message, after_result, text(&message["content"]).unwrap_or_default().into());
    }
    Ok(turns)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_counts_as_a_reference() {
        let check = |value: Option<Value>, expected: Option<&str>| {
            assert_eq!(reference(value.as_ref()).as_deref(), expected, "{value:?}");
        };
        check(Some(json!("42 ")), Some("42 "));
        check(Some(json!(42)), Some("42"));
        check(Some(json!("")), None);
        check(Some(json!(" \n")), None);
        check(Some(Value::Null), None);
        check(None, None);
    }
}
