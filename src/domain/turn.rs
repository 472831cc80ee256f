//! Turns of conversations.

use serde::{Deserialize, Serialize};

use super::content::Content;

/// Who speaks in a turn of a conversation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// Instructions before the conversation.
    System,
    /// A turn of the user.
    User,
    /// A turn of the model.
    Assistant,
}

impl Role {
    /// The name that chat templates use.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::System => "system",
            Self::User => "user",
            Self::Assistant => "assistant",
        }
    }
}

/// One turn of a conversation.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Turn {
    /// The role of the speaker.
    pub role: Role,
    /// What is said.
    pub content: Content,
}

/// An estimate of the bytes that a chat template writes around a turn.
const AROUND: usize = 32;

impl Turn {
    /// A turn with a role and what is said.
    pub fn new(role: Role, content: impl Into<Content>) -> Self {
        Self { role, content: content.into() }
    }

    /// Bytes of its text, plus an estimate of the chat template's text around it.
    #[must_use]
    pub fn text_len(&self) -> usize {
        self.content.text_len() + AROUND
    }

    /// The same, where a picture counts as much as a long text: decoding it takes as long.
    #[must_use]
    pub fn text_len_with_pictures(&self) -> usize {
        self.content.text_len_with_pictures() + AROUND
    }
}
