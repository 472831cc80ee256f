//! `gavel calibrate` and `gavel fit`: from labels to a file, and from the file to verdicts.

use std::path::Path;

use serde_json::{Value, json};

use crate::{gavel, lines, run};

/// Labelled pairs, and answers for the scripted engine: it is 0.98 sure each time, and wrong in one of four.
fn made_up(folder: &Path, count: usize) {
    let (mut items, mut answers) = (String::new(), String::new());
    for i in 0..count {
        let better_first = i % 2 == 0;
        let (good, bad) = (format!("Answer {i}."), format!("The other and longer reply {i}."));
        let (a, b) = if better_first { (&good, &bad) } else { (&bad, &good) };
        let label = if better_first == (i / 2 % 4 != 3) { "A" } else { "B" };
        let item = json!({"id": i.to_string(), "set": if i % 3 == 0 { "one" } else { "two" }, "label": label,
            "instruction": format!("Question {i}?"), "response_a": a, "response_b": b, "rubric": "helpfulness"});
        items.push_str(&format!("{item}\n"));
        for (order, shown) in [(true, [0.98, 0.02]), (false, [0.02, 0.98])] {
            let text = if order { [&good, &bad] } else { [&bad, &good] }.map(|text| format!("\n{text}\n"));
            let when = format!("<response A>{}</response A>\n\n<response B>{}", text[0], text[1]);
            answers.push_str(&format!("[[answer]]\nwhen = {when:?}\nmasses = {shown:?}\n"));
        }
    }
    std::fs::write(folder.join("items.jsonl"), items).unwrap();
    std::fs::write(folder.join("answers.toml"), answers).unwrap();
}

/// Labelled pairs, and answers for the scripted engine, which grades each response alone: it gives the better one more in
/// three of four.
fn made_up_alone(folder: &Path, count: usize) {
    let (mut items, mut answers) = (String::new(), String::new());
    for i in 0..count {
        let (a, b) = (format!("Answer {i}."), format!("The other {i}."));
        let label = if i % 4 == 3 { "B" } else { "A" };
        let item = json!({"id": i.to_string(), "label": label, "instruction": format!("Question {i}?"),
            "response_a": a, "response_b": b, "rubric": "helpfulness"});
        items.push_str(&format!("{item}\n"));
        for (text, masses) in [(&a, [0.0, 0.1, 0.2, 0.3, 0.4]), (&b, [0.1, 0.2, 0.3, 0.2, 0.2])] {
            answers.push_str(&format!("[[answer]]\nwhen = {text:?}\nmasses = {masses:?}\n"));
        }
    }
    std::fs::write(folder.join("items.jsonl"), items).unwrap();
    std::fs::write(folder.join("answers.toml"), answers).unwrap();
}

#[test]
fn pairs_that_were_graded_alone_make_a_reward_model() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    made_up_alone(folder, 80);
    let asked = ["fit", "--data", "items.jsonl", "--mode", "score", "--keep", "kept", "--method", "absolute"];
    let (ok, said, complaint) = scripted(folder, &[&asked[..], &["--out", "fit.json"]].concat());
    assert!(ok, "{said} {complaint}");
    assert!(said.contains("80 labelled pairs (each response graded alone) with a verdict"), "{said}");
    let made = file(&folder.join("fit.json"));
    assert_eq!((&made["kind"], &made["parameters"]["method"]), (&json!("absolute"), &json!("reward_model")));
    let figures = &made["held_out"];
    assert!(figures["after"]["brier"].as_f64() < figures["before"]["brier"].as_f64(), "{figures}");

    // A verdict on one response goes through it, and one on a pair; and what is fitted again is what the judge said.
    std::fs::write(folder.join("gavel.toml"), "fit = 'fit.json'\npreference_method = 'absolute'\n").unwrap();
    let grade = ["grade", "--config", "gavel.toml", "--data", "items.jsonl", "--mode", "score", "--out", "raw.jsonl"];
    let (ok, said, complaint) = scripted(folder, &grade);
    assert!(ok, "{said} {complaint}");
    let first = &lines(&folder.join("raw.jsonl"))[0]["verdict"];
    assert_eq!(first["grades"]["a"]["criteria"][0]["calibration"]["digest"], made["digest"], "{first}");
    assert!((first["probability_a"].as_f64().unwrap() - 0.75).abs() < 0.1, "as often as people: {first}");
    let again = ["fit", "--data", "items.jsonl", "--verdicts", "raw.jsonl", "--out", "again.json"];
    let (ok, said, complaint) = scripted(folder, &again);
    assert!(ok, "{said} {complaint}");
    assert_eq!(file(&folder.join("again.json"))["parameters"], made["parameters"]);
    // A calibration is of verdicts on both in one prompt.
    let map =
        ["calibrate", "--method", "isotonic", "--data", "items.jsonl", "--verdicts", "raw.jsonl", "--out", "c.json"];
    let (ok, _, complaint) = scripted(folder, &map);
    assert!(!ok && complaint.contains("`gavel fit` makes a reward model"), "{complaint}");
}

/// Runs the program on the scripted engine in the folder.
fn scripted(folder: &Path, arguments: &[&str]) -> (bool, String, String) {
    let mut command = gavel(folder);
    command.current_dir(folder).args(arguments);
    command.args(["--engine", "scripted", "--scripted-answers", "answers.toml"]);
    run(&mut command)
}

fn file(path: &Path) -> Value {
    serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
}

#[test]
fn labels_make_files_that_verdicts_go_through() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    made_up(folder, 80);
    let grade = |out: &str, more: &[&str]| {
        let all = [&["grade", "--data", "items.jsonl", "--mode", "score", "--out", out], more].concat();
        let (ok, said, complaint) = scripted(folder, &all);
        assert!(ok, "{said} {complaint}");
        lines(&folder.join(out))
    };
    let raw = grade("raw.jsonl", &[]);
    assert_eq!(raw[0]["verdict"]["consistent"], true, "{}", raw[0]);
    let from = ["--data", "items.jsonl", "--verdicts", "raw.jsonl"];
    for (command, out, more) in [
        ("calibrate", "temperature.json", &["--method", "temperature"][..]),
        ("calibrate", "isotonic.json", &["--method", "isotonic", "--any-rubric"]),
        ("fit", "fit.json", &["--seed", "7"]),
    ] {
        let (ok, said, complaint) = scripted(folder, &[&[command], &from[..], &["--out", out], more].concat());
        assert!(ok, "{said} {complaint}");
        let made = file(&folder.join(out));
        assert!(said.contains("80 labelled pairs with a verdict") && said.contains("ECE"), "{said}");
        assert!(said.contains(made["digest"].as_str().unwrap()), "{said}");
        let figures = &made["held_out"];
        let ece = |of: &Value| of["ece"].as_f64().unwrap();
        assert!(ece(&figures["after"]) < ece(&figures["before"]), "{figures}");
        assert_eq!(made["made_for"]["mode"], "score");
        assert_eq!(made["data"][0]["name"], "items.jsonl");
        assert_eq!(made["made_for"]["rubrics"].is_null(), out == "isotonic.json");
        assert_eq!(said.contains("longer"), command == "fit", "two sets, each left out: {said}");

        std::fs::write(folder.join("gavel.toml"), format!("{command} = {out:?}").replace("calibrate", "calibration"))
            .unwrap();
        let mapped = grade(&format!("{out}l"), &["--config", "gavel.toml"]);
        assert!(mapped.iter().all(|line| line["verdict"]["calibration"]["digest"] == made["digest"]), "{}", mapped[0]);
        let p = mapped[0]["verdict"]["probability_a"].as_f64().unwrap();
        assert!((0.05..0.95).contains(&p), "{p}");

        // What is made from mapped verdicts is made from what the judge said.
        let again = ["--data", "items.jsonl", "--verdicts", &format!("{out}l"), "--out", "again.json"];
        let (ok, said, complaint) = scripted(folder, &[&[command], &again[..], more].concat());
        assert!(ok, "{said} {complaint}");
        assert_eq!(file(&folder.join("again.json"))["parameters"], made["parameters"]);
    }
    assert_eq!(file(&folder.join("fit.json"))["made_for"]["model"], raw[0]["verdict"]["model"]["digest"]);
    // Without verdicts, the judge grades the items first; what it said is kept.
    let asked = ["calibrate", "--method", "temperature", "--data", "items.jsonl", "--mode", "score", "--keep", "kept"];
    let (ok, said, complaint) = scripted(folder, &[&asked[..], &["--out", "asked.json"]].concat());
    assert!(ok, "{said} {complaint}");
    let (asked, stored) = (file(&folder.join("asked.json")), file(&folder.join("temperature.json")));
    assert_eq!((&asked["digest"], &asked["parameters"]), (&stored["digest"], &stored["parameters"]));
    assert_eq!(std::fs::read_dir(folder.join("kept")).unwrap().count(), 1);
}

#[test]
fn what_cannot_be_mapped_is_said_plainly() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    made_up(folder, 12);
    let data = ["--data", "items.jsonl", "--verdicts", "raw.jsonl", "--out", "out.json"];
    let refused = |command: &[&str], word: &str| {
        let (ok, said, complaint) = scripted(folder, &[command, &data[..]].concat());
        assert!(!ok && complaint.contains(word), "{command:?}: {said} {complaint}");
        assert!(!folder.join("out.json").exists());
    };
    refused(&["fit"], "raw.jsonl");
    let graded = scripted(folder, &["grade", "--data", "items.jsonl", "--mode", "score", "--out", "raw.jsonl"]);
    assert!(graded.0, "{graded:?}");
    refused(&["calibrate", "--method", "temperature"], "6 labelled verdicts to fit to");
    refused(&["calibrate", "--method", "ordinal", "--kind", "absolute"], "no item of the kind absolute");
    let whole = std::fs::read_to_string(folder.join("raw.jsonl")).unwrap();
    std::fs::write(folder.join("raw.jsonl"), format!("{whole}{}", whole.lines().next().unwrap())).unwrap();
    refused(&["fit"], "raw.jsonl:13: holds a second verdict on `");
    std::fs::write(folder.join("raw.jsonl"), whole.replace("\"probability_a\"", "\"probability\"")).unwrap();
    refused(&["fit"], "raw.jsonl:1: ");
}
