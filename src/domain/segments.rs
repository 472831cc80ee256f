//! Segments: parts of a text, by their offsets in characters (Unicode scalar values).

use serde::{Deserialize, Serialize};
use unicode_segmentation::UnicodeSegmentation;

use super::blank::is_blank;

/// A part of a text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Span {
    /// The first character, from 0.
    pub start: usize,
    /// The character after the last one.
    pub end: usize,
}

/// Why a list of spans does not fit a text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum InvalidSpan {
    /// There is nothing between its ends.
    #[error("starts at {} and ends at {}; `end` is above `start`", .0.start, .0.end)]
    Inverted(Span),
    /// It ends after the text.
    #[error(
        "ends at {end}, but the text has {length} characters; offsets count characters (Unicode scalar values), not bytes"
    )]
    Outside {
        /// Where it ends.
        end: usize,
        /// The length of the text.
        length: usize,
    },
    /// It starts before the span before it has ended.
    #[error(
        "starts at {start}, before the end of the segment before it, which is {end}; segments are in order and do not overlap"
    )]
    Overlap {
        /// Where it starts.
        start: usize,
        /// Where the span before it ends.
        end: usize,
    },
    /// It has only white space and invisible characters.
    #[error("has no visible text; there is nothing to judge")]
    Blank,
}

/// The sentences of a text, by the rules of Unicode (UAX #29). They are in order and cover the text, except that what is
/// blank is left out, and so is white space at the ends of a sentence.
#[must_use]
pub fn sentences(text: &str) -> Vec<Span> {
    let (mut spans, mut at) = (Vec::new(), 0);
    for sentence in text.split_sentence_bounds() {
        let count = |text: &str| text.chars().count();
        let length = count(sentence);
        if !is_blank(sentence) {
            let start = at + length - count(sentence.trim_start());
            spans.push(Span { start, end: start + count(sentence.trim()) });
        }
        at += length;
    }
    spans
}

/// The texts of spans.
///
/// # Errors
/// At the first span that does not fit, with its index.
pub fn texts<'t>(text: &'t str, spans: &[Span]) -> Result<Vec<&'t str>, (usize, InvalidSpan)> {
    let bytes: Vec<usize> = text.char_indices().map(|(at, _)| at).chain([text.len()]).collect();
    let (mut texts, mut ended) = (Vec::with_capacity(spans.len()), 0);
    for (index, span) in spans.iter().enumerate() {
        let Span { start, end } = *span;
        let length = bytes.len() - 1;
        let part = if start >= end {
            Err(InvalidSpan::Inverted(*span))
        } else if end > length {
            Err(InvalidSpan::Outside { end, length })
        } else if start < ended {
            Err(InvalidSpan::Overlap { start, end: ended })
        } else {
            Some(&text[bytes[start]..bytes[end]]).filter(|part| !is_blank(part)).ok_or(InvalidSpan::Blank)
        };
        texts.push(part.map_err(|invalid| (index, invalid))?);
        ended = end;
    }
    Ok(texts)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn sentences_are_found_in_any_script() {
        let check = |text: &str, expected: &[&str]| {
            assert_eq!(texts(text, &sentences(text)).unwrap(), expected, "{text:?}");
        };
        check("It is blue. Why? Air!", &["It is blue.", "Why?", "Air!"]);
        check("  One.\n\nTwo, 3.5 of it.  ", &["One.", "Two, 3.5 of it."]);
        check("空は青い。なぜ?", &["空は青い。", "なぜ?"]);
        check("नमस्ते। ठीक है।", &["नमस्ते।", "ठीक है।"]);
        check("No end", &["No end"]);
        check("👩‍👩‍👧 e\u{301}. B.", &["👩‍👩‍👧 e\u{301}.", "B."]);
        check(" \u{200b}\n", &[]);
    }

    #[test]
    fn spans_that_do_not_fit_are_named() {
        let check = |spans: &[(usize, usize)], expected: Result<&[&str], (usize, InvalidSpan)>| {
            let spans: Vec<Span> = spans.iter().map(|(start, end)| Span { start: *start, end: *end }).collect();
            assert_eq!(texts("né 🙂 b", &spans), expected.map(<[&str]>::to_vec), "{spans:?}");
        };
        check(&[(0, 2), (3, 4), (4, 6)], Ok(&["né", "🙂", " b"]));
        check(&[], Ok(&[]));
        check(&[(0, 1), (2, 2)], Err((1, InvalidSpan::Inverted(Span { start: 2, end: 2 }))));
        check(&[(0, 7)], Err((0, InvalidSpan::Outside { end: 7, length: 6 })));
        check(&[(0, 2), (1, 3)], Err((1, InvalidSpan::Overlap { start: 1, end: 2 })));
        check(&[(3, 4), (0, 1)], Err((1, InvalidSpan::Overlap { start: 0, end: 4 })));
        check(&[(2, 3)], Err((0, InvalidSpan::Blank)));
    }

    proptest! {
        #[test]
        fn sentences_cover_any_text_in_order(text in "(\\PC|[.!?。 \\n\u{200b}]){0,80}") {
            let chars: Vec<char> = text.chars().collect();
            let spans = sentences(&text);
            let parts = texts(&text, &spans).unwrap();
            let mut at = 0;
            for (span, part) in spans.iter().zip(parts) {
                let between: String = chars[at..span.start].iter().collect();
                prop_assert!(is_blank(&between), "{between:?} is in no sentence");
                prop_assert_eq!(part, chars[span.start..span.end].iter().collect::<String>());
                at = span.end;
            }
            prop_assert!(is_blank(&chars[at..].iter().collect::<String>()));
        }
    }
}
