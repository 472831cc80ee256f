//! Layouts: where the texts of a request go in a prompt, worked out once for all requests of one shape.
//!
//! No template ever sees a text, so what templates write depends on a request's [`Shape`] alone. Rendering them is
//! most of the work of a prompt; filling in a layout is little.

use super::fields::Piece;
use super::patterns::PatternSet;

/// A prompt without the texts of the request.
#[derive(Debug)]
pub(super) struct Layout {
    pub(super) places: Vec<Place>,
    /// What no field may write.
    pub(super) markers: PatternSet,
}

/// A part of a layout.
#[derive(Debug)]
pub(super) enum Place {
    /// Plain text of the template.
    Text(String),
    /// A control token.
    Control(String),
    /// The place of a field.
    Field(usize),
}

impl Layout {
    /// Splits what the template wrote at its control tokens.
    pub(super) fn new(pieces: &[Piece<'_>], control: &PatternSet, markers: PatternSet) -> Self {
        let mut places = Vec::new();
        for piece in pieces {
            match *piece {
                Piece::Field(index) => places.push(Place::Field(index)),
                Piece::Literal(text) => places.extend(control.split(text).into_iter().map(|(is_control, text)| {
                    if is_control { Place::Control(text.to_owned()) } else { Place::Text(text.to_owned()) }
                })),
            }
        }
        Self { places, markers }
    }
}
