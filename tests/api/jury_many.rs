//! Juries on several responses: rankings and preference pairs.

use gavel::engine::Job;
use gavel::engine::scripted::Answer;
use serde_json::{Value, json};

use crate::engines::{asking, prefers_good, says};
use crate::server::{Server, near, ok, problem, relative};

/// Grades what is GOOD high, unless a contrarian is asked; a broken clock fails on a STONE.
fn grades(job: &Job) -> Answer {
    let prompt = job.prompt.text();
    if prompt.contains("broken clock") && prompt.contains("STONE") {
        return Answer { fail: Some("it broke".into()), ..Answer::default() };
    }
    let high = prompt.contains("GOOD") != prompt.contains("contrarian");
    says("Hm.", if high { &[0.05, 0.05, 0.05, 0.05, 0.8] } else { &[0.8, 0.05, 0.05, 0.05, 0.05] })
}

fn asked(responses: &[&str], annotators: &[&str], change: &Value) -> Value {
    let judges: Vec<Value> = annotators.iter().map(|annotator| json!({"annotator": annotator})).collect();
    let mut body = json!({"instruction": "Why?", "responses": responses, "rubric": "helpfulness", "judges": judges});
    body.as_object_mut().unwrap().extend(change.as_object().unwrap().clone());
    body
}

#[tokio::test]
async fn a_jury_ranks_by_its_verdict_on_each_response() {
    let server = Server::with(asking(grades));
    let body = asked(&["A BAD one.", "A GOOD one."], &["one", "two", "contrarian"], &json!({"method": "absolute"}));
    let ranked = ok(server.post_json("/v1/rank", &body).await).await;
    assert_eq!(ranked["ranking"], json!([1, 0]), "{ranked}");
    let rewards: Vec<f64> =
        ranked["grades"].as_array().unwrap().iter().map(|grade| grade["reward"].as_f64().unwrap()).collect();
    assert!((rewards[0] - 0.375).abs() < 1e-9 && (rewards[1] - 0.625).abs() < 1e-9, "{ranked}");
    // 0.875, 0.875 and 0.125, or the other way round; two of three pairs of jurors disagree on five scores.
    assert!(near(&ranked["spread"], 0.1875_f64.sqrt()), "{ranked}");
    assert!(near(&ranked["kappa"], (1.0 / 3.0 - 0.2) / 0.8), "{ranked}");
    assert_eq!((&ranked["quorum"], &ranked["model"]["engine"]), (&json!(2), &json!("jury")));
    let own: Vec<&Value> =
        ranked["jurors"].as_array().unwrap().iter().map(|juror| &juror["verdict"]["ranking"]).collect();
    assert_eq!(own, [&json!([1, 0]), &json!([1, 0]), &json!([0, 1])]);
    let majority = asked(
        &["A BAD one.", "A GOOD one."],
        &["one", "two", "contrarian"],
        &json!({"method": "absolute", "combine": "majority"}),
    );
    let ranked = ok(server.post_json("/v1/rank", &majority).await).await;
    assert!(near(&ranked["grades"][1]["reward"], 0.875), "the mean of those who say the same: {ranked}");
    let alone = asked(&["A BAD one.", "A GOOD one."], &["one"], &json!({"method": "absolute"}));
    let alone = ok(server.post_json("/v1/rank", &alone).await).await;
    let one = json!({"instruction": "Why?", "responses": ["A BAD one.", "A GOOD one."], "rubric": "helpfulness",
                     "annotator": "one", "method": "absolute"});
    let one = ok(server.post_json("/v1/rank", &one).await).await;
    for field in ["ranking", "strengths", "grades", "label_mass"] {
        assert_eq!(alone[field], one[field], "{field}: a jury of one is its juror");
    }
}

#[tokio::test]
async fn a_pair_is_compared_as_in_relative_grading() {
    let server = Server::with(asking(prefers_good));
    let annotators = ["one", "two", "three"];
    for change in [json!({}), json!({"noise": {"flip": 0.5, "seed": 3}}), json!({"combine": "majority"})] {
        let body = asked(&["A GOOD answer.", "A BAD answer."], &annotators, &change);
        let ranked = ok(server.post_json("/v1/rank", &body).await).await;
        let mut pair = relative(json!({"instruction": "Why?", "judges": body["judges"]}));
        pair.as_object_mut().unwrap().extend(change.as_object().unwrap().clone());
        let pair = ok(server.post_json("/v1/grade/relative", &pair).await).await;
        let comparison = &ranked["comparisons"][0];
        let p = comparison["probability_a"].as_f64().unwrap();
        let of_first = if comparison["a"] == 0 { p } else { 1.0 - p };
        assert_eq!(json!(of_first), pair["probability_a"], "{ranked}");
        assert_eq!((&ranked["spread"], &ranked["kappa"]), (&pair["spread"], &pair["kappa"]));
        let flipped = |verdict: &Value| -> Vec<Value> {
            verdict["jurors"].as_array().unwrap().iter().map(|juror| juror["flipped"].clone()).collect()
        };
        assert_eq!(flipped(&ranked), flipped(&pair), "the same jurors err");
    }
}

#[tokio::test]
async fn a_response_without_a_quorum_is_left_out_alone() {
    let server = Server::with(asking(grades));
    let responses = ["A STONE.", "A GOOD one.", "A BAD one."];
    let made = async |quorum: usize| {
        let change = json!({"method": "absolute", "quorum": quorum});
        let body = asked(&responses, &["an owl", "a broken clock"], &change);
        ok(server.post_json("/v1/preferences", &body).await).await
    };
    let strict = made(2).await;
    assert_eq!(strict["left_out"][0]["responses"], json!([0]), "{strict}");
    assert_eq!(strict["left_out"][0]["reason"], "engine_failed");
    let pair = &strict["pairs"][0];
    assert_eq!(pair["chosen"][0]["content"], "A GOOD one.", "{strict}");
    assert!(near(&pair["margin"], 0.75), "{strict}");
    let of_clock = &strict["jurors"][1]["verdict"];
    assert_eq!((&of_clock["left_out"][0]["responses"], &of_clock["object"]), (&json!([0]), &json!("preferences")));
    assert_eq!(strict["jurors"][0]["verdict"]["left_out"], json!([]));
    let lenient = made(1).await;
    assert_eq!(lenient["left_out"], json!([]), "the owl decides alone: {lenient}");
    // A ranking needs all responses, so the clock has none.
    let rank = asked(&responses, &["an owl", "a broken clock"], &json!({"method": "absolute"}));
    let body = problem(&server, server.post_json("/v1/rank", &rank).await, 502, "engine_failed").await;
    assert!(body["detail"].as_str().unwrap().starts_with("1 of 2 jurors failed"), "{body}");
    let rank = asked(&responses, &["an owl", "a broken clock"], &json!({"method": "absolute", "quorum": 1}));
    let ranked = ok(server.post_json("/v1/rank", &rank).await).await;
    assert_eq!(ranked["jurors"][1]["error"]["code"], "engine_failed", "{ranked}");
}

#[tokio::test]
async fn what_is_no_jury_names_its_field() {
    let server = Server::with(asking(grades));
    for route in ["/v1/rank", "/v1/preferences"] {
        let check = async |change: Value, pointer: &str, part: &str| {
            let body = asked(&["a", "b"], &["one"], &change);
            let body = problem(&server, server.post_json(route, &body).await, 422, "invalid_request").await;
            assert_eq!(body["pointer"], pointer, "{body}");
            assert!(body["detail"].as_str().unwrap().contains(part), "{body}");
        };
        check(json!({"model": "scripted"}), "/model", "one of").await;
        check(json!({"quorum": 2}), "/quorum", "between 1 and 1").await;
        check(json!({"judges": null, "combine": "mean"}), "/combine", "for a jury").await;
        check(json!({"judges": []}), "/judges", "at least one").await;
        check(json!({"judges": null, "jury": "house"}), "/jury", "the server has none").await;
    }
}

#[tokio::test]
async fn jurors_whose_models_compare_in_other_ways_need_a_method() {
    let folder = tempfile::tempdir().unwrap();
    let config = "engine = \"scripted\"\n[[models]]\nname = \"pairs\"\npreference_method = \"pairwise\"\n\
                  [[models]]\nname = \"grades\"\npreference_method = \"absolute\"\n";
    std::fs::write(folder.path().join("gavel.toml"), config).unwrap();
    let server = Server::of_file(folder);
    server.app.load(&()).await.unwrap();
    let mut body = asked(&["a", "b"], &[], &json!({"judges": ["pairs", "grades"]}));
    let refused = problem(&server, server.post_json("/v1/rank", &body).await, 422, "invalid_request").await;
    assert_eq!(refused["pointer"], "/method", "{refused}");
    body["method"] = json!("absolute");
    let ranked = ok(server.post_json("/v1/rank", &body).await).await;
    assert_eq!((&ranked["method"], ranked["jurors"].as_array().unwrap().len()), (&json!("absolute"), 2));
}
