//! Prompts: control tokens, and runs of plain text between them.

use super::{Token, Vocabulary};

/// A piece of a prompt.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Segment {
    /// A control token of the chat template.
    Control(String),
    /// A run of plain text; nothing in it can become a control token.
    Text(String),
    /// Token ids from the caller.
    Tokens(Vec<Token>),
}

/// The input of a model.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct Prompt(pub Vec<Segment>);

/// A prompt as token ids, with the run of text at its end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Encoded {
    /// The ids of the whole prompt.
    pub ids: Vec<Token>,
    /// Start of the last run of text in `ids`.
    pub run_start: usize,
    /// The text of that run; empty if the prompt ends in a control token.
    pub run_text: String,
}

impl Prompt {
    /// The prompt as one string, including control tokens and token ids.
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

    /// Minimum number of tokens of the prompt, if a token has at most `longest` bytes.
    #[must_use]
    pub fn least_tokens(&self, longest: usize) -> usize {
        let least = |segment: &Segment| match segment {
            Segment::Control(_) => 1,
            Segment::Text(text) => text.len().div_ceil(longest.max(1)),
            Segment::Tokens(ids) => ids.len(),
        };
        self.0.iter().map(least).sum()
    }

    /// Tokenises each run of text as a whole, so that the ids equal those of the whole string. Adds the BOS token,
    /// except if the prompt begins with the caller's own token ids.
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

    /// The first token id that is not in a vocabulary of `size` tokens.
    #[must_use]
    pub fn unknown_token(&self, size: usize) -> Option<Token> {
        let ids = self.0.iter().filter_map(|segment| match segment {
            Segment::Tokens(ids) => Some(ids),
            Segment::Control(_) | Segment::Text(_) => None,
        });
        ids.flatten().copied().find(|id| usize::try_from(*id).map_or(true, |id| id >= size))
    }
}
