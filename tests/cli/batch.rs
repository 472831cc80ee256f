//! `gavel batch`, `gavel rerun` and `gavel verdicts`, as a user runs them.

use std::io::Write;
use std::path::Path;
use std::process::Stdio;

use serde_json::{Value, json};

use crate::{Server, gavel, lines, run};

fn write_requests(path: &Path, count: usize) {
    let mut file = std::fs::File::create(path).unwrap();
    for n in 0..count {
        // The second one has no rubric of that name.
        let rubric = if n == 1 { "no such rubric" } else { "helpfulness" };
        let body =
            json!({"instruction": "Why?", "response": format!("Answer {n}."), "rubric": rubric, "mode": "score"});
        let line = json!({"custom_id": format!("n{n}"), "method": "POST", "url": "/v1/grade/absolute", "body": body});
        writeln!(file, "{line}").unwrap();
    }
}

#[test]
fn a_batch_is_submitted_followed_and_fetched() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(folder.path());
    let (requests, answers) = (folder.path().join("requests.jsonl"), folder.path().join("answers.jsonl"));
    write_requests(&requests, 40);
    let batch = |args: &[&str]| {
        let mut command = gavel(folder.path());
        command.arg("batch").args(args).args(["--server", &server.url]).output().unwrap()
    };
    let done = batch(&["submit", requests.to_str().unwrap(), "--wait", "--out", answers.to_str().unwrap()]);
    let told = String::from_utf8(done.stderr).unwrap();
    assert_eq!(done.status.code(), Some(4), "{told}");
    assert!(told.contains("39 of 40 lines were answered well; the batch is completed"), "{told}");
    let written = lines(&answers);
    let ids: Vec<&str> = written.iter().map(|line| line["custom_id"].as_str().unwrap()).collect();
    assert_eq!(ids, (0..40).map(|n| format!("n{n}")).collect::<Vec<_>>());
    assert_eq!(written[1]["response"]["status_code"], 404);

    let listed = String::from_utf8(batch(&["status"]).stdout).unwrap();
    assert!(listed.contains("completed") && listed.contains("40/40, 1 failed"), "{listed}");
    let id = listed.split_whitespace().next().unwrap();
    let shown = String::from_utf8(batch(&["status", id]).stdout).unwrap();
    assert!(shown.contains("1 unknown_rubric"), "{shown}");
    let fetched = batch(&["results", id]);
    assert_eq!(String::from_utf8(fetched.stdout).unwrap(), std::fs::read_to_string(&answers).unwrap());

    std::fs::write(&requests, "{}\nno json\n").unwrap();
    let refused = batch(&["submit", requests.to_str().unwrap(), "--wait"]);
    let told = String::from_utf8(refused.stderr).unwrap();
    assert!(!refused.status.success() && told.contains("line 1: missing field") && told.contains("line 2: "), "{told}");
    let missing = batch(&["status", "batch_x"]);
    assert!(String::from_utf8(missing.stderr).unwrap().contains("there is no batch `batch_x`"));
    let nowhere = batch(&["submit", "no-such-file.jsonl"]);
    assert!(String::from_utf8(nowhere.stderr).unwrap().contains("no-such-file.jsonl"));
}

#[test]
fn a_verdict_is_looked_up_graded_again_and_exported() {
    let folder = tempfile::tempdir().unwrap();
    let mut command = gavel(folder.path());
    command.args(["serve", "--port", "0", "--engine", "scripted"]).env("GAVEL_VERDICT_LOG__ENABLED", "true");
    let server = Server::spawned(command.stderr(Stdio::null()));
    let graded = folder.path().join("graded.jsonl");
    let item = folder.path().join("item.jsonl");
    std::fs::write(
        &item,
        json!({"id": "a", "instruction": "Why?", "response": "So.", "rubric": "helpfulness"}).to_string(),
    )
    .unwrap();
    let told = run(gavel(folder.path())
        .args(["grade", "--data"])
        .arg(&item)
        .arg("--out")
        .arg(&graded)
        .args(["--server", &server.url]));
    assert!(told.0, "{told:?}");
    let id = lines(&graded)[0]["verdict"]["id"].as_str().unwrap().to_owned();
    // It may still be on its way.
    let (mut ok, mut shown, mut why) = (false, String::new(), String::new());
    for _ in 0..200 {
        (ok, shown, why) = run(gavel(folder.path()).args(["rerun", &id, "--server", &server.url]));
        if ok {
            break;
        }
    }
    assert!(ok, "{why}");
    assert!(shown.contains("expected_score") && !shown.contains("differs"), "{shown}");
    let (ok, shown, _) = run(gavel(folder.path()).args(["rerun", &id, "--json", "--server", &server.url]));
    let json: Value = serde_json::from_str(&shown).unwrap();
    assert!(ok && json["differences"] == json!({}), "{shown}");
    let exported = folder.path().join("verdicts.csv");
    let export = ["verdicts", "export", "--server", &server.url, "--rubric", "helpfulness", "--out"];
    let (ok, _, why) = run(gavel(folder.path()).args(export).arg(&exported));
    assert!(ok, "{why}");
    let table = std::fs::read_to_string(&exported).unwrap();
    assert!(table.starts_with("id,created_at,route,score,reward") && table.contains(&id), "{table}");
}
