//! What a turn of a conversation says: text, and pictures between it.

use std::borrow::Cow;
use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde::{Deserialize, Serialize};

use super::blank::is_blank;
use crate::pictures::{Picture, Shown};

/// Text and pictures, in order. Two texts are never side by side.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(try_from = "Stored", into = "Stored")]
pub struct Content(Vec<Part>);

/// A part of a content.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Part {
    /// A text.
    Text(String),
    /// A picture.
    Picture(Shown),
}

impl From<String> for Content {
    fn from(text: String) -> Self {
        Self(vec![Part::Text(text)])
    }
}

impl From<&str> for Content {
    fn from(text: &str) -> Self {
        text.to_owned().into()
    }
}

impl From<Shown> for Content {
    fn from(shown: Shown) -> Self {
        Self(vec![Part::Picture(shown)])
    }
}

impl Content {
    /// The parts, in order.
    #[must_use]
    pub fn parts(&self) -> &[Part] {
        &self.0
    }

    /// The text; `None` if there is a picture, too.
    #[must_use]
    pub fn as_text(&self) -> Option<&str> {
        match &self.0[..] {
            [] => Some(""),
            [Part::Text(text)] => Some(text),
            _ => None,
        }
    }

    /// Its texts without its pictures, joined by line breaks.
    #[must_use]
    pub fn texts(&self) -> String {
        let text = |part: &Part| match part {
            Part::Text(text) => Some(text.clone()),
            Part::Picture(_) => None,
        };
        self.0.iter().filter_map(text).collect::<Vec<_>>().join("\n")
    }

    /// A text that is the same for equal contents alone: the text itself, or the parts with the digests of the pictures.
    #[must_use]
    pub fn identity(&self) -> Cow<'_, str> {
        let part = |part: &Part| match part {
            Part::Text(text) => format!("text {}: {text}\n", text.len()),
            Part::Picture(shown) => format!("picture {}\n", shown.picture.sha256()),
        };
        match self.as_text() {
            Some(text) => text.into(),
            None => self.0.iter().map(part).collect::<String>().into(),
        }
    }

    /// Its pictures, in order.
    pub fn pictures(&self) -> impl Iterator<Item = &Shown> + Clone {
        self.0.iter().filter_map(|part| match part {
            Part::Text(_) => None,
            Part::Picture(shown) => Some(shown),
        })
    }

    /// Whether it says nothing: no text and no picture.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.as_text().is_some_and(str::is_empty)
    }

    /// Whether there is nothing to judge: no picture, and no text that can be seen.
    #[must_use]
    pub fn is_blank(&self) -> bool {
        self.as_text().is_some_and(is_blank)
    }

    /// Bytes of its texts.
    #[must_use]
    pub fn text_len(&self) -> usize {
        let len = |part: &Part| match part {
            Part::Text(text) => text.len(),
            Part::Picture(_) => 0,
        };
        self.0.iter().map(len).sum()
    }

    /// The same, where a picture counts as much as a long text: decoding it takes as long.
    #[must_use]
    pub fn text_len_with_pictures(&self) -> usize {
        const PICTURE: usize = 64 << 10;
        self.text_len() + PICTURE * self.pictures().count()
    }

    /// Appends a part; a text goes on a new line of a text before it.
    pub fn push(&mut self, part: Part) {
        match part {
            Part::Text(text) => self.push_text("\n", &text),
            picture @ Part::Picture(_) => {
                self.0.retain(|part| !matches!(part, Part::Text(text) if text.is_empty()));
                self.0.push(picture);
            }
        }
    }

    /// Appends all parts of another content.
    pub fn extend(&mut self, other: Self) {
        other.0.into_iter().for_each(|part| self.push(part));
    }

    /// Appends a text after a blank line.
    pub fn push_paragraph(&mut self, text: &str) {
        self.push_text("\n\n", text);
    }

    /// Puts text before its beginning.
    pub fn put_before(&mut self, text: &str) {
        match self.0.first_mut() {
            Some(Part::Text(first)) => first.insert_str(0, text),
            Some(Part::Picture(_)) | None => self.0.insert(0, Part::Text(text.to_owned())),
        }
    }

    fn push_text(&mut self, between: &str, text: &str) {
        match self.0.last_mut() {
            Some(Part::Text(last)) => {
                last.push_str(between);
                last.push_str(text);
            }
            Some(Part::Picture(_)) | None => self.0.push(Part::Text(text.to_owned())),
        }
    }

    /// The same with other texts.
    ///
    /// # Errors
    /// The first error of `change`.
    pub fn try_map<E>(self, change: impl Fn(&str) -> Result<String, E>) -> Result<Self, E> {
        let part = |part| match part {
            Part::Text(text) => change(&text).map(Part::Text),
            picture @ Part::Picture(_) => Ok(picture),
        };
        self.0.into_iter().map(part).collect::<Result<_, E>>().map(Self)
    }
}

/// The stored form: a plain text, or a list of parts.
#[derive(Serialize, Deserialize)]
#[serde(untagged)]
enum Stored {
    Text(String),
    Parts(Vec<StoredPart>),
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum StoredPart {
    Text(String),
    /// The file in base64, and where the request has it.
    Picture {
        file: String,
        pointer: String,
    },
}

impl From<Content> for Stored {
    fn from(content: Content) -> Self {
        let part = |part: &Part| match part {
            Part::Text(text) => StoredPart::Text(text.clone()),
            Part::Picture(Shown { picture, pointer }) => {
                StoredPart::Picture { file: BASE64.encode(picture.file()), pointer: pointer.to_string() }
            }
        };
        match content.as_text() {
            Some(text) => Self::Text(text.to_owned()),
            None => Self::Parts(content.0.iter().map(part).collect()),
        }
    }
}

impl TryFrom<Stored> for Content {
    type Error = String;

    fn try_from(stored: Stored) -> Result<Self, String> {
        let part = |part| match part {
            StoredPart::Text(text) => Ok(Part::Text(text)),
            StoredPart::Picture { file, pointer } => {
                let file = BASE64.decode(file).map_err(|error| error.to_string())?;
                let picture = Picture::new(file, usize::MAX).map_err(|error| error.to_string())?;
                Ok(Part::Picture(Shown { picture: Arc::new(picture), pointer: pointer.into() }))
            }
        };
        match stored {
            Stored::Text(text) => Ok(text.into()),
            Stored::Parts(parts) => parts.into_iter().map(part).collect::<Result<_, _>>().map(Self),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(pointer: &str) -> Shown {
        let picture = Picture::new(b"GIF89a and more".to_vec(), 100).unwrap();
        Shown { picture: Arc::new(picture), pointer: pointer.into() }
    }

    #[test]
    fn texts_are_joined_and_pictures_keep_their_places() {
        let mut content = Content::default();
        assert!(content.is_empty() && content.as_text() == Some(""));
        content.push(Part::Text("a".into()));
        content.push(Part::Text("b".into()));
        assert_eq!(content.as_text(), Some("a\nb"));
        content.push(Part::Picture(shown("/1")));
        content.push_paragraph("c");
        content.push_paragraph("d");
        content.put_before("> ");
        assert_eq!(content.as_text(), None);
        let expected = [Part::Text("> a\nb".into()), Part::Picture(shown("/1")), Part::Text("c\n\nd".into())];
        assert_eq!(content.parts(), expected);
        assert_eq!(
            (content.texts().as_str(), content.text_len(), content.pictures().count()),
            ("> a\nb\nc\n\nd", 9, 1)
        );
        let loud = content.try_map(|text| Ok::<_, ()>(text.to_uppercase())).unwrap();
        assert_eq!(loud.texts(), "> A\nB\nC\n\nD");
    }

    #[test]
    fn contents_have_an_identity_and_a_picture_is_never_blank() {
        let both = |text: &str| {
            let mut content = Content::from(shown("/1"));
            content.push(Part::Text(text.into()));
            content
        };
        assert_eq!(Content::from("a").identity(), "a");
        assert_eq!(both("a").identity(), both("a").identity());
        assert_ne!(both("a").identity(), both("b").identity());
        assert!(Content::from(" \n").is_blank() && !Content::from(shown("/1")).is_blank());
        assert_eq!(both("abc").text_len_with_pictures(), (64 << 10) + 3);
    }

    #[test]
    fn an_empty_text_leaves_no_part_beside_a_picture() {
        let mut content = Content::from("");
        content.push(Part::Picture(shown("/1")));
        assert_eq!(content.parts().len(), 1);
        assert!(!content.is_empty());
        content.put_before("Tool result: ");
        assert_eq!(content.parts()[0], Part::Text("Tool result: ".into()));
    }

    #[test]
    fn what_is_stored_is_the_same_when_it_is_read() {
        let text = Content::from("a\u{0}");
        assert_eq!(serde_json::to_string(&text).unwrap(), "\"a\\u0000\"", "a text is stored as one");
        let mut content = Content::from("a");
        content.push(Part::Picture(shown("/1")));
        let stored = serde_json::to_string(&content).unwrap();
        let read: Content = serde_json::from_str(&stored).unwrap();
        assert_eq!(read, content);
        assert_eq!(serde_json::to_string(&read).unwrap(), stored);
        assert!(serde_json::from_str::<Content>(r#"[{"picture": {"file": "bm8=", "pointer": ""}}]"#).is_err());
    }
}
