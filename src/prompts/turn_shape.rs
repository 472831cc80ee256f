//! Turns of conversations in layouts: roles, texts and pictures.

use crate::domain::{Part, Role, Turn};

/// What templates can see of a turn.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct TurnShape {
    pub(super) role: Role,
    /// Whether each part is a picture; at least one.
    parts: Vec<bool>,
}

impl TurnShape {
    pub(super) fn of(turn: &Turn) -> Self {
        let parts = match turn.content.as_text() {
            Some(_) => vec![false],
            None => turn.content.parts().iter().map(|part| matches!(part, Part::Picture(_))).collect(),
        };
        Self { role: turn.role, parts }
    }

    /// The number of its parts.
    pub(super) fn len(&self) -> usize {
        self.parts.len()
    }

    /// The content of the turn, part after part on a line of its own. Pictures are added to `pictures`; in their place is
    /// what `mark` gives for their number, from 1, if it gives anything. `next` gives the placeholders.
    pub(super) fn content<E>(
        &self,
        next: &mut dyn FnMut() -> String,
        pictures: &mut Vec<String>,
        mark: impl Fn(usize) -> Result<Option<String>, E>,
    ) -> Result<String, E> {
        let mut lines = Vec::new();
        for is_picture in &self.parts {
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
