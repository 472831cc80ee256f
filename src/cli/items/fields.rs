//! The fields of items: which there are, what a misspelt one may mean, and what cells of a table stand for.

use serde_json::{Map, Value, json};

use crate::domain::spelling::{slip_of, suggestion};

/// Fields of every grading request.
const SHARED: [&str; 15] = [
    "instruction",
    "messages",
    "reference_answer",
    "context",
    "rubric",
    "mode",
    "samples",
    "sampling",
    "model",
    "prompt",
    "annotator",
    "examples",
    "cache",
    "deterministic",
    "debug",
];
/// Fields of requests that a jury can judge.
const OF_JURY: [&str; 5] = ["judges", "jury", "combine", "quorum", "noise"];
/// Fields of comparisons.
const COMPARED: [&str; 3] = ["swap", "tie_margin", "method"];
/// Fields of an item that are not sent: its name, and what `gavel agree` reads.
const BESIDE: [&str; 11] =
    ["id", "reference", "label", "label_source", "labels", "scale", "set", "subset", "meta", "votes", "group"];

/// What is asked about an item, which decides what fields it has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in super::super) enum Asks {
    /// A verdict on one response, or on two.
    Grade,
    /// A reward for one response.
    Reward,
    /// The order of several responses.
    Rank,
    /// Preference pairs of several responses.
    Preferences,
}

impl Asks {
    /// The fields that hold what is judged, and those of this request alone.
    fn own(self) -> &'static [&'static str] {
        match self {
            Self::Grade => &["response", "response_a", "response_b", "route"],
            Self::Reward => &["response", "min_label_mass", "method"],
            Self::Rank => &["responses"],
            Self::Preferences => &["responses", "pairs", "min_margin", "min_label_mass", "route"],
        }
    }

    /// Every field that is sent.
    fn sent(self) -> Vec<&'static str> {
        match self {
            Self::Reward => {
                let all = self.own().iter().chain(&SHARED).chain(&OF_JURY);
                all.copied().filter(|name| *name != "debug").collect()
            }
            Self::Grade | Self::Rank | Self::Preferences => [self.own(), &SHARED, &COMPARED, &OF_JURY].concat(),
        }
    }
}

/// Which fields of an item are refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in super::super) enum Strictness {
    /// All that no request has.
    All,
    /// In a table, whose other columns are notes: those that look misspelt.
    Misspelt,
    /// None.
    Nothing,
}

/// Checks that `--map` names fields that are read.
///
/// # Errors
/// With the first that is not, and what it may mean.
pub(super) fn check_targets<'m>(mut targets: impl Iterator<Item = &'m str>, asks: Asks) -> Result<(), String> {
    let known: Vec<&str> = asks.sent().into_iter().chain(BESIDE).collect();
    match targets.find(|target| !known.contains(target)) {
        None => Ok(()),
        Some(target) => {
            let meant = suggestion(target, known.iter().copied());
            Err(format!("--map: `{target}` is not a field{meant}; the fields are {}", known.join(", ")))
        }
    }
}

/// Takes out what is not sent, and says which field no request has.
///
/// # Errors
/// With the first such field, what it may mean, and what to do.
pub(super) fn check(fields: &mut Map<String, Value>, asks: Asks, strictness: Strictness) -> Result<(), String> {
    let known = asks.sent();
    let unknown = |name: &&String| !known.contains(&name.as_str()) && !BESIDE.contains(&name.as_str());
    let meant = |name: &str| slip_of(name, known.iter().chain(&BESIDE).copied());
    // A note is none of a field that the row has, and none of those that are not sent.
    let missing = |name: &str| slip_of(name, known.iter().copied().filter(|field| !fields.contains_key(*field)));
    let wrong = fields.keys().filter(unknown).find_map(|name| match strictness {
        Strictness::All => Some((name, meant(name))),
        Strictness::Misspelt => missing(name).map(|meant| (name, Some(meant))),
        Strictness::Nothing => None,
    });
    if let Some((name, meant)) = wrong {
        return Err(unknown_field(name, meant, &known));
    }
    fields.retain(|name, value| known.contains(&name.as_str()) && !value.is_null());
    Ok(())
}

fn unknown_field(name: &str, meant: Option<&str>, known: &[&str]) -> String {
    let remedy = format!("use --map FIELD={name} if it is one of them, or --ignore-unknown to leave such fields out");
    match meant {
        Some(meant) => format!("has the unknown field `{name}`; did you mean `{meant}`? Else {remedy}"),
        None => format!("has the unknown field `{name}`; the fields are {}; {remedy}", known.join(", ")),
    }
}

/// Gives the cells of a table, which are texts, the types of their fields.
pub(super) fn typed(fields: &mut Map<String, Value>) {
    for (name, value) in fields.iter_mut() {
        let Value::String(text) = &*value else { continue };
        let text = text.trim();
        let reads = match name.as_str() {
            "samples" | "swap" | "tie_margin" | "cache" | "deterministic" | "debug" | "min_margin"
            | "min_label_mass" | "judges" | "quorum" | "noise" => true,
            "rubric" | "messages" | "instruction" | "prompt" | "context" | "sampling" | "route" | "responses"
            | "completions" | "examples" | "method" | "votes" | "labels" | "scale" | "meta" => {
                text.starts_with(['{', '['])
            }
            _ => false,
        };
        // What is no JSON stays a text; whoever grades says what is wrong with it.
        if reads && let Ok(read) = serde_json::from_str(text) {
            *value = read;
        }
    }
}

/// Makes documents of a `context` that is a text, or a list of texts.
pub(super) fn documents(context: Value) -> Vec<Value> {
    match context {
        Value::Null => Vec::new(),
        Value::String(text) => vec![json!({"text": text})],
        Value::Array(all) => all
            .into_iter()
            .map(|one| match one {
                Value::String(text) => json!({"text": text}),
                other => other,
            })
            .collect(),
        other => vec![other],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn object(value: Value) -> Map<String, Value> {
        match value {
            Value::Object(fields) => fields,
            other => panic!("{other}"),
        }
    }

    /// The fields of a body in the OpenAPI document.
    fn documented(schema: &str) -> Vec<String> {
        let document = serde_json::to_value(crate::api::document()).unwrap();
        let fields = &document["components"]["schemas"][schema]["properties"];
        fields.as_object().unwrap_or_else(|| panic!("{schema}")).keys().cloned().collect()
    }

    #[test]
    fn the_fields_are_those_of_the_api() {
        let check = |asks: Asks, schemas: &[&str]| {
            let mut expected: Vec<String> = schemas.iter().flat_map(|schema| documented(schema)).collect();
            expected.retain(|name| !["items", "normalize", "include", "id", "group"].contains(&name.as_str()));
            let mut known = asks.sent();
            known.sort_unstable();
            expected.sort_unstable();
            expected.dedup();
            assert_eq!(known, expected, "{asks:?}");
        };
        check(Asks::Grade, &["AbsoluteBody", "RelativeBody"]);
        check(Asks::Reward, &["RewardsBody", "RewardItem"]);
        check(Asks::Rank, &["RankBody"]);
        check(Asks::Preferences, &["PreferencesBody"]);
    }

    #[test]
    fn an_unknown_field_is_named_with_what_it_may_mean() {
        let check = |fields: Value, strictness: Strictness, expected: Result<Value, &str>| {
            let mut found = object(fields.clone());
            match (super::check(&mut found, Asks::Grade, strictness), expected) {
                (Ok(()), Ok(expected)) => assert_eq!(Value::Object(found), expected, "{fields}"),
                (Err(error), Err(part)) => assert!(error.contains(part), "{fields}: {error}"),
                other => panic!("{fields}: {other:?}"),
            }
        };
        let sent = json!({"instruction": "Why?", "response": "So."});
        check(sent.clone(), Strictness::All, Ok(sent.clone()));
        let labelled = json!({"id": 1, "instruction": "Why?", "response": "So.", "label": 3, "rubric": null});
        check(labelled, Strictness::All, Ok(sent.clone()));
        let team = json!({"instruction": "Why?", "response": "So.", "team": "red"});
        check(team.clone(), Strictness::All, Err("unknown field `team`; the fields are response, response_a"));
        check(team.clone(), Strictness::Misspelt, Ok(sent.clone()));
        check(team, Strictness::Nothing, Ok(sent));
        let misspelt = json!({"instruction": "Why?", "respnse": "So."});
        check(misspelt.clone(), Strictness::All, Err("did you mean `response`?"));
        check(misspelt, Strictness::Misspelt, Err("--map FIELD=respnse"));
        // Columns that are like a field which the row has, or like one that is not sent, are notes.
        let noted = json!({"instruction": "Why?", "response": "So.", "Response": "x", "notes": "y", "vote": 1});
        check(noted, Strictness::Misspelt, Ok(json!({"instruction": "Why?", "response": "So."})));
    }

    #[test]
    fn cells_get_the_types_of_their_fields() {
        let mut fields = object(json!({
            "id": "7", "response": "[1]", "samples": "3", "swap": "false", "rubric": "helpfulness",
            "messages": "[{\"role\": \"user\", \"content\": \"Why?\"}]", "context": "[broken", "tie_margin": "much",
        }));
        typed(&mut fields);
        let expected = json!({
            "id": "7", "response": "[1]", "samples": 3, "swap": false, "rubric": "helpfulness",
            "messages": [{"role": "user", "content": "Why?"}], "context": "[broken", "tie_margin": "much",
        });
        assert_eq!(Value::Object(fields), expected);
        assert_eq!(documents(json!("A.")), [json!({"text": "A."})]);
        assert_eq!(documents(json!(["A.", {"text": "B."}])), [json!({"text": "A."}), json!({"text": "B."})]);
        assert!(documents(Value::Null).is_empty());
    }
}
