//! Conformance checks of an engine and its loaded model.
//!
//! `gavel doctor` and tests run them. On a GPU, the first one decides at the start whether the mistralrs engine may run
//! sequences together. A finding is the measured result, or the reason of a failure.

use std::collections::BTreeMap;
use std::time::Duration;

use futures::future::join_all;
use sysinfo::{Pid, ProcessesToUpdate, System};

use super::{Completion, Engine, EngineError, Job};
use crate::domain::Distribution;
use crate::script::{Generate, Outcome, Prompt, SamplerSettings, Script, Segment, Step, Token};

/// The measured result, or the reason of a failure.
pub type Finding = Result<String, String>;

/// Maximum change of a probability when other requests run at the same time, or a prefix is reused.
const MAX_CHANGE: f64 = 0.05;
/// Maximum difference of a probability between two engines.
const MAX_ENGINE_DIFFERENCE: f64 = 0.03;
/// Maximum growth of the process after the warm-up, in bytes.
const MAX_GROWTH: u64 = 64 << 20;
/// Maximum time for an engine to drop the work of a caller that disconnected.
const DEPARTURE_TIMEOUT: Duration = Duration::from_secs(60);

/// The result of one run.
struct Verdict {
    feedback: String,
    probabilities: Vec<f64>,
    log_masses: Vec<f64>,
}

/// Sixteen prompts, half of them of one length, half of them with feedback, give the same results together as alone.
///
/// # Errors
/// When they differ, or the engine fails.
pub async fn together(engine: &dyn Engine) -> Finding {
    let jobs = jobs(engine)?;
    let mut alone = Vec::new();
    for job in &jobs {
        alone.push(run(engine, Job { deterministic: true, ..job.clone() }).await?);
    }
    let beside = join_all(jobs.into_iter().map(|job| run(engine, job))).await;
    let beside = beside.into_iter().collect::<Result<Vec<_>, _>>()?;
    let (mut furthest, mut texts, mut feedbacks) = (0.0_f64, 0, 0);
    for (alone, beside) in alone.iter().zip(&beside) {
        feedbacks += usize::from(!alone.feedback.is_empty());
        if alone.feedback == beside.feedback {
            furthest = furthest.max(apart(alone, beside));
        } else {
            texts += 1;
        }
    }
    let measured =
        format!("largest difference of a probability {furthest:.4}, {texts} of {feedbacks} feedbacks differ");
    // Near ties may flip single tokens; mixed-up answers would be completely different texts.
    if furthest <= MAX_CHANGE && 4 * texts <= feedbacks { Ok(measured) } else { Err(measured) }
}

/// The process does not grow over distinct requests, after a warm-up.
///
/// # Errors
/// When it grows, or the engine fails.
pub async fn memory(engine: &dyn Engine, requests: usize) -> Finding {
    let warm = requests / 5;
    let mut before = 0;
    for number in 0..requests {
        if number == warm {
            before = resident();
        }
        run(engine, scored(&format!("Item {number}: {}.", WORDS[number % WORDS.len()]), None)).await?;
    }
    let after = resident();
    let megabytes = |bytes: u64| bytes / (1 << 20);
    let measured = format!("{} MiB after {warm} requests, {} after {requests}", megabytes(before), megabytes(after));
    if after <= before + MAX_GROWTH { Ok(measured) } else { Err(measured) }
}

/// If a caller disconnects in the middle, its work is dropped, and the next request is answered as before.
///
/// # Errors
/// When it is not, or the engine fails.
pub async fn departure(engine: &dyn Engine) -> Finding {
    let before = run(engine, scored("An owl is a bird.", None)).await?;
    let endless = Generate { max_tokens: 1000, min_tokens: 1000, ..Generate::default() };
    let long = compile(engine, job("Write a long story.", vec![Step::Generate(endless)]))?;
    let (sender, mut written) = tokio::sync::mpsc::unbounded_channel();
    let caller = tokio::spawn(engine.start(long).finish(move |_| sender.send(()).unwrap_or(())));
    written.recv().await.ok_or("the engine wrote nothing")?;
    caller.abort();
    let idle = async {
        while engine.load().running > 0 {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(DEPARTURE_TIMEOUT, idle)
        .await
        .map_err(|_| "the work of a caller that disconnected continues".to_owned())?;
    let moved = apart(&before, &run(engine, scored("An owl is a bird.", None)).await?);
    let measured = format!("a probability of the next answer differs by {moved:.4}");
    if moved <= MAX_CHANGE { Ok(measured) } else { Err(measured) }
}

/// One of five requests has a token that is not in the vocabulary: it fails, and the others give the same results as
/// alone.
///
/// # Errors
/// If it does not fail, another one fails, or another answer differs.
pub async fn failure(engine: &dyn Engine) -> Finding {
    let texts = ["An owl is a bird.", "An owl is a fish.", "An owl is a tree.", "An owl is a cat."];
    let mut alone = Vec::new();
    for text in texts {
        alone.push(run(engine, scored(text, None)).await?);
    }
    let mut broken = compile(engine, scored("An owl is a dog.", None))?;
    broken.encoded.ids.insert(0, Token::MAX);
    broken.encoded.run_start += 1;
    let broken = engine.start(broken).finish(|_| ());
    let (broken, beside) = tokio::join!(broken, join_all(texts.map(|text| run(engine, scored(text, None)))));
    let Err(error) = broken else { return Err("a prompt with an unknown token was answered".into()) };
    let mut furthest = 0.0_f64;
    for (alone, beside) in alone.iter().zip(beside) {
        furthest = furthest.max(apart(alone, &beside?));
    }
    let measured = format!("it fails ({error}); a probability of the others differs by at most {furthest:.4}");
    if furthest <= MAX_CHANGE { Ok(measured) } else { Err(measured) }
}

/// A reused prefix gives the same distributions as none.
///
/// # Errors
/// When they differ, or the engine fails.
pub async fn reuse(engine: &dyn Engine) -> Finding {
    let shared =
        "Rate the text from 1 to 5 for how clear it is to a reader who knows nothing of its subject. ".repeat(2);
    let (mut furthest, mut cached) = (0.0_f64, 0);
    for word in &WORDS[..4] {
        let job = scored(&format!("{shared}Text: we saw {word}."), None);
        let alone = run(engine, Job { deterministic: true, ..job.clone() }).await?;
        for _ in 0..2 {
            let completion = complete(engine, job.clone()).await?;
            cached += completion.cached_tokens;
            furthest = furthest.max(apart(&alone, &verdict(completion)?));
        }
    }
    let measured = format!("largest difference of a probability {furthest:.4}, {cached} tokens reused");
    if furthest <= MAX_CHANGE { Ok(measured) } else { Err(measured) }
}

/// Two engines with one model file give the same token ids, and the same logits for choices.
///
/// # Errors
/// When they differ, or an engine fails.
pub async fn agreement(one: &dyn Engine, other: &dyn Engine) -> Finding {
    let (mut furthest, mut log_masses) = (0.0_f64, 0.0_f64);
    for word in WORDS {
        let job = scored(&format!("We saw {word}, and 12 more;\n\n  they were near."), None);
        let (ours, theirs) = (compile(one, job.clone())?, compile(other, job.clone())?);
        if ours.encoded.ids != theirs.encoded.ids {
            return Err(format!("token ids differ: {:?}, {:?}", ours.encoded.ids, theirs.encoded.ids));
        }
        let (ours, theirs) = (run(one, job.clone()).await?, run(other, job).await?);
        furthest = furthest.max(apart(&ours, &theirs));
        let masses = ours.log_masses.iter().zip(&theirs.log_masses).map(|(a, b)| (a - b).abs());
        log_masses = log_masses.max(masses.fold(0.0, f64::max));
    }
    let measured =
        format!("largest difference of a probability {furthest:.4}, of the logarithm of a mass {log_masses:.3}");
    if furthest <= MAX_ENGINE_DIFFERENCE && log_masses <= 0.25 { Ok(measured) } else { Err(measured) }
}

const WORDS: [&str; 8] = ["owls", "cats", "dogs", "birds", "bees", "trees", "cows", "fish"];

/// Eight prompts of one length, as far as the vocabulary allows, and eight of different lengths.
fn jobs(engine: &dyn Engine) -> Result<Vec<Job>, String> {
    let mut by_length: BTreeMap<usize, Vec<String>> = BTreeMap::new();
    for (place, word) in ["here", "there", "today", "again"].iter().flat_map(|p| WORDS.map(|w| (*p, w))) {
        let text = format!("We saw {word} {place}.");
        by_length.entry(compile(engine, scored(&text, None))?.prompt_tokens).or_default().push(text);
    }
    let equal = by_length.into_values().max_by_key(Vec::len).unwrap_or_default().into_iter().take(8);
    let different = (1..=8).map(|n| "We saw a bird of which nobody knew the name. ".repeat(n % 4 + 1) + WORDS[n - 1]);
    let feedback = Generate { stop: vec!["Score".into()], max_tokens: 8, min_tokens: 4, ..Generate::default() };
    // As in a chat, the prompt contains an end-of-turn token.
    let chat = engine.chat_format();
    let turn =
        chat.control.contains(&chat.eos).then(|| [Segment::Control(chat.eos.clone()), Segment::Text("\n".into())]);
    let texts = equal.chain(different).enumerate().map(|(index, text)| {
        let mut job = scored(&text, (index % 2 == 1).then(|| feedback.clone()));
        job.prompt.0.extend(turn.iter().flatten().cloned());
        job
    });
    Ok(texts.collect())
}

fn job(text: &str, steps: Vec<Step>) -> Job {
    let sampling = SamplerSettings { temperature: 0.0, top_p: 1.0, top_k: 0, min_p: 0.0, seed: 0 };
    Job { prompt: Prompt(vec![Segment::Text(text.to_owned())]), script: Script(steps), sampling, deterministic: false }
}

fn scored(text: &str, feedback: Option<Generate>) -> Job {
    let options = (1..=5).map(|score| format!(" {score}")).collect();
    let steps = feedback.map(Step::Generate).into_iter().chain([Step::Say("\nScore:".into()), Step::Choose(options)]);
    job(text, steps.collect())
}

fn compile(engine: &dyn Engine, job: Job) -> Result<super::Compiled, String> {
    engine.compile(job).map_err(|error| error.to_string())
}

async fn complete(engine: &dyn Engine, job: Job) -> Result<Completion, String> {
    let compiled = compile(engine, job)?;
    engine.start(compiled).finish(|_| ()).await.map_err(|error: EngineError| error.to_string())
}

async fn run(engine: &dyn Engine, job: Job) -> Result<Verdict, String> {
    verdict(complete(engine, job).await?)
}

fn verdict(completion: Completion) -> Result<Verdict, String> {
    let mut feedback = String::new();
    for outcome in completion.transcript.outcomes {
        match outcome {
            Outcome::Generated { text, .. } => feedback = text,
            Outcome::Chosen { log_masses, .. } => {
                let distribution = Distribution::from_log_masses(&log_masses).map_err(|error| error.to_string())?;
                let probabilities = distribution.0.probabilities().to_vec();
                return Ok(Verdict { feedback, probabilities, log_masses });
            }
            Outcome::PromptLogprobs | Outcome::Said | Outcome::Thought { .. } | Outcome::Branched(_) => {}
        }
    }
    Err("the engine chose nothing".into())
}

fn apart(one: &Verdict, other: &Verdict) -> f64 {
    let apart = one.probabilities.iter().zip(&other.probabilities).map(|(a, b)| (a - b).abs());
    apart.fold(0.0, f64::max)
}

/// Bytes of memory that this process holds.
fn resident() -> u64 {
    let pid = Pid::from_u32(std::process::id());
    let mut system = System::new();
    system.refresh_processes(ProcessesToUpdate::Some(&[pid]), true);
    system.process(pid).map_or(0, sysinfo::Process::memory)
}
