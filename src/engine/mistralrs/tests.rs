//! What of the engine has no door to the outside: deaths, prompts that are forced in part, failures.

use std::sync::Arc;

use mistralrs::{MistralRs, Request, Response, Tensor};
use tokio::sync::mpsc::{UnboundedSender, channel, unbounded_channel};

use super::force::Lent;
use super::load;
use super::request::{Known, Reading, send};
use super::row::{Outcome, Row};
use super::worker::{Submission, Worker, gather};
use super::{ModelVocabulary, Settings};
use crate::engine::length_buckets::Limits;
use crate::engine::shared::Shared;
use crate::engine::{Compiled, Completion, EngineError, Job, Run};
use crate::script::toy::{self, Toy};
use crate::script::{self, Prompt, SamplerSettings, Script, Segment, Step, Vocabulary};

const ALONE: Limits = Limits { sequences: 1, spread: 0, tokens: 4096 };

/// The test model, which must have been pulled before.
async fn runner() -> (Arc<MistralRs>, Arc<ModelVocabulary>) {
    let config = crate::config::Config::load(None, &[("offline", "true".into())]).unwrap();
    let path = crate::app::model_store(&config).unwrap().path("smollm2-135m").unwrap();
    let settings = Settings { sequences: 1, spread: 0, kv_tokens: 4096, isq: String::new() };
    let loaded = load::load(&path, &settings).await.unwrap();
    (loaded.runner, Arc::new(ModelVocabulary::load(&path).unwrap()))
}

fn known(vocabulary: &ModelVocabulary) -> Known {
    Known { ends: vocabulary.ends_of_requests(), context: 4096, vocabulary: vocabulary.size() }
}

/// A turn of a chat, and a choice after it.
fn row(vocabulary: Arc<dyn Vocabulary>, control: [&str; 2]) -> (Row, Run) {
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
    (Row::new(vocabulary, compiled, events), run)
}

fn chat(vocabulary: &Arc<ModelVocabulary>) -> (Row, Run) {
    row(Arc::clone(vocabulary) as _, ["<|im_start|>", "<|im_end|>"])
}

async fn choose(
    inbox: &UnboundedSender<Submission>,
    vocabulary: &Arc<ModelVocabulary>,
) -> Result<Completion, EngineError> {
    let (row, run) = chat(vocabulary);
    inbox.send(Submission::Row(Box::new(row))).unwrap();
    run.finish(|_| ()).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_death_is_noticed_counted_and_repaired() {
    let (runner, vocabulary) = runner().await;
    let shared = Arc::new(Shared::default());
    let worker = Worker::new(Arc::clone(&runner), known(&vocabulary), ALONE, Arc::clone(&shared));
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

/// In a wave a prompt is read in part and forced from there; what is forced may be what ends a turn.
#[tokio::test(flavor = "multi_thread")]
async fn a_prompt_may_be_forced_in_part() {
    let (runner, vocabulary) = runner().await;
    let engine = runner.get_sender(None).unwrap();
    let mut found = Vec::new();
    for read in [usize::MAX, 3] {
        let (row, run) = chat(&vocabulary);
        let cut = row.ids().len().min(read);
        let lent = send(&engine, vec![row], Reading { cut, together: false }, &known(&vocabulary));
        lent[0].over().await;
        let settled = lent[0].take().unwrap().settle();
        assert!(matches!(settled, Outcome::Over), "read up to {cut}");
        found.push(masses(&run.finish(|_| ()).await.unwrap()));
    }
    assert!(found[0].iter().zip(&found[1]).all(|(a, b)| (a - b).abs() < 0.01), "{found:?}");
}

/// On a GPU mistral.rs goes on with a sequence that it failed at, over keys and values that were never computed.
#[test]
fn no_logits_are_taken_after_a_failure() {
    let (row, _run) = row(Arc::new(Toy), ["<user>", "<end>"]);
    let ids: Vec<u32> = row.ids().iter().map(|id| id.cast_unsigned()).collect();
    let (says, responses) = channel(8);
    let lent = Lent::new(row, responses);
    let logits = Tensor::zeros(toy::SIZE, mistralrs::DType::F32, &mistralrs::Device::Cpu).unwrap();
    for _ in 0..2 {
        says.try_send(Response::InternalError("no memory".into())).unwrap();
        assert_eq!(lent.next(&logits, &ids), None);
    }
    assert!(!says.is_closed());
    says.try_send(Response::InternalError("no memory".into())).unwrap();
    assert_eq!(lent.next(&logits, &ids), None);
    assert!(says.is_closed(), "who fails at every step is not listened to for ever");
    let mut row = lent.take().unwrap();
    assert!(matches!(row.settle(), Outcome::Failed(reason) if reason == "no memory"));
    assert_eq!(lent.next(&logits, &ids), None, "a row that was taken back is not there any more");
}

#[test]
fn logits_that_are_no_numbers_are_a_failure() {
    let (row, _run) = row(Arc::new(Toy), ["<user>", "<end>"]);
    let ids: Vec<u32> = row.ids().iter().map(|id| id.cast_unsigned()).collect();
    let (_says, responses) = channel(8);
    let lent = Lent::new(row, responses);
    let logits = Tensor::from_vec(vec![f32::NAN; toy::SIZE], toy::SIZE, &mistralrs::Device::Cpu).unwrap();
    assert_eq!(lent.next(&logits, &ids), None);
    assert!(matches!(lent.take().unwrap().settle(), Outcome::Failed(_)));
}

#[tokio::test]
async fn a_wave_is_gathered() {
    let (inbox, mut submissions) = unbounded_channel();
    for sequences in 1..=3 {
        assert!(inbox.send(Submission::Limit(sequences)).is_ok());
    }
    assert_eq!(gather(&mut submissions, 0).await.len(), 0, "nobody is missing");
    assert_eq!(gather(&mut submissions, 2).await.len(), 2);
    assert_eq!(gather(&mut submissions, 2).await.len(), 1, "nobody else comes");
    drop(inbox);
    assert_eq!(gather(&mut submissions, 2).await.len(), 0);
}
