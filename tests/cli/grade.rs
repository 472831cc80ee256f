//! `gavel grade` over files: what it reads and writes, its summary, and how it ends.

use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::{Value, json};

use super::{Server, gavel, lines, run};

/// The exit code, and what is said.
fn ended(command: &mut Command) -> (Option<i32>, String, String) {
    let output = command.output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (output.status.code(), text(output.stdout), text(output.stderr))
}

fn grade(folder: &Path, args: &[&str]) -> (Option<i32>, String, String) {
    let mut command = gavel(folder);
    ended(command.current_dir(folder).args(["grade", "--engine", "scripted", "--mode", "score"]).args(args))
}

/// Answers of a judge that likes responses with "good" in them and knows nothing of those with "odd".
fn write_answers(folder: &Path) {
    let answers = "[[answer]]\nwhen = \"good one\"\nmasses = [0.0, 0.0, 0.0, 0.1, 0.9]\n\
                   [[answer]]\nwhen = \"odd one\"\nmasses = [0.01, 0.0, 0.0, 0.0, 0.0]\n\
                   [[answer]]\nmasses = [0.9, 0.1, 0.0, 0.0, 0.0]\n";
    std::fs::write(folder.join("answers.toml"), answers).unwrap();
}

const ITEMS: &str =
    "question,answer,stars,team\r\nWhy?,A good one.,5,red\r\nHow?,A bad one.,1,\r\nWho?,An odd one.,2,red\r\n";
const MAP: &str = "instruction=question,response=answer,label=stars";

#[test]
fn a_table_goes_in_and_a_table_comes_out() {
    let folder = tempfile::tempdir().unwrap();
    let here = folder.path();
    write_answers(here);
    std::fs::write(here.join("mine.csv"), ITEMS).unwrap();
    let rubric = "criterion = \"Is it good?\"\n[descriptions]\n1 = \"no\"\n2 = \"hardly\"\n3 = \"so so\"\n4 = \"yes\"\n5 = \"very\"\n";
    std::fs::write(here.join("mine.toml"), rubric).unwrap();
    let args = ["--data", "mine.csv", "--map", MAP, "--rubric", "mine.toml", "--scripted-answers", "answers.toml"];
    let more = ["--out", "out.csv", "--with-input", "--summary", "summary.json"];
    let (code, said, complaint) = grade(here, &[&args[..], &more].concat());
    assert_eq!((code, said.as_str()), (Some(0), "3 of 3 graded, 0 failed: out.csv\n"), "{complaint}");
    let table = std::fs::read_to_string(here.join("out.csv")).unwrap();
    let rows: Vec<&str> = table.lines().collect();
    assert!(rows[0].starts_with("id,input.team,input.instruction,input.response,input.label,score,"), "{table}");
    assert!(rows[1].starts_with("mine-1,red,Why?,A good one.,5,5,4.9,0.975,"), "{table}");
    assert!(rows[3].starts_with("mine-3,"), "{table}");
    assert!(rows[1].contains(",inline,"), "the rubric is sent: {table}");
    let summary: Value = serde_json::from_slice(&std::fs::read(here.join("summary.json")).unwrap()).unwrap();
    // The third was a guess.
    assert_eq!((&summary["graded"], &summary["unscored"], &summary["mean"]["n"]), (&json!(3), &json!(1), &json!(2)));
    assert!((summary["mean"]["value"].as_f64().unwrap() - 0.5).abs() < 1e-9, "{summary}");
    assert_eq!(summary["responses"]["scores"], json!({"1": 1, "2": 0, "3": 0, "4": 0, "5": 1}));
    assert_eq!(summary["agreement"]["absolute"]["exact"]["n"], 3);
    for part in ["mean reward    0.500", "unscored       1: label mass below 0.05", "labels         Pearson", "tokens "]
    {
        assert!(complaint.contains(part), "{part}: {complaint}");
    }
    // All is done, and it is what was asked.
    let (code, said, _) = grade(here, &[&args[..], &more].concat());
    assert_eq!((code, said.as_str()), (Some(0), "3 of 3 already graded, nothing to do: out.csv\n"));
    // What `gavel grade` wrote is what `gavel agree` reads.
    let mut agree = gavel(here);
    agree.current_dir(here).args(["agree", "--data", "mine.csv", "--map", MAP, "--verdicts", "mine=out.csv"]);
    let (ok, said, complaint) = run(&mut agree);
    assert!(ok && said.contains("3 of 3 items judged"), "{said} {complaint}");
}

#[test]
fn lines_go_to_standard_output_and_nothing_else_does() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("mine.csv"), ITEMS).unwrap();
    let args = ["--data", "mine.csv", "--map", "instruction=question,response=answer", "--rubric", "honesty"];
    let (code, said, complaint) = grade(folder.path(), &[&args[..], &["--out", "-", "--with-input"]].concat());
    assert_eq!(code, Some(0), "{complaint}");
    let lines: Vec<Value> = said.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert!(lines.len() == 3 && lines.iter().all(|line| line["verdict"]["score"].is_i64()), "{said}");
    assert!(lines.iter().all(|line| line["input"]["instruction"].is_string()), "{said}");
    assert!(complaint.contains("3 of 3 graded, 0 failed: standard output"), "{complaint}");
    let (code, _, complaint) = grade(folder.path(), &[&args[..], &["--out", "-", "--sort"]].concat());
    assert!(code == Some(2) && complaint.contains("--sort has no effect"), "{complaint}");
}

#[test]
fn the_exit_code_says_how_it_ended() {
    let folder = tempfile::tempdir().unwrap();
    let here = folder.path();
    write_answers(here);
    std::fs::write(here.join("mine.csv"), ITEMS).unwrap();
    let args = ["--data", "mine.csv", "--map", MAP, "--out", "out.jsonl", "--rubric", "honesty"];
    let judged = ["--scripted-answers", "answers.toml"];
    let check = |more: &[&str], code: i32, expected: &str| {
        let (found, _, complaint) = grade(here, &[&args[..], &judged, more].concat());
        assert!(found == Some(code) && complaint.contains(expected), "{more:?}: {found:?} {complaint}");
    };
    check(&["--fail-below", "0.4"], 0, "mean reward");
    check(&["--fail-below", "0.6"], 3, "the mean is 0.500, which is below 0.6");
    check(&["--min-label-mass", "0", "--fail-below", "0.4"], 3, "the mean is 0.333");
    check(&["--fail-below", "7"], 2, "from 0 to 1");
    check(&["--summary", "none/summary.json"], 1, "none is not a folder");
    check(&["--server", "127.0.0.1:8080"], 2, "has no effect with --server");
    let (code, _, complaint) = ended(
        gavel(here).current_dir(here).args(["grade", "--server", "127.0.0.1:8080", "--mode", "score"]).args(args),
    );
    assert!(code == Some(2) && complaint.contains("http://127.0.0.1:8080"), "{complaint}");
    std::fs::write(
        here.join("one.jsonl"),
        "{\"instruction\": \"Why?\", \"response\": \"So.\", \"rubric\": \"none\"}\n",
    )
    .unwrap();
    let (code, said, complaint) =
        grade(here, &["--data", "one.jsonl", "--out", "one-out.jsonl", "--fail-below", "0.5"]);
    assert!(code == Some(4) && said.starts_with("0 of 1 graded, 1 failed"), "{said} {complaint}");
    assert!(complaint.contains("failed         1 unknown_rubric"), "{complaint}");
}

#[test]
fn several_judges_have_a_file_each_and_are_compared() {
    let folder = tempfile::tempdir().unwrap();
    let here = folder.path();
    std::fs::write(here.join("mine.csv"), ITEMS).unwrap();
    let args = ["--data", "mine.csv", "--map", MAP, "--rubric", "honesty", "--out", "{judge}.jsonl"];
    let (code, said, complaint) = grade(here, &[&args[..], &["--judge", "one", "--judge", "two"]].concat());
    assert_eq!(code, Some(0), "{said} {complaint}");
    assert_eq!((lines(&here.join("one.jsonl")).len(), lines(&here.join("two.jsonl")).len()), (3, 3));
}

#[test]
fn lines_are_sorted_if_that_is_asked() {
    let folder = tempfile::tempdir().unwrap();
    let here = folder.path();
    // The first item is answered last.
    std::fs::write(here.join("answers.toml"), "[[answer]]\nwhen = \"Question 0?\"\ndelay_ms = 300\n").unwrap();
    let item = |i: usize| json!({"id": i.to_string(), "instruction": format!("Question {i}?"), "response": "So.", "rubric": "honesty"});
    std::fs::write(here.join("items.jsonl"), (0..9).map(|i| format!("{}\n", item(i))).collect::<String>()).unwrap();
    let args = ["--data", "items.jsonl", "--out", "out.jsonl", "--sort", "--scripted-answers", "answers.toml"];
    let (code, _, complaint) = grade(here, &args);
    assert_eq!(code, Some(0), "{complaint}");
    let ids: Vec<String> =
        lines(&here.join("out.jsonl")).iter().map(|line| line["id"].as_str().unwrap().to_owned()).collect();
    assert_eq!(ids, (0..9).map(|i| i.to_string()).collect::<Vec<_>>());
}

#[cfg(unix)]
#[test]
fn an_interrupted_run_says_how_far_it_came() {
    let folder = tempfile::tempdir().unwrap();
    let here = folder.path();
    std::fs::write(here.join("answers.toml"), "[[answer]]\nwhen = \"Question 8?\"\ndelay_ms = 600000\n").unwrap();
    let item = |i: usize| json!({"id": i.to_string(), "instruction": format!("Question {i}?"), "response": "So.", "rubric": "honesty"});
    std::fs::write(here.join("items.jsonl"), (0..9).map(|i| format!("{}\n", item(i))).collect::<String>()).unwrap();
    let out = here.join("out.jsonl");
    let mut command = gavel(here);
    command.current_dir(here).args([
        "grade",
        "--engine",
        "scripted",
        "--scripted-answers",
        "answers.toml",
        "--mode",
        "score",
    ]);
    command.args(["--data", "items.jsonl", "--out", "out.jsonl"]).stdout(Stdio::null()).stderr(Stdio::piped());
    let process = command.spawn().unwrap();
    while std::fs::read_to_string(&out).map_or(0, |text| text.lines().count()) < 8 {
        std::thread::yield_now();
    }
    assert!(Command::new("kill").args(["-INT", &process.id().to_string()]).status().unwrap().success());
    let output = process.wait_with_output().unwrap();
    let complaint = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(130), "{complaint}");
    assert!(complaint.contains("8 of 9 graded; run the same command again to go on"), "{complaint}");
    assert!(complaint.contains("not tried      1"), "{complaint}");
}

#[test]
fn the_fields_of_a_server_are_checked_before_it_is_asked() {
    let folder = tempfile::tempdir().unwrap();
    let here = folder.path();
    let server = Server::start(here);
    let item = json!({"instruction": "Why?", "response": "So.", "rubric": "honesty", "team": "red"});
    std::fs::write(here.join("items.jsonl"), item.to_string()).unwrap();
    let mut args = vec!["grade", "--server", &server.url, "--data", "items.jsonl", "--out", "out.jsonl"];
    let (ok, _, complaint) = run(gavel(here).current_dir(here).args(&args));
    assert!(!ok && complaint.contains("items.jsonl:1: has the unknown field `team`"), "{complaint}");
    std::fs::write(here.join("policy.txt"), "Be brief.").unwrap();
    args.extend([
        "--ignore-unknown",
        "--context",
        "policy.txt",
        "--prompt",
        "plain",
        "--samples",
        "2",
        "--temperature",
        "0.5",
    ]);
    let (ok, _, complaint) = run(gavel(here).current_dir(here).args(&args));
    assert!(ok, "{complaint}");
    let verdict = &lines(&here.join("out.jsonl"))[0]["verdict"];
    assert_eq!(verdict["judgements"].as_array().unwrap().len(), 2, "{verdict}");
    assert_eq!(verdict["prompt"]["name"], "plain/absolute");
}

#[test]
fn invalid_rows_are_skipped_when_that_is_asked_for() {
    let folder = tempfile::tempdir().unwrap();
    let here = folder.path();
    let item = |id: &str, response: &str| json!({"id": id, "instruction": "Why?", "response": response, "label": 3});
    let rows = [
        item("a", "So.").to_string(),
        "{\"id\": ".to_owned(),
        json!({"id": "b", "instruction": "Why?"}).to_string(),
        item("c", "Thus.").to_string(),
        item("a", "Twice.").to_string(),
    ];
    std::fs::write(here.join("items.jsonl"), rows.join("\n")).unwrap();
    let args = ["--data", "items.jsonl", "--rubric", "helpfulness"];
    let (code, _, complaint) = grade(here, &[&args[..], &["--out", "strict.jsonl"]].concat());
    assert!(
        code == Some(1) && complaint.contains("items.jsonl:2: ") && !here.join("strict.jsonl").exists(),
        "{complaint}"
    );
    let more = ["--skip-invalid", "--out", "out.jsonl", "--summary", "summary.json"];
    let (code, said, complaint) = grade(here, &[&args[..], &more].concat());
    assert_eq!((code, said.as_str()), (Some(4), "2 of 2 graded, 0 failed: out.jsonl\n"), "{complaint}");
    let parts = [
        "skipped        3: rows that cannot be used",
        "3 rows were skipped because they cannot be used\n  items.jsonl:2: EOF",
        "\n  items.jsonl:3: has no response",
        "\n  items.jsonl:5: has the id `a` of line 1",
    ];
    for part in parts {
        assert!(complaint.contains(part), "{part}: {complaint}");
    }
    let summary: Value = serde_json::from_slice(&std::fs::read(here.join("summary.json")).unwrap()).unwrap();
    assert_eq!(summary["skipped"].as_array().unwrap().len(), 3);
    assert_eq!(summary["agreement"]["absolute"]["exact"]["n"], 2, "{summary}");
    let ids: Vec<Value> = lines(&here.join("out.jsonl")).iter().map(|line| line["id"].clone()).collect();
    assert!(ids.len() == 2 && ids.contains(&json!("a")) && ids.contains(&json!("c")), "{ids:?}");
    // A cell too many, and a table of which nothing is left.
    std::fs::write(here.join("items.csv"), "instruction,response\nWhy?,So.,more\nHow?,Thus.\n").unwrap();
    let args = ["--rubric", "helpfulness", "--skip-invalid", "--out", "table.csv", "--data"];
    let (code, said, complaint) = grade(here, &[&args[..], &["items.csv"]].concat());
    assert!(code == Some(4) && said.contains("1 of 1 graded"), "{said} {complaint}");
    assert!(complaint.contains("items.csv:2: has 3 cells") && complaint.contains("1 row was skipped"), "{complaint}");
    std::fs::write(here.join("none.csv"), "instruction\nWhy?\n").unwrap();
    let (code, _, complaint) = grade(here, &[&args[..], &["none.csv"]].concat());
    assert!(code == Some(1) && complaint.contains("none.csv: no row can be used"), "{complaint}");
    let (code, _, complaint) =
        ended(gavel(here).args(["grade", "--instruction", "a", "--response", "b", "--skip-invalid"]));
    assert!(code == Some(2) && complaint.contains("--data"), "{complaint}");
}

#[test]
fn pairs_can_be_compared_in_one_order() {
    let folder = tempfile::tempdir().unwrap();
    let here = folder.path();
    let items = [
        json!({"id": "pair", "instruction": "Why?", "response_a": "So.", "response_b": "Thus."}),
        json!({"id": "one", "instruction": "Why?", "response": "So."}),
    ];
    std::fs::write(here.join("items.jsonl"), items.map(|item| format!("{item}\n")).concat()).unwrap();
    let args = ["--data", "items.jsonl", "--rubric", "helpfulness", "--no-swap", "--sort", "--out", "out.jsonl"];
    let (code, said, complaint) = grade(here, &args);
    assert!(code == Some(0) && said.contains("2 of 2 graded"), "{said} {complaint}");
    let pair = &lines(&here.join("out.jsonl"))[0]["verdict"];
    assert_eq!((pair["judgements"].as_array().unwrap().len(), &pair["consistent"]), (1, &Value::Null), "{pair}");
    let alone = ["--instruction", "Why?", "--response", "So.", "--no-swap"];
    let (code, said, _) = grade(here, &[&alone[..], &["--response-b", "Thus.", "--json"]].concat());
    let verdict: Value = serde_json::from_str(&said).unwrap();
    assert_eq!((code, verdict["judgements"].as_array().unwrap().len()), (Some(0), 1));
    let (code, _, complaint) = grade(here, &alone);
    assert!(code == Some(2) && complaint.contains("--response-b"), "{complaint}");
}
