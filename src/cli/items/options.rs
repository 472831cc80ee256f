//! Options of the command line for every item. They take precedence over the fields of the items.

use std::path::{Path, PathBuf};
use std::str::FromStr;

use clap::Args;
use serde_json::{Map, Value, json};

use super::super::CliError;
use super::kinds::ModeArg;
use crate::labelled::Mapping;
use crate::rubrics;

/// What items are judged by, and how.
#[derive(Debug, Default, Args)]
pub(in super::super) struct ItemOptions {
    /// Name of a rubric, or a rubric file (`rubrics/mine.toml`), which is sent with each item; replaces that of the
    /// items. Default without a file of items: `helpfulness`.
    #[arg(long, value_name = "NAME|FILE.toml", help_heading = "Judging")]
    rubric: Option<RubricArg>,
    /// Feedback and verdict, or only the verdict. Default: each item's own, or feedback.
    #[arg(long, help_heading = "Judging")]
    pub(in super::super) mode: Option<ModeArg>,
}

impl ItemOptions {
    /// The rubric of requests that are not from a file.
    pub(in super::super) fn rubric(&self) -> Value {
        self.rubric.as_ref().map_or_else(|| json!("helpfulness"), |rubric| rubric.0.clone())
    }

    pub(super) fn put(&self, body: &mut Map<String, Value>) {
        if let Some(RubricArg(rubric)) = &self.rubric {
            body.insert("rubric".into(), rubric.clone());
        }
        if let Some(mode) = self.mode {
            body.insert("mode".into(), json!(mode.name()));
        }
    }
}

/// How files of items are read, and more of how they are judged.
#[derive(Debug, Clone, Default, Args)]
pub(in super::super) struct ItemSettings {
    /// Which column or path is which field, such as instruction=question,response=meta.answer.
    #[arg(long, value_name = "FIELD=COLUMN,…", default_value = "", hide_default_value = true, help_heading = "Items")]
    pub(in super::super) map: Mapping,
    /// Leave out fields that no request has. Default: an error in JSON; other columns of a table are notes.
    #[arg(long, help_heading = "Items")]
    pub(in super::super) ignore_unknown: bool,
    /// Leave out rows that cannot be used, such as broken lines and items without a response, and grade the others. They
    /// are listed at the end, and the exit code is 4. Default: the first such row is an error, and nothing is graded.
    #[arg(long, requires = "data", help_heading = "Items")]
    pub(in super::super) skip_invalid: bool,
    /// A text file that every response is judged against, such as a policy or a passage. May be given several times.
    #[arg(long, value_name = "FILE", help_heading = "Judging")]
    pub(super) context: Vec<PathBuf>,
    /// The prompt set. Default: the model's own.
    #[arg(long, value_name = "SET", help_heading = "Judging")]
    pub(super) prompt: Option<String>,
    /// A set of graded examples that the judge is shown first. Default: each item's own, or none.
    #[arg(long, value_name = "SET", help_heading = "Judging")]
    pub(super) examples: Option<String>,
    /// Number of judgements of each item, which are combined; more than one needs --temperature and feedback.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=64), help_heading = "Judging")]
    pub(super) samples: Option<u32>,
    /// Temperature of the feedback, 0 to 2.
    #[arg(long, value_name = "T", value_parser = temperature, help_heading = "Judging")]
    pub(super) temperature: Option<f64>,
    /// Maximum number of tokens of feedback.
    #[arg(long, value_name = "N", help_heading = "Judging")]
    pub(super) max_feedback_tokens: Option<u32>,
    /// Whether pairs are compared in one order only; set by the commands that compare.
    #[arg(skip)]
    pub(in super::super) no_swap: bool,
    /// The model that requests name; set by the command.
    #[arg(skip)]
    pub(in super::super) model: Option<String>,
}

impl ItemSettings {
    /// The documents of `--context`.
    ///
    /// # Errors
    /// If one cannot be read.
    pub(super) fn documents(&self) -> Result<Vec<Value>, CliError> {
        let document = |path: &PathBuf| {
            let text = std::fs::read_to_string(path).map_err(|error| CliError::because(path.display(), error))?;
            let name =
                path.file_name().map_or_else(|| path.display().to_string(), |n| n.to_string_lossy().into_owned());
            Ok(json!({"id": name, "text": text.trim_start_matches('\u{feff}')}))
        };
        self.context.iter().map(document).collect()
    }

    pub(super) fn put(&self, body: &mut Map<String, Value>) {
        let prompt = self.prompt.as_ref().map(|prompt| ("prompt", json!(prompt)));
        let samples = self.samples.map(|samples| ("samples", json!(samples)));
        let model = self.model.as_ref().map(|model| ("model", json!(model)));
        let examples = self.examples.as_ref().map(|examples| ("examples", json!(examples)));
        for (name, value) in prompt.into_iter().chain(examples).chain(samples).chain(model) {
            body.insert(name.into(), value);
        }
        let temperature = self.temperature.map(|temperature| ("temperature", json!(temperature)));
        let tokens = self.max_feedback_tokens.map(|tokens| ("max_feedback_tokens", json!(tokens)));
        let sampling: Vec<_> = temperature.into_iter().chain(tokens).collect();
        if sampling.is_empty() {
            return;
        }
        let all = body.entry("sampling").or_insert_with(|| json!({}));
        for (name, value) in sampling {
            // One that is no object is left for the server to refuse.
            if let Value::Object(all) = all {
                all.insert(name.into(), value);
            }
        }
    }

    /// The same of one request from flags.
    ///
    /// # Errors
    /// If a document cannot be read.
    pub(in super::super) fn put_on(&self, body: &mut Value) -> Result<(), CliError> {
        let documents = self.documents()?;
        if let Value::Object(body) = body {
            if !documents.is_empty() {
                body.insert("context".into(), documents.into());
            }
            self.put(body);
        }
        Ok(())
    }
}

fn temperature(text: &str) -> Result<f64, String> {
    text.parse().ok().filter(|t| (0.0..=2.0).contains(t)).ok_or_else(|| "must be a number from 0 to 2".to_owned())
}

/// A rubric as requests have it: its name, or the content of its file.
#[derive(Debug, Clone, PartialEq)]
struct RubricArg(Value);

impl FromStr for RubricArg {
    type Err = String;

    /// A text that ends in `.toml` or has a slash is a file.
    fn from_str(text: &str) -> Result<Self, String> {
        if !text.ends_with(".toml") && !text.contains(std::path::is_separator) {
            return Ok(Self(json!(text)));
        }
        let rubric = rubrics::read(Path::new(text)).map_err(|error| error.to_string())?;
        if !rubric.calibrations().is_empty() {
            let what = "names a calibration or a fit, which cannot be sent with a request; put the rubric into the \
                        `rubrics` folder of the judge's data folder, and give its name";
            return Err(format!("{text} {what}"));
        }
        let descriptions: Map<String, Value> =
            rubric.descriptions().map(|(score, text)| (score.to_string(), json!(text))).collect();
        Ok(Self(json!({"criterion": rubric.criterion(), "descriptions": descriptions})))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rubric_is_a_name_or_a_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("mine.toml");
        let shown = path.display().to_string();
        std::fs::write(&path, "criterion = \"Is it good?\"\n[descriptions]\n1 = \"no\"\n2 = \"yes\"\n").unwrap();
        let inline = json!({"criterion": "Is it good?", "descriptions": {"1": "no", "2": "yes"}});
        assert_eq!(RubricArg::from_str(&shown), Ok(RubricArg(inline)));
        assert_eq!(RubricArg::from_str("honesty"), Ok(RubricArg(json!("honesty"))));
        std::fs::write(&path, "criterion = \"Is it good?\"\n").unwrap();
        assert!(RubricArg::from_str(&shown).unwrap_err().contains("mine.toml"));
        assert!(RubricArg::from_str("nowhere.toml").unwrap_err().contains("nowhere.toml"));
    }

    #[test]
    fn options_take_precedence() {
        let settings = ItemSettings {
            prompt: Some("plain".into()),
            samples: Some(3),
            temperature: Some(0.5),
            max_feedback_tokens: Some(9),
            model: Some("judge".into()),
            ..ItemSettings::default()
        };
        let mut body = Map::new();
        body.insert("samples".into(), json!(1));
        body.insert("sampling".into(), json!({"top_p": 0.9, "temperature": 0}));
        settings.put(&mut body);
        let expected = json!({
            "samples": 3, "prompt": "plain", "model": "judge",
            "sampling": {"top_p": 0.9, "temperature": 0.5, "max_feedback_tokens": 9},
        });
        assert_eq!(Value::Object(body), expected);
        let mut untouched = Map::new();
        ItemSettings::default().put(&mut untouched);
        assert!(untouched.is_empty());
    }
}
