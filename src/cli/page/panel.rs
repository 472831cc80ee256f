//! A plot with the table of its numbers.

use serde::Serialize;

use super::svg::Plot;

/// A plot with the table of its numbers.
#[derive(Debug, Serialize)]
pub(in super::super) struct Panel {
    pub(in super::super) caption: String,
    pub(in super::super) note: String,
    pub(in super::super) plot: Plot,
    pub(in super::super) legend: Vec<Key>,
    /// What the table is called.
    pub(in super::super) table: &'static str,
    pub(in super::super) head: Vec<String>,
    /// The first cell of each is its heading.
    pub(in super::super) rows: Vec<Vec<String>>,
}

/// What a colour stands for.
#[derive(Debug, Serialize)]
pub(in super::super) struct Key {
    pub(in super::super) class: &'static str,
    pub(in super::super) text: &'static str,
}
