//! Chat completions and their chunks in the form of OpenAI's Responses.

use std::sync::{Arc, Mutex, PoisonError};

use actix_web::HttpResponse;
use serde_json::{Value, json};
use ulid::Ulid;

use super::schema::ChatCompletion;
use crate::api::problem::Problem;
use crate::api::stream::Events;
use crate::service::Delta;

/// The form that an answer is sent in.
pub(super) enum Envelope {
    /// A chat completion.
    Chat,
    /// A response, with what it repeats of its request.
    Response(Arc<Echo>),
}

impl Envelope {
    pub(super) fn response(echo: Echo) -> Self {
        Self::Response(Arc::new(echo))
    }

    /// A whole answer.
    pub(super) fn whole(&self, completion: &ChatCompletion) -> HttpResponse {
        match self {
            Self::Chat => HttpResponse::Ok().json(completion),
            Self::Response(echo) => HttpResponse::Ok().json(echo.whole(completion)),
        }
    }

    /// An answer in pieces.
    pub(super) fn events<T: 'static>(&self, chat: Events<T>) -> Events<T> {
        match self {
            Self::Chat => chat,
            Self::Response(echo) => events(Arc::clone(echo), chat),
        }
    }
}

/// What a response repeats of its request.
#[derive(Debug, Clone)]
pub(super) struct Echo {
    pub(super) instructions: Option<String>,
    pub(super) max_output_tokens: Option<u32>,
    pub(super) temperature: Option<f32>,
    pub(super) top_p: Option<f32>,
    pub(super) text: Value,
    pub(super) tools: Vec<Value>,
    pub(super) tool_choice: Value,
}

impl Echo {
    /// A response with these fields: `status` is `in_progress`, `completed` or `incomplete`.
    fn response(&self, id: &str, of: &Value, status: &str, output: &Value, usage: &Value) -> Value {
        let cut = (status == "incomplete").then(|| json!({"reason": "max_output_tokens"}));
        let mut response = json!({
            "id": id,
            "object": "response",
            "created_at": of["created"],
            "status": status,
            "background": false,
            "error": null,
            "incomplete_details": cut,
            "instructions": self.instructions,
            "max_output_tokens": self.max_output_tokens,
            "model": of["model"],
            "output": output,
            "parallel_tool_calls": false,
            "previous_response_id": null,
            "reasoning": {"effort": null, "summary": null},
            "store": false,
            "temperature": self.temperature,
            "text": self.text,
            "tool_choice": self.tool_choice,
            "tools": self.tools,
            "top_p": self.top_p,
            "truncation": "disabled",
            "usage": usage,
            "metadata": {},
        });
        if !of["gavel"].is_null() {
            response["gavel"] = of["gavel"].clone();
        }
        response
    }

    /// A whole answer.
    fn whole(&self, completion: &ChatCompletion) -> Value {
        let chat = serde_json::to_value(completion).expect("wire types are plain data");
        let choice = &chat["choices"][0];
        let status = status(&choice["finish_reason"]);
        let item = match &choice["message"]["tool_calls"][0] {
            Value::Null => {
                Item::Message { id: id("msg"), text: choice["message"]["content"].as_str().unwrap_or_default().into() }
            }
            call => {
                let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
                let function = &call["function"];
                let (name, arguments) = (text(&function["name"]), text(&function["arguments"]));
                Item::Call { id: id("fc"), call: text(&call["id"]), name, arguments }
            }
        };
        let output = json!([item.json(status, &choice["logprobs"]["content"])]);
        self.response(&id("resp"), &chat, status, &output, &usage(&chat["usage"]))
    }
}

fn id(prefix: &str) -> String {
    format!("{prefix}_{}", Ulid::new())
}

fn status(finish_reason: &Value) -> &'static str {
    if finish_reason == "length" { "incomplete" } else { "completed" }
}

fn usage(chat: &Value) -> Value {
    json!({
        "input_tokens": chat["prompt_tokens"],
        "input_tokens_details": {"cached_tokens": chat["prompt_tokens_details"]["cached_tokens"]},
        "output_tokens": chat["completion_tokens"],
        "output_tokens_details": {"reasoning_tokens": 0},
        "total_tokens": chat["total_tokens"],
    })
}

/// An item of the output.
enum Item {
    Message { id: String, text: String },
    Call { id: String, call: String, name: String, arguments: String },
}

impl Item {
    fn json(&self, status: &str, logprobs: &Value) -> Value {
        match self {
            Self::Message { id, text } => {
                let content = if status == "in_progress" { json!([]) } else { json!([part(text, logprobs)]) };
                json!({"type": "message", "id": id, "role": "assistant", "status": status, "content": content})
            }
            Self::Call { id, call, name, arguments } => json!({
                "type": "function_call", "id": id, "call_id": call, "name": name, "arguments": arguments, "status": status,
            }),
        }
    }

    fn id(&self) -> &str {
        match self {
            Self::Message { id, .. } | Self::Call { id, .. } => id,
        }
    }
}

fn part(text: &str, logprobs: &Value) -> Value {
    let logprobs = if logprobs.is_array() { logprobs.clone() } else { json!([]) };
    json!({"type": "output_text", "text": text, "annotations": [], "logprobs": logprobs})
}

/// The state of a stream: the chunks of a chat completion come in, and events of a response go out.
struct Translator {
    echo: Arc<Echo>,
    id: String,
    sequence: u64,
    item: Option<Item>,
    finish: Value,
    logprobs: Value,
}

impl Translator {
    fn new(echo: Arc<Echo>) -> Self {
        Self { echo, id: id("resp"), sequence: 0, item: None, finish: Value::Null, logprobs: Value::Null }
    }

    fn event(&mut self, kind: &str, mut fields: Value) -> String {
        fields["type"] = json!(kind);
        fields["sequence_number"] = json!(self.sequence);
        self.sequence += 1;
        format!("event: {kind}\ndata: {fields}\n\n")
    }

    /// The events of some chunks, as they would be sent to a caller of chat completions.
    fn translate(&mut self, chunks: &str) -> String {
        let datas = chunks.split("\n\n").filter_map(|event| event.strip_prefix("data: "));
        datas.filter_map(|data| serde_json::from_str(data).ok()).map(|chunk: Value| self.chunk(&chunk)).collect()
    }

    fn chunk(&mut self, chunk: &Value) -> String {
        let mut out = String::new();
        if self.sequence == 0 {
            for kind in ["response.created", "response.in_progress"] {
                let response = self.echo.response(&self.id, chunk, "in_progress", &json!([]), &Value::Null);
                out += &self.event(kind, json!({"response": response}));
            }
        }
        let choice = &chunk["choices"][0];
        let delta = &choice["delta"];
        if let Some(call) = delta["tool_calls"].get(0) {
            let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
            if self.item.is_none() {
                let (call, name) = (text(&call["id"]), text(&call["function"]["name"]));
                out += &self.begin(Item::Call { id: id("fc"), call, name, arguments: String::new() });
            }
            out += &self.add(&text(&call["function"]["arguments"]));
        } else if let Some(text) = delta["content"].as_str() {
            if self.item.is_none() {
                out += &self.begin(Item::Message { id: id("msg"), text: String::new() });
            }
            out += &self.add(text);
        }
        if !choice["finish_reason"].is_null() {
            self.finish = choice["finish_reason"].clone();
            self.logprobs = choice["logprobs"]["content"].clone();
        }
        if choice.is_null() && !chunk["usage"].is_null() {
            out += &self.end(chunk);
        }
        out
    }

    fn begin(&mut self, item: Item) -> String {
        let shown = item.json("in_progress", &Value::Null);
        let (item_id, is_text) = (item.id().to_owned(), matches!(item, Item::Message { .. }));
        self.item = Some(item);
        let mut out = self.event("response.output_item.added", json!({"output_index": 0, "item": shown}));
        if is_text {
            let fields =
                json!({"item_id": item_id, "output_index": 0, "content_index": 0, "part": part("", &Value::Null)});
            out += &self.event("response.content_part.added", fields);
        }
        out
    }

    fn add(&mut self, delta: &str) -> String {
        let (kind, fields) = match &mut self.item {
            None => return String::new(),
            Some(_) if delta.is_empty() => return String::new(),
            Some(Item::Message { id, text }) => {
                text.push_str(delta);
                let fields =
                    json!({"item_id": id, "output_index": 0, "content_index": 0, "delta": delta, "logprobs": []});
                ("response.output_text.delta", fields)
            }
            Some(Item::Call { id, arguments, .. }) => {
                arguments.push_str(delta);
                let fields = json!({"item_id": id, "output_index": 0, "delta": delta});
                ("response.function_call_arguments.delta", fields)
            }
        };
        self.event(kind, fields)
    }

    fn end(&mut self, chunk: &Value) -> String {
        let mut out = String::new();
        // A model that says nothing has an empty message.
        if self.item.is_none() {
            out += &self.begin(Item::Message { id: id("msg"), text: String::new() });
        }
        let Some(item) = self.item.take() else { return out };
        let (status, id) = (status(&self.finish), item.id().to_owned());
        let done = item.json(status, &self.logprobs);
        match &item {
            Item::Message { text, .. } => {
                let at = json!({"item_id": id, "output_index": 0, "content_index": 0});
                let mut whole = at.clone();
                whole["text"] = json!(text);
                whole["logprobs"] = done["content"][0]["logprobs"].clone();
                out += &self.event("response.output_text.done", whole);
                let mut ended = at;
                ended["part"] = done["content"][0].clone();
                out += &self.event("response.content_part.done", ended);
            }
            Item::Call { arguments, name, .. } => {
                let fields = json!({"item_id": id, "output_index": 0, "name": name, "arguments": arguments});
                out += &self.event("response.function_call_arguments.done", fields);
            }
        }
        out += &self.event("response.output_item.done", json!({"output_index": 0, "item": done}));
        let response = self.echo.response(&self.id, chunk, status, &json!([done]), &usage(&chunk["usage"]));
        out + &self.event(&format!("response.{status}"), json!({"response": response}))
    }
}

/// The events of a chat completion as those of a response.
fn events<T: 'static>(echo: Arc<Echo>, chat: Events<T>) -> Events<T> {
    let Events { delta, last, .. } = chat;
    let translator = Arc::new(Mutex::new(Translator::new(echo)));
    let of_last = Arc::clone(&translator);
    let translate = |translator: &Mutex<Translator>, chunks: &str| {
        translator.lock().unwrap_or_else(PoisonError::into_inner).translate(chunks)
    };
    Events {
        delta: Arc::new(move |written: Delta| translate(&translator, &delta(written))),
        last: Box::new(move |result| translate(&of_last, &last(result))),
        failed: |problem: &Problem, _, _| {
            let error = serde_json::to_value(problem.openai()).expect("wire types are plain data");
            let error = &error["error"];
            let fields = json!({"type": "error", "code": error["code"], "message": error["message"],
                "param": error["param"], "sequence_number": 0});
            format!("event: error\ndata: {fields}\n\n")
        },
    }
}
