//! The conversation of a request: its messages, with the tool calls of agents and their results as text; and the
//! documents of its context.

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use utoipa::ToSchema;

use super::json::{Object, parse_value};
use super::pictures::PictureReader;
use super::problem::Problem;
use crate::domain::tool_calls::{Tools, has_calls, is_result};
use crate::domain::{Content, Document, Instruction, InvalidRequest, Part, Role, Turn, check_content};
use crate::pictures::PictureLimits;

/// A document that the response is judged against.
#[derive(Debug, Deserialize, ToSchema)]
pub(super) struct ContextBody {
    /// A name that feedback can refer to.
    id: Option<String>,
    text: String,
}

impl From<ContextBody> for Document {
    fn from(ContextBody { id, text }: ContextBody) -> Self {
        Self { id, text }
    }
}

/// A turn of a conversation.
#[derive(Debug, Deserialize, ToSchema)]
pub(super) struct MessageBody {
    role: RoleBody,
    /// A text, or a list of parts; may be null beside `tool_calls`.
    #[schema(value_type = Option<ContentBody>)]
    #[serde(default)]
    content: Value,
    /// With the role `assistant`: the functions that an agent calls, which are judged as text.
    #[schema(value_type = Option<Vec<ToolCallBody>>)]
    tool_calls: Option<Vec<Value>>,
    /// With the role `tool`: the id of the call whose result this is.
    tool_call_id: Option<String>,
    /// With the role `tool`: the name of the function; default: that of the call.
    name: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
enum RoleBody {
    System,
    Developer,
    User,
    Assistant,
    Tool,
}

/// A text, or a list of parts.
#[derive(ToSchema)]
#[schema(as = MessageContent)]
#[serde(untagged)]
#[allow(dead_code, reason = "only documents what `content` reads by hand, for the sake of pointers")]
pub(super) enum ContentBody {
    Text(String),
    Parts(Vec<PartChoice>),
}

/// A part of a message: a text, or a picture for models with eyes.
#[derive(ToSchema)]
#[schema(as = MessagePart)]
#[serde(untagged)]
#[allow(dead_code, reason = "as above")]
pub(super) enum PartChoice {
    Text(PartBody),
    Picture(PictureBody),
}

/// A picture: a PNG, JPEG, WebP or GIF file as a data URL. Parts of the type `input_image` have the URL as a text, and
/// parts of the type `image` have a `source` as Anthropic's API does; both are read, too.
#[derive(ToSchema)]
#[schema(as = MessagePicture)]
#[allow(dead_code, reason = "as above")]
pub(super) struct PictureBody {
    /// `image_url`
    #[serde(rename = "type")]
    kind: String,
    image_url: PictureUrl,
}

/// The data URL of a picture.
#[derive(ToSchema)]
#[schema(as = MessagePictureUrl)]
#[allow(dead_code, reason = "as above")]
pub(super) struct PictureUrl {
    /// `data:image/png;base64,…`
    url: String,
    /// Accepted, and without effect.
    detail: Option<String>,
}

/// A text of a message.
#[derive(Debug, Deserialize, ToSchema)]
pub(super) struct PartBody {
    /// `text`
    #[serde(rename = "type")]
    #[allow(dead_code, reason = "it is looked at before the part is read")]
    kind: String,
    text: String,
}

/// A call of a function.
#[derive(ToSchema)]
#[schema(as = MessageToolCall)]
#[allow(dead_code, reason = "only documents what `tool_calls` reads by hand, as other protocols do")]
struct ToolCallBody {
    id: Option<String>,
    function: CalledBody,
}

/// A function and its arguments.
#[derive(ToSchema)]
#[schema(as = MessageFunction)]
#[allow(dead_code, reason = "as above")]
struct CalledBody {
    name: String,
    /// JSON as a text.
    arguments: Option<String>,
}

/// The instruction of a request: one text, or a conversation.
pub(super) fn instruction(
    text: Option<String>,
    messages: Option<Vec<Object<MessageBody>>>,
    pictures: &PictureLimits,
) -> Result<Instruction, Problem> {
    let wrong = |pointer: &str, reason: &str| Problem::from(InvalidRequest::at(pointer, reason));
    let instruction = match (text, messages) {
        (Some(_), Some(_)) => return Err(wrong("/messages", "send `instruction` or `messages`, not both")),
        (None, None) => return Err(wrong("/instruction", "send `instruction`, or a conversation as `messages`")),
        (Some(text), None) => Instruction::Text(text),
        (None, Some(messages)) => Instruction::Conversation(turns(messages, pictures)?),
    };
    instruction.check()?;
    Ok(instruction)
}

/// The turns of a conversation, with pictures within these limits.
///
/// # Errors
/// With a pointer to the invalid message or part.
pub(super) fn turns(messages: Vec<Object<MessageBody>>, pictures: &PictureLimits) -> Result<Vec<Turn>, Problem> {
    let mut pictures = PictureReader::new(pictures);
    // In the form that the tool calls of all protocols are read from.
    let raw: Vec<Value> = messages
        .iter()
        .map(|Object(MessageBody { role, tool_calls, tool_call_id, name, .. })| {
            json!({"role": role, "tool_calls": tool_calls, "tool_call_id": tool_call_id, "name": name})
        })
        .collect();
    let (tools, mut turns) = (Tools::of(&raw), Vec::with_capacity(messages.len()));
    for (index, Object(message)) in messages.into_iter().enumerate() {
        let at = format!("/messages/{index}");
        message.check(&at)?;
        let role = match message.role {
            RoleBody::System | RoleBody::Developer => Role::System,
            RoleBody::User | RoleBody::Tool => Role::User,
            RoleBody::Assistant => Role::Assistant,
        };
        let said = match &message.content {
            Value::Null if has_calls(&raw[index]) => Content::default(),
            other => content(other, &format!("{at}/content"), &mut pictures)?,
        };
        let after_result = index > 0 && is_result(&raw[index - 1]);
        tools.add(&mut turns, role, &raw[index], after_result, said);
    }
    Ok(turns)
}

impl MessageBody {
    /// Whether it is the result of a tool.
    pub(super) fn is_tool_result(&self) -> bool {
        self.role == RoleBody::Tool
    }

    /// Checks the fields of tools.
    fn check(&self, at: &str) -> Result<(), InvalidRequest> {
        let only = |role: &str| format!("is for messages with the role `{role}`");
        if self.tool_calls.is_some() && self.role != RoleBody::Assistant {
            return Err(InvalidRequest::at(format!("{at}/tool_calls"), only("assistant")));
        }
        let of_tool = [("tool_call_id", &self.tool_call_id), ("name", &self.name)];
        if let Some((field, _)) = of_tool.iter().find(|(_, value)| value.is_some() && self.role != RoleBody::Tool) {
            return Err(InvalidRequest::at(format!("{at}/{field}"), only("tool")));
        }
        let mut calls = self.tool_calls.iter().flatten().enumerate();
        match calls.find(|(_, call)| !has_calls(&json!({"tool_calls": [call]}))) {
            None => Ok(()),
            Some((index, _)) => {
                let reason = "a tool call has a `function` with a `name` and, as a text of JSON, `arguments`";
                Err(InvalidRequest::at(format!("{at}/tool_calls/{index}"), reason))
            }
        }
    }
}

/// A response: a text, or a list of parts. `pictures` has read those before it.
///
/// # Errors
/// At `at`, or at the part that cannot be read. If it is blank, with `what` as its name.
pub(super) fn response(value: &Value, at: &str, what: &str, pictures: &mut PictureReader) -> Result<Content, Problem> {
    let content = content(value, at, pictures)?;
    check_content(&content, at, what)?;
    Ok(content)
}

/// A text, or a list of parts.
///
/// # Errors
/// At `at`, or at the part that cannot be read.
pub(super) fn content(value: &Value, at: &str, pictures: &mut PictureReader) -> Result<Content, Problem> {
    let parts = match value {
        Value::String(text) => return Ok(text.clone().into()),
        Value::Array(parts) => parts,
        _ => return Err(InvalidRequest::at(at, "content is a text or a list of parts").into()),
    };
    let mut content = Content::default();
    for (index, part) in parts.iter().enumerate() {
        let at = format!("{at}/{index}");
        content.push(match part["type"].as_str() {
            Some("text" | "input_text" | "output_text") => Part::Text(parse_value::<PartBody>(part, &at)?.text),
            Some(_) => pictures.part(part, &at, true)?,
            None => {
                return Err(InvalidRequest::at(format!("{at}/type"), "a part has a type, such as `text`").into());
            }
        });
    }
    Ok(content)
}
