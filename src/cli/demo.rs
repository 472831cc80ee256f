//! `gavel demo`: what a newcomer sees first.

use serde_json::{Value, json};

use super::client::{Client, Reply};
use super::host::Hosted;
use super::{CliError, show};
use crate::config::Config;

const INSTRUCTION: &str = "Explain to a child why the sky is blue.";
const REFERENCE: &str = "Sunlight is made of all the colours of the rainbow. The air bounces blue light around more \
                         than the other colours, so blue comes to our eyes from everywhere in the sky.";
const GOOD: &str = "Sunlight looks white, but it is a mix of all colours. When it meets the air, the blue part bounces \
                    around the most, so wherever you look up, some blue light is coming to your eyes.";
const BAD: &str = "Because the sea is blue, and the sky is a mirror.";

pub(super) async fn run(config: Config) -> Result<(), CliError> {
    println!("Starting a server and its model ...");
    let hosted = Hosted::start(config).await?;
    println!("Ready on {}\n\nInstruction: {INSTRUCTION}", hosted.url);
    let client = Client::new(&hosted.url)?;
    let outcome = grade(&client).await;
    hosted.stop().await;
    outcome?;
    println!(
        "\nThe demo model is small and a poor judge: it proves the machinery, not the verdicts. docs/models.md tells \
         how poor,\nand how to use a better one. `gavel serve` keeps the server running; docs/ tells the rest."
    );
    Ok(())
}

async fn grade(client: &Client) -> Result<(), CliError> {
    let common = json!({
        "instruction": INSTRUCTION,
        "reference_answer": REFERENCE,
        "rubric": "child_readability",
        "sampling": {"max_feedback_tokens": 96},
    });
    for (title, response) in [("A", GOOD), ("B", BAD)] {
        println!("\nResponse {title}: {response}\n");
        let mut body = common.clone();
        body["response"] = json!(response);
        post(client, "/v1/grade/absolute", &body).await?;
    }
    println!("\nA against B, each shown first once:\n");
    let mut body = common;
    (body["response_a"], body["response_b"]) = (json!(GOOD), json!(BAD));
    post(client, "/v1/grade/relative", &body).await
}

async fn post(client: &Client, path: &str, body: &Value) -> Result<(), CliError> {
    match client.post(path, body).await {
        Reply::Verdict(verdict) => print!("{}", show::verdict(&verdict)),
        Reply::Problem(problem) => return Err(CliError::Failed(show::problem(&problem))),
    }
    Ok(())
}
