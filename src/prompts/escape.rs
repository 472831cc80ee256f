//! Escaping hostile text that goes into a prompt: no field can write a control token, and no field can write a marker.

use serde::Serialize;

use super::fields::Fields;
use super::layout::{Layout, Place};
use super::patterns::PatternSet;
use crate::script::{Prompt, Segment};

/// A prompt, and what had to be changed in the request's texts to make it.
#[derive(Debug, Clone, PartialEq)]
pub struct Rendered {
    /// What the model is given.
    pub prompt: Prompt,
    /// The markers that were broken, in the order of the fields.
    pub neutralized: Vec<EscapedMarker>,
}

/// A marker that stood in a text of the request and was broken by one space after its first character.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct EscapedMarker {
    /// The field: `response`, `messages/0`, `context/1`, …
    pub field: String,
    /// What stood there.
    pub text: String,
    /// Where it began, in characters of the original field.
    pub start: usize,
    /// Where it ended.
    pub end: usize,
}

/// Fills in the fields of a layout and breaks the markers they write.
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
    for place in &layout.places {
        match place {
            Place::Field(index) => run.put(*index, fields.text(*index)),
            Place::Text(text) => run.text.push_str(text),
            Place::Control(text) => {
                end_run(&mut run, &mut segments);
                segments.push(Segment::Control(text.clone()));
            }
        }
    }
    end_run(&mut run, &mut segments);

    // A field that the template places twice was broken twice, in the same places.
    found.sort_by_key(|(index, place): &(usize, EscapedMarker)| (*index, place.start, place.end));
    found.dedup();
    Rendered { prompt: Prompt(segments), neutralized: found.into_iter().map(|(_, place)| place).collect() }
}

/// A run of plain text between control tokens, and where the fields are in it.
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

    /// Breaks every marker that a field has a part in, and records what stood there.
    ///
    /// The run is searched as a whole, since a marker may need what the template writes around a field: the
    /// criterion `RESULT` becomes one in the brackets that rubrics have.
    fn neutralize(&mut self, markers: &PatternSet, fields: &Fields<'_>, found: &mut Vec<(usize, EscapedMarker)>) {
        let forged = self.forged(markers);
        self.record(&forged, fields, found);
        let mut breaks: Vec<usize> = forged.iter().map(|forged| forged.at).collect();
        // A space can complete another marker, one that has a space there; it only takes longer to break.
        while !breaks.is_empty() {
            breaks.dedup();
            self.insert_spaces(&breaks);
            breaks = self.forged(markers).iter().map(|forged| forged.at).collect();
        }
    }

    /// The markers that overlap a field, in order.
    fn forged(&self, markers: &PatternSet) -> Vec<Forged> {
        let mut forged = Vec::new();
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
                forged.push(Forged { span, start, end, at: field.start.max(start + first) });
            }
            // The rest of a broken marker may still be one: `Instruction:` in `### Instruction:`.
            from = start + first;
        }
        forged
    }

    fn record(&self, forged: &[Forged], fields: &Fields<'_>, found: &mut Vec<(usize, EscapedMarker)>) {
        // Characters are counted on from the marker before, so that a field full of markers takes linear time.
        let (mut span, mut byte, mut chars) = (usize::MAX, 0, 0);
        for forged in forged {
            let Span { field, start, end } = self.spans[forged.span];
            if forged.span != span {
                (span, byte, chars) = (forged.span, start, 0);
            }
            let (from, to) = (forged.start.max(start), forged.end.min(end));
            chars += self.text[byte..from].chars().count();
            byte = from;
            let text = self.text[from..to].to_owned();
            let place =
                EscapedMarker { field: fields.name(field), start: chars, end: chars + text.chars().count(), text };
            found.push((field, place));
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
            // A space at either end of a field belongs to it.
            span.start += breaks.partition_point(|at| *at < span.start);
            span.end += breaks.partition_point(|at| *at <= span.end);
        }
    }
}

/// A marker that a field has a part in.
struct Forged {
    /// The first field that has, as an index into the spans.
    span: usize,
    start: usize,
    end: usize,
    /// Where a space breaks it: after its first character, or where the field begins.
    at: usize,
}
