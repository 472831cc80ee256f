//! `gavel rank`, `gavel rewards` and `gavel preferences`, on the scripted engine.

use std::path::Path;

use serde_json::{Value, json};

use super::{Server, gavel, lines, run};

fn write(folder: &Path, name: &str, items: &[Value]) {
    std::fs::write(folder.join(name), items.iter().map(|item| format!("{item}\n")).collect::<String>()).unwrap();
}

/// A judge that likes what is good.
fn write_answers(folder: &Path) {
    let answers = "[[answer]]\nwhen = \"good\"\nmasses = [0.0, 0.0, 0.0, 0.0, 1.0]\n\
                   [[answer]]\nwhen = \"unsure\"\nmasses = [0.01]\n\
                   [[answer]]\nmasses = [1.0, 0.0, 0.0, 0.0, 0.0]\n";
    std::fs::write(folder.join("answers.toml"), answers).unwrap();
}

fn command(folder: &Path, name: &str, args: &[&str]) -> (Option<i32>, String, String) {
    let mut command = gavel(folder);
    command.current_dir(folder).args([name, "--engine", "scripted", "--scripted-answers", "answers.toml"]);
    let output = command.args(["--mode", "score", "--rubric", "helpfulness"]).args(args).output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (output.status.code(), text(output.stdout), text(output.stderr))
}

#[test]
fn rewards_are_what_trainers_read() {
    let folder = tempfile::tempdir().unwrap();
    let here = folder.path();
    write_answers(here);
    let item = |id: &str, group: usize, response: &str| json!({"id": id, "group": group, "instruction": "Why?", "response": response});
    let items =
        [item("a", 0, "A good one."), item("b", 0, "A bad one."), item("c", 1, "I am unsure."), item("d", 1, "")];
    write(here, "items.jsonl", &items);
    let (code, said, complaint) = command(here, "rewards", &["--data", "items.jsonl", "--out", "rewards.jsonl"]);
    assert_eq!(code, Some(4), "{said} {complaint}");
    assert!(said.contains("3 of 4 done, 1 failed: rewards.jsonl"), "{said}");
    assert!(complaint.contains("1 of 4 items have no reward") && complaint.contains("low_label_mass"), "{complaint}");
    let row = |id: &str, completion: &str, reward: f64| json!({"id": id, "prompt": "Why?", "completion": completion, "reward": reward});
    // An empty response is judged, as everywhere that gives rewards.
    let expected = [row("a", "A good one.", 1.0), row("b", "A bad one.", 0.0), row("d", "", 0.0)];
    assert_eq!(lines(&here.join("rewards.jsonl")), expected);
    let more = ["--normalize", "group", "--format", "conversational", "--min-label-mass", "0"];
    let (code, _, complaint) =
        command(here, "rewards", &[&["--data", "items.jsonl", "--out", "grouped.jsonl"], &more[..]].concat());
    assert_eq!(code, Some(0), "{complaint}");
    let grouped = lines(&here.join("grouped.jsonl"));
    assert_eq!(grouped[0]["completion"], json!([{"role": "assistant", "content": "A good one."}]));
    assert!((grouped[0]["reward"].as_f64().unwrap() - 0.5_f64.sqrt()).abs() < 1e-9, "{grouped:?}");
    assert_eq!(grouped[2]["reward"], 0.0);
    let (code, _, complaint) = command(here, "rewards", &["--data", "items.jsonl", "--out", "-"]);
    assert!(code == Some(2) && complaint.contains("name a file"), "{complaint}");
    // A server gives the same.
    let server = Server::start(here);
    let mut there = gavel(here);
    there.current_dir(here).args(["rewards", "--server", &server.url, "--rubric", "helpfulness", "--mode", "score"]);
    let (ok, said, complaint) = run(there.args(["--data", "items.jsonl", "--out", "there.parquet"]));
    assert!(ok && said.contains("4 of 4 done"), "{said} {complaint}");
    assert!(std::fs::read(here.join("there.parquet")).unwrap().starts_with(b"PAR1"));
}

#[test]
fn preferences_are_what_trainers_read() {
    let folder = tempfile::tempdir().unwrap();
    let here = folder.path();
    write_answers(here);
    let item = |id: &str, responses: &[&str]| json!({"id": id, "instruction": "Why?", "responses": responses});
    write(here, "items.jsonl", &[item("a", &["A bad one.", "A good one."]), item("b", &["Bad.", "Worse."])]);
    let args = ["--data", "items.jsonl", "--method", "absolute", "--out", "pairs.jsonl"];
    let (code, said, complaint) = command(here, "preferences", &args);
    assert_eq!(code, Some(0), "{said} {complaint}");
    assert!(complaint.contains("1 pair; left out: 1 tie"), "{complaint}");
    let turn = |role: &str, content: &str| json!([{"role": role, "content": content}]);
    let expected = json!({
        "id": "a", "prompt": turn("user", "Why?"), "chosen": turn("assistant", "A good one."),
        "rejected": turn("assistant", "A bad one."), "score_chosen": 1.0, "score_rejected": 0.0, "margin": 1.0,
    });
    assert_eq!(lines(&here.join("pairs.jsonl")), [expected]);
    // What is done is not asked again, whatever it is written as.
    std::fs::rename(here.join("pairs.jsonl.run.jsonl"), here.join("texts.csv.run.jsonl")).unwrap();
    let args = ["--data", "items.jsonl", "--method", "absolute", "--out", "texts.csv", "--format", "standard"];
    let (code, said, complaint) = command(here, "preferences", &args);
    assert!(code == Some(0) && said.contains("2 of 2 already done"), "{said} {complaint}");
    let table = std::fs::read_to_string(here.join("texts.csv")).unwrap();
    assert!(table.contains("\na,Why?,A good one.,A bad one.,1.0,0.0,1.0\n"), "{table}");
}

#[test]
fn responses_are_ranked() {
    let folder = tempfile::tempdir().unwrap();
    let here = folder.path();
    write_answers(here);
    let items = [
        json!({"id": "a", "instruction": "Why?", "responses": ["Bad.", "A good one."]}),
        json!({"id": "b", "instruction": "Why?", "responses": ["Bad."]}),
    ];
    write(here, "items.jsonl", &items);
    let args = ["--data", "items.jsonl", "--method", "absolute", "--sort", "--out", "ranked.jsonl"];
    let (code, said, complaint) = command(here, "rank", &args);
    assert_eq!(code, Some(4), "{said} {complaint}");
    let ranked = lines(&here.join("ranked.jsonl"));
    assert_eq!(
        (&ranked[0]["verdict"]["ranking"], &ranked[1]["error"]["code"]),
        (&json!([1, 0]), &json!("invalid_request"))
    );
    let (code, _, complaint) = command(here, "rank", &["--data", "items.jsonl", "--out", "ranked.csv"]);
    assert!(code == Some(2) && complaint.contains("no row of a table"), "{complaint}");
}

#[test]
fn rollouts_of_trl_with_a_broken_row_are_ranked() {
    let folder = tempfile::tempdir().unwrap();
    let here = folder.path();
    write_answers(here);
    let said = |text: &str| json!([{"role": "assistant", "content": text}]);
    let item = |prompt: Value| json!({"prompt": prompt, "completions": [said("Bad."), said("A good one.")]});
    let items = [item(json!([{"role": "user", "content": "Why?"}])), json!({"prompt": "Why?"})];
    write(here, "items.jsonl", &items);
    let args = ["--data", "items.jsonl", "--method", "absolute", "--skip-invalid", "--out", "ranked.jsonl"];
    let (code, said, complaint) = command(here, "rank", &args);
    assert!(code == Some(4) && said.contains("1 of 1 done, 0 failed"), "{said} {complaint}");
    assert!(complaint.contains("1 row was skipped") && complaint.contains("items.jsonl:2: has no"), "{complaint}");
    assert_eq!(lines(&here.join("ranked.jsonl"))[0]["verdict"]["ranking"], json!([1, 0]));
    let args = ["--data", "items.jsonl", "--method", "absolute", "--skip-invalid", "--out", "pairs.jsonl"];
    let (code, _, complaint) = command(here, "preferences", &args);
    assert_eq!(code, Some(4), "{complaint}");
    assert_eq!(lines(&here.join("pairs.jsonl"))[0]["chosen"][0]["content"], "A good one.");
}
