//! `POST /v1/grade/checklist`: questions about a response.

use std::sync::atomic::Ordering;

use gavel::engine::Job;
use gavel::engine::scripted::Answer;
use serde_json::{Value, json};

use crate::engines::{asking, counting};
use crate::methods::{by_branch, changed, list, refused, writes_a_list};
use crate::server::{Server, near, ok, redacted, rubric};

/// Questions that begin as the prompt set `plain` has them begin.
const DRAWN: [&str; 3] =
    ["Does the response name the air?", "Does the response end?", "Does the response cite a source?"];

const ROUTE: &str = "/v1/grade/checklist";

fn request(change: Value) -> Value {
    let body = json!({
        "instruction": "Why is the sky blue?",
        "response": "Air scatters blue light the most.",
        "questions": ["Does it name the air?", "Does it cite a source?"],
    });
    changed(body, &change)
}

/// Finds the air, and no source.
fn knowing(job: &Job) -> Answer {
    if writes_a_list(job) {
        return list(&DRAWN);
    }
    by_branch(job, |said| if said.contains("source") { vec![0.1, 0.7] } else { vec![0.6, 0.2] })
}

#[tokio::test]
async fn a_whole_verdict() {
    let (engine, runs) = counting(|_, job| knowing(job));
    let server = Server::with(engine);
    let verdict = ok(server.post_json(ROUTE, &request(json!({}))).await).await;
    assert_eq!(runs.load(Ordering::SeqCst), 1, "all questions share one prefill");
    assert!(near(&verdict["reward"], (0.75 + 0.125) / 2.0), "{verdict}");
    insta::assert_json_snapshot!("checklist", redacted(verdict));
}

#[tokio::test]
async fn a_failed_gate_makes_the_reward_nothing() {
    let server = Server::with(asking(knowing));
    let check = async |gates: Value, passed: bool, reward: f64| {
        let verdict = ok(server.post_json(ROUTE, &request(json!({"gates": gates}))).await).await;
        assert_eq!(verdict["passed"], passed, "{verdict}");
        assert!(near(&verdict["reward"], reward), "{verdict}");
    };
    let mean = (0.75 + 0.125) / 2.0;
    check(json!([]), true, mean).await;
    check(json!([0]), true, mean).await;
    check(json!([1]), false, 0.0).await;
    check(json!([0, 1]), false, 0.0).await;
}

#[tokio::test]
async fn questions_are_drawn_once_for_all_responses() {
    let (engine, runs) = counting(|_, job| {
        let prompt = job.prompt.text();
        assert_eq!(writes_a_list(job), !prompt.contains("scatters"), "they do not depend on the response: {prompt}");
        assert_eq!(prompt.contains("[Is it good?]"), writes_a_list(job), "{prompt}");
        knowing(job)
    });
    let server = Server::with(engine);
    let draw = json!({"questions": {"draw": {"from": "rubric", "count": 3}}, "rubric": rubric(0, 1), "gates": [0]});
    let first = ok(server.post_json(ROUTE, &request(draw.clone())).await).await;
    let questions: Vec<&str> =
        first["items"].as_array().unwrap().iter().map(|item| item["question"].as_str().unwrap()).collect();
    assert_eq!(questions, DRAWN);
    assert_eq!(runs.load(Ordering::SeqCst), 2);
    // Seven words of the list, and three answers.
    assert!(first["usage"]["completion_tokens"].as_u64().unwrap() > 3, "both stages count: {first}");
    let other = changed(request(draw), &json!({"response": "The air scatters it."}));
    let second = ok(server.post_json(ROUTE, &other).await).await;
    assert_eq!(runs.load(Ordering::SeqCst), 3, "the questions come from the cache");
    assert_eq!(second["cached"], false);
    let metrics = server.metrics().await;
    let judged = |kind| metrics.value("gavel_judgements_total", &[("kind", kind), ("outcome", "ok")]);
    assert_eq!((judged("questions"), judged("checklist")), (2.0, 2.0));
    assert_eq!(metrics.find("gavel_label_mass_count", &[("kind", "questions")]).unwrap_or(0.0), 0.0, "no choice");
}

#[tokio::test]
async fn a_list_that_does_not_end_is_an_error() {
    let server = Server::with(asking(knowing));
    let draw = json!({
        "questions": {"draw": {"from": "instruction", "count": 3}}, "sampling": {"max_feedback_tokens": 4},
    });
    refused(&server, ROUTE, request(draw), "/sampling/max_feedback_tokens", "raise the limit").await;
}

#[tokio::test]
async fn requests_that_make_no_sense() {
    let server = Server::with(asking(knowing));
    let check = async |change: Value, pointer: &str, reason: &str| {
        refused(&server, ROUTE, request(change), pointer, reason).await;
    };
    let draw = |from: &str, count: i64| json!({"questions": {"draw": {"from": from, "count": count}}});
    check(json!({"response": ""}), "/response", "empty").await;
    check(json!({"questions": []}), "/questions", "1 to 64 questions, this one has 0").await;
    check(json!({"questions": vec!["x"; 65]}), "/questions", "this one has 65").await;
    check(json!({"questions": ["x", " "]}), "/questions/1", "empty").await;
    check(json!({"questions": ["x", 1]}), "/questions/1", "a text").await;
    check(json!({"questions": "x"}), "/questions", "a list of texts").await;
    check(json!({"questions": {"from": "rubric"}}), "/questions/draw", "missing field").await;
    check(draw("rubric", 8), "/rubric", "the rubric that the questions are drawn from").await;
    check(draw("response", 8), "/questions/draw/from", "").await;
    check(draw("instruction", 0), "/questions/draw/count", "between 1 and 32").await;
    check(draw("instruction", 33), "/questions/draw/count", "between 1 and 32").await;
    check(changed(draw("instruction", 8), &json!({"gates": [8]})), "/gates/0", "counted from 0").await;
    check(json!({"gates": [0, 2]}), "/gates/1", "there are 2 questions").await;
    check(json!({"gates": [1, 1]}), "/gates/1", "already").await;
    check(json!({"gates": [-1]}), "/gates/0", "").await;
    check(json!({"rubric": [{"rubric": "helpfulness"}]}), "/rubric", "not a list").await;
}
