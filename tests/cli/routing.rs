//! `gavel route`: from labels to a router, and what it gains on other labels.

use std::path::Path;

use serde_json::{Value, json};

use crate::{gavel, run};

/// Labelled pairs, and a judge's verdicts on them: it is as sure each time, and wrong mostly where it prefers the longer
/// response.
fn pairs(folder: &Path, name: &str, count: usize, change: impl Fn(usize, &mut Value)) {
    let (mut items, mut verdicts) = (String::new(), String::new());
    for i in 0..count {
        let (short, long) =
            (format!("Answer {i}."), format!("Another answer {i}, {}", "with more words ".repeat(5 + i % 4)));
        let longer_first = i.is_multiple_of(2);
        let (a, b) = if longer_first { (&long, &short) } else { (&short, &long) };
        let prefers_a = !i.is_multiple_of(3);
        let wrong = (prefers_a == longer_first) != i.is_multiple_of(7);
        let label = if prefers_a == wrong { "B" } else { "A" };
        let id = format!("{name}-{i}");
        let item = json!({"id": id, "instruction": format!("Question {name} {}?", i / 2), "response_a": a, "response_b": b,
            "rubric": "helpfulness", "label": label});
        let p = if prefers_a { 0.8 } else { 0.2 };
        let judgement = |order: &str| json!({"order": order, "probability_a": p, "label_mass": 0.9, "feedback": null});
        let named = |digest: &str| json!({"name": "x", "digest": digest});
        let mut verdict = json!({"object": "verdict.relative", "preference": if prefers_a { "A" } else { "B" },
            "probability_a": p, "consistent": true, "label_mass": 0.9, "judgements": [judgement("AB"), judgement("BA")],
            "model": {"name": "m", "engine": "scripted", "digest": "sha256:m"}, "prompt": named("sha256:p"),
            "rubric": named("sha256:r")});
        change(i, &mut verdict);
        items.push_str(&format!("{item}\n"));
        verdicts.push_str(&format!("{}\n", json!({"id": id, "verdict": verdict})));
    }
    std::fs::write(folder.join(format!("{name}.jsonl")), items).unwrap();
    std::fs::write(folder.join(format!("{name}-verdicts.jsonl")), verdicts).unwrap();
}

fn route(folder: &Path, arguments: &[&str]) -> (bool, String, String) {
    run(gavel(folder).current_dir(folder).arg("route").args(arguments))
}

fn of(name: &str) -> [String; 4] {
    ["--data".into(), format!("{name}.jsonl"), "--verdicts".into(), format!("{name}-verdicts.jsonl")]
}

fn fit(folder: &Path, name: &str, more: &[&str]) -> (bool, String, String) {
    let from = of(name);
    let from: Vec<&str> = from.iter().map(String::as_str).collect();
    route(folder, &[&["fit"], &from[..], &["--out", "router.json"], more].concat())
}

fn simulate(folder: &Path, name: &str, more: &[&str]) -> (bool, String, String) {
    let from = of(name);
    let from: Vec<&str> = from.iter().map(String::as_str).collect();
    route(folder, &[&["simulate"], &from[..], more].concat())
}

fn as_is(_: usize, _: &mut Value) {}

#[test]
fn a_router_gains_on_labels_that_it_has_not_seen() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    pairs(folder, "one", 100, as_is);
    pairs(folder, "two", 80, as_is);
    let (fitted, said, complaint) = fit(folder, "one", &["--seed", "3"]);
    assert!(fitted, "{said} {complaint}");
    let made: Value = serde_json::from_str(&std::fs::read_to_string(folder.join("router.json")).unwrap()).unwrap();
    for part in ["100 labelled pairs", "area under the ROC curve", "longer_preferred", made["digest"].as_str().unwrap()]
    {
        assert!(said.contains(part), "{part}: {said}");
    }
    assert_eq!((&made["object"], &made["kind"]), (&json!("gavel.router"), &json!("relative")));
    let made_for = json!({"model": "sha256:m", "prompt": "sha256:p", "rubrics": ["sha256:r"], "mode": "score"});
    assert_eq!(made["made_for"], made_for);
    assert_eq!((&made["data"][0]["name"], &made["data"][0]["items"]), (&json!("one.jsonl"), &json!(100)));
    assert_eq!(made["thresholds"].as_array().unwrap().len(), 19);
    let figures = &made["held_out"];
    assert!(figures["auc"].as_f64().unwrap() > 0.8 && figures["area"]["low"].as_f64().unwrap() > 0.0, "{figures}");

    let (simulated, text, complaint) =
        simulate(folder, "two", &["--router", "router.json", "--json", "--html", "page.html"]);
    assert!(simulated, "{text} {complaint}");
    let report: Value = serde_json::from_str(&text).unwrap();
    let points = report["points"].as_array().unwrap();
    assert_eq!((points.len(), &report["items"], &report["instructions"]), (11, &json!(80), &json!(40)));
    let value = |of: &Value| of["value"].as_f64().unwrap();
    for (nth, point) in points.iter().enumerate() {
        assert!((point["share"].as_f64().unwrap() - nth as f64 / 10.0).abs() < 1e-9);
        assert!(value(&point["accuracy"]) >= value(&point["random"]) - 1e-9, "{point}");
        assert!((value(&point["gain"]) - (value(&point["accuracy"]) - value(&point["random"]))).abs() < 1e-9);
    }
    assert!((value(&points[10]["accuracy"]) - 1.0).abs() < 1e-9 && points[0]["threshold"].is_null());
    let (area, best) = (&report["area"], &report["best_area"]);
    assert!(area["low"].as_f64().unwrap() > 0.0 && value(area) <= value(best), "{area} {best}");
    assert_eq!(report["router"]["digest"], made["digest"]);
    let page = std::fs::read_to_string(folder.join("page.html")).unwrap();
    for part in ["<title>Routing to people or the judge", "Better than random routing", "two.jsonl", "<svg"] {
        assert!(page.contains(part), "{part}");
    }
    assert!(!page.contains("NaN") && !page.contains("<script"));

    // The judge is as sure each time, so that its own uncertainty gains nothing.
    let (simulated, text, complaint) = simulate(folder, "two", &[]);
    assert!(
        simulated && text.contains("the judge's own uncertainty") && text.contains("at random"),
        "{text} {complaint}"
    );
    assert_eq!(text.lines().filter(|line| line.contains(" %  ")).count(), 11, "{text}");
    let again = simulate(folder, "two", &["--json"]).1;
    assert_eq!(again, simulate(folder, "two", &["--json"]).1, "equal seeds give equal reports");
    let report: Value = serde_json::from_str(&again).unwrap();
    assert!(value(&report["area"]).abs() < 0.02 && report["router"].is_null(), "{report}");
}

#[test]
fn what_cannot_be_fitted_or_simulated_is_said_plainly() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let refused = |(done, said, complaint): (bool, String, String), word: &str| {
        assert!(!done && complaint.contains(word), "{word}: {said} {complaint}");
    };
    pairs(folder, "few", 19, as_is);
    refused(fit(folder, "few", &[]), "19 labelled verdicts");
    let agree = |wrong: bool| {
        move |i: usize, verdict: &mut Value| {
            let prefers_a = !i.is_multiple_of(3);
            let right = (prefers_a == i.is_multiple_of(2)) == i.is_multiple_of(7);
            let says_a = (prefers_a == right) != wrong;
            verdict["preference"] = json!(if says_a { "A" } else { "B" });
        }
    };
    pairs(folder, "right", 40, agree(false));
    refused(fit(folder, "right", &[]), "agrees with every label");
    pairs(folder, "wrong", 40, agree(true));
    refused(fit(folder, "wrong", &[]), "agrees with no label");
    pairs(folder, "bad", 40, |i, verdict| {
        if i == 4 {
            verdict["probability_a"] = json!("NaN");
        }
    });
    refused(fit(folder, "bad", &[]), "bad-verdicts.jsonl:5");
    pairs(folder, "out", 40, |i, verdict| {
        if i == 4 {
            verdict["probability_a"] = json!(1.5);
        }
    });
    refused(fit(folder, "out", &[]), "between 0 and 1");
    std::fs::write(folder.join("empty.jsonl"), "").unwrap();
    std::fs::write(folder.join("empty-verdicts.jsonl"), "").unwrap();
    refused(fit(folder, "empty", &[]), "empty.jsonl");
    assert!(!folder.join("router.json").exists());

    pairs(folder, "good", 40, as_is);
    assert!(fit(folder, "good", &[]).0);
    refused(simulate(folder, "good", &["--router", "router.json"]), "was fitted to good.jsonl");
    let other = |key: &'static str| move |_: usize, verdict: &mut Value| verdict[key]["digest"] = json!("sha256:other");
    pairs(folder, "model", 40, other("model"));
    refused(simulate(folder, "model", &["--router", "router.json"]), "was made for the model sha256:m");
    pairs(folder, "prompt", 40, other("prompt"));
    refused(simulate(folder, "prompt", &["--router", "router.json"]), "was made for the prompt sha256:p");
    pairs(folder, "rubric", 40, other("rubric"));
    refused(simulate(folder, "rubric", &["--router", "router.json"]), "was made for the rubrics sha256:r");
    pairs(folder, "feedback", 40, |_, verdict| verdict["judgements"][0]["feedback"] = json!("Well."));
    refused(simulate(folder, "feedback", &["--router", "router.json"]), "other mode");
    pairs(folder, "jury", 40, |_, verdict| verdict["model"]["engine"] = json!("jury"));
    refused(simulate(folder, "jury", &["--router", "router.json"]), "of one judge or of a jury");
    refused(simulate(folder, "few", &["--router", "absent.json"]), "absent.json cannot be read");
    let text = std::fs::read_to_string(folder.join("router.json")).unwrap();
    std::fs::write(folder.join("edited.json"), text.replacen("\"ridge\": ", "\"ridge\": 1", 1)).unwrap();
    refused(simulate(folder, "few", &["--router", "edited.json"]), "was changed after it was made");
    assert!(fit(folder, "jury", &["--any-rubric"]).0, "a jury has routers, too");
    let made: Value = serde_json::from_str(&std::fs::read_to_string(folder.join("router.json")).unwrap()).unwrap();
    assert_eq!((&made["jury"], &made["made_for"]["rubrics"]), (&json!(true), &Value::Null));
}

#[test]
fn scores_are_routed_after_the_judge_has_graded_them() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let items = |name: &str| {
        let line = |i: usize| {
            let item = json!({"id": format!("{name}-{i}"), "instruction": format!("Question {name} {i}?"), "label": 1 + i % 3,
                "response": format!("Answer {}.", i % 3), "rubric": "helpfulness"});
            format!("{item}\n")
        };
        std::fs::write(folder.join(format!("{name}.jsonl")), (0..60).map(line).collect::<String>()).unwrap();
    };
    items("one");
    items("two");
    // It is right and sure about the first two kinds of answers, and unsure and wrong about the third.
    let masses = ["[0.9, 0.1, 0.0, 0.0, 0.0]", "[0.1, 0.9, 0.0, 0.0, 0.0]", "[0.2, 0.2, 0.18, 0.2, 0.22]"];
    let answers: String =
        (0..3).map(|i| format!("[[answer]]\nwhen = \"Answer {i}.\"\nmasses = {}\n", masses[i])).collect();
    std::fs::write(folder.join("answers.toml"), answers).unwrap();
    let scripted = |arguments: &[&str]| {
        let mut command = gavel(folder);
        command.current_dir(folder).arg("route").args(arguments);
        command.args([
            "--mode",
            "score",
            "--keep",
            "kept",
            "--engine",
            "scripted",
            "--scripted-answers",
            "answers.toml",
        ]);
        run(&mut command)
    };
    let (fitted, said, complaint) = scripted(&["fit", "--data", "one.jsonl", "--out", "router.json"]);
    assert!(fitted && said.contains("60 labelled scores"), "{said} {complaint}");
    for router in [&["--router", "router.json"][..], &[]] {
        let arguments = [&["simulate", "--data", "two.jsonl", "--json"], router].concat();
        let (simulated, text, complaint) = scripted(&arguments);
        assert!(simulated, "{text} {complaint}");
        let report: Value = serde_json::from_str(&text).unwrap();
        let accuracy = |nth: usize| report["points"][nth]["accuracy"]["value"].as_f64().unwrap();
        assert!((accuracy(0) - 2.0 / 3.0).abs() < 1e-9 && (accuracy(4) - 1.0).abs() < 1e-9, "{report}");
    }
}
