//! What the parts of the service cost: rendering, tokenising, scheduling over shared prefixes, a whole request.
//!
//!     cargo bench --no-default-features --bench parts
//!
//! With the feature `llama-cpp` and the test model pulled, the real vocabulary is measured as well.
#![allow(clippy::unwrap_used, reason = "a bench fails by panicking")]

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use actix_web::{App as Actix, test, web};
use divan::Bencher;
use divan::counter::{BytesCount, ItemsCount};
use gavel::app::App;
use gavel::config::Config;
use gavel::domain::{Instruction, Item, Mode, Rubric};
use gavel::engine::scheduler::{Backend, Limits, Row, Scheduler, Slot};
use gavel::engine::scripted::Scripted;
use gavel::engine::{Compiled, Engine, Job, Run};
use gavel::prompts::{PromptLibrary, Renderer, Subject};
use gavel::script::{Action, Generate, Look, Prompt, SamplerSettings, Script, Segment, Step, Token, Vocabulary};
use serde_json::json;

fn main() {
    divan::main();
}

const TEXT: &str = "Sunlight holds every colour. Air scatters short waves most, and blue waves are short, so from every \
    side of the sky blue light reaches us; in the evening its way through the air is long, and red is what is left. ";

fn item() -> Item {
    Item {
        instruction: Instruction::Text("Explain why the sky is blue to a child.".into()),
        reference_answer: Some(TEXT.repeat(2)),
        context: Vec::new(),
        annotator: None,
    }
}

fn rubric() -> Rubric {
    let levels = (1..=5).map(|score| (score.to_string(), format!("It deserves {score}: {}", &TEXT[..80])));
    Rubric::new("Is it right, and would a child understand it?", &levels.collect::<BTreeMap<_, _>>()).unwrap()
}

/// A prompt from its templates, as the first request of a shape makes it, and from a layout, as all others do.
#[divan::bench(args = [("plain", false), ("plain", true), ("prometheus", false), ("prometheus", true)])]
fn render(bencher: Bencher<'_, '_>, (set, kept): (&str, bool)) {
    let (library, engine) = (PromptLibrary::load(None).unwrap(), Scripted::fixed(Duration::ZERO));
    let (set, chat) = (library.get(set).unwrap(), engine.chat_format());
    let (renderer, item, rubric, response) = (Renderer::new(chat.clone()), item(), rubric(), TEXT.repeat(4));
    let subject = Subject::Absolute { item: &item, response: response.as_str().into(), rubric: &rubric };
    let render = || match kept {
        true => renderer.render(set, &subject, Mode::Feedback),
        false => set.render(&subject, Mode::Feedback, chat),
    };
    bencher.counter(BytesCount::of_str(&render().unwrap().prompt.text())).bench(render);
}

/// A vocabulary of bytes: what encoding costs around a tokenizer.
struct Bytes;

impl Vocabulary for Bytes {
    fn size(&self) -> usize {
        257
    }

    fn tokenize(&self, text: &str) -> Vec<Token> {
        text.bytes().map(Token::from).collect()
    }

    fn control(&self, text: &str) -> Option<Token> {
        (text == "<|im_end|>").then_some(256)
    }

    fn piece(&self, token: Token) -> Vec<u8> {
        u8::try_from(token).into_iter().collect()
    }

    fn longest_piece(&self) -> usize {
        1
    }

    fn ends_turn(&self, token: Token) -> bool {
        token == 256
    }

    fn adds_space(&self) -> bool {
        false
    }

    fn begin(&self) -> Option<Token> {
        None
    }
}

fn prompt(text: &str) -> Prompt {
    Prompt(vec![Segment::Text(text.to_owned()), Segment::Control("<|im_end|>".into()), Segment::Text("\n".into())])
}

fn tokenise(bencher: Bencher<'_, '_>, vocabulary: &dyn Vocabulary) {
    let text = TEXT.repeat(16);
    let prompt = prompt(&text);
    bencher.counter(BytesCount::of_str(&text)).bench(|| prompt.encode(vocabulary));
}

#[divan::bench]
fn tokenise_bytes(bencher: Bencher<'_, '_>) {
    tokenise(bencher, &Bytes);
}

#[cfg(feature = "llama-cpp")]
#[divan::bench]
fn tokenise_demo_model(bencher: Bencher<'_, '_>) {
    let config = Config::load(None, &[]).unwrap();
    let store = gavel::app::model_store(&config).unwrap();
    match store.path("smollm2-135m") {
        Ok(path) => tokenise(bencher, &*gavel::engine::llama_cpp::load_vocabulary(&path).unwrap()),
        Err(_) => eprintln!("left out: `gavel models pull smollm2-135m` brings the vocabulary"),
    }
}

/// A vocabulary of words with the space before them, and bytes: the longest is taken. It tokenises some megabytes a second,
/// as real ones do.
struct Words(HashMap<&'static str, Token>);

impl Words {
    fn new() -> Self {
        let words = TEXT.split_inclusive([' ', ',', ';', '.']).map(|word| word.trim_end_matches(' '));
        Self(words.zip(256..).collect())
    }
}

impl Vocabulary for Words {
    fn size(&self) -> usize {
        512
    }

    fn tokenize(&self, text: &str) -> Vec<Token> {
        let (mut ids, mut at) = (Vec::new(), 0);
        while at < text.len() {
            let longest = (2..=self.longest_piece()).rev().find_map(|len| {
                let piece = text.get(at..at + len)?;
                Some((*self.0.get(piece)?, len))
            });
            let (id, len) = longest.unwrap_or((Token::from(text.as_bytes()[at]), 1));
            ids.push(id);
            at += len;
        }
        ids
    }

    fn control(&self, _text: &str) -> Option<Token> {
        None
    }

    fn piece(&self, token: Token) -> Vec<u8> {
        let word = self.0.iter().find(|(_, id)| **id == token).map(|(word, _)| word.as_bytes().to_vec());
        word.unwrap_or_else(|| u8::try_from(token).into_iter().collect())
    }

    fn longest_piece(&self) -> usize {
        16
    }

    fn ends_turn(&self, _token: Token) -> bool {
        false
    }

    fn adds_space(&self) -> bool {
        false
    }

    fn begin(&self) -> Option<Token> {
        None
    }
}

/// A prompt of 1,500 tokens without control tokens, as Mistral's template has it, and a judgement of it.
fn plain_judgement(vocabulary: &Words, feedback: bool) -> Compiled {
    let generate = Generate { max_tokens: 200, ..Generate::default() };
    let options = (1..=5).map(|score| format!(" {score}")).collect();
    let mut steps = vec![Step::Say("\n[RESULT]".into()), Step::Choose(options)];
    if feedback {
        steps.insert(0, Step::Generate(generate));
    }
    let text = format!("[INST] {}\n###Feedback: [/INST]", TEXT.repeat(19));
    let prompt = Prompt(vec![Segment::Text(text)]);
    let encoded = prompt.encode(vocabulary);
    let sampling = SamplerSettings { temperature: 0.0, top_p: 1.0, top_k: 0, min_p: 0.0, seed: 0 };
    let job = Job { prompt, script: Script(steps), sampling, deterministic: false };
    Compiled::new(job, encoded, vocabulary).unwrap()
}

/// What such a judgement takes of the thread that feeds the model, apart from the model.
#[divan::bench(args = ["score", "feedback"])]
fn machine(bencher: Bencher<'_, '_>, mode: &str) {
    let vocabulary = Arc::new(Words::new());
    let compiled = plain_judgement(&vocabulary, mode == "feedback");
    let space = vocabulary.tokenize(" blue")[0] as usize;
    let logits: Vec<f32> = (0..vocabulary.size()).map(|id| if id == space { 9.0 } else { 0.0 }).collect();
    bencher.with_inputs(|| compiled.clone().machine(Arc::clone(&vocabulary) as _)).bench_local_values(|mut machine| {
        let mut action = machine.start();
        while let Action::Feed = action {
            action = machine.on_logits(&logits);
        }
        assert!(matches!(action, Action::Done(_)));
    });
}

/// What is done before, on the caller's thread.
#[divan::bench(args = ["score", "feedback"])]
fn compile(bencher: Bencher<'_, '_>, mode: &str) {
    let vocabulary = Words::new();
    bencher.bench(|| plain_judgement(&vocabulary, mode == "feedback"));
}

/// The same prompt tokenised once: what each option, and each step after feedback, would cost without windows.
#[divan::bench]
fn tokenise_plain_prompt(bencher: Bencher<'_, '_>) {
    let vocabulary = Words::new();
    let text = plain_judgement(&vocabulary, false).job.prompt.text();
    assert!((1_400..1_600).contains(&vocabulary.tokenize(&text).len()), "{}", vocabulary.tokenize(&text).len());
    bencher.counter(BytesCount::of_str(&text)).bench(|| vocabulary.tokenize(&text));
}

/// A model that does nothing: what is left is the scheduler.
struct Nothing(Vec<f32>);

impl Backend for Nothing {
    type Saved = ();

    fn decode(&mut self, _: &[Row]) -> Result<(), String> {
        Ok(())
    }

    fn logits(&self, _: usize) -> &[f32] {
        &self.0
    }

    fn save(&mut self, _: Slot) -> Result<(), String> {
        Ok(())
    }

    fn restore(&mut self, (): &(), _: Slot, _: usize) -> Result<(), String> {
        Ok(())
    }

    fn truncate(&mut self, _: Slot, _: usize) -> Result<(), String> {
        Ok(())
    }

    fn see(&mut self, _: &Look, _: usize, _: Slot) -> Result<(), String> {
        Ok(())
    }

    fn wipe(&mut self) {}
}

/// A reward run of groups of eight on a scheduler with that many tokens of cached prefixes: finding what prompts share, and
/// everything else that the scheduler does for a job.
#[divan::bench(args = [0, 4_096, 65_536])]
fn schedule(bencher: Bencher<'_, '_>, prefix_tokens: usize) {
    const JOBS: usize = 128;
    let options: Vec<String> = (1..=5).map(|score| format!(" {score}")).collect();
    let script = Script(vec![Step::Say("[RESULT]".into()), Step::Choose(options)]);
    let sampling = SamplerSettings { temperature: 0.0, top_p: 1.0, top_k: 0, min_p: 0.0, seed: 0 };
    let jobs: Vec<Compiled> = (0..JOBS)
        .map(|job| {
            let prompt = prompt(&format!("{}{}{} {job}", &TEXT[..80], job / 8, TEXT.repeat(3)));
            let encoded = prompt.encode(&Bytes);
            let job = Job { prompt, script: script.clone(), sampling, deterministic: false };
            Compiled::new(job, encoded, &Bytes).unwrap()
        })
        .collect();
    let limits = Limits { sequences: 8, context: 4096, prefix_tokens, step: 256, copies: 64 };
    bencher.counter(ItemsCount::new(JOBS)).with_inputs(|| jobs.clone()).bench_values(|jobs| {
        let mut scheduler = Scheduler::new(Nothing(vec![0.0; 257]), Arc::new(Bytes), limits);
        let runs: Vec<Run> = jobs
            .into_iter()
            .map(|job| {
                let (events, run) = Run::channel();
                scheduler.submit(job, events);
                run
            })
            .collect();
        while !scheduler.idle() {
            scheduler.step().unwrap();
        }
        runs
    });
}

/// A request through the handlers, in one process, every one another: all but the network.
#[divan::bench(args = ["score", "feedback"])]
fn request(bencher: Bencher<'_, '_>, mode: &str) {
    let folder = tempfile::tempdir().unwrap();
    let folder = |name: &str| folder.path().join(name).display().to_string();
    let config = Config::load(None, &[("data_dir", folder("data")), ("cache_dir", folder("cache"))]).unwrap();
    let app = App::build(config).unwrap();
    app.host(Arc::new(Scripted::fixed(Duration::ZERO)), None).unwrap();
    let runtime = actix_web::rt::System::new();
    let service = runtime.block_on(test::init_service(
        Actix::new()
            .app_data(web::Data::from(app))
            .app_data(web::PayloadConfig::new(usize::MAX))
            .configure(gavel::api::routes),
    ));
    let number = AtomicU64::new(0);
    let body = || {
        let number = number.fetch_add(1, Ordering::Relaxed);
        let response = format!("{number}: {TEXT}");
        let body = json!({"instruction": "Why?", "response": response, "rubric": "helpfulness", "mode": mode});
        test::TestRequest::post().uri("/v1/grade/absolute").set_payload(body.to_string()).to_request()
    };
    bencher.counter(ItemsCount::new(1usize)).with_inputs(body).bench_local_values(|request| {
        runtime.block_on(async {
            let response = test::call_service(&service, request).await;
            assert!(response.status().is_success());
            test::read_body(response).await
        })
    });
}
