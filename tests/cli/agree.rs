//! `gavel agree`, on made-up items.

use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use super::{Server, gavel, lines, run};

fn label(i: usize) -> &'static str {
    ["A", "B", "tie"][i % 3]
}

fn probability(i: usize) -> f64 {
    [0.9, 0.1, 0.6][i % 3]
}

/// One more than the lowest label, and every other label.
fn score(i: usize) -> i32 {
    [2, 2, 3, 4, 5][i % 5]
}

fn set(i: usize) -> &'static str {
    ["even", "odd"][i % 2]
}

fn last_vote(i: usize) -> &'static str {
    ["A", "B"][i % 2]
}

/// Items with scores from 1 to 5, and pairs: three items on each instruction.
fn write_labelled(folder: &Path, count: usize) -> (PathBuf, PathBuf) {
    let (scores, pairs) = (folder.join("scores.jsonl"), folder.join("pairs.jsonl"));
    let rubric = json!({"criteria": "Is it right?", "scores": {"1": "No.", "2": "Hm.", "3": "So so.", "4": "Yes.", "5": "Very."}});
    let score = |i: usize| {
        json!({
            "id": format!("s{i}"), "set": set(i), "instruction": format!("Question {}?", i / 3),
            "response": "x".repeat(1 + i), "rubric": rubric, "label": 1 + i % 5, "scale": [1, 5],
        })
    };
    let pair = |i: usize| {
        json!({
            "id": format!("p{i}"), "set": set(i), "instruction": format!("Question {}?", i / 3),
            "response_a": "x".repeat(1 + i % 4), "response_b": "xx", "label": label(i), "meta": {"category": format!("c{}", i % 2)},
            "votes": ["A", "A", last_vote(i)],
        })
    };
    let write = |path: &Path, item: &dyn Fn(usize) -> Value| {
        std::fs::write(path, (0..count).map(|i| format!("{}\n", item(i))).collect::<String>()).unwrap();
    };
    write(&scores, &score);
    write(&pairs, &pair);
    (scores, pairs)
}

fn agree(folder: &Path, args: &[&str]) -> (bool, String, String) {
    run(gavel(folder).arg("agree").args(args))
}

fn report(folder: &Path, args: &[&str]) -> Value {
    let (ok, said, complaint) = agree(folder, &[args, &["--json"]].concat());
    assert!(ok, "{args:?}: {complaint}");
    serde_json::from_str(&said).unwrap()
}

fn near(figure: &Value, value: f64, n: u64) {
    let found = figure["value"].as_f64().unwrap_or(f64::NAN);
    assert!((found - value).abs() < 1e-9 && figure["n"] == n, "{figure} where {value} of {n} is expected");
}

#[test]
fn stored_verdicts_are_measured() {
    let folder = tempfile::tempdir().unwrap();
    let (scores, pairs) = write_labelled(folder.path(), 30);
    let (mine, theirs) = (folder.path().join("mine.jsonl"), folder.path().join("theirs.jsonl"));
    // Right in all, but for one point in every fifth and for the last three, on which it says nothing.
    let of_scores = |i: usize| json!({"id": format!("s{i}"), "score": score(i)});
    let of_pairs = |i: usize| json!({"id": format!("p{i}"), "preference": label(i), "probability_a": probability(i)});
    let all = (0..27).flat_map(|i| [of_scores(i), of_pairs(i)]).map(|line| format!("{line}\n"));
    std::fs::write(&mine, all.collect::<String>()).unwrap();
    // Always A, and one error.
    let always_a = (0..30).map(|i| match i {
        0 => format!("{}\n", json!({"id": "p0", "error": {"code": "engine_failed"}})),
        i => format!(
            "{}\n",
            json!({"id": format!("p{i}"), "verdict": {"preference": "A", "probability_a": 1.0, "consistent": false}})
        ),
    });
    std::fs::write(&theirs, always_a.collect::<String>()).unwrap();
    let [scores, pairs] = [&scores, &pairs].map(|path| path.to_str().unwrap());
    let (mine, theirs) = (mine.to_str().unwrap(), format!("always a={}", theirs.display()));
    let args = ["--data", scores, pairs, "--verdicts", mine, "--verdicts", &theirs, "--resamples", "200"];
    let found = report(folder.path(), &args);
    let judges = &found["judges"];
    assert_eq!((&judges[0]["name"], &judges[1]["name"]), (&json!("mine"), &json!("always a")));
    assert_eq!(judges[0]["coverage"], json!({"items": 60, "judged": 54, "unscored": 6, "failed": 0}));
    assert_eq!(judges[1]["coverage"], json!({"items": 60, "judged": 29, "unscored": 30, "failed": 1}));
    let absolute = &judges[0]["absolute"];
    near(&absolute["exact"], 21.0 / 27.0, 27);
    near(&absolute["off_by_one"], 1.0, 27);
    near(&absolute["mae"], 6.0 / 27.0, 27);
    assert_eq!(absolute["confusion"][0], json!([0, 6, 0, 0, 0]));
    assert_eq!(absolute["histogram"]["judge"], json!([0, 12, 5, 5, 5]));
    let pairwise = &judges[0]["pairwise"];
    near(&pairwise["accuracy_non_ties"], 1.0, 18);
    near(&pairwise["accuracy"], 1.0, 27);
    near(&pairwise["by_subset"]["even/c0"]["accuracy"], 1.0, 14);
    assert_eq!(pairwise["position_consistency"], Value::Null);
    near(&judges[0]["reward"]["auc"], 1.0, 18);
    near(&judges[1]["pairwise"]["accuracy_non_ties"], 9.0 / 19.0, 19);
    near(&judges[1]["pairwise"]["position_consistency"], 0.0, 29);
    assert_eq!(judges[1]["absolute"], Value::Null);
    let labels = &found["labels"]["pairwise"];
    near(&labels["baselines"]["always_a"], 0.5, 20);
    // Of three votes A, A, B one pair in three agrees.
    near(&labels["human_ceiling"], 2.0 / 3.0, 30);
    let comparison =
        found["comparisons"].as_array().unwrap().iter().find(|c| c["figure"] == "pairwise.accuracy_non_ties");
    let difference = &comparison.unwrap()["difference"];
    near(difference, 9.0 / 17.0, 17);
    assert!(difference["low"].as_f64() < difference["value"].as_f64());
    assert_eq!(found, report(folder.path(), &args), "the same seed, the same report");
    let (ok, table, complaint) = agree(folder.path(), &args);
    assert!(ok, "{complaint}");
    for part in [
        "54 of 60 items judged, 6 without a verdict, 0 failed",
        "accuracy, no ties         1.000",
        "SIDE BY SIDE",
        "mine minus always a",
    ] {
        assert!(table.contains(part), "{part}: {table}");
    }
    assert!(table.lines().all(|line| line.chars().count() <= 100), "{table}");
}

#[test]
fn a_judge_of_its_own_is_measured_and_a_stopped_run_goes_on() {
    let folder = tempfile::tempdir().unwrap();
    let (scores, pairs) = write_labelled(folder.path(), 12);
    let keep = folder.path().join("kept");
    let [scores, pairs, kept] = [&scores, &pairs, &keep].map(|path| path.to_str().unwrap());
    let args = [
        "--data",
        scores,
        "--data",
        pairs,
        "--engine",
        "scripted",
        "--mode",
        "score",
        "--keep",
        kept,
        "--resamples",
        "50",
    ];
    let found = report(folder.path(), &args);
    let judge = &found["judges"][0];
    assert_eq!((&judge["model"]["engine"], &judge["coverage"]["judged"]), (&json!("scripted"), &json!(24)));
    let prompt = &judge["prompt"];
    assert!(
        prompt["name"] == "plain" && prompt["digest"].as_str().unwrap().matches("sha256:").count() == 2,
        "{prompt}"
    );
    // It prefers what is shown second, whatever that is.
    near(&judge["pairwise"]["position_consistency"], 0.0, 12);
    near(&judge["pairwise"]["first_lean"], 0.0, 12);
    near(&judge["pairwise"]["accuracy"], 4.0 / 12.0, 12);
    near(&judge["absolute"]["exact"], 2.0 / 12.0, 12);
    let files: Vec<PathBuf> = std::fs::read_dir(&keep).unwrap().map(|entry| entry.unwrap().path()).collect();
    let [file] = &files[..] else { panic!("{files:?}") };
    let whole = lines(file);
    assert_eq!(whole.len(), 24);
    // Cut off, as a stopped run leaves it.
    let text = std::fs::read_to_string(file).unwrap();
    std::fs::write(file, &text[..text.len() / 2]).unwrap();
    assert_eq!(report(folder.path(), &args), found);
    let again = lines(file);
    let ids = |lines: &[Value]| lines.iter().map(|line| line["verdict"]["id"].to_string()).collect::<Vec<_>>();
    assert!(again.len() == 24 && ids(&again)[..8] == ids(&whole)[..8], "what was done is not graded again");
    // What it wrote can be measured, too; another mode has another file.
    let stored = format!("again={}", file.display());
    let by_file =
        report(folder.path(), &["--data", scores, "--data", pairs, "--verdicts", &stored, "--resamples", "50"]);
    assert_eq!(by_file["judges"][0]["pairwise"], judge["pairwise"]);
    assert_eq!(by_file["judges"][0]["model"], judge["model"]);
    let other = args.map(|arg| if arg == "score" { "feedback" } else { arg });
    report(folder.path(), &other);
    assert_eq!(std::fs::read_dir(&keep).unwrap().count(), 2);
}

#[test]
fn the_judges_of_a_server_are_measured() {
    let folder = tempfile::tempdir().unwrap();
    let (scores, _) = write_labelled(folder.path(), 6);
    let server = Server::start(folder.path());
    let args = ["--server", &server.url, "--data", scores.to_str().unwrap(), "--resamples", "50"];
    let by_default = report(folder.path(), &args);
    let named = report(folder.path(), &[&args[..], &["--judge", "scripted"]].concat());
    assert_eq!(by_default, named);
    assert_eq!(named["judges"][0]["name"], "scripted");
    let (ok, _, complaint) = agree(folder.path(), &[&args[..], &["--judge", "nosuchmodel"]].concat());
    assert!(!ok && complaint.contains("nosuchmodel failed on all of the first items"), "{complaint}");
}

#[test]
fn samples_and_halves_stay_the_same() {
    let folder = tempfile::tempdir().unwrap();
    let (scores, pairs) = write_labelled(folder.path(), 60);
    let verdicts = folder.path().join("verdicts.jsonl");
    std::fs::write(
        &verdicts,
        (0..60).map(|i| format!("{}\n", json!({"id": format!("s{i}"), "score": 3}))).collect::<String>(),
    )
    .unwrap();
    let [scores, pairs, verdicts] = [&scores, &pairs, &verdicts].map(|path| path.to_str().unwrap());
    let taken = |more: &[&str]| {
        let args = ["--data", scores, "--data", pairs, "--verdicts", verdicts, "--resamples", "20"];
        let found = report(folder.path(), &[&args[..], more].concat());
        let of = |file: usize, kind: &str| found["data"][file][kind].as_u64().unwrap();
        (of(0, "absolute"), of(1, "pairwise"), found)
    };
    let (dev, test) = (taken(&["--split", "dev"]), taken(&["--split", "test"]));
    assert_eq!((dev.0 + test.0, dev.1 + test.1), (60, 60));
    // Scores and pairs are on the same instructions, and halves are of instructions.
    assert_eq!((dev.0, dev.2["split"].clone()), (dev.1, json!("dev")));
    let sample = taken(&["--sample", "30"]);
    assert_eq!((sample.0 + sample.1, &sample.2["sample"]), (30, &json!(30)));
    assert_eq!(sample.2, taken(&["--sample", "30"]).2);
    assert_ne!(sample.2["judges"], taken(&["--sample", "30", "--seed", "1"]).2["judges"]);
}

#[test]
fn what_does_not_belong_together_is_said() {
    let folder = tempfile::tempdir().unwrap();
    let (scores, pairs) = write_labelled(folder.path(), 6);
    let (verdicts, other) = (folder.path().join("verdicts.jsonl"), folder.path().join("other.jsonl"));
    let [scores, pairs] = [&scores, &pairs].map(|path| path.to_str().unwrap());
    let check = |data: &[&str], line: &str, more: &[&str], expected: &str| {
        std::fs::write(&verdicts, line).unwrap();
        let args = [&["--data"], data, &["--verdicts", verdicts.to_str().unwrap()], more].concat();
        let (ok, _, complaint) = agree(folder.path(), &args);
        assert!(!ok && complaint.contains(expected), "{line}: {complaint}");
    };
    check(&[scores], r#"{"id": "s1", "preference": "A"}"#, &[], "verdicts.jsonl:1: is a preference");
    check(&[pairs], r#"{"id": "p1", "score": 3}"#, &[], "verdicts.jsonl:1: is a score");
    check(&[pairs], r#"{"id": "p1", "preference": "chosen"}"#, &[], "verdicts.jsonl:1: says chosen");
    check(&[scores], r#"{"id": "s1", "score": 9}"#, &[], "not on the scale of the labels, which is 1 to 5");
    check(&[scores], r#"{"id": "nobody", "score": 3}"#, &[], "no verdict has the id of an item");
    let (item, path) = (
        json!({"id": "x", "instruction": "?", "response": "x", "label": 7, "scale": [0, 10]}),
        other.to_str().unwrap(),
    );
    std::fs::write(&other, item.to_string()).unwrap();
    check(&[scores, path], r#"{"id": "s1", "score": 3}"#, &[], "its scale is 0 to 10");
    let verdict = r#"{"id": "s1", "score": 3}"#;
    check(&[scores], verdict, &["--verdicts", verdicts.to_str().unwrap()], "two judges are called `verdicts`");
    check(&[scores], verdict, &["--map", "response=reply"], "has no `reply`");
    check(&[scores], verdict, &["--map", "response"], "response=answer");
    check(&[scores], verdict, &["--labels", "1=first"], "value=A");
    check(&["nowhere.jsonl"], verdict, &[], "nowhere.jsonl");
}

#[test]
fn columns_of_a_table_are_named() {
    let folder = tempfile::tempdir().unwrap();
    let (data, verdicts) = (folder.path().join("answers.csv"), folder.path().join("verdicts.csv"));
    std::fs::write(&data, "question,left,right,winner\nWhy?,So.,Thus.,l\nHow?,So.,Thus.,r\nWho?,I.,You.,l\n").unwrap();
    std::fs::write(&verdicts, "id,preference,probability_a\nanswers-1,A,0.8\nanswers-2,A,0.6\nanswers-3,A,0.7\n")
        .unwrap();
    let [data, verdicts] = [&data, &verdicts].map(|path| path.to_str().unwrap());
    let map = "instruction=question,response_a=left,response_b=right,label=winner";
    let found = report(folder.path(), &["--data", data, "--verdicts", verdicts, "--map", map, "--labels", "l=A,r=B"]);
    near(&found["judges"][0]["pairwise"]["accuracy_non_ties"], 2.0 / 3.0, 3);
    near(&found["judges"][0]["reward"]["brier"], (0.04 + 0.36 + 0.09) / 3.0, 3);
    assert_eq!(found["data"][0]["format"], "csv:gavel");
}

#[test]
fn items_without_a_label_are_left_out_and_counted() {
    let folder = tempfile::tempdir().unwrap();
    let (data, verdicts) = (folder.path().join("some.jsonl"), folder.path().join("verdicts.jsonl"));
    let write = |label: &dyn Fn(usize) -> Value| {
        let item = |i: usize| json!({"id": i, "instruction": format!("Question {i}?"), "response": "So.", "label": label(i), "scale": [1, 5]});
        std::fs::write(&data, (0..40).map(|i| format!("{}\n", item(i))).collect::<String>()).unwrap();
    };
    let verdict = |i: usize| format!("{}\n", json!({"id": i, "score": 1 + i % 5}));
    std::fs::write(&verdicts, (0..40).map(verdict).collect::<String>()).unwrap();
    let args = ["--data", data.to_str().unwrap(), "--verdicts", verdicts.to_str().unwrap(), "--resamples", "50"];
    write(&|i| if i < 28 { json!(1 + i % 5) } else { Value::Null });
    let (ok, said, complaint) = agree(folder.path(), &args);
    assert!(ok && said.contains("12 of 40 items have no label, left out"), "{said}{complaint}");
    let found = report(folder.path(), &args);
    assert_eq!((&found["data"][0]["items"], &found["data"][0]["unlabelled"]), (&json!(40), &json!(12)));
    near(&found["judges"][0]["absolute"]["exact"], 1.0, 28);
    write(&|_| Value::Null);
    let (ok, _, complaint) = agree(folder.path(), &args);
    assert!(!ok && complaint.contains("some.jsonl: none of its 40 items has a label"), "{complaint}");
}
