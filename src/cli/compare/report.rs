//! Two runs, put beside each other.

use std::cmp::Ordering;
use std::collections::HashMap;
use std::path::{Path, PathBuf};

use serde::Serialize;
use serde_json::Value;

use super::super::CliError;
use super::super::outcomes::{self, Outcome, Stored};
use crate::domain::Preference;
use crate::domain::agreement::{instruction_key, key};
use crate::domain::runs::{Change, RunVerdict, flip};
use crate::labelled::{self, Mapping, Row, Rows};

/// Two runs beside each other.
#[derive(Debug, Serialize)]
pub(super) struct Report {
    object: &'static str,
    version: &'static str,
    pub(super) seed: u64,
    pub(super) resamples: usize,
    pub(super) min_label_mass: f64,
    pub(super) a: Side,
    pub(super) b: Side,
    /// What the runs were made with that differs: `model`, `rubric`, `prompt`.
    pub(super) differs: Vec<&'static str>,
    /// Whether items count as independent, because their instructions are not known.
    pub(super) by_item: bool,
    /// Items that only the first run has.
    pub(super) only_a: usize,
    /// Items that only the second run has.
    pub(super) only_b: usize,
    #[serde(flatten)]
    pub(super) change: Change,
    /// The items that have a verdict in both, those that lost most first.
    pub(super) items: Vec<Compared>,
}

/// One of the runs.
#[derive(Debug, Default, Serialize)]
pub(super) struct Side {
    pub(super) name: String,
    pub(super) path: String,
    pub(super) items: usize,
    pub(super) graded: usize,
    /// No score, or a label mass below the minimum.
    pub(super) unscored: usize,
    pub(super) failed: usize,
    /// Where all verdicts name one and the same.
    pub(super) model: Option<String>,
    pub(super) rubric: Option<String>,
    pub(super) prompt: Option<String>,
    /// The digests of the three, which tell them apart if their names do not.
    digests: [Option<String>; 3],
}

/// An item in both runs.
#[derive(Debug, Serialize)]
pub(super) struct Compared {
    pub(super) id: String,
    /// The beginning of its instruction, if that is known.
    pub(super) instruction: Option<String>,
    pub(super) a: Verdict,
    pub(super) b: Verdict,
    /// Of the reward, or of the probability that A is better.
    pub(super) difference: f64,
    /// `up`, `down` or `same`: of the score, or of the preference towards A.
    pub(super) flip: &'static str,
}

/// A verdict of one run.
#[derive(Debug, Serialize)]
pub(super) struct Verdict {
    /// The reward; of a pair, the probability that A is better.
    pub(super) value: f64,
    pub(super) score: Option<i32>,
    pub(super) preference: Option<Preference>,
    pub(super) feedback: Option<String>,
}

/// The instructions of items by their ids.
#[derive(Debug, Default)]
pub(super) struct Texts(HashMap<String, String>);

impl Texts {
    /// Reads the items of a file. Rows that cannot be read have no verdict either, so they are left out.
    ///
    /// # Errors
    /// If it cannot be read, or no row has an instruction.
    pub(super) fn read(data: &Path, map: Option<&Mapping>) -> Result<Self, CliError> {
        let bytes = std::fs::read(data).map_err(|error| CliError::because(data.display(), error))?;
        let stem = data.file_stem().map_or_else(String::new, |stem| stem.to_string_lossy().into_owned());
        let mut rows = Rows::of(data, bytes)?.rows;
        map.map_or(Ok(()), |map| map.rename(&mut rows))?;
        let text = |row: &Row| {
            let mut fields = row.fields.clone();
            labelled::from_trl(&mut fields).ok()?;
            instruction(&Value::Object(fields)).map(|text| (row.id(&stem), text))
        };
        let texts: HashMap<String, String> = rows.iter().filter_map(text).collect();
        if texts.is_empty() {
            let what = format!(
                "no item has an `instruction` (or `messages`), which is needed beside its id; map the field with --map \
                 instruction=FIELD; there are {}",
                labelled::field_names(&rows).join(", ")
            );
            return Err(CliError::because(data.display(), what));
        }
        Ok(Self(texts))
    }

    /// Checks that items of runs are among those of the file.
    ///
    /// # Errors
    /// If none is.
    pub(super) fn check(&self, data: &Path, runs: &[Vec<Stored>; 2]) -> Result<(), CliError> {
        let mut ids = runs.iter().flatten().map(|stored| &stored.id);
        let (Some(first), Some(own)) = (ids.clone().next(), self.0.keys().min()) else { return Ok(()) };
        if ids.any(|id| self.0.contains_key(id)) {
            return Ok(());
        }
        let what = format!(
            "no item has the id of a verdict: ids here are such as `{own}`, those of verdicts such as `{first}`; map the \
             field with --map id=FIELD"
        );
        Err(CliError::because(data.display(), what))
    }
}

/// The instruction of an item, or its last turn.
fn instruction(item: &Value) -> Option<String> {
    let turn = |turns: &'static str| item[turns].as_array()?.last()?["content"].as_str();
    item["instruction"].as_str().or_else(|| turn("instruction").or_else(|| turn("messages"))).map(str::to_owned)
}

impl Report {
    /// Compares two runs.
    ///
    /// # Errors
    /// If a line cannot be understood, or no item has a verdict in both.
    pub(super) fn of(
        named: [&(String, PathBuf); 2],
        runs: [Vec<Stored>; 2],
        texts: &Texts,
        min_label_mass: f64,
        seed: u64,
    ) -> Result<Self, CliError> {
        let [a, b] = runs;
        let text = |stored: &Stored| instruction(&stored.input).or_else(|| texts.0.get(&stored.id).cloned());
        let (mut side_a, verdicts_a) = Side::of(named[0], &a, min_label_mass, text)?;
        let (mut side_b, verdicts_b) = Side::of(named[1], &b, min_label_mass, text)?;
        if side_a.name == side_b.name {
            (side_a.name, side_b.name) = ("a".into(), "b".into());
        }
        let ids: HashMap<&str, &Stored> = b.iter().map(|stored| (stored.id.as_str(), stored)).collect();
        let in_both = a.iter().filter(|stored| ids.contains_key(stored.id.as_str())).count();
        let (mut both, mut items, mut by_item) = (Vec::new(), Vec::new(), true);
        for stored in &a {
            let id = stored.id.as_str();
            let Some(other) = ids.get(id) else { continue };
            let (Some(one), Some(two)) = (verdicts_a.get(id), verdicts_b.get(id)) else { continue };
            if one.preference.is_some() != two.preference.is_some() {
                continue;
            }
            let known = text(stored).or_else(|| text(other));
            by_item &= known.is_none();
            let instruction = known.as_ref().map_or_else(|| key(&[id]), |text| instruction_key(text));
            let (one, two) = (RunVerdict { instruction, ..*one }, RunVerdict { instruction, ..*two });
            both.push((one, two));
            items.push(Compared {
                id: id.to_owned(),
                instruction: known,
                a: Verdict::of(&one, stored),
                b: Verdict::of(&two, other),
                difference: two.value - one.value,
                flip: match flip(&one, &two) {
                    Ordering::Greater => "up",
                    Ordering::Less => "down",
                    Ordering::Equal => "same",
                },
            });
        }
        if items.is_empty() {
            let what = format!(
                "no item has a verdict of the same kind in both {} and {}; items are matched by their ids, such as {}",
                side_a.path,
                side_b.path,
                [a.first(), b.first()]
                    .iter()
                    .flatten()
                    .map(|stored| format!("`{}`", stored.id))
                    .collect::<Vec<_>>()
                    .join(" and "),
            );
            return Err(CliError::Failed(what));
        }
        items.sort_by(|one, other| one.difference.total_cmp(&other.difference).then_with(|| one.id.cmp(&other.id)));
        let bootstrap = outcomes::bootstrap(both.len(), seed);
        let differs =
            ["model", "rubric", "prompt"].into_iter().zip(side_a.made_with().into_iter().zip(side_b.made_with()));
        Ok(Self {
            object: "comparison",
            version: env!("CARGO_PKG_VERSION"),
            seed,
            resamples: bootstrap.resamples,
            min_label_mass,
            differs: differs.filter(|(_, (a, b))| are_different(*a, *b)).map(|(what, _)| what).collect(),
            by_item,
            only_a: a.len() - in_both,
            only_b: b.len() - in_both,
            change: Change::of(&both, bootstrap),
            a: side_a,
            b: side_b,
            items,
        })
    }

    /// Whether the whole interval of a difference is below 0.
    pub(super) fn is_worse(&self) -> bool {
        let mut shifts = self.change.responses.iter().chain(&self.change.pairs);
        shifts.any(|shift| shift.difference.high.is_some_and(|high| high < 0.0))
    }
}

impl Side {
    fn of(
        (name, path): &(String, PathBuf),
        run: &[Stored],
        min_label_mass: f64,
        text: impl Fn(&Stored) -> Option<String>,
    ) -> Result<(Self, HashMap<String, RunVerdict>), CliError> {
        let mut side =
            Self { name: name.clone(), path: path.display().to_string(), items: run.len(), ..Self::default() };
        let mut verdicts = HashMap::new();
        for stored in run {
            let instruction = text(stored).map_or(0, |text| instruction_key(&text));
            match stored.outcome(instruction)? {
                Outcome::Verdict(verdict) if verdict.label_mass >= min_label_mass => {
                    side.graded += 1;
                    verdicts.insert(stored.id.clone(), verdict);
                }
                Outcome::Verdict(_) | Outcome::Unscored => side.unscored += 1,
                Outcome::Failed => side.failed += 1,
            }
        }
        let graded = || run.iter().filter_map(|stored| stored.value.as_ref().ok());
        let same = |what: &str, field: &str| {
            let mut all = graded().map(|verdict| match &verdict[what] {
                // A table has the name alone.
                Value::String(name) if field == "name" => Some(name.clone()),
                object => object[field].as_str().map(str::to_owned),
            });
            let first = all.next()??;
            all.all(|other| other.as_deref() == Some(first.as_str())).then_some(first)
        };
        let (model, rubric) = (same("model", "name"), same("rubric", "name"));
        let engine = same("model", "engine");
        side.model = model.map(|model| engine.map_or_else(|| model.clone(), |engine| format!("{model} on {engine}")));
        (side.rubric, side.prompt) = (rubric, same("prompt", "name"));
        side.digests = ["model", "rubric", "prompt"].map(|what| same(what, "digest"));
        Ok((side, verdicts))
    }

    /// Names and digests of model, rubric and prompt.
    fn made_with(&self) -> [(&Option<String>, &Option<String>); 3] {
        let [model, rubric, prompt] = &self.digests;
        [(&self.model, model), (&self.rubric, rubric), (&self.prompt, prompt)]
    }
}

/// Whether names or digests differ; a table has no digests.
fn are_different(one: (&Option<String>, &Option<String>), other: (&Option<String>, &Option<String>)) -> bool {
    one.0 != other.0 || matches!((one.1, other.1), (Some(one), Some(other)) if one != other)
}

impl Verdict {
    fn of(verdict: &RunVerdict, stored: &Stored) -> Self {
        let value = stored.value.as_ref().ok();
        let feedback = value.and_then(|value| value["feedback"].as_str()).map(str::to_owned);
        let score = verdict.score.map(|(score, _)| score);
        Self { value: verdict.value, score, preference: verdict.preference, feedback }
    }

    /// Its score or its preference, as text.
    pub(super) fn said(&self) -> String {
        match (self.preference, self.score) {
            (Some(Preference::A), _) => "A".into(),
            (Some(Preference::B), _) => "B".into(),
            (Some(Preference::Tie), _) => "tie".into(),
            (None, Some(score)) => score.to_string(),
            (None, None) => String::new(),
        }
    }
}

/// The items at both ends that changed at all: those that lost most, and those that gained most, first.
pub(super) fn ends(items: &[Compared], top: usize) -> (Vec<&Compared>, Vec<&Compared>) {
    let worst = items.iter().filter(|item| item.difference < 0.0).take(top).collect();
    let best = items.iter().rev().filter(|item| item.difference > 0.0).take(top).collect();
    (worst, best)
}

#[cfg(test)]
pub(super) mod tests {
    use serde_json::json;

    use super::*;

    fn stored(id: &str, value: Result<Value, Value>) -> Stored {
        Stored {
            id: id.into(),
            place: format!("run:{id}"),
            value,
            input: json!({"instruction": format!("Question {id}?")}),
        }
    }

    fn graded(id: &str, model: &str, score: i32, reward: f64) -> Stored {
        let model = json!({"name": model, "engine": "scripted", "digest": format!("sha256:{model}")});
        let rubric = json!({"name": "honesty", "digest": "sha256:r"});
        let distribution = json!({"1": 0.5, "5": 0.5});
        let verdict = json!({
            "score": score, "reward": reward, "label_mass": 0.9, "model": model, "rubric": rubric, "prompt": rubric,
            "distribution": distribution, "feedback": format!("<b>Fine & \"so\"</b> {id}"),
        });
        stored(id, Ok(verdict))
    }

    /// Twelve items in both runs, one that failed in the first, and one that only the second has.
    pub(in super::super) fn made_up() -> Report {
        let run = |model: &str, more: f64| -> Vec<Stored> {
            let of = |i: i32| {
                graded(
                    &format!("item-{i}"),
                    model,
                    1 + (i + i32::from(more > 0.0 && i > 7)) % 5,
                    0.1 + 0.05 * f64::from(i) + more * f64::from(i % 3 - 1),
                )
            };
            (0..12).map(of).collect()
        };
        let (mut a, mut b) = (run("small", 0.0), run("large", 0.2));
        a.push(stored("failed", Err(json!({"code": "context_overflow"}))));
        b.push(graded("failed", "large", 3, 0.5));
        b.push(graded("new", "large", 3, 0.5));
        let name = |name: &str| (name.to_owned(), PathBuf::from(format!("{name}.jsonl")));
        Report::of([&name("before"), &name("after")], [a, b], &Texts::default(), 0.05, 0).unwrap()
    }

    #[test]
    fn runs_are_matched_by_id() {
        let report = made_up();
        assert_eq!((report.change.both, report.only_a, report.only_b), (12, 0, 1));
        assert_eq!((report.a.failed, report.a.graded, report.b.graded), (1, 12, 14));
        assert_eq!(report.differs, ["model"]);
        assert!(!report.by_item);
        let shift = report.change.responses.unwrap();
        assert!(shift.difference.value.abs() < 1e-9 && shift.p_value > 0.05, "{shift:?}");
        assert!(!report.is_worse());
        let (worst, best) = ends(&report.items, 2);
        assert_eq!(worst.iter().map(|item| item.id.as_str()).collect::<Vec<_>>(), ["item-0", "item-3"]);
        assert!(best.iter().all(|item| (item.difference - 0.2).abs() < 1e-9));
        let json = serde_json::to_value(&report).unwrap();
        assert_eq!((&json["both"], &json["items"][0]["flip"]), (&json!(12), &json!("same")));
    }

    #[test]
    fn runs_without_a_common_item_are_refused() {
        let name = ("run".to_owned(), PathBuf::from("run.jsonl"));
        let runs = [vec![graded("a", "m", 3, 0.5)], vec![graded("b", "m", 3, 0.5)]];
        let error = Report::of([&name, &name], runs, &Texts::default(), 0.05, 0).unwrap_err().to_string();
        assert!(error.contains("matched by their ids"), "{error}");
    }
}
