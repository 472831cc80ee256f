//! Turns of conversations and responses in layouts: roles, texts and pictures.

use super::said::Said;
use crate::domain::{Part, Role, Turn};

/// What templates can see of a turn.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct TurnShape {
    pub(super) role: Role,
    pub(super) content: ContentShape,
}

/// What templates can see of a content: whether each part is a picture; at least one part.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct ContentShape(Vec<bool>);

impl TurnShape {
    pub(super) fn of(turn: &Turn) -> Self {
        Self { role: turn.role, content: ContentShape::of(Said::Content(&turn.content)) }
    }

    /// The number of its parts.
    pub(super) fn len(&self) -> usize {
        self.content.len()
    }
}

impl ContentShape {
    pub(super) fn of(said: Said<'_>) -> Self {
        Self(match said.as_text() {
            Ok(_) => vec![false],
            Err(parts) => parts.iter().map(|part| matches!(part, Part::Picture(_))).collect(),
        })
    }

    /// The number of its parts.
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    pub(super) fn has_picture(&self) -> bool {
        self.0.contains(&true)
    }

    /// The content, part after part on a line of its own. Pictures are added to `pictures`; in their place is
    /// what `mark` gives for their number, from 1, if it gives anything. `next` gives the placeholders.
    pub(super) fn lines<E>(
        &self,
        next: &mut dyn FnMut() -> String,
        pictures: &mut Vec<String>,
        mark: impl Fn(usize) -> Result<Option<String>, E>,
    ) -> Result<String, E> {
        let mut lines = Vec::new();
        for is_picture in &self.0 {
            let placeholder = next();
            if *is_picture {
                pictures.push(placeholder);
                lines.extend(mark(pictures.len())?);
            } else {
                lines.push(placeholder);
            }
        }
        Ok(lines.join("\n"))
    }
}
