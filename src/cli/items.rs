//! Items to grade, one a line of a file: request bodies, or labelled items.

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

/// What the command line says of items, over what they say themselves.
#[derive(Debug, Args)]
pub(super) struct Wanted {
    /// The grading kind; without it, each item's own, and absolute where there is no file.
    #[arg(long)]
    pub(super) kind: Option<KindArg>,
    /// A rubric's name, for items that have none or instead of theirs; `helpfulness` where there is no file.
    #[arg(long, value_name = "NAME")]
    pub(super) rubric: Option<String>,
    /// Feedback and verdict, or the verdict alone.
    #[arg(long)]
    pub(super) mode: Option<ModeArg>,
}

impl Wanted {
    /// The rubric of what comes from no file.
    pub(super) fn rubric(&self) -> &str {
        self.rubric.as_deref().unwrap_or("helpfulness")
    }
}

/// A line to grade.
pub(super) struct Item {
    pub(super) id: String,
    pub(super) kind: KindArg,
    pub(super) body: Value,
}

/// Reads a file of items, one a line.
///
/// # Errors
/// With the line that is wrong.
pub(super) fn read(data: &Path, wanted: &Wanted) -> Result<Vec<Item>, CliError> {
    let bytes = std::fs::read(data).map_err(|error| CliError::because(data.display(), error))?;
    let (mut items, mut seen) = (Vec::new(), HashMap::new());
    for Row { number, place, fields } in labelled::rows(data, bytes)?.1 {
        let item = as_item(fields, number, wanted).map_err(|what| DataError::at(&place, what))?;
        if let Some(first) = seen.insert(item.id.clone(), number) {
            let what = format!("has the id `{}` of line {first}; ids tell which lines are done", item.id);
            return Err(DataError::at(place, what).into());
        }
        items.push(item);
    }
    Ok(items)
}

/// Makes a request of a line: a request body as it is, or a labelled item.
fn as_item(mut item: Map<String, Value>, number: usize, wanted: &Wanted) -> Result<Item, String> {
    let id = match item.remove("id") {
        Some(Value::String(id)) => id,
        Some(Value::Null) | None => format!("line-{number}"),
        Some(other) => other.to_string(),
    };
    let kind = match (wanted.kind, item.contains_key("response_a")) {
        (Some(KindArg::Absolute), true) => return Err("is a pair, and --kind is absolute".into()),
        (Some(KindArg::Relative), false) => return Err("has no response_a, and --kind is relative".into()),
        (_, true) => KindArg::Relative,
        (_, false) => KindArg::Absolute,
    };
    let mut body = item;
    labelled::as_request(&mut body);
    if let Some(rubric) = &wanted.rubric {
        body.insert("rubric".into(), json!(rubric));
    } else if body.get("rubric").is_none_or(Value::is_null) {
        return Err("has no rubric; name one with --rubric".into());
    }
    if let Some(mode) = wanted.mode {
        body.insert("mode".into(), json!(mode.name()));
    }
    Ok(Item { id, kind, body: Value::Object(body) })
}
