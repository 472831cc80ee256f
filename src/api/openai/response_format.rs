//! The format of an answer: free text, JSON, JSON of a schema, or the forced call of a function.

use serde_json::{Map, Value};

use super::ask;
use super::chat_request::{ChatBody, Function, NamedSchema, ResponseFormat, Tool};
use super::schema::{ChunkDelta, Message, ToolCall};
use crate::api::detail::AnswerLimit;
use crate::api::json::parse_lenient;
use crate::api::problem::Problem;
use crate::domain::{InvalidRequest, Role, Turn};
use crate::engine::EngineError;
use crate::script::{Grammar, InvalidScript, SchemaTooLarge};
use crate::service::ServiceError;
use crate::tasks::presets::JudgeModel;

/// The format of an answer, checked.
#[derive(Debug)]
pub(super) struct AnswerFormat {
    kind: FormatKind,
    /// The grammar; `None` for free text.
    grammar: Option<Grammar>,
    /// Pointer to the schema.
    at: String,
}

#[derive(Debug)]
enum FormatKind {
    /// Free text.
    Free,
    /// JSON that matches a schema; `None` for any object.
    Json(Option<Value>),
    /// The call of a function.
    Call { name: String, description: Option<String>, schema: Value },
}

impl AnswerFormat {
    /// The format that a request asks for; a forced call takes precedence over `response_format`.
    ///
    /// # Errors
    /// If the forced function is not in `tools`, or its schema is too large.
    pub(super) fn of(body: &ChatBody) -> Result<Self, Problem> {
        if let Some((index, function)) = forced(body)? {
            let any = || serde_json::json!({"type": "object"});
            let Function { name, description, parameters } = function;
            let schema = parameters.unwrap_or_else(any);
            let at = format!("/tools/{index}/function/parameters");
            let grammar = Some(grammar(&schema, &at)?);
            return Ok(Self { kind: FormatKind::Call { name, description, schema }, grammar, at });
        }
        let at = "/response_format/json_schema/schema".to_owned();
        let (kind, grammar) = match &body.response_format {
            None | Some(ResponseFormat::Text) => (FormatKind::Free, None),
            Some(ResponseFormat::JsonSchema { json_schema: NamedSchema { schema: Some(schema) } }) => {
                (FormatKind::Json(Some(schema.clone())), Some(grammar(schema, &at)?))
            }
            Some(ResponseFormat::JsonObject | ResponseFormat::JsonSchema { .. }) => {
                (FormatKind::Json(None), Some(Grammar::object()))
            }
        };
        Ok(Self { kind, grammar, at })
    }

    /// The grammar.
    pub(super) fn grammar(&self) -> Option<Grammar> {
        self.grammar.clone()
    }

    /// Sets the pointer of an error to the schema or the messages.
    pub(super) fn blamed(&self, error: ServiceError, limit: AnswerLimit) -> Problem {
        match &error {
            ServiceError::Engine(EngineError::InvalidScript(InvalidScript::BadGrammar(_))) => {
                Problem::from(error).at(self.at.as_str())
            }
            _ => ask::blamed(error, "/messages", limit),
        }
    }

    /// The conversation, with an instruction about the format at its end, if there is one.
    pub(super) fn with_instruction(&self, mut turns: Vec<Turn>) -> Vec<Turn> {
        let request = match &self.kind {
            FormatKind::Free | FormatKind::Json(None) => return turns,
            FormatKind::Json(Some(schema)) => format!("Answer in JSON that fits this schema: {schema}"),
            FormatKind::Call { name, description, schema } => {
                let about = description.as_deref().map(|text| format!(" ({text})")).unwrap_or_default();
                format!(
                    "Answer with the arguments of the function `{name}`{about}, in JSON that fits this schema: {schema}"
                )
            }
        };
        match turns.last_mut() {
            Some(turn) if turn.role == Role::User => turn.content.push_paragraph(&request),
            _ => turns.push(Turn::new(Role::User, request)),
        }
        turns
    }

    /// The message of a complete answer.
    pub(super) fn message(&self, text: &str) -> Message {
        match &self.kind {
            FormatKind::Call { name, .. } => Message::calls(ToolCall::of(name, text.to_owned())),
            _ => Message::says(text.to_owned()),
        }
    }

    /// The delta of a streamed piece of text.
    pub(super) fn delta(&self, first: bool, text: String) -> ChunkDelta {
        let role = first.then_some("assistant");
        match &self.kind {
            FormatKind::Call { name, .. } => {
                let call = if first { ToolCall::of(name, text) } else { ToolCall::more(text) };
                let tool_calls = Some(vec![call.in_stream()]);
                ChunkDelta { role, content: None, tool_calls }
            }
            _ => ChunkDelta { role, content: Some(text), tool_calls: None },
        }
    }
}

/// Checks that a judge model's own format matches the format that a request asks for.
///
/// # Errors
/// At `response_format` or `tool_choice`, with what to do.
pub(super) fn check_judge(body: &ChatBody, judge: &JudgeModel) -> Result<(), Problem> {
    if forced(body)?.is_some() {
        let reason = format!("`{}` writes a verdict and calls no function; take the hosted model for that", judge.name);
        return Err(InvalidRequest::at("/tool_choice", reason).into());
    }
    let example = judge.json_example();
    let fits = match &body.response_format {
        None | Some(ResponseFormat::Text) => true,
        Some(ResponseFormat::JsonObject) => example.is_some(),
        Some(ResponseFormat::JsonSchema { json_schema: NamedSchema { schema } }) => {
            let fits = |example| schema.as_ref().is_none_or(|schema| may_fit(schema, &example));
            example.is_some_and(fits)
        }
    };
    if fits {
        return Ok(());
    }
    let reason = format!(
        "`{}` writes its verdict in its own format ({}); leave out `response_format`, or use a judge model that writes such JSON, \
         or the hosted model",
        judge.name, judge.summary
    );
    Err(InvalidRequest::at("/response_format", reason).into())
}

/// Whether an object has the required fields of a schema with their types; other keywords are not checked.
fn may_fit(schema: &Value, example: &Map<String, Value>) -> bool {
    let required = schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str);
    let has_all = required.into_iter().all(|name| example.contains_key(name));
    let closed = schema["additionalProperties"] == Value::Bool(false);
    let fits = |(name, value): (&String, &Value)| match (&schema["properties"][name], value) {
        (Value::Null, _) => !closed,
        (property, Value::String(_)) => property["type"].as_str().is_none_or(|kind| kind == "string"),
        (property, Value::Bool(_)) => property["type"].as_str().is_none_or(|kind| kind == "boolean"),
        (property, Value::Number(_)) => {
            property["type"].as_str().is_none_or(|kind| kind == "number" || kind == "integer")
        }
        (property, _) => property["type"].is_null(),
    };
    has_all && example.iter().all(fits)
}

/// The grammar of a schema at the pointer `at`.
fn grammar(schema: &Value, at: &str) -> Result<Grammar, Problem> {
    let refused = |error: SchemaTooLarge| InvalidRequest::at(format!("{at}{}", error.pointer), error.reason);
    Ok(Grammar::schema(schema).map_err(refused)?)
}

/// The function of a forced call. Tools that are not functions are only an error if their call is forced.
fn forced(body: &ChatBody) -> Result<Option<(usize, Function)>, Problem> {
    let tools = body.tools.iter().flatten().enumerate().filter(|(_, tool)| tool["function"].is_object());
    let functions: Vec<(usize, &Value)> = tools.collect();
    let wrong = |reason: &str| Err(InvalidRequest::at("/tool_choice", reason).into());
    let read = |(index, tool): (usize, &Value)| {
        parse_lenient::<Tool>(tool, &format!("/tools/{index}")).map(|tool| Some((index, tool.function)))
    };
    match &body.tool_choice {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(choice)) if choice == "none" || choice == "auto" => Ok(None),
        Some(Value::String(choice)) if choice == "required" => match functions[..] {
            [only] => read(only),
            _ => wrong("`required` needs exactly one function among the tools; name the function to call"),
        },
        Some(choice) => {
            let name = choice["function"]["name"].as_str().or(choice["name"].as_str());
            let named = |(_, tool): &(usize, &Value)| name.is_some() && tool["function"]["name"].as_str() == name;
            match functions.into_iter().find(named) {
                Some(function) => read(function),
                None => wrong(
                    "must be none, auto, required, or the name of a function in `tools`; other tools are not supported",
                ),
            }
        }
    }
}
