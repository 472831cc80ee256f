//! The results of a run, one per line. Only one run writes a file at a time, and no run adds to verdicts of other
//! settings.

mod earlier;
mod kept;
mod lock;

use std::collections::HashMap;
use std::fs::{File, OpenOptions};
use std::io::{Read, Write};
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use self::earlier::{Earlier, Verdicts, request_digest};
use self::kept::Kept;
use self::lock::{lock, open_locked};

use super::CliError;
use super::grader::Grader;
use super::items::Item;

/// Where results go, and what they are. A file is locked until this is dropped.
pub(super) struct Results {
    path: PathBuf,
    /// `None` for standard output.
    file: Option<File>,
    /// The verdicts of earlier runs, by item id.
    earlier: HashMap<String, Earlier>,
    /// The first item of them for each kind of verdict, model and prompt.
    first_of: HashMap<[String; 3], String>,
    /// What became of each item, of earlier runs as well, by item id.
    kept: HashMap<String, Kept>,
    /// What to do if the file belongs to another run.
    remedy: &'static str,
    /// The replaced file; its lock keeps out processes that have it open.
    _replaced: Option<File>,
}

impl Results {
    /// Results that are printed as they come; nothing is known of earlier runs.
    pub(super) fn to_stdout() -> Self {
        Self::new(PathBuf::from("standard output"), None, Verdicts::default(), "", None)
    }

    /// Opens and locks the file, keeps its verdicts, and drops failed items and an incomplete last line. `remedy` says what
    /// to do if the file belongs to another run, such as "use another file for --out".
    ///
    /// # Errors
    /// If another run is writing it, or a line is not a verdict.
    pub(super) fn open(path: &Path, remedy: &'static str) -> Result<Self, CliError> {
        let fail = |error: std::io::Error| CliError::because(path.display(), error);
        let mut file = open_locked(path)?;
        let results =
            |file, verdicts: Verdicts, replaced| Self::new(path.to_owned(), Some(file), verdicts, remedy, replaced);
        // A target that is not a file, such as a terminal, has no earlier verdicts.
        if !file.metadata().map_err(fail)?.is_file() {
            return Ok(results(file, Verdicts::default(), None));
        }
        let mut text = Vec::new();
        file.read_to_end(&mut text).map_err(fail)?;
        let verdicts = Verdicts::read(path, &text)?;
        if verdicts.lines == text {
            return Ok(results(file, verdicts, None));
        }
        let mut partial = path.as_os_str().to_owned();
        partial.push(".partial");
        // A remainder of an interrupted run; the lock excludes other runs.
        let _ = std::fs::remove_file(&partial);
        let mut fresh = OpenOptions::new().create_new(true).append(true).open(&partial).map_err(fail)?;
        lock(&fresh, path)?;
        fresh.write_all(&verdicts.lines).and_then(|()| std::fs::rename(&partial, path)).map_err(fail)?;
        Ok(results(fresh, verdicts, Some(file)))
    }

    fn new(
        path: PathBuf,
        file: Option<File>,
        verdicts: Verdicts,
        remedy: &'static str,
        replaced: Option<File>,
    ) -> Self {
        let Verdicts { earlier, kept, .. } = verdicts;
        let mut by_line: Vec<(&String, &Earlier)> = earlier.iter().collect();
        by_line.sort_unstable_by_key(|(_, earlier)| std::cmp::Reverse(earlier.line));
        let first_of = by_line.into_iter().map(|(id, earlier)| (earlier.produced_by(), id.clone())).collect();
        Self { path, file, earlier, first_of, kept, remedy, _replaced: replaced }
    }

    /// Whether it has the verdict on an item.
    pub(super) fn holds(&self, item: &Item) -> bool {
        self.earlier.contains_key(&item.id)
    }

    /// What became of an item; `None` if it was not tried.
    pub(super) fn kept(&self, id: &str) -> Option<&Kept> {
        self.kept.get(id)
    }

    /// Appends the verdict on an item, in one write.
    ///
    /// # Errors
    /// If the judge is not the one of earlier runs any more, or the file cannot be written.
    pub(super) fn add_verdict(&mut self, item: &Item, verdict: Value) -> Result<(), CliError> {
        self.check_fresh(item, &verdict)?;
        self.kept.insert(item.id.clone(), Kept::verdict(&verdict));
        self.add(item, json!({"id": item.id, "request": request_digest(item), "verdict": verdict}))
    }

    /// Appends the error of an item, in one write.
    ///
    /// # Errors
    /// Those of the file.
    pub(super) fn add_error(&mut self, item: &Item, problem: Value) -> Result<(), CliError> {
        self.kept.insert(item.id.clone(), Kept::error());
        self.add(item, json!({"id": item.id, "error": problem}))
    }

    fn add(&mut self, item: &Item, mut line: Value) -> Result<(), CliError> {
        if let Some(input) = &item.input {
            line["input"] = Value::Object(input.clone());
        }
        let line = format!("{line}\n");
        let written = match &mut self.file {
            Some(file) => file.write_all(line.as_bytes()),
            None => {
                out!("{line}");
                Ok(())
            }
        };
        written.map_err(|error| CliError::because(self.path.display(), error))
    }

    /// Writes the lines again, in the order of the items, and in place of the file. Lines of other items come last.
    ///
    /// # Errors
    /// Those of the file.
    pub(super) fn sort(&mut self, items: &[Item]) -> Result<(), CliError> {
        let fail = |error: std::io::Error| CliError::because(self.path.display(), error);
        let is_file = |file: &mut File| file.metadata().is_ok_and(|metadata| metadata.is_file());
        let Some(file) = self.file.take_if(is_file) else { return Ok(()) };
        let text = std::fs::read(&self.path).map_err(fail)?;
        let places: HashMap<&str, usize> = items.iter().enumerate().map(|(at, item)| (item.id.as_str(), at)).collect();
        let mut lines: Vec<(usize, &[u8])> = text
            .split_inclusive(|byte| *byte == b'\n')
            .map(|line| {
                let value: Value = serde_json::from_slice(line).unwrap_or_default();
                (value["id"].as_str().and_then(|id| places.get(id)).copied().unwrap_or(usize::MAX), line)
            })
            .collect();
        lines.sort_by_key(|(place, _)| *place);
        let sorted: Vec<u8> = lines.into_iter().flat_map(|(_, line)| line).copied().collect();
        let mut partial = self.path.as_os_str().to_owned();
        partial.push(".partial");
        std::fs::write(&partial, sorted).and_then(|()| std::fs::rename(&partial, &self.path)).map_err(fail)?;
        // Its lock still keeps out others that have it open.
        self._replaced = Some(file);
        Ok(())
    }

    /// Checks a verdict that has just come against earlier ones of the same kind by the same prompt set. Only then is
    /// known what prompts a server has.
    fn check_fresh(&self, item: &Item, verdict: &Value) -> Result<(), CliError> {
        let now = Earlier::of(0, &json!({"verdict": verdict}));
        let Some(id) = self.first_of.get(&now.produced_by()).filter(|id| **id != item.id) else { return Ok(()) };
        let earlier = &self.earlier[id];
        let what = if earlier.model_digest != now.model_digest {
            "another model"
        } else if earlier.prompt_digest != now.prompt_digest {
            "another text of its prompt set"
        } else if item.body["examples"].is_string() && earlier.examples_digest != now.examples_digest {
            "another version of its examples"
        } else {
            return Ok(());
        };
        Err(self.otherwise(earlier, id, what))
    }

    /// Checks that the verdicts of earlier runs have the settings of this run.
    ///
    /// # Errors
    /// With the first line that has other settings, and the difference.
    pub(super) fn check(&self, items: &[Item]) -> Result<(), CliError> {
        let differs = |item: &Item| {
            let earlier = self.earlier.get(&item.id)?;
            Some(self.otherwise(earlier, &item.id, earlier.differs(item)?))
        };
        items.iter().find_map(differs).map_or(Ok(()), Err)
    }

    /// The same for the digests of rubrics, models and prompts, which only the judge knows. Unknown digests are not
    /// checked.
    ///
    /// # Errors
    /// With the first line that has other settings, and the difference.
    pub(super) async fn check_with(&self, grader: &Grader, items: &[Item]) -> Result<(), CliError> {
        let mut earlier: Vec<(&Item, &Earlier)> =
            items.iter().filter_map(|item| Some((item, self.earlier.get(&item.id)?))).collect();
        earlier.sort_by_key(|(_, earlier)| earlier.line);
        if earlier.is_empty() {
            return Ok(());
        }
        let models = grader.models().await;
        let mut rubrics: HashMap<&str, Option<String>> = HashMap::new();
        let mut prompts: HashMap<&str, Option<String>> = HashMap::new();
        for (item, earlier) in earlier {
            let asked = item.body.get("model").and_then(Value::as_str);
            // Without a name, the first model is the default.
            let now = models.iter().find(|(name, _)| asked.is_none_or(|asked| name == asked));
            let now = now.and_then(|(_, digest)| digest.as_ref());
            if now.is_some_and(|digest| *digest != earlier.model_digest) {
                return Err(self.otherwise(earlier, &item.id, "another model"));
            }
            if !prompts.contains_key(earlier.prompt.as_str()) {
                prompts.insert(&earlier.prompt, grader.prompt_digest(&earlier.prompt).await);
            }
            if prompts[earlier.prompt.as_str()].as_ref().is_some_and(|digest| *digest != earlier.prompt_digest) {
                return Err(self.otherwise(earlier, &item.id, "another text of its prompt set"));
            }
            let Some(rubric) = item.body.get("rubric").and_then(Value::as_str) else { continue };
            if !rubrics.contains_key(rubric) {
                rubrics.insert(rubric, grader.rubric_digest(rubric).await);
            }
            if rubrics[rubric].as_ref().is_some_and(|digest| *digest != earlier.rubric_digest) {
                return Err(self.otherwise(earlier, &item.id, "another version of its rubric"));
            }
        }
        Ok(())
    }

    fn otherwise(&self, earlier: &Earlier, id: &str, what: &str) -> CliError {
        CliError::Failed(format!(
            "{}:{}: `{id}` was graded with {what}; {}, or delete this one to grade again",
            self.path.display(),
            earlier.line,
            self.remedy
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::items::{KindArg, Route};

    fn asked(id: &str) -> Item {
        Item { id: id.into(), route: Route::Grade(KindArg::Absolute), body: json!({}), input: None }
    }

    #[test]
    fn a_verdict_by_another_prompt_is_not_added() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("out.jsonl");
        let verdict = |model: &str, prompt: &str| {
            json!({
                "object": "verdict.absolute", "model": {"name": "m", "digest": model},
                "prompt": {"name": "plain/absolute", "digest": prompt}, "reward": 0.5,
            })
        };
        let mut results = Results::open(&path, "use another file for --out").unwrap();
        results.add_verdict(&asked("a"), verdict("m1", "p1")).unwrap();
        drop(results);
        let check = |verdict: Value, expected: Option<&str>| {
            let mut results = Results::open(&path, "use another file for --out").unwrap();
            let added = results.add_verdict(&asked("b"), verdict).err().map(|error| error.to_string());
            match (added, expected) {
                (None, None) => {}
                (Some(error), Some(part)) => assert!(error.contains(part) && error.contains("out.jsonl:1"), "{error}"),
                other => panic!("{other:?}"),
            }
        };
        check(verdict("m1", "p2"), Some("`a` was graded with another text of its prompt set"));
        check(verdict("m2", "p1"), Some("another model"));
        check(verdict("m1", "p1"), None);
    }

    #[test]
    fn lines_are_sorted_as_items_are() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("out.jsonl");
        let mut results = Results::open(&path, "use another file for --out").unwrap();
        for id in ["c", "stranger", "a", "b"] {
            results.add_error(&asked(id), json!({"code": "saturated"})).unwrap();
        }
        results.sort(&["a", "b", "c"].map(asked)).unwrap();
        let text = std::fs::read_to_string(&path).unwrap();
        let ids: Vec<String> =
            text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap()["id"].to_string()).collect();
        assert_eq!(ids, ["\"a\"", "\"b\"", "\"c\"", "\"stranger\""]);
    }

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
        second.add_error(&asked("c"), json!({"code": "saturated"})).unwrap();
        let text = std::fs::read_to_string(&path).unwrap();
        assert_eq!(text, "{\"id\": \"a\", \"verdict\": {}}\n{\"id\":\"c\",\"error\":{\"code\":\"saturated\"}}\n");
    }
}
