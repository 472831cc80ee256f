//! The pages of `gavel agree --html` and `gavel compare --html`, in a real Chromium: what only a browser knows.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::{Value, json};

/// Looks at a page in frames of several widths, in light and in dark.
const LOOK: &str = include_str!("look.html");
/// What it says where all is well.
const NOTHING: &str = "nothing is wrong";

/// The browser; `None` where there is none. In CI there has to be one; elsewhere the test is skipped.
fn browser() -> Option<&'static str> {
    let there = |program: &&&str| Command::new(program).arg("--version").output().is_ok_and(|o| o.status.success());
    let found = ["chromium", "chromium-browser", "google-chrome"].iter().find(there).copied();
    if found.is_none() {
        let what = "Chromium is not installed: apt-get install --no-install-recommends chromium";
        assert!(std::env::var_os("CI").is_none(), "{what}");
        eprintln!("skipped: {what}");
    }
    found
}

/// Runs the browser on a file, with a profile of its own.
fn browse(browser: &str, folder: &Path, args: &[&str], file: &Path) -> String {
    let mut command = Command::new(browser);
    command.args([
        "--headless=new",
        "--no-sandbox",
        "--disable-gpu",
        "--hide-scrollbars",
        "--no-first-run",
        "--disable-dev-shm-usage",
    ]);
    command.arg(format!("--user-data-dir={}", folder.join("profile").display())).args(args);
    let Output { status, stdout, stderr } = command.arg(format!("file://{}", file.display())).output().unwrap();
    assert!(status.success(), "{args:?}: {}", String::from_utf8_lossy(&stderr));
    String::from_utf8_lossy(&stdout).into_owned()
}

/// What is wrong with a page.
fn look(browser: &str, folder: &Path, page: &str) -> String {
    let file = folder.join("look.html");
    // As a string in a script, where nothing can end it.
    let page = serde_json::to_string(page).unwrap().replace('<', "\\u003c");
    std::fs::write(&file, LOOK.replace("\"PAGE\"", &page)).unwrap();
    let seen =
        browse(browser, folder, &["--dump-dom", "--window-size=1400,1000", "--virtual-time-budget=20000"], &file);
    let found = seen.split_once("<pre id=\"found\">").and_then(|(_, rest)| rest.split_once("</pre>"));
    found.unwrap_or_else(|| panic!("it has not looked: {seen:.2000}")).0.to_owned()
}

/// How many pages it has on paper.
fn printed(browser: &str, folder: &Path, page: &str) -> usize {
    let (file, pdf) = (folder.join("page.html"), folder.join("page.pdf"));
    std::fs::write(&file, page).unwrap();
    browse(browser, folder, &["--no-pdf-header-footer", &format!("--print-to-pdf={}", pdf.display())], &file);
    let bytes = std::fs::read(&pdf).unwrap();
    let pdf = String::from_utf8_lossy(&bytes);
    assert!(pdf.starts_with("%PDF") && pdf.contains("/MediaBox [0 0 594.9") && pdf.contains(" 841.9"), "it is no A4");
    pdf.matches("/Type /Page\n").count()
}

fn check(browser: &str, name: &str, page: &str, pages: std::ops::RangeInclusive<usize>) {
    let folder = tempfile::tempdir().unwrap();
    let found = look(browser, folder.path(), page);
    assert!(found.starts_with(NOTHING), "{name}:\n{found}");
    let printed = printed(browser, folder.path(), page);
    assert!(pages.contains(&printed), "{name} has {printed} pages on paper");
}

/// The page that `gavel agree` writes of made-up items whose names are as bad as they come.
fn of_bad_names(folder: &Path) -> String {
    let long = "a_name_without_any_place_to_break_it/".repeat(4);
    let sets = [format!("<b>{long}</b>"), "\"' onload=alert(1) & 長い名前".repeat(4), "plain".to_owned()];
    let write = |name: &str, rows: Vec<Value>| -> PathBuf {
        let path = folder.join(name);
        std::fs::write(&path, rows.iter().map(|row| format!("{row}\n")).collect::<String>()).unwrap();
        path
    };
    let score = |i: usize| {
        json!({
            "id": format!("s{i}"), "set": sets[i % 3], "instruction": format!("Question {}?", i / 3),
            "response": "x".repeat(1 + i * 7 % 11), "label": i * 3 % 11, "scale": [0, 10], "meta": {"category": sets[i % 2]},
        })
    };
    let pair = |i: usize| {
        let (label, third) = (["A", "B", "tie"][i % 3], ["A", "B"][i % 2]);
        json!({
            "id": format!("p{i}"), "set": sets[i % 3], "instruction": format!("Question {}?", i / 3),
            "response_a": "x".repeat(1 + i % 5), "response_b": "xx", "label": label,
            "votes": ["A", "A", third], "meta": {"category": sets[i % 2]},
        })
    };
    let verdict = |i: usize, off: usize| {
        let (first, second) = (i.is_multiple_of(2 + off), i.is_multiple_of(3 + off));
        let preference = if first == second { if first { "A" } else { "B" } } else { "tie" };
        [
            json!({"id": format!("s{i}"), "score": (i * 3 + off * (i % 3)) % 11}),
            json!({"id": format!("p{i}"), "verdict": {
                "preference": preference, "probability_a": (i * 37 % 100) as f64 / 100.0, "consistent": first == second,
            }}),
        ]
    };
    let data = write("items.jsonl", (0..120).flat_map(|i| [score(i), pair(i)]).collect());
    let mut command = Command::new(env!("CARGO_BIN_EXE_gavel"));
    command.env("GAVEL_DATA_DIR", folder.join("data")).env("GAVEL_CACHE_DIR", folder.join("cache"));
    command.args(["agree", "--resamples", "100", "--data"]).arg(data);
    for (off, name) in ["</title><script>alert(1)</script>", &long, "a third"].into_iter().enumerate() {
        let verdicts = write(&format!("{off}.jsonl"), (0..120).flat_map(|i| verdict(i, off)).collect());
        command.arg("--verdicts").arg(format!("{name}={}", verdicts.display()));
    }
    let page = folder.join("report.html");
    let Output { status, stderr, .. } = command.arg("--html").arg(&page).output().unwrap();
    assert!(status.success(), "{}", String::from_utf8_lossy(&stderr));
    std::fs::read_to_string(page).unwrap()
}

/// The page that `gavel compare` writes of made-up runs with such names.
fn of_runs(folder: &Path) -> String {
    let long = "a_name_without_any_place_to_break_it/".repeat(4);
    let verdict = |i: usize, off: usize| {
        let (score, cut) = (1 + (i * 3 + off * (i % 4)) % 5, ["stop", "length"][i % 2]);
        let feedback = format!("<b>Fine</b> & \"so\": {}", "It says why. ".repeat(i));
        let preference = ["A", "B", "tie"][(i + off) % 3];
        let pair = json!({"preference": preference, "probability_a": (i * 37 % 100) as f64 / 100.0});
        let alone = json!({"score": score, "reward": (score - 1) as f64 / 4.0, "feedback": feedback, "label_mass": 0.9,
            "distribution": {"1": 0.5, "5": 0.5}, "judgements": [{"finish": cut}]});
        let input = json!({"instruction": format!("{long} <i>Why</i> is {i} 長い名前?")});
        [
            json!({"id": format!("{long}{i}"), "verdict": alone, "input": input}),
            json!({"id": format!("p{i}"), "verdict": pair}),
        ]
    };
    let mut command = Command::new(env!("CARGO_BIN_EXE_gavel"));
    command.args(["compare", "--top", "12"]);
    for (off, name) in ["</title><script>alert(1)</script>", &long].into_iter().enumerate() {
        let run = folder.join(format!("run-{off}.jsonl"));
        let lines = (0..40).flat_map(|i| verdict(i, off)).map(|line| format!("{line}\n"));
        std::fs::write(&run, lines.collect::<String>()).unwrap();
        command.arg(format!("{name}={}", run.display()));
    }
    let page = folder.join("compare.html");
    let Output { status, stderr, .. } = command.arg("--html").arg(&page).output().unwrap();
    assert!(status.success(), "{}", String::from_utf8_lossy(&stderr));
    std::fs::read_to_string(page).unwrap()
}

/// A page as a snapshot has it.
fn snapshot(name: &str) -> String {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/src/cli/agree/html/snapshots");
    std::fs::read_to_string(format!("{folder}/gavel__cli__agree__html__tests__{name}.snap.html")).unwrap()
}

#[test]
fn pages_fit_are_legible_and_print() {
    let Some(browser) = browser() else { return };
    check(browser, "two judges", &snapshot("two_judges"), 8..=20);
    check(browser, "scores alone", &snapshot("scores_alone"), 2..=5);
    let folder = tempfile::tempdir().unwrap();
    check(browser, "bad names", &of_bad_names(folder.path()), 10..=60);
    check(browser, "two runs", &of_runs(folder.path()), 2..=12);
}

#[test]
fn a_page_without_a_folder_is_refused_before_anything_is_read() {
    let folder = tempfile::tempdir().unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_gavel"));
    command.env("GAVEL_DATA_DIR", folder.path()).env("GAVEL_CACHE_DIR", folder.path());
    command.args(["agree", "--data", "nowhere.jsonl", "--html"]).arg(folder.path().join("none/report.html"));
    let Output { status, stderr, .. } = command.output().unwrap();
    let complaint = String::from_utf8_lossy(&stderr);
    assert!(!status.success() && complaint.contains("--html") && complaint.contains("is not a folder"), "{complaint}");
}

/// A test that finds nothing has to be able to find something.
#[test]
fn what_is_wrong_is_seen() {
    let Some(browser) = browser() else { return };
    let folder = tempfile::tempdir().unwrap();
    let page = "<!doctype html><html style='color-scheme: light dark'><style>svg { display: block; width: 100px }</style>\
        <p style='width: 2000px'>wide</p><p style='color: #999; background: #fff'>faint</p>\
        <p style='width: 12px; overflow-wrap: anywhere'>narrow</p>\
        <svg viewBox='0 0 100 20'><text x='90' y='15' font-size='11'>outside</text></svg>\
        <svg viewBox='0 0 100 20'><text x='0' y='15' font-size='11'>one</text><text x='5' y='15' font-size='11'>other</text></svg>";
    let found = look(browser, folder.path(), page);
    for what in [
        "360 px, light: it is 2",
        "reaches to",
        "faint: contrast",
        "narrow: a letter a line",
        "outside: beyond its plot",
        "one and other overlap",
    ] {
        assert!(found.contains(what), "{what}: {found}");
    }
}
