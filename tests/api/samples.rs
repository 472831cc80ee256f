//! Adaptive self-consistency: samples until their majority is settled.

use std::sync::atomic::Ordering;

use gavel::engine::Job;
use gavel::engine::scripted::Answer;
use serde_json::{Value, json};

use crate::engines::{asking, counting, says};
use crate::server::{Server, absolute, near, ok, problem};

const SAMPLING: &str = r#"{"temperature": 0.7, "seed": 0}"#;

fn adaptive(most: u32, settle: f64) -> Value {
    let sampling: Value = serde_json::from_str(SAMPLING).unwrap();
    json!({"samples": {"max": most, "settle": settle}, "sampling": sampling})
}

/// Gives the score that the seed has in a list.
fn by_seed(scores: &'static [usize]) -> impl Fn(&Job) -> Answer + Send + Sync {
    move |job| {
        let score = scores[job.sampling.seed as usize % scores.len()];
        let masses: Vec<f64> = (1..=5).map(|level| if level == score { 0.8 } else { 0.05 }).collect();
        says(&format!("Sample {}.", job.sampling.seed), &masses)
    }
}

#[tokio::test]
async fn samples_are_taken_until_they_settle() {
    let check = async |scores: &'static [usize], most: u32, settle: f64, used: usize, score: i32| {
        let answer = by_seed(scores);
        let (engine, count) = counting(move |_, job| answer(job));
        let server = Server::with(engine);
        let verdict = server.absolute(adaptive(most, settle)).await;
        assert_eq!((&verdict["samples_used"], &verdict["score"]), (&json!(used), &json!(score)), "{verdict}");
        assert_eq!(count.load(Ordering::SeqCst), used, "none is taken in vain");
        let mut fixed = adaptive(most, settle);
        fixed["samples"] = json!(used);
        let same = server.absolute(fixed).await;
        for field in ["score", "reward", "distribution", "agreement", "judgements", "feedback"] {
            assert_eq!(verdict[field], same[field], "{field}: as with so many samples");
        }
        assert_eq!(same["samples_used"], Value::Null);
    };
    check(&[4], 16, 0.95, 4, 4).await;
    check(&[4], 16, 0.99, 6, 4).await;
    check(&[4], 2, 0.95, 2, 4).await;
    // After 5, 5, 5 and 1 three more are needed, and there are three.
    check(&[5, 5, 5, 1], 16, 0.95, 7, 5).await;
    check(&[1, 2, 3, 4, 5], 8, 0.9, 8, 1).await;
}

#[tokio::test]
async fn each_order_and_each_rubric_settles_on_its_own() {
    let flips = |job: &Job| {
        let prompt = job.prompt.text();
        let good_first = prompt.find("GOOD").unwrap() < prompt.find("BAD").unwrap();
        // With the good one second, every third sample is wrong.
        let wrong = !good_first && job.sampling.seed.is_multiple_of(3);
        says("Hm.", if good_first != wrong { &[0.75, 0.25] } else { &[0.25, 0.75] })
    };
    let server = Server::with(asking(flips));
    let one = server.relative(adaptive(16, 0.95)).await;
    let judgements = one["judgements"].as_array().unwrap();
    let of = |order: &str| judgements.iter().filter(|judgement| judgement["order"] == order).count();
    assert!(of("AB") == 4 && of("BA") > 4, "{one}");
    assert_eq!(one["samples_used"], of("BA"));
    assert_eq!((&one["preference"], &one["consistent"]), (&json!("A"), &json!(true)), "{one}");
    let wrong = judgements.iter().filter(|judgement| judgement["preference"] == "B").count() as f64;
    let of_ba = 0.75 - 0.5 * wrong / of("BA") as f64;
    assert!(near(&one["probability_a"], (0.75 + of_ba) / 2.0), "each order counts the same: {one}");
    let mut exchanged = adaptive(16, 0.95);
    exchanged["response_a"] = json!("A BAD answer.");
    exchanged["response_b"] = json!("A GOOD answer.");
    let other = server.relative(exchanged).await;
    let probability = |verdict: &Value| verdict["probability_a"].as_f64().unwrap();
    assert_eq!(probability(&one), 1.0 - probability(&other));
}

#[tokio::test]
async fn an_adaptive_request_that_cannot_be_names_its_field() {
    let server = Server::with(asking(by_seed(&[3])));
    let check = async |samples: Value, code: &str, pointer: &str| {
        let mut change = adaptive(16, 0.95);
        change["samples"] = samples;
        let response = server.post_json("/v1/grade/absolute", &absolute(change)).await;
        assert_eq!(problem(&server, response, 422, code).await["pointer"], pointer);
    };
    check(json!({"max": 1}), "invalid_request", "/samples/max").await;
    check(json!({"max": 65}), "invalid_request", "/samples/max").await;
    check(json!({"max": 8, "settle": 1.0}), "invalid_request", "/samples/settle").await;
    check(json!({"max": 8, "settle": 0.1}), "invalid_request", "/samples/settle").await;
    check(json!({"settle": 0.9}), "invalid_request", "/samples/max").await;
    check(json!({"max": 8, "settled": 0.9}), "unknown_field", "/samples/settled").await;
    check(json!("many"), "invalid_request", "/samples").await;
    check(json!(-1), "invalid_request", "/samples").await;
    check(json!(1_u64 << 40), "invalid_request", "/samples").await;
    let mut greedy = adaptive(16, 0.95);
    greedy["sampling"] = json!({"temperature": 0});
    let response = server.post_json("/v1/grade/absolute", &absolute(greedy)).await;
    problem(&server, response, 422, "invalid_request").await;
    let mut rewards = adaptive(16, 0.95);
    rewards["rubric"] = json!("helpfulness");
    rewards["include"] = json!(["verdicts"]);
    rewards["items"] = json!([{"instruction": "Why?", "response": "So."}]);
    let rewards = ok(server.post_json("/v1/rewards", &rewards).await).await;
    assert_eq!(rewards["verdicts"][0]["samples_used"], 4, "{rewards}");
}
