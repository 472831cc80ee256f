//! Requests that are more work than any model could do something with: refused before the work is done.

use serde_json::{Value, json};

use crate::engines::example;
use crate::server::{Server, absolute, problem};

async fn refused(server: &Server, path: &str, body: &Value, param: &str) -> String {
    let response = server.post_json(path, body).await;
    let status = response.status().as_u16();
    let answer: Value = serde_json::from_str(&response.text().await.unwrap()).unwrap();
    assert_eq!((status, &answer["error"]["param"]), (400, &json!(param)), "{answer}");
    answer["error"]["message"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn answers_that_are_too_many_for_their_input() {
    let server = Server::with(example());
    let choices: Vec<Value> = (0..255).map(|number| json!({"value": number.to_string()})).collect();
    let question = json!({"type": "choice", "instructions": "Which?", "choices": choices});
    let decisions =
        |questions: usize, input: usize| json!({"input": "a ".repeat(input), "questions": vec![&question; questions]});
    let message = refused(&server, "/v1/decisions", &decisions(400, 500), "questions").await;
    assert!(message.contains("102000 possible answers") && message.contains("67108864 at most"), "{message}");
    let few = server.post_json("/v1/decisions", &decisions(4, 500)).await;
    assert_eq!(few.status(), 200, "what is asked in earnest is answered");
    let criteria: serde_json::Map<String, Value> = (0..255).map(|number| (number.to_string(), Value::Null)).collect();
    let questions: serde_json::Map<String, Value> = (0..400)
        .map(|number| (number.to_string(), json!({"type": "choice", "instructions": "Which?", "criteria": criteria})))
        .collect();
    let body = json!({"state": "a ".repeat(500), "questions": questions});
    refused(&server, "/v1/systemone", &body, "questions").await;
    let labels: Vec<String> = (0..256).map(|number| number.to_string()).collect();
    let input = json!([{"role": "user", "content": "x"}]);
    let grader = |labels: &[String], input: &Value| {
        json!({"grader": {"type": "label_model", "name": "l", "model": "scripted", "input": input, "labels": labels,
               "passing_labels": ["1"]}, "model_sample": "4"})
    };
    let run = "/v1/fine_tuning/alpha/graders/run";
    refused(&server, run, &grader(&labels, &input), "grader.labels").await;
    let long = json!([{"role": "user", "content": "a".repeat(300_000)}]);
    refused(&server, run, &grader(&labels[..255], &long), "grader.input").await;
}

#[tokio::test]
async fn conversations_of_very_many_messages() {
    let server = Server::with(example());
    let messages: Vec<Value> = (0..9_999)
        .map(|turn| json!({"role": if turn % 2 == 0 { "user" } else { "assistant" }, "content": "a"}))
        .collect();
    let chat = json!({"messages": messages});
    let message = refused(&server, "/v1/chat/completions", &chat, "messages").await;
    assert!(message.contains("at least "), "{message}");
    let grading = absolute(json!({"instruction": "<absent>", "messages": messages}));
    let response = server.post_json("/v1/grade/absolute", &grading).await;
    problem(&server, response, 422, "context_overflow").await;
}

#[tokio::test]
async fn texts_that_cannot_fit_whatever_their_tokens_are() {
    let server = Server::with(example());
    let body = absolute(json!({"response": "x".repeat(3 << 20)}));
    let found = problem(&server, server.post_json("/v1/grade/absolute", &body).await, 422, "context_overflow").await;
    assert_eq!(found["pointer"], "/response");
    assert!(found["detail"].as_str().unwrap().contains("at least 12"), "{found}");
    let chat = json!({"messages": [{"role": "user", "content": "x".repeat(3 << 20)}]});
    let message = refused(&server, "/v1/chat/completions", &chat, "messages").await;
    assert!(message.contains("at least 12"), "{message}");
}
