//! What the engine has to get right, as `gavel doctor` tries it; and what only a test can do to it.

use gavel::engine::conformance;
use gavel::engine::{Completion, Engine, EngineError, Job};
use gavel::script::{Generate, Outcome, Prompt, SamplerSettings, Script, Segment, Step};

use super::engine;

/// Fewer than `gavel doctor` runs, for the time that it takes; a cache that never forgets would hold 23 MiB for each.
const REQUESTS: usize = 60;

#[tokio::test(flavor = "multi_thread")]
async fn canaries() {
    let engine = engine().await;
    for (name, finding) in [
        ("together", conformance::together(&engine).await),
        ("departure", conformance::departure(&engine).await),
        ("failure", conformance::failure(&engine).await),
        ("reuse", conformance::reuse(&engine).await),
        ("memory", conformance::memory(&engine, REQUESTS).await),
    ] {
        println!("{name}: {finding:?}");
        finding.unwrap_or_else(|why| panic!("{name}: {why}"));
    }
    assert_eq!(engine.load().restarts, 0);
}

fn job(steps: Vec<Step>, temperature: f32, seed: u64) -> Job {
    let sampling = SamplerSettings { temperature, top_p: 1.0, top_k: 0, min_p: 0.0, seed };
    let prompt = Prompt(vec![Segment::Control("<|im_start|>".into()), Segment::Text("user\nSay a word.".into())]);
    Job { prompt, script: Script(steps), sampling, deterministic: false }
}

async fn run(engine: &dyn Engine, job: Job) -> Result<(Completion, String), EngineError> {
    let mut shown = String::new();
    let completion = engine.start(engine.compile(job)?).finish(|delta| shown.push_str(&delta)).await?;
    Ok((completion, shown))
}

fn choose(options: &[&str]) -> Step {
    Step::Choose(options.iter().map(|option| (*option).to_owned()).collect())
}

#[tokio::test(flavor = "multi_thread")]
async fn scripts_run_whole() {
    let engine = engine().await;
    let write = |max_tokens| {
        Step::Generate(Generate { stop: vec!["[RESULT]".into()], max_tokens, min_tokens: 2, ..Generate::default() })
    };
    // The second option has inner nodes: more than one request.
    let judge = || vec![write(6), Step::Say(" [RESULT]".into()), choose(&[" 1", " 10", " not at all"])];
    let (first, shown) = run(&engine, job(judge(), 0.8, 7)).await.unwrap();
    let (again, _) = run(&engine, job(judge(), 0.8, 7)).await.unwrap();
    assert_eq!(first.transcript, again.transcript, "the same seed, the same bytes");
    let Outcome::Generated { text, .. } = &first.transcript.outcomes[0] else { panic!("{first:?}") };
    assert_eq!(&shown, text);
    let Some(Outcome::Chosen { log_masses, .. }) = first.transcript.outcomes.last() else { panic!("{first:?}") };
    assert!(log_masses.iter().map(|m| m.exp()).sum::<f64>() <= 1.0 + 1e-9);
    // Branches are what they are alone.
    let question = |text: &str| vec![Step::Say(format!("\n{text}:")), choose(&[" yes", " no"])];
    let branches = ["clear", "short"].map(|text| Script(question(text)));
    let (joint, _) = run(&engine, job(vec![Step::Branch(branches.to_vec())], 0.0, 0)).await.unwrap();
    let Outcome::Branched(found) = &joint.transcript.outcomes[0] else { panic!("{joint:?}") };
    for (found, text) in found.iter().zip(["clear", "short"]) {
        let (alone, _) = run(&engine, job(question(text), 0.0, 0)).await.unwrap();
        let (Some(Outcome::Chosen { log_masses: a, .. }), Some(Outcome::Chosen { log_masses: b, .. })) =
            (found.outcomes.last(), alone.transcript.outcomes.last())
        else {
            panic!("{found:?}")
        };
        assert!(a.iter().zip(b).all(|(a, b)| (a.exp() - b.exp()).abs() < 0.02), "{a:?} {b:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_can_never_fit_is_refused_with_its_counts() {
    let engine = engine().await;
    let long = job(vec![Step::Say("word ".repeat(9000)), choose(&[" 1", " 2"])], 0.0, 0);
    let error = engine.compile(long).err().unwrap();
    assert!(matches!(error, EngineError::ContextOverflow { context: 8192, .. }), "{error}");
}
