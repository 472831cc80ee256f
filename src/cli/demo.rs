//! `gavel demo`: a first impression of Gavel.

use std::io::{Stdout, stdout};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use serde_json::Value;

use super::host::InProcessJudge;
use super::text::{Flow, wrap};
use super::{CliError, show};
use crate::api::local;
use crate::app::model_store;
use crate::config::{Config, EngineChoice};
use crate::domain::{Method, Order, Rubric};
use crate::facade::{Gavel, Request};
use crate::models::ModelStatus;
use crate::service::Delta;

const INSTRUCTION: &str = "Explain to a child why the sky is blue.";
const REFERENCE: &str = "Sunlight is made of all the colours of the rainbow. The air bounces blue light around more \
                         than the other colours, so blue comes to our eyes from everywhere in the sky.";
const GOOD: &str = "Sunlight looks white, but it is a mix of all colours. When it meets the air, the blue part bounces \
                    around the most, so wherever you look up, some blue light is coming to your eyes.";
const BAD: &str = "Because the sea is blue, and the sky is a mirror.";
/// A short rubric: on a slow machine each word of the prompt delays the first word of feedback.
const CRITERION: &str = "Is what the response says true?";
const DESCRIPTIONS: [&str; 5] =
    ["All of it is false.", "Most of it is false.", "Half of it is true.", "Most of it is true.", "All of it is true."];
/// About 70 words, which is enough for answers as short as these.
const FEEDBACK_TOKENS: u32 = 96;

pub(super) async fn run(config: Config) -> Result<(), CliError> {
    let judge = JudgeSummary::find(&config)?;
    out!("{}", wrap(&format!("Judge: {}", judge.summary), 0));
    let hosted = InProcessJudge::start(config).await?;
    let started = Instant::now();
    let outcome = grade(&hosted.gavel).await;
    let seconds = started.elapsed().as_secs_f64();
    hosted.stop().await;
    outcome?;
    outln!("\nThree verdicts in {seconds:.0} s.");
    out!("{}", wrap(&format!("How far to trust this judge: {}.", judge.agreement), 0));
    let program = program();
    outln!(
        "\nNext:\n  {program} grade --rubric helpfulness \\\n      --instruction 'Why is the sky blue?' --response 'Because the \
         sea is.'\n  {program} serve\n      the HTTP API, and a page to judge in the browser\n  {program} models list\n      \
         stronger judges; take one with --model NAME"
    );
    Ok(())
}

/// What the catalogue says about the judge.
struct JudgeSummary {
    summary: String,
    agreement: String,
}

impl JudgeSummary {
    fn find(config: &Config) -> Result<Self, CliError> {
        if config.engine == EngineChoice::Scripted {
            let (summary, agreement) = ("none (scripted answers)", "not at all, its answers are scripted");
            return Ok(Self { summary: summary.to_owned(), agreement: agreement.to_owned() });
        }
        let model = config.models.first().map_or(&config.model, |first| first.model.as_ref().unwrap_or(&config.model));
        let of_catalogue = |status: ModelStatus| (status.name == *model).then_some(status);
        let status = model_store(config)?.list(0).into_iter().find_map(of_catalogue);
        let agreement = status.as_ref().and_then(|status| status.agreement.clone());
        Ok(Self {
            summary: status.map_or_else(|| model.clone(), |status| status.summary),
            agreement: agreement.unwrap_or_else(|| "not measured yet".to_owned()),
        })
    }
}

async fn grade(gavel: &Gavel) -> Result<(), CliError> {
    let rubric = Rubric::with_scores(CRITERION, (1..).zip(DESCRIPTIONS));
    let rubric = Arc::new(rubric.map_err(|error| CliError::because("the rubric", error))?);
    out!("\n{}", wrap(&format!("Instruction: {INSTRUCTION}"), 0));
    out!("{}", wrap(&format!("Rubric: {CRITERION} 1 ({}) to 5 ({})", DESCRIPTIONS[0], DESCRIPTIONS[4]), 0));
    for (title, response, legend) in [("A", GOOD, show::ABSOLUTE_LEGEND), ("B", BAD, "")] {
        out!("\n{}", wrap(&format!("Response {title}: {response}"), 0));
        let feedback = Feedback::default();
        let graded = with_options(gavel.absolute(INSTRUCTION, response), &rubric, &feedback).await?;
        feedback.end()?;
        let verdict = read(&local::absolute_verdict(graded, &[]))?;
        out!("{}{legend}{}", show::numbers(&verdict), show::provenance(&verdict));
    }
    outln!("\nA and B compared in both orders:");
    let feedback = Feedback::default();
    // Whatever the model's own method: that two orders can disagree is what a newcomer has to see.
    let pair = gavel.relative(INSTRUCTION, GOOD, BAD).method(Method::Pairwise);
    let graded = with_options(pair, &rubric, &feedback).await?;
    feedback.end()?;
    let verdict = read(&local::relative_verdict(graded))?;
    out!("{}{}{}", show::numbers(&verdict), show::relative_legend(&verdict), show::provenance(&verdict));
    Ok(())
}

/// Sets the options of all requests of the demo.
fn with_options<T>(request: Request<T>, rubric: &Arc<Rubric>, feedback: &Feedback) -> Request<T> {
    let feedback = feedback.clone();
    request
        .rubric(Arc::clone(rubric))
        .reference_answer(REFERENCE)
        .max_feedback_tokens(FEEDBACK_TOKENS)
        .on_delta(move |delta| feedback.show(&delta))
}

fn read(verdict: &str) -> Result<Value, CliError> {
    serde_json::from_str(verdict).map_err(|error| CliError::because("the verdict", error))
}

/// Prints the feedback of the first order while it is generated; collects that of the second order, which is generated
/// at the same time.
#[derive(Clone)]
struct Feedback(Arc<Mutex<(Flow<Stdout>, String)>>);

impl Default for Feedback {
    fn default() -> Self {
        Self(Arc::new(Mutex::new((Flow::new(stdout(), 2), String::new()))))
    }
}

impl Feedback {
    fn show(&self, delta: &Delta) {
        let (flow, later) = &mut *self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match delta.run.order {
            Some(Order::BA) => later.push_str(&delta.text),
            // An error of the terminal is reported at the end.
            _ => drop(flow.push(&delta.text)),
        }
    }

    fn end(&self) -> Result<(), CliError> {
        let (flow, later) = &mut *self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let ended = flow.end().and_then(|()| {
            if later.is_empty() {
                return Ok(());
            }
            outln!("  In the other order (A is shown as B):");
            flow.push(later)?;
            flow.end()
        });
        ended.map_err(|error| CliError::because("standard output", error))
    }
}

/// The path of this program, relative to the current folder if possible.
fn program() -> String {
    let called = std::env::args_os().next().unwrap_or_default();
    let called = Path::new(&called);
    let here = std::env::current_dir().unwrap_or_default();
    match called.strip_prefix(&here) {
        Ok(below) => Path::new(".").join(below).display().to_string(),
        Err(_) => called.display().to_string(),
    }
}
