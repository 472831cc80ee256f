//! What a response says: a text, or a content that may have pictures.

use crate::domain::{Content, Part};

/// A text, or a content that may have pictures.
#[derive(Debug, Clone, Copy)]
pub enum Said<'a> {
    /// A text.
    Text(&'a str),
    /// Text and pictures.
    Content(&'a Content),
}

impl<'a> From<&'a str> for Said<'a> {
    fn from(text: &'a str) -> Self {
        Self::Text(text)
    }
}

impl<'a> From<&'a Content> for Said<'a> {
    fn from(content: &'a Content) -> Self {
        Self::Content(content)
    }
}

impl<'a> Said<'a> {
    /// The text, or the parts if one of them is a picture.
    pub(super) fn as_text(self) -> Result<&'a str, &'a [Part]> {
        match self {
            Self::Text(text) => Ok(text),
            Self::Content(content) => content.as_text().ok_or(content.parts()),
        }
    }
}
