//! Server-sent events: feedback while it is written, then the verdict, or what went wrong.

use std::collections::BTreeMap;

use gavel::engine::scripted::Answer;
use reqwest::Response;
use serde_json::{Value, json};

use crate::engines::{Breaking, always, asking, example, holding, prefers_good, says};
use crate::server::{PATIENCE, Server, absolute, events, problem, redacted, relative, sent};

async fn stream(server: &Server, path: &str, body: &Value) -> Response {
    sent(server.post(path).header("Accept", "text/event-stream").json(body)).await
}

async fn streamed(server: &Server, path: &str, body: &Value) -> Vec<(String, Value)> {
    let response = stream(server, path, body).await;
    assert_eq!(response.status(), 200);
    assert!(response.headers()["content-type"].to_str().unwrap().starts_with("text/event-stream"));
    let events = events(&response.text().await.unwrap());
    let (last, feedback) = events.split_last().unwrap();
    assert!(feedback.iter().all(|(name, _)| name == "feedback"), "{events:?}");
    assert!(["verdict", "error"].contains(&last.0.as_str()), "{events:?}");
    events
}

fn delta(event: &(String, Value)) -> &str {
    event.1["delta"].as_str().unwrap()
}

#[tokio::test]
async fn feedback_comes_in_pieces_and_then_the_verdict() {
    let server = Server::with(example());
    let events = streamed(&server, "/v1/grade/absolute", &absolute(json!({"cache": false}))).await;
    let (verdict, feedback) = events.split_last().unwrap();
    assert_eq!(verdict.0, "verdict");
    assert_eq!(feedback.len(), 5, "a word at a time: {events:?}");
    assert_eq!(feedback[0].1, json!({"sample": 0, "delta": "The "}));
    assert_eq!(feedback.iter().map(delta).collect::<String>(), verdict.1["feedback"].as_str().unwrap());
    let plain = server.absolute(json!({"cache": false})).await;
    assert_eq!(redacted(verdict.1.clone()), redacted(plain), "the same object as without a stream");
}

#[tokio::test]
async fn white_space_around_feedback_is_not_streamed() {
    let server = Server::with(always(says("  \n It is fine.\n [RESULT] 5", &[0.5, 0.5])));
    let events = streamed(&server, "/v1/grade/absolute", &absolute(json!({}))).await;
    let (verdict, feedback) = events.split_last().unwrap();
    assert_eq!(verdict.1["feedback"], "It is fine.");
    assert_eq!(feedback.iter().map(delta).collect::<String>(), "It is fine.");
}

#[tokio::test]
async fn a_cached_verdict_streams_the_same_feedback() {
    let server = Server::with(example());
    let first = streamed(&server, "/v1/grade/absolute", &absolute(json!({}))).await;
    let again = streamed(&server, "/v1/grade/absolute", &absolute(json!({}))).await;
    let (before, after) = (&first.last().unwrap().1, &again.last().unwrap().1);
    assert_eq!((&before["cached"], &after["cached"]), (&json!(false), &json!(true)));
    let text = again[..again.len() - 1].iter().map(delta).collect::<String>();
    assert_eq!(text, before["feedback"].as_str().unwrap());
    assert_eq!(server.absolute(json!({})).await["cached"], true, "a stream fills the cache of plain replies");
}

#[tokio::test]
async fn each_judgements_deltas_are_its_feedback() {
    let server = Server::with(asking(|job| {
        let order = if prefers_good(job).masses.unwrap()[0] > 0.5 { "AB" } else { "BA" };
        says(&format!("Seed {} in {order}.", job.sampling.seed), &[0.5, 0.4])
    }));
    let body = relative(json!({"samples": 2, "sampling": {"temperature": 1.0, "seed": 3}}));
    let events = streamed(&server, "/v1/grade/relative", &body).await;
    let (verdict, feedback) = events.split_last().unwrap();
    let mut texts: BTreeMap<String, String> = BTreeMap::new();
    for event in feedback {
        texts.entry(format!("{}{}", event.1["order"], event.1["sample"])).or_default().push_str(delta(event));
    }
    let judgements = verdict.1["judgements"].as_array().unwrap();
    assert_eq!((texts.len(), judgements.len()), (4, 4));
    for judgement in judgements {
        let key = format!("{}{}", judgement["order"], judgement["sample"]);
        assert_eq!(judgement["feedback"], texts[&key], "{key}");
    }
}

#[tokio::test]
async fn score_mode_streams_the_verdict_alone() {
    let server = Server::with(example());
    let events = streamed(&server, "/v1/grade/absolute", &absolute(json!({"mode": "score"}))).await;
    assert_eq!(events.len(), 1, "{events:?}");
}

#[tokio::test]
async fn feedback_is_sent_before_the_verdict_is_known() {
    let server = Server::with(holding());
    let mut response = stream(&server, "/v1/grade/absolute", &absolute(json!({}))).await;
    let first = tokio::time::timeout(PATIENCE, response.chunk()).await.expect("an event").unwrap().unwrap();
    let first = events(std::str::from_utf8(&first).unwrap());
    assert_eq!(first, [("feedback".to_owned(), json!({"sample": 0, "delta": "The"}))]);
    assert_eq!(server.metrics().await.value("gavel_sequences_running", &[]), 1.0, "it is still being judged");
}

#[tokio::test]
async fn an_error_after_the_first_byte_is_an_event() {
    let server = Server::with(Breaking::new(true));
    let request = server.post("/v1/grade/absolute").header("Accept", "text/event-stream");
    let response = sent(request.header("X-Request-Id", "mine-7").json(&absolute(json!({})))).await;
    assert_eq!((response.status().as_u16(), &response.headers()["x-request-id"]), (200, &"mine-7".parse().unwrap()));
    let events = events(&response.text().await.unwrap());
    assert_eq!(events.len(), 2, "{events:?}");
    assert_eq!(events[0], ("feedback".to_owned(), json!({"sample": 0, "delta": "It"})));
    let (name, body) = &events[1];
    assert_eq!(name, "error");
    assert_eq!((&body["code"], &body["status"]), (&json!("engine_failed"), &json!(502)), "{body}");
    assert_eq!(body["request_id"], "mine-7");
    assert_eq!(body["type"], format!("{}/docs/errors.md#engine_failed", server.url));
    assert!(body["detail"].as_str().unwrap().contains("the device went away"), "{body}");
}

#[tokio::test]
async fn a_deadline_that_passes_in_a_stream_is_an_event() {
    let server = Server::with(Breaking::new(false));
    let request = server.post("/v1/grade/absolute").header("Accept", "text/event-stream");
    let response = sent(request.header("X-Request-Timeout-Ms", "5").json(&absolute(json!({})))).await;
    let events = events(&response.text().await.unwrap());
    assert_eq!(events.len(), 2, "{events:?}");
    assert_eq!(events[0].1["delta"], "It");
    let (name, body) = &events[1];
    assert_eq!((name.as_str(), &body["code"]), ("error", &json!("deadline_exceeded")), "{events:?}");
}

#[tokio::test]
async fn an_error_before_the_first_byte_is_a_plain_problem() {
    async fn check(server: &Server, path: &str, body: Value, status: u16, code: &str) {
        let response = stream(server, path, &body).await;
        problem(server, response, status, code).await;
    }
    let server = Server::with(example());
    let path = "/v1/grade/absolute";
    check(&server, path, absolute(json!({"rubric": "nothing"})), 404, "unknown_rubric").await;
    check(&server, path, absolute(json!({"response": " "})), 422, "invalid_request").await;
    check(&server, path, absolute(json!({"response": "word ".repeat(9000)})), 422, "context_overflow").await;
    check(&server, "/v1/grade/relative", relative(json!({"colour": 1})), 422, "unknown_field").await;
    server.app.admission.shutdown.close();
    check(&server, path, absolute(json!({})), 503, "shutting_down").await;
    let loading = Server::configured(&[], None);
    check(&loading, path, absolute(json!({})), 503, "model_loading").await;
}

#[tokio::test]
async fn an_engine_that_fails_before_it_writes_is_a_plain_problem() {
    let fails = always(Answer { fail: Some("out of memory".into()), ..Answer::default() });
    let server = Server::with(fails);
    let response = stream(&server, "/v1/grade/absolute", &absolute(json!({}))).await;
    problem(&server, response, 502, "engine_failed").await;
}
