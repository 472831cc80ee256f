//! The whole service on real weights.

use std::io::{BufRead, BufReader, Read};
use std::net::TcpListener;
use std::process::{Command, Stdio};
use std::sync::Arc;

use gavel::app::App;
use gavel::config::Config;
use serde_json::{Value, json};

use super::{engine, settings};

struct Server {
    url: String,
    client: reqwest::Client,
    _folder: tempfile::TempDir,
}

impl Server {
    async fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let data = folder.path().display().to_string();
        let app = App::build(Config::load(None, &[("data_dir", data)]).unwrap()).unwrap();
        app.host(engine(settings()), Some("plain".into())).unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        tokio::spawn(gavel::api::server(Arc::clone(&app), listener).unwrap());
        Self { url, client: reqwest::Client::builder().no_proxy().build().unwrap(), _folder: folder }
    }

    async fn post(&self, path: &str, body: &Value) -> Value {
        let response = self.client.post(format!("{}{path}", self.url)).json(body).send().await.unwrap();
        let status = response.status();
        let value: Value = response.json().await.unwrap();
        assert!(status.is_success(), "{value}");
        value
    }
}

fn absolute(response: &str, mode: &str) -> Value {
    json!({
        "instruction": "Why is the sky blue?",
        "response": response,
        "rubric": "helpfulness",
        "mode": mode,
        "sampling": {"max_feedback_tokens": 40, "min_feedback_tokens": 5},
    })
}

fn sum(distribution: &Value) -> f64 {
    distribution.as_object().unwrap().values().map(|p| p.as_f64().unwrap()).sum()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_verdict_has_a_distribution_and_real_feedback() {
    let server = Server::start().await;
    let verdict =
        server.post("/v1/grade/absolute", &absolute("Because air scatters blue light most.", "feedback")).await;
    assert!((sum(&verdict["distribution"]) - 1.0).abs() < 1e-9);
    assert!(verdict["feedback"].as_str().unwrap().split_whitespace().count() >= 3, "{verdict}");
    assert!(!verdict["feedback"].as_str().unwrap().contains("[RESULT]"));
    assert!(verdict["label_mass"].as_f64().unwrap() <= 1.0);
    assert_eq!(verdict["model"]["engine"], "llama-cpp");
}

#[tokio::test(flavor = "multi_thread")]
async fn thirty_two_callers_each_get_their_own_verdict() {
    let server = Server::start().await;
    let texts: Vec<String> = (0..32).map(|i| format!("Answer number {i}: {}", "blue light ".repeat(i % 7))).collect();
    let mut alone = Vec::new();
    for text in &texts {
        let mut body = absolute(text, "score");
        (body["cache"], body["deterministic"]) = (json!(false), json!(true));
        alone.push(server.post("/v1/grade/absolute", &body).await["expected_score"].as_f64().unwrap());
    }
    let together = texts.iter().map(|text| async {
        let mut body = absolute(text, "score");
        body["cache"] = json!(false);
        server.post("/v1/grade/absolute", &body).await["expected_score"].as_f64().unwrap()
    });
    let together = futures::future::join_all(together).await;
    for (together, alone) in together.iter().zip(&alone) {
        assert!((together - alone).abs() < 0.04, "{together} {alone}");
    }
    let distinct: std::collections::BTreeSet<String> = alone.iter().map(|score| format!("{score:.6}")).collect();
    assert!(distinct.len() > 16, "the verdicts differ, so a mix-up would show");
}

#[tokio::test(flavor = "multi_thread")]
async fn exchanging_the_responses_gives_the_exact_complement() {
    let server = Server::start().await;
    for mode in ["score", "feedback"] {
        let mut body = absolute("", mode);
        body.as_object_mut().unwrap().remove("response");
        let (a, b) = (json!("Because air scatters blue light."), json!("The sea is blue, and the sky is a mirror."));
        (body["response_a"], body["response_b"]) = (a.clone(), b.clone());
        let straight = server.post("/v1/grade/relative", &body).await;
        (body["response_a"], body["response_b"]) = (b, a);
        let exchanged = server.post("/v1/grade/relative", &body).await;
        let p = |verdict: &Value| verdict["probability_a"].as_f64().unwrap();
        assert_eq!(p(&exchanged), 1.0 - p(&straight), "{mode}");
        assert_eq!(exchanged["consistent"], straight["consistent"]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn texts_become_tokens_and_texts_again() {
    let server = Server::start().await;
    let text = "The sky is blue, über alles. <|im_end|>";
    let told = server.post("/tokenize", &json!({"prompt": text, "return_token_strs": true})).await;
    let tokens = told["tokens"].as_array().unwrap();
    assert_eq!(told["count"], tokens.len());
    assert_eq!(told["token_strs"].as_array().unwrap().len(), tokens.len());
    let back = server.post("/detokenize", &json!({"tokens": tokens})).await;
    assert_eq!(back["prompt"], text, "the text of a control token is plain text");
    let chat = server.post("/tokenize", &json!({"messages": [{"role": "user", "content": text}]})).await;
    assert!(chat["count"].as_u64() > told["count"].as_u64(), "{chat}");
    let info = server.client.get(format!("{}/tokenizer_info", server.url)).send().await.unwrap();
    let info: Value = info.json().await.unwrap();
    assert_eq!(info["eos_token"], "<|im_end|>");
    assert!(info["chat_template"].as_str().unwrap().contains("im_start"), "{info}");
}

/// Here a step of a millisecond counts as one without end, and every step takes longer.
#[tokio::test(flavor = "multi_thread")]
async fn a_step_that_does_not_end_ends_the_process() {
    let folder = tempfile::tempdir().unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_gavel"));
    command.env("GAVEL_DATA_DIR", folder.path()).env("GAVEL_LIMITS__HANG_MS", "1").env("GAVEL_OFFLINE", "true");
    command.args(["serve", "--port", "0", "--model", super::DEMO]).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut process = command.spawn().unwrap();
    let mut line = String::new();
    BufReader::new(process.stdout.take().unwrap()).read_line(&mut line).unwrap();
    let mut log = process.stderr.take().unwrap();
    let log = std::thread::spawn(move || {
        let mut text = String::new();
        log.read_to_string(&mut text).unwrap();
        text
    });
    let url = line.trim().strip_prefix("gavel is listening on ").unwrap_or_else(|| panic!("{line}")).to_owned();
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let mut body = absolute("Because air scatters blue light most.", "feedback");
    body["cache"] = false.into();
    body["sampling"] = json!({"max_feedback_tokens": 200, "min_feedback_tokens": 200});
    // While the model is loaded, requests are refused; the server is gone when nobody answers.
    let mut graded = 0;
    while let Ok(answer) = client.post(format!("{url}/v1/grade/absolute")).json(&body).send().await {
        graded += usize::from(answer.status().is_success());
        assert!(graded < 50, "nothing happens");
    }
    assert_eq!(process.wait().unwrap().code(), Some(1));
    let log = log.join().unwrap();
    assert!(log.contains("limits.hang_ms"), "{log}");
}
