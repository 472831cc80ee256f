//! Escaping of hostile text in prompts: no field can write a control token or a marker.

use serde::Serialize;

use super::fields::{FieldValue, Fields, Piece};
use super::layout::{Layout, LayoutPart};
use super::patterns::PatternSet;
use crate::script::{Prompt, Segment};

/// A prompt, and the changes to the request's texts.
#[derive(Debug, Clone, PartialEq)]
pub struct Rendered {
    /// The prompt.
    pub prompt: Prompt,
    /// The escaped markers, in the order of the fields.
    pub neutralized: Vec<EscapedMarker>,
    /// The texts that the script says, with their markers escaped.
    pub quotes: Vec<String>,
}

/// A marker in a text of the request, which was escaped by one space after its first character.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct EscapedMarker {
    /// The field: `response`, `messages/0`, `context/1`, …
    pub field: String,
    /// The original text.
    pub text: String,
    /// Its start in the original field, in characters.
    pub start: usize,
    /// Its end, exclusive.
    pub end: usize,
}

/// Fills in the fields of a layout, and escapes the markers in them.
pub(super) fn assemble(layout: &Layout, fields: &Fields<'_>) -> Rendered {
    let mut segments = Vec::new();
    let mut found = Vec::new();
    let mut run = Run::default();
    let mut end_run = |run: &mut Run, segments: &mut Vec<Segment>| {
        let mut run = std::mem::take(run);
        run.neutralize(&layout.markers, fields, &mut found);
        if !run.text.is_empty() {
            segments.push(Segment::Text(run.text));
        }
    };
    for part in &layout.parts {
        match part {
            LayoutPart::Field(index) => match fields.value(*index) {
                FieldValue::Text(text) => run.put(*index, text),
                FieldValue::Picture(shown) => {
                    end_run(&mut run, &mut segments);
                    segments.push(Segment::Picture(shown.clone()));
                }
            },
            LayoutPart::Text(text) => run.text.push_str(text),
            LayoutPart::Control(text) => {
                end_run(&mut run, &mut segments);
                segments.push(Segment::Control(text.clone()));
            }
        }
    }
    end_run(&mut run, &mut segments);
    let quotes = fields.quotes().map(|index| {
        let mut run = Run::default();
        if let FieldValue::Text(text) = fields.value(index) {
            run.put(index, text);
        }
        run.neutralize(&layout.markers, fields, &mut found);
        run.text
    });
    let quotes = quotes.collect();

    // A field that the template uses twice has the same markers twice.
    found.sort_by_key(|(index, marker): &(usize, EscapedMarker)| (*index, marker.start, marker.end));
    found.dedup();
    Rendered { prompt: Prompt(segments), neutralized: found.into_iter().map(|(_, marker)| marker).collect(), quotes }
}

/// Fills in the fields of one turn, with mentions of the pictures, and escapes the markers in the texts.
pub(super) fn fill(pieces: &[Piece<'_>], markers: &PatternSet, fields: &Fields<'_>) -> String {
    let mut run = Run::default();
    for piece in pieces {
        match *piece {
            Piece::Literal(text) => run.text.push_str(text),
            Piece::Field(index) => match fields.value(index) {
                FieldValue::Text(text) => run.put(index, text),
                FieldValue::Picture(shown) => run.text.push_str(&shown.picture.mention()),
            },
        }
    }
    run.neutralize(markers, fields, &mut Vec::new());
    run.text
}

/// A run of plain text between control tokens, and the spans of the fields in it.
#[derive(Default)]
struct Run {
    text: String,
    spans: Vec<Span>,
}

struct Span {
    field: usize,
    start: usize,
    end: usize,
}

impl Run {
    fn put(&mut self, field: usize, text: &str) {
        let start = self.text.len();
        self.text.push_str(text);
        self.spans.push(Span { field, start, end: self.text.len() });
    }

    /// Escapes every marker that overlaps a field, and records the original text.
    ///
    /// The whole run is searched, because the template's text around a field may complete a marker: the criterion
    /// `RESULT` becomes one in the brackets of a rubric.
    fn neutralize(&mut self, markers: &PatternSet, fields: &Fields<'_>, found: &mut Vec<(usize, EscapedMarker)>) {
        let hits = self.hits(markers);
        self.record(&hits, fields, found);
        let mut breaks: Vec<usize> = hits.iter().map(|hit| hit.at).collect();
        // The inserted space can complete another marker that contains a space; then that one is escaped, too.
        while !breaks.is_empty() {
            breaks.dedup();
            self.insert_spaces(&breaks);
            breaks = self.hits(markers).iter().map(|hit| hit.at).collect();
        }
    }

    /// The markers that overlap a field, in order.
    fn hits(&self, markers: &PatternSet) -> Vec<MarkerHit> {
        let mut hits = Vec::new();
        let mut span = 0;
        let mut from = 0;
        while let Some((start, len)) = markers.find(&self.text, from) {
            let end = start + len;
            while self.spans.get(span).is_some_and(|span| span.end <= start || span.start == span.end) {
                span += 1;
            }
            let Some(field) = self.spans.get(span) else { break };
            let first = self.text[start..].chars().next().map_or(1, char::len_utf8);
            if field.start < end {
                hits.push(MarkerHit { span, start, end, at: field.start.max(start + first) });
            }
            // The rest of an escaped marker may still be one: `Instruction:` in `### Instruction:`.
            from = start + first;
        }
        hits
    }

    fn record(&self, hits: &[MarkerHit], fields: &Fields<'_>, found: &mut Vec<(usize, EscapedMarker)>) {
        // Characters are counted from the previous marker, so that a field full of markers takes linear time.
        let (mut span, mut byte, mut chars) = (usize::MAX, 0, 0);
        for hit in hits {
            let Span { field, start, end } = self.spans[hit.span];
            if hit.span != span {
                (span, byte, chars) = (hit.span, start, 0);
            }
            let (from, to) = (hit.start.max(start), hit.end.min(end));
            chars += self.text[byte..from].chars().count();
            byte = from;
            let text = self.text[from..to].to_owned();
            let marker =
                EscapedMarker { field: fields.name(field), start: chars, end: chars + text.chars().count(), text };
            found.push((field, marker));
        }
    }

    fn insert_spaces(&mut self, breaks: &[usize]) {
        let mut text = String::with_capacity(self.text.len() + breaks.len());
        let mut from = 0;
        for at in breaks {
            text.push_str(&self.text[from..*at]);
            text.push(' ');
            from = *at;
        }
        text.push_str(&self.text[from..]);
        self.text = text;
        for span in &mut self.spans {
            // A space at either end of a field is part of the field.
            span.start += breaks.partition_point(|at| *at < span.start);
            span.end += breaks.partition_point(|at| *at <= span.end);
        }
    }
}

/// A marker that overlaps a field.
struct MarkerHit {
    /// The first overlapping field, as an index into the spans.
    span: usize,
    start: usize,
    end: usize,
    /// Where the space goes: after the first character, or at the start of the field.
    at: usize,
}
