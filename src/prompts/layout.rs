//! Layouts: the positions of a request's texts in a prompt, computed once for all requests of one shape.
//!
//! Templates never see a text, so their output depends only on a request's [`Shape`](super::fields::Shape). Rendering
//! is most of the work of a prompt; filling in a layout is cheap.

use super::fields::Piece;
use super::patterns::PatternSet;

/// A prompt without the texts of the request.
#[derive(Debug)]
pub(super) struct Layout {
    pub(super) parts: Vec<LayoutPart>,
    /// Markers, which are escaped in the fields.
    pub(super) markers: PatternSet,
}

/// A part of a layout.
#[derive(Debug)]
pub(super) enum LayoutPart {
    /// Plain text of the template.
    Text(String),
    /// A control token.
    Control(String),
    /// The field with this index.
    Field(usize),
}

impl Layout {
    /// Splits the rendered template at its control tokens.
    pub(super) fn new(pieces: &[Piece<'_>], control: &PatternSet, markers: PatternSet) -> Self {
        let mut parts = Vec::new();
        for piece in pieces {
            match *piece {
                Piece::Field(index) => parts.push(LayoutPart::Field(index)),
                Piece::Literal(text) => parts.extend(control.split(text).into_iter().map(|(is_control, text)| {
                    if is_control { LayoutPart::Control(text.to_owned()) } else { LayoutPart::Text(text.to_owned()) }
                })),
            }
        }
        Self { parts, markers }
    }
}
