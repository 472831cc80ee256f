//! The program as a user runs it, on the scripted engine.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod agree;
mod batch;
mod calibration;
mod compare;
mod grade;
mod keys;
mod redteam;
mod routing;
mod shutdown;
mod traces;
mod trainers;

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};

use serde_json::{Value, json};

/// The program, with folders of its own and none of the caller's settings.
fn gavel(folder: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_gavel"));
    for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("GAVEL_")) {
        command.env_remove(name);
    }
    command.env("GAVEL_DATA_DIR", folder.join("data")).env("GAVEL_CACHE_DIR", folder.join("cache"));
    command
}

fn run(command: &mut Command) -> (bool, String, String) {
    let Output { status, stdout, stderr } = command.output().unwrap();
    (status.success(), String::from_utf8(stdout).unwrap(), String::from_utf8(stderr).unwrap())
}

/// A server that is stopped when it goes out of scope.
struct Server {
    process: Child,
    url: String,
}

impl Server {
    fn start(folder: &Path) -> Self {
        let mut command = gavel(folder);
        Self::spawned(command.args(["serve", "--port", "0", "--engine", "scripted"]).stderr(Stdio::null()))
    }

    fn spawned(command: &mut Command) -> Self {
        let mut process = command.stdout(Stdio::piped()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(process.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let url = line.trim().strip_prefix("gavel is listening on ").unwrap_or_else(|| panic!("{line}")).to_owned();
        Self { process, url }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
    }
}

fn write_items(path: &Path, count: usize) {
    let mut file = std::fs::File::create(path).unwrap();
    for index in 0..count {
        let item = json!({
            "id": format!("item-{index}"), "set": "made up", "instruction": format!("Question {index}?"),
            "response": "An answer.", "reference": "A better answer.", "label": 3,
            "rubric": {"criteria": "Is it right?", "scores": {"1": "No.", "2": "Partly.", "3": "Yes."}},
        });
        writeln!(file, "{item}").unwrap();
    }
}

fn lines(path: &Path) -> Vec<Value> {
    std::fs::read_to_string(path).unwrap().lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// Where nothing can be written.
#[cfg(target_os = "linux")]
#[test]
fn help_that_cannot_be_written_is_an_error() {
    let folder = tempfile::tempdir().unwrap();
    for args in [&["--help"][..], &["--version"], &["grade", "--help"], &["rubrics", "list"]] {
        let full = std::fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
        let output = gavel(folder.path()).args(args).stdout(full).stderr(Stdio::piped()).output().unwrap();
        let complaint = String::from_utf8(output.stderr).unwrap();
        assert!(output.status.code() == Some(1) && complaint.contains("cannot write"), "{args:?}: {complaint}");
    }
    let (ok, said, _) = run(gavel(folder.path()).arg("--help"));
    assert!(ok && said.contains("Usage:"), "{said}");
}

#[test]
fn a_rubric_file_that_is_not_there_has_no_line() {
    let folder = tempfile::tempdir().unwrap();
    let (ok, said, _) = run(gavel(folder.path()).current_dir(folder.path()).args(["rubrics", "check", "missing.toml"]));
    assert!(!ok && said.starts_with("missing.toml: No such file"), "{said}");
    let rubric = "criterion = \"Is it good?\"\n[descriptions]\n1 = \"no\"\n2 = \"yes\"\n";
    for name in ["one", "two"] {
        std::fs::write(folder.path().join(format!("{name}.toml")), rubric).unwrap();
    }
    let (ok, said, _) = run(gavel(folder.path()).current_dir(folder.path()).args(["rubrics", "check", "."]));
    assert!(ok && said == "2 rubrics are valid\n", "{said}");
    std::fs::create_dir(folder.path().join("empty")).unwrap();
    let (ok, _, complaint) = run(gavel(folder.path()).current_dir(folder.path()).args(["rubrics", "check", "empty"]));
    assert!(!ok && complaint.contains("empty: has no rubric files"), "{complaint}");
}

#[test]
fn commands_print_json() {
    let folder = tempfile::tempdir().unwrap();
    let (good, bad) = (folder.path().join("good.toml"), folder.path().join("bad.toml"));
    std::fs::write(&good, "criterion = \"Is it good?\"\n[descriptions]\n1 = \"no\"\n2 = \"yes\"\n").unwrap();
    std::fs::write(&bad, "criterion = 1\n").unwrap();
    std::fs::write(
        folder.path().join("request.json"),
        json!({"instruction": "Why?", "response": "So.", "rubric": "helpfulness"}).to_string(),
    )
    .unwrap();
    let printed = |args: &[&str], ends_well: bool| {
        let (ok, said, complaint) = run(gavel(folder.path()).current_dir(folder.path()).args(args).arg("--json"));
        assert_eq!(ok, ends_well, "{args:?}: {complaint}");
        serde_json::from_str::<Value>(&said).unwrap_or_else(|error| panic!("{args:?}: {error}: {said}"))
    };
    for list in [
        &["models", "list"][..],
        &["rubrics", "list"],
        &["prompts", "list"],
        &["annotators", "list"],
        &["keys", "list"],
    ] {
        assert!(printed(list, true).is_array(), "{list:?}");
    }
    let shown = printed(&["rubrics", "show", "helpfulness"], true);
    assert!(
        shown["digest"].as_str().unwrap().starts_with("sha256:") && shown["descriptions"]["1"].is_string(),
        "{shown}"
    );
    assert_eq!(printed(&["rubrics", "check", "good.toml"], true), json!({"valid": 1, "errors": []}));
    let refused = printed(&["rubrics", "check", "good.toml", "bad.toml"], false);
    assert_eq!((&refused["valid"], refused["errors"].as_array().unwrap().len()), (&json!(1), 1), "{refused}");
    let prompts = printed(&["--engine", "scripted", "prompts", "render", "request.json"], true);
    assert!(prompts[0].as_str().unwrap().contains("Why?"), "{prompts}");
}

#[test]
fn a_file_is_graded_and_an_interrupted_run_goes_on() {
    let folder = tempfile::tempdir().unwrap();
    let (data, out) = (folder.path().join("items.jsonl"), folder.path().join("verdicts.jsonl"));
    write_items(&data, 20);
    let server = Server::start(folder.path());
    let grade = || {
        let mut command = gavel(folder.path());
        command.args(["grade", "--server", &server.url, "--data"]).arg(&data).arg("--out").arg(&out);
        run(&mut command)
    };
    let (ok, said, complaint) = grade();
    assert!(ok && said.contains("20 of 20 graded, 0 failed"), "{said} {complaint}");
    let whole = lines(&out);
    let ids: std::collections::BTreeSet<&str> = whole.iter().map(|line| line["id"].as_str().unwrap()).collect();
    assert_eq!((whole.len(), ids.len()), (20, 20));
    // Cut in the middle of a line, as an interruption leaves it, with a failure before it.
    let text = std::fs::read_to_string(&out).unwrap();
    let kept: Vec<&str> = text.lines().take(7).collect();
    let failed = json!({"id": whole[7]["id"], "error": {"code": "engine_failed"}});
    std::fs::write(&out, format!("{}\n{failed}\n{}", kept.join("\n"), &text.lines().nth(8).unwrap()[..40])).unwrap();
    let (ok, said, complaint) = grade();
    assert!(ok && said.contains("20 of 20 graded"), "{said} {complaint}");
    let again = lines(&out);
    assert_eq!(again.len(), 20);
    let verdict_ids = |lines: &[Value]| lines[..7].iter().map(|l| l["verdict"]["id"].clone()).collect::<Vec<_>>();
    assert_eq!(verdict_ids(&again), verdict_ids(&whole), "what was done is not graded twice");
}

#[test]
fn what_was_graded_otherwise_is_not_added_to() {
    let folder = tempfile::tempdir().unwrap();
    let (data, out) = (folder.path().join("items.jsonl"), folder.path().join("verdicts.jsonl"));
    let server = Server::start(folder.path());
    let grade = |more: &[&str]| {
        let mut command = gavel(folder.path());
        command.args(["grade", "--server", &server.url, "--data"]).arg(&data).arg("--out").arg(&out).args(more);
        run(&mut command)
    };
    write_items(&data, 3);
    let (ok, said, complaint) = grade(&[]);
    assert!(ok && said.contains("3 of 3 graded"), "{said} {complaint}");
    let before = std::fs::read(&out).unwrap();
    let refused = |more: &[&str], expected: &str| {
        let (ok, said, complaint) = grade(more);
        assert!(!ok && complaint.contains(expected) && complaint.contains("--out"), "{more:?}: {said} {complaint}");
        assert_eq!(std::fs::read(&out).unwrap(), before, "{more:?}");
    };
    refused(&["--rubric", "honesty"], "another rubric");
    refused(&["--mode", "score"], "another mode");
    refused(&["--model", "scripted"], "another request");
    let (ok, _, complaint) = grade(&[]);
    assert!(ok, "{complaint}");
    let edited = std::fs::read_to_string(&data).unwrap().replace("Question 1?", "Question one?");
    std::fs::write(&data, edited).unwrap();
    refused(&[], "`item-1` was graded with another request");
}

#[test]
fn a_rubric_that_has_changed_on_the_server_is_another() {
    let folder = tempfile::tempdir().unwrap();
    let (data, out) = (folder.path().join("items.jsonl"), folder.path().join("verdicts.jsonl"));
    let rubrics = folder.path().join("data").join("rubrics");
    std::fs::create_dir_all(&rubrics).unwrap();
    let rubric = |text: &str| {
        let toml = format!("criterion = \"{text}\"\n[descriptions]\n0 = \"no\"\n1 = \"yes\"\n");
        std::fs::write(rubrics.join("mine.toml"), toml).unwrap();
    };
    std::fs::write(&data, "{\"id\": \"a\", \"instruction\": \"Why?\", \"response\": \"So.\", \"rubric\": \"mine\"}")
        .unwrap();
    let grade = || {
        let server = Server::start(folder.path());
        let mut command = gavel(folder.path());
        command.args(["grade", "--server", &server.url, "--data"]).arg(&data).arg("--out").arg(&out);
        run(&mut command)
    };
    rubric("Is it good?");
    assert!(grade().0 && grade().0);
    rubric("Is it right?");
    let (ok, _, complaint) = grade();
    assert!(!ok && complaint.contains("another version of its rubric"), "{complaint}");
}

#[test]
fn beside_a_server_only_its_model_can_be_chosen() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(folder.path());
    let one = ["--instruction", "Why?", "--response", "So."];
    let grade = |more: &[&str]| run(gavel(folder.path()).args(["grade", "--server", &server.url]).args(more));
    let (ok, _, complaint) = grade(&[&one[..], &["--model", "nosuchmodel"]].concat());
    assert!(!ok && complaint.contains("nosuchmodel"), "{complaint}");
    let (ok, _, complaint) = grade(&[&one[..], &["--model", "scripted"]].concat());
    assert!(ok, "{complaint}");
    let (data, out) = (folder.path().join("items.jsonl"), folder.path().join("verdicts.jsonl"));
    write_items(&data, 2);
    let file = ["--data", data.to_str().unwrap(), "--out", out.to_str().unwrap()];
    let (ok, said, _) = grade(&[&file[..], &["--model", "nosuchmodel"]].concat());
    assert!(!ok && said.contains("0 of 2 graded"), "{said}");
    assert!(lines(&out).iter().all(|line| line["error"]["code"] == "unknown_model"));
    for flags in [
        &["--engine", "scripted"][..],
        &["--data-dir", "here"],
        &["--cache-dir", "here"],
        &["--config", "gavel.toml"],
        &["--offline"],
        &["--scripted-delay-ms", "1"],
        &["--scripted-answers", "answers.toml"],
    ] {
        let (ok, _, complaint) = grade(&[&one[..], flags].concat());
        assert!(!ok && complaint.contains(flags[0]) && complaint.contains("--server"), "{flags:?}: {complaint}");
        let mut bench = gavel(folder.path());
        let (ok, _, complaint) = run(bench.args(["bench", "--server", &server.url, "--requests", "1"]).args(flags));
        assert!(!ok && complaint.contains(flags[0]), "{flags:?}: {complaint}");
    }
}

#[test]
fn a_file_of_verdicts_has_one_writer() {
    let folder = tempfile::tempdir().unwrap();
    let (data, out) = (folder.path().join("items.jsonl"), folder.path().join("verdicts.jsonl"));
    write_items(&data, 2);
    let server = Server::start(folder.path());
    let held = std::fs::OpenOptions::new().create(true).append(true).open(&out).unwrap();
    held.lock().unwrap();
    let grade = || {
        let mut command = gavel(folder.path());
        command.args(["grade", "--server", &server.url, "--data"]).arg(&data).arg("--out").arg(&out);
        run(&mut command)
    };
    let (ok, _, complaint) = grade();
    assert!(!ok && complaint.contains("another `gavel grade` or `gavel agree` is writing it"), "{complaint}");
    assert_eq!(std::fs::read(&out).unwrap(), b"");
    drop(held);
    assert!(grade().0);
    assert_eq!(lines(&out).len(), 2);
}

#[test]
fn files_of_other_systems_are_read() {
    let folder = tempfile::tempdir().unwrap();
    let (data, out) = (folder.path().join("items.jsonl"), folder.path().join("verdicts.jsonl"));
    let server = Server::start(folder.path());
    let grade = || {
        let mut command = gavel(folder.path());
        command.args(["grade", "--server", &server.url, "--data"]).arg(&data).arg("--out").arg(&out);
        run(&mut command)
    };
    let item = |id: &str, response: &str| {
        format!(r#"{{"id": "{id}", "instruction": "Why?", "response": "{response}", "rubric": "helpfulness"}}"#)
    };
    let text =
        format!("\u{feff}{}\r\n{}\r\n\r\n{}", item("one", "So."), item("two", r"Cut \ud83d"), item("three", "Ja."));
    std::fs::write(&data, text).unwrap();
    let (ok, said, complaint) = grade();
    assert!(ok && said.contains("3 of 3 graded"), "{said} {complaint}");
    let mut ids: Vec<String> = lines(&out).iter().map(|line| line["id"].as_str().unwrap().to_owned()).collect();
    ids.sort_unstable();
    assert_eq!(ids, ["one", "three", "two"]);
    std::fs::write(&data, b"\xff\xfe{\0}\0").unwrap();
    let (ok, _, complaint) = grade();
    assert!(!ok && complaint.contains("UTF-16"), "{complaint}");
}

#[test]
fn without_a_server_it_hosts_the_model_itself() {
    let folder = tempfile::tempdir().unwrap();
    let one = ["grade", "--engine", "scripted", "--instruction", "Why?", "--response", "So.", "--rubric", "reasoning"];
    let (ok, said, complaint) = run(gavel(folder.path()).args(one));
    assert!(ok && said.contains("reasoning: score 5") && said.contains("0.333"), "{said} {complaint}");
    let (ok, said, _) = run(gavel(folder.path()).args(one).args(["--response-b", "Thus.", "--json"]));
    let verdict: Value = serde_json::from_str(&said).unwrap();
    assert!(ok && verdict["object"] == "verdict.relative");
}

#[test]
fn a_file_gets_the_same_lines_with_and_without_a_server() {
    let folder = tempfile::tempdir().unwrap();
    let (data, mixed) = (folder.path().join("items.jsonl"), folder.path().join("mixed.jsonl"));
    write_items(&data, 3);
    let odd = [
        json!({"id": "pair", "instruction": "Why?", "response_a": "So.", "response_b": "Thus.", "rubric": "honesty"}),
        json!({"id": "two", "instruction": "Why?", "response": "So.", "samples": 2, "sampling": {"temperature": 0.7},
            "rubric": [{"rubric": "honesty", "weight": 2}, {"rubric": "reasoning"}]}),
        json!({"id": "unknown", "instruction": "Why?", "response": "So.", "rubric": "no such rubric"}),
        json!({"id": "blank", "instruction": " ", "response": "So.", "rubric": "honesty"}),
        json!({"id": "field", "instruction": "Why?", "response": "So.", "rubric": "honesty", "sampling": {"nothing": 1}}),
    ];
    let odd: String = odd.iter().map(|item| format!("{item}\n")).collect();
    std::fs::write(&mixed, std::fs::read_to_string(&data).unwrap() + &odd).unwrap();
    let server = Server::start(folder.path());
    let graded = |name: &str, judge: [&str; 2]| {
        let out = folder.path().join(name);
        let mut command = gavel(folder.path());
        command.arg("grade").args(judge).arg("--data").arg(&mixed).arg("--out").arg(&out);
        let (ok, said, complaint) = run(&mut command);
        assert!(!ok && said.contains("5 of 8 graded, 3 failed"), "{said} {complaint}");
        let mut lines = lines(&out);
        lines.sort_by_key(|line| line["id"].to_string());
        for line in &mut lines {
            // Of each run, or of where it ran.
            ["id", "timing_ms"].iter().for_each(|key| drop(line["verdict"].as_object_mut().map(|v| v.remove(*key))));
            ["type", "request_id"].iter().for_each(|key| drop(line["error"].as_object_mut().map(|e| e.remove(*key))));
        }
        lines
    };
    let there = graded("there.jsonl", ["--server", &server.url]);
    let here = graded("here.jsonl", ["--engine", "scripted"]);
    assert_eq!(here, there);
    // Another run finds what the first one has done, and what was graded otherwise.
    let mut command = gavel(folder.path());
    command.args(["grade", "--engine", "scripted", "--rubric", "reasoning", "--data"]).arg(&data);
    let (ok, _, complaint) = run(command.arg("--out").arg(folder.path().join("here.jsonl")));
    assert!(!ok && complaint.contains("another rubric"), "{complaint}");
}

#[test]
fn the_demo_shows_verdicts_and_leaves() {
    let folder = tempfile::tempdir().unwrap();
    let (ok, said, complaint) = run(gavel(folder.path()).args(["demo", "--engine", "scripted"]));
    assert!(ok, "{complaint}");
    for part in
        ["\nscore 5, expected", "Rubric: Is what", "shown as BA", "(score: the most probable.", "Next:", " serve\n"]
    {
        assert!(said.contains(part), "{part}: {said}");
    }
    let wide: Vec<&str> = said.lines().filter(|line| line.chars().count() > 80).collect();
    assert!(wide.is_empty(), "{wide:?}");
}

#[test]
fn what_failed_is_said_with_its_reasons() {
    let folder = tempfile::tempdir().unwrap();
    let (data, out) = (folder.path().join("items.jsonl"), folder.path().join("out.jsonl"));
    let server = Server::start(folder.path());
    let item = |id: &str, rubric: &str, response: &str| {
        json!({"id": id, "instruction": "Why?", "response": response, "rubric": rubric}).to_string()
    };
    let long = "word ".repeat(9_000);
    let all = [
        item("a", "nosuchrubric", "So."),
        item("b", "nosuchrubric", "So."),
        item("c", "helpfulness", &long),
        item("d", "helpfulness", "So."),
    ];
    std::fs::write(&data, all.join("\n")).unwrap();
    let grade = |url: &str| {
        let mut command = gavel(folder.path());
        command.args(["grade", "--concurrency", "1", "--server", url, "--data"]).arg(&data).arg("--out").arg(&out);
        run(&mut command)
    };
    let (ok, said, complaint) = grade(&server.url);
    assert!(!ok && said.contains("1 of 4 graded, 3 failed"), "{said}");
    for part in [
        "3 items failed; a retry would fail again",
        "2 × unknown_rubric: there is no rubric `nosuchrubric`",
        "(first: `a`)",
        "1 × context_overflow: ",
        "(first: `c`)",
    ] {
        assert!(complaint.contains(part), "{part}: {complaint}");
    }
    assert!(!complaint.contains("run the same command again"), "{complaint}");
}

#[test]
fn a_server_that_is_not_there_is_said_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let (data, out) = (folder.path().join("items.jsonl"), folder.path().join("out.jsonl"));
    write_items(&data, 3);
    // A port that nothing listens on any more.
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let url = format!("http://127.0.0.1:{port}");
    let paths = [data.to_str().unwrap(), out.to_str().unwrap()];
    for command in ["grade", "agree"] {
        let mut args = vec![command, "--server", &url, "--data", paths[0]];
        args.extend(if command == "grade" { vec!["--out", paths[1]] } else { Vec::new() });
        let (ok, said, complaint) = run(gavel(folder.path()).args(&args));
        assert!(!ok && said.is_empty(), "{said}");
        assert!(complaint.contains(&format!("{url} does not answer")) && complaint.contains("refused"), "{complaint}");
        assert!(!complaint.contains("failed;"), "{complaint}");
    }
    assert_eq!(lines(&out).len(), 0);
}

#[test]
fn a_server_that_ends_in_the_middle_ends_the_run() {
    let folder = tempfile::tempdir().unwrap();
    let (data, out) = (folder.path().join("items.jsonl"), folder.path().join("out.jsonl"));
    write_items(&data, 100);
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    // It answers the first question whether it is there and two requests, and is gone.
    let server = std::thread::spawn(move || {
        for _ in 0..3 {
            let (stream, _) = listener.accept().unwrap();
            let (mut reader, mut length, mut line) = (BufReader::new(&stream), 0, String::new());
            while reader.read_line(&mut line).unwrap() > 2 {
                let head = line.to_lowercase();
                length = head.strip_prefix("content-length:").map_or(length, |value| value.trim().parse().unwrap());
                line.clear();
            }
            std::io::Read::read_exact(&mut reader, &mut vec![0; length]).unwrap();
            let answer = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\
                          Connection: close\r\n\r\n{}";
            (&stream).write_all(answer.as_bytes()).unwrap();
        }
    });
    let (ok, said, complaint) =
        run(gavel(folder.path()).args(["grade", "--server", &url, "--data"]).arg(&data).arg("--out").arg(&out));
    server.join().unwrap();
    assert!(!ok && said.contains("2 of 100 graded, 3 failed"), "{said} {complaint}");
    for part in [
        "3 items failed; run the same command again to retry them",
        "The server no longer answers: 95 items more were not sent",
        "3 × no_answer: ",
    ] {
        assert!(complaint.contains(part), "{part}: {complaint}");
    }
    assert_eq!(lines(&out).len(), 5);
}

#[test]
fn mistakes_in_a_file_are_found_before_anything_is_graded() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("items.jsonl");
    let check = |text: &str, more: &[&str], expected: &str| {
        std::fs::write(&data, text).unwrap();
        let mut command = gavel(folder.path());
        command.args(["grade", "--server", "http://127.0.0.1:9", "--data"]).arg(&data).args(more);
        if !more.contains(&"--out") {
            command.arg("--out").arg(folder.path().join("out.jsonl"));
        }
        let (ok, _, complaint) = run(&mut command);
        assert!(!ok && complaint.contains(expected), "{text}: {complaint}");
    };
    std::fs::write(folder.path().join("notes.jsonl"), "my notes\nmore\n").unwrap();
    check("", &["--out", folder.path().join("notes.jsonl").to_str().unwrap()], "notes.jsonl:1: is not a verdict");
    check("", &["--out", data.to_str().unwrap()], "both --data and --out");
    check("{\"id\": 1", &[], "items.jsonl:1:");
    check("[1]", &[], "items.jsonl:1:");
    check("{\"instruction\": \"a\", \"response\": \"b\"}", &[], "--rubric");
    check("{\"response\": \"b\", \"rubric\": \"x\"}", &["--kind", "relative"], "response_a");
    let item = r#"{"id": 1, "instruction": "a", "response": "b", "rubric": "x"}"#;
    check(&format!("{item}\n\n{item}"), &[], "items.jsonl:3: has the id `1` of ");
    check(item, &["--out", "verdicts.xlsx"], "use .jsonl, .csv or .parquet");
    check(item, &["--judge", "a", "--judge", "b"], "{judge}");
    check(item, &["--judge", "a", "--model", "b"], "--model and --judge");
    check(item, &["--summary", "summary.txt"], ".json or .md");
    check(item, &["--rubric", "nowhere.toml"], "nowhere.toml");
}

/// What a supervisor must not try again.
#[test]
fn a_configuration_that_cannot_be_used_ends_with_78() {
    let folder = tempfile::tempdir().unwrap();
    for check in [false, true] {
        let ends = |arguments: &[&str], variable: Option<(&str, &str)>, words: &[&str]| {
            let mut command = gavel(folder.path());
            command.args(["serve", "--port", "0"]).args(arguments).envs(variable);
            command.args(check.then_some("--check"));
            let output = command.output().unwrap();
            let complaint = String::from_utf8_lossy(&output.stderr);
            assert!(words.iter().all(|word| complaint.contains(word)), "{arguments:?} {variable:?}: {complaint}");
            assert_eq!(output.status.code(), Some(78), "{arguments:?} {variable:?}, check {check}: {complaint}");
        };
        let scripted = ["--engine", "scripted"];
        ends(&scripted, Some(("GAVEL_LOG__LEVEL", "nonsense")), &["`nonsense`", "error, warn, info, debug"]);
        ends(&scripted, Some(("GAVEL_LIMITS__QUEUE", "many")), &["many"]);
        ends(&scripted, Some(("GAVEL_PROMPT", "nothing")), &["nothing"]);
        ends(&["--engine", "scripted", "--scripted-answers", "nowhere.toml"], None, &["nowhere.toml"]);
        ends(&["--offline", "--model", "gpt-9"], None, &["gpt-9"]);
        std::fs::write(folder.path().join("gavel.toml"), "tls = { certificate = 'no.pem', key = 'no.key' }\n").unwrap();
        let config = folder.path().join("gavel.toml").display().to_string();
        ends(&["--engine", "scripted", "--config", &config], None, &["no.pem"]);
    }
}

#[test]
fn what_keeps_it_from_starting_is_said_plainly() {
    let folder = tempfile::tempdir().unwrap();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    let check = |arguments: &[&str], expected: &[&str]| {
        let (ok, _, complaint) = run(gavel(folder.path()).args(arguments));
        assert!(!ok, "{arguments:?}");
        for word in expected {
            assert!(complaint.contains(word), "{arguments:?}: {complaint}");
        }
    };
    check(&["serve", "--engine", "scripted", "--port", &port], &["the port is in use", "--port"]);
    check(&["models", "pull", "gpt-9"], &["gpt-9", "smollm2-135m"]);
    check(&["models", "path", "smollm2-135m"], &["gavel models pull smollm2-135m"]);
    check(&["rubrics", "show", "nothing"], &["helpfulness"]);
    check(&["--config", "nowhere.toml", "rubrics", "list"], &["nowhere.toml"]);
    // A folder that cannot be made, since a file is in its place: root may write anywhere else.
    std::fs::write(folder.path().join("file"), "").unwrap();
    let below = folder.path().join("file").join("cache");
    check(&["models", "pull", "smollm2-135m", "--cache-dir", below.to_str().unwrap()], &["cannot", "GAVEL_CACHE_DIR"]);
}

#[test]
fn rubric_files_are_checked_with_file_and_line() {
    let folder = tempfile::tempdir().unwrap();
    let (good, bad) = (folder.path().join("good.toml"), folder.path().join("bad.toml"));
    std::fs::write(&good, "criterion = \"?\"\n[descriptions]\n0 = \"no\"\n1 = \"yes\"\n").unwrap();
    std::fs::write(&bad, "criterion = \"?\"\n[descriptions]\n0 = \"no\"\n2 = \"yes\"\n").unwrap();
    let (ok, said, _) = run(gavel(folder.path()).args(["rubrics", "check"]).arg(&good).arg(&bad));
    assert!(!ok && said.contains("bad.toml:2: levels are consecutive integers; level 1 is missing"), "{said}");
    assert!(!said.contains("good.toml"));
}

#[test]
fn prompts_are_shown_as_they_would_be_sent() {
    let folder = tempfile::tempdir().unwrap();
    let request = folder.path().join("request.json");
    let body = json!({"instruction": "Why?", "response_a": "So.", "response_b": "Thus.", "rubric": "reasoning"});
    std::fs::write(&request, body.to_string()).unwrap();
    let (ok, said, complaint) =
        run(gavel(folder.path()).args(["prompts", "render", "--engine", "scripted"]).arg(&request));
    assert!(ok, "{complaint}");
    assert!(said.contains("prompt 1 of 2") && said.contains("<|im_start|>user"), "{said}");
    let (first, second) = said.split_once("prompt 2 of 2").unwrap();
    assert!(first.find("So.") < first.find("Thus.") && second.find("Thus.") < second.find("So."));
}

#[test]
fn completions_know_the_commands() {
    let folder = tempfile::tempdir().unwrap();
    let (ok, said, _) = run(gavel(folder.path()).args(["completions", "bash"]));
    assert!(ok && said.contains("rubrics") && said.contains("--server"));
}

#[test]
fn the_list_of_models_says_what_each_needs_and_whether_it_fits() {
    let folder = tempfile::tempdir().unwrap();
    let list = |more: &[&str], pool: &str| {
        let mut command = gavel(folder.path());
        let sizes = [("GAVEL_LLAMA_CPP__KV_TOKENS", pool), ("GAVEL_LLAMA_CPP__CACHED_TOKENS", "24")];
        command.envs(sizes).env("HF_HUB_CACHE", folder.path().join("hub"));
        run(command.args(["models", "list"]).args(more))
    };
    let (ok, said, complaint) = list(&["--json"], "1000");
    assert!(ok, "{complaint}");
    let models: Vec<Value> = serde_json::from_str(&said).unwrap();
    let named = |name: &str| models.iter().find(|model| model["name"] == name).unwrap().clone();
    let flow = named("flow-judge");
    assert_eq!((&flow["prompt_set"], &flow["size"]), (&json!("flow-judge"), &json!(null)));
    assert_eq!(flow["memory"], 2_390_000_000_u64 + (1000 + 24) * 393_216);
    let known = ["smollm2-135m", "prometheus-2-7b", "prometheus-2-8x7b", "m-prometheus-3b", "m-prometheus-7b"];
    known
        .iter()
        .chain(&["m-prometheus-14b", "selene-1-mini", "qwen2.5-7b-instruct"])
        .for_each(|name| drop(named(name)));
    // No machine has room for a pool of so many tokens.
    let (_, said, _) = list(&["--json"], "1000000000000");
    let models: Vec<Value> = serde_json::from_str(&said).unwrap();
    assert!(models.iter().all(|model| model["fits"] == json!(false)), "{said}");
    let (_, said, _) = list(&[], "1000");
    assert!(said.contains("FITS") && said.contains("smollm2-135m"), "{said}");
}

#[test]
fn a_model_of_the_hub_that_cannot_be_had_says_what_to_do() {
    let folder = tempfile::tempdir().unwrap();
    let pull = |name: &str| {
        let mut command = gavel(folder.path());
        command.env("HF_HUB_CACHE", folder.path().join("hub")).args(["--offline", "models", "pull", name]);
        run(&mut command)
    };
    let (ok, _, complaint) = pull("hf:o/judge/judge.gguf");
    assert!(!ok && complaint.contains("offline") && complaint.contains("gavel models pull"), "{complaint}");
    let (ok, _, complaint) = pull("hf:nonsense");
    assert!(!ok && complaint.contains("hf:owner/name/file.gguf"), "{complaint}");
}

#[test]
fn a_load_is_measured_on_a_server_and_without_one() {
    let folder = tempfile::tempdir().unwrap();
    let (data, figures) = (folder.path().join("items.jsonl"), folder.path().join("figures.json"));
    write_items(&data, 12);
    let server = Server::start(folder.path());
    let figures_of = |args: &[&str]| {
        let (ok, said, complaint) = run(gavel(folder.path()).arg("bench").args(args).arg("--json").arg(&figures));
        assert!(ok, "{said} {complaint}");
        (serde_json::from_slice::<Value>(&std::fs::read(&figures).unwrap()).unwrap(), said)
    };

    let data = data.to_str().unwrap();
    let (report, said) = figures_of(&["--server", &server.url, "--data", data, "--mode", "score", "--warmup", "2"]);
    assert_eq!(
        (&report["verdicts"], &report["verdicts_from_cache"], &report["failed"]),
        (&json!(10), &json!(0), &json!(0))
    );
    assert_eq!(report["tokens"]["completion"], 10.0, "a score is one token");
    assert!(report["latency_ms"]["p99"].as_f64() >= report["latency_ms"]["p50"].as_f64());
    assert!(said.contains("verdicts   10"), "{said}");
    // Items come round again, and are cached by then; or not, where that is asked.
    let again = ["--server", &server.url, "--data", data, "--mode", "score", "--requests", "24", "--rate", "2000"];
    assert_eq!(figures_of(&again).0["verdicts_from_cache"], 24);
    assert_eq!(figures_of(&[&again[..], &["--no-cache"]].concat()).0["verdicts_from_cache"], 0);

    let (report, _) = figures_of(&["--engine", "scripted", "--kind", "relative", "--requests", "20"]);
    assert_eq!((&report["verdicts"], &report["verdicts_from_cache"]), (&json!(20), &json!(0)));

    // A load of nothing but failures is one itself, and says which.
    let (ok, said, complaint) =
        run(gavel(folder.path()).args(["bench", "--server", &server.url, "--rubric", "nothing", "--requests", "3"]));
    assert!(!ok && said.contains("unknown_rubric 3") && complaint.contains("no request got a verdict"), "{said}");
}

#[test]
fn a_server_that_accepts_and_never_answers_is_an_error() {
    let folder = tempfile::tempdir().unwrap();
    let grade = |url: &str, what: &[&str]| {
        let mut command = gavel(folder.path());
        run(command.args(["grade", "--server", url, "--timeout", "0.3", "--rubric", "helpfulness"]).args(what))
    };
    let one = ["--instruction", "Why?", "--response", "So."];
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let expected = format!("gavel: {url} did not answer within 0.3 s\n");
    assert_eq!(grade(&url, &one), (false, String::new(), expected), "the system accepts for it");

    // One that is alive, but grades nothing.
    std::thread::spawn(move || {
        let mut held = Vec::new();
        for mut connection in listener.incoming().map(Result::unwrap) {
            if first_byte(&mut connection) == b'G' {
                let answer = b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
                connection.write_all(answer).unwrap();
            }
            held.push(connection);
        }
    });
    let (ok, _, complaint) = grade(&url, &one);
    assert!(!ok && complaint.contains("did not answer within 0.3 s"), "{complaint}");
    let (data, out) = (folder.path().join("items.jsonl"), folder.path().join("verdicts.jsonl"));
    write_items(&data, 9);
    let files = ["--data", data.to_str().unwrap(), "--out", out.to_str().unwrap(), "--concurrency", "1"];
    let (ok, said, complaint) = grade(&url, &files);
    assert!(!ok && said.starts_with("0 of 9 graded, 3 failed"), "{said} {complaint}");
    assert!(complaint.contains("The server no longer answers: 6 items more were not sent"), "{complaint}");
}

/// The first byte of a request, which says its method.
fn first_byte(connection: &mut TcpStream) -> u8 {
    let mut byte = [0];
    connection.read_exact(&mut byte).unwrap();
    byte[0]
}
