//! TRL's fields: `prompt`, `completion` and `completions`, each a text or a list of messages.

use serde_json::{Map, Value};

use crate::domain::Role;
use crate::domain::tool_calls::{Tools, has_calls, is_result};

/// Fields that hold one response.
const ONE: [&str; 3] = ["response", "response_a", "response_b"];

/// Gives TRL's fields our names, and makes texts of responses that are lists of messages. A `prompt` is the instruction
/// where it is a list of messages or stands beside completions; else it may be the name of a prompt set.
///
/// # Errors
/// With the field that cannot be read.
pub fn from_trl(item: &mut Map<String, Value>) -> Result<(), String> {
    let has = |item: &Map<String, Value>, name: &str| item.get(name).is_some_and(|value| !value.is_null());
    let completed = has(item, "completion") || has(item, "completions");
    let asked = has(item, "instruction") || has(item, "messages");
    if !asked && item.get("prompt").is_some_and(|prompt| prompt.is_array() || (completed && prompt.is_string())) {
        rename(item, "prompt", "instruction");
    }
    for (theirs, ours) in [("completion", "response"), ("completions", "responses")] {
        if has(item, theirs) && !has(item, ours) {
            rename(item, theirs, ours);
        }
    }
    for name in ONE {
        if let Some(value) = item.get_mut(name) {
            read(value).map_err(|what| format!("its {name} {what}"))?;
        }
    }
    if let Some(Value::Array(responses)) = item.get_mut("responses") {
        for (at, value) in responses.iter_mut().enumerate() {
            read(value).map_err(|what| format!("its responses[{at}] {what}"))?;
        }
    }
    Ok(())
}

fn rename(item: &mut Map<String, Value>, from: &str, to: &str) {
    if let Some(value) = item.shift_remove(from) {
        item.insert(to.to_owned(), value);
    }
}

/// Makes a text of a message, or of a list of messages. A list of parts stays, as a response may have pictures. Anything
/// else stays, for whoever grades to refuse.
fn read(value: &mut Value) -> Result<(), String> {
    let is_part = |part: &Value| part["type"].is_string() && part.get("role").is_none();
    let said = match &*value {
        Value::Array(parts) if parts.iter().all(is_part) => return Ok(()),
        Value::Object(_) => text(std::slice::from_ref(value))?,
        Value::Array(messages) if !messages.is_empty() && messages.iter().all(Value::is_object) => text(messages)?,
        _ => return Ok(()),
    };
    *value = said.into();
    Ok(())
}

/// What an assistant said, a line for each message, with its tool calls and their results as text.
fn text(messages: &[Value]) -> Result<String, String> {
    let (tools, mut turns) = (Tools::of(messages), Vec::with_capacity(messages.len()));
    for (at, message) in messages.iter().enumerate() {
        let role = message["role"].as_str();
        if !matches!(role, Some("assistant" | "model")) && !is_result(message) {
            let role = role.map_or_else(|| "without a role".to_owned(), |role| format!("of the role `{role}`"));
            return Err(format!(
                "has a message {role}; a response has those of the assistant and results of tools, and what comes \
                 before them is the instruction"
            ));
        }
        let said = match &message["content"] {
            Value::Null if has_calls(message) => String::new(),
            content => content_text(content).ok_or("has a message whose content is no text; judges read text only")?,
        };
        let after_result = at > 0 && is_result(&messages[at - 1]);
        tools.add(&mut turns, Role::Assistant, message, after_result, said.into());
    }
    Ok(turns.into_iter().map(|turn| turn.content.texts()).collect::<Vec<_>>().join("\n"))
}

/// A content that is a text, or a list of parts that are.
fn content_text(content: &Value) -> Option<String> {
    let parts = match content {
        Value::String(text) => return Some(text.clone()),
        Value::Array(parts) => parts,
        _ => return None,
    };
    let part = |part: &Value| match part["type"].as_str() {
        Some("text" | "input_text" | "output_text") => part["text"].as_str().map(str::to_owned),
        _ => None,
    };
    Some(parts.iter().map(part).collect::<Option<Vec<_>>>()?.join("\n"))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn fields_of_trl_become_ours() {
        let check = |item: Value, expected: Value| {
            let Value::Object(mut fields) = item.clone() else { panic!("{item}") };
            from_trl(&mut fields).unwrap();
            assert_eq!(Value::Object(fields), expected, "{item}");
        };
        let turns = json!([{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Why?"}]);
        let said = |text: &str| json!([{"role": "assistant", "content": text}]);
        check(json!({"prompt": turns, "completion": said("So.")}), json!({"instruction": turns, "response": "So."}));
        check(json!({"prompt": "Why?", "completion": "So."}), json!({"instruction": "Why?", "response": "So."}));
        let pictured = json!([{"type": "image_url", "image_url": {"url": "data:image/png;base64,"}}]);
        let edit = json!({"instruction": "Why?", "response_a": pictured, "response_b": "So."});
        check(edit.clone(), edit);
        check(
            json!({"prompt": turns, "completions": [said("So."), said("")]}),
            json!({"instruction": turns, "responses": ["So.", ""]}),
        );
        check(
            json!({"instruction": "Why?", "responses": [said("So.")[0], "Thus."]}),
            json!({"instruction": "Why?", "responses": ["So.", "Thus."]}),
        );
        let pair = json!({"instruction": "Why?", "response_a": said("So."), "response_b": [{"role": "assistant", "content": [{"type": "text", "text": "Th"}, {"type": "text", "text": "us."}]}]});
        check(pair, json!({"instruction": "Why?", "response_a": "So.", "response_b": "Th\nus."}));
        // A prompt set, and what whoever grades refuses.
        for kept in [
            json!({"instruction": "Why?", "response": "So.", "prompt": "plain"}),
            json!({"prompt": "plain", "response": "So."}),
            json!({"instruction": "Why?", "response": ["So."], "responses": [["So."], [], 1], "response_a": null}),
        ] {
            check(kept.clone(), kept);
        }
    }

    #[test]
    fn several_messages_and_tool_calls_are_one_text() {
        let call = json!({"id": "c1", "type": "function", "function": {"name": "sum", "arguments": "{\"a\": 1}"}});
        let messages = json!([
            {"role": "assistant", "content": "Let me see.", "tool_calls": [call]},
            {"role": "tool", "tool_call_id": "c1", "content": "3"},
            {"role": "assistant", "content": "It is 3."},
        ]);
        let mut item = Map::from_iter([("response".to_owned(), messages)]);
        from_trl(&mut item).unwrap();
        assert_eq!(item["response"], "Let me see.\nTool call: sum({\"a\": 1})\nTool result (sum): 3\nIt is 3.");
    }

    #[test]
    fn what_is_no_completion_is_refused() {
        let check = |response: Value, expected: &str| {
            let mut item = Map::from_iter([("responses".to_owned(), json!(["So.", response]))]);
            let error = from_trl(&mut item).unwrap_err();
            assert!(error.contains(expected) && error.contains("responses[1]"), "{error}");
        };
        check(json!([{"role": "user", "content": "Why?"}, {"role": "assistant", "content": "So."}]), "role `user`");
        check(json!([{"content": "So."}]), "without a role");
        check(json!([{"role": "assistant", "content": null}]), "no text");
        check(json!([{"role": "assistant", "content": [{"type": "image_url"}]}]), "no text");
    }
}
