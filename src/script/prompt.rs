//! Prompts as engines get them: control tokens, and runs of plain text between them.

use super::{Token, Vocabulary};

/// A piece of a prompt.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Segment {
    /// A control token that the chat template wrote.
    Control(String),
    /// A run of plain text; nothing in it can become a control token.
    Text(String),
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
    /// The prompt as one string, control tokens written out.
    #[must_use]
    pub fn text(&self) -> String {
        self.0.iter().map(|(Segment::Control(text) | Segment::Text(text))| text.as_str()).collect()
    }

    /// The fewest tokens that it can have where a token writes `longest` bytes at most.
    #[must_use]
    pub fn least_tokens(&self, longest: usize) -> usize {
        let least = |segment: &Segment| match segment {
            Segment::Control(_) => 1,
            Segment::Text(text) => text.len().div_ceil(longest.max(1)),
        };
        self.0.iter().map(least).sum()
    }

    /// Encodes each run of text as a whole, so that the ids equal those of the whole string.
    #[must_use]
    pub fn encode(&self, vocabulary: &dyn Vocabulary) -> Encoded {
        let mut encoded = Encoded { ids: Vec::new(), run_start: 0, run_text: String::new() };
        if let Some(begin) = vocabulary.begin() {
            let written =
                matches!(self.0.first(), Some(Segment::Control(text)) if vocabulary.control(text) == Some(begin));
            if !written {
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
            }
        }
        if encoded.run_text.is_empty() {
            encoded.run_start = encoded.ids.len();
        }
        encoded
    }
}
