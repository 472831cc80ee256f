//! Prompts as engines get them: control tokens, and runs of plain text between them.

use super::{Token, Vocabulary};

/// A piece of a prompt.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Segment {
    /// A control token that the chat template wrote.
    Control(String),
    /// A run of plain text; nothing in it can become a control token.
    Text(String),
    /// Token ids as the caller has them.
    Tokens(Vec<Token>),
}

/// What a model is given.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct Prompt(pub Vec<Segment>);

/// A prompt as token ids, with the run of text that it ends in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Encoded {
    /// The ids of the whole prompt.
    pub ids: Vec<Token>,
    /// Where the last run of text begins in `ids`.
    pub run_start: usize,
    /// The text of that run; empty when the prompt ends in a control token.
    pub run_text: String,
}

impl Prompt {
    /// The prompt as one string, control tokens and token ids written out.
    #[must_use]
    pub fn text(&self) -> String {
        let mut whole = String::new();
        for segment in &self.0 {
            match segment {
                Segment::Control(text) | Segment::Text(text) => whole.push_str(text),
                Segment::Tokens(ids) => ids.iter().for_each(|id| whole.push_str(&format!("{id} "))),
            }
        }
        whole
    }

    /// The fewest tokens that it can have where a token writes `longest` bytes at most.
    #[must_use]
    pub fn least_tokens(&self, longest: usize) -> usize {
        let least = |segment: &Segment| match segment {
            Segment::Control(_) => 1,
            Segment::Text(text) => text.len().div_ceil(longest.max(1)),
            Segment::Tokens(ids) => ids.len(),
        };
        self.0.iter().map(least).sum()
    }

    /// Encodes each run of text as a whole, so that the ids equal those of the whole string. A prompt that begins with
    /// ids of the caller's own is as it is, without the token that sequences begin with.
    #[must_use]
    pub fn encode(&self, vocabulary: &dyn Vocabulary) -> Encoded {
        let mut encoded = Encoded { ids: Vec::new(), run_start: 0, run_text: String::new() };
        if let Some(begin) = vocabulary.begin() {
            let begun = match self.0.first() {
                Some(Segment::Control(text)) => vocabulary.control(text) == Some(begin),
                Some(Segment::Tokens(_)) => true,
                Some(Segment::Text(_)) | None => false,
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
            }
        }
        if encoded.run_text.is_empty() {
            encoded.run_start = encoded.ids.len();
        }
        encoded
    }

    /// A token id that a vocabulary of `size` tokens does not have.
    #[must_use]
    pub fn unknown_token(&self, size: usize) -> Option<Token> {
        let ids = self.0.iter().filter_map(|segment| match segment {
            Segment::Tokens(ids) => Some(ids),
            Segment::Control(_) | Segment::Text(_) => None,
        });
        ids.flatten().copied().find(|id| usize::try_from(*id).map_or(true, |id| id >= size))
    }
}
