//! `POST /v1/rewards`: many items, each failing alone.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use gavel::engine::Engine;
use gavel::engine::scripted::{Answer, Scripted};
use serde_json::{Value, json};

use crate::engines::{Gated, asking, counting, example, holding, says};
use crate::server::{Server, near, ok, problem, redacted, sent};

const REWARDS: &str = "/v1/rewards";

/// A request with these items.
fn body(items: impl IntoIterator<Item = Value>, change: Value) -> Value {
    let mut body = json!({"rubric": "helpfulness", "mode": "score"});
    body["items"] = items.into_iter().collect();
    body.as_object_mut().unwrap().extend(change.as_object().unwrap().clone());
    body
}

fn item(response: &str) -> Value {
    json!({"instruction": "Explain why the sky is blue.", "response": response})
}

/// Grades the response `worth S` with S in 1..=5, and fails where it says `fail`.
fn by_worth() -> Arc<dyn Engine> {
    asking(|job| {
        let prompt = job.prompt.text();
        let worth = (1..=5).find(|score| prompt.contains(&format!("worth {score}")));
        match worth {
            Some(worth) => {
                let mut masses = [0.0; 5];
                masses[worth - 1] = 0.9;
                says("Fine.", &masses)
            }
            None if prompt.contains("unsure") => says("Hm.", &[0.0, 0.0, 0.01, 0.0, 0.0]),
            None => Answer { fail: Some("out of memory".into()), ..Answer::default() },
        }
    })
}

/// The rewards of a reply, those that are missing as NaN.
fn numbers(reply: &Value) -> Vec<f64> {
    reply["rewards"].as_array().unwrap().iter().map(|reward| reward.as_f64().unwrap_or(f64::NAN)).collect()
}

#[tokio::test]
async fn the_example_of_the_contract() {
    let server = Server::with(example());
    let items = [json!({"id": "a", "instruction": "Why?", "response": "So.", "reference_answer": null})];
    let reply = ok(server.post_json(REWARDS, &body(items, json!({}))).await).await;
    assert!(near(&reply["rewards"][0], 0.3275), "{reply}");
    assert_eq!(reply, json!({"object": "rewards", "rewards": reply["rewards"], "errors": [null], "ids": ["a"]}));
    let reply = ok(server.post_json(REWARDS, &body([], json!({}))).await).await;
    assert_eq!(reply, json!({"object": "rewards", "rewards": [], "errors": []}), "nothing asked, nothing wrong");
}

#[tokio::test]
async fn an_item_that_fails_fails_alone() {
    let server = Server::with(by_worth());
    let items = [
        item("worth 2"),
        json!({"instruction": "Why?"}),
        item("worth 5"),
        json!("not an object"),
        item("broken"),
        json!({"instruction": "\u{200b}", "response": "worth 3"}),
        json!({"instruction": "Why?", "response": "worth 3", "colour": 1}),
        item("unsure"),
        item(&"word ".repeat(9000)),
        json!({"messages": [{"role": "assistant", "content": "Hi"}], "response": "worth 3"}),
        item("worth 1"),
    ];
    let reply = ok(server.post_json(REWARDS, &body(items, json!({}))).await).await;
    let expected = [
        (Some(0.25), None, None),
        (None, Some("invalid_request"), Some("/items/1/response")),
        (Some(1.0), None, None),
        (None, Some("invalid_request"), Some("/items/3")),
        (None, Some("engine_failed"), Some("/items/4")),
        (None, Some("invalid_request"), Some("/items/5/instruction")),
        (None, Some("unknown_field"), Some("/items/6/colour")),
        (None, Some("low_label_mass"), Some("/items/7")),
        (None, Some("context_overflow"), Some("/items/8/response")),
        (None, Some("invalid_request"), Some("/items/9/messages")),
        (Some(0.0), None, None),
    ];
    assert_eq!(reply["rewards"].as_array().unwrap().len(), expected.len());
    for (index, (reward, code, pointer)) in expected.into_iter().enumerate() {
        let error = &reply["errors"][index];
        assert_eq!(reply["rewards"][index].as_f64(), reward, "{index}: {error}");
        assert_eq!((error["code"].as_str(), error["pointer"].as_str()), (code, pointer), "{index}: {error}");
    }
    assert!(reply["errors"][7]["detail"].as_str().unwrap().contains("0.0100"), "{reply}");
}

#[tokio::test]
async fn order_is_kept_however_long_each_takes() {
    let server = Server::with(asking(|job| {
        let prompt = job.prompt.text();
        let number = (0..60_usize).rfind(|number| prompt.contains(&format!("answer {number}."))).unwrap();
        let mut masses = [0.0; 5];
        masses[number % 5] = 0.5;
        Answer { delay_ms: (60 - number as u64) / 6, ..says("Fine.", &masses) }
    }));
    let reply =
        ok(server.post_json(REWARDS, &body((0..60).map(|n| item(&format!("answer {n}."))), json!({}))).await).await;
    let expected: Vec<f64> = (0..60).map(|number| f64::from(number % 5) / 4.0).collect();
    assert_eq!(numbers(&reply), expected);
}

#[tokio::test]
async fn few_run_at_once_and_none_is_refused() {
    let engine = Gated::new(Scripted::fixed(std::time::Duration::ZERO));
    let settings = [("limits.bulk_items", "4"), ("limits.in_flight", "3"), ("limits.queue", "0")];
    let server = Server::configured(&settings, Some(Arc::clone(&engine) as Arc<dyn Engine>));
    let body = body((0..20).map(|n| item(&format!("answer {n}."))), json!({}));
    let (reply, ()) = tokio::join!(async { ok(server.post_json(REWARDS, &body).await).await }, async {
        server
            .until("three that run, one that waits", |m| {
                m.value("gavel_sequences_running", &[]) == 3.0 && m.value("gavel_queue_depth", &[]) == 1.0
            })
            .await;
        assert_eq!(engine.started(), 3);
        problem(&server, server.post_json(REWARDS, &body).await, 503, "saturated").await;
        engine.open();
    });
    assert!(numbers(&reply).iter().all(|reward| reward.is_finite()), "{reply}");
    assert_eq!(engine.started(), 20);
}

#[tokio::test]
async fn what_is_wrong_with_the_whole_request() {
    let server = Server::with(example());
    let check = async |change: Value, status, code, pointer: &str| {
        let response = server.post_json(REWARDS, &body([item("So.")], change.clone())).await;
        assert_eq!(problem(&server, response, status, code).await["pointer"], pointer, "{change}");
    };
    check(json!({"rubric": "nothing"}), 404, "unknown_rubric", "/rubric").await;
    check(json!({"model": "nothing"}), 404, "unknown_model", "/model").await;
    check(json!({"prompt": "nothing"}), 422, "invalid_request", "/prompt").await;
    check(json!({"samples": 3}), 422, "invalid_request", "/samples").await;
    check(json!({"min_label_mass": 1.5}), 422, "invalid_request", "/min_label_mass").await;
    check(json!({"normalize": "batch"}), 422, "invalid_request", "/normalize").await;
    check(json!({"include": ["everything"]}), 422, "invalid_request", "/include/0").await;
    check(json!({"items": {}}), 422, "invalid_request", "/items").await;
    check(json!({"itmes": []}), 422, "unknown_field", "/itmes").await;
    assert_eq!(server.metrics().await.value("gavel_judgements_total", &[]), 0.0);
}

#[tokio::test]
async fn rewards_within_groups() {
    let server = Server::with(by_worth());
    let of = |response: &str, group: Value| json!({"instruction": "Why?", "response": response, "group": group});
    let items = [
        of("worth 1", json!("a")),
        of("worth 3", json!(7)),
        of("worth 5", json!("a")),
        of("broken", json!("a")),
        of("worth 4", json!("alone")),
        of("worth 3", json!(7)),
        json!({"instruction": "Why?", "response": "worth 5"}),
        of("worth 3", json!("a")),
    ];
    let reply = ok(server.post_json(REWARDS, &body(items, json!({"normalize": "group"}))).await).await;
    let expected = [Some(-1.0), Some(0.0), Some(1.0), None, Some(0.0), Some(0.0), None, Some(0.0)];
    let found = reply["rewards"].as_array().unwrap();
    assert!(
        found.iter().zip(expected).all(|(found, one)| one.map_or(found.is_null(), |one| near(found, one))),
        "{reply}"
    );
    assert_eq!(reply["errors"][6]["pointer"], "/items/6/group");
}

#[tokio::test]
async fn thirty_two_groups_of_eight() {
    let server = Server::with(Arc::new(Scripted::new(|job| {
        let fraction = crate::engines::fraction_of(&job.prompt.text());
        says("Fine.", &[0.9 * (1.0 - fraction), 0.0, 0.0, 0.0, 0.9 * fraction])
    })));
    let one = |n: usize| json!({"instruction": format!("Question {}", n / 8), "response": format!("Answer {n}"), "group": n / 8});
    let reply = ok(server.post_json(REWARDS, &body((0..256).map(one), json!({"normalize": "group"}))).await).await;
    let rewards = numbers(&reply);
    assert_eq!(rewards.len(), 256);
    for group in rewards.chunks(8) {
        let mean = group.iter().sum::<f64>() / 8.0;
        let variance = group.iter().map(|reward| (reward - mean).powi(2)).sum::<f64>() / 7.0;
        assert!(mean.abs() < 1e-9 && (variance - 1.0).abs() < 1e-9, "{group:?}");
    }
}

#[tokio::test]
async fn verdicts_when_asked_for() {
    let server = Server::with(by_worth());
    let change = json!({"include": ["verdicts"], "mode": "feedback"});
    let reply =
        ok(server.post_json(REWARDS, &body([item("worth 2"), item("broken"), item("unsure")], change)).await).await;
    let alone = json!({"instruction": "Explain why the sky is blue.", "response": "worth 2", "cache": false});
    let (verdict, alone) = (redacted(reply["verdicts"][0].clone()), redacted(server.absolute(alone).await));
    assert_eq!(verdict, alone, "the same verdict as by itself");
    assert_eq!(reply["verdicts"][1], Value::Null);
    assert!(near(&reply["verdicts"][2]["label_mass"], 0.01), "unscored, and the verdict says why");
    assert_eq!(reply["rewards"][2], Value::Null);
}

#[tokio::test]
async fn an_unsure_judge_gives_rewards_to_who_asks_for_them() {
    let server = Server::with(by_worth());
    let reward = async |least: f64| {
        let change = json!({"min_label_mass": least});
        ok(server.post_json(REWARDS, &body([item("unsure")], change)).await).await["rewards"][0].clone()
    };
    assert_eq!((reward(0.0).await, reward(0.02).await), (json!(0.5), Value::Null));
    let server = Server::configured(&[("grading.min_label_mass", "0.001")], Some(by_worth()));
    let reply = ok(server.post_json(REWARDS, &body([item("unsure")], json!({}))).await).await;
    assert_eq!(reply["rewards"], json!([0.5]));
}

#[tokio::test]
async fn equal_requests_at_once_are_computed_once() {
    const CALLERS: usize = 5;
    let engine = Gated::new(Scripted::fixed(std::time::Duration::ZERO));
    let server = Server::with(Arc::clone(&engine) as Arc<dyn Engine>);
    let body = body((0..3).map(|n| item(&format!("answer {n}."))), json!({}));
    let callers = (0..CALLERS).map(|_| async { ok(server.post_json(REWARDS, &body).await).await });
    let (replies, ()) = tokio::join!(futures::future::join_all(callers), async {
        let rendered = ("gavel_stage_duration_seconds_count", [("stage", "render")]);
        server.until("all items of all callers", |m| m.value(rendered.0, &rendered.1) == 15.0).await;
        engine.open();
    });
    assert_eq!(engine.started(), 3);
    assert!(replies.iter().all(|reply| *reply == replies[0]), "{replies:?}");
    assert!(numbers(&replies[0]).iter().all(|reward| reward.is_finite()));
}

#[tokio::test]
async fn a_caller_that_goes_away_stops_the_rest() {
    let server = Server::configured(&[("limits.bulk_items", "4")], Some(holding()));
    let request = server.post(REWARDS).json(&body((0..100).map(|n| item(&format!("answer {n}."))), json!({})));
    let running =
        |count: f64| server.until("the engine's work", move |m| m.value("gavel_sequences_running", &[]) == count);
    tokio::select! {
        answer = request.send() => panic!("the engine holds: {answer:?}"),
        () = running(4.0) => {}
    }
    running(0.0).await;
    let cancelled = [("outcome", "cancelled")];
    server.until("what ran", |m| m.value("gavel_judgements_total", &cancelled) == 4.0).await;
    assert_eq!(server.metrics().await.value("gavel_judgements_total", &[]), 4.0, "the other 96 never began");
}

#[tokio::test]
async fn what_is_done_before_the_deadline_is_answered() {
    let (engine, calls) =
        counting(|call, _| Answer { delay_ms: if call < 2 { 0 } else { 3_600_000 }, ..Answer::default() });
    let server = Server::configured(&[("limits.bulk_items", "1")], Some(engine));
    let request = server.post(REWARDS).header("X-Request-Timeout-Ms", "300");
    let reply = ok(sent(request.json(&body((0..5).map(|n| item(&format!("answer {n}."))), json!({})))).await).await;
    let codes: Vec<&str> =
        reply["errors"].as_array().unwrap().iter().map(|e| e["code"].as_str().unwrap_or("")).collect();
    assert_eq!(codes, ["", "", "deadline_exceeded", "deadline_exceeded", "deadline_exceeded"]);
    assert_eq!(calls.load(Ordering::SeqCst), 3, "nothing begins after the deadline");
}

#[tokio::test]
async fn the_limit_of_bodies_is_its_own() {
    let settings = [("limits.body_bytes", "100"), ("limits.bulk_body_bytes", "1000")];
    let server = Server::configured(&settings, Some(example()));
    ok(server.post_json(REWARDS, &body([item("So.")], json!({}))).await).await;
    let long = server.post_json(REWARDS, &body((0..20).map(|_| item("So.")), json!({}))).await;
    problem(&server, long, 413, "payload_too_large").await;
}

#[tokio::test]
async fn items_have_rubrics_of_their_own() {
    let server = Server::with(by_worth());
    let descriptions = json!({"0": "No.", "1": "Yes."});
    let inline = json!({"criterion": "Is it short?", "descriptions": descriptions});
    let of = |response: &str, rubric: Value| {
        let mut item = item(response);
        item["rubric"] = rubric;
        item
    };
    let items = [
        item("worth 2"),
        of("worth 2", json!("factual_validity")),
        of("worth 1", inline.clone()),
        of("worth 3", json!([{"rubric": "helpfulness"}, {"rubric": "factual_validity", "weight": 3}])),
        of("worth 4", json!("nothing")),
        of("worth 5", Value::Null),
    ];
    let more = json!({"include": ["verdicts"]});
    let reply = ok(server.post_json(REWARDS, &body(items, more.clone())).await).await;
    assert_eq!(reply["errors"][4]["code"], "unknown_rubric");
    assert_eq!(reply["errors"][4]["pointer"], "/items/4/rubric");
    let name = |index: usize| reply["verdicts"][index]["rubric"]["name"].clone();
    assert_eq!([name(0), name(1), name(2), name(5)], ["helpfulness", "factual_validity", "inline", "helpfulness"]);
    let criteria = reply["verdicts"][3]["criteria"].as_array().unwrap();
    assert_eq!(criteria.len(), 2);
    assert_eq!(criteria[1]["rubric"]["name"], "factual_validity");
    assert!(near(&reply["rewards"][2], 0.0) && near(&reply["rewards"][5], 1.0), "{reply}");

    // If each item has one, the request needs none; an item without any fails alone.
    let items = json!([of("worth 2", inline), item("worth 5")]);
    let reply = ok(server.post_json(REWARDS, &json!({"items": items, "mode": "score"})).await).await;
    assert_eq!(reply["errors"][0], Value::Null, "{reply}");
    assert_eq!(
        (&reply["errors"][1]["code"], &reply["errors"][1]["pointer"]),
        (&json!("invalid_request"), &json!("/items/1/rubric"))
    );
}
