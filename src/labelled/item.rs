//! What is read from files, and what is wrong with them.

use serde_json::{Map, Value};

use crate::domain::{Preference, Scale};

/// What is wrong with a file, and where.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{place}: {what}")]
pub struct DataError {
    place: String,
    what: String,
}

impl DataError {
    /// At a file, or at a line of it.
    pub fn at(place: impl Into<String>, what: impl Into<String>) -> Self {
        Self { place: place.into(), what: what.into() }
    }
}

/// A row: its fields, and where it stands.
#[derive(Debug, Clone, PartialEq)]
pub struct Row {
    /// Which row of the file it is, from 1.
    pub number: usize,
    /// The file and the line; in a file without lines, the number of the row.
    pub place: String,
    /// Its fields by their names.
    pub fields: Map<String, Value>,
}

impl Row {
    /// Where it stands in its file, such as `line 3` or `row 3`.
    #[must_use]
    pub fn spot(&self) -> String {
        match self.place.rsplit_once(':') {
            Some((_, numbered)) if numbered.starts_with(' ') => numbered.trim().to_owned(),
            Some((_, line)) => format!("line {line}"),
            None => self.place.clone(),
        }
    }

    /// Its `id`, or the name of its file, without the ending, and its number.
    #[must_use]
    pub fn id(&self, stem: &str) -> String {
        match self.fields.get("id") {
            Some(Value::String(id)) => id.clone(),
            Some(Value::Null) | None => format!("{stem}-{}", self.number),
            Some(other) => other.to_string(),
        }
    }
}

/// An item with its label.
#[derive(Debug, Clone, PartialEq)]
pub struct LabelledItem {
    /// Its name, which verdicts refer to.
    pub id: String,
    /// Where it stands: a file and a line.
    pub place: String,
    /// The set that it is from; that of a file which names none is the file's name.
    pub set: String,
    /// The part of the set, where the item says so: its `subset`, or the first of `meta.subset`, `meta.bias`,
    /// `meta.category` and `meta.model`.
    pub subset: Option<String>,
    /// The text of the instruction; the turns of a dialogue as JSON.
    pub instruction: String,
    /// The body of a grading request, without a rubric where the item has none.
    pub body: Map<String, Value>,
    /// What is labelled.
    pub labelled: Labelled,
}

/// What is labelled, and the label.
#[derive(Debug, Clone, PartialEq)]
pub enum Labelled {
    /// One response.
    Score {
        /// Its score; between two scores where it is a mean.
        label: f64,
        /// The scale of the label, where the item or its rubric says so.
        scale: Option<Scale>,
        /// Characters of the response.
        length: usize,
    },
    /// Two responses.
    Pair {
        /// Which is better.
        label: Preference,
        /// What each of several people said.
        votes: Vec<Preference>,
        /// Characters of A and of B.
        lengths: [usize; 2],
        /// Where the file has a chosen and a rejected response: which of A and B is the chosen one. They are put in an
        /// order that depends on their texts alone.
        chosen: Option<Preference>,
    },
}

/// A file that was read.
#[derive(Debug, Clone, PartialEq)]
pub struct LabelledFile {
    /// As it was given.
    pub path: String,
    /// Of its bytes, in hexadecimal digits.
    pub sha256: String,
    /// How it was read.
    pub format: String,
    /// Its labelled items, in their order.
    pub items: Vec<LabelledItem>,
    /// The number of items without a label, which are left out.
    pub unlabelled: usize,
}
