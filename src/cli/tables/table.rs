//! A table, whatever it is written in.

use serde_json::Value;

/// What the cells of a column are. Any of them may be null.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in super::super) enum Cells {
    /// Texts; what is none is written as JSON.
    Text,
    Number,
    Flag,
    /// Turns of a conversation: lists of `{"role", "content"}`.
    Messages,
}

/// Named columns, and rows of as many values.
#[derive(Debug, Default)]
pub(in super::super) struct Table {
    pub(in super::super) columns: Vec<(String, Cells)>,
    pub(in super::super) rows: Vec<Vec<Value>>,
}

/// A value as a text: itself, or as JSON.
pub(super) fn text(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}
