//! Items to grade, one per line of a file: request bodies, or labelled items.

use std::collections::HashMap;
use std::io::{BufRead, BufReader};
use std::path::Path;

use clap::{Args, ValueEnum};
use serde_json::{Map, Value, json};

use super::CliError;
use crate::domain::Kind;
use crate::json_text::readable;

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
    let file = std::fs::File::open(data).map_err(|error| CliError::because(data.display(), error))?;
    let mut file = BufReader::new(file);
    let begins = file.fill_buf().map_err(|error| CliError::because(data.display(), error))?;
    if begins.starts_with(&[0xff, 0xfe]) || begins.starts_with(&[0xfe, 0xff]) {
        return Err(CliError::Failed(format!("{} is encoded in UTF-16; save it in UTF-8", data.display())));
    }
    let (mut items, mut seen) = (Vec::new(), HashMap::new());
    for (index, line) in file.lines().enumerate() {
        let number = index + 1;
        let wrong = |what: String| CliError::Failed(format!("{}:{number}: {what}", data.display()));
        let line = line.map_err(|error| wrong(error.to_string()))?;
        let line = readable(&line);
        if line.trim().is_empty() {
            continue;
        }
        let item: Map<String, Value> = serde_json::from_str(&line).map_err(|error| wrong(error.to_string()))?;
        let item = as_item(item, number, options).map_err(wrong)?;
        if let Some(first) = seen.insert(item.id.clone(), number) {
            return Err(wrong(format!(
                "has the id `{}` of line {first}; ids must be unique, because they identify finished items",
                item.id
            )));
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
    from_labelled(&mut body);
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

/// Converts a labelled item into a request body: removes the fields of the label, and renames two fields. All other
/// fields stay, so that the server can refuse unknown ones.
fn from_labelled(item: &mut Map<String, Value>) {
    for key in ["label", "label_source", "labels", "scale", "set", "meta", "votes"] {
        item.remove(key);
    }
    if let Some(reference) = item.remove("reference") {
        item.insert("reference_answer".into(), reference);
    }
    if let Some(rubric) = item.get_mut("rubric").filter(|rubric| rubric["criteria"].is_string()) {
        *rubric = json!({"criterion": rubric["criteria"], "descriptions": rubric["scores"]});
    }
}
