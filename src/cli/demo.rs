//! `gavel demo`: what a newcomer sees first.

use std::io::{Stdout, stdout};
use std::path::Path;
use std::time::Instant;

use serde_json::{Value, json};

use super::client::{Client, Reply};
use super::host::Hosted;
use super::text::{Flow, wrap};
use super::{CliError, show};
use crate::app::model_store;
use crate::config::{Config, EngineChoice};
use crate::models::ModelStatus;

const INSTRUCTION: &str = "Explain to a child why the sky is blue.";
const REFERENCE: &str = "Sunlight is made of all the colours of the rainbow. The air bounces blue light around more \
                         than the other colours, so blue comes to our eyes from everywhere in the sky.";
const GOOD: &str = "Sunlight looks white, but it is a mix of all colours. When it meets the air, the blue part bounces \
                    around the most, so wherever you look up, some blue light is coming to your eyes.";
const BAD: &str = "Because the sea is blue, and the sky is a mirror.";
/// As short as a rubric can be: on a slow machine each word of it delays the first word of feedback.
const CRITERION: &str = "Is what the response says true?";
const DESCRIPTIONS: [&str; 5] =
    ["All of it is false.", "Most of it is false.", "Half of it is true.", "Most of it is true.", "All of it is true."];
/// About 70 words: what a judge says of answers as short as these.
const FEEDBACK_TOKENS: u32 = 96;

pub(super) async fn run(config: Config) -> Result<(), CliError> {
    let judge = Known::find(&config)?;
    print!("{}", wrap(&format!("Judge: {}", judge.summary), 0));
    let hosted = Hosted::start(config).await?;
    let started = Instant::now();
    let client = Client::new(&hosted.url)?;
    let outcome = grade(&client).await;
    let seconds = started.elapsed().as_secs_f64();
    hosted.stop().await;
    outcome?;
    println!("\nThree verdicts in {seconds:.0} s.");
    print!("{}", wrap(&format!("How far to trust this judge: {}.", judge.agreement), 0));
    let program = program();
    println!(
        "\nNext:\n  {program} grade --rubric helpfulness \\\n      --instruction 'Why is the sky blue?' --response 'Because the \
         sea is.'\n  {program} serve\n      the HTTP API, with its pages at /docs\n  {program} models list\n      \
         stronger judges; take one with --model NAME"
    );
    Ok(())
}

/// What is known of the judge before it is loaded.
struct Known {
    summary: String,
    agreement: String,
}

impl Known {
    fn find(config: &Config) -> Result<Self, CliError> {
        if config.engine == EngineChoice::Scripted {
            let (summary, agreement) = ("none; the answers are scripted", "it is none");
            return Ok(Self { summary: summary.to_owned(), agreement: agreement.to_owned() });
        }
        let asked = config.models.first().map_or(&config.model, |model| model.model.as_ref().unwrap_or(&config.model));
        let of_catalogue = |status: ModelStatus| (status.name == *asked).then_some(status);
        let status = model_store(config)?.list(0).into_iter().find_map(of_catalogue);
        let agreement = status.as_ref().and_then(|status| status.agreement.clone());
        Ok(Self {
            summary: status.map_or_else(|| asked.clone(), |status| status.summary),
            agreement: agreement.unwrap_or_else(|| "nobody has measured it yet".to_owned()),
        })
    }
}

async fn grade(client: &Client) -> Result<(), CliError> {
    let scores = DESCRIPTIONS.iter().zip(1..).map(|(text, score): (_, u32)| (score.to_string(), json!(text)));
    let descriptions: serde_json::Map<String, Value> = scores.collect();
    let common = json!({
        "instruction": INSTRUCTION,
        "reference_answer": REFERENCE,
        "rubric": {"criterion": CRITERION, "descriptions": descriptions},
        "sampling": {"max_feedback_tokens": FEEDBACK_TOKENS},
    });
    print!("\n{}", wrap(&format!("Instruction: {INSTRUCTION}"), 0));
    print!("{}", wrap(&format!("Rubric: {CRITERION} 1 ({}) to 5 ({})", DESCRIPTIONS[0], DESCRIPTIONS[4]), 0));
    for (title, response, legend) in [("A", GOOD, show::ABSOLUTE_LEGEND), ("B", BAD, "")] {
        print!("\n{}", wrap(&format!("Response {title}: {response}"), 0));
        let mut body = common.clone();
        body["response"] = json!(response);
        let verdict = post(client, "/v1/grade/absolute", &body).await?;
        print!("{}{legend}{}", show::numbers(&verdict), show::provenance(&verdict));
    }
    println!("\nA against B, each shown first once:");
    let mut body = common;
    (body["response_a"], body["response_b"]) = (json!(GOOD), json!(BAD));
    let verdict = post(client, "/v1/grade/relative", &body).await?;
    print!("{}{}{}", show::numbers(&verdict), show::RELATIVE_LEGEND, show::provenance(&verdict));
    Ok(())
}

/// Shows feedback as it is written, and gives the verdict.
async fn post(client: &Client, path: &str, body: &Value) -> Result<Value, CliError> {
    let mut feedback = Feedback { flow: Flow::new(stdout(), 2), later: String::new() };
    let reply = client.stream(path, body, |event| feedback.show(event)).await;
    match reply {
        Reply::Verdict(verdict) => {
            feedback.end().map_err(|error| CliError::because("standard output", error))?;
            Ok(verdict)
        }
        Reply::Problem(problem) => Err(CliError::Failed(show::problem(&problem))),
    }
}

/// The feedback of one judgement as it comes; of the second order, which is written at the same time, what came.
struct Feedback {
    flow: Flow<Stdout>,
    later: String,
}

impl Feedback {
    fn show(&mut self, event: &Value) {
        let delta = event["delta"].as_str().unwrap_or_default();
        match event["order"].as_str() {
            Some("BA") => self.later.push_str(delta),
            // A closed terminal shows at the end.
            _ => drop(self.flow.push(delta)),
        }
    }

    fn end(&mut self) -> std::io::Result<()> {
        self.flow.end()?;
        if !self.later.is_empty() {
            println!("  and with the order exchanged, so that A is called B:");
            self.flow.push(&self.later)?;
            self.flow.end()?;
        }
        Ok(())
    }
}

/// How this program can be called again from here.
fn program() -> String {
    let called = std::env::args_os().next().unwrap_or_default();
    let called = Path::new(&called);
    let here = std::env::current_dir().unwrap_or_default();
    match called.strip_prefix(&here) {
        Ok(below) => Path::new(".").join(below).display().to_string(),
        Err(_) => called.display().to_string(),
    }
}
