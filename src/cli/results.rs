//! The file that a command grades into, one verdict a line: one run at a time, and no run adds to what was graded
//! otherwise.

use std::collections::HashMap;
use std::fs::{File, OpenOptions, TryLockError};
use std::io::{ErrorKind, Read, Write};
use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::CliError;
use super::grader::Grader;
use super::items::{Item, KindArg};
use crate::domain::Rubric;

/// The file, locked until it is dropped.
pub(super) struct Results {
    path: PathBuf,
    file: File,
    /// What it held before, by the items' ids.
    earlier: HashMap<String, Earlier>,
    /// What to do when it is not the file for this run.
    remedy: &'static str,
    /// The file that this one has replaced; its lock keeps out those who have it open.
    _replaced: Option<File>,
}

/// What an earlier run says of how it graded an item.
struct Earlier {
    line: usize,
    request: Option<String>,
    object: String,
    has_feedback: bool,
    is_multi: bool,
    rubric: String,
    rubric_digest: String,
    model_digest: String,
}

impl Results {
    /// Opens and locks the file, keeps its verdicts, and drops what failed or was cut off. `remedy` says what to do where
    /// it holds something else, such as "name another file with --out".
    ///
    /// # Errors
    /// When another run writes it, or a line is no verdict.
    pub(super) fn open(path: &Path, remedy: &'static str) -> Result<Self, CliError> {
        let fail = |error: std::io::Error| CliError::because(path.display(), error);
        let mut file = open_locked(path)?;
        let results = |file, earlier, replaced| {
            let path = path.to_owned();
            Self { path, file, earlier, remedy, _replaced: replaced }
        };
        // What is no file, such as a terminal, holds nothing from before.
        if !file.metadata().map_err(fail)?.is_file() {
            return Ok(results(file, HashMap::new(), None));
        }
        let mut text = Vec::new();
        file.read_to_end(&mut text).map_err(fail)?;
        let (earlier, kept) = verdicts(path, &text)?;
        if kept == text {
            return Ok(results(file, earlier, None));
        }
        let mut partial = path.as_os_str().to_owned();
        partial.push(".partial");
        // What an interrupted run left; nobody else is here.
        let _ = std::fs::remove_file(&partial);
        let mut fresh = OpenOptions::new().create_new(true).append(true).open(&partial).map_err(fail)?;
        lock(&fresh, path)?;
        fresh.write_all(&kept).and_then(|()| std::fs::rename(&partial, path)).map_err(fail)?;
        Ok(results(fresh, earlier, Some(file)))
    }

    /// Whether it holds the verdict on an item.
    pub(super) fn holds(&self, item: &Item) -> bool {
        self.earlier.contains_key(&item.id)
    }

    /// Adds a line, in one write.
    ///
    /// # Errors
    /// Those of the file.
    pub(super) fn add(&mut self, line: &Value) -> Result<(), CliError> {
        let line = format!("{line}\n");
        self.file.write_all(line.as_bytes()).map_err(|error| CliError::because(self.path.display(), error))
    }

    /// Checks that the verdicts of earlier runs are those that this run would ask for.
    ///
    /// # Errors
    /// With the first line that was graded otherwise, and in what.
    pub(super) fn check(&self, items: &[Item]) -> Result<(), CliError> {
        let differs = |item: &Item| {
            let earlier = self.earlier.get(&item.id)?;
            Some(self.otherwise(earlier, &item.id, earlier.differs(item)?))
        };
        items.iter().find_map(differs).map_or(Ok(()), Err)
    }

    /// The same for what only the judge knows: what its rubrics hold, and which models it has. Where it does not say,
    /// nothing is checked.
    ///
    /// # Errors
    /// With the first line that was graded otherwise, and in what.
    pub(super) async fn check_with(&self, grader: &Grader, items: &[Item]) -> Result<(), CliError> {
        let mut earlier: Vec<(&Item, &Earlier)> =
            items.iter().filter_map(|item| Some((item, self.earlier.get(&item.id)?))).collect();
        earlier.sort_by_key(|(_, earlier)| earlier.line);
        if earlier.is_empty() {
            return Ok(());
        }
        let models = grader.models().await;
        let mut rubrics: HashMap<&str, Option<String>> = HashMap::new();
        for (item, earlier) in earlier {
            let asked = item.body.get("model").and_then(Value::as_str);
            // Without a name it is the default model, which is the first.
            let now = models.iter().find(|(name, _)| asked.is_none_or(|asked| name == asked));
            let now = now.and_then(|(_, digest)| digest.as_ref());
            if now.is_some_and(|digest| *digest != earlier.model_digest) {
                return Err(self.otherwise(earlier, &item.id, "another model"));
            }
            let Some(rubric) = item.body.get("rubric").and_then(Value::as_str) else { continue };
            if !rubrics.contains_key(rubric) {
                rubrics.insert(rubric, grader.rubric_digest(rubric).await);
            }
            if rubrics[rubric].as_ref().is_some_and(|digest| *digest != earlier.rubric_digest) {
                return Err(self.otherwise(earlier, &item.id, "another text of its rubric"));
            }
        }
        Ok(())
    }

    fn otherwise(&self, earlier: &Earlier, id: &str, what: &str) -> CliError {
        CliError::Failed(format!(
            "{}:{}: `{id}` was graded by {what}; {}, or remove this one to grade anew",
            self.path.display(),
            earlier.line,
            self.remedy
        ))
    }
}

/// Stands for all that an item's verdict is asked for with.
pub(super) fn request_digest(item: &Item) -> String {
    let asked = json!([item.kind.path(), sorted(&item.body)]);
    format!("sha256:{:x}", Sha256::digest(asked.to_string()))
}

/// The same value, whatever the order in which its fields came.
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
    fn of(line: usize, value: &Value) -> Self {
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
            model_digest: text(&verdict["model"]["digest"]),
        }
    }

    /// In what an item asks for another verdict than this one.
    fn differs(&self, item: &Item) -> Option<&'static str> {
        let expected = match item.kind {
            KindArg::Absolute => "verdict.absolute",
            KindArg::Relative => "verdict.relative",
        };
        if !self.object.is_empty() && self.object != expected {
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
        let shows_mode = self.has_feedback || (item.kind == KindArg::Absolute && !self.is_multi);
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

/// The verdicts of a file by their ids, and the lines that are kept.
fn verdicts(path: &Path, text: &[u8]) -> Result<(HashMap<String, Earlier>, Vec<u8>), CliError> {
    let (mut earlier, mut kept) = (HashMap::new(), Vec::new());
    let lines: Vec<&[u8]> = text.strip_prefix(b"\xef\xbb\xbf").unwrap_or(text).split(|byte| *byte == b'\n').collect();
    for (index, line) in lines.iter().enumerate() {
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        let value: Value = serde_json::from_slice(line).unwrap_or_default();
        let ours = value["id"].is_string() && (value["verdict"].is_object() || value["error"].is_object());
        // The last line may be cut off; any other that is not ours means that the file is not.
        if !ours && !line.is_empty() && index + 1 < lines.len() {
            let what = format!("{}:{}: is not a verdict; name another file", path.display(), index + 1);
            return Err(CliError::Failed(what));
        }
        if let (Some(id), true) = (value["id"].as_str(), value["verdict"].is_object())
            && !earlier.contains_key(id)
        {
            earlier.insert(id.to_owned(), Earlier::of(index + 1, &value));
            kept.extend_from_slice(line);
            kept.push(b'\n');
        }
    }
    Ok((earlier, kept))
}

/// Opens a file that nobody else writes, and keeps others out.
fn open_locked(path: &Path) -> Result<File, CliError> {
    let fail = |error: std::io::Error| CliError::because(path.display(), error);
    loop {
        let file = OpenOptions::new().create(true).read(true).append(true).open(path).map_err(fail)?;
        if !file.metadata().map_err(fail)?.is_file() {
            return Ok(file);
        }
        lock(&file, path)?;
        // Another run may have put a new file in its place before it let this one go.
        if is_at(&file, path).map_err(fail)? {
            return Ok(file);
        }
    }
}

fn lock(file: &File, path: &Path) -> Result<(), CliError> {
    match file.try_lock() {
        Ok(()) => Ok(()),
        Err(TryLockError::WouldBlock) => {
            let what = format!(
                "{}: another `gavel grade` or `gavel agree` is writing it; wait for its end, or name another file",
                path.display()
            );
            Err(CliError::Failed(what))
        }
        // Some network file systems know no locks.
        Err(TryLockError::Error(error)) if error.kind() == ErrorKind::Unsupported => Ok(()),
        Err(TryLockError::Error(error)) => Err(CliError::because(path.display(), error)),
    }
}

/// Whether a path still leads to an open file.
#[cfg(unix)]
fn is_at(file: &File, path: &Path) -> std::io::Result<bool> {
    use std::os::unix::fs::MetadataExt;
    let of = |metadata: std::fs::Metadata| (metadata.dev(), metadata.ino());
    match std::fs::metadata(path) {
        Ok(there) => Ok(of(there) == of(file.metadata()?)),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

/// Other systems do not replace a file that is open.
#[cfg(not(unix))]
fn is_at(_file: &File, _path: &Path) -> std::io::Result<bool> {
    Ok(true)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_has_one_writer() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("out.jsonl");
        // Cut off, so that opening it replaces it.
        std::fs::write(&path, "{\"id\": \"a\", \"verdict\": {}}\n{\"id\": \"b\", \"ver").unwrap();
        let first = Results::open(&path, "name another file").unwrap();
        for _ in 0..2 {
            let error = Results::open(&path, "name another file").err().unwrap().to_string();
            assert!(error.contains("another `gavel grade`"), "{error}");
        }
        drop(first);
        let mut second = Results::open(&path, "name another file").unwrap();
        second.add(&json!({"id": "c", "verdict": {}})).unwrap();
        let text = std::fs::read_to_string(&path).unwrap();
        assert_eq!(text, "{\"id\": \"a\", \"verdict\": {}}\n{\"id\":\"c\",\"verdict\":{}}\n");
    }

    #[test]
    fn what_was_graded_otherwise_is_found() {
        let rubric = json!({"criterion": "Is it good?", "descriptions": {"1": "no", "2": "yes"}});
        let digest = inline(&rubric).unwrap().digest().to_owned();
        let item = |kind, body: Value| Item { id: "a".into(), kind, body };
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
