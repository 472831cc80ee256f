//! Messages of a chat, checked.

use serde::Deserialize;
use serde_json::Value;
use utoipa::ToSchema;

use crate::api::pictures::PictureReader;
use crate::api::problem::{Code, Problem};
use crate::domain::tool_calls::{self, Tools};
use crate::domain::{Content, InvalidRequest, Part, Role, Turn};
use crate::pictures::PictureLimits;

/// A message of a chat.
#[derive(ToSchema, Deserialize)]
#[allow(dead_code, reason = "only documents what is read by hand, since fields that are not known are ignored")]
pub(super) struct ChatMessage {
    /// `system`, `developer`, `user`, `assistant` or `tool`.
    role: String,
    /// A text, or a list of parts of the types `text` and `image_url`; null if the assistant only calls tools.
    content: Value,
    /// The tool calls of the assistant, which become text.
    tool_calls: Option<Vec<Value>>,
    /// The id of the answered tool call.
    tool_call_id: Option<String>,
}

/// The turns of a conversation, with pictures within these limits.
///
/// # Errors
/// With a pointer to the invalid message.
pub(super) fn turns(messages: &[Value], pictures: &PictureLimits) -> Result<Vec<Turn>, Problem> {
    turns_at(messages, "/messages", pictures)
}

/// The same for messages in another field.
///
/// # Errors
/// With a pointer to the invalid message.
pub(super) fn turns_at(messages: &[Value], at: &str, pictures: &PictureLimits) -> Result<Vec<Turn>, Problem> {
    if messages.is_empty() {
        return Err(InvalidRequest::at(at, "there are no messages; send at least one").into());
    }
    let (tools, mut turns) = (Tools::of(messages), Vec::with_capacity(messages.len()));
    let mut pictures = PictureReader::new(pictures);
    for (index, message) in messages.iter().enumerate() {
        let at = format!("{at}/{index}");
        let role = role(message, &at)?;
        let said = match &message["content"] {
            Value::Null if tool_calls::has_calls(message) => Content::default(),
            said => content(said, &format!("{at}/content"), &mut pictures)?,
        };
        let after_result = index > 0 && tool_calls::is_result(&messages[index - 1]);
        tools.add(&mut turns, role, message, after_result, said);
    }
    Ok(turns)
}

fn role(message: &Value, at: &str) -> Result<Role, Problem> {
    match message["role"].as_str() {
        Some("system" | "developer") => Ok(Role::System),
        Some("user" | "tool" | "function") => Ok(Role::User),
        Some("assistant") => Ok(Role::Assistant),
        _ => {
            let reason = "a role is system, developer, user, assistant or tool";
            Err(InvalidRequest::at(format!("{at}/role"), reason).into())
        }
    }
}

/// The text of a content: one text, or text parts.
///
/// # Errors
/// `unsupported_content` for other parts.
pub(super) fn text(content: &Value, at: &str) -> Result<String, Problem> {
    let parts = parts(content, at)?;
    let text = |(index, part): (usize, &Value)| match text_part(part, at, index)? {
        Some(text) => Ok(text.to_owned()),
        None => {
            let detail = format!("this is read as text only, not `{}`", part["type"].as_str().unwrap_or_default());
            Err(Problem::new(Code::UnsupportedContent, detail).at(format!("{at}/{index}")))
        }
    };
    Ok(parts.iter().enumerate().map(text).collect::<Result<Vec<_>, _>>()?.join("\n"))
}

/// A content: one text, or parts of text and pictures.
fn content(content: &Value, at: &str, pictures: &mut PictureReader) -> Result<Content, Problem> {
    let mut read = Content::default();
    for (index, part) in parts(content, at)?.iter().enumerate() {
        read.push(match text_part(part, at, index)? {
            Some(text) => Part::Text(text.to_owned()),
            None => pictures.part(part, &format!("{at}/{index}"), false)?,
        });
    }
    Ok(read)
}

fn parts<'v>(content: &'v Value, at: &str) -> Result<&'v [Value], Problem> {
    match content {
        Value::Array(parts) => Ok(parts),
        Value::String(_) | Value::Object(_) => Ok(std::slice::from_ref(content)),
        _ => Err(InvalidRequest::at(at, "content is a text or a list of parts").into()),
    }
}

/// The text of a part; `None` if it is of another type.
fn text_part<'v>(part: &'v Value, at: &str, index: usize) -> Result<Option<&'v str>, Problem> {
    match (part.as_str(), part["type"].as_str()) {
        (Some(text), _) => Ok(Some(text)),
        (_, Some("text" | "input_text" | "output_text")) => part["text"].as_str().map(Some).ok_or_else(|| {
            InvalidRequest::at(format!("{at}/{index}/text"), "a part of type `text` needs the field `text`").into()
        }),
        _ => Ok(None),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const LIMITS: PictureLimits =
        PictureLimits { bytes: 64, pixels: 100, each_request: 1, all_pixels: 100, decoding: 1, memory: 1_000 };

    #[test]
    fn calls_of_tools_and_their_results_are_text() {
        let call = |id: &str, city: &str| {
            let arguments = json!({"city": city}).to_string();
            json!({"id": id, "type": "function", "function": {"name": "get_weather", "arguments": arguments}})
        };
        let messages = [
            json!({"role": "user", "content": "Paris or Rome?"}),
            json!({"role": "assistant", "content": null, "tool_calls": [call("c1", "Paris"), call("c2", "Rome")]}),
            json!({"role": "tool", "tool_call_id": "c1", "content": "Sunny"}),
            json!({"role": "tool", "tool_call_id": "c2", "content": [{"type": "text", "text": "Rain"}]}),
            json!({"role": "assistant", "content": "One more.", "function_call": {"name": "now", "arguments": "{}"}}),
            json!({"role": "function", "name": "now", "content": "12:00"}),
            json!({"role": "assistant", "content": "Paris."}),
        ];
        let turns = turns(&messages, &LIMITS).unwrap();
        let said: Vec<(&str, &str)> =
            turns.iter().map(|turn| (turn.role.name(), turn.content.as_text().unwrap())).collect();
        assert_eq!(
            said,
            [
                ("user", "Paris or Rome?"),
                (
                    "assistant",
                    "Tool call: get_weather({\"city\":\"Paris\"})\nTool call: get_weather({\"city\":\"Rome\"})"
                ),
                ("user", "Tool result (get_weather): Sunny\nTool result (get_weather): Rain"),
                ("assistant", "One more.\nTool call: now({})"),
                ("user", "Tool result (now): 12:00"),
                ("assistant", "Paris."),
            ]
        );
    }

    #[test]
    fn what_says_nothing_is_refused() {
        for message in [
            json!({"role": "assistant", "content": null}),
            json!({"role": "assistant", "tool_calls": []}),
            json!({"role": "tool", "tool_call_id": "c1"}),
            json!({"role": "critic", "content": "x"}),
        ] {
            assert!(turns(std::slice::from_ref(&message), &LIMITS).is_err(), "{message}");
        }
    }
}
