//! Juries: several judges of one request, and their one verdict.

use gavel::engine::Job;
use gavel::engine::scripted::Answer;
use serde_json::{Value, json};

use crate::engines::{asking, counting, prefers_good, says};
use crate::server::{Server, absolute, events, near, ok, problem, redacted, relative, rubric, sent};

/// Scores by annotator: a teacher gives 5, a parent 1, everyone else 3; `FAIL` fails.
fn by_annotator(job: &Job) -> Answer {
    let prompt = job.prompt.text();
    let score = match () {
        () if prompt.contains("broken") => return Answer { fail: Some("it broke".into()), ..Answer::default() },
        () if prompt.contains("teacher") => 5,
        () if prompt.contains("parent") => 1,
        () => 3,
    };
    let masses: Vec<f64> = (1..=5).map(|level| if level == score { 0.8 } else { 0.05 }).collect();
    says(&format!("Worth {score}."), &masses)
}

fn jury(annotators: &[&str]) -> Value {
    annotators.iter().map(|annotator| json!({"annotator": annotator})).collect()
}

#[tokio::test]
async fn a_whole_verdict() {
    let server = Server::with(asking(by_annotator));
    let change = json!({"judges": ["scripted", {"prompt": "prometheus", "annotator": "a teacher"}], "mode": "score"});
    insta::assert_json_snapshot!("jury_absolute", redacted(server.absolute(change).await));
    let server = Server::with(asking(prefers_good));
    let change = json!({"judges": [{"prompt": "plain"}, {"prompt": "prometheus"}], "noise": {"flip": 0.25, "seed": 1}});
    insta::assert_json_snapshot!("jury_relative", redacted(server.relative(change).await));
}

#[tokio::test]
async fn the_jurors_decide_together() {
    let server = Server::with(asking(by_annotator));
    let check = async |change: Value, score: i32, reward: f64| {
        let verdict = server.absolute(change).await;
        assert_eq!(verdict["score"], score, "{verdict}");
        assert!(near(&verdict["reward"], reward), "{verdict}");
        verdict
    };
    // Rewards of 5, 3 and 1: 4·0.8 + (3 + 2 + 1)·0.05 = 3.5 of 4, 2 of 4 and 0.5 of 4.
    let judges = jury(&["a teacher", "a parent", "an owl"]);
    let verdict = check(json!({"judges": judges}), 1, 0.5).await;
    assert!(near(&verdict["spread"], 0.375), "{verdict}");
    assert!(near(&verdict["kappa"], -0.25), "no two agree: {verdict}");
    assert_eq!(verdict["judgements"], json!([]), "those of the jurors");
    let own: Vec<&Value> =
        verdict["jurors"].as_array().unwrap().iter().map(|juror| &juror["verdict"]["score"]).collect();
    assert_eq!(own, [5, 1, 3]);
    let judges = jury(&["a teacher", "another teacher", "a parent"]);
    let verdict = check(json!({"judges": judges, "combine": "majority"}), 5, 0.875).await;
    assert_eq!(verdict["feedback"], "Worth 5.", "of a juror who says the same");
    check(json!({"judges": judges}), 5, 0.625).await;
    let weighted = json!([{"annotator": "a teacher"}, {"annotator": "a parent", "weight": 3.0}]);
    let verdict = check(json!({"judges": weighted}), 1, 0.3125).await;
    assert_eq!((&verdict["combine"], &verdict["jurors"][1]["weight"]), (&json!("weighted"), &json!(3.0)));
    assert!(near(&verdict["agreement"], 0.75), "{verdict}");
    let alone = server.absolute(json!({"annotator": "a teacher"})).await;
    let one = check(json!({"judges": jury(&["a teacher"])}), 5, 0.875).await;
    for field in ["score", "expected_score", "distribution", "label_mass", "entropy", "feedback", "agreement"] {
        assert_eq!(one[field], alone[field], "{field}: a jury of one is its juror");
    }
    assert_eq!((&one["spread"], &one["kappa"]), (&Value::Null, &Value::Null));
    let both = json!([{"rubric": rubric(1, 5), "weight": 3}, {"rubric": "helpfulness"}]);
    let verdict = server.absolute(json!({"judges": jury(&["a teacher", "a parent"]), "rubric": both})).await;
    assert!(near(&verdict["reward"], 0.5) && verdict["score"].is_null(), "{verdict}");
    assert_eq!(verdict["criteria"].as_array().unwrap().len(), 2);
}

#[tokio::test]
async fn exchanging_the_responses_gives_the_complement() {
    let server = Server::with(asking(prefers_good));
    let judges = json!([{"annotator": "one"}, {"annotator": "two"}, {"annotator": "three"}]);
    for extra in [json!({}), json!({"combine": "majority"}), json!({"noise": {"flip": 0.5, "seed": 3}})] {
        let mut change = json!({"judges": judges});
        change.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
        let one = server.relative(change.clone()).await;
        change["response_a"] = json!("A BAD answer.");
        change["response_b"] = json!("A GOOD answer.");
        let other = server.relative(change).await;
        let probability = |verdict: &Value| verdict["probability_a"].as_f64().unwrap();
        assert_eq!(probability(&one), 1.0 - probability(&other), "{one}");
        let flips = |verdict: &Value| -> Vec<Value> {
            verdict["jurors"].as_array().unwrap().iter().map(|juror| juror["flipped"].clone()).collect()
        };
        assert_eq!(flips(&one), flips(&other), "the same jurors err");
    }
    let noisy = server.relative(json!({"judges": judges, "noise": {"flip": 1.0}})).await;
    assert_eq!((&noisy["preference"], &noisy["noise"]), (&json!("B"), &json!({"flip": 1.0, "seed": 0})), "{noisy}");
    let juror = &noisy["jurors"][0];
    assert_eq!((&juror["flipped"], &juror["verdict"]["preference"]), (&json!(true), &json!("A")), "as it was given");
    let grades_good = |job: &Job| {
        let good = job.prompt.text().contains("GOOD");
        says("Hm.", if good { &[0.0, 0.0, 0.2, 0.3, 0.5] } else { &[0.5, 0.5, 0.0, 0.0, 0.0] })
    };
    let server = Server::with(asking(grades_good));
    let change = json!({"judges": judges, "method": "absolute", "noise": {"flip": 0.5, "seed": 3}});
    let graded = server.relative(change).await;
    assert_eq!((&graded["method"], &graded["consistent"]), (&json!("absolute"), &Value::Null), "{graded}");
    let flipped = graded["jurors"].as_array().unwrap().iter().filter(|juror| juror["flipped"] == true).count();
    assert_eq!(graded["preference"], if flipped > 1 { "B" } else { "A" }, "{flipped} of 3 are turned around");
}

#[tokio::test]
async fn a_juror_that_fails_is_named_and_the_others_decide() {
    let server = Server::with(asking(by_annotator));
    let verdict = server.absolute(json!({"judges": jury(&["a teacher", "a broken clock", "an owl"])})).await;
    assert!(near(&verdict["reward"], (0.875 + 0.5) / 2.0), "{verdict}");
    let failed = &verdict["jurors"][1];
    assert_eq!(
        (&failed["judge"], &failed["error"]["code"]),
        (&json!("scripted@a broken clock"), &json!("engine_failed"))
    );
    assert!(failed["error"]["request_id"].as_str().is_some_and(|id| !id.is_empty()), "{failed}");
    let asked = absolute(json!({"judges": jury(&["a broken clock", "an owl"])}));
    let body = problem(&server, server.post_json("/v1/grade/absolute", &asked).await, 502, "engine_failed").await;
    let detail = body["detail"].as_str().unwrap();
    assert!(
        detail.starts_with("1 of 2 jurors failed, and 2 must have a verdict: scripted@a broken clock: "),
        "{detail}"
    );
    let enough = json!({"judges": jury(&["a broken clock", "an owl"]), "quorum": 1});
    assert_eq!(server.absolute(enough).await["score"], 3);
}

#[tokio::test]
async fn a_juror_that_is_too_late_does_not_take_the_others_with_it() {
    let server = Server::with(asking(|job| {
        let slow = job.prompt.text().contains("sloth");
        if slow { Answer { hold: true, ..Answer::default() } } else { by_annotator(job) }
    }));
    let body = absolute(json!({"judges": jury(&["a teacher", "a sloth"]), "quorum": 1}));
    let request = server.post("/v1/grade/absolute").header("X-Request-Timeout-Ms", "1500").json(&body);
    let verdict = ok(sent(request).await).await;
    assert_eq!((&verdict["score"], &verdict["jurors"][1]["error"]["code"]), (&json!(5), &json!("deadline_exceeded")));
}

#[tokio::test]
async fn what_is_no_jury_names_its_field() {
    let server = Server::with(asking(by_annotator));
    let check = async |change: Value, status: u16, code: &str, pointer: &str, says: &str| {
        let response = server.post_json("/v1/grade/absolute", &absolute(change)).await;
        let body = problem(&server, response, status, code).await;
        assert_eq!(body["pointer"], pointer, "{body}");
        assert!(body["detail"].as_str().unwrap().contains(says), "{body}");
    };
    let wrong = "invalid_request";
    check(json!({"judges": []}), 422, wrong, "/judges", "at least one").await;
    let many: Vec<Value> = (0..17).map(|index| json!({"annotator": format!("number {index}")})).collect();
    check(json!({"judges": many}), 422, wrong, "/judges", "at most 16").await;
    check(json!({"judges": ["scripted", {}]}), 422, wrong, "/judges/1", "a juror before it").await;
    check(json!({"judges": [7]}), 422, wrong, "/judges/0", "the name of a model").await;
    check(json!({"judges": "scripted"}), 422, wrong, "/judges", "").await;
    check(json!({"judges": [{"modle": "a"}]}), 422, "unknown_field", "/judges/0/modle", "`model`").await;
    check(json!({"judges": ["scirpted"]}), 404, "unknown_model", "/judges/0/model", "did you mean `scripted`?").await;
    check(json!({"judges": [{"prompt": "plane"}]}), 422, wrong, "/judges/0/prompt", "did you mean `plain`?").await;
    check(json!({"judges": [{"weight": 0}]}), 422, wrong, "/judges/0/weight", "").await;
    check(json!({"judges": [{"weight": -1}]}), 422, wrong, "/judges/0/weight", "").await;
    let weighted = json!({"judges": [{"weight": 2}], "combine": "mean"});
    check(weighted, 422, wrong, "/judges/0/weight", "only with").await;
    check(json!({"judges": ["scripted"], "quorum": 2}), 422, wrong, "/quorum", "between 1 and 1").await;
    check(json!({"judges": ["scripted"], "noise": {"flip": 1.5}}), 422, wrong, "/noise/flip", "").await;
    check(json!({"judges": ["scripted"], "model": "scripted"}), 422, wrong, "/model", "one of").await;
    check(json!({"judges": ["scripted"], "jury": "house"}), 422, wrong, "/jury", "one of").await;
    check(json!({"jury": "house"}), 422, wrong, "/jury", "the server has none").await;
    check(json!({"quorum": 1}), 422, wrong, "/quorum", "for a jury").await;
    check(json!({"combine": "mean"}), 422, wrong, "/combine", "for a jury").await;
    check(json!({"noise": {"flip": 0.1}}), 422, wrong, "/noise", "for a jury").await;
    check(json!({"judges": ["scripted"], "samples": 3}), 422, wrong, "/samples", "temperature").await;
}

#[tokio::test]
async fn a_jury_of_the_configuration_has_models_of_its_own() {
    let folder = tempfile::tempdir().unwrap();
    let answers = |score: usize| {
        let masses: Vec<&str> = (1..=5).map(|level| if level == score { "0.8" } else { "0.05" }).collect();
        format!("[[answer]]\nmasses = [{}]\n", masses.join(", "))
    };
    let mut config = String::from("engine = \"scripted\"\n");
    for (name, score) in [("high", 5), ("low", 1)] {
        let file = folder.path().join(format!("{name}.toml"));
        std::fs::write(&file, answers(score)).unwrap();
        config += &format!("[[models]]\nname = \"{name}\"\nscripted_answers = {:?}\n", file.display().to_string());
    }
    config += "[juries.house]\njudges = [\"high\", { model = \"low\", weight = 3.0 }]\nquorum = 1\n";
    std::fs::write(folder.path().join("gavel.toml"), config).unwrap();
    let server = Server::of_file(folder);
    server.app.load(&()).await.unwrap();
    let verdict = server.absolute(json!({"jury": "house", "mode": "score"})).await;
    assert!(near(&verdict["reward"], (0.875 + 3.0 * 0.125) / 4.0), "{verdict}");
    assert_eq!((&verdict["model"]["name"], &verdict["model"]["engine"]), (&json!("house"), &json!("jury")));
    assert_eq!(verdict["quorum"], 1);
    let judges: Vec<&Value> =
        verdict["jurors"].as_array().unwrap().iter().map(|juror| &juror["verdict"]["model"]["name"]).collect();
    assert_eq!(judges, ["high", "low"]);
    let response = server.post_json("/v1/grade/absolute", &absolute(json!({"jury": "huose"}))).await;
    let body = problem(&server, response, 422, "invalid_request").await;
    assert!(body["detail"].as_str().unwrap().contains("did you mean `house`?); there are: house"), "{body}");
    let metrics = server.metrics().await;
    for model in ["high", "low"] {
        assert_eq!(metrics.value("gavel_judgements_total", &[("model", model), ("outcome", "ok")]), 1.0);
    }
}

#[tokio::test]
async fn jurors_are_cached_one_by_one() {
    let (engine, count) = counting(|_, job| by_annotator(job));
    let server = Server::with(engine);
    server.absolute(json!({"judges": jury(&["a teacher", "a parent"])})).await;
    let again = server.absolute(json!({"judges": jury(&["a parent", "an owl"])})).await;
    assert_eq!(count.load(std::sync::atomic::Ordering::SeqCst), 3, "the parent is known");
    assert_eq!((&again["cached"], &again["jurors"][0]["verdict"]["cached"]), (&json!(false), &json!(true)));
    assert_eq!(server.absolute(json!({"annotator": "an owl"})).await["cached"], true, "as one judge's");
}

#[tokio::test]
async fn events_name_their_juror() {
    let server = Server::with(asking(by_annotator));
    let body = absolute(json!({"judges": jury(&["a teacher", "a parent"])}));
    let response = sent(server.post("/v1/grade/absolute").header("Accept", "text/event-stream").json(&body)).await;
    let events = events(&response.text().await.unwrap());
    let (verdict, feedback) = events.split_last().unwrap();
    for juror in verdict.1["jurors"].as_array().unwrap() {
        let own = feedback.iter().filter(|(_, data)| data["judge"] == juror["judge"]);
        let text: String = own.map(|(_, data)| data["delta"].as_str().unwrap()).collect();
        assert_eq!(juror["verdict"]["feedback"], text);
    }
}

#[tokio::test]
async fn rewards_of_a_jury() {
    let server = Server::with(asking(by_annotator));
    let body = json!({
        "rubric": "helpfulness", "mode": "score", "include": ["verdicts"],
        "judges": jury(&["a teacher", "a parent"]), "quorum": 1,
        "items": [
            {"instruction": "Why?", "response": "Because."},
            {"instruction": "Why?", "response": "It is broken."},
        ],
    });
    let rewards = ok(server.post_json("/v1/rewards", &body).await).await;
    assert!(near(&rewards["rewards"][0], 0.5) && rewards["rewards"][1].is_null(), "{rewards}");
    assert_eq!(rewards["verdicts"][0]["jurors"].as_array().unwrap().len(), 2);
    assert_eq!(
        (&rewards["errors"][1]["code"], &rewards["errors"][1]["pointer"]),
        (&json!("engine_failed"), &json!("/items/1"))
    );
    let both = json!({"rubric": "helpfulness", "items": [], "judges": ["scripted"], "model": "scripted"});
    problem(&server, server.post_json("/v1/rewards", &both).await, 422, "invalid_request").await;
    let compared = ok(server.post_json("/v1/grade/relative", &relative(json!({"judges": ["scripted"]}))).await).await;
    assert_eq!(compared["jurors"].as_array().unwrap().len(), 1);
}
