//! What is written under a grammar fits it, and what comes after it is as ever.

use gavel::domain::Finish;
use gavel::engine::{Engine, Job};
use gavel::script::{Generate, Grammar, Outcome, Prompt, SamplerSettings, Script, Segment, Step, Transcript};
use serde_json::{Value, json};

use super::engine;

fn verdict_schema() -> Value {
    json!({
        "type": "object",
        "properties": {
            "reason": {"type": "string", "maxLength": 20},
            "score": {"type": "integer", "minimum": 1, "maximum": 5},
            "flags": {"type": "array", "items": {"enum": ["short", "wrong"]}, "maxItems": 2},
        },
        "required": ["reason", "score", "flags"],
        "additionalProperties": false,
    })
}

fn guided() -> Step {
    let grammar = Some(Grammar::schema(&verdict_schema()).unwrap());
    Step::Generate(Generate { max_tokens: 80, grammar, ..Generate::default() })
}

fn free() -> Step {
    Step::Generate(Generate { stop: vec!["[RESULT]".into()], max_tokens: 12, min_tokens: 2, ..Generate::default() })
}

fn choose(lead: &str, options: &[&str]) -> [Step; 2] {
    [Step::Say(lead.to_owned()), Step::Choose(options.iter().map(|option| (*option).to_owned()).collect())]
}

async fn run(engine: &dyn Engine, steps: Vec<Step>, temperature: f32, seed: u64) -> (Transcript, String) {
    let text = |text: &str| Segment::Text(text.to_owned());
    let control = |text: &str| Segment::Control(text.to_owned());
    let prompt = Prompt(vec![
        control("<|im_start|>"),
        text("user\nIs an owl a bird? Answer as JSON."),
        control("<|im_end|>"),
        text("\n"),
        control("<|im_start|>"),
        text("assistant\n"),
    ]);
    let sampling = SamplerSettings { temperature, top_p: 1.0, top_k: 0, min_p: 0.0, seed };
    let job = Job { prompt, script: Script(steps), sampling, deterministic: false };
    let mut shown = String::new();
    let run = engine.start(engine.compile(job).unwrap());
    let completion = run.finish(|delta| shown.push_str(&delta)).await.unwrap();
    (completion.transcript, shown)
}

fn check(outcome: &Outcome) -> String {
    let Outcome::Generated { text, finish } = outcome else { panic!("{outcome:?}") };
    assert_eq!(*finish, Finish::Stop, "{text}");
    let value: Value = serde_json::from_str(text).unwrap_or_else(|error| panic!("{error}: {text}"));
    assert!((1..=5).contains(&value["score"].as_i64().unwrap()), "{text}");
    assert!(value["reason"].as_str().unwrap().chars().count() <= 20, "{text}");
    assert_eq!(value.as_object().unwrap().len(), 3, "{text}");
    text.clone()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_written_fits_the_schema() {
    let engine = engine().await;
    for (temperature, seed) in [(0.0, 0), (1.0, 1), (1.0, 2)] {
        let (transcript, shown) = run(&engine, vec![guided()], temperature, seed).await;
        assert_eq!(check(&transcript.outcomes[0]), shown);
    }
}

fn masses(outcome: &Outcome) -> Vec<f64> {
    let Outcome::Chosen { log_masses, .. } = outcome else { panic!("{outcome:?}") };
    log_masses.iter().map(|mass| mass.exp()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn judging_goes_on_after_it() {
    let engine = engine().await;
    let scores = [" 1", " 2", " 3", " 4", " 5"];
    let judge = || [free()].into_iter().chain(choose(" [RESULT]", &scores)).collect::<Vec<_>>();
    let (before, _) = run(&engine, judge(), 0.0, 0).await;
    // In one script: JSON, a feedback with its score, and two questions that are blind to each other.
    let question = |lead: &str| Script(choose(lead, &[" yes", " no"]).to_vec());
    let branch = Step::Branch(vec![question("\nClear:"), question("\nShort:")]);
    let steps = [guided()].into_iter().chain(judge()).chain([branch]).collect();
    let (whole, _) = run(&engine, steps, 0.0, 0).await;
    let json = check(&whole.outcomes[0]);
    assert!(whole.answer.starts_with(&json), "{whole:?}");
    assert!(masses(&whole.outcomes[3]).iter().sum::<f64>() <= 1.0 + 1e-9);
    let Outcome::Branched(branches) = &whole.outcomes[4] else { panic!("{whole:?}") };
    for (branch, lead) in branches.iter().zip(["\nClear:", "\nShort:"]) {
        // As a script that says all that stood before.
        let steps = [Step::Say(whole.answer.clone())].into_iter().chain(choose(lead, &[" yes", " no"])).collect();
        let (alone, _) = run(&engine, steps, 0.0, 0).await;
        let (found, expected) = (masses(&branch.outcomes[1]), masses(&alone.outcomes[2]));
        assert!(found.iter().zip(&expected).all(|(a, b)| (a - b).abs() < 0.02), "{lead}: {found:?}, {expected:?}");
    }
    // The same engine judges as it did.
    let (after, _) = run(&engine, judge(), 0.0, 0).await;
    assert_eq!(after, before);
}
