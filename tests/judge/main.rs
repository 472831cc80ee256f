//! The default judge on made-up items whose better answer is beyond doubt: what it writes is about the answer, and the
//! better one gets the higher score. `make judge` gets the model, 1.1 GB, and runs this, which takes minutes.
#![cfg(feature = "llama-cpp")]
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a test fails by panicking, and shows what it measured")]

use std::collections::BTreeSet;
use std::net::TcpListener;
use std::sync::Arc;

use gavel::app::App;
use gavel::config::Config;
use serde::Deserialize;
use serde_json::{Value, json};

#[derive(Deserialize)]
struct Item {
    rubric: String,
    instruction: String,
    reference: Option<String>,
    better: String,
    worse: String,
}

impl Item {
    fn body(&self, response: &str) -> Value {
        json!({
            "instruction": self.instruction,
            "response": response,
            "reference_answer": self.reference,
            "rubric": self.rubric,
            "sampling": {"max_feedback_tokens": 64},
        })
    }
}

/// Words that say something, without their case.
fn words(text: &str) -> BTreeSet<String> {
    let words = text.split(|c: char| !c.is_alphanumeric()).filter(|word| word.chars().count() > 3);
    words.map(str::to_lowercase).collect()
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs the default judge and takes minutes: make judge"]
async fn the_default_judge_says_something_of_each_answer_and_prefers_the_better_one() {
    let items: Vec<Item> = serde_json::from_str(include_str!("items.json")).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().display().to_string();
    let settings = [("model", "qwen2.5-coder-1.5b".into()), ("offline", "true".into()), ("data_dir", data)];
    let app = App::build(Config::load(None, &settings).unwrap()).unwrap();
    app.load(&()).await.unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/v1/grade/absolute", listener.local_addr().unwrap());
    tokio::spawn(gavel::api::server(Arc::clone(&app), listener).unwrap());
    let client = reqwest::Client::builder().no_proxy().build().unwrap();

    // One after the other: what runs beside a request changes its last digits, and so may change a close verdict.
    let mut verdicts: Vec<Value> = Vec::new();
    for (item, response) in items.iter().flat_map(|item| [&item.better, &item.worse].map(|response| (item, response))) {
        let answer = client.post(&url).json(&item.body(response)).send().await.unwrap();
        verdicts.push(answer.error_for_status().unwrap().json().await.unwrap());
    }

    let (mut right, mut wrong) = (0, Vec::new());
    for (item, pair) in items.iter().zip(verdicts.chunks(2)) {
        let score = |verdict: &Value| verdict["expected_score"].as_f64().unwrap();
        let (better, worse) = (score(&pair[0]), score(&pair[1]));
        println!("{better:.2} {worse:.2} {}", item.instruction);
        right += usize::from(better > worse);
        for (verdict, response) in pair.iter().zip([&item.better, &item.worse]) {
            let feedback = verdict["feedback"].as_str().unwrap();
            println!("  {feedback}");
            if feedback.split_whitespace().count() < 8 || words(feedback).is_disjoint(&words(response)) {
                wrong.push(format!("of {response}: {feedback}"));
            }
        }
    }
    println!("the better answer has the higher score in {right} of {}", items.len());
    assert!(wrong.is_empty(), "feedback that is too short, or not about its answer: {wrong:#?}");
    assert!(right >= 16, "only {right} of {}", items.len());
}
