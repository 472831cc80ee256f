//! RewardBench's form: a prompt, a chosen and a rejected response, and a subset.

use serde_json::{Map, Value};

use super::super::item::{LabelledItem, Row};
use super::parts::{Around, id, in_some_order, instruction_text, subset};

pub(super) fn item(mut row: Row, around: Around<'_>) -> Result<LabelledItem, String> {
    let fields = &mut row.fields;
    let id = id(fields, around.stem, row.number);
    let (before, chosen) = response(fields, "chosen")?;
    let (_, rejected) = response(fields, "rejected")?;
    let prompt = ["prompt", "instruction"].into_iter().find_map(|name| fields.remove(name));
    let instruction = match prompt.filter(|prompt| !prompt.is_null()).or(before) {
        Some(Value::Array(turns)) => dialogue(turns)?,
        Some(Value::String(prompt)) => Value::String(prompt),
        Some(_) => return Err("its prompt is neither a text nor a list of messages".into()),
        None => return Err("has no prompt; if it has another name, use --map prompt=NAME".into()),
    };
    let own_subset = fields.remove("subset");
    let subset = subset(own_subset, fields);
    let (mut body, labelled) = in_some_order(&instruction, chosen, rejected);
    if let Some(rubric) = fields.remove("rubric").filter(|rubric| !rubric.is_null()) {
        body.insert("rubric".into(), rubric);
    }
    let set = match fields.remove("set") {
        Some(Value::String(set)) => set,
        _ => around.stem.to_owned(),
    };
    let instruction = instruction_text(&instruction);
    Ok(LabelledItem { id, place: row.place, set, subset, instruction, body, labelled })
}

/// A response, and the messages before it: a text has none, and of a list of messages it is the last one.
fn response(fields: &mut Map<String, Value>, name: &str) -> Result<(Option<Value>, String), String> {
    match fields.remove(name) {
        Some(Value::String(text)) => Ok((None, text)),
        Some(Value::Array(mut messages)) if messages.iter().all(Value::is_object) => {
            let last = messages.pop().ok_or_else(|| format!("its {name} has no messages"))?;
            match (last["role"].as_str(), last["content"].as_str()) {
                (Some("assistant"), Some(text)) => {
                    Ok(((!messages.is_empty()).then_some(Value::Array(messages)), text.to_owned()))
                }
                _ => Err(format!("the last message of its {name} is not the assistant's")),
            }
        }
        Some(Value::Array(_)) => Err(format!("its {name} is a list of texts: write one pair of responses per line")),
        _ => Err(format!("its {name} is neither a text nor a list of messages")),
    }
}

/// Messages as an instruction: one of the user's is a text, and more are turns.
fn dialogue(turns: Vec<Value>) -> Result<Value, String> {
    match turns.as_slice() {
        [] => Err("its prompt has no messages".into()),
        [turn] if turn["role"] == "user" && turn["content"].is_string() => Ok(turn["content"].clone()),
        _ => Ok(Value::Array(turns)),
    }
}
