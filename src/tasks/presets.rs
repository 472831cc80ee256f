//! Judge models: names under which a caller's own prompt runs as a judging script, so that the verdict has the format
//! that the caller's parser expects. `judges.toml` has the formats of known tools, and the configuration can add
//! others.

use std::collections::BTreeMap;

use serde::Deserialize;

use crate::domain::spelling::suggestion;
use crate::domain::{InvalidScale, Role, Rubric, Scale, Turn};
use crate::script::{Generate, InvalidScript, Script, Step, StopString};

const BUILT_IN: &str = include_str!("../../judges.toml");
const SCORE: &str = "{score}";

/// A judge model: a name, and the steps that write its verdict.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct JudgeModel {
    /// The name in requests.
    pub name: String,
    /// The tools that it is for, in one line.
    #[serde(default)]
    pub summary: String,
    /// The hosted model that judges; `None` for the default one.
    pub model: Option<String>,
    /// The steps of the answer, in order.
    pub steps: Vec<VerdictStep>,
}

/// One step of a judge model's answer.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum VerdictStep {
    /// Forces a text into the answer.
    Say(String),
    /// Lets the model write.
    Generate(WrittenText),
    /// Chooses one of several texts.
    Choose(Vec<String>),
    /// Chooses one of consecutive scores.
    Score(Scores),
}

/// The options of a `generate` step.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WrittenText {
    /// Stop texts, which ignore case; one with a leading line break matches only at the start of a line.
    pub stop: Vec<String>,
}

/// A choice of consecutive scores.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Scores {
    /// Text of a score; `{score}` is the integer.
    pub text: String,
    /// The lowest score of the scale.
    pub lowest: i32,
    /// The highest score of the scale.
    pub highest: i32,
}

/// An invalid judge model in the configuration.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the judge model `{name}`: {reason}")]
pub struct InvalidJudge {
    name: String,
    reason: String,
}

/// Limits of the text before the verdict.
#[derive(Debug, Clone, Default)]
pub struct PresetLimits {
    /// Maximum number of tokens.
    pub max_tokens: usize,
    /// Minimum number of tokens.
    pub min_tokens: usize,
    /// The caller's own stop texts.
    pub stop: Vec<StopString>,
}

/// All judge models and aliases.
#[derive(Debug)]
pub struct JudgeModels {
    models: Vec<JudgeModel>,
    aliases: BTreeMap<String, String>,
}

impl JudgeModels {
    /// The built-in judge models, and those of the configuration, which take precedence.
    ///
    /// # Errors
    /// At the first one whose steps are not a valid script.
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

    /// Resolves an alias; any other name is returned unchanged.
    #[must_use]
    pub fn resolve<'a>(&'a self, name: &'a str) -> &'a str {
        self.aliases.get(name).map_or(name, String::as_str)
    }

    /// The judge model of a resolved name, and the rubric of `NAME:RUBRIC`.
    #[must_use]
    pub fn find<'a>(&self, name: &'a str) -> Option<(&JudgeModel, Option<&'a str>)> {
        let called = |name: &str| self.models.iter().find(|model| model.name == name);
        called(name).map(|model| (model, None)).or_else(|| {
            let (name, rubric) = name.split_once(':')?;
            Some((called(name)?, Some(rubric)))
        })
    }

    /// Checks that each alias stands for a judge model or for one of these models.
    ///
    /// # Errors
    /// With the first that does not.
    pub fn check_aliases(&self, models: &[String]) -> Result<(), InvalidJudge> {
        let known = |name: &str| self.find(name).is_some() || models.iter().any(|model| model == name);
        match self.aliases.iter().find(|(_, target)| !known(target)) {
            None => Ok(()),
            Some((alias, target)) => {
                let names =
                    self.models.iter().map(|judge| judge.name.as_str()).chain(models.iter().map(String::as_str));
                let meant = suggestion(target.split(':').next().unwrap_or_default(), names);
                let reason = format!("the alias `{alias}` stands for it, and there is no such model{meant}");
                Err(invalid(target, reason))
            }
        }
    }

    /// Every judge model.
    #[must_use]
    pub fn all(&self) -> &[JudgeModel] {
        &self.models
    }

    /// The names of all aliases.
    pub fn aliases(&self) -> impl Iterator<Item = &str> {
        self.aliases.keys().map(String::as_str)
    }
}

impl JudgeModel {
    /// The judging script, with the scale of `rubric` if there is one.
    ///
    /// # Errors
    /// If its scores are not a valid scale.
    pub fn script(&self, limits: &PresetLimits, rubric: Option<&Rubric>) -> Result<Script, InvalidScale> {
        let step = |step: &VerdictStep| {
            Ok(match step {
                VerdictStep::Say(text) => Step::Say(text.clone()),
                VerdictStep::Generate(WrittenText { stop }) => Step::Generate(Generate {
                    // The caller's stop texts match exactly.
                    stop: stop
                        .iter()
                        .map(|stop| StopString::ignoring_case(stop))
                        .chain(limits.stop.iter().cloned())
                        .collect(),
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

    /// Appends a rubric to the conversation: to the last user message, or as a new message. Judge models that compare
    /// responses get the criterion only.
    #[must_use]
    pub fn with_rubric(&self, mut turns: Vec<Turn>, rubric: &Rubric) -> Vec<Turn> {
        let mut text = format!("###Score Rubrics:\n[{}]", rubric.criterion());
        if self.steps.iter().any(|step| matches!(step, VerdictStep::Score(_))) {
            for (score, description) in rubric.descriptions() {
                text.push_str(&format!("\nScore {score}: {description}"));
            }
        }
        match turns.last_mut() {
            Some(turn) if turn.role == Role::User => turn.content.push_paragraph(&text),
            _ => {
                let content = format!("Judge the answer above by this rubric.\n\n{text}");
                turns.push(Turn::new(Role::User, content));
            }
        }
        turns
    }

    /// An example of its answers, if they are JSON objects.
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
            return Err(invalid(name, "needs a name without `:`, which separates the name from a rubric"));
        }
        let verdict = |step: &VerdictStep| matches!(step, VerdictStep::Choose(_) | VerdictStep::Score(_));
        if !self.steps.iter().any(verdict) {
            return Err(invalid(name, "needs a step with `choose` or `score`: the verdict"));
        }
        for step in &self.steps {
            match step {
                VerdictStep::Generate(WrittenText { stop })
                    if stop
                        .iter()
                        .any(|stop| stop.trim_start().is_empty() && !["\n", "\r", "\t"].contains(&stop.as_str())) =>
                {
                    return Err(invalid(name, "a stop text is empty"));
                }
                VerdictStep::Score(Scores { text, .. }) if text.matches(SCORE).count() != 1 => {
                    return Err(invalid(name, "the text of a score must contain `{score}` once"));
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
