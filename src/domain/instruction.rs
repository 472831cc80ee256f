//! What requests and examples are made of: instructions, documents, rubrics with weights, and what is wrong with them.

use serde::{Deserialize, Serialize};

use super::blank::is_blank;
use super::content::Content;
use super::rubric::NamedRubric;
use super::turn::{Role, Turn};
use super::weight::Weight;
use crate::pictures::Shown;

/// What the response answers: one text, or a conversation whose last turn is the user's.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Instruction {
    /// A single instruction.
    Text(String),
    /// A conversation; the last turn is the user's.
    Conversation(Vec<Turn>),
}

impl From<&str> for Instruction {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

impl From<String> for Instruction {
    fn from(text: String) -> Self {
        Self::Text(text)
    }
}

impl From<Vec<Turn>> for Instruction {
    fn from(turns: Vec<Turn>) -> Self {
        Self::Conversation(turns)
    }
}

impl Instruction {
    /// Checks that the instruction is not blank.
    ///
    /// # Errors
    /// If the text is blank, or the last turn is not the user's.
    pub fn check(&self) -> Result<(), InvalidRequest> {
        match self {
            Self::Text(text) => check_text(text, "/instruction", "the instruction"),
            Self::Conversation(turns) if turns.last().is_some_and(|turn| turn.role == Role::User) => Ok(()),
            Self::Conversation(_) => Err(InvalidRequest::at(
                "/messages",
                "the last message must be the user's: it is what the response answers",
            )),
        }
    }
}

impl Instruction {
    /// The pictures of a conversation, in order.
    pub fn pictures(&self) -> impl Iterator<Item = &Shown> {
        let turns: &[Turn] = match self {
            Self::Text(_) => &[],
            Self::Conversation(turns) => &turns[..],
        };
        turns.iter().flat_map(|turn| turn.content.pictures())
    }

    /// The same without its pictures.
    #[must_use]
    pub fn without_pictures(self) -> Self {
        match self {
            text @ Self::Text(_) => text,
            Self::Conversation(turns) => {
                Self::Conversation(turns.into_iter().map(|turn| Turn::new(turn.role, turn.content.texts())).collect())
            }
        }
    }
}

/// Checks that a judged text is not blank.
///
/// # Errors
/// At `pointer`, with `what` as its name.
pub fn check_text(text: &str, pointer: &str, what: &str) -> Result<(), InvalidRequest> {
    if is_blank(text) {
        return Err(InvalidRequest::at(pointer, format!("{what} is empty; there is nothing to judge")));
    }
    Ok(())
}

/// Checks that judged content is not blank; a picture never is.
///
/// # Errors
/// At `pointer`, with `what` as its name.
pub fn check_content(content: &Content, pointer: &str, what: &str) -> Result<(), InvalidRequest> {
    content.as_text().map_or(Ok(()), |text| check_text(text, pointer, what))
}

/// A document that the response is judged against.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Document {
    /// A name that feedback can refer to.
    pub id: Option<String>,
    /// The text of the document, untrusted.
    pub text: String,
}

/// A rubric with its weight.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct WeightedRubric {
    /// The rubric, inline or of the library.
    pub rubric: NamedRubric,
    /// Its weight in the combined reward, relative to those of the other rubrics.
    pub weight: Weight,
    /// A score of its scale, but not the highest: with this score or a lower one, the combined reward is 0.
    #[serde(default)]
    pub gate: Option<i32>,
}

/// A well-formed but invalid request.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{reason}")]
pub struct InvalidRequest {
    /// JSON pointer to the field at fault.
    pub pointer: String,
    /// The reason, and what to do.
    pub reason: String,
}

impl InvalidRequest {
    /// An error at `pointer`.
    pub fn at(pointer: impl Into<String>, reason: impl Into<String>) -> Self {
        Self { pointer: pointer.into(), reason: reason.into() }
    }
}
