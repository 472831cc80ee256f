//! Tool calls and their results as text, so that a judge reads the conversation of an agent like any other.

use std::collections::HashMap;

use serde_json::Value;

use super::content::{Content, Part};
use super::turn::{Role, Turn};

/// The tool calls of a conversation: function names by call id.
pub struct Tools<'a>(HashMap<&'a str, &'a str>);

impl<'a> Tools<'a> {
    /// The calls in messages of OpenAI's format.
    pub fn of(messages: &'a [Value]) -> Self {
        let calls = messages.iter().filter_map(|message| message["tool_calls"].as_array()).flatten();
        Self(calls.filter_map(|call| Some((call["id"].as_str()?, name_and_arguments(call)?.0))).collect())
    }

    /// Appends a message with parsed content to the turns. Consecutive results become one turn, because chat templates
    /// require alternating roles.
    pub fn add(&self, turns: &mut Vec<Turn>, role: Role, message: &Value, after_result: bool, mut said: Content) {
        if is_result(message) {
            let id = message["tool_call_id"].as_str().unwrap_or_default();
            let name = message["name"].as_str().or_else(|| self.0.get(id).copied());
            let name = name.map(|name| format!(" ({name})")).unwrap_or_default();
            said.put_before(&format!("Tool result{name}: "));
            match turns.last_mut().filter(|_| after_result) {
                Some(turn) => turn.content.extend(said),
                None => turns.push(Turn { role: Role::User, content: said }),
            }
            return;
        }
        let mut content = if said.is_empty() { Content::default() } else { said };
        for (name, arguments) in calls(message) {
            content.push(Part::Text(format!("Tool call: {name}({arguments})")));
        }
        turns.push(Turn { role, content });
    }
}

/// Whether a message is a tool result.
pub fn is_result(message: &Value) -> bool {
    matches!(message["role"].as_str(), Some("tool" | "function"))
}

/// Whether a message has tool calls, so that it may have no content.
pub fn has_calls(message: &Value) -> bool {
    calls(message).next().is_some()
}

fn calls(message: &Value) -> impl Iterator<Item = (&str, String)> {
    let many = message["tool_calls"].as_array().into_iter().flatten().filter_map(name_and_arguments);
    // The older format.
    many.chain(Some(&message["function_call"]).and_then(named))
}

fn name_and_arguments(call: &Value) -> Option<(&str, String)> {
    named(&call["function"]).or_else(|| named(&call["custom"]))
}

fn named(called: &Value) -> Option<(&str, String)> {
    let arguments = match (&called["arguments"], &called["input"]) {
        (Value::String(text), _) | (Value::Null, Value::String(text)) => text.clone(),
        (Value::Null, _) => String::new(),
        (other, _) => other.to_string(),
    };
    Some((called["name"].as_str()?, arguments))
}
