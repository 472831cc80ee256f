//! `gavel compare`, on runs of the scripted engine.

use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};

use super::{gavel, run};

fn graded(folder: &Path, name: &str, masses: &str) {
    let answers = format!("[[answer]]\nwhen = \"Question 3?\"\nmasses = [0.9, 0.1]\n[[answer]]\nmasses = {masses}\n");
    std::fs::write(folder.join("answers.toml"), answers).unwrap();
    let item = |i: usize| json!({"id": i.to_string(), "instruction": format!("Question {i}?"), "response": "So.", "rubric": "honesty"});
    std::fs::write(folder.join("items.jsonl"), (0..12).map(|i| format!("{}\n", item(i))).collect::<String>()).unwrap();
    let mut command = gavel(folder);
    command.current_dir(folder).args([
        "grade",
        "--engine",
        "scripted",
        "--scripted-answers",
        "answers.toml",
        "--data",
        "items.jsonl",
    ]);
    let (ok, said, complaint) = run(command.args(["--mode", "score", "--out", name]));
    assert!(ok, "{said} {complaint}");
}

fn compare(folder: &Path, args: &[&str]) -> (bool, String, String) {
    let mut command: Command = gavel(folder);
    run(command.current_dir(folder).arg("compare").args(args))
}

#[test]
fn two_runs_are_compared() {
    let folder = tempfile::tempdir().unwrap();
    let here = folder.path();
    graded(here, "before.jsonl", "[0.0, 0.0, 0.0, 0.1, 0.9]");
    graded(here, "after.csv", "[0.0, 0.0, 0.9, 0.1, 0.0]");
    let runs = ["before=before.jsonl", "after=after.csv", "--data", "items.jsonl"];
    let (ok, said, complaint) = compare(here, &[&runs[..], &["--json"]].concat());
    assert!(ok, "{complaint}");
    let report: Value = serde_json::from_str(&said).unwrap();
    assert_eq!(
        (&report["both"], &report["a"]["name"], &report["by_item"]),
        (&json!(12), &json!("before"), &json!(false))
    );
    let shift = &report["responses"];
    // Eleven of twelve go from 4.9 to 3.1, on a scale from 1 to 5.
    let difference = -(4.9 - 3.1) / 4.0 * 11.0 / 12.0;
    assert!((shift["difference"]["value"].as_f64().unwrap() - difference).abs() < 1e-9, "{shift}");
    assert!(shift["p_value"].as_f64().unwrap() < 0.01 && shift["down"] == 11 && shift["same"] == 1, "{shift}");
    let (ok, table, complaint) = compare(here, &[&runs[..], &["--html", "page.html", "--top", "3"]].concat());
    assert!(ok, "{complaint}");
    for part in ["12 items in both with a verdict", "reward ", "WORST IN B", "5 → 3"] {
        assert!(table.contains(part), "{part}: {table}");
    }
    let page = std::fs::read_to_string(here.join("page.html")).unwrap();
    assert!(page.starts_with("<!doctype html>") && page.contains("after is lower"), "{page}");
    let mut command = gavel(here);
    let status = command.current_dir(here).arg("compare").args(runs).arg("--fail-if-worse").output().unwrap().status;
    assert_eq!(status.code(), Some(3));
    let (ok, _, complaint) = compare(here, &["before.jsonl", "before.jsonl", "--fail-if-worse"]);
    assert!(ok, "{complaint}");
    let (ok, _, complaint) = compare(here, &["before.jsonl", "items.jsonl"]);
    assert!(!ok && complaint.contains("no item has a verdict of the same kind"), "{complaint}");
}

#[test]
fn items_that_have_no_instruction_under_that_name_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let here = folder.path();
    graded(here, "run.jsonl", "[0.0, 0.0, 0.0, 0.1, 0.9]");
    let write = |name: &str, id: &str| {
        let row = |i: usize| {
            format!("{}\n", json!({id: i.to_string(), "question": format!("Question {i}?"), "answer": "So."}))
        };
        std::fs::write(here.join(name), (0..12).map(row).collect::<String>()).unwrap();
    };
    write("mine.jsonl", "id");
    let runs = ["run.jsonl", "run.jsonl", "--data", "mine.jsonl"];
    let (ok, _, complaint) = compare(here, &runs);
    for part in
        ["mine.jsonl: no item has an `instruction`", "--map instruction=FIELD", "there are id, question, answer"]
    {
        assert!(!ok && complaint.contains(part), "{part}: {complaint}");
    }
    let (ok, said, complaint) = compare(here, &[&runs[..], &["--map", "instruction=question"]].concat());
    assert!(ok && !said.contains("--data names their instructions"), "{said} {complaint}");
    // Instructions of other items.
    write("named.jsonl", "name");
    let runs = ["run.jsonl", "run.jsonl", "--data", "named.jsonl", "--map", "instruction=question"];
    let (ok, _, complaint) = compare(here, &runs);
    assert!(
        !ok && complaint.contains("no item has the id of a verdict") && complaint.contains("--map id=FIELD"),
        "{complaint}"
    );
}
