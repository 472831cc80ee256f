//! What real callers send that a strict reader would refuse: inputs after public bug reports of this field.

use std::sync::{Arc, Mutex};

use gavel::engine::Engine;
use gavel::engine::scripted::Answer;
use serde_json::{Value, json};

use crate::engines::{always, asking, example, says};
use crate::server::{Server, ok, problem, sent};

const CHAT: &str = "/v1/chat/completions";

/// An engine that says the same to everything, and the prompts that it was given.
fn listening(answer: Answer) -> (Arc<dyn Engine>, Arc<Mutex<Vec<String>>>) {
    let prompts: Arc<Mutex<Vec<String>>> = Arc::default();
    let heard = Arc::clone(&prompts);
    let engine = asking(move |job| {
        heard.lock().unwrap().push(job.prompt.text());
        answer.clone()
    });
    (engine, prompts)
}

async fn post_text(server: &Server, path: &str, body: String) -> reqwest::Response {
    sent(server.post(path).header("Content-Type", "application/json").body(body)).await
}

async fn refused(server: &Server, body: Value, param: &str) {
    let response = server.post_json(CHAT, &body).await;
    let status = response.status().as_u16();
    let answer: Value = response.json().await.unwrap();
    assert_eq!((status, &answer["error"]["param"]), (400, &json!(param)), "{answer}");
}

#[tokio::test]
async fn half_of_an_emoji_costs_its_item_nothing() {
    let (engine, prompts) = listening(says("Fine.", &[0.5, 0.4]));
    let server = Server::with(engine);
    let body = r#"{"rubric": "helpfulness", "mode": "score", "items": [
        {"instruction": "Why?", "response": "Light scatters."}, {"instruction": "Why?", "response": "Because \ud83d"}]}"#;
    let reply = ok(post_text(&server, "/v1/rewards", body.to_owned()).await).await;
    assert_eq!(reply["errors"], json!([null, null]), "{reply}");
    assert!(prompts.lock().unwrap().iter().any(|prompt| prompt.contains("Because \u{fffd}")));
    let chat = r#"{"model": "gavel-binary", "messages": [{"role": "user", "content": "\udc00 0 or 1?"}]}"#;
    ok(post_text(&server, CHAT, chat.to_owned()).await).await;
    assert!(prompts.lock().unwrap().iter().any(|prompt| prompt.contains("\u{fffd} 0 or 1?")));
}

#[tokio::test]
async fn a_byte_order_mark_and_line_ends_of_windows() {
    let server = Server::with(example());
    let body = "\u{feff}{\"instruction\": \"Why?\",\r\n\"response\": \"So.\", \"rubric\": \"helpfulness\"}\r\n";
    assert_eq!(ok(post_text(&server, "/v1/grade/absolute", body.to_owned()).await).await["score"], 2);
    let wrong = post_text(&server, "/v1/grade/absolute", "\u{feff}".to_owned()).await;
    problem(&server, wrong, 400, "malformed_json").await;
}

#[tokio::test]
async fn events_are_utf_8_and_never_broken_by_what_some_take_for_a_line_end() {
    let text = "naïve ✅ first\u{2028}second\u{2029}third\u{85}fourth";
    let server = Server::with(always(Answer { say: Some(text.to_owned()), ..Answer::default() }));
    let body = json!({"prompt": text, "echo": true, "stream": true, "max_tokens": 9});
    let grading = json!({"instruction": "Why?", "response": "So.", "rubric": "helpfulness"});
    for (path, body) in [("/v1/completions", body), ("/v1/grade/absolute", grading)] {
        let response = sent(server.post(path).header("Accept", "text/event-stream").json(&body)).await;
        assert_eq!(response.headers()["content-type"], "text/event-stream; charset=utf-8");
        let stream = response.text().await.unwrap();
        assert!(stream.contains("naïve ✅"), "{stream}");
        assert!(["\\u0085", "\\u2028", "\\u2029"].iter().all(|escape| stream.contains(escape)), "{stream}");
        let ends = |c: char| ['\n', '\r', '\u{85}', '\u{2028}', '\u{2029}'].contains(&c);
        for line in stream.split(ends).filter(|line| !line.is_empty()) {
            let data = line.strip_prefix("data: ").or_else(|| line.strip_prefix("event: ")).expect(line);
            assert!(!line.starts_with("data: {") || serde_json::from_str::<Value>(data).is_ok(), "{line}");
        }
    }
}

#[tokio::test]
async fn a_judge_reads_what_tools_were_asked_and_gave() {
    let (engine, prompts) = listening(says("Right.", &[0.8, 0.1]));
    let server = Server::with(engine);
    let body = json!({"model": "gavel-inspect", "max_tokens": 40, "messages": [
        {"role": "user", "content": "What is the weather in Paris?"},
        {"role": "assistant", "content": null, "tool_calls": [
            {"id": "c1", "type": "function", "function": {"name": "get_weather", "arguments": "{\"city\": \"Paris\"}"}}]},
        {"role": "tool", "tool_call_id": "c1", "content": "Sunny, 21 °C"},
        {"role": "assistant", "content": "It is sunny in Paris."},
        {"role": "user", "content": "Was the answer right? End with GRADE: C or GRADE: I."},
    ]});
    let answer = ok(server.post_json(CHAT, &body).await).await;
    assert!(answer["choices"][0]["message"]["content"].as_str().unwrap().ends_with("GRADE: C"), "{answer}");
    let prompts = prompts.lock().unwrap();
    for part in ["get_weather({\"city\": \"Paris\"})", "Tool result (get_weather): Sunny, 21 °C"] {
        assert!(prompts[0].contains(part), "{part}: {}", prompts[0]);
    }
}

#[tokio::test]
async fn a_rollout_that_used_tools_is_judged_with_what_they_gave() {
    let (engine, prompts) = listening(says("Right.", &[0.0, 0.0, 0.0, 0.0, 0.9]));
    let server = Server::with(engine);
    let output = json!({"output": [{"type": "message", "content": [{"type": "output_text", "text": "Sunny."}]}]});
    let input = json!([
        {"role": "user", "content": "What is the weather in Paris?"},
        {"type": "reasoning", "summary": []},
        {"type": "function_call", "call_id": "c1", "name": "get_weather", "arguments": "{\"city\": \"Paris\"}"},
        {"type": "function_call_output", "call_id": "c1", "output": "Sunny, 21 °C"},
    ]);
    let verify = json!({"responses_create_params": {"input": input}, "response": output});
    let row = ok(server.post_json("/compat/nemo-gym/helpfulness/verify?mode=score", &verify).await).await;
    assert_eq!(row["reward"], 1.0, "{row}");
    let prompts = prompts.lock().unwrap();
    for part in ["get_weather({\"city\": \"Paris\"})", "Tool result (get_weather): Sunny, 21 °C"] {
        assert!(prompts[0].contains(part), "{part}: {}", prompts[0]);
    }
}

#[tokio::test]
async fn a_response_that_shows_nothing_is_judged_as_nothing_on_every_route() {
    for blank in ["", " \n", "\u{200b}", "\u{feff}\u{2060} "] {
        let (engine, prompts) = listening(says("It says nothing.", &[0.9]));
        let server = Server::with(engine);
        let rewards =
            json!({"rubric": "helpfulness", "mode": "score", "items": [{"instruction": "Why?", "response": blank}]});
        let eval = json!({"model_id": "m", "model_input": "Why?", "model_output": blank, "metric_name": "helpfulness"});
        let chat = format!("<|im_start|>user\nWhy?<|im_end|>\n<|im_start|>assistant\n{blank}<|im_end|>");
        let output = json!({"output": [{"type": "message", "content": [{"type": "output_text", "text": blank}]}]});
        let verify = json!({"responses_create_params": {"input": "Why?"}, "response": output});
        let query = "mode=score&rubric=helpfulness";
        for (path, body, pointer) in [
            ("/v1/rewards".to_owned(), rewards, "/rewards/0"),
            ("/compat/slime/helpfulness?mode=score".into(), json!({"prompt": "Why?", "response": blank}), ""),
            ("/compat/openrlhf/helpfulness?mode=score".into(), json!({"query": [chat]}), "/rewards/0"),
            ("/compat/nemo-gym/helpfulness/verify?mode=score".into(), verify, "/reward"),
            (format!("/classify?{query}"), json!({"input": chat}), "/data/0/probs/0"),
            (format!("/score?{query}"), json!({"queries": "Why?", "documents": blank}), "/data/0/score"),
            (format!("/predict?{query}"), json!({"inputs": ["Why?", blank]}), "/0/score"),
            (format!("/rerank?{query}"), json!({"query": "Why?", "texts": [blank]}), "/0/score"),
        ] {
            let answer = ok(server.post_json(&path, &body).await).await;
            assert_eq!(answer.pointer(pointer), Some(&json!(0.0)), "{path} {blank:?}: {answer}");
        }
        let answer = ok(server.post_json("/compat/atla/v1/eval?mode=score", &eval).await).await;
        assert_eq!(answer["result"]["evaluation"]["score"], "1", "{answer}");
        assert_eq!(prompts.lock().unwrap().len(), 1, "all the same to the judge, which is asked once");
    }
}

#[tokio::test]
async fn a_judge_model_that_is_asked_for_another_form() {
    let server = Server::with(example());
    let schema = |properties: Value| {
        let required: Vec<&String> = properties.as_object().unwrap().keys().collect();
        let schema =
            json!({"type": "object", "additionalProperties": false, "required": required, "properties": properties});
        json!({"type": "json_schema", "json_schema": {"name": "extract", "schema": schema}})
    };
    let body = |model: &str, format: Value| json!({"model": model, "messages": [{"role": "user", "content": "Grade."}], "response_format": format});
    let texts = schema(json!({"reasoning": {"type": "string"}, "score": {"type": "string"}}));
    let verdict = schema(json!({"reason": {"type": "string"}, "score": {"type": "integer"}}));
    for model in ["gavel-absolute", "gavel-deepeval", "gavel-promptfoo"] {
        refused(&server, body(model, texts.clone()), "response_format").await;
    }
    refused(&server, body("gavel-absolute:helpfulness", json!({"type": "json_object"})), "response_format").await;
    for (model, format) in [
        ("gavel-deepeval", verdict),
        ("gavel-deepeval", json!({"type": "json_object"})),
        ("gavel-promptfoo", json!({"type": "json_object"})),
        ("gavel-ragas", json!({"type": "json_object"})),
        ("gavel-absolute", json!({"type": "text"})),
        ("gavel-absolute", Value::Null),
    ] {
        ok(server.post_json(CHAT, &body(model, format)).await).await;
    }
    let tools = json!([{"type": "function", "function": {"name": "grade", "parameters": {"type": "object"}}}]);
    let mut forced = body("gavel-absolute", Value::Null);
    forced["tools"] = tools;
    ok(server.post_json(CHAT, &forced).await).await;
    forced["tool_choice"] = json!("required");
    refused(&server, forced, "tool_choice").await;
}

#[tokio::test]
async fn slashes_as_base_addresses_bring_them() {
    let server = Server::with(example());
    let body = json!({"model": "gavel-binary", "messages": [{"role": "user", "content": "0 or 1?"}]});
    for path in ["/v1//chat/completions", "//v1/chat/completions", "/v1/chat/completions/", "/v1/chat/completions//"] {
        ok(server.post_json(path, &body).await).await;
    }
    for path in ["/v1/rubrics/", "/v1//rubrics/helpfulness/", "//livez", "/docs/", "/docs//"] {
        assert_eq!(server.get(path).await.status(), 200, "{path}");
    }
    let lost = server.post_json("/chat/completions", &body).await;
    assert_eq!(lost.status(), 404);
    let lost: Value = serde_json::from_str(&lost.text().await.unwrap()).unwrap();
    let message = lost["error"]["message"].as_str().unwrap();
    assert!(message.contains("did you mean /v1/chat/completions?"), "{lost}");
    let lost = problem(&server, server.get("/v1/rank/nothing/").await, 404, "not_found").await;
    assert!(lost["detail"].as_str().unwrap().contains("/v1/rank/nothing"), "{lost}");
    // What OpenAI's clients may ask for has its form.
    let lost = server.post_json("/v1/images/generations", &body).await;
    assert_eq!(lost.status(), 404);
    let lost: Value = serde_json::from_str(&lost.text().await.unwrap()).unwrap();
    assert_eq!(lost["error"]["code"], "not_found", "{lost}");
    // Errors have the form of the route that the path leads to.
    refused(&server, json!({"model": "gavel-binary", "messages": []}), "messages").await;
    let answer: Value =
        server.post_json("/v1//chat/completions/", &json!({"messages": []})).await.json().await.unwrap();
    assert_eq!(answer["error"]["param"], "messages");
}

#[tokio::test]
async fn reward_servers_of_vllm_blame_as_vllm_does() {
    let server = Server::with(example());
    let check = async |path: &str, body: Value, status: u16, param: Value| {
        let response = server.post_json(path, &body).await;
        let (found, kind) = (response.status().as_u16(), response.headers()["content-type"].clone());
        let answer: Value = response.json().await.unwrap();
        assert_eq!((found, kind.to_str().unwrap()), (status, "application/json"), "{path}: {answer}");
        assert_eq!(answer["error"]["param"], param, "{path} {body}: {answer}");
        assert!(answer["error"]["message"].is_string() && answer["error"]["code"].is_string(), "{answer}");
    };
    for path in ["/classify", "/v1/classify", "/v1/embeddings", "/score", "/v1/score"] {
        let body = json!({"input": "x", "queries": "x", "documents": "x"});
        check(path, body.clone(), 400, Value::Null).await;
        check(&format!("{path}?rubric=nothing"), body, 404, Value::Null).await;
    }
    let rubric = "rubric=helpfulness";
    for path in ["/classify", "/v1/embeddings"] {
        check(&format!("{path}?{rubric}"), json!({"input": "no turns"}), 400, json!("input")).await;
        check(&format!("{path}?{rubric}"), json!({"input": ["no turns"]}), 400, json!("input.0")).await;
        check(&format!("{path}?{rubric}"), json!({"input": 1}), 400, json!("input")).await;
    }
    check(&format!("/classify?{rubric}"), json!({"text": "no turns"}), 400, json!("text")).await;
    check(&format!("/score?{rubric}"), json!({"text_1": "a"}), 400, json!("text_2")).await;
    check(&format!("/score?{rubric}"), json!({"documents": ["a"]}), 400, json!("text_1")).await;
    check(&format!("/score?{rubric}"), json!({"queries": 1, "documents": "x"}), 400, json!("queries")).await;
    check(&format!("/score?{rubric}"), json!({"queries": "x", "documents": [1]}), 400, json!("documents.0")).await;
}
