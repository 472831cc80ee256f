//! Prompts: control tokens, and runs of plain text between them.

use std::sync::Arc;

use super::{Glance, Token, Unseen, Vocabulary};
use crate::pictures::{Picture, Shown};

/// A piece of a prompt.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Segment {
    /// A control token of the chat template.
    Control(String),
    /// A run of plain text; nothing in it can become a control token.
    Text(String),
    /// Token ids from the caller.
    Tokens(Vec<Token>),
    /// A picture, for models with eyes.
    Picture(Shown),
}

/// The input of a model.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct Prompt(pub Vec<Segment>);

/// A prompt as token ids, with the run of text at its end.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Encoded {
    /// The ids of the whole prompt.
    pub ids: Vec<Token>,
    /// Start of the last run of text in `ids`.
    pub run_start: usize,
    /// The text of that run; empty if the prompt ends in a control token or a picture.
    pub run_text: String,
    /// The pictures, in order.
    pub looks: Vec<Look>,
}

/// A picture in a prompt: a run of equal ids that stand for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Look {
    /// The start of the run in the ids.
    pub at: usize,
    /// Its ids and positions.
    pub glance: Glance,
    /// The picture.
    pub picture: Arc<Picture>,
}

/// A picture of a prompt that a model does not take.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{reason}")]
pub struct UnseenPicture {
    /// JSON pointer to the picture in the request.
    pub pointer: Arc<str>,
    /// The reason.
    pub reason: Unseen,
}

impl Prompt {
    /// The prompt as one string, including control tokens and token ids. Pictures are mentioned with their digests.
    #[must_use]
    pub fn text(&self) -> String {
        let mut whole = String::new();
        for segment in &self.0 {
            match segment {
                Segment::Control(text) | Segment::Text(text) => whole.push_str(text),
                Segment::Tokens(ids) => ids.iter().for_each(|id| whole.push_str(&format!("{id} "))),
                Segment::Picture(shown) => whole.push_str(&shown.picture.mention()),
            }
        }
        whole
    }

    /// Minimum number of tokens of the prompt, if a token has at most `longest` bytes.
    #[must_use]
    pub fn least_tokens(&self, longest: usize) -> usize {
        let least = |segment: &Segment| match segment {
            Segment::Control(_) | Segment::Picture(_) => 1,
            Segment::Text(text) => text.len().div_ceil(longest.max(1)),
            Segment::Tokens(ids) => ids.len(),
        };
        self.0.iter().map(least).sum()
    }

    /// The pictures, in order.
    pub fn pictures(&self) -> impl Iterator<Item = &Shown> + Clone {
        self.0.iter().filter_map(|segment| match segment {
            Segment::Picture(shown) => Some(shown),
            Segment::Control(_) | Segment::Text(_) | Segment::Tokens(_) => None,
        })
    }

    /// Tokenises each run of text as a whole, so that the ids equal those of the whole string. Adds the BOS token,
    /// except if the prompt begins with the caller's own token ids.
    ///
    /// # Errors
    /// At the first picture that the model does not take.
    pub fn encode_seeing(&self, vocabulary: &dyn Vocabulary) -> Result<Encoded, UnseenPicture> {
        let mut encoded = Encoded::default();
        if let Some(begin) = vocabulary.begin() {
            let begun = match self.0.first() {
                Some(Segment::Control(text)) => vocabulary.control(text) == Some(begin),
                Some(Segment::Tokens(_)) => true,
                Some(Segment::Text(_) | Segment::Picture(_)) | None => false,
            };
            if !begun {
                encoded.ids.push(begin);
            }
        }
        for segment in &self.0 {
            match segment {
                Segment::Control(text) if vocabulary.control(text).is_some() => {
                    encoded.ids.extend(vocabulary.control(text));
                    encoded.run_text.clear();
                }
                Segment::Control(text) | Segment::Text(text) => {
                    encoded.run_start = encoded.ids.len();
                    encoded.ids.extend(vocabulary.tokenize(text));
                    encoded.run_text.clone_from(text);
                }
                Segment::Tokens(ids) => {
                    encoded.ids.extend(ids);
                    encoded.run_text.clear();
                }
                Segment::Picture(Shown { picture, pointer }) => {
                    let unseen = |reason| UnseenPicture { pointer: Arc::clone(pointer), reason };
                    let glance = vocabulary.look(picture).map_err(unseen)?;
                    encoded.looks.push(Look { at: encoded.ids.len(), glance, picture: Arc::clone(picture) });
                    encoded.ids.extend(std::iter::repeat_n(glance.id, glance.tokens));
                    encoded.run_text.clear();
                }
            }
        }
        if encoded.run_text.is_empty() {
            encoded.run_start = encoded.ids.len();
        }
        Ok(encoded)
    }

    /// [`Prompt::encode_seeing`] for a prompt without pictures.
    ///
    /// # Panics
    /// If it has one that the model does not take.
    #[must_use]
    pub fn encode(&self, vocabulary: &dyn Vocabulary) -> Encoded {
        self.encode_seeing(vocabulary).expect("a prompt without pictures, or a model with eyes")
    }

    /// The first token id that is not in a vocabulary of `size` tokens.
    #[must_use]
    pub fn unknown_token(&self, size: usize) -> Option<Token> {
        let ids = self.0.iter().filter_map(|segment| match segment {
            Segment::Tokens(ids) => Some(ids),
            Segment::Control(_) | Segment::Text(_) | Segment::Picture(_) => None,
        });
        ids.flatten().copied().find(|id| usize::try_from(*id).map_or(true, |id| id >= size))
    }
}
