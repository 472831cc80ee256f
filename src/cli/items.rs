//! Items to grade, one per line of a file: request bodies, or labelled items.

use std::collections::HashMap;
use std::path::Path;

use clap::{Args, ValueEnum};
use serde_json::{Map, Value, json};

use super::CliError;
use crate::domain::Kind;
use crate::labelled::{self, DataError, Row};

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum KindArg {
    Absolute,
    Relative,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum ModeArg {
    Feedback,
    Score,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum MethodArg {
    Pairwise,
    Absolute,
}

impl MethodArg {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Pairwise => "pairwise",
            Self::Absolute => "absolute",
        }
    }
}

impl KindArg {
    pub(super) fn path(self) -> &'static str {
        match self {
            Self::Absolute => "/v1/grade/absolute",
            Self::Relative => "/v1/grade/relative",
        }
    }
}

impl From<KindArg> for Kind {
    fn from(kind: KindArg) -> Self {
        match kind {
            KindArg::Absolute => Self::Absolute,
            KindArg::Relative => Self::Relative,
        }
    }
}

impl ModeArg {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Feedback => "feedback",
            Self::Score => "score",
        }
    }
}

/// Options of the command line for items, which take precedence over the fields of the items.
#[derive(Debug, Args)]
pub(super) struct ItemOptions {
    /// The grading kind. Default: each item's own, and absolute without a file.
    #[arg(long)]
    pub(super) kind: Option<KindArg>,
    /// Name of a rubric, which replaces that of the items. Default without a file: `helpfulness`.
    #[arg(long, value_name = "NAME")]
    pub(super) rubric: Option<String>,
    /// Feedback and verdict, or only the verdict.
    #[arg(long)]
    pub(super) mode: Option<ModeArg>,
}

impl ItemOptions {
    /// The rubric of requests that are not from a file.
    pub(super) fn rubric(&self) -> &str {
        self.rubric.as_deref().unwrap_or("helpfulness")
    }
}

/// An item to grade.
pub(super) struct Item {
    pub(super) id: String,
    pub(super) kind: KindArg,
    pub(super) body: Value,
}

/// Reads a file of items, one per line.
///
/// # Errors
/// With the number of the invalid line.
pub(super) fn read(data: &Path, options: &ItemOptions) -> Result<Vec<Item>, CliError> {
    let bytes = std::fs::read(data).map_err(|error| CliError::because(data.display(), error))?;
    let (mut items, mut seen) = (Vec::new(), HashMap::new());
    for Row { number, place, fields } in labelled::rows(data, bytes)?.1 {
        let item = as_item(fields, number, options).map_err(|what| DataError::at(&place, what))?;
        if let Some(first) = seen.insert(item.id.clone(), number) {
            let what = format!(
                "has the id `{}` of line {first}; ids must be unique, because they identify finished items",
                item.id
            );
            return Err(DataError::at(place, what).into());
        }
        items.push(item);
    }
    Ok(items)
}

/// Converts a line into a request: a request body as it is, or a labelled item.
fn as_item(mut item: Map<String, Value>, number: usize, options: &ItemOptions) -> Result<Item, String> {
    let id = match item.remove("id") {
        Some(Value::String(id)) => id,
        Some(Value::Null) | None => format!("line-{number}"),
        Some(other) => other.to_string(),
    };
    let kind = match (options.kind, item.contains_key("response_a")) {
        (Some(KindArg::Absolute), true) => return Err("has response_a, but --kind is absolute".into()),
        (Some(KindArg::Relative), false) => return Err("has no response_a, but --kind is relative".into()),
        (_, true) => KindArg::Relative,
        (_, false) => KindArg::Absolute,
    };
    let mut body = item;
    labelled::as_request(&mut body);
    if let Some(rubric) = &options.rubric {
        body.insert("rubric".into(), json!(rubric));
    } else if body.get("rubric").is_none_or(Value::is_null) {
        return Err("has no rubric; name one with --rubric".into());
    }
    if let Some(mode) = options.mode {
        body.insert("mode".into(), json!(mode.name()));
    }
    Ok(Item { id, kind, body: Value::Object(body) })
}
