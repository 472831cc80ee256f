//! Verdicts that are stored in a file: what `gavel grade` or this command wrote, or plain scores and preferences.

use std::collections::HashMap;
use std::path::Path;

use serde_json::Value;

use super::super::CliError;
use crate::domain::Preference;
use crate::domain::agreement::report::{Model, Named};
use crate::domain::agreement::{PairVerdict, ScoreVerdict, rounded};
use crate::labelled::{self, DataError};

/// What a judge said of each item.
pub(in super::super) struct Answers {
    /// What the judge is called.
    pub(in super::super) name: String,
    /// The model behind all of its verdicts, if they name one and the same.
    pub(in super::super) model: Option<Model>,
    /// The prompt set, likewise.
    pub(in super::super) prompt: Option<Named>,
    /// By the items' ids.
    pub(in super::super) by_id: HashMap<String, Stored>,
}

/// An answer, and where it stands.
pub(in super::super) struct Stored {
    pub(in super::super) place: String,
    pub(in super::super) answer: Answer,
}

/// What a judge said of one item.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(in super::super) enum Answer {
    /// Of one response.
    Score(ScoreVerdict),
    /// Of two responses, A and B.
    Pair(PairVerdict),
    /// Of a chosen and a rejected one: whether the chosen one is preferred.
    Chosen(bool),
    /// Nothing.
    Unscored,
    /// An error.
    Failed,
}

/// Reads a file of verdicts.
///
/// # Errors
/// With the line that is no verdict.
pub(in super::super) fn read(path: &Path, name: String) -> Result<Answers, CliError> {
    let bytes = std::fs::read(path).map_err(|error| CliError::because(path.display(), error))?;
    let mut by_id: HashMap<String, Stored> = HashMap::new();
    let (mut models, mut prompts) = (Same::default(), [Same::default(), Same::default()]);
    for mut row in labelled::rows(path, bytes)?.1 {
        let wrong = |what: String| DataError::at(&row.place, what);
        let id = match row.fields.shift_remove("id") {
            Some(Value::String(id)) => id,
            Some(id @ Value::Number(_)) => id.to_string(),
            _ => return Err(wrong("has no id".into()).into()),
        };
        let verdict = row.fields.shift_remove("verdict");
        let failed = row.fields.get("error").is_some_and(|error| !error.is_null());
        let answer = match verdict {
            Some(verdict @ Value::Object(_)) => {
                models.see(model(&verdict));
                prompts[usize::from(verdict["object"] == "verdict.relative")].see(named(&verdict["prompt"]));
                answer(&verdict)
            }
            _ if failed => Ok(Answer::Failed),
            _ => {
                models.see(None);
                prompts.iter_mut().for_each(|prompts| prompts.see(None));
                answer(&Value::Object(row.fields))
            }
        };
        let stored = Stored { answer: answer.map_err(wrong)?, place: row.place.clone() };
        match by_id.get(&id) {
            // What failed may have been tried again.
            Some(earlier) if earlier.answer != Answer::Failed && stored.answer != Answer::Failed => {
                return Err(wrong(format!("has a second verdict on `{id}`; the first is at {}", earlier.place)).into());
            }
            Some(_) if stored.answer == Answer::Failed => {}
            _ => drop(by_id.insert(id, stored)),
        }
    }
    Ok(Answers { name, model: models.one(), prompt: joined(prompts), by_id })
}

/// Reads a verdict, in one of its forms.
///
/// # Errors
/// If it is none.
pub(in super::super) fn answer(verdict: &Value) -> Result<Answer, String> {
    let chosen = match &verdict["preference"] {
        Value::String(text) if text == "chosen" => Some(true),
        Value::String(text) if text == "rejected" => Some(false),
        _ => None,
    };
    if let Some(chosen) = chosen {
        return Ok(Answer::Chosen(chosen));
    }
    if verdict.get("preference").is_some() || verdict.get("probability_a").is_some() {
        return pair(verdict);
    }
    if verdict["criteria"].is_array() {
        return Err("has several criteria, but labels are scores by one rubric; grade with one rubric".into());
    }
    if verdict.get("score").is_none() && verdict.get("expected_score").is_none() {
        return Err(
            "has no score and no preference; a verdict is {\"id\", \"score\"} or {\"id\", \"preference\"}".into()
        );
    }
    score(verdict)
}

fn score(verdict: &Value) -> Result<Answer, String> {
    let score = number(verdict, "score")?;
    let expected = number(verdict, "expected_score")?;
    // One that is given between two scores is an expected one.
    let (Some(said), Some(expected)) = (score.or(expected), expected.or(score)) else { return Ok(Answer::Unscored) };
    let score = rounded(said);
    // Where there is no distribution, nobody knows how sure the judge was.
    let reward = number(verdict, "reward")?;
    Ok(Answer::Score(ScoreVerdict { score, expected, reward }))
}

fn pair(verdict: &Value) -> Result<Answer, String> {
    let probability_a = number(verdict, "probability_a")?;
    if let Some(wrong) = probability_a.filter(|probability| !(0.0..=1.0).contains(probability)) {
        return Err(format!("its probability_a is {wrong}, which is not between 0 and 1"));
    }
    let preference = match (&verdict["preference"], probability_a) {
        (Value::String(text), _) => match text.as_str() {
            "A" => Preference::A,
            "B" => Preference::B,
            "tie" => Preference::Tie,
            other => {
                return Err(format!("its preference is `{other}`, which is not A, B or tie (or chosen or rejected)"));
            }
        },
        (Value::Null, Some(probability)) if probability > 0.5 => Preference::A,
        (Value::Null, Some(probability)) if probability < 0.5 => Preference::B,
        (Value::Null, Some(_)) => Preference::Tie,
        (Value::Null, None) => return Ok(Answer::Unscored),
        (other, _) => return Err(format!("its preference is {other}, which is not \"A\", \"B\" or \"tie\"")),
    };
    let orders = [mean_of_order(verdict, "AB"), mean_of_order(verdict, "BA")];
    let consistent = verdict["consistent"].as_bool().or(match orders {
        [Some(ab), Some(ba)] => Some((ab > 0.5) == (ba > 0.5) && (ab < 0.5) == (ba < 0.5)),
        _ => None,
    });
    let first_preferred = match orders {
        [Some(ab), Some(ba)] if ab > 0.5 && ba < 0.5 => Some(true),
        [Some(ab), Some(ba)] if ab < 0.5 && ba > 0.5 => Some(false),
        _ => None,
    };
    Ok(Answer::Pair(PairVerdict { preference, probability_a, consistent, first_preferred }))
}

/// The mean probability of A over the judgements in which the responses were shown in that order.
fn mean_of_order(verdict: &Value, order: &str) -> Option<f64> {
    let judgements =
        verdict["judgements"].as_array().into_iter().flatten().filter(|judgement| judgement["order"] == order);
    let of_a = |judgement: &Value| {
        judgement["probability_a"].as_f64().or_else(|| match judgement["preference"].as_str() {
            Some("A") => Some(1.0),
            Some("B") => Some(0.0),
            Some("tie") => Some(0.5),
            _ => None,
        })
    };
    let all: Vec<f64> = judgements.filter_map(of_a).collect();
    (!all.is_empty()).then(|| all.iter().sum::<f64>() / all.len() as f64)
}

/// A number, or one in a text, as in a CSV file; `None` where there is none.
fn number(verdict: &Value, name: &str) -> Result<Option<f64>, String> {
    let number = match &verdict[name] {
        Value::Null => return Ok(None),
        Value::Number(number) => number.as_f64(),
        Value::String(text) => text.trim().parse().ok(),
        _ => None,
    };
    match number.filter(|number: &f64| number.is_finite()) {
        Some(number) => Ok(Some(number)),
        None => Err(format!("its {name} is {}, which is not a number", verdict[name])),
    }
}

fn model(verdict: &Value) -> Option<Model> {
    let text = |name: &str| Some(verdict["model"][name].as_str()?.to_owned());
    Some(Model { name: text("name")?, engine: text("engine")?, digest: text("digest")? })
}

fn named(value: &Value) -> Option<Named> {
    let text = |name: &str| Some(value[name].as_str()?.to_owned());
    Some(Named { name: text("name")?, digest: text("digest")? })
}

/// The prompt set of all verdicts. Its templates depend on the kind of grading, as in `plain/absolute` and
/// `plain/relative`, so there may be two.
fn joined([absolute, relative]: [Same<Named>; 2]) -> Option<Named> {
    match (absolute, relative) {
        (Same::All(one), Same::Unseen) | (Same::Unseen, Same::All(one)) => Some(one),
        (Same::All(one), Same::All(other)) => {
            let set = one.name.strip_suffix("/absolute")?;
            (other.name.strip_suffix("/relative")? == set)
                .then(|| Named { name: set.to_owned(), digest: format!("{}+{}", one.digest, other.digest) })
        }
        _ => None,
    }
}

/// What is the same everywhere, or nothing.
#[derive(Default)]
enum Same<T> {
    #[default]
    Unseen,
    All(T),
    Differs,
}

impl<T: PartialEq> Same<T> {
    fn see(&mut self, value: Option<T>) {
        let so_far = std::mem::replace(self, Self::Differs);
        *self = match (so_far, value) {
            (Self::Unseen, Some(value)) => Self::All(value),
            (Self::All(one), Some(other)) if one == other => Self::All(one),
            _ => Self::Differs,
        };
    }

    fn one(self) -> Option<T> {
        match self {
            Self::All(one) => Some(one),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn score(score: i32, expected: f64, reward: Option<f64>) -> Answer {
        Answer::Score(ScoreVerdict { score, expected, reward })
    }

    fn pair(
        preference: Preference,
        probability_a: Option<f64>,
        consistent: Option<bool>,
        first: Option<bool>,
    ) -> Answer {
        Answer::Pair(PairVerdict { preference, probability_a, consistent, first_preferred: first })
    }

    #[test]
    fn verdicts_are_read_in_all_their_forms() {
        use Preference::{A, B, Tie};
        let check = |verdict: Value, expected: Answer| assert_eq!(answer(&verdict), Ok(expected), "{verdict}");
        check(json!({"score": 4}), score(4, 4.0, None));
        check(json!({"score": "4"}), score(4, 4.0, None));
        check(json!({"score": 3.6}), score(4, 3.6, None));
        check(json!({"score": 4, "expected_score": 3.2, "reward": 0.55}), score(4, 3.2, Some(0.55)));
        check(json!({"score": null}), Answer::Unscored);
        check(json!({"preference": "B"}), pair(B, None, None, None));
        check(
            json!({"preference": "tie", "probability_a": 0.7, "consistent": false}),
            pair(Tie, Some(0.7), Some(false), None),
        );
        check(json!({"probability_a": 0.2}), pair(B, Some(0.2), None, None));
        check(json!({"probability_a": 0.5}), pair(Tie, Some(0.5), None, None));
        check(json!({"preference": null}), Answer::Unscored);
        check(json!({"preference": "chosen"}), Answer::Chosen(true));
        let orders =
            |ab: f64, ba: f64| json!([{"order": "AB", "probability_a": ab}, {"order": "BA", "probability_a": ba}]);
        let with = |judgements: Value| json!({"preference": "A", "judgements": judgements});
        check(with(orders(0.9, 0.3)), pair(A, None, Some(false), Some(true)));
        check(with(orders(0.1, 0.8)), pair(A, None, Some(false), Some(false)));
        check(with(orders(0.9, 0.8)), pair(A, None, Some(true), None));
        check(with(json!([{"order": "AB", "preference": "A"}])), pair(A, None, None, None));
    }

    #[test]
    fn what_is_no_verdict_says_why() {
        let check = |verdict: Value, word: &str| {
            let error = answer(&verdict).unwrap_err();
            assert!(error.contains(word), "{verdict}: {error}");
        };
        check(json!({}), "no score and no preference");
        check(json!({"score": "good"}), "not a number");
        check(json!({"preference": "left"}), "`left`");
        check(json!({"preference": 1}), "which is not \"A\"");
        check(json!({"preference": "A", "probability_a": 1.5}), "between 0 and 1");
        check(json!({"score": null, "criteria": [{}]}), "several criteria");
    }

    #[test]
    fn a_file_has_one_verdict_an_item() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("verdicts.jsonl");
        let read = |text: &str| {
            std::fs::write(&path, text).unwrap();
            read(&path, "judge".into())
        };
        let model =
            |name: &str| json!({"score": 2, "model": {"name": name, "engine": "scripted", "digest": "sha256:0"}});
        let line = |id: &str, verdict: Value| json!({"id": id, "verdict": verdict}).to_string();
        let all = read(&[line("a", model("m")), line("b", model("m"))].join("\n")).unwrap();
        assert_eq!((all.by_id.len(), all.model.unwrap().name), (2, "m".to_owned()));
        assert_eq!(read(&[line("a", model("m")), line("b", model("n"))].join("\n")).unwrap().model, None);
        let again =
            read("{\"id\": \"a\", \"error\": {}}\n{\"id\": \"a\", \"score\": 3}\n{\"id\": \"a\", \"error\": {}}")
                .unwrap();
        assert_eq!(again.by_id["a"].answer, score(3, 3.0, None));
        let check = |text: &str, expected: &str| {
            let error = read(text).err().unwrap().to_string();
            assert!(error.contains(expected), "{error}");
        };
        check("{\"id\": 1, \"score\": 3}\n{\"id\": 1, \"score\": 3}", "verdicts.jsonl:2: has a second verdict on `1`");
        check("{\"score\": 3}", "verdicts.jsonl:1: has no id");
        check("{\"id\": \"a\", \"score\": 3}\n{\"id\": \"b\"}", "verdicts.jsonl:2: has no score");
    }
}
