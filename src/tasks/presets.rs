//! Judge models: names under which a caller's own prompt is run as a judging script, so that the verdict stands
//! where the caller's own parser looks for it. Which form that is, is configuration: `judges.toml` has the forms that
//! known tools read, and the configuration adds others.

use std::collections::BTreeMap;

use serde::Deserialize;

use crate::domain::{InvalidScale, Role, Rubric, Scale, Turn};
use crate::script::{Generate, InvalidScript, Script, Step};

const BUILT_IN: &str = include_str!("../../judges.toml");
const SCORE: &str = "{score}";

/// A judge model: a name, and how its verdicts are written.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct JudgeModel {
    /// What requests call it.
    pub name: String,
    /// One line that says whose parser reads it.
    #[serde(default)]
    pub summary: String,
    /// The hosted model that judges; the default one if left out.
    pub model: Option<String>,
    /// What is written, in order.
    pub steps: Vec<VerdictStep>,
}

/// One step of a judge model's answer.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum VerdictStep {
    /// Forces a text into the answer.
    Say(String),
    /// What the model writes.
    Generate(Written),
    /// One of several texts.
    Choose(Vec<String>),
    /// One of consecutive scores.
    Score(Scores),
}

/// When the model's own text ends.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Written {
    /// Texts that end it, in any case; one with a line break before it is found at the start of a line only.
    pub stop: Vec<String>,
}

/// A choice of consecutive scores.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Scores {
    /// How a score is written, `{score}` standing for the integer.
    pub text: String,
    /// The lowest score of the scale.
    pub lowest: i32,
    /// The highest score of the scale.
    pub highest: i32,
}

/// A judge model of the configuration that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the judge model `{name}`: {reason}")]
pub struct InvalidJudge {
    name: String,
    reason: String,
}

/// The limits of what a judge model writes before its verdict.
#[derive(Debug, Clone, Default)]
pub struct PresetLimits {
    /// The most tokens that the model writes.
    pub max_tokens: usize,
    /// The fewest tokens to write before the verdict.
    pub min_tokens: usize,
    /// Texts of the caller's that end its writing, too.
    pub stop: Vec<String>,
}

/// All judge models, and the names of others that stand for one.
#[derive(Debug)]
pub struct JudgeModels {
    models: Vec<JudgeModel>,
    aliases: BTreeMap<String, String>,
}

impl JudgeModels {
    /// The built-in judge models, and those of the configuration, which win.
    ///
    /// # Errors
    /// At the first one whose steps make no script.
    pub fn new(own: &[JudgeModel], aliases: &BTreeMap<String, String>) -> Result<Self, InvalidJudge> {
        #[derive(Deserialize)]
        struct File {
            judges: Vec<JudgeModel>,
        }
        let File { mut judges } = toml::from_str(BUILT_IN).map_err(|error| invalid("judges.toml", error))?;
        judges.retain(|built_in| !own.iter().any(|own| own.name == built_in.name));
        judges.extend_from_slice(own);
        judges.iter().try_for_each(JudgeModel::check)?;
        Ok(Self { models: judges, aliases: aliases.clone() })
    }

    /// What an alias stands for; any other name stands for itself.
    #[must_use]
    pub fn resolve<'a>(&'a self, name: &'a str) -> &'a str {
        self.aliases.get(name).map_or(name, String::as_str)
    }

    /// The judge model of a resolved name, and the rubric that `NAME:RUBRIC` brings.
    #[must_use]
    pub fn find<'a>(&self, name: &'a str) -> Option<(&JudgeModel, Option<&'a str>)> {
        let called = |name: &str| self.models.iter().find(|model| model.name == name);
        called(name).map(|model| (model, None)).or_else(|| {
            let (name, rubric) = name.split_once(':')?;
            Some((called(name)?, Some(rubric)))
        })
    }

    /// Every judge model.
    #[must_use]
    pub fn all(&self) -> &[JudgeModel] {
        &self.models
    }

    /// The names that stand for others.
    pub fn aliases(&self) -> impl Iterator<Item = &str> {
        self.aliases.keys().map(String::as_str)
    }
}

impl JudgeModel {
    /// The script that judges, over the scores of `rubric` where one is named.
    ///
    /// # Errors
    /// When its scores are no scale.
    pub fn script(&self, limits: &PresetLimits, rubric: Option<&Rubric>) -> Result<Script, InvalidScale> {
        let step = |step: &VerdictStep| {
            Ok(match step {
                VerdictStep::Say(text) => Step::Say(text.clone()),
                VerdictStep::Generate(Written { stop }) => Step::Generate(Generate {
                    stop: stop.clone(),
                    // Those of the caller mean what they say.
                    exact_stop: limits.stop.clone(),
                    ignore_case: true,
                    max_tokens: limits.max_tokens.max(1),
                    min_tokens: limits.min_tokens.min(limits.max_tokens),
                    ..Generate::default()
                }),
                VerdictStep::Choose(options) => Step::Choose(options.clone()),
                VerdictStep::Score(scores) => Step::Choose(scores.options(rubric.map(Rubric::scale))?),
            })
        };
        Ok(Script(self.steps.iter().map(step).collect::<Result<_, InvalidScale>>()?))
    }

    /// The conversation with a rubric at its end: in the last message of the user, or after it in one of its own. A
    /// judge that compares is shown the criterion only.
    #[must_use]
    pub fn with_rubric(&self, mut turns: Vec<Turn>, rubric: &Rubric) -> Vec<Turn> {
        let mut text = format!("###Score Rubrics:\n[{}]", rubric.criterion());
        if self.steps.iter().any(|step| matches!(step, VerdictStep::Score(_))) {
            for (score, description) in rubric.descriptions() {
                text.push_str(&format!("\nScore {score}: {description}"));
            }
        }
        match turns.last_mut() {
            Some(turn) if turn.role == Role::User => turn.content = format!("{}\n\n{text}", turn.content),
            _ => {
                let content = format!("Judge the answer above by this rubric.\n\n{text}");
                turns.push(Turn { role: Role::User, content });
            }
        }
        turns
    }

    /// An example of its answers, where they are JSON objects.
    #[must_use]
    pub fn json_example(&self) -> Option<serde_json::Map<String, serde_json::Value>> {
        let step = |step: &VerdictStep| match step {
            VerdictStep::Say(text) => text.clone(),
            VerdictStep::Generate(_) => "x".to_owned(),
            VerdictStep::Choose(options) => options.first().cloned().unwrap_or_default(),
            VerdictStep::Score(Scores { text, lowest, .. }) => text.replace(SCORE, &lowest.to_string()),
        };
        serde_json::from_str(&self.steps.iter().map(step).collect::<String>()).ok()
    }

    fn check(&self) -> Result<(), InvalidJudge> {
        let name = if self.name.trim().is_empty() { "(without a name)" } else { &self.name };
        if self.name.trim().is_empty() || self.name.contains(':') {
            return Err(invalid(name, "needs a name without `:`, which stands before a rubric"));
        }
        let verdict = |step: &VerdictStep| matches!(step, VerdictStep::Choose(_) | VerdictStep::Score(_));
        if !self.steps.iter().any(verdict) {
            return Err(invalid(name, "needs a step with `choose` or `score`: the verdict"));
        }
        for step in &self.steps {
            match step {
                VerdictStep::Generate(Written { stop })
                    if stop
                        .iter()
                        .any(|stop| stop.trim_start().is_empty() && !["\n", "\r", "\t"].contains(&stop.as_str())) =>
                {
                    return Err(invalid(name, "a stop text is empty"));
                }
                VerdictStep::Score(Scores { text, .. }) if text.matches(SCORE).count() != 1 => {
                    return Err(invalid(name, "the text of a score holds `{score}` once"));
                }
                _ => {}
            }
        }
        let limits = PresetLimits { max_tokens: 1, ..PresetLimits::default() };
        let script = self.script(&limits, None).map_err(|error| invalid(name, error))?;
        script.check().map_err(|error: InvalidScript| invalid(name, error))
    }
}

impl Scores {
    fn options(&self, scale: Option<Scale>) -> Result<Vec<String>, InvalidScale> {
        let own = || Scale::from_levels(&(self.lowest..=self.highest).take(12).collect::<Vec<_>>());
        let scale = scale.map_or_else(own, Ok)?;
        Ok(scale.scores().map(|score| self.text.replace(SCORE, &score.value().to_string())).collect())
    }
}

fn invalid(name: &str, reason: impl ToString) -> InvalidJudge {
    InvalidJudge { name: name.to_owned(), reason: reason.to_string() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judge(steps: &str) -> Result<JudgeModels, InvalidJudge> {
        let own: JudgeModel = toml::from_str(&format!("name = \"mine\"\nsteps = [{steps}]")).unwrap();
        JudgeModels::new(&[own], &BTreeMap::new())
    }

    #[test]
    fn names_aliases_and_rubrics() {
        let aliases = BTreeMap::from([("gpt-4".to_owned(), "gavel-pair".to_owned())]);
        let judges = JudgeModels::new(&[], &aliases).unwrap();
        let check = |asked: &str, expected: Option<(&str, Option<&str>)>| {
            let found = judges.find(judges.resolve(asked)).map(|(model, rubric)| (model.name.as_str(), rubric));
            assert_eq!(found, expected, "{asked}");
        };
        check("gavel-absolute", Some(("gavel-absolute", None)));
        check("gavel-absolute:helpfulness", Some(("gavel-absolute", Some("helpfulness"))));
        check("gpt-4", Some(("gavel-pair", None)));
        check("gpt-4o", None);
        check("owner/model:Q4_K_M", None);
    }

    #[test]
    fn ones_own_wins_over_a_built_in_of_that_name() {
        let own: JudgeModel = toml::from_str("name = \"gavel-pair\"\nsteps = [{ choose = [\"1\", \"2\"] }]").unwrap();
        let judges = JudgeModels::new(std::slice::from_ref(&own), &BTreeMap::new()).unwrap();
        assert_eq!(judges.find("gavel-pair"), Some((&own, None)));
        assert_eq!(judges.all().iter().filter(|judge| judge.name == "gavel-pair").count(), 1);
    }

    #[test]
    fn the_page_lists_every_one() {
        let page = include_str!("../../docs/judge-models.md");
        for judge in JudgeModels::new(&[], &BTreeMap::new()).unwrap().all() {
            let row = format!("| `{}` | {} |", judge.name, judge.summary);
            assert!(page.contains(&row), "docs/judge-models.md lacks {row}");
        }
    }

    #[test]
    fn mistakes_are_named() {
        let check = |steps: &str, word: &str| {
            let error = judge(steps).unwrap_err().to_string();
            assert!(error.contains("`mine`") && error.contains(word), "{error}");
        };
        check("{ say = \"x\" }", "verdict");
        check("{ choose = [\"x\"] }", "two options");
        check("{ score = { text = \"x\", lowest = 1, highest = 5 } }", "{score}");
        check("{ score = { text = \"{score}\", lowest = 1, highest = 50 } }", "levels");
        check("{ generate = { stop = [\"\"] } }, { choose = [\"a\", \"b\"] }", "empty");
        assert!(judge("{ choose = [\"a\", \"b\"] }").is_ok());
    }

    #[test]
    fn a_rubric_brings_its_scale() {
        let judges = JudgeModels::new(&[], &BTreeMap::new()).unwrap();
        let (judge, _) = judges.find("gavel-absolute").unwrap();
        let levels = [("0", "bad"), ("1", "good")].map(|(level, text)| (level.to_owned(), text.to_owned()));
        let rubric = Rubric::new("Is it good?", &levels.into()).unwrap();
        let script = judge.script(&PresetLimits { max_tokens: 9, ..PresetLimits::default() }, Some(&rubric)).unwrap();
        assert_eq!(script.0.last(), Some(&Step::Choose(vec![" 0".into(), " 1".into()])));
    }
}
