//! Items to grade, one a line of a file: request bodies, or labelled items.

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
    let file = std::fs::File::open(data).map_err(|error| CliError::because(data.display(), error))?;
    let mut file = BufReader::new(file);
    let begins = file.fill_buf().map_err(|error| CliError::because(data.display(), error))?;
    if begins.starts_with(&[0xff, 0xfe]) || begins.starts_with(&[0xfe, 0xff]) {
        return Err(CliError::Failed(format!("{}: is in UTF-16; save it in UTF-8", data.display())));
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
        let item = as_item(item, number, wanted).map_err(wrong)?;
        if let Some(first) = seen.insert(item.id.clone(), number) {
            return Err(wrong(format!("has the id `{}` of line {first}; ids tell which lines are done", item.id)));
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
    from_labelled(&mut body);
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

/// Makes a request body of a labelled item: what is the label's goes, and two fields have other names. Everything
/// else stays, so that the server can refuse what it does not know.
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
