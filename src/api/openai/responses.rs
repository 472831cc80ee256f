//! `POST /v1/responses`: OpenAI's newer form of a chat completion. A request becomes one for a chat completion, and the
//! answer is put into the other form.

use actix_web::{HttpRequest, HttpResponse, web};
use serde::Deserialize;
use serde_json::{Map, Value, json};
use utoipa::ToSchema;

use super::chat;
use super::chat_request::ChatBody;
use super::response_events::{Echo, Envelope};
use crate::api::json;
use crate::api::problem::{Code, OpenAiError, Problem};
use crate::app::App;
use crate::domain::InvalidRequest;

/// A request for a response. Other fields are ignored.
#[derive(Debug, Deserialize, ToSchema)]
pub(in crate::api) struct ResponsesBody {
    /// A name of `GET /v1/models`, or a judge model with a rubric: `gavel-absolute:RUBRIC`.
    model: Option<String>,
    /// The text of a user, or a list of messages, function calls and their outputs.
    #[schema(value_type = Object)]
    input: Value,
    /// A system message before the input.
    instructions: Option<String>,
    /// Maximum number of tokens to generate; a judge model always writes its verdict.
    max_output_tokens: Option<u32>,
    /// 0 (greedy) to 2.
    temperature: Option<f32>,
    /// Above 0, at most 1.
    top_p: Option<f32>,
    /// Number of alternatives for each token, 0 to 20, with `include: ["message.output_text.logprobs"]`.
    top_logprobs: Option<usize>,
    /// `message.output_text.logprobs` returns log probabilities; the rest is ignored.
    include: Option<Vec<String>>,
    /// The format of the answer.
    #[schema(value_type = Option<Object>)]
    text: Option<Value>,
    /// Functions for a forced call; otherwise they are ignored.
    #[schema(value_type = Option<Vec<Object>>)]
    tools: Option<Vec<Value>>,
    /// `none`, `auto`, `required`, or the function to call.
    #[schema(value_type = Option<Object>)]
    tool_choice: Option<Value>,
    /// Whether to answer with server-sent events.
    stream: Option<bool>,
    /// Refused: nothing is stored.
    #[schema(value_type = Option<String>)]
    previous_response_id: Option<Value>,
    /// Refused: nothing is stored.
    #[schema(value_type = Option<Object>)]
    conversation: Option<Value>,
    /// Refused, unless it is false.
    background: Option<bool>,
}

/// The include value for log probabilities.
const LOGPROBS: &str = "message.output_text.logprobs";

/// Answers a conversation in the form of OpenAI's Responses: a judge model with its verdict, a hosted model with
/// generated text or the forced call of a function. Nothing is stored.
///
/// With `"stream": true`, the answer is sent as server-sent events.
#[utoipa::path(
    post, path = "/v1/responses", operation_id = "create_response", tag = "openai", request_body = ResponsesBody,
    responses((status = 200, content((Object = "application/json"), (String = "text/event-stream"))), (status = "default", body = OpenAiError))
)]
pub(in crate::api) async fn create(
    app: web::Data<App>,
    http: HttpRequest,
    payload: web::Payload,
) -> Result<HttpResponse, Problem> {
    let body: ResponsesBody = json::lenient(&http, payload, app.config.limits.body_bytes).await?;
    body.check()?;
    let (messages, origins) = body.messages()?;
    let echo = body.echo();
    let chat: ChatBody = json::parse_lenient(&Value::Object(body.chat(messages)), "")?;
    let answered = chat::answer(&app, &http, chat, Envelope::response(echo)).await;
    answered.map_err(|problem| in_request(problem, &origins))
}

impl ResponsesBody {
    fn check(&self) -> Result<(), Problem> {
        let stored = [("previous_response_id", &self.previous_response_id), ("conversation", &self.conversation)];
        for (field, value) in stored {
            if value.as_ref().is_some_and(|value| !value.is_null()) {
                let reason = "responses are not stored; send the whole conversation in `input`";
                return Err(InvalidRequest::at(format!("/{field}"), reason).into());
            }
        }
        if self.background == Some(true) {
            return Err(InvalidRequest::at("/background", "background responses are not supported").into());
        }
        Ok(())
    }

    /// The messages of a chat, and the index of the input item that each comes from.
    fn messages(&self) -> Result<(Vec<Value>, Vec<Option<usize>>), Problem> {
        let system = self.instructions.iter().map(|text| (json!({"role": "system", "content": text}), None));
        let mut messages: Vec<(Value, Option<usize>)> = system.collect();
        match &self.input {
            Value::String(text) => messages.push((json!({"role": "user", "content": text}), None)),
            Value::Array(items) => {
                for (index, item) in items.iter().enumerate() {
                    messages.extend(message(item, index)?.map(|message| (message, Some(index))));
                }
            }
            _ => return Err(InvalidRequest::at("/input", "the input is a text or a list of items").into()),
        }
        Ok(messages.into_iter().unzip())
    }

    /// The fields of a request for a chat completion.
    fn chat(&self, messages: Vec<Value>) -> Map<String, Value> {
        let format = self.text.as_ref().map(|text| &text["format"]).filter(|format| !format.is_null());
        let response_format = format.map(|format| match format["type"].as_str() {
            Some("json_schema") => {
                json!({"type": "json_schema", "json_schema": {"name": format["name"], "schema": format["schema"]}})
            }
            _ => format.clone(),
        });
        let tool = |tool: &Value| match tool["type"].as_str() {
            Some("function") if tool["function"].is_null() => json!({"type": "function", "function": tool}),
            _ => tool.clone(),
        };
        let logprobs = self.include.iter().flatten().any(|included| included == LOGPROBS);
        let fields = json!({
            "model": self.model,
            "messages": messages,
            "max_completion_tokens": self.max_output_tokens,
            "temperature": self.temperature,
            "top_p": self.top_p,
            "logprobs": logprobs,
            "top_logprobs": self.top_logprobs.filter(|_| logprobs),
            "response_format": response_format,
            "tools": self.tools.as_ref().map(|tools| tools.iter().map(tool).collect::<Vec<_>>()),
            "tool_choice": self.tool_choice,
            "stream": self.stream,
            "stream_options": {"include_usage": true},
        });
        match fields {
            Value::Object(fields) => fields,
            _ => unreachable!("it is written as an object"),
        }
    }

    /// What a response repeats of its request.
    fn echo(&self) -> Echo {
        let text = self.text.as_ref().filter(|text| !text["format"].is_null()).cloned();
        Echo {
            instructions: self.instructions.clone(),
            max_output_tokens: self.max_output_tokens,
            temperature: self.temperature,
            top_p: self.top_p,
            text: text.unwrap_or_else(|| json!({"format": {"type": "text"}})),
            tools: self.tools.clone().unwrap_or_default(),
            tool_choice: self.tool_choice.clone().filter(|choice| !choice.is_null()).unwrap_or_else(|| json!("auto")),
        }
    }
}

/// The message of an input item; `None` for one that says nothing to a model without thinking.
fn message(item: &Value, index: usize) -> Result<Option<Value>, Problem> {
    match item["type"].as_str() {
        None | Some("message") => Ok(Some(json!({"role": item["role"], "content": item["content"]}))),
        Some("function_call") => {
            let function = json!({"name": item["name"], "arguments": item["arguments"]});
            let call = json!({"id": item["call_id"], "type": "function", "function": function});
            Ok(Some(json!({"role": "assistant", "content": null, "tool_calls": [call]})))
        }
        Some("function_call_output") => {
            Ok(Some(json!({"role": "tool", "tool_call_id": item["call_id"], "content": item["output"]})))
        }
        Some("reasoning") => Ok(None),
        Some(kind) => {
            let detail = format!("items of type `{kind}` are not supported; send messages and function calls");
            Err(Problem::new(Code::UnsupportedContent, detail).at(format!("/input/{index}")))
        }
    }
}

/// Renames the pointers of a chat to those of the request.
fn in_request(problem: Problem, origins: &[Option<usize>]) -> Problem {
    let Some(pointer) = problem.pointer().map(str::to_owned) else { return problem };
    if let Some(rest) = pointer.strip_prefix("/messages") {
        let (index, rest) = rest.strip_prefix('/').map_or(("", ""), |rest| rest.split_once('/').unwrap_or((rest, "")));
        let origin = index.parse::<usize>().ok().and_then(|index| origins.get(index).copied().flatten());
        return problem.at(match (origin, rest) {
            (None, _) => "/input".to_owned(),
            (Some(index), "") => format!("/input/{index}"),
            (Some(index), rest) => format!("/input/{index}/{rest}"),
        });
    }
    let renamed = [
        ("/response_format/json_schema", "/text/format"),
        ("/response_format", "/text/format"),
        ("/max_completion_tokens", "/max_output_tokens"),
    ];
    let found = renamed.iter().find_map(|(from, to)| pointer.strip_prefix(from).map(|rest| format!("{to}{rest}")));
    let found = found.or_else(|| {
        let (index, rest) = pointer.strip_prefix("/tools/")?.split_once("/function")?;
        Some(format!("/tools/{index}{rest}"))
    });
    match found {
        Some(pointer) => problem.at(pointer),
        None => problem,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pointers_are_those_of_the_request() {
        let check = |from: &str, expected: &str| {
            let problem = Problem::new(Code::InvalidRequest, "x").at(from);
            assert_eq!(in_request(problem, &[None, Some(0), Some(2)]).pointer(), Some(expected));
        };
        check("/messages", "/input");
        check("/messages/0/content", "/input");
        check("/messages/2/content/1", "/input/2/content/1");
        check("/messages/1", "/input/0");
        check("/response_format/json_schema/schema/type", "/text/format/schema/type");
        check("/response_format", "/text/format");
        check("/max_completion_tokens", "/max_output_tokens");
        check("/tools/1/function/parameters", "/tools/1/parameters");
        check("/temperature", "/temperature");
    }
}
