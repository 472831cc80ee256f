//! What the forms of items have in common.

use serde_json::{Map, Value};

use super::super::item::Labelled;
use super::super::labels::Numbers;
use super::super::mapping::LabelNames;
use crate::domain::agreement::key;
use crate::domain::{Preference, Scale};

/// What reading a row may need beside it.
pub(super) struct Around<'a> {
    /// The name of its file, without its ending.
    pub(super) stem: &'a str,
    /// Whether it is a row of a table: then fields that nobody knows are notes of the user's.
    pub(super) table: bool,
    pub(super) names: Option<&'a LabelNames>,
    pub(super) numbers: &'a mut Numbers,
}

/// A text that has to be there.
pub(super) fn text(fields: &mut Map<String, Value>, name: &str) -> Result<String, String> {
    match fields.remove(name) {
        Some(Value::String(text)) => Ok(text),
        Some(Value::Null) | None => Err(format!("has no {name}; if it has another name, use --map {name}=NAME")),
        Some(_) => Err(format!("its {name} is not a text")),
    }
}

/// The text of an instruction: itself, or the turns of a dialogue as JSON.
pub(super) fn instruction_text(instruction: &Value) -> String {
    instruction.as_str().map_or_else(|| instruction.to_string(), str::to_owned)
}

/// The subset of an item by its notes.
pub(super) fn subset(own: Option<Value>, notes: &Map<String, Value>) -> Option<String> {
    let named = ["subset", "bias", "category", "model"].into_iter().find_map(|name| notes.get(name));
    let name = |value: &Value| match value {
        Value::String(name) => Some(name.clone()),
        Value::Number(number) => Some(number.to_string()),
        _ => None,
    };
    own.as_ref().and_then(name).or_else(|| named.and_then(name))
}

/// The first of these fields that holds a label; an empty text is none.
pub(super) fn label(fields: &Map<String, Value>, names: &[&str]) -> Option<Value> {
    let holds = |value: &&Value| !value.is_null() && value.as_str().is_none_or(|text| !text.trim().is_empty());
    names.iter().find_map(|name| fields.get(*name).filter(holds)).cloned()
}

pub(super) fn characters(text: &Value) -> usize {
    text.as_str().map_or(0, |text| text.chars().count())
}

/// A chosen and a rejected response as A and B. Which is A depends on the texts alone, and is either one half of the
/// time, so that a judge which leans to one side is neither helped nor harmed.
pub(super) fn in_some_order(instruction: &Value, chosen: String, rejected: String) -> (Map<String, Value>, Labelled) {
    let chosen_first = key(&[&instruction_text(instruction), &chosen, &rejected]).is_multiple_of(2);
    let (a, b) = if chosen_first { (chosen, rejected) } else { (rejected, chosen) };
    let lengths = [a.chars().count(), b.chars().count()];
    let fields = [("instruction", instruction.clone()), ("response_a", a.into()), ("response_b", b.into())];
    let body = fields.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
    let label = if chosen_first { Preference::A } else { Preference::B };
    (body, Labelled::Pair { label, votes: Vec::new(), lengths, chosen: Some(label) })
}

/// The scale that a rubric's scores are on, if they are a scale.
pub(super) fn scale_of(levels: &[i32]) -> Option<Scale> {
    Scale::from_levels(levels).ok()
}
