//! The llama.cpp engine on real weights.

use std::sync::Arc;

use gavel::domain::Distribution;
use gavel::engine::llama_cpp::Settings;
use gavel::engine::{Completion, Engine, EngineError, Job};
use gavel::script::{Generate, Outcome, Prompt, SamplerSettings, Script, Segment, Step};

use super::{engine, settings};

fn prompt(text: &str) -> Prompt {
    let control = |text: &str| Segment::Control(text.into());
    Prompt(vec![
        control("<|im_start|>"),
        Segment::Text(format!("user\nRate this text from 1 to 5 for clarity, and say why.\n\n{text}")),
        control("<|im_end|>"),
        Segment::Text("\n".into()),
        control("<|im_start|>"),
        Segment::Text("assistant\n".into()),
    ])
}

fn job(text: &str, steps: Vec<Step>) -> Job {
    let sampling = SamplerSettings { temperature: 0.0, top_p: 1.0, top_k: 0, min_p: 0.0, seed: 0 };
    Job { prompt: prompt(text), script: Script(steps), sampling, deterministic: false }
}

fn scores() -> Step {
    Step::Choose((1..=5).map(|score| format!(" {score}")).collect())
}

fn score_only(text: &str) -> Job {
    job(text, vec![Step::Say("[RESULT]".into()), scores()])
}

fn with_feedback(text: &str, max_tokens: usize) -> Job {
    let generate = Generate { stop: vec!["[RESULT]".into()], max_tokens, min_tokens: 0, ..Generate::default() };
    job(text, vec![Step::Generate(generate), Step::Say(" [RESULT]".into()), scores()])
}

async fn run(engine: &dyn Engine, job: Job) -> Result<Completion, EngineError> {
    engine.start(engine.compile(job)?).finish(|_| ()).await
}

fn distribution(completion: &Completion) -> Vec<f64> {
    match completion.transcript.outcomes.last() {
        Some(Outcome::Chosen { log_masses, .. }) => {
            Distribution::from_log_masses(log_masses).unwrap().0.probabilities().to_vec()
        }
        other => panic!("{other:?}"),
    }
}

/// Waits until the engine says that nothing runs, which it does after its last step.
async fn idle(engine: &dyn Engine) {
    let idle = async {
        while engine.load().running > 0 {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(std::time::Duration::from_secs(60), idle).await.expect("the engine becomes idle");
}

fn texts() -> Vec<String> {
    (0..24)
        .map(|i| format!("Text {i}: {}", "A short and plain sentence about the weather. ".repeat(1 + i % 5)))
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn scores_under_load_are_those_alone() {
    let engine = engine(settings());
    let mut alone = Vec::new();
    for text in texts() {
        let exact = Job { deterministic: true, ..score_only(&text) };
        alone.push(distribution(&run(&*engine, exact).await.unwrap()));
    }
    let mut worst = 0.0_f64;
    // Two rounds together, with feedback jobs between them: once against no prefixes, once with them.
    for _ in 0..2 {
        let noise = texts().into_iter().step_by(4).map(|text| run(&*engine, with_feedback(&text, 24)));
        let scored = texts().into_iter().map(|text| {
            let engine = Arc::clone(&engine);
            async move { run(&*engine, score_only(&text)).await }
        });
        let (scored, noise) = tokio::join!(futures::future::join_all(scored), futures::future::join_all(noise));
        assert!(noise.iter().all(Result::is_ok));
        for (together, alone) in scored.iter().zip(&alone) {
            let together = distribution(together.as_ref().unwrap());
            let furthest = together.iter().zip(alone).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max);
            worst = worst.max(furthest);
        }
    }
    assert!(worst < 0.02, "a probability differs by {worst}");
}

#[tokio::test(flavor = "multi_thread")]
async fn deterministic_gives_the_same_bytes_under_load() {
    let engine = engine(settings());
    let exact = || Job { deterministic: true, ..with_feedback("An owl is a bird.", 40) };
    let first = run(&*engine, exact()).await.unwrap();
    assert!(!first.transcript.answer.is_empty());
    let noise = texts().into_iter().map(|text| run(&*engine, with_feedback(&text, 16)));
    let again = futures::future::join_all((0..3).map(|_| run(&*engine, exact())));
    let (noise, again) = tokio::join!(futures::future::join_all(noise), again);
    assert!(noise.iter().all(Result::is_ok));
    for again in again {
        let again = again.unwrap();
        assert_eq!(again.transcript, first.transcript);
        assert_eq!(again.cached_tokens, 0);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn equal_prompts_are_read_once() {
    let engine = engine(settings());
    let text = texts().concat();
    let together = futures::future::join_all((0..8).map(|_| run(&*engine, score_only(&text)))).await;
    let cached: Vec<usize> = together.iter().map(|c| c.as_ref().unwrap().cached_tokens).collect();
    let prompt = together[0].as_ref().unwrap().prompt_tokens;
    assert_eq!(cached.iter().filter(|cached| **cached + 1 >= prompt).count(), 7, "{cached:?} of {prompt}");
}

#[tokio::test(flavor = "multi_thread")]
async fn branches_are_what_they_are_alone() {
    let engine = engine(settings());
    let question = |text: &str| {
        let options = [" yes", " no", " not at all"].map(str::to_owned).to_vec();
        Script(vec![Step::Say(format!("{text}:")), Step::Choose(options)])
    };
    let questions = [question("clear"), question("short"), question("about owls")];
    let joint = run(&*engine, job("An owl.", vec![Step::Branch(questions.to_vec())])).await.unwrap();
    let Outcome::Branched(branches) = &joint.transcript.outcomes[0] else { panic!("{joint:?}") };
    for (branch, question) in branches.iter().zip(questions) {
        let alone = run(&*engine, job("An owl.", question.0)).await.unwrap();
        let (Some(Outcome::Chosen { log_masses: a, .. }), Some(Outcome::Chosen { log_masses: b, .. })) =
            (branch.outcomes.last(), alone.transcript.outcomes.last())
        else {
            panic!("{branch:?}")
        };
        assert!(a.iter().zip(b).all(|(a, b)| (a.exp() - b.exp()).abs() < 0.02), "{a:?} {b:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn little_room_loses_nothing() {
    let sizes = Settings { kv_tokens: 1024, sequences: 2, prefix_tokens: 200, ..settings() };
    let engine = engine(sizes);
    let runs = texts().into_iter().map(|text| run(&*engine, with_feedback(&text, 60)));
    for completion in futures::future::join_all(runs).await {
        distribution(&completion.unwrap());
    }
    idle(&*engine).await;
    assert_eq!((engine.load().waiting, engine.load().restarts), (0, 0));
}

#[test]
fn what_can_never_fit_is_refused_with_its_counts() {
    let engine = engine(settings());
    let error = engine.compile(score_only(&"word ".repeat(9000))).err().unwrap();
    let EngineError::ContextOverflow { prompt_tokens, context, .. } = error else { panic!("{error}") };
    assert!(prompt_tokens > 9000 && context == 8192, "{prompt_tokens} {context}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_caller_that_goes_away_stops_the_work() {
    let engine = engine(settings());
    let long = Job { script: with_feedback("", 4000).script, ..with_feedback("Write a long story.", 4000) };
    let steps =
        vec![Step::Generate(Generate { stop: vec![], max_tokens: 4000, min_tokens: 4000, ..Generate::default() })];
    let run_on = engine.start(engine.compile(Job { script: Script(steps), ..long }).unwrap());
    let (sender, mut written) = tokio::sync::mpsc::unbounded_channel();
    let task = tokio::spawn(run_on.finish(move |_| sender.send(()).unwrap_or(())));
    written.recv().await.unwrap();
    task.abort();
    idle(&*engine).await;
    run(&*engine, score_only("Next.")).await.unwrap();
}
