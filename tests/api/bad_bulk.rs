//! What trainers send when something is wrong, or when there is much of it.

use std::sync::Arc;
use std::time::Duration;

use gavel::engine::Engine;
use gavel::engine::scripted::{Answer, Scripted};
use serde_json::{Value, json};

use crate::engines::{Gated, asking, counting, example, says};
use crate::server::{Server, near, ok, problem};

const OPENRLHF: &str = "/compat/openrlhf/helpfulness?mode=score";
const REWARDS: &str = "/v1/rewards";

/// What OpenRLHF sends of these responses.
fn openrlhf(responses: &[&str]) -> Value {
    let prompt = "<|im_start|>user\nWhy?<|im_end|>\n<|im_start|>assistant\n";
    let query: Vec<String> = responses.iter().map(|response| format!("{prompt}{response}<|im_end|>")).collect();
    json!({"query": query, "prompts": vec![prompt; responses.len()]})
}

/// A request for rewards that may take long.
async fn rewards(server: &Server, items: impl IntoIterator<Item = Value>) -> Value {
    let items: Vec<Value> = items.into_iter().collect();
    let body = json!({"rubric": "helpfulness", "mode": "score", "items": items});
    ok(server.post(REWARDS).json(&body).send().await.unwrap()).await
}

#[tokio::test]
async fn a_label_that_is_missing() {
    let server = Server::with(example());
    for labels in [Value::Null, json!([null, null]), json!(["", "x"]), json!([3, {"answer": 4}])] {
        let mut body = openrlhf(&["So.", "Thus."]);
        body["labels"] = labels;
        let reply = ok(server.post_json(OPENRLHF, &body).await).await;
        assert!(near(&reply["rewards"][1], 0.3275), "{reply}");
    }
    for (field, short) in [("labels", json!(["x"])), ("prompts", json!([]))] {
        let mut body = openrlhf(&["So.", "Thus."]);
        body[field] = short;
        let found = problem(&server, server.post_json(OPENRLHF, &body).await, 422, "invalid_request").await;
        assert_eq!(found["pointer"], format!("/{field}"));
    }
    for body in [json!({}), json!({"prompts": ["x"]}), json!({"query": "x"}), json!([]), json!({"query": [null]})] {
        problem(&server, server.post_json(OPENRLHF, &body).await, 422, "invalid_request").await;
    }
}

#[tokio::test]
async fn an_empty_batch() {
    let server = Server::with(example());
    let check = async |path: &str, body: Value, reply: Value| {
        assert_eq!(ok(server.post_json(path, &body).await).await, reply, "{path}");
    };
    check(
        REWARDS,
        json!({"rubric": "helpfulness", "items": []}),
        json!({"object": "rewards", "rewards": [], "errors": []}),
    )
    .await;
    let logs = json!({"judge_score": [], "label_mass": []});
    check(OPENRLHF, openrlhf(&[]), json!({"rewards": [], "scores": [], "extra_logs": logs})).await;
    let compare = json!({"conversation_history": [{"role": "user", "content": "Why?"}], "response_objs": []});
    let none = json!({"rewards": [], "comparison_results": [], "metrics": {}});
    check("/compat/nemo-gym/helpfulness/compare", compare, none).await;
    check("/predict?rubric=helpfulness", json!({"inputs": []}), json!([])).await;
    check("/rerank?rubric=helpfulness", json!({"query": "Why?", "texts": []}), json!([])).await;
    let reply = ok(server.post_json("/classify?rubric=helpfulness", &json!({"input": []})).await).await;
    assert_eq!(reply["data"], json!([]));
    let reply = ok(server.post_json("/score?rubric=helpfulness", &json!({"queries": [], "documents": []})).await).await;
    assert_eq!(reply["data"], json!([]));
}

#[tokio::test]
async fn ten_thousand_items() {
    const COUNT: usize = 10_000;
    let server = Server::with(asking(|job| {
        let prompt = job.prompt.text();
        let digit = prompt.split("number ").last().and_then(|rest| rest.split(';').next()?.parse::<usize>().ok());
        let mut masses = [0.0; 5];
        masses[digit.unwrap() % 5] = 0.5;
        says("Fine.", &masses)
    }));
    let items = (0..COUNT).map(|n| json!({"instruction": "Why?", "response": format!("number {n}; said")}));
    let reply = rewards(&server, items).await;
    let found = reply["rewards"].as_array().unwrap();
    assert_eq!(found.len(), COUNT);
    for (number, reward) in found.iter().enumerate() {
        assert!(near(reward, (number % 5) as f64 / 4.0), "{number}: {reward}");
    }
    assert!(reply["errors"].as_array().unwrap().iter().all(Value::is_null));
}

#[tokio::test]
async fn a_batch_of_sixty_megabytes() {
    let server = Server::with(example());
    let long = "word ".repeat(12 << 20);
    let items = [("So.", 0), (long.as_str(), 1), ("Thus.", 2)];
    let items = items.map(|(response, n)| json!({"id": n, "instruction": "Why?", "response": response}));
    let reply = rewards(&server, items).await;
    assert!(near(&reply["rewards"][0], 0.3275) && near(&reply["rewards"][2], 0.3275), "{reply}");
    assert_eq!(reply["errors"][1]["code"], "context_overflow");
    assert_eq!(reply["errors"][1]["pointer"], "/items/1/response");
    let found =
        problem(&server, server.post_json(OPENRLHF, &openrlhf(&["So.", &long])).await, 422, "context_overflow").await;
    assert!(found["detail"].as_str().unwrap().contains("1 of 2 items"), "{found}");
}

#[tokio::test]
async fn a_trainer_that_leaves_halfway() {
    let server = Server::configured(
        &[("limits.bulk_items", "2")],
        Some(asking(|job| {
            let first = job.prompt.text().contains("first");
            if first { says("Fine.", &[0.5]) } else { Answer { hold: true, ..Answer::default() } }
        })),
    );
    let body = openrlhf(&["first", "second", "third", "fourth", "fifth"]);
    let ended = |outcome: &'static str, count: f64| {
        server.until(outcome, move |m| m.value("gavel_judgements_total", &[("outcome", outcome)]) == count)
    };
    tokio::select! {
        answer = server.post(OPENRLHF).json(&body).send() => panic!("the engine holds: {answer:?}"),
        () = async {
            ended("ok", 1.0).await;
            server.until("two that run", |m| m.value("gavel_sequences_running", &[]) == 2.0).await;
        } => {}
    }
    ended("cancelled", 2.0).await;
    server.until("the engine's rest", |m| m.value("gavel_sequences_running", &[]) == 0.0).await;
    assert_eq!(server.metrics().await.value("gavel_judgements_total", &[]), 3.0, "fourth and fifth never began");
}

#[tokio::test]
async fn a_trainer_that_asks_five_times_at_once() {
    let engine = Gated::new(Scripted::fixed(Duration::ZERO));
    let server = Server::with(Arc::clone(&engine) as Arc<dyn Engine>);
    let body = openrlhf(&["So."]);
    let callers = (0..5).map(|_| async { ok(server.post_json(OPENRLHF, &body).await).await });
    let (replies, ()) = tokio::join!(futures::future::join_all(callers), async {
        let rendered = ("gavel_stage_duration_seconds_count", [("stage", "render")]);
        server.until("all five", |m| m.value(rendered.0, &rendered.1) == 5.0).await;
        engine.open();
    });
    assert_eq!(engine.started(), 1, "one computation");
    assert!(replies.iter().all(|reply| *reply == replies[0]), "five answers");
}

#[tokio::test]
async fn a_retry_computes_only_what_failed() {
    let (engine, calls) = counting(|call, job| match job.prompt.text().contains("second") {
        true if call < 3 => Answer { fail: Some("a hiccup".into()), ..Answer::default() },
        _ => says("Fine.", &[0.5]),
    });
    let server = Server::with(engine);
    let body = openrlhf(&["first", "second", "third"]);
    problem(&server, server.post_json(OPENRLHF, &body).await, 502, "engine_failed").await;
    let reply = ok(server.post_json(OPENRLHF, &body).await).await;
    assert_eq!(reply["rewards"].as_array().unwrap().len(), 3);
    assert_eq!(calls.load(std::sync::atomic::Ordering::SeqCst), 4, "three, and one again");
}

#[tokio::test]
async fn a_failure_is_never_a_number() {
    let failing = || asking(|_| Answer { fail: Some("out of memory".into()), ..Answer::default() });
    let unsure = || asking(|_| says("Hm.", &[0.01]));
    for (engine, status, code) in [(failing(), 502, "engine_failed"), (unsure(), 422, "low_label_mass")] {
        let server = Server::with(engine);
        let chat = "<|im_start|>user\nWhy?<|im_end|>\n<|im_start|>assistant\nSo.";
        let check =
            async |path: &str, body: Value| problem(&server, server.post_json(path, &body).await, status, code).await;
        check(OPENRLHF, openrlhf(&["So."])).await;
        check("/compat/slime/helpfulness", json!({"prompt": "Why?", "response": "So.", "label": null})).await;
        for (path, body) in [
            ("/classify", json!({"input": chat})),
            ("/v1/embeddings", json!({"input": chat})),
            ("/score", json!({"queries": "Why?", "documents": "So."})),
        ] {
            let response = server.post_json(&format!("{path}?rubric=helpfulness"), &body).await;
            // OpenAI's form, which is vLLM's, knows no 422.
            assert_eq!(response.status().as_u16(), if status == 422 { 400 } else { status }, "{path}");
            let answer: Value = response.json().await.unwrap();
            assert_eq!(answer["error"]["code"], code, "{path}: {answer}");
        }
        check("/compat/promptfoo/helpfulness", json!({"output": "So.", "context": {"prompt": "Why?"}})).await;
        let eval = json!({"model_id": "m", "model_input": "Why?", "model_output": "So.", "metric_name": "helpfulness"});
        check("/compat/atla/v1/eval", eval).await;
        // NeMo Gym has a way of its own to leave a row out.
        let response = json!({"output": [{"type": "message", "content": [{"type": "output_text", "text": "So."}]}]});
        let compare =
            json!({"conversation_history": [{"role": "user", "content": "Why?"}], "response_objs": [response]});
        check("/compat/nemo-gym/helpfulness/compare", compare).await;
        let verify = json!({"responses_create_params": {"input": "Why?"}, "response": response});
        let row = ok(server.post_json("/compat/nemo-gym/helpfulness/verify", &verify).await).await;
        assert_eq!((&row["_ng_failure_class"], &row["mask_sample"]), (&json!("judge_failed"), &json!(true)));
        assert!(row["failure_reason"].as_str().unwrap().starts_with(code), "{row}");
    }
}

#[tokio::test]
async fn an_empty_response_is_judged() {
    let (engine, calls) = counting(|_, _| says("It says nothing.", &[0.9]));
    let server = Server::with(engine);
    let reply = ok(server.post_json(OPENRLHF, &openrlhf(&[""])).await).await;
    assert_eq!(
        (&reply["rewards"], calls.load(std::sync::atomic::Ordering::SeqCst)),
        (&json!([0.0]), 1),
        "by the judge"
    );
}
