//! What a run says of its items: the numbers of a verdict that summaries and comparisons are made of.

use serde_json::Value;

use super::CliError;
use crate::domain::Preference;
use crate::domain::agreement::Bootstrap;
use crate::domain::runs::RunVerdict;
use crate::labelled::{self, DataError, Row};

/// Default of the minimum label mass, as `grading.min_label_mass` has it.
pub(super) const MIN_LABEL_MASS: f64 = 0.05;
/// Maximum number of draws for the intervals of a run, of all instructions together. A thousand resamples of 100,000
/// instructions take about a second.
const MOST_DRAWS: usize = 100_000_000;

/// What became of an item.
#[derive(Debug, Clone)]
pub(super) enum Outcome {
    Verdict(RunVerdict),
    /// It has a verdict without a number, such as a stored one whose score is null.
    Unscored,
    /// It has an error.
    Failed,
}

/// The numbers of a verdict, or of a stored score or preference.
///
/// # Errors
/// If it has none that can be understood.
pub(super) fn verdict(value: &Value, instruction: u64) -> Result<Option<RunVerdict>, String> {
    let number = |name: &str| match &value[name] {
        Value::Number(number) => number.as_f64(),
        Value::String(text) => text.trim().parse().ok().filter(|number: &f64| number.is_finite()),
        _ => None,
    };
    let preference = match value["preference"].as_str() {
        Some("A") => Some(Preference::A),
        Some("B") => Some(Preference::B),
        Some("tie") => Some(Preference::Tie),
        Some(other) => return Err(format!("its preference is `{other}`, which is not A, B or tie")),
        None => None,
    };
    let plain = |preference: Preference| match preference {
        Preference::A => 1.0,
        Preference::B => 0.0,
        Preference::Tie => 0.5,
    };
    let label_mass = number("label_mass").unwrap_or(1.0);
    // In a CSV file it is a text.
    let consistent = value["consistent"].as_bool().or_else(|| value["consistent"].as_str()?.parse().ok());
    let cut = is_cut(value);
    let of =
        |value, score, preference| RunVerdict { instruction, value, score, preference, consistent, label_mass, cut };
    if let Some(preference) = preference {
        let probability_a = number("probability_a").unwrap_or_else(|| plain(preference));
        return Ok(Some(of(probability_a, None, Some(preference))));
    }
    let Some(reward) = number("reward") else {
        return if value.get("score").is_some() && number("score").is_some() {
            Err("has a score and no reward, so it cannot be put on a scale from 0 to 1".into())
        } else {
            Ok(None)
        };
    };
    let scale = scale(value);
    let score = number("score").and_then(|score| Some((score.round() as i32, scale?)));
    Ok(Some(of(reward, score, None)))
}

/// The ends of the scale of a verdict; of one without a distribution, those of its score alone.
fn scale(value: &Value) -> Option<[i32; 2]> {
    let levels = value["distribution"].as_object().into_iter().flatten().filter_map(|(level, _)| level.parse().ok());
    let ends = levels.fold(None, |ends: Option<[i32; 2]>, level: i32| {
        Some(ends.map_or([level, level], |[low, high]| [low.min(level), high.max(level)]))
    });
    ends.or_else(|| {
        let score = value["score"].as_f64().or_else(|| value["score"].as_str()?.trim().parse().ok())?.round() as i32;
        Some([score, score])
    })
}

/// Whether any of its feedback was cut at its limit.
pub(super) fn is_cut(value: &Value) -> bool {
    let judged = |value: &Value| -> bool {
        value["judgements"].as_array().into_iter().flatten().any(|judgement| judgement["finish"] == "length")
    };
    let criteria = |value: &Value| value["criteria"].as_array().into_iter().flatten().any(judged);
    let grades = value["grades"].as_object().into_iter().flatten();
    value["finish"] == "length"
        || judged(value)
        || criteria(value)
        || grades.into_iter().any(|(_, grade)| judged(grade) || criteria(grade))
}

/// The draws for the intervals of so many items: fewer resamples where there are very many.
pub(super) fn bootstrap(items: usize, seed: u64) -> Bootstrap {
    let resamples = (MOST_DRAWS / items.max(1)).clamp(100, Bootstrap::default().resamples);
    Bootstrap { seed, resamples }
}

/// The rows of a file of results, each with its id: JSON lines of `gavel grade`, its tables, or plain scores and
/// preferences. Of several rows of an item, the last verdict counts.
///
/// # Errors
/// With the row that is no result.
pub(super) fn read(path: &std::path::Path) -> Result<Vec<Stored>, CliError> {
    let bytes = std::fs::read(path).map_err(|error| CliError::because(path.display(), error))?;
    let mut stored: indexmap::IndexMap<String, Stored> = indexmap::IndexMap::new();
    for Row { place, mut fields, .. } in labelled::rows(path, bytes)?.1 {
        let id = match fields.shift_remove("id") {
            Some(Value::String(id)) => id,
            Some(id @ Value::Number(_)) => id.to_string(),
            _ => return Err(DataError::at(place, "has no id; a run is a file of `gavel grade --out`").into()),
        };
        let input = fields.shift_remove("input").unwrap_or_default();
        let error = fields.get("error").filter(|error| !error.is_null()).cloned();
        let value = match (fields.shift_remove("verdict"), error) {
            (Some(verdict @ Value::Object(_)), _) => Ok(verdict),
            (_, Some(error)) => Err(error),
            (_, None) => Ok(Value::Object(fields)),
        };
        match stored.get(&id) {
            Some(earlier) if earlier.value.is_ok() && value.is_err() => {}
            _ => drop(stored.insert(id.clone(), Stored { id, place, value, input })),
        }
    }
    Ok(stored.into_values().collect())
}

/// A row of a file of results.
pub(super) struct Stored {
    pub(super) id: String,
    pub(super) place: String,
    /// The verdict, or the error.
    pub(super) value: Result<Value, Value>,
    /// The item, if the run kept it.
    pub(super) input: Value,
}

impl Stored {
    /// Its numbers.
    ///
    /// # Errors
    /// With the row that cannot be understood.
    pub(super) fn outcome(&self, instruction: u64) -> Result<Outcome, CliError> {
        let Ok(value) = &self.value else { return Ok(Outcome::Failed) };
        let numbers = verdict(value, instruction).map_err(|what| DataError::at(&self.place, what))?;
        Ok(numbers.map_or(Outcome::Unscored, Outcome::Verdict))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn verdicts_become_numbers() {
        /// The value, the score, and whether it was cut; or what is wrong.
        type Expected = Result<Option<(f64, Option<i32>, bool)>, &'static str>;
        let check = |value: Value, expected: Expected| match (verdict(&value, 7), expected) {
            (Ok(found), Ok(expected)) => {
                assert_eq!(found.map(|v| (v.value, v.score.map(|(score, _)| score), v.cut)), expected, "{value}");
            }
            (Err(error), Err(part)) => assert!(error.contains(part), "{value}: {error}"),
            (found, _) => panic!("{value}: {found:?}"),
        };
        let graded = json!({"score": 4, "reward": 0.7, "distribution": {"1": 0.1, "4": 0.9}, "label_mass": 0.9, "judgements": [{"finish": "length"}]});
        check(graded.clone(), Ok(Some((0.7, Some(4), true))));
        assert_eq!(verdict(&graded, 7).unwrap().unwrap().score, Some((4, [1, 4])));
        check(
            json!({"score": null, "reward": 0.4, "criteria": [{"judgements": [{"finish": "stop"}]}]}),
            Ok(Some((0.4, None, false))),
        );
        check(
            json!({"criteria": [{"judgements": [{"finish": "length"}]}], "reward": 0.4}),
            Ok(Some((0.4, None, true))),
        );
        check(
            json!({"preference": "A", "probability_a": 0.8, "grades": {"a": {"judgements": [{"finish": "length"}]}}}),
            Ok(Some((0.8, None, true))),
        );
        check(json!({"preference": "tie"}), Ok(Some((0.5, None, false))));
        check(json!({"score": "4", "reward": "0.75", "finish": "length"}), Ok(Some((0.75, Some(4), true))));
        check(json!({"score": null}), Ok(None));
        check(json!({"score": 4}), Err("no reward"));
        check(json!({"preference": "left"}), Err("`left`"));
    }

    #[test]
    fn a_file_of_results_has_one_row_an_item() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("run.jsonl");
        let text = "{\"id\": \"a\", \"error\": {\"code\": \"saturated\"}}\n{\"id\": \"a\", \"verdict\": {\"reward\": 0.5}}\n\
                    {\"id\": \"b\", \"error\": {\"code\": \"unknown_rubric\"}}\n";
        std::fs::write(&path, text).unwrap();
        let stored = read(&path).unwrap();
        assert_eq!(stored.iter().map(|one| one.id.as_str()).collect::<Vec<_>>(), ["a", "b"]);
        assert!(matches!(stored[0].outcome(1).unwrap(), Outcome::Verdict(verdict) if verdict.value == 0.5));
        assert!(matches!(stored[1].outcome(1).unwrap(), Outcome::Failed));
        let table = folder.path().join("run.csv");
        std::fs::write(&table, "id,score,reward,error\na,4,0.75,\nb,,,context_overflow: too long\n").unwrap();
        let stored = read(&table).unwrap();
        assert!(matches!(stored[1].outcome(1).unwrap(), Outcome::Failed));
        std::fs::write(&path, "{\"score\": 3}\n").unwrap();
        assert!(read(&path).err().unwrap().to_string().contains("run.jsonl:1: has no id"));
    }
}
