//! A caller that goes away cancels its work in the engine.

use serde_json::{Value, json};

use crate::engines::holding;
use crate::server::{Server, absolute, relative, sent};

async fn running(server: &Server, count: f64) {
    server.until("the engine's work", |m| m.value("gavel_sequences_running", &[]) == count).await;
}

async fn cancelled(server: &Server, count: f64) {
    let labels = [("outcome", "cancelled"), ("rubric", "helpfulness"), ("model", "scripted")];
    server.until("the count", |m| m.value("gavel_judgements_total", &labels) == count).await;
    assert_eq!(server.metrics().await.value("gavel_judgements_total", &[]), count, "nothing else ended");
}

/// A caller that goes away while it waits for a plain reply.
async fn leave_while_waiting(path: &str, body: Value, judgements: f64) {
    let server = Server::with(holding());
    let waits = server.post(path).json(&body).send();
    tokio::select! {
        answer = waits => panic!("the engine holds: {answer:?}"),
        () = running(&server, judgements) => {}
    }
    running(&server, 0.0).await;
    cancelled(&server, judgements).await;
}

#[tokio::test]
async fn a_caller_that_waits_for_a_plain_reply() {
    leave_while_waiting("/v1/grade/absolute", absolute(json!({})), 1.0).await;
}

#[tokio::test]
async fn a_caller_that_waits_for_a_reply_that_is_not_shared() {
    leave_while_waiting("/v1/grade/absolute", absolute(json!({"cache": false})), 1.0).await;
}

#[tokio::test]
async fn a_caller_that_waits_for_several_judgements() {
    let body = relative(json!({"samples": 2, "sampling": {"temperature": 1.0}}));
    leave_while_waiting("/v1/grade/relative", body, 4.0).await;
}

#[tokio::test]
async fn a_caller_that_waits_for_several_responses() {
    let body =
        json!({"instruction": "Say something.", "responses": ["One.", "Two.", "Three."], "rubric": "helpfulness"});
    leave_while_waiting("/v1/rank", body.clone(), 6.0).await;
    leave_while_waiting("/v1/preferences", body, 6.0).await;
}

#[tokio::test]
async fn a_caller_that_leaves_a_stream() {
    let server = Server::with(holding());
    let request = server.post("/v1/grade/absolute").header("Accept", "text/event-stream");
    let mut response = sent(request.json(&absolute(json!({})))).await;
    let first = response.chunk().await.unwrap().unwrap();
    assert!(first.starts_with(b"event: feedback"));
    running(&server, 1.0).await;
    drop(response);
    running(&server, 0.0).await;
    cancelled(&server, 1.0).await;
}

#[tokio::test]
async fn a_caller_that_leaves_the_queue() {
    let server = Server::configured(&[("limits.in_flight", "1"), ("limits.queue", "1")], Some(holding()));
    let depth = |count: f64| server.until("the queue", move |m| m.value("gavel_queue_depth", &[]) == count);
    let first = server.post("/v1/grade/absolute").json(&absolute(json!({}))).send();
    tokio::select! {
        answer = first => panic!("the engine holds: {answer:?}"),
        () = async {
            running(&server, 1.0).await;
            let second = server.post("/v1/grade/absolute").json(&absolute(json!({"response": "Another."}))).send();
            tokio::select! {
                answer = second => panic!("there is no room: {answer:?}"),
                () = depth(1.0) => {}
            }
            depth(0.0).await;
        } => {}
    }
    running(&server, 0.0).await;
    // Both were to be judged.
    cancelled(&server, 2.0).await;
}
