//! Stored verdicts as what maps are fitted to: what the judge said, before any calibration, and what it was asked with.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::PathBuf;

use indexmap::IndexMap;
use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::Value;

use super::super::CliError;
use crate::domain::calibration::{MadeFor, RawAbsolute, RawOrder};
use crate::domain::{Kind, Mode, Order, Scale};
use crate::labelled::{self, DataError, Row};

/// The most rubrics that a file is made for by name; of more it is made for any.
const MOST_RUBRICS: usize = 16;

/// What a judge said of one item, before any calibration.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Said {
    /// Of a response, on a scale; the characters are still to come.
    Score { scale: Scale, raw: RawAbsolute },
    /// Of a pair, in both orders.
    Pair([RawOrder; 2]),
}

/// The verdicts of a file by the ids of their items, and what all of them were judged with.
#[derive(Debug)]
pub(super) struct Verdicts {
    pub(super) by_id: HashMap<String, Said>,
    pub(super) made_for: MadeFor,
    /// Lines that hold an error.
    pub(super) failed: usize,
}

/// A line of `gavel grade`.
#[derive(Deserialize)]
struct Line {
    id: String,
    verdict: Option<Body>,
    error: Option<IgnoredAny>,
}

/// What is read of a verdict.
#[derive(Deserialize)]
struct Body {
    object: String,
    model: Named,
    prompt: Named,
    examples: Option<IgnoredAny>,
    rubric: Named,
    #[serde(default)]
    reward: f64,
    label_mass: f64,
    distribution: Option<IndexMap<String, f64>>,
    #[serde(default)]
    judgements: Vec<JudgementBody>,
    calibration: Option<CalibrationBody>,
}

#[derive(Deserialize)]
struct Named {
    digest: String,
}

#[derive(Deserialize)]
struct CalibrationBody {
    raw_reward: f64,
}

#[derive(Deserialize)]
struct JudgementBody {
    order: Option<Order>,
    probability_a: Option<f64>,
    label_mass: f64,
    feedback: Option<String>,
}

impl Verdicts {
    /// Reads what `gavel grade` wrote, verdicts of one kind.
    ///
    /// # Errors
    /// With the line that is no verdict, has not what is needed, or was judged with something else than those before.
    pub(super) fn read(paths: &[PathBuf], kind: Kind) -> Result<Self, CliError> {
        let mut gathered = Gathered::default();
        for path in paths {
            let bytes = std::fs::read(path).map_err(|error| CliError::because(path.display(), error))?;
            for Row { place, fields, .. } in labelled::rows(path, bytes)?.1 {
                gathered.add(Value::Object(fields), kind).map_err(|what| DataError::at(place, what))?;
            }
        }
        gathered.finish(kind)
    }
}

/// Verdicts so far.
#[derive(Default)]
struct Gathered {
    by_id: HashMap<String, Said>,
    judged_with: Option<(String, String, Mode)>,
    rubrics: BTreeSet<String>,
    failed: usize,
}

impl Gathered {
    fn add(&mut self, line: Value, kind: Kind) -> Result<(), String> {
        let Line { id, verdict, error } = serde_json::from_value(line).map_err(|error| error.to_string())?;
        let Some(body) = verdict else {
            self.failed += 1;
            return error.map(drop).ok_or_else(|| "has neither a verdict nor an error".into());
        };
        if body.object != object(kind) {
            return Ok(());
        }
        if body.examples.is_some() {
            return Err(format!(
                "`{id}` was judged after examples; calibrations are for verdicts without them, so grade without"
            ));
        }
        let written = body.judgements.iter().any(|judgement| judgement.feedback.is_some());
        let mode = if written { Mode::Feedback } else { Mode::Score };
        let now = (body.model.digest.clone(), body.prompt.digest.clone(), mode);
        let before = self.judged_with.get_or_insert_with(|| now.clone());
        if *before != now {
            let what = match (before.0 == now.0, before.1 == now.1) {
                (false, _) => "another model",
                (_, false) => "another prompt",
                _ => "another mode",
            };
            return Err(format!("`{id}` was judged with {what} than the lines before; a file must be from one judge"));
        }
        self.rubrics.insert(body.rubric.digest.clone());
        let said = match kind {
            Kind::Absolute => score(&body),
            Kind::Relative => pair(&body),
        };
        let said = said.map_err(|what| format!("`{id}` {what}"))?;
        match self.by_id.insert(id.clone(), said) {
            Some(_) => Err(format!("holds a second verdict on `{id}`")),
            None => Ok(()),
        }
    }

    fn finish(self, kind: Kind) -> Result<Verdicts, CliError> {
        let none = || CliError::Failed(format!("there is no {}; grade the data with `gavel grade`", object(kind)));
        let (model, prompt, mode) = self.judged_with.ok_or_else(none)?;
        let rubrics = (self.rubrics.len() <= MOST_RUBRICS).then(|| self.rubrics.into_iter().collect());
        let made_for = MadeFor { model, prompt, rubrics, mode: Some(mode) };
        Ok(Verdicts { by_id: self.by_id, made_for, failed: self.failed })
    }
}

/// What verdicts of a kind are called.
fn object(kind: Kind) -> &'static str {
    match kind {
        Kind::Absolute => "verdict.absolute",
        Kind::Relative => "verdict.relative",
    }
}

/// What is said of a response.
fn score(body: &Body) -> Result<Said, String> {
    let distribution = body.distribution.as_ref().ok_or("has no distribution; name one rubric, not a list")?;
    let by_level: BTreeMap<i32, f64> = distribution
        .iter()
        .map(|(label, p)| Some((label.parse().ok()?, *p)))
        .collect::<Option<_>>()
        .ok_or("has labels that are not integers")?;
    let levels: Vec<i32> = by_level.keys().copied().collect();
    let scale = Scale::from_levels(&levels).map_err(|error| error.to_string())?;
    let raw = RawAbsolute {
        probabilities: by_level.into_values().collect(),
        reward: body.calibration.as_ref().map_or(body.reward, |calibration| calibration.raw_reward),
        label_mass: body.label_mass,
        characters: 0,
    };
    Ok(Said::Score { scale, raw })
}

/// What is said of a pair. Judgements are never calibrated.
fn pair(body: &Body) -> Result<Said, String> {
    let of = |order: Order| {
        let of_order = body.judgements.iter().filter(|judgement| judgement.order == Some(order));
        let said = of_order.filter_map(|judgement| Some((judgement.probability_a?, judgement.label_mass)));
        RawOrder::mean(&said.collect::<Vec<_>>())
    };
    match (of(Order::AB), of(Order::BA)) {
        (Some(ab), Some(ba)) => Ok(Said::Pair([ab, ba])),
        _ => Err("was not judged in both orders; grade with swap, and by the method `pairwise`".into()),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn verdict(change: &[(&str, Value)]) -> Value {
        let named = |digest: &str| json!({"name": "x", "digest": digest});
        let mut body = json!({
            "object": "verdict.absolute", "score": 2, "expected_score": 1.75, "reward": 0.6, "label_mass": 0.9,
            "distribution": {"1": 0.25, "2": 0.75}, "model": named("m"), "prompt": named("p"), "rubric": named("r"),
            "judgements": [{"sample": 0, "label_mass": 0.9, "feedback": null}],
            "calibration": {"digest": "c", "raw_reward": 0.75},
        });
        change.iter().for_each(|(key, value)| body[*key] = value.clone());
        body
    }

    fn gathered(lines: &[Value], kind: Kind) -> Result<Verdicts, String> {
        let mut gathered = Gathered::default();
        lines.iter().try_for_each(|line| gathered.add(line.clone(), kind))?;
        gathered.finish(kind).map_err(|error| error.to_string())
    }

    #[test]
    fn what_the_judge_said_before_any_calibration_is_read() {
        let lines = [json!({"id": "a", "verdict": verdict(&[])}), json!({"id": "b", "error": {"code": "saturated"}})];
        let read = gathered(&lines, Kind::Absolute).unwrap();
        let Said::Score { scale, raw } = &read.by_id["a"] else { panic!("{read:?}") };
        assert_eq!((raw.reward, &raw.probabilities[..], scale.highest()), (0.75, &[0.25, 0.75][..], 2));
        assert_eq!((read.failed, read.made_for.mode, read.made_for.model.as_str()), (1, Some(Mode::Score), "m"));
        assert_eq!(read.made_for.rubrics, Some(vec!["r".to_owned()]));
        let order =
            |order: &str, p: f64| json!({"order": order, "probability_a": p, "label_mass": 0.5, "feedback": "x"});
        let judgements = json!([order("AB", 0.5), order("AB", 1.0), order("BA", 0.25)]);
        let pair = verdict(&[("object", json!("verdict.relative")), ("judgements", judgements)]);
        let read = gathered(&[json!({"id": "a", "verdict": pair})], Kind::Relative).unwrap();
        let said = |probability_a| RawOrder { probability_a, label_mass: 0.5 };
        assert_eq!(read.by_id["a"], Said::Pair([said(0.75), said(0.25)]));
        assert_eq!(read.made_for.mode, Some(Mode::Feedback));
    }

    #[test]
    fn what_cannot_be_mapped_says_why() {
        let check = |lines: &[Value], word: &str| {
            let error = gathered(lines, Kind::Absolute).unwrap_err();
            assert!(error.contains(word), "{error}");
        };
        let one = json!({"id": "a", "verdict": verdict(&[])});
        let with = |change: &[(&str, Value)]| json!({"id": "b", "verdict": verdict(change)});
        check(&[], "there is no verdict.absolute");
        check(&[with(&[("object", json!("verdict.relative"))])], "there is no verdict.absolute");
        check(&[one.clone(), one.clone()], "second verdict");
        check(&[one.clone(), with(&[("model", json!({"digest": "other"}))])], "another model");
        check(&[one.clone(), with(&[("prompt", json!({"digest": "other"}))])], "another prompt");
        check(&[one, with(&[("judgements", json!([{"label_mass": 1.0, "feedback": "x"}]))])], "another mode");
        check(&[with(&[("distribution", Value::Null)])], "no distribution");
        check(&[with(&[("distribution", json!({"good": 1.0}))])], "not integers");
        check(&[json!({"id": "a"})], "neither a verdict nor an error");
        check(&[json!(3)], "expected");
    }
}
