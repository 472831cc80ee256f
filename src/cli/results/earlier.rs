//! How earlier runs graded their items, which decides whether a run may go on with theirs.

use std::collections::HashMap;
use std::path::Path;

use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::super::CliError;
use super::super::items::Item;
use super::kept::Kept;
use crate::domain::Rubric;

/// How an earlier run graded an item.
pub(super) struct Earlier {
    pub(super) line: usize,
    pub(super) request: Option<String>,
    pub(super) object: String,
    pub(super) has_feedback: bool,
    pub(super) is_multi: bool,
    pub(super) rubric: String,
    pub(super) rubric_digest: String,
    pub(super) model: String,
    pub(super) model_digest: String,
    pub(super) prompt: String,
    pub(super) prompt_digest: String,
    pub(super) examples_digest: String,
}

/// The digest of an item's request.
pub(super) fn request_digest(item: &Item) -> String {
    let asked = json!([item.route.path(), sorted(&item.body)]);
    format!("sha256:{:x}", Sha256::digest(asked.to_string()))
}

/// The value with sorted fields.
fn sorted(value: &Value) -> Value {
    match value {
        Value::Object(fields) => {
            let mut fields: Vec<(&String, &Value)> = fields.iter().collect();
            fields.sort_unstable_by_key(|(name, _)| *name);
            Value::Object(fields.into_iter().map(|(name, value)| (name.clone(), sorted(value))).collect())
        }
        Value::Array(values) => values.iter().map(sorted).collect(),
        other => other.clone(),
    }
}

impl Earlier {
    pub(super) fn of(line: usize, value: &Value) -> Self {
        let verdict = &value["verdict"];
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        Self {
            line,
            request: value["request"].as_str().map(str::to_owned),
            object: text(&verdict["object"]),
            has_feedback: !verdict["feedback"].is_null(),
            is_multi: !verdict["criteria"].is_null(),
            rubric: text(&verdict["rubric"]["name"]),
            rubric_digest: text(&verdict["rubric"]["digest"]),
            model: text(&verdict["model"]["name"]),
            model_digest: text(&verdict["model"]["digest"]),
            prompt: text(&verdict["prompt"]["name"]),
            prompt_digest: text(&verdict["prompt"]["digest"]),
            examples_digest: text(&verdict["examples"]["digest"]),
        }
    }

    /// Its kind, and the names of model and prompt.
    pub(super) fn produced_by(&self) -> [String; 3] {
        [&self.object, &self.model, &self.prompt].map(String::clone)
    }

    /// The difference between this verdict and the request of an item.
    pub(super) fn differs(&self, item: &Item) -> Option<&'static str> {
        if !self.object.is_empty() && self.object != item.route.object() {
            return Some("another kind of grading");
        }
        let rubric = &item.body["rubric"];
        let same_rubric = match rubric {
            _ if self.rubric.is_empty() => true,
            Value::String(name) => *name == self.rubric,
            Value::Object(_) => {
                let digest = inline(rubric).map(|rubric| rubric.digest().to_owned());
                self.rubric == "inline" && digest.is_none_or(|digest| digest == self.rubric_digest)
            }
            _ => self.rubric == "multi",
        };
        if !same_rubric {
            return Some("another rubric");
        }
        let score_only = item.body["mode"] == "score";
        let shows_mode = self.has_feedback || (item.route.object() == "verdict.absolute" && !self.is_multi);
        if shows_mode && self.has_feedback == score_only {
            return Some("another mode");
        }
        let same = self.request.as_ref().is_none_or(|request| *request == request_digest(item));
        (!same).then_some("another request: its texts, model or settings differ")
    }
}

fn inline(rubric: &Value) -> Option<Rubric> {
    let descriptions = serde_json::from_value(rubric["descriptions"].clone()).ok()?;
    Rubric::new(rubric["criterion"].as_str()?, &descriptions).ok()
}

/// The verdicts of a file, and the lines to keep.
#[derive(Default)]
pub(super) struct Verdicts {
    pub(super) earlier: HashMap<String, Earlier>,
    pub(super) kept: HashMap<String, Kept>,
    pub(super) lines: Vec<u8>,
}

impl Verdicts {
    pub(super) fn read(path: &Path, text: &[u8]) -> Result<Self, CliError> {
        let mut found = Self::default();
        let lines: Vec<&[u8]> =
            text.strip_prefix(b"\xef\xbb\xbf").unwrap_or(text).split(|byte| *byte == b'\n').collect();
        for (index, line) in lines.iter().enumerate() {
            let line = line.strip_suffix(b"\r").unwrap_or(line);
            let value: Value = serde_json::from_slice(line).unwrap_or_default();
            let ours = value["id"].is_string() && (value["verdict"].is_object() || value["error"].is_object());
            // The last line may be incomplete; any other invalid line means that this is not our file.
            if !ours && !line.is_empty() && index + 1 < lines.len() {
                let what = format!("{}:{}: is not a verdict; use another file", path.display(), index + 1);
                return Err(CliError::Failed(what));
            }
            if let (Some(id), true) = (value["id"].as_str(), value["verdict"].is_object())
                && !found.earlier.contains_key(id)
            {
                found.earlier.insert(id.to_owned(), Earlier::of(index + 1, &value));
                found.kept.insert(id.to_owned(), Kept::verdict(&value["verdict"]));
                found.lines.extend_from_slice(line);
                found.lines.push(b'\n');
            }
        }
        Ok(found)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::items::{KindArg, Route};

    #[test]
    fn what_was_graded_otherwise_is_found() {
        let rubric = json!({"criterion": "Is it good?", "descriptions": {"1": "no", "2": "yes"}});
        let digest = inline(&rubric).unwrap().digest().to_owned();
        let item = |kind, body: Value| Item { route: Route::Grade(kind), body, id: "a".into(), input: None };
        let absolute = |body| item(KindArg::Absolute, body);
        let asked = absolute(json!({"response": "So.", "rubric": "helpfulness", "model": null}));
        let of = |request: Option<String>, name: &str, digest: &str, feedback: Value| {
            let rubric = json!({"name": name, "digest": digest});
            let verdict = json!({"object": "verdict.absolute", "feedback": feedback, "rubric": rubric});
            Earlier::of(1, &json!({"id": "a", "request": request, "verdict": verdict}))
        };
        let said = json!("Hm.");
        let helpful = of(Some(request_digest(&asked)), "helpfulness", "sha256:0", said.clone());
        let check = |earlier: &Earlier, item: &Item, expected: Option<&str>| {
            assert_eq!(earlier.differs(item).map(|what| what.split(':').next().unwrap()), expected, "{}", item.body);
        };
        check(&helpful, &asked, None);
        check(&helpful, &absolute(json!({"model": null, "rubric": "helpfulness", "response": "So."})), None);
        check(&helpful, &absolute(json!({"response": "Thus.", "rubric": "helpfulness"})), Some("another request"));
        check(&helpful, &absolute(json!({"response": "So.", "rubric": "honesty"})), Some("another rubric"));
        check(&helpful, &absolute(json!({"response": "So.", "rubric": rubric})), Some("another rubric"));
        let scored = json!({"response": "So.", "rubric": "helpfulness", "mode": "score"});
        check(&helpful, &absolute(scored.clone()), Some("another mode"));
        check(&helpful, &item(KindArg::Relative, json!({"rubric": "helpfulness"})), Some("another kind of grading"));
        // Files of older versions do not name the request.
        let older = of(None, "helpfulness", "sha256:0", said.clone());
        check(&older, &asked, None);
        check(&older, &absolute(scored.clone()), Some("another mode"));
        check(&of(None, "helpfulness", "sha256:0", Value::Null), &absolute(scored), None);
        check(&of(None, "helpfulness", "sha256:0", Value::Null), &asked, Some("another mode"));
        check(&of(None, "inline", &digest, said.clone()), &absolute(json!({"rubric": rubric})), None);
        check(&of(None, "inline", "sha256:0", said), &absolute(json!({"rubric": rubric})), Some("another rubric"));
    }
}
