//! OpenAI's surface on the hosted model itself: chat, texts, structured output, decisions and graders.

use std::sync::atomic::Ordering;

use gavel::engine::Job;
use gavel::engine::scripted::Answer;
use gavel::script::{Script, Step};
use serde_json::{Value, json};

use crate::engines::{always, asking, counting, example, says};
use crate::server::{Server, near, ok};

const CHAT: &str = "/v1/chat/completions";
const RUN: &str = "/v1/fine_tuning/alpha/graders/run";

fn writing(text: &str) -> Server {
    Server::with(always(Answer { say: Some(text.to_owned()), ..Answer::default() }))
}

async fn chat(server: &Server, change: Value) -> Value {
    let mut body = json!({"model": "scripted", "messages": [{"role": "user", "content": "Say something."}]});
    body.as_object_mut().unwrap().extend(change.as_object().unwrap().clone());
    ok(server.post_json(CHAT, &body).await).await
}

async fn refused(server: &Server, path: &str, body: Value, status: u16, param: &str) {
    let response = server.post_json(path, &body).await;
    let found = response.status().as_u16();
    let answer: Value = serde_json::from_str(&response.text().await.unwrap()).unwrap();
    assert_eq!((found, &answer["error"]["param"]), (status, &json!(param)), "{answer}");
}

/// The data of a stream's events, but for its last line.
fn chunks(text: &str) -> Vec<Value> {
    let mut events: Vec<&str> = text.split("\n\n").filter(|event| !event.is_empty()).collect();
    assert_eq!(events.pop(), Some("data: [DONE]"), "{text}");
    events.iter().map(|event| serde_json::from_str(event.strip_prefix("data: ").unwrap()).unwrap()).collect()
}

#[tokio::test]
async fn the_model_as_it_is() {
    let server = writing("One two three.");
    let answer = chat(&server, json!({"logprobs": true, "top_logprobs": 3})).await;
    let choice = &answer["choices"][0];
    assert_eq!((&choice["message"]["content"], &choice["finish_reason"]), (&json!("One two three."), &json!("stop")));
    let tokens: Vec<&str> =
        choice["logprobs"]["content"].as_array().unwrap().iter().map(|t| t["token"].as_str().unwrap()).collect();
    assert_eq!(tokens.concat(), "One two three.");
    assert!(answer.get("gavel").is_none(), "nothing was judged: {answer}");
    let cut = chat(&server, json!({"max_tokens": 2, "n": 2})).await;
    assert_eq!(cut["choices"][1]["message"]["content"], "One two");
    assert_eq!(cut["choices"][1]["finish_reason"], "length");
    assert_eq!(cut["usage"]["completion_tokens"], 4);
    let stopped = chat(&server, json!({"stop": [" three"]})).await;
    assert_eq!(stopped["choices"][0]["message"]["content"], "One two");
    let body = json!({
        "messages": [{"role": "user", "content": "Hi"}], "stream": true, "stream_options": {"include_usage": true}
    });
    let text = server.post_json(CHAT, &body).await.text().await.unwrap();
    let chunks = chunks(&text);
    let said: String = chunks.iter().filter_map(|chunk| chunk["choices"][0]["delta"]["content"].as_str()).collect();
    assert_eq!(said, "One two three.");
    assert_eq!(chunks[chunks.len() - 2]["choices"][0]["finish_reason"], "stop");
    assert_eq!(chunks.last().unwrap()["usage"]["completion_tokens"], 3);
    let metrics = server.metrics().await;
    assert_eq!(metrics.value("gavel_judgements_total", &[("kind", "text")]), 5.0);
    assert_eq!(metrics.value("gavel_label_mass_count", &[("kind", "text")]), 0.0, "what only writes has no labels");
}

#[tokio::test]
async fn texts_to_stop_at_have_bounds() {
    let server = writing("One two three.");
    let many = |count: usize, bytes: usize| {
        let stops: Vec<String> = (0..count).map(|index| format!("{index:x<bytes$}")).collect();
        json!(stops)
    };
    let message = json!([{"role": "user", "content": "Hi"}]);
    for model in [json!(null), json!("gavel-absolute:helpfulness")] {
        let body = |stop: Value| json!({"model": model, "messages": message, "stop": stop});
        let accepted = server.post_json(CHAT, &body(many(64, 256))).await;
        assert_eq!(accepted.status().as_u16(), 200);
        refused(&server, CHAT, body(many(65, 3)), 400, "stop").await;
        refused(&server, CHAT, body(json!(["a", "é".repeat(129)])), 400, "stop.1").await;
        refused(&server, CHAT, body(json!("x".repeat(257))), 400, "stop").await;
    }
    refused(&server, "/v1/completions", json!({"prompt": "Hi", "stop": many(65, 3)}), 400, "stop").await;
}

#[tokio::test]
async fn structured_output_fits() {
    let server = writing("Surely no JSON.");
    let schema = json!({
        "type": "object",
        "properties": {"reason": {"type": "string"}, "score": {"type": "integer", "minimum": 1, "maximum": 5}},
        "required": ["reason", "score"],
        "additionalProperties": false
    });
    let format = json!({"type": "json_schema", "json_schema": {"name": "v", "strict": true, "schema": schema}});
    let answer = chat(&server, json!({"response_format": format})).await;
    let said: Value = serde_json::from_str(answer["choices"][0]["message"]["content"].as_str().unwrap()).unwrap();
    assert!((1..=5).contains(&said["score"].as_i64().unwrap()) && said["reason"].is_string(), "{said}");
    let answer = chat(&server, json!({"response_format": {"type": "json_object"}})).await;
    let said: Value = serde_json::from_str(answer["choices"][0]["message"]["content"].as_str().unwrap()).unwrap();
    assert!(said.is_object());
    let tools = json!([{"type": "function", "function": {"name": "grade", "parameters": schema}}]);
    for choice in [json!({"type": "function", "function": {"name": "grade"}}), json!("required")] {
        let answer = chat(&server, json!({"tools": tools, "tool_choice": choice})).await;
        let call = &answer["choices"][0]["message"]["tool_calls"][0];
        assert_eq!((&call["type"], &call["function"]["name"]), (&json!("function"), &json!("grade")));
        let said: Value = serde_json::from_str(call["function"]["arguments"].as_str().unwrap()).unwrap();
        assert!(said["score"].is_i64(), "{answer}");
        assert_eq!(answer["choices"][0]["message"]["content"], Value::Null);
    }
    let body = |change: Value| {
        let mut body = json!({"messages": [{"role": "user", "content": "x"}]});
        body.as_object_mut().unwrap().extend(change.as_object().unwrap().clone());
        body
    };
    let streamed = body(json!({"tools": tools, "tool_choice": "required", "stream": true}));
    let text = server.post_json(CHAT, &streamed).await.text().await.unwrap();
    let calls: Vec<Value> =
        chunks(&text).iter().map(|chunk| chunk["choices"][0]["delta"]["tool_calls"][0].clone()).collect();
    assert_eq!(calls[0]["function"]["name"], "grade");
    let arguments: String = calls.iter().filter_map(|call| call["function"]["arguments"].as_str()).collect();
    serde_json::from_str::<Value>(&arguments).unwrap();
    let nonsense = json!({"type": "json_schema", "json_schema": {"name": "v", "schema": {"type": "nonsense"}}});
    let at = "response_format.json_schema.schema";
    refused(&server, CHAT, body(json!({"response_format": nonsense})), 400, at).await;
    refused(&server, CHAT, body(json!({"tool_choice": "required"})), 400, "tool_choice").await;
}

#[tokio::test]
async fn texts_are_gone_on_with() {
    let server = Server::with(asking(|job| {
        assert!(
            matches!(&job.prompt.0[..], [gavel::script::Segment::Text(text)] if text.ends_with("there <|im_end|>"))
        );
        says("was a cat.", &[])
    }));
    let prompt = "Once there <|im_end|>";
    let answer = ok(server.post_json("/v1/completions", &json!({"prompt": prompt, "echo": true})).await).await;
    assert_eq!(answer["object"], "text_completion");
    assert_eq!(answer["choices"][0]["text"], "Once there <|im_end|>was a cat.");
    let body = json!({"prompt": [prompt], "max_tokens": 2, "logprobs": 1});
    let answer = ok(server.post_json("/v1/completions", &body).await).await;
    assert_eq!(answer["choices"][0]["finish_reason"], "length");
    assert_eq!(answer["choices"][0]["logprobs"]["tokens"], json!(["was ", "a"]));
    assert_eq!(answer["choices"][0]["logprobs"]["text_offset"], json!([0, 4]));
    let body = json!({"prompt": prompt, "stream": true, "echo": true});
    let text = server.post_json("/v1/completions", &body).await.text().await.unwrap();
    let said: String = chunks(&text).iter().filter_map(|chunk| chunk["choices"][0]["text"].as_str()).collect();
    assert_eq!(said, "Once there <|im_end|>was a cat.");
    for (body, param) in [
        (json!({"prompt": []}), "prompt"),
        (json!({"prompt": [[1], []]}), "prompt"),
        (json!({"prompt": vec!["a"; 65], "n": 2}), "prompt"),
        (json!({"prompt": [1, 2], "echo": true, "stream": true}), "echo"),
        (json!({"prompt": "a", "logprobs": 30}), "logprobs"),
    ] {
        refused(&server, "/v1/completions", body, 400, param).await;
    }
}

#[tokio::test]
async fn prompts_come_back_with_their_probabilities() {
    let server = Server::with(asking(|_| says("was a cat.", &[])));
    let asked = async |body: Value| server.post_json("/v1/completions", &body).await;
    // As lm-eval asks for a log-likelihood, with several prompts at once.
    let body = json!({"prompt": ["Once there", "A dog"], "echo": true, "logprobs": 1, "max_tokens": 1, "n": 2});
    let answer = ok(asked(body).await).await;
    let texts: Vec<(u64, &str)> = answer["choices"]
        .as_array()
        .unwrap()
        .iter()
        .map(|choice| (choice["index"].as_u64().unwrap(), choice["text"].as_str().unwrap()))
        .collect();
    assert_eq!(texts, [(0, "Once therewas"), (1, "Once therewas"), (2, "A dogwas"), (3, "A dogwas")]);
    let logprobs = &answer["choices"][0]["logprobs"];
    assert_eq!(logprobs["tokens"], json!(["Once ", "there", "was"]));
    assert_eq!(logprobs["token_logprobs"], json!([null, 0.0, 0.0]), "the first follows nothing");
    assert_eq!(logprobs["top_logprobs"], json!([null, {"there": 0.0}, {"was": 0.0}]));
    assert_eq!(logprobs["text_offset"], json!([0, 5, 10]));
    assert_eq!(answer["usage"]["prompt_tokens"], 4, "each prompt once");
    // Ids come back as they were sent; nothing is written where nothing may be.
    let body = json!({"prompt": [12, 7, 9], "echo": true, "logprobs": 0, "max_tokens": 0});
    let answer = ok(asked(body).await).await;
    assert_eq!(answer["choices"][0]["logprobs"]["token_logprobs"].as_array().unwrap().len(), 3);
    assert_eq!(answer["choices"][0]["finish_reason"], "length");
    assert_eq!(answer["usage"]["completion_tokens"], 0);
    let answer = ok(asked(json!({"prompt": [[12, 7], [9]]})).await).await;
    assert_eq!(answer["choices"].as_array().unwrap().len(), 2);
}

/// Answers the choice of each branch by its options.
fn branching(job: &Job, masses: impl Fn(&[String]) -> Vec<f64>) -> Answer {
    let Some(Step::Branch(scripts)) = job.script.0.last() else { return Answer::default() };
    let of = |script: &Script| match script.0.last() {
        Some(Step::Choose(options)) => masses(options),
        _ => Vec::new(),
    };
    Answer { branches: scripts.iter().map(of).collect(), ..Answer::default() }
}

#[tokio::test]
async fn decisions_have_the_probability_of_every_answer() {
    let answers = |options: &[String]| if options[0] == " yes" { vec![0.6, 0.2] } else { vec![0.1, 0.3] };
    let (engine, runs) = counting(move |_, job| branching(job, answers));
    let server = Server::with(engine);
    let body = json!({
        "model": "scripted", "input": "The sea is blue.", "prompt_cache_key": null,
        "questions": [
            {"type": "predicate", "name": "p", "instructions": "It is about water."},
            {"type": "choice", "name": "c", "instructions": [{"type": "input_text", "text": "Which colour?"}],
             "choices": [{"value": "red", "description": "like blood"}, {"value": true}]},
            {"type": "score", "instructions": "How good?", "levels": [{"label": "bad"}, {"label": "good"}]}
        ]
    });
    let answer = ok(server.post_json("/v1/decisions", &body).await).await;
    let [p, c, s] = answer["answers"].as_array().unwrap().as_slice() else { panic!("{answer}") };
    assert!(p["type"] == "predicate" && p["name"] == "p" && near(&p["probability"], 0.75), "{p}");
    assert!(c["choice"] == true && near(&c["confidence"], 0.5) && near(&c["probabilities"][0]["probability"], 0.25));
    assert!(s["name"].is_null() && near(&s["score"], 0.75) && s["probabilities"][1]["value"] == 1, "{s}");
    assert_eq!(answer["usage"]["output_tokens"], 3);
    assert_eq!(runs.load(Ordering::SeqCst), 1, "one run for all questions, over one reading of the input");
    let masses = server.metrics().await.value("gavel_label_mass_count", &[("kind", "chat")]);
    assert_eq!(masses, 3.0, "every question counts");
    let state = json!({
        "state": {"text": "The sea is blue."},
        "questions": {
            "a": {"type": "noul", "instructions": "It is about water.", "criteria": {"true": "it is", "false": null}},
            "b": {"type": "choice", "instructions": "Which?", "criteria": {"x": "the x", "y": null}},
            "c": {"type": "score", "instructions": "How good?", "criteria": ["bad", "good"]}
        }
    });
    let answer = ok(server.post_json("/v1/systemone", &state).await).await;
    assert_eq!(answer["object"], "structured_decision");
    let answers = &answer["answers"];
    assert!(near(&answers["a"]["noul"], 0.75) && answers["b"]["choice"] == "y", "{answer}");
    assert!(
        near(&answers["c"]["score"], 0.75) && answers["c"]["legend"] == json!({"0": "bad", "1": "good"}),
        "{answer}"
    );
    assert!(
        near(&answer["diagnostics"]["a"]["label_mass"], 0.8) && answer["diagnostics"]["a"]["argmax_is_label"] == true
    );
    for (change, param) in [
        (json!({"questions": []}), "questions"),
        (json!({"input": ""}), "input"),
        (
            json!({"questions": [{"type": "choice", "instructions": "x", "choices": [{"value": "a"}]}]}),
            "questions.0.choices",
        ),
        (
            json!({"questions": [{"type": "choice", "instructions": "x", "choices": [{"value": "a"}, {"value": "a"}]}]}),
            "questions.0.choices.1",
        ),
    ] {
        let mut body = body.clone();
        body.as_object_mut().unwrap().extend(change.as_object().unwrap().clone());
        refused(&server, "/v1/decisions", body, 400, param).await;
    }
}

#[tokio::test]
async fn graders_of_every_type() {
    let server = Server::with(asking(|job| {
        assert!(job.prompt.text().contains("Is 4 right? It says 4."), "{}", job.prompt.text());
        match job.script.0.last() {
            Some(Step::Choose(options)) if options.len() == 11 => {
                says("Yes.", &[0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.5, 0.3])
            }
            _ => says("Yes.", &[0.2, 0.6]),
        }
    }));
    let run = async |grader: Value| {
        let body = json!({"grader": grader, "item": {"answer": "4"}, "model_sample": "4"});
        ok(server.post_json(RUN, &body).await).await
    };
    let input = json!([{"role": "user", "content": {"type": "input_text", "text": "Is {{item.answer}} right? It says {{sample.output_text}}."}}]);
    let check = json!({"type": "string_check", "name": "s", "input": "{{sample.output_text}}", "reference": "{{item.answer}}", "operation": "eq"});
    let alike = json!({"type": "text_similarity", "name": "t", "input": "four", "reference": "flour", "evaluation_metric": "fuzzy_match"});
    let score = json!({"type": "score_model", "name": "m", "model": "scripted", "input": input,
                       "sampling_params": {"seed": 42, "temperature": 1, "max_completions_tokens": 512, "reasoning_effort": "low"}});
    let label = json!({"type": "label_model", "name": "l", "model": "scripted", "input": input, "labels": ["bad", "good"], "passing_labels": ["good"]});
    assert_eq!(run(check.clone()).await["reward"], 1.0);
    assert!(near(&run(alike.clone()).await["reward"], 8.0 / 9.0));
    let scored = run(score.clone()).await;
    assert!(near(&scored["reward"], (0.9 * 0.5 + 1.0 * 0.3) / 0.8), "{scored}");
    assert_eq!(scored["metadata"]["sampled_model_name"], "scripted");
    assert_eq!(scored["metadata"]["errors"]["formula_parse_error"], false);
    let usage = &scored["model_grader_token_usage_per_model"]["scripted"];
    assert_eq!(scored["metadata"]["token_usage"], usage["total_tokens"]);
    let labelled = run(label.clone()).await;
    assert!(labelled["reward"] == 1.0 && near(&labelled["metadata"]["scores"]["good"], 0.75), "{labelled}");
    let multi = json!({"type": "multi", "name": "all", "calculate_output": "0.5 * s + 0.5 * max(l, m)",
                       "graders": {"s": check, "l": label, "m": score}});
    let all = run(multi.clone()).await;
    assert!(near(&all["reward"], 1.0) && all["sub_rewards"]["s"] == 1.0, "{all}");
    let validate = "/v1/fine_tuning/alpha/graders/validate";
    assert_eq!(ok(server.post_json(validate, &json!({"grader": multi})).await).await, json!({"grader": multi}));
    let python = json!({"type": "python", "name": "p", "source": "def grade(): ..."});
    let with = |field: &str, value: Value| {
        let mut changed = multi.clone();
        changed[field] = value;
        changed
    };
    for (grader, param) in [
        (python.clone(), "grader.type"),
        (with("graders", json!({"s": python})), "grader.graders.s.type"),
        (with("calculate_output", json!("s +")), "grader.calculate_output"),
        (with("calculate_output", json!("s + q")), "grader.calculate_output"),
        (
            json!({"type": "label_model", "name": "l", "model": "m", "input": input, "labels": ["a", "b"], "passing_labels": ["c"]}),
            "grader.passing_labels",
        ),
        (json!({"type": "score_model", "name": "m", "model": "m", "input": input, "range": [1, 0]}), "grader.range"),
    ] {
        refused(&server, validate, json!({"grader": grader.clone()}), 400, param).await;
        refused(&server, RUN, json!({"grader": grader, "model_sample": "4"}), 400, param).await;
    }
    let missing = json!({"grader": {"type": "string_check", "name": "s", "input": "{{item.nope}}", "reference": "", "operation": "eq"}, "model_sample": "4"});
    refused(&server, RUN, missing, 400, "grader.input").await;
    let unknown = json!({"grader": {"type": "score_model", "name": "m", "model": "gpt-9", "input": [{"role": "user", "content": "x"}]}, "model_sample": "4"});
    refused(&server, RUN, unknown, 404, "model").await;
    let failing = Server::with(always(Answer { fail: Some("no".into()), ..Answer::default() }));
    let failed = failing.post_json(RUN, &json!({"grader": {"type": "score_model", "name": "m", "model": "scripted", "input": [{"role": "user", "content": "x"}]}, "model_sample": "4"})).await;
    assert_eq!(failed.status(), 502, "a failure is no low reward");
}

#[tokio::test]
async fn a_forced_guess_is_no_reward_and_no_answer() {
    // Of two answers the model is sure enough, of more it is not.
    let few = |options: &[String]| if options.len() == 2 { vec![0.04, 0.02] } else { vec![0.01, 0.02, 0.01] };
    let server = Server::with(asking(move |job| match job.script.0.last() {
        Some(Step::Choose(options)) => says("Hm.", &few(options)),
        _ => branching(job, few),
    }));
    let input = json!([{"role": "user", "content": "Is it right?"}]);
    let score = json!({"type": "score_model", "name": "m", "model": "scripted", "input": input});
    let label = json!({"type": "label_model", "name": "l", "model": "scripted", "input": input, "labels": ["a", "b", "c"], "passing_labels": ["b"]});
    let multi = json!({"type": "multi", "name": "all", "calculate_output": "1", "graders": {"l": label}});
    for (grader, param) in [(&score, "grader"), (&label, "grader"), (&multi, "grader.graders.l")] {
        let response = server.post_json(RUN, &json!({"grader": grader, "model_sample": "4"})).await;
        let status = response.status().as_u16();
        let answer: Value = serde_json::from_str(&response.text().await.unwrap()).unwrap();
        let error = &answer["error"];
        assert_eq!(
            (status, &error["code"], &error["param"]),
            (400, &json!("low_label_mass"), &json!(param)),
            "{answer}"
        );
    }
    let choices = json!([{"value": "x"}, {"value": "y"}, {"value": "z"}]);
    let questions = json!([
        {"type": "choice", "name": "c", "instructions": "Which?", "choices": choices},
        {"type": "predicate", "name": "p", "instructions": "It is."},
        {"type": "score", "instructions": "How good?", "levels": [{"label": "a"}, {"label": "b"}, {"label": "c"}]}
    ]);
    let answer = ok(server.post_json("/v1/decisions", &json!({"input": "It.", "questions": questions})).await).await;
    let [c, p, s] = answer["answers"].as_array().unwrap().as_slice() else { panic!("{answer}") };
    assert_eq!((c, s), (&json!({"type": "refusal", "name": "c"}), &json!({"type": "refusal", "name": null})));
    assert!(near(&p["probability"], 2.0 / 3.0), "the others are answered: {p}");
    let state = json!({"state": "It.", "questions": {
        "c": {"type": "choice", "instructions": "Which?", "criteria": {"x": null, "y": null, "z": null}},
        "p": {"type": "noul", "instructions": "It is."}
    }});
    let answer = ok(server.post_json("/v1/systemone", &state).await).await;
    assert_eq!(answer["answers"].as_object().unwrap().keys().collect::<Vec<_>>(), ["p"], "{answer}");
    assert!(
        near(&answer["diagnostics"]["c"]["label_mass"], 0.04) && near(&answer["diagnostics"]["p"]["label_mass"], 0.06)
    );
    let lax = Server::configured(&[("grading.min_label_mass", "0")], Some(always(says("Hm.", &[0.01, 0.0]))));
    assert_eq!(ok(lax.post_json(RUN, &json!({"grader": score, "model_sample": "4"})).await).await["reward"], 0.0);
}

#[tokio::test]
async fn what_other_servers_take_is_taken() {
    let server = writing("One two three.");
    for top_k in [-1, 0, 40] {
        chat(&server, json!({"top_k": top_k})).await;
        let body = json!({"prompt": "One", "top_k": top_k});
        ok(server.post_json("/v1/completions", &body).await).await;
    }
    let function = json!({"type": "function", "function": {"name": "grade"}});
    let search = json!({"type": "web_search"});
    let custom = json!({"type": "custom", "custom": {"name": "write", "format": {"type": "text"}}});
    let tools = json!([search, function, custom]);
    for choice in [json!(null), json!("auto"), json!("none")] {
        let answer = chat(&server, json!({"tools": tools, "tool_choice": choice})).await;
        assert_eq!(answer["choices"][0]["message"]["content"], "One two three.", "{choice}");
    }
    for choice in [json!("required"), json!({"type": "function", "function": {"name": "grade"}})] {
        let answer = chat(&server, json!({"tools": tools, "tool_choice": choice})).await;
        assert_eq!(answer["choices"][0]["message"]["tool_calls"][0]["function"]["name"], "grade", "{choice}");
    }
    let body = |change: Value| {
        let mut body = json!({"messages": [{"role": "user", "content": "x"}]});
        body.as_object_mut().unwrap().extend(change.as_object().unwrap().clone());
        body
    };
    for (change, param) in [
        (json!({"top_k": -2}), "top_k"),
        (json!({"tools": [search, custom], "tool_choice": "required"}), "tool_choice"),
        (json!({"tools": tools, "tool_choice": {"type": "custom", "custom": {"name": "write"}}}), "tool_choice"),
        (json!({"tools": tools, "tool_choice": {"type": "web_search"}}), "tool_choice"),
        (json!({"tools": [{"type": "function", "function": {}}], "tool_choice": "required"}), "tools.0.function.name"),
    ] {
        refused(&server, CHAT, body(change), 400, param).await;
    }
}

#[tokio::test]
async fn mistakes_of_the_other_routes_have_openais_form_as_well() {
    let server = Server::with(example());
    for path in ["/v1/completions", "/v1/decisions", "/v1/systemone", RUN] {
        let response = server.post_json(path, &json!({})).await;
        assert_eq!(response.status(), 400, "{path}");
        let answer: Value = serde_json::from_str(&response.text().await.unwrap()).unwrap();
        assert_eq!(answer["error"]["code"], "invalid_request", "{path}: {answer}");
    }
}
