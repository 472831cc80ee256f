//! The one form of errors, and the errors that are nobody's input.

use std::sync::Arc;

use gavel::engine::scripted::Answer;
use reqwest::{Method, Response};
use serde_json::{Map, Value, json};

use crate::engines::{Gated, always, asking, example, says};
use crate::server::{Server, absolute, problem, rubric, sent};

const ABSOLUTE: &str = "/v1/grade/absolute";

#[tokio::test]
async fn routes_and_methods_that_are_not_there() {
    async fn check(method: &str, path: &str, status: u16, allow: &[&str]) {
        let server = Server::with(example());
        let method = Method::from_bytes(method.as_bytes()).unwrap();
        let response = sent(server.client.request(method.clone(), format!("{}{path}", server.url))).await;
        let header = response.headers().get("allow").map(|value| value.to_str().unwrap().to_owned());
        let code = if status == 404 { "not_found" } else { "method_not_allowed" };
        let found = problem(&server, response, status, code).await;
        let detail = found["detail"].as_str().unwrap();
        assert!(allow.iter().all(|method| detail.contains(method)), "{detail}");
        let mut allowed: Vec<&str> = header.iter().flat_map(|value| value.split(", ")).collect();
        allowed.sort_unstable();
        assert_eq!(allowed, allow, "{method} {path}");
    }
    check("GET", "/v1/grade/nothing", 404, &[]).await;
    check("POST", "/nothing", 404, &[]).await;
    check("GET", "/v1/rubrics/a/b", 404, &[]).await;
    check("GET", "/v1/grade", 404, &[]).await;
    check("GET", ABSOLUTE, 405, &["POST"]).await;
    check("DELETE", "/v1/grade/relative", 405, &["POST"]).await;
    check("POST", "/v1/rubrics", 405, &["GET"]).await;
    check("PATCH", "/v1/rubrics/mine", 405, &["DELETE", "GET", "PUT"]).await;
    check("POST", "/livez", 405, &["GET"]).await;
    check("BREW", "/v1/info", 405, &["GET"]).await;
}

#[tokio::test]
async fn the_route_that_was_meant_is_named() {
    let server = Server::with(example());
    let check = async |path: &str, expected: &str| {
        let found: Value = sent(server.post(path)).await.json().await.unwrap();
        let detail = found["detail"].as_str().or(found["error"]["message"].as_str()).unwrap();
        assert!(detail.ends_with(expected), "{detail}");
    };
    check("/v1/grade/absolut", "POST /v1/grade/absolut is not a route; did you mean /v1/grade/absolute (POST)?").await;
    check("/v1/chat/completion", "; did you mean /v1/chat/completions (POST)?").await;
    check("/chat/completions", "; did you mean /v1/chat/completions? The base URL ends in /v1").await;
    check("/v1/nothing/of/this", "/v1/score, /v1/systemone, and those that /openapi.json lists").await;
}

#[tokio::test]
async fn request_ids_are_taken_and_returned() {
    let server = Server::with(example());
    let id = |response: &Response| response.headers()["x-request-id"].to_str().unwrap().to_owned();
    let with = |value: &str| sent(server.post(ABSOLUTE).header("X-Request-Id", value).json(&absolute(json!({}))));
    let response = with("my-request.1").await;
    assert_eq!((response.status().as_u16(), id(&response).as_str()), (200, "my-request.1"));
    let request = server.post(ABSOLUTE).header("X-Request-Id", "my-request.2").json(&json!({}));
    let found = problem(&server, sent(request).await, 422, "invalid_request").await;
    assert_eq!(found["request_id"], "my-request.2");
    let request = server.client.get(format!("{}/nothing", server.url)).header("X-Request-Id", "my-request.3");
    assert_eq!(problem(&server, sent(request).await, 404, "not_found").await["request_id"], "my-request.3");
    let (one, other) = (server.get("/livez").await, server.get("/livez").await);
    assert!(id(&one).starts_with("req_") && id(&one) != id(&other));
    // What could not stand in a log line is replaced.
    for value in ["two words", &"x".repeat(1000)] {
        assert!(id(&with(value).await).starts_with("req_"), "{value}");
    }
}

#[tokio::test]
async fn engines_that_fail() {
    let failing = Answer { fail: Some("out of memory".into()), ..Answer::default() };
    let dying = Answer { disconnect: true, ..Answer::default() };
    for answer in [failing, dying] {
        let server = Server::with(always(answer));
        problem(&server, server.post_json(ABSOLUTE, &absolute(json!({}))).await, 502, "engine_failed").await;
        let metrics = server.metrics().await;
        assert_eq!(metrics.value("gavel_judgements_total", &[("outcome", "failed")]), 1.0);
        assert_eq!(metrics.value("gavel_requests_rejected_total", &[("reason", "engine_failed")]), 1.0);
    }
}

#[tokio::test]
async fn logits_that_are_no_numbers_are_no_verdict() {
    let server = Server::with(asking(|job| {
        let mass = if job.prompt.text().contains("BROKEN") { f64::NAN } else { 0.1 };
        says("Fine.", &[mass, 0.2])
    }));
    for change in [json!({"response": "BROKEN"}), json!({"response": "BROKEN", "mode": "score"})] {
        for _ in 0..2 {
            let response = server.post_json(ABSOLUTE, &absolute(change.clone())).await;
            let found = problem(&server, response, 502, "engine_failed").await;
            assert!(found["detail"].as_str().unwrap().contains("is not a number"), "{found}");
        }
    }
    let item = |response: &str| json!({"instruction": "x", "response": response});
    let body = json!({"rubric": "helpfulness", "items": [item("sound"), item("BROKEN"), item("sound too")]});
    let answer: Value = server.post_json("/v1/rewards", &body).await.json().await.unwrap();
    let rewards = answer["rewards"].as_array().unwrap();
    assert!(rewards[0].is_number() && rewards[1].is_null() && rewards[2].is_number(), "{answer}");
}

#[tokio::test]
async fn a_failure_is_not_kept() {
    let server = Server::with(
        crate::engines::counting(|call, _| match call {
            0 => Answer { fail: Some("a hiccup".into()), ..Answer::default() },
            _ => says("Fine.", &[0.5]),
        })
        .0,
    );
    problem(&server, server.post_json(ABSOLUTE, &absolute(json!({}))).await, 502, "engine_failed").await;
    assert_eq!(server.absolute(json!({})).await["cached"], false);
}

#[tokio::test]
async fn deadlines_pass() {
    let slow = || always(Answer { delay_ms: 3_600_000, ..Answer::default() });
    let server = Server::with(slow());
    let request = server.post(ABSOLUTE).header("X-Request-Timeout-Ms", "5").json(&absolute(json!({})));
    let found = problem(&server, sent(request).await, 504, "deadline_exceeded").await;
    assert!(found["detail"].as_str().unwrap().contains("5 ms"), "{found}");
    server.until("the engine's rest", |m| m.value("gavel_sequences_running", &[]) == 0.0).await;

    // The configured limit is default and ceiling.
    let server = Server::configured(&[("limits.deadline_ms", "5")], Some(slow()));
    problem(&server, server.post_json(ABSOLUTE, &absolute(json!({}))).await, 504, "deadline_exceeded").await;
    let request = server.post(ABSOLUTE).header("X-Request-Timeout-Ms", "3600000").json(&absolute(json!({})));
    problem(&server, sent(request).await, 504, "deadline_exceeded").await;
}

#[tokio::test]
async fn a_model_that_is_still_loading() {
    let server = Server::configured(&[], None);
    for body in [absolute(json!({})), absolute(json!({"model": "scripted"}))] {
        problem(&server, server.post_json(ABSOLUTE, &body).await, 503, "model_loading").await;
    }
    server.app.host(example(), None).unwrap();
    assert_eq!(server.absolute(json!({})).await["score"], 2);
}

#[tokio::test]
async fn whose_fault_a_chat_template_is() {
    let template = "{% for m in messages %}{% if m.role == 'assistant' %}{{ m.content | nosuchfilter }}\
                    {% else %}<|im_start|>{{ m.content }}<|im_end|>{% endif %}{% endfor %}";
    let server = Server::with(crate::engines::Speaking::new(template));
    let chat = async |messages: Value| {
        let response = server.post_json("/v1/chat/completions", &json!({"messages": messages})).await;
        let status = response.status().as_u16();
        (status, serde_json::from_str::<Value>(&response.text().await.unwrap()).unwrap())
    };
    let user = json!({"role": "user", "content": "Hi."});
    assert_eq!(chat(json!([user])).await.0, 200);
    // The template itself is broken: no caller can mend that.
    let (status, answer) = chat(json!([user, {"role": "assistant", "content": "Hello."}, user])).await;
    assert_eq!((status, &answer["error"]["code"], &answer["error"]["param"]), (500, &json!("internal"), &Value::Null));
    // It has no form for that conversation.
    let refusing = "{% for m in messages %}{% if m.role == 'assistant' %}{{ raise_exception('users only') }}{% endif %}\
                    <|im_start|>{{ m.content }}<|im_end|>{% endfor %}";
    let server = Server::with(crate::engines::Speaking::new(refusing));
    let body = json!({"messages": [user, {"role": "assistant", "content": "Hello."}, user]});
    let response = server.post_json("/v1/chat/completions", &body).await;
    assert_eq!(response.status(), 400);
    let answer: Value = serde_json::from_str(&response.text().await.unwrap()).unwrap();
    assert_eq!(answer["error"]["param"], "messages");
    assert!(answer["error"]["message"].as_str().unwrap().contains("users only"), "{answer}");
}

#[tokio::test]
async fn one_problem_of_each_code() {
    let mut found = Map::new();
    let mut keep = async |server: &Server, response: Response| {
        let status = response.status().as_u16();
        let text = response.headers()["content-type"].to_str().unwrap().to_owned();
        assert_eq!(text, "application/problem+json");
        let body: Value = response.json().await.unwrap();
        let code = body["code"].as_str().unwrap().to_owned();
        let mut body = body;
        body["type"] = json!(body["type"].as_str().unwrap().replace(&server.url, "[server]"));
        assert!(body["request_id"].as_str().unwrap().starts_with("req_"));
        body["request_id"] = json!("[id]");
        // Paths of this run, and the words of the prompt sets.
        let detail = body["detail"].as_str().unwrap().replace(&server.data_dir().display().to_string(), "[data]");
        body["detail"] = json!(match detail.split_once(" tokens; ") {
            Some((_, rest)) => format!("The prompt has [n] tokens; {rest}"),
            None => detail,
        });
        assert_eq!(body["status"], status);
        assert!(found.insert(code.clone(), body).is_none(), "{code} twice");
    };
    let server = Server::with(example());
    let graded = async |change: Value| server.post_json(ABSOLUTE, &absolute(change)).await;
    keep(&server, sent(server.post(ABSOLUTE).header("Content-Type", "application/json").body("{")).await).await;
    keep(&server, sent(server.post(ABSOLUTE).header("Content-Type", "text/plain").body("{}")).await).await;
    keep(&server, server.get("/nothing").await).await;
    keep(&server, server.get(ABSOLUTE).await).await;
    keep(&server, graded(json!({"rubric": "nothing"})).await).await;
    keep(&server, graded(json!({"model": "nothing"})).await).await;
    keep(&server, graded(json!({"response": ""})).await).await;
    keep(&server, graded(json!({"colour": 1})).await).await;
    keep(&server, graded(json!({"rubric": rubric(1, 12)})).await).await;
    keep(&server, graded(json!({"response": "word ".repeat(9000)})).await).await;
    let image = json!([{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "x"}}]}]);
    keep(&server, graded(json!({"instruction": null, "messages": image})).await).await;
    keep(&server, sent(server.client.delete(format!("{}/v1/rubrics/honesty", server.url))).await).await;
    std::fs::create_dir_all(server.data_dir()).unwrap();
    std::fs::write(server.data_dir().join("rubrics"), "a file where a folder belongs").unwrap();
    let put = server.client.put(format!("{}/v1/rubrics/mine", server.url)).json(&rubric(1, 2));
    keep(&server, sent(put).await).await;
    server.app.admission.shutdown.close();
    keep(&server, graded(json!({})).await).await;

    let loading = Server::configured(&[], None);
    keep(&loading, loading.post_json(ABSOLUTE, &absolute(json!({}))).await).await;
    let small = Server::configured(&[("limits.body_bytes", "10")], Some(example()));
    keep(&small, small.post_json(ABSOLUTE, &absolute(json!({}))).await).await;
    let failing = Server::with(asking(|_| Answer { fail: Some("out of memory".into()), ..Answer::default() }));
    keep(&failing, failing.post_json(ABSOLUTE, &absolute(json!({}))).await).await;
    let slow = Server::configured(&[("limits.deadline_ms", "5")], Some(crate::engines::holding()));
    keep(&slow, slow.post_json(ABSOLUTE, &absolute(json!({}))).await).await;

    let engine = Gated::new(gavel::engine::scripted::Scripted::fixed(std::time::Duration::ZERO));
    let limits = [("limits.in_flight", "1"), ("limits.queue", "0")];
    let full = Server::configured(&limits, Some(Arc::clone(&engine) as Arc<dyn gavel::engine::Engine>));
    let (first, ()) = tokio::join!(full.absolute(json!({})), async {
        full.until("the first request", |m| m.value("gavel_sequences_running", &[]) == 1.0).await;
        keep(&full, full.post_json(ABSOLUTE, &absolute(json!({}))).await).await;
        engine.open();
    });
    assert_eq!(first["object"], "verdict.absolute");
    found.sort_keys();
    insta::assert_json_snapshot!("problems", found);
}
