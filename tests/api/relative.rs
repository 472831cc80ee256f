//! `POST /v1/grade/relative`: both orders, votes, ties, and the exact complement.

use gavel::engine::scripted::Answer;
use serde_json::{Value, json};

use crate::engines::{always, asking, fraction_of, prefers_good, says};
use crate::server::{Server, near, problem, redacted, relative, rubric};

#[tokio::test]
async fn a_whole_verdict() {
    let server = Server::with(asking(prefers_good));
    let verdict = server.relative(json!({"sampling": {"seed": 7}})).await;
    insta::assert_json_snapshot!("relative_verdict", redacted(verdict));
}

#[tokio::test]
async fn preferences_are_the_callers() {
    /// The masses of the labels as shown, when the response of the caller's A is shown first and when it is second.
    async fn check(shown_first: [f64; 2], shown_second: [f64; 2], change: Value, expected: Value) {
        let engine = asking(move |job| {
            let prompt = job.prompt.text();
            let a_first = prompt.find("GOOD").unwrap() < prompt.find("BAD").unwrap();
            says("Hm.", if a_first { &shown_first } else { &shown_second })
        });
        let verdict = Server::with(engine).relative(change).await;
        for (field, value) in expected.as_object().unwrap() {
            let same = value.as_f64().map_or(&verdict[field] == value, |value| near(&verdict[field], value));
            assert!(same, "{field}: {verdict}");
        }
    }
    let both = |preference: &str, p: f64, consistent: Value| json!({"preference": preference, "probability_a": p, "consistent": consistent, "object": "verdict.relative"});
    check([0.75, 0.25], [0.25, 0.75], json!({}), both("A", 0.75, json!(true))).await;
    check([0.25, 0.75], [0.5, 0.0], json!({}), both("B", 0.125, json!(true))).await;
    check([0.75, 0.25], [0.75, 0.25], json!({}), both("tie", 0.5, json!(false))).await;
    check([0.25, 0.75], [0.375, 0.625], json!({}), both("tie", 0.4375, json!(false))).await;
    check([0.75, 0.25], [0.75, 0.25], json!({"swap": false}), both("A", 0.75, Value::Null)).await;
    check([0.25, 0.75], [0.0, 0.0], json!({"swap": false}), both("B", 0.25, Value::Null)).await;
    let narrow = |margin: f64, swap: bool| json!({"tie_margin": margin, "swap": swap});
    check([0.625, 0.375], [0.0, 1.0], narrow(0.25, false), both("tie", 0.625, Value::Null)).await;
    check([0.625, 0.375], [0.0, 1.0], narrow(0.125, false), both("A", 0.625, Value::Null)).await;
    check([0.625, 0.375], [0.375, 0.625], narrow(0.25, true), both("tie", 0.625, json!(true))).await;
}

#[tokio::test]
async fn judgements_say_which_order_they_saw() {
    let server = Server::with(asking(|job| {
        let prompt = job.prompt.text();
        let a_first = prompt.find("GOOD").unwrap() < prompt.find("BAD").unwrap();
        if a_first { says("A is better.", &[0.6, 0.2]) } else { says("B is better.", &[0.125, 0.375]) }
    }));
    let verdict = server.relative(json!({})).await;
    let judgements = verdict["judgements"].as_array().unwrap();
    assert_eq!((&judgements[0]["order"], &judgements[1]["order"]), (&json!("AB"), &json!("BA")));
    assert!(judgements.iter().all(|judgement| judgement["preference"] == "A"), "in the caller's terms: {verdict}");
    assert!(near(&judgements[0]["probability_a"], 0.75) && near(&judgements[1]["probability_a"], 0.75), "{verdict}");
    assert_eq!(judgements[1]["feedback"], "B is better.", "verbatim");
    assert_eq!(verdict["feedback"], "A is better.", "that of an AB judgement");
    assert!(near(&verdict["label_mass"], 0.5), "that of the less sure order: {verdict}");
}

#[tokio::test]
async fn each_orders_samples_vote() {
    let server = Server::with(asking(|job| match job.sampling.seed {
        5 => says("First.", &[0.9, 0.0]),
        _ => says("Second.", &[0.2, 0.6]),
    }));
    let verdict = server.relative(json!({"samples": 3, "sampling": {"temperature": 1.0, "seed": 5}})).await;
    let places: Vec<String> =
        verdict["judgements"].as_array().unwrap().iter().map(|j| format!("{}{}", j["order"], j["seed"])).collect();
    assert_eq!(places, ["\"AB\"5", "\"AB\"6", "\"AB\"7", "\"BA\"5", "\"BA\"6", "\"BA\"7"]);
    // Shown as A: one of three; so B in the order AB, and A in the order BA.
    assert_eq!((&verdict["preference"], &verdict["consistent"]), (&json!("tie"), &json!(false)), "{verdict}");
    assert!(near(&verdict["probability_a"], 0.5), "{verdict}");
}

/// The number as it stands in the answer, read without loss.
async fn exact_probability(server: &Server, change: Value) -> f64 {
    let response = server.post_json("/v1/grade/relative", &relative(change)).await;
    assert_eq!(response.status(), 200);
    let text = response.text().await.unwrap();
    let top = text.split("\"probability_a\":").nth(1).unwrap();
    top.split([',', '}']).next().unwrap().parse().unwrap()
}

#[tokio::test]
async fn exchanging_the_responses_gives_the_exact_complement() {
    let server = Server::with(asking(|job| {
        let p = fraction_of(&format!("{} {}", job.prompt.text(), job.sampling.seed));
        if job.script.0.last().is_some_and(|step| format!("{step:?}").contains(" A")) {
            says("Hm.", &[p * 0.7, (1.0 - p) * 0.7])
        } else {
            let q = fraction_of(&format!("{p}"));
            says("Hm.", &[p * q, (1.0 - p) * q, p * (1.0 - q) / 2.0, (1.0 - p) * (1.0 - q) / 3.0, 0.01 * p])
        }
    }));
    let mut seen = Vec::new();
    for cache in [true, false] {
        for case in 0..12 {
            let (one, other) = (format!("The answer {case}."), format!("Another answer, {}.", case * 7));
            let mut change = match case % 4 {
                0 => json!({}),
                1 => json!({"mode": "score"}),
                2 => json!({"samples": 3, "sampling": {"temperature": 0.8, "seed": case}}),
                _ => json!({"method": "absolute"}),
            };
            change["cache"] = json!(cache);
            change["response_a"] = json!(one);
            change["response_b"] = json!(other);
            let p = exact_probability(&server, change.clone()).await;
            change["response_a"] = json!(other);
            change["response_b"] = json!(one);
            let exchanged = exact_probability(&server, change).await;
            assert_eq!(exchanged, 1.0 - p, "case {case}, cache {cache}");
            seen.push(p.to_bits());
        }
    }
    assert_eq!(seen[..12], seen[12..], "the cache changes no number");
    seen.sort_unstable();
    seen.dedup();
    assert_eq!(seen.len(), 12, "the engine gives every pair its own number");
}

#[tokio::test]
async fn equal_responses_are_even() {
    let server = Server::with(always(says("The first.", &[0.6, 0.3])));
    let p = exact_probability(&server, json!({"response_a": "Same.", "response_b": "Same."})).await;
    assert_eq!(p, 0.5);
}

fn graded_by_word(job: &gavel::engine::Job) -> Answer {
    let prompt = job.prompt.text();
    let masses = match (prompt.contains("GOOD"), prompt.contains("Another EVEN"), prompt.contains("EVEN")) {
        (true, _, _) => [0.1, 0.3],
        (_, true, _) => [0.41, 0.39],
        (_, _, true) => [0.4, 0.4],
        _ => [0.45, 0.15],
    };
    says("Hm.", &masses)
}

#[tokio::test]
async fn the_method_absolute_grades_each_alone() {
    let server = Server::with(asking(graded_by_word));
    let change = json!({"method": "absolute", "rubric": rubric(1, 2)});
    let verdict = server.relative(change.clone()).await;
    assert_eq!((&verdict["preference"], &verdict["consistent"]), (&json!("A"), &Value::Null), "{verdict}");
    assert!(near(&verdict["grades"]["a"]["reward"], 0.75) && near(&verdict["grades"]["b"]["reward"], 0.25));
    // A above B, and half of what is equal.
    assert!(near(&verdict["probability_a"], 0.75 * 0.75 + 0.5 * (2.0 * 0.75 * 0.25)), "{verdict}");
    assert_eq!(verdict["prompt"]["name"], "plain/absolute");
    let mut margin = change.clone();
    margin["tie_margin"] = json!(0.125);
    assert_eq!(server.relative(margin.clone()).await["preference"], "A");
    margin["response_a"] = json!("An EVEN answer.");
    margin["response_b"] = json!("Another EVEN answer.");
    assert_eq!(server.relative(margin).await["preference"], "tie", "they are hardly apart");
    let mut same = change;
    same["response_b"] = json!("A GOOD answer.");
    let verdict = server.relative(same).await;
    assert_eq!((&verdict["preference"], &verdict["probability_a"]), (&json!("tie"), &json!(0.5)), "{verdict}");
    let many = json!([{"rubric": rubric(1, 2), "weight": 2.0}, {"rubric": rubric(0, 1)}]);
    let verdict = server.relative(json!({"method": "absolute", "rubric": many})).await;
    assert_eq!(verdict["grades"]["a"]["criteria"].as_array().unwrap().len(), 2);
    assert_eq!(verdict["preference"], "A");
}

#[tokio::test]
async fn a_request_without_a_method_is_judged_as_the_model_prefers() {
    let check = async |setting: &str, change: Value, expected: &str| {
        let server = Server::configured(&[("preference_method", setting)], Some(asking(graded_by_word)));
        let verdict = server.relative(change.clone()).await;
        assert_eq!(verdict["method"], expected, "{setting} {change}: {verdict}");
        assert_eq!(verdict["grades"].is_object(), expected == "absolute", "{verdict}");
        let kind = if expected == "absolute" { "plain/absolute" } else { "plain/relative" };
        assert_eq!(verdict["prompt"]["name"], kind);
        let own = if setting == "auto" { "pairwise" } else { setting };
        assert_eq!(server.get_json("/v1/info").await["models"][0]["preference_method"], own);
    };
    let two = rubric(1, 2);
    check("auto", json!({"rubric": two}), "pairwise").await;
    check("pairwise", json!({"rubric": two}), "pairwise").await;
    check("absolute", json!({"rubric": two}), "absolute").await;
    check("absolute", json!({"rubric": two, "method": "pairwise"}), "pairwise").await;
    check("pairwise", json!({"rubric": two, "method": "absolute"}), "absolute").await;
    // A list of rubrics goes with what grades each response alone.
    let many = json!([{"rubric": rubric(1, 2), "weight": 2.0}, {"rubric": rubric(1, 2)}]);
    check("absolute", json!({"rubric": many}), "absolute").await;
    let server = Server::with(asking(graded_by_word));
    let body = relative(json!({"rubric": many}));
    let found = problem(&server, server.post_json("/v1/grade/relative", &body).await, 422, "invalid_request").await;
    assert_eq!(found["pointer"], "/rubric", "{found}");
}

#[tokio::test]
async fn score_mode_writes_nothing() {
    let verdict = Server::with(asking(prefers_good)).relative(json!({"mode": "score"})).await;
    assert_eq!(verdict["feedback"], Value::Null);
    assert!(verdict["judgements"].as_array().unwrap().iter().all(|judgement| judgement["feedback"].is_null()));
    assert_eq!(verdict["usage"]["completion_tokens"], 2);
    assert_eq!(verdict["preference"], "A");
}
