//! Tests of engine internals: deaths, partly forced prompts, failures.

use std::sync::Arc;

use mistralrs::{MistralRs, Request, Response, Tensor};
use tokio::sync::mpsc::{UnboundedSender, channel, unbounded_channel};

use super::Settings;
use super::force::SharedRun;
use super::load;
use super::request::{ModelLimits, WavePrefill, send};
use super::row::{RequestOutcome, ScriptRun};
use super::worker::{Submission, Worker, gather};
use crate::engine::length_buckets::Limits;
use crate::engine::shared::Shared;
use crate::engine::vocabulary::ModelVocabulary;
use crate::engine::{Compiled, Completion, EngineError, Job, Run};
use crate::script::toy::{self, Toy};
use crate::script::{self, Prompt, SamplerSettings, Script, Segment, Step, Vocabulary};

const ALONE: Limits = Limits { sequences: 1, max_length_gap: 0, tokens: 4096 };

/// The test model, which must have been pulled before.
async fn runner() -> (Arc<MistralRs>, Arc<ModelVocabulary>) {
    let config = crate::config::Config::load(None, &[("offline", "true".into())]).unwrap();
    let path = crate::app::model_store(&config).unwrap().path("smollm2-135m").unwrap();
    let settings = Settings { sequences: 1, spread: 0, kv_tokens: 4096, isq: String::new() };
    let loaded = load::load(&path, &settings).await.unwrap();
    (loaded.runner, Arc::new(ModelVocabulary::load(&path).unwrap()))
}

fn model_limits(vocabulary: &ModelVocabulary) -> ModelLimits {
    ModelLimits { ends: vocabulary.control_tokens(), context: 4096, vocabulary: vocabulary.size() }
}

/// A turn of a chat, and a choice after it.
fn script_run(vocabulary: Arc<dyn Vocabulary>, control: [&str; 2]) -> (ScriptRun, Run) {
    let [begin, end] = control.map(|control| Segment::Control(control.to_owned()));
    let text = |text: &str| Segment::Text(text.to_owned());
    let prompt =
        Prompt(vec![begin.clone(), text("user\nOne or two?"), end, text("\n"), begin, text("assistant\nI say")]);
    let script = Script(vec![Step::Choose([" A", " B"].map(str::to_owned).to_vec())]);
    let sampling = SamplerSettings { temperature: 0.0, top_p: 1.0, top_k: 0, min_p: 0.0, seed: 0 };
    let encoded = prompt.encode(&*vocabulary);
    let job = Job { prompt, script, sampling, deterministic: false };
    let (events, run) = Run::channel();
    let compiled = Compiled::new(job, encoded, &*vocabulary).unwrap();
    (ScriptRun::new(vocabulary, compiled, events), run)
}

fn chat(vocabulary: &Arc<ModelVocabulary>) -> (ScriptRun, Run) {
    script_run(Arc::clone(vocabulary) as _, ["<|im_start|>", "<|im_end|>"])
}

async fn choose(
    inbox: &UnboundedSender<Submission>,
    vocabulary: &Arc<ModelVocabulary>,
) -> Result<Completion, EngineError> {
    let (script_run, run) = chat(vocabulary);
    inbox.send(Submission::Run(Box::new(script_run))).unwrap();
    run.finish(|_| ()).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_death_is_noticed_counted_and_repaired() {
    let (runner, vocabulary) = runner().await;
    let shared = Arc::new(Shared::default());
    let worker = Worker::new(Arc::clone(&runner), model_limits(&vocabulary), ALONE, Arc::clone(&shared));
    let (inbox, submissions) = unbounded_channel();
    let worker = tokio::spawn(worker.run(submissions));
    let before = choose(&inbox, &vocabulary).await.unwrap();
    let engine = runner.get_sender(None).unwrap();
    engine.send(Request::Terminate).await.unwrap();
    engine.closed().await;
    let after = choose(&inbox, &vocabulary).await.unwrap();
    assert_eq!(after.transcript, before.transcript);
    drop(inbox);
    worker.await.unwrap();
    assert_eq!(shared.load().restarts, 1);
}

fn masses(completion: &Completion) -> Vec<f64> {
    let Some(script::Outcome::Chosen { log_masses, .. }) = completion.transcript.outcomes.last() else { panic!() };
    log_masses.iter().map(|mass| mass.exp()).collect()
}

/// In a wave, a part of a prompt is prefilled and the rest is forced, which may include an end-of-turn token.
#[tokio::test(flavor = "multi_thread")]
async fn a_prompt_may_be_forced_in_part() {
    let (runner, vocabulary) = runner().await;
    let engine = runner.get_sender(None).unwrap();
    let mut found = Vec::new();
    for read in [usize::MAX, 3] {
        let (script_run, run) = chat(&vocabulary);
        let cut = script_run.ids().len().min(read);
        let sent = send(&engine, vec![script_run], WavePrefill { cut, together: false }, &model_limits(&vocabulary));
        sent[0].finished().await;
        let settled = sent[0].take().unwrap().settle();
        assert!(matches!(settled, RequestOutcome::Done), "prefilled up to {cut}");
        found.push(masses(&run.finish(|_| ()).await.unwrap()));
    }
    assert!(found[0].iter().zip(&found[1]).all(|(a, b)| (a - b).abs() < 0.01), "{found:?}");
}

/// On a GPU, mistral.rs continues a failed sequence, with keys and values that were never computed.
#[test]
fn no_logits_are_taken_after_a_failure() {
    let (script_run, _run) = script_run(Arc::new(Toy), ["<user>", "<end>"]);
    let ids: Vec<u32> = script_run.ids().iter().map(|id| id.cast_unsigned()).collect();
    let (says, responses) = channel(8);
    let shared = SharedRun::new(script_run, responses);
    let logits = Tensor::zeros(toy::SIZE, mistralrs::DType::F32, &mistralrs::Device::Cpu).unwrap();
    for _ in 0..2 {
        says.try_send(Response::InternalError("no memory".into())).unwrap();
        assert_eq!(shared.next(&logits, &ids), None);
    }
    assert!(!says.is_closed());
    says.try_send(Response::InternalError("no memory".into())).unwrap();
    assert_eq!(shared.next(&logits, &ids), None);
    assert!(says.is_closed(), "repeated failures end the request");
    let mut script_run = shared.take().unwrap();
    assert!(matches!(script_run.settle(), RequestOutcome::Failed(reason) if reason == "no memory"));
    assert_eq!(shared.next(&logits, &ids), None, "a run that was taken back is gone");
}

#[test]
fn logits_that_are_no_numbers_are_a_failure() {
    let (script_run, _run) = script_run(Arc::new(Toy), ["<user>", "<end>"]);
    let ids: Vec<u32> = script_run.ids().iter().map(|id| id.cast_unsigned()).collect();
    let (_says, responses) = channel(8);
    let shared = SharedRun::new(script_run, responses);
    let logits = Tensor::from_vec(vec![f32::NAN; toy::SIZE], toy::SIZE, &mistralrs::Device::Cpu).unwrap();
    assert_eq!(shared.next(&logits, &ids), None);
    assert!(matches!(shared.take().unwrap().settle(), RequestOutcome::Failed(_)));
}

#[tokio::test]
async fn a_wave_is_gathered() {
    let (inbox, mut submissions) = unbounded_channel();
    for sequences in 1..=3 {
        assert!(inbox.send(Submission::Limit(sequences)).is_ok());
    }
    assert_eq!(gather(&mut submissions, 0).await.len(), 0, "nothing is missing");
    assert_eq!(gather(&mut submissions, 2).await.len(), 2);
    assert_eq!(gather(&mut submissions, 2).await.len(), 1, "nothing else arrives");
    drop(inbox);
    assert_eq!(gather(&mut submissions, 2).await.len(), 0);
}
