//! Gavel's own form: the fields of a grading request, beside them a label.

use serde_json::{Map, Value, json};

use super::super::item::{Labelled, LabelledItem, Row};
use super::super::labels;
use super::parts::{Around, characters, instruction_text, label, scale_of, subset};
use super::trl::from_trl;
use crate::domain::{Preference, Scale};

/// Fields of a labelled item that are no part of a grading request.
const BESIDE: [&str; 8] = ["label", "label_source", "labels", "scale", "set", "subset", "meta", "votes"];
/// What a row of a table may have of a grading request.
const ASKED: [&str; 6] = ["instruction", "response", "response_a", "response_b", "reference_answer", "rubric"];

/// Makes a request body of a labelled item: what is the label's goes, and two fields have other names. Everything else
/// stays, so that whoever grades can refuse what it does not know.
pub fn as_request(item: &mut Map<String, Value>) {
    for key in BESIDE {
        item.shift_remove(key);
    }
    if let Some(reference) = item.shift_remove("reference") {
        item.insert("reference_answer".into(), reference);
    }
    if let Some(rubric) = item.get_mut("rubric").filter(|rubric| rubric["criteria"].is_string()) {
        *rubric = json!({"criterion": rubric["criteria"], "descriptions": rubric["scores"]});
    }
}

/// The item of a row; none if it has no label.
pub(super) fn item(mut row: Row, around: Around<'_>) -> Result<Option<LabelledItem>, String> {
    let id = row.id(around.stem);
    let fields = &mut row.fields;
    fields.remove("id");
    from_trl(fields)?;
    let beside = |name: &str| fields.get(name).filter(|value| !value.is_null()).cloned();
    let (own, own_or_several, votes) =
        (label(fields, &["label"]), label(fields, &["label", "labels"]), beside("votes"));
    let (scale, own_subset, set) = (beside("scale"), beside("subset"), beside("set"));
    let mut notes = match beside("meta") {
        Some(Value::Object(notes)) => notes,
        _ => Map::new(),
    };
    as_request(fields);
    let mut body = std::mem::take(fields);
    body.retain(|_, value| !value.is_null());
    if around.table {
        let (asked, rest) = std::mem::take(&mut body).into_iter().partition(|(name, _)| ASKED.contains(&name.as_str()));
        body = asked;
        let rest: Map<String, Value> = rest;
        notes.extend(
            rest.into_iter()
                .map(|(name, value)| (name.strip_prefix("meta.").map_or_else(|| name.clone(), str::to_owned), value)),
        );
    }
    let Some(instruction) = body.get("instruction") else {
        return Err("has no instruction; if it has another name, use --map instruction=NAME".into());
    };
    let instruction = instruction_text(instruction);
    let labelled = match (body.get("response"), body.get("response_a"), body.get("response_b")) {
        (Some(response), None, None) => {
            let scale = scale_of_item(scale.as_ref(), body.get("rubric"))?;
            let Some(label) = own_or_several else { return Ok(None) };
            let label = labels::score(&label)?;
            if let Some(scale) = scale
                && !(f64::from(scale.lowest())..=f64::from(scale.highest())).contains(&label)
            {
                let (low, high) = (scale.lowest(), scale.highest());
                return Err(format!("its label {label} is not on its scale, which is {low} to {high}"));
            }
            Labelled::Score { label, scale, length: characters(response) }
        }
        (None, Some(a), Some(b)) => {
            let Some(label) = own else { return Ok(None) };
            let mut preference = |value: &Value| labels::preference(value, around.names, around.numbers);
            let label = preference(&label)?;
            let votes: Vec<Preference> = match votes {
                Some(Value::Array(votes)) => votes.iter().map(preference).collect::<Result<_, _>>()?,
                Some(_) => return Err("its votes are not a list".into()),
                None => Vec::new(),
            };
            Labelled::Pair { label, votes, lengths: [characters(a), characters(b)], chosen: None }
        }
        _ => {
            let what = "needs a response, or response_a and response_b; if they have other names, use \
                        --map response=NAME";
            return Err(what.into());
        }
    };
    let set = match set {
        Some(Value::String(set)) => set,
        _ => around.stem.to_owned(),
    };
    let subset = subset(own_subset, &notes);
    Ok(Some(LabelledItem { id, place: row.place, set, subset, instruction, body, labelled }))
}

/// The scale of a label: the one that the item names, or the one that its rubric describes.
fn scale_of_item(scale: Option<&Value>, rubric: Option<&Value>) -> Result<Option<Scale>, String> {
    let Some(scale) = scale else {
        let scores = rubric.and_then(|rubric| rubric["descriptions"].as_object());
        let levels: Option<Vec<i32>> =
            scores.map(|scores| scores.keys().flat_map(|score| score.trim().parse()).collect());
        return Ok(levels.and_then(|levels| scale_of(&levels)));
    };
    let ends: Option<Vec<i32>> = scale
        .as_array()
        .and_then(|ends| ends.iter().map(|end| end.as_i64().and_then(|end| i32::try_from(end).ok())).collect());
    match ends.as_deref() {
        Some(&[low, high]) if low < high && high.saturating_sub(low) <= 10 => {
            Ok(scale_of(&(low..=high).collect::<Vec<_>>()))
        }
        _ => Err(format!("its scale {scale} is not of the form [lowest, highest], of 2 to 11 scores")),
    }
}
