//! Labelled items, graded by a judge into a file that a later run goes on with.

use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::super::failures::Failures;
use super::super::grader::{Grader, Reply};
use super::super::items::{Item, KindArg, MethodArg, ModeArg, Route};
use super::super::results::Results;
use super::super::{CliError, show, work};
use crate::labelled::{Labelled, LabelledItem};

/// How many items may fail before it is taken for granted that all would.
const PROBES: usize = 5;

/// What is asked of a judge.
pub(in super::super) struct Asked<'a> {
    /// The name that requests to a server use.
    pub(in super::super) model: Option<&'a str>,
    /// The rubric of items without one.
    pub(in super::super) rubric: &'a str,
    /// Feedback and verdict, or the verdict alone; as the judge does where nothing is said.
    pub(in super::super) mode: Option<ModeArg>,
    /// How pairs are compared; as the judge does where nothing is said.
    pub(in super::super) method: Option<MethodArg>,
    /// The prompt set, where it is not the judge's own.
    pub(in super::super) prompt: Option<&'a str>,
    /// How many requests are in flight.
    pub(in super::super) concurrency: usize,
}

/// Grades the items, and gives the file that holds the verdicts, and what failed. It is named after the judge and what it was asked with,
/// so that another model, prompt, rubric or mode has another file.
///
/// # Errors
/// When the judge cannot grade at all, its server ends, or the file cannot be written.
pub(in super::super) async fn grade(
    grader: &Grader,
    name: &str,
    items: &[LabelledItem],
    asked: &Asked<'_>,
    folder: &Path,
) -> Result<(PathBuf, Failures), CliError> {
    let items: Vec<Item> = items.iter().map(|item| request(item, asked)).collect();
    let mut produced = Vec::new();
    for kind in [KindArg::Absolute, KindArg::Relative] {
        let of_kind: Vec<&Item> = items.iter().filter(|item| item.route == Route::Grade(kind)).collect();
        if !of_kind.is_empty() {
            let verdict = probe(grader, name, &of_kind).await?;
            produced.push((verdict["model"]["digest"].clone(), verdict["prompt"]["digest"].clone()));
        }
    }
    let (mode, method) = (asked.mode.map(ModeArg::name), asked.method.map(MethodArg::name));
    let depends_on = json!([name, produced, asked.rubric, mode, method]);
    let digest = format!("{:x}", Sha256::digest(depends_on.to_string()));
    std::fs::create_dir_all(folder).map_err(|error| CliError::because(folder.display(), error))?;
    let path = folder.join(format!("{}-{}.jsonl", file_name(name), &digest[..12]));
    let mut results = Results::open(&path, "name another folder with --keep")?;
    results.check(&items)?;
    let work = work::grade(grader, &items, &mut results, asked.concurrency).await?;
    if work.interrupted {
        let what = format!("{} of {} graded; run the same command again to go on", work.graded(), items.len());
        return Err(CliError::Interrupted(what));
    }
    let failures = work.failures;
    match failures.message() {
        // A report on half of the items would look like one on all.
        Some(message) if failures.untried() > 0 => Err(CliError::Failed(message)),
        _ => Ok((path, failures)),
    }
}

/// The request for an item.
fn request(item: &LabelledItem, asked: &Asked<'_>) -> Item {
    let mut body = Value::Object(item.body.clone());
    if body["instruction"].is_array() {
        body["messages"] = body["instruction"].take();
    }
    if body["rubric"].is_null() {
        body["rubric"] = json!(asked.rubric);
    }
    let more = [("model", asked.model), ("mode", asked.mode.map(ModeArg::name)), ("prompt", asked.prompt)];
    for (field, value) in more.into_iter().filter_map(|(field, value)| Some((field, value?))) {
        body[field] = json!(value);
    }
    let kind = match item.labelled {
        Labelled::Score { .. } => KindArg::Absolute,
        Labelled::Pair { .. } => KindArg::Relative,
    };
    if let (KindArg::Relative, Some(method)) = (kind, asked.method) {
        body["method"] = json!(method.name());
    }
    Item { id: item.id.clone(), route: Route::Grade(kind), body, input: None }
}

/// A verdict on one of the first items of a kind, which says what model and prompt the judge has.
async fn probe(grader: &Grader, name: &str, items: &[&Item]) -> Result<Value, CliError> {
    let mut problem = Value::Null;
    for item in items.iter().take(PROBES) {
        match grader.grade(item.route, &item.body).await {
            Reply::Verdict(verdict) => return Ok(verdict),
            Reply::Problem(found, kind) => {
                problem = found;
                if kind.is_unanswered() {
                    break;
                }
            }
        }
    }
    Err(CliError::because(format!("{name} failed on all of the first items"), show::problem(&problem)))
}

/// A judge's name as part of a file's name.
pub(in super::super) fn file_name(judge: &str) -> String {
    let safe = |c: char| if c.is_ascii_alphanumeric() || "-_.".contains(c) { c } else { '_' };
    let name: String = judge.chars().rev().take(60).collect::<Vec<_>>().into_iter().rev().map(safe).collect();
    name.trim_start_matches('.').to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_judge_has_a_file_name() {
        let check = |judge: &str, expected: &str| assert_eq!(file_name(judge), expected);
        check("prometheus-2-7b", "prometheus-2-7b");
        check("hf:owner/name/file.gguf@v1", "hf_owner_name_file.gguf_v1");
        check("../judge.gguf", "_judge.gguf");
        assert_eq!(file_name(&"ä".repeat(200)).len(), 60);
    }
}
