//! The details of problems: what an overflow says, and names cut to a length.

use crate::engine::EngineError;

/// Maximum length of a caller's name in a detail or a pointer, in characters.
const LONGEST_NAME: usize = 100;

/// What bounds the answer of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum AnswerLimit {
    /// The field of this name, sent or by its default.
    Field(&'static str),
    /// The rest of the context: the request has a field for it and does not use it.
    Context,
    /// No field: the answer is only a verdict or a choice.
    Fixed,
}

impl AnswerLimit {
    /// The detail of an overflow: the numbers, and what to do.
    pub(super) fn overflow(self, error: &EngineError) -> String {
        let EngineError::ContextOverflow { model, prompt_tokens, at_least, context, reserved } = error else {
            return error.to_string();
        };
        let least = if *at_least { "at least " } else { "" };
        let takes = match self {
            Self::Context => format!("{context} with the answer"),
            Self::Field(field) => format!("{context} minus {reserved} for the answer ({field})"),
            Self::Fixed => format!("{context} minus {reserved} for the answer"),
        };
        // A prompt that fills the context alone does not fit with a shorter answer either.
        let remedy = match self {
            Self::Field(field) if prompt_tokens < context => format!("Shorten the texts or lower {field}."),
            _ => "Shorten the texts.".to_owned(),
        };
        format!("The prompt has {least}{prompt_tokens} tokens; {model} takes {takes}. {remedy}")
    }
}

/// The text with names between two marks cut to [`LONGEST_NAME`] characters, and itself to `most`: names come from
/// callers, and may be as long as a body.
pub(super) fn shortened(text: String, mark: char, most: usize) -> String {
    if text.len() <= LONGEST_NAME {
        return text;
    }
    let cut = |part: &str, most: usize| match part.char_indices().nth(most) {
        Some(_) => part.chars().take(most - 1).chain(['…']).collect(),
        None => part.to_owned(),
    };
    let parts: Vec<&str> = text.split(mark).collect();
    let last = parts.len() - 1;
    // In a pointer every part is a name; in a detail every second one that is followed by another mark.
    let is_name = |at: usize| mark == '/' || (at % 2 == 1 && at < last);
    let named = |(at, part): (usize, &&str)| if is_name(at) { cut(part, LONGEST_NAME) } else { (*part).to_owned() };
    let parts: Vec<String> = parts.iter().enumerate().map(named).collect();
    cut(&parts.join(&mark.to_string()), most)
}
