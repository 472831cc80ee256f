//! `POST /v1/refine`: a response and its refined version.

use gavel::engine::Job;
use gavel::engine::scripted::Answer;
use gavel::script::Step;
use serde_json::{Value, json};

use crate::engines::{asking, says};
use crate::methods::{by_branch, changed, refused};
use crate::server::{Server, events, near, ok, problem, redacted, rubric, sent};

const ROUTE: &str = "/v1/refine";

fn request(change: Value) -> Value {
    let body = json!({
        "instruction": "Why is the sky blue?",
        "response": "Because the sea is blue.",
        "refined": "Air scatters blue light the most.",
        "rubric": rubric(0, 1),
    });
    changed(body, &change)
}

/// Knows what is right, and takes no heed of shouting.
fn knowing(job: &Job) -> Answer {
    let right = job.prompt.text().contains("scatters");
    match &job.script.0[..] {
        [Step::Branch(_)] => {
            by_branch(job, |said| if said.contains("SHOUT") { vec![0.1, 0.3] } else { vec![0.6, 0.2] })
        }
        _ => says("Hm.", if right { &[0.1, 0.8] } else { &[0.6, 0.3] }),
    }
}

#[tokio::test]
async fn a_whole_verdict() {
    let server = Server::with(asking(knowing));
    let body = request(json!({"mode": "score", "feedback": "The sea is not the cause."}));
    let verdict = ok(server.post_json(ROUTE, &body).await).await;
    let (before, after) = (0.3 / 0.9, 0.8 / 0.9);
    assert!(near(&verdict["gain"], after - before), "{verdict}");
    let better = after * (1.0 - before) + 0.5 * (after * before + (1.0 - after) * (1.0 - before));
    assert!((verdict["probability_better"].as_f64().unwrap() - better).abs() < 1e-9, "{verdict}");
    insta::assert_json_snapshot!("refine", redacted(verdict));
}

#[tokio::test]
async fn feedback_that_was_not_taken_up_shows() {
    let server = Server::with(asking(knowing));
    let taken = async |change: Value| {
        let verdict = ok(server.post_json(ROUTE, &request(change)).await).await;
        verdict["feedback_taken"]["probability"].clone()
    };
    assert!(taken(json!({})).await.is_null(), "there was no feedback");
    assert!(near(&taken(json!({"feedback": "Name the air."})).await, 0.75));
    assert!(near(&taken(json!({"feedback": "SHOUT."})).await, 0.25));
}

#[tokio::test]
async fn both_feedbacks_stream() {
    let server = Server::with(asking(knowing));
    let asked = server.post(ROUTE).header("Accept", "text/event-stream").json(&request(json!({"feedback": "Why?"})));
    let all = events(&sent(asked).await.text().await.unwrap());
    let (last, deltas) = all.split_last().unwrap();
    let mut of: Vec<&str> = deltas.iter().map(|(_, data)| data["response"].as_str().unwrap()).collect();
    of.sort_unstable();
    assert_eq!((of, last.0.as_str()), (vec!["A", "B"], "verdict"));
    assert_eq!(last.1["refined"]["criteria"][0]["feedback"], "Hm.");
}

#[tokio::test]
async fn requests_that_make_no_sense() {
    let server = Server::with(asking(knowing));
    let check = async |change: Value, pointer: &str| refused(&server, ROUTE, request(change), pointer, "").await;
    check(json!({"response": " "}), "/response").await;
    check(json!({"refined": " "}), "/refined").await;
    check(json!({"feedback": " "}), "/feedback").await;
    check(json!({"samples": 2}), "/samples").await;
    let long = request(json!({"refined": "word ".repeat(9000)}));
    let found = problem(&server, server.post_json(ROUTE, &long).await, 422, "context_overflow").await;
    assert_eq!(found["pointer"], "/refined");
}
