//! `gavel traces`, on the scripted engine.

use std::path::Path;

use serde_json::{Value, json};

use super::{Server, gavel, lines, run};

/// A judge that sees what is good, that is wrong about what is odd, and right about that with a hint.
const ANSWERS: &str = "\
[[answer]]
when = \"right verdict is known: the score 5\"
say = \"It is good after all.\"
masses = [0.0, 0.0, 0.0, 0.0, 1.0]
[[answer]]
when = \"unsure\"
masses = [0.01]
[[answer]]
when = \"good\"
say = \"It is good.\"
masses = [0.0, 0.0, 0.0, 0.0, 1.0]
[[answer]]
say = \"It is bad.\"
masses = [1.0, 0.0, 0.0, 0.0, 0.0]
";

fn write(folder: &Path, name: &str, items: &[Value]) {
    std::fs::write(folder.join(name), items.iter().map(|item| format!("{item}\n")).collect::<String>()).unwrap();
}

fn labelled(id: &str, response: &str, label: f64) -> Value {
    json!({"id": id, "instruction": "Why?", "response": response, "label": label})
}

fn traces(folder: &Path, args: &[&str]) -> (Option<i32>, String, String) {
    let mut command = gavel(folder);
    command.current_dir(folder).args(["traces", "--engine", "scripted", "--scripted-answers", "answers.toml"]);
    let output = command.args(["--data", "items.jsonl"]).args(args).output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (output.status.code(), text(output.stdout), text(output.stderr))
}

fn prepared() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("answers.toml"), ANSWERS).unwrap();
    let items = [
        labelled("a", "A good one.", 5.0),
        labelled("b", "A bad one.", 1.5),
        labelled("c", "An odd one.", 5.0),
        labelled("d", "I am unsure.", 1.0),
        labelled("e", "One of nine.", 9.0),
    ];
    write(folder.path(), "items.jsonl", &items);
    folder
}

#[test]
fn traces_are_what_trainers_read() {
    let folder = prepared();
    let here = folder.path();
    let (code, said, complaint) = traces(here, &["--samples", "2", "--out", "traces.jsonl"]);
    assert_eq!(code, Some(0), "{said} {complaint}");
    let expected = "\
1 row: traces.jsonl
items          5: 1 with a matching judgement, 0 failed
judgements     8: 2 match, 4 differ, 2 unscored, 0 cut
off scale      1: the label is not on the rubric's scale, so these match nothing
repeated       1: texts of one prompt that are there once
";
    assert_eq!(said, expected);
    let rows = lines(&here.join("traces.jsonl"));
    let [row] = &rows[..] else { panic!("{rows:?}") };
    let messages = row["prompt"].as_array().unwrap();
    let roles: Vec<&str> = messages.iter().map(|message| message["role"].as_str().unwrap()).collect();
    assert_eq!(roles, ["system", "user"]);
    assert!(messages[1]["content"].as_str().unwrap().contains("A good one."), "{row}");
    assert_eq!(row["completion"], json!([{"role": "assistant", "content": "It is good. [RESULT] 5"}]));
    assert_eq!((&row["id"], &row["rationalized"], &row["sample"]), (&json!("a"), &json!(false), &json!(0)));
    // The judgements are kept; with a tolerance, more of them match.
    let kept = std::fs::read_to_string(here.join("traces.jsonl.run.jsonl")).unwrap();
    let (code, said, complaint) =
        traces(here, &["--samples", "2", "--tolerance", "0.5", "--json", "--out", "traces.jsonl"]);
    assert_eq!(code, Some(0), "{complaint}");
    let counts: Value = serde_json::from_str(&said).unwrap();
    assert_eq!((&counts["matched"], &counts["rows"], &counts["unscored"]), (&json!(2), &json!(2), &json!(2)));
    assert_eq!(std::fs::read_to_string(here.join("traces.jsonl.run.jsonl")).unwrap(), kept);
    // Other settings would mix judgements of two kinds.
    let (code, _, complaint) = traces(here, &["--samples", "3", "--out", "traces.jsonl"]);
    assert!(code == Some(1) && complaint.contains("another request"), "{complaint}");
}

#[test]
fn a_hint_makes_what_was_wrong_into_a_pair() {
    let folder = prepared();
    let here = folder.path();
    let args = ["--samples", "2", "--format", "dpo", "--rationalize", "--out", "pairs.jsonl"];
    let (code, said, complaint) = traces(here, &args);
    assert_eq!(code, Some(0), "{said} {complaint}");
    assert!(said.contains("rationalized   1 of 3 prompts"), "{said}");
    let rows = lines(&here.join("pairs.jsonl"));
    let [row] = &rows[..] else { panic!("{rows:?}") };
    let turn = |text: &str| json!([{"role": "assistant", "content": text}]);
    assert_eq!((&row["id"], &row["rationalized"]), (&json!("c"), &json!(true)));
    assert_eq!(row["chosen"], turn("It is good after all. [RESULT] 5"));
    assert_eq!(row["rejected"], turn("It is bad. [RESULT] 1"));
    let prompt = row["prompt"].to_string();
    assert!(prompt.contains("An odd one.") && !prompt.contains("right verdict"), "{prompt}");
}

#[test]
fn pairs_have_traces_of_both_orders_also_from_a_server() {
    let folder = tempfile::tempdir().unwrap();
    let here = folder.path();
    let pair = json!({"id": "p", "instruction": "Why?", "response_a": "So.", "response_b": "No.", "label": "A"});
    let tie = json!({"id": "t", "instruction": "Why?", "response_a": "So.", "response_b": "No.", "label": "tie"});
    write(here, "items.jsonl", &[pair, tie]);
    let server = Server::start(here);
    let mut command = gavel(here);
    command.current_dir(here).args(["traces", "--server", &server.url, "--data", "items.jsonl", "--json"]);
    let (ok, said, complaint) = run(command.args(["--out", "traces.jsonl"]));
    assert!(ok, "{complaint}");
    let counts: Value = serde_json::from_str(&said).unwrap();
    assert_eq!((&counts["judgements"], &counts["ties"]), (&json!(8), &json!(1)), "{said}");
    // The scripted engine prefers one position, so one of the orders matches.
    let rows = lines(&here.join("traces.jsonl"));
    let [row] = &rows[..] else { panic!("{rows:?}") };
    let answer = row["completion"][0]["content"].as_str().unwrap();
    let shown = if row["order"] == "AB" { "[RESULT] A" } else { "[RESULT] B" };
    assert!(answer.ends_with(shown), "{row}");
    let (first, second) = if row["order"] == "AB" { ("So.", "No.") } else { ("No.", "So.") };
    let prompt = row["prompt"][1]["content"].as_str().unwrap();
    assert!(prompt.find(first) < prompt.find(second), "{prompt}");
    let (ok, _, complaint) = run(gavel(here).current_dir(here).args([
        "traces",
        "--server",
        &server.url,
        "--data",
        "items.jsonl",
        "--out",
        "items.jsonl",
    ]));
    assert!(!ok && complaint.contains("is both --data and --out"), "{complaint}");
}
