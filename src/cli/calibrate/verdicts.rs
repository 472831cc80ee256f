//! Stored verdicts as what maps are fitted to: what the judge said, before any calibration, and what it was asked with.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::PathBuf;

use indexmap::IndexMap;
use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::Value;

use super::super::CliError;
use crate::domain::calibration::{MadeFor, RawAbsolute, RawOrder, graded_alone};
use crate::domain::{Kind, Mode, Order, Preference, Scale};
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
    /// Of each response of a pair alone; the characters are still to come.
    GradedAlone(Box<[RawAbsolute; 2]>),
}

/// What is read of each verdict.
pub(in super::super) type Read<S> = fn(&Body, Kind) -> Result<S, String>;

/// The verdicts of a file by the ids of their items, and what all of them were judged with.
#[derive(Debug)]
pub(in super::super) struct Verdicts<S> {
    pub(super) by_id: HashMap<String, S>,
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
pub(in super::super) struct Body {
    object: String,
    model: ModelBody,
    prompt: Named,
    examples: Option<IgnoredAny>,
    rubric: Named,
    #[serde(default)]
    reward: f64,
    pub(in super::super) score: Option<i32>,
    pub(in super::super) preference: Option<Preference>,
    probability_a: Option<f64>,
    pub(in super::super) consistent: Option<bool>,
    pub(in super::super) label_mass: f64,
    distribution: Option<IndexMap<String, f64>>,
    #[serde(default)]
    judgements: Vec<JudgementBody>,
    grades: Option<GradesBody>,
    #[serde(default)]
    jurors: Vec<JurorBody>,
    /// Of a jury.
    pub(in super::super) spread: Option<f64>,
    calibration: Option<CalibrationBody>,
}

#[derive(Deserialize)]
struct ModelBody {
    digest: String,
    engine: Option<String>,
}

#[derive(Deserialize)]
struct Named {
    digest: String,
}

/// The verdicts on the two responses of a pair, where each was graded alone.
#[derive(Deserialize)]
struct GradesBody {
    a: GradeBody,
    b: GradeBody,
}

#[derive(Deserialize)]
struct GradeBody {
    criteria: Vec<CriterionBody>,
}

#[derive(Deserialize)]
struct CriterionBody {
    feedback: Option<IgnoredAny>,
    reward: f64,
    label_mass: f64,
    distribution: IndexMap<String, f64>,
    calibration: Option<CalibrationBody>,
}

#[derive(Deserialize)]
struct JurorBody {
    verdict: Option<JurorVerdictBody>,
}

#[derive(Deserialize)]
struct JurorVerdictBody {
    #[serde(default)]
    judgements: Vec<JudgementBody>,
    grades: Option<GradesBody>,
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

impl Body {
    /// Those of the verdict and of jurors.
    fn judgements(&self) -> impl Iterator<Item = &JudgementBody> {
        let of_jurors = self.jurors.iter().filter_map(|juror| juror.verdict.as_ref());
        self.judgements.iter().chain(of_jurors.flat_map(|verdict| &verdict.judgements))
    }

    /// Whether feedback was written before the verdict.
    fn has_feedback(&self) -> bool {
        let of_jurors = self.jurors.iter().filter_map(|juror| juror.verdict.as_ref()?.grades.as_ref());
        let mut graded = self.grades.iter().chain(of_jurors).flat_map(|grades| &grades.a.criteria);
        self.judgements().any(|judgement| judgement.feedback.is_some()) || graded.any(|one| one.feedback.is_some())
    }

    /// Whether a jury judged.
    pub(in super::super) fn is_of_jury(&self) -> bool {
        self.model.engine.as_deref() == Some("jury")
    }

    /// The judge's own probability that A is better, before any calibration.
    pub(in super::super) fn probability_a(&self) -> Option<f64> {
        if let Ok(Some(grades)) = self.graded_alone() {
            return Some(graded_alone(&grades));
        }
        self.calibration.as_ref().map(|calibration| calibration.raw_reward).or(self.probability_a)
    }

    /// What it says when it is shown A first and when B; `None` unless both were judged.
    pub(in super::super) fn orders(&self) -> Option<[RawOrder; 2]> {
        let of = |order: Order| {
            let of_order = self.judgements().filter(|judgement| judgement.order == Some(order));
            let said = of_order.filter_map(|judgement| Some((judgement.probability_a?, judgement.label_mass)));
            RawOrder::mean(&said.collect::<Vec<_>>())
        };
        Some([of(Order::AB)?, of(Order::BA)?])
    }

    /// What it says of each response alone; `None` unless that is how it was judged.
    ///
    /// # Errors
    /// If there is not one distribution over a scale of each.
    fn graded_alone(&self) -> Result<Option<[RawAbsolute; 2]>, String> {
        let Some(GradesBody { a, b }) = &self.grades else { return Ok(None) };
        Ok(Some([a.only()?.raw()?, b.only()?.raw()?]))
    }

    /// The scale of a score, and the probability of each level, lowest first.
    ///
    /// # Errors
    /// If it has no distribution over a scale.
    pub(in super::super) fn levels(&self) -> Result<(Scale, Vec<f64>), String> {
        levels(self.distribution.as_ref().ok_or(SEVERAL_RUBRICS)?)
    }
}

/// Why a verdict has no single distribution.
const SEVERAL_RUBRICS: &str = "has no distribution; name one rubric, not a list";

impl GradeBody {
    fn only(&self) -> Result<&CriterionBody, String> {
        match self.criteria.as_slice() {
            [only] => Ok(only),
            _ => Err(SEVERAL_RUBRICS.into()),
        }
    }
}

impl CriterionBody {
    fn raw(&self) -> Result<RawAbsolute, String> {
        let (_, probabilities) = levels(&self.distribution)?;
        let reward = self.calibration.as_ref().map_or(self.reward, |calibration| calibration.raw_reward);
        Ok(RawAbsolute { probabilities, reward, label_mass: self.label_mass, characters: 0 })
    }
}

/// The scale of a distribution, and the probability of each level, lowest first.
fn levels(distribution: &IndexMap<String, f64>) -> Result<(Scale, Vec<f64>), String> {
    let by_level: BTreeMap<i32, f64> = distribution
        .iter()
        .map(|(label, p)| Some((label.parse().ok()?, *p)))
        .collect::<Option<_>>()
        .ok_or("has labels that are not integers")?;
    let levels: Vec<i32> = by_level.keys().copied().collect();
    let scale = Scale::from_levels(&levels).map_err(|error| error.to_string())?;
    Ok((scale, by_level.into_values().collect()))
}

impl<S> Verdicts<S> {
    /// Reads what `gavel grade` wrote, verdicts of one kind.
    ///
    /// # Errors
    /// With the line that is no verdict, has not what is needed, or was judged with something else than those before.
    pub(in super::super) fn read(paths: &[PathBuf], kind: Kind, read: Read<S>) -> Result<Self, CliError> {
        let mut gathered = Gathered::new(read);
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
struct Gathered<S> {
    read: Read<S>,
    by_id: HashMap<String, S>,
    judged_with: Option<(String, String, Mode)>,
    rubrics: BTreeSet<String>,
    failed: usize,
}

impl<S> Gathered<S> {
    fn new(read: Read<S>) -> Self {
        Self { read, by_id: HashMap::new(), judged_with: None, rubrics: BTreeSet::new(), failed: 0 }
    }

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
        let mode = if body.has_feedback() { Mode::Feedback } else { Mode::Score };
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
        let said = (self.read)(&body, kind).map_err(|what| format!("`{id}` {what}"))?;
        match self.by_id.insert(id.clone(), said) {
            Some(_) => Err(format!("holds a second verdict on `{id}`")),
            None => Ok(()),
        }
    }

    fn finish(self, kind: Kind) -> Result<Verdicts<S>, CliError> {
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

/// What a map is made from. Judgements are never calibrated.
pub(super) fn said(body: &Body, kind: Kind) -> Result<Said, String> {
    if body.is_of_jury() {
        return Err("was judged by a jury; calibrations and fits are made for one judge".into());
    }
    if kind == Kind::Relative {
        if let Some(grades) = body.graded_alone()? {
            return Ok(Said::GradedAlone(Box::new(grades)));
        }
        return Ok(Said::Pair(body.orders().ok_or("was judged in one order alone; grade with `swap`")?));
    }
    let (scale, probabilities) = body.levels()?;
    let reward = body.calibration.as_ref().map_or(body.reward, |calibration| calibration.raw_reward);
    Ok(Said::Score { scale, raw: RawAbsolute { probabilities, reward, label_mass: body.label_mass, characters: 0 } })
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

    fn gathered(lines: &[Value], kind: Kind) -> Result<Verdicts<Said>, String> {
        let mut gathered = Gathered::new(said);
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
