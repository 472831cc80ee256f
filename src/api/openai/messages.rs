//! Messages of a chat, checked.

use serde::Deserialize;
use serde_json::Value;
use utoipa::ToSchema;

use crate::api::problem::{Code, Problem};
use crate::grading::{InvalidRequest, Role, Turn};

/// A message of a chat.
#[derive(ToSchema, Deserialize)]
#[allow(dead_code, reason = "only documents what is read by hand, since fields that are not known are ignored")]
pub(super) struct ChatMessage {
    /// `system`, `developer`, `user` or `assistant`.
    role: String,
    /// A text, or a list of parts of the type `text`.
    content: Value,
}

/// The turns of a conversation.
///
/// # Errors
/// With a pointer to the message that is none.
pub(super) fn turns(messages: &[Value]) -> Result<Vec<Turn>, Problem> {
    turns_at(messages, "/messages")
}

/// The same for messages in another field.
///
/// # Errors
/// With a pointer to the message that is none.
pub(super) fn turns_at(messages: &[Value], at: &str) -> Result<Vec<Turn>, Problem> {
    if messages.is_empty() {
        return Err(InvalidRequest::at(at, "there are no messages; there is nothing to answer").into());
    }
    messages.iter().enumerate().map(|(index, message)| turn(message, &format!("{at}/{index}"))).collect()
}

fn turn(message: &Value, at: &str) -> Result<Turn, Problem> {
    let role = match message["role"].as_str() {
        Some("system" | "developer") => Role::System,
        Some("user") => Role::User,
        Some("assistant") => Role::Assistant,
        _ => {
            let reason = "a role is system, developer, user or assistant";
            return Err(InvalidRequest::at(format!("{at}/role"), reason).into());
        }
    };
    Ok(Turn { role, content: content(&message["content"], &format!("{at}/content"))? })
}

/// The text of a content: one text, or parts that are texts.
///
/// # Errors
/// `unsupported_content` for parts that are none.
pub(super) fn content(content: &Value, at: &str) -> Result<String, Problem> {
    let parts = match content {
        Value::String(text) => return Ok(text.clone()),
        Value::Array(parts) => parts.as_slice(),
        Value::Object(_) => std::slice::from_ref(content),
        _ => return Err(InvalidRequest::at(at, "content is a text or a list of parts").into()),
    };
    let texts = parts.iter().enumerate().map(|(index, part)| match (part.as_str(), part["type"].as_str()) {
        (Some(text), _) => Ok(text),
        (_, Some("text" | "input_text" | "output_text")) => part["text"]
            .as_str()
            .ok_or_else(|| InvalidRequest::at(format!("{at}/{index}/text"), "a part of the type text has one").into()),
        (_, kind) => {
            let detail = format!("the model reads text only, not `{}`", kind.unwrap_or("a part without a type"));
            Err(Problem::new(Code::UnsupportedContent, detail).at(format!("{at}/{index}")))
        }
    });
    Ok(texts.collect::<Result<Vec<_>, Problem>>()?.join("\n"))
}
