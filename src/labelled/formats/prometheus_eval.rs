//! The forms of prometheus-eval: the Feedback and Preference Collections, whose fields begin with `orig_`, and its
//! benchmarks, whose instruction is the whole prompt of a judge.

use serde_json::{Map, Value, json};

use super::super::item::{Labelled, LabelledItem, Row};
use super::super::labels;
use super::parts::{Around, in_some_order, label, scale_of, subset, text};

/// The body of a request, and what is labelled.
type Read = (Map<String, Value>, Labelled);

/// Where labels are looked for, in this order.
const LABELS: [&str; 5] = ["label", "orig_score", "score", "human_score", "gpt4_score"];

/// The item of a row; none if it has no label.
pub(super) fn item(mut row: Row, mut around: Around<'_>) -> Result<Option<LabelledItem>, String> {
    let id = row.id(around.stem);
    let fields = &mut row.fields;
    fields.remove("id");
    let own_subset = ["subset", "source"].into_iter().find_map(|name| fields.remove(name));
    let (body, labelled) = if fields.contains_key("orig_instruction") {
        match of_collection(fields, &mut around)? {
            Some(found) => found,
            None => return Ok(None),
        }
    } else if fields.contains_key("chosen_instruction") {
        let chosen = Prompt::read(&text(fields, "chosen_instruction")?)?;
        let rejected = Prompt::read(&text(fields, "rejected_instruction")?)?;
        if chosen.instruction != rejected.instruction {
            return Err("its two prompts have different instructions".into());
        }
        let (body, labelled) = in_some_order(&json!(chosen.instruction), chosen.response, rejected.response);
        (with_rubric(body, chosen.reference, &chosen.criterion, &chosen.descriptions), labelled)
    } else {
        let prompt = Prompt::read(&text(fields, "instruction")?)?;
        let body = Map::from_iter([
            ("instruction".to_owned(), json!(prompt.instruction)),
            ("response".to_owned(), json!(prompt.response)),
        ]);
        let Some(labelled) = scored(fields, &prompt.response, &prompt.descriptions)? else { return Ok(None) };
        (with_rubric(body, prompt.reference, &prompt.criterion, &prompt.descriptions), labelled)
    };
    let instruction = body["instruction"].as_str().unwrap_or_default().to_owned();
    let subset = subset(own_subset, fields);
    let set = around.stem.to_owned();
    Ok(Some(LabelledItem { id, place: row.place, set, subset, instruction, body, labelled }))
}

/// An item of the Feedback Collection, or of the Preference Collection, which has two responses; none without a label.
fn of_collection(fields: &mut Map<String, Value>, around: &mut Around<'_>) -> Result<Option<Read>, String> {
    let mut descriptions = Vec::new();
    while let Some(description) = fields.remove(&format!("orig_score{}_description", descriptions.len() + 1)) {
        descriptions.push(description.as_str().ok_or("a description of a score is not a text")?.to_owned());
    }
    if descriptions.len() < 2 {
        return Err("has no orig_score1_description and so on, which its rubric is made of".into());
    }
    let criterion = text(fields, "orig_criteria")?;
    let reference = fields.remove("orig_reference_answer").and_then(|text| text.as_str().map(str::to_owned));
    let mut body = Map::from_iter([("instruction".to_owned(), json!(text(fields, "orig_instruction")?))]);
    let labelled = if fields.contains_key("orig_response_A") {
        let (a, b) = (text(fields, "orig_response_A")?, text(fields, "orig_response_B")?);
        let Some(label) = label(fields, &["label", "orig_preference"]) else { return Ok(None) };
        let label = labels::preference(&label, around.names, around.numbers)?;
        let lengths = [a.chars().count(), b.chars().count()];
        body.extend([("response_a".to_owned(), json!(a)), ("response_b".to_owned(), json!(b))]);
        Labelled::Pair { label, votes: Vec::new(), lengths, chosen: None }
    } else {
        let response = text(fields, "orig_response")?;
        let Some(labelled) = scored(fields, &response, &descriptions)? else { return Ok(None) };
        body.insert("response".into(), json!(response));
        labelled
    };
    Ok(Some((with_rubric(body, reference, &criterion, &descriptions), labelled)))
}

/// The label of one response.
fn scored(fields: &Map<String, Value>, response: &str, descriptions: &[String]) -> Result<Option<Labelled>, String> {
    let Some(label) = label(fields, &LABELS) else { return Ok(None) };
    let (label, levels) = (labels::score(&label)?, descriptions.len() as i32);
    if !(1.0..=f64::from(levels)).contains(&label) {
        return Err(format!("its label {label} is not on its scale, which is 1 to {levels}"));
    }
    let scale = scale_of(&(1..=levels).collect::<Vec<_>>());
    Ok(Some(Labelled::Score { label, scale, length: response.chars().count() }))
}

fn with_rubric(
    mut body: Map<String, Value>,
    reference: Option<String>,
    criterion: &str,
    descriptions: &[String],
) -> Map<String, Value> {
    if let Some(reference) = reference.filter(|reference| !reference.trim().is_empty()) {
        body.insert("reference_answer".into(), json!(reference));
    }
    let descriptions: Map<String, Value> =
        descriptions.iter().zip(1..).map(|(text, score)| (i32::to_string(&score), json!(text))).collect();
    body.insert("rubric".into(), json!({"criterion": criterion, "descriptions": descriptions}));
    body
}

/// What the prompt of a judge was made of.
#[derive(Debug, PartialEq, Eq)]
struct Prompt {
    instruction: String,
    response: String,
    reference: Option<String>,
    criterion: String,
    descriptions: Vec<String>,
}

const INSTRUCTION: &str = "###The instruction to evaluate:\n";
const RESPONSE: &str = "###Response to evaluate:\n";
const REFERENCE: &str = "###Reference Answer (Score 5):\n";
const RUBRICS: &str = "###Score Rubrics:\n";
const FEEDBACK: &str = "###Feedback:";

impl Prompt {
    /// Takes a prompt apart at its headings. Instruction and response can hold a heading of their own, so the rubric and
    /// the reference are looked for from the end.
    fn read(prompt: &str) -> Result<Self, String> {
        let missing = |heading: &str| format!("its prompt has no `{}`", heading.trim());
        let (_, rest) = prompt.split_once(INSTRUCTION).ok_or_else(|| missing(INSTRUCTION))?;
        let (rest, rubric) = rest.rsplit_once(RUBRICS).ok_or_else(|| missing(RUBRICS))?;
        let (instruction, rest) = rest.split_once(RESPONSE).ok_or_else(|| missing(RESPONSE))?;
        let (response, reference) = match rest.rsplit_once(REFERENCE) {
            Some((response, reference)) => (response, Some(reference)),
            None => (rest, None),
        };
        let rubric = rubric.rsplit_once(FEEDBACK).map_or(rubric, |(rubric, _)| rubric).trim();
        let (criterion, mut rest) = rubric.split_once("\nScore 1:").ok_or("its rubric has no `Score 1:`")?;
        let mut descriptions = Vec::new();
        while let Some((description, after)) = rest.split_once(&format!("\nScore {}:", descriptions.len() + 2)) {
            descriptions.push(description.trim().to_owned());
            rest = after;
        }
        descriptions.push(rest.trim().to_owned());
        let criterion = criterion.trim();
        let criterion = criterion.strip_prefix('[').and_then(|text| text.strip_suffix(']')).unwrap_or(criterion);
        Ok(Self {
            instruction: instruction.trim().to_owned(),
            response: response.trim().to_owned(),
            reference: reference.map(|text| text.trim().to_owned()),
            criterion: criterion.to_owned(),
            descriptions,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prompt_comes_apart_at_its_headings() {
        let prompt = "###Task Description:\nJudge.\n\n###The instruction to evaluate:\nWhy?\n\n###Response to evaluate:\nSo.\n\
                      ###Response to evaluate:\nTwice.\n\n###Reference Answer (Score 5):\nThus.\n\n###Score Rubrics:\n\
                      [Is it right?]\nScore 1: No.\nScore 2: Partly.\nScore 3: Yes.\n\n###Feedback: ";
        let expected = Prompt {
            instruction: "Why?".into(),
            response: "So.\n###Response to evaluate:\nTwice.".into(),
            reference: Some("Thus.".into()),
            criterion: "Is it right?".into(),
            descriptions: ["No.", "Partly.", "Yes."].map(str::to_owned).to_vec(),
        };
        assert_eq!(Prompt::read(prompt).unwrap(), expected);
        let without = prompt.replace("###Reference Answer (Score 5):\nThus.\n\n", "");
        assert_eq!(Prompt::read(&without).unwrap().reference, None);
        for heading in [INSTRUCTION, RUBRICS] {
            let error = Prompt::read(&prompt.replace(heading, "")).unwrap_err();
            assert!(error.contains(heading.trim()), "{error}");
        }
    }
}
