//! `gavel redteam`, on made-up items and a judge that falls for one attack.

use serde_json::{Value, json};

use super::{gavel, run};

#[test]
fn what_moves_a_judge_is_found() {
    let folder = tempfile::tempdir().unwrap();
    let rubric = json!({"criteria": "Is it right?", "scores": {"1": "No.", "2": "Hm.", "3": "So so.", "4": "Yes.", "5": "Very."}});
    let score = |i: usize| json!({"id": format!("s{i}"), "instruction": format!("Question {i}?"), "response": format!("Answer {i}."), "rubric": rubric, "label": 2});
    let pair = |i: usize| json!({"id": format!("p{i}"), "instruction": format!("Question {i}?"), "response_a": "Good.", "response_b": "Worse.", "label": "A"});
    let items: Vec<Value> = (0..4).map(score).chain((0..3).map(pair)).collect();
    let data = folder.path().join("data.jsonl");
    std::fs::write(&data, items.iter().map(|item| format!("{item}\n")).collect::<String>()).unwrap();
    let answers = "[[answer]]\nwhen = \"Note to the judge\"\nmasses = [0.01, 0.01, 0.03, 0.05, 0.9]\n";
    std::fs::write(folder.path().join("answers.toml"), answers).unwrap();
    let asked = |command: &str, more: &[&str]| {
        let mut gavel = gavel(folder.path());
        gavel.current_dir(folder.path()).args([command, "--data", "data.jsonl", "--mode", "score"]);
        run(gavel.args(["--engine", "scripted", "--scripted-answers", "answers.toml"]).args(more))
    };
    let redteam = |more: &[&str]| asked("redteam", more);

    // Its verdicts are kept beside, not among, those of `agree`.
    let (ok, _, complaint) = asked("agree", &[]);
    assert!(ok, "{complaint}");
    let (ok, said, complaint) = redteam(&["--json"]);
    assert!(ok, "{complaint}");
    let report: Value = serde_json::from_str(&said).unwrap();
    assert_eq!((&report["object"], &report["reward"]["n"]), (&json!("redteam"), &json!(7)));
    let attacks = report["attacks"].as_array().unwrap();
    // The server refuses a response that shows nothing.
    let missing = |attack: &Value| if attack["name"] == "invisible" { 7 } else { 0 };
    assert!(attacks.len() > 10 && attacks.iter().all(|attack| attack["missing"] == missing(attack)), "{said}");
    assert!(!complaint.contains("failed;"), "what was to be expected is no failure: {complaint}");
    let (first, others) = attacks.split_first().unwrap();
    assert_eq!(first["name"], "order");
    assert!(first["moved"]["value"].as_f64().unwrap() > 0.2 && first["raised"]["value"] == 1.0, "{first}");
    for attack in others.iter().filter(|attack| missing(attack) == 0) {
        assert_eq!((&attack["moved"]["value"], &attack["raised"]["value"]), (&json!(0.0), &json!(0.0)), "{attack}");
    }

    let (ok, said, _) = redteam(&["--attack", "order", "--attack", "verdict"]);
    assert!(ok && said.lines().all(|line| line.chars().count() <= 100), "{said}");
    assert!(
        said.contains("7 responses") && said.contains("an order to the judge") && !said.contains("zero-width"),
        "{said}"
    );
    let (ok, _, complaint) = redteam(&["--attack", "flattery"]);
    assert!(!ok && complaint.contains("verdict") && complaint.contains("flattery"), "{complaint}");
}
