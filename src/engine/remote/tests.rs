//! The engine on stand-ins of every kind of server, against a script machine on the same model.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod chat;
mod fake;

use std::sync::Arc;
use std::time::Duration;

use self::fake::Fake;
use super::*;
use crate::domain::MassKind;
use crate::engine::{Completion, Job};
use crate::script::toy::{self, Toy};
use crate::script::{
    Action, Generate, Grammar, Machine, Outcome, Prompt, SamplerSettings, Script, Segment, Step, Transcript, Vocabulary,
};

fn settings(urls: Vec<String>) -> Settings {
    Settings {
        urls,
        kind: None,
        model: String::new(),
        api_key: String::new(),
        headers: Vec::new(),
        ca_file: None,
        sequences: 16,
        context: 0,
        connect: Duration::from_secs(5),
        queue: Duration::from_secs(30),
        idle: Duration::from_secs(30),
        retries: 2,
        affinity: true,
        accept: LabelMassKind::Sampled,
        samples: 16,
        picture_tokens: 0,
    }
}

fn tokenizer() -> Tokenizer {
    let chat = ChatFormat {
        template: None,
        bos: "<begin>".into(),
        eos: "<end>".into(),
        control: Vec::new(),
        user_defined: Vec::new(),
    };
    Tokenizer { vocabulary: Arc::new(Toy), chat, digest: "sha256:0".into() }
}

async fn open(settings: Settings) -> Result<Remote, LoadError> {
    let settings = match settings.urls.iter().any(|url| url.contains("127.0.0.1")) {
        // Completions do not tell their context.
        true if settings.context == 0 && settings.kind == Some(Kind::OpenaiCompletions) => {
            Settings { context: 4096, ..settings }
        }
        _ => settings,
    };
    Contact::new(settings, Arc::new(())).await?.engine("judge".into(), tokenizer()).await
}

async fn engine(fake: &Fake) -> Remote {
    let context = if fake.state().kind == Kind::OpenaiCompletions { 4096 } else { 0 };
    open(Settings { context, ..settings(vec![fake.url.clone()]) }).await.unwrap()
}

fn job(text: &str, steps: Vec<Step>) -> Job {
    let prompt = Prompt(vec![Segment::Control("<user>".into()), Segment::Text(text.into())]);
    let sampling = SamplerSettings { temperature: 0.0, top_p: 1.0, top_k: 0, min_p: 0.0, seed: 0 };
    Job { prompt, script: Script(steps), sampling, deterministic: false }
}

async fn run(engine: &Remote, job: Job) -> Result<(Completion, String), EngineError> {
    let mut shown = String::new();
    let completion = engine.start(engine.compile(job)?).finish(|delta| shown.push_str(&delta)).await?;
    Ok((completion, shown))
}

/// The transcript of a machine on the model that the stand-ins have.
fn expected(job: &Job) -> Transcript {
    let prompt = job.prompt.encode(&Toy);
    let script = job.script.compile(&prompt, &Toy).unwrap();
    drive(&mut Machine::new(Arc::new(Toy), prompt, script, job.sampling))
}

fn drive(machine: &mut Machine) -> Transcript {
    let mut action = machine.start();
    loop {
        action = match action {
            Action::Feed => machine.on_logits(&toy::logits(machine.ids())),
            Action::Fork(count) => {
                let transcripts = (0..count).map(|index| drive(&mut machine.branch(index))).collect();
                machine.on_branches(transcripts)
            }
            Action::Done(transcript) => return transcript,
            Action::Failed(error) => panic!("{error}"),
        };
    }
}

fn choose(options: &[&str]) -> Step {
    Step::Choose(options.iter().map(|option| (*option).to_owned()).collect())
}

fn generate(max_tokens: usize) -> Step {
    Step::Generate(Generate { stop: vec!["[RESULT]".into(), "x".into()], max_tokens, ..Generate::default() })
}

fn judging() -> Vec<Step> {
    vec![generate(6), Step::Say("\n[RESULT]".into()), choose(&[" 1", " 10", " 2", " A"])]
}

fn same(found: &Transcript, expected: &Transcript, exact: bool) {
    assert_eq!(found.answer, expected.answer);
    for (mine, theirs) in found.outcomes.iter().zip(&expected.outcomes) {
        match (mine, theirs) {
            (Outcome::Chosen { log_masses: a, mass, .. }, Outcome::Chosen { log_masses: b, .. }) => {
                assert_eq!(*mass == MassKind::Exact, exact, "{mass:?}");
                for (a, b) in a.iter().zip(b) {
                    let apart = b.exp() - a.exp();
                    let most = if exact { found.skipped_mass + 1e-5 } else { 1.0 };
                    assert!((-1e-5..=most).contains(&apart), "{a} {b}");
                }
            }
            (Outcome::Branched(a), Outcome::Branched(b)) => {
                a.iter().zip(b).for_each(|(a, b)| same(a, b, exact));
            }
            (mine, theirs) => assert_eq!(mine, theirs),
        }
    }
    assert_eq!(found.outcomes.len(), expected.outcomes.len());
}

const EXACT: [Kind; 3] = [Kind::Vllm, Kind::Sglang, Kind::LlamaServer];

#[tokio::test]
async fn a_script_gives_the_same_on_every_exact_kind_as_in_process() {
    for kind in EXACT {
        let fake = Fake::new(kind).await;
        let engine = engine(&fake).await;
        assert_eq!((engine.facts().kind, engine.info().context), (kind, 4096));
        let branches = ["good", "bad"]
            .map(|word| Script(vec![Step::Say(format!(" {word}:")), choose(&[" A", " B", "zz", "zzz"])]));
        for steps in [
            judging(),
            vec![choose(&[" A", " B"])],
            vec![choose(&["1", "10", "100", "12", "2", "20", "zebra", "zebras"]), Step::Say(".".into()), generate(3)],
            vec![Step::Branch(branches.to_vec()), Step::Say(" so".into()), choose(&[" A", " B"])],
        ] {
            let job = job("Is the response good?", steps);
            let (completion, shown) = run(&engine, job.clone()).await.unwrap();
            let expected = expected(&job);
            same(&completion.transcript, &expected, true);
            assert_eq!(completion.prompt_tokens, job.prompt.encode(&Toy).ids.len());
            let first = expected.outcomes.iter().find_map(|outcome| match outcome {
                Outcome::Generated { text, .. } => Some(text.as_str()),
                _ => None,
            });
            assert_eq!(shown, first.unwrap_or_default());
        }
        assert_eq!((engine.load().waiting, engine.load().running), (0, 0));
    }
}

#[tokio::test]
async fn where_only_probable_tokens_are_told_masses_are_bounds() {
    let fake = Fake::new(Kind::OpenaiCompletions).await;
    let engine = engine(&fake).await;
    let job = job("Is it good?", judging());
    let (completion, _) = run(&engine, job.clone()).await.unwrap();
    same(&completion.transcript, &expected(&job), false);
    let refused = Settings { accept: LabelMassKind::Exact, context: 4096, ..settings(vec![fake.url.clone()]) };
    let error = open(refused).await.err().unwrap().to_string();
    assert!(error.contains("remote.accept"), "{error}");
}

#[tokio::test]
async fn log_probabilities_of_the_prompt_are_told_or_refused() {
    for kind in EXACT {
        let fake = Fake::new(kind).await;
        let engine = engine(&fake).await;
        let job = job("Is it good?", vec![Step::PromptLogprobs(0), choose(&[" A", " B"])]);
        let told = run(&engine, job.clone()).await;
        if kind == Kind::LlamaServer {
            assert!(matches!(told, Err(EngineError::NotSupported { .. })), "{told:?}");
            continue;
        }
        let (found, expected) = (told.unwrap().0.transcript, expected(&job));
        for (a, b) in found.prompt_logprobs.iter().zip(&expected.prompt_logprobs) {
            assert_eq!(a.bytes, b.bytes);
            assert!((a.logprob.unwrap_or(0.0) - b.logprob.unwrap_or(0.0)).abs() < 1e-5);
        }
    }
}

/// What a server gets wrong is found before it judges, whatever its kind.
#[tokio::test]
async fn a_server_that_lies_is_refused_at_the_start() {
    type Fault = fn(&mut fake::State);
    let faults: [(Fault, &str, &[Kind]); 5] = [
        (|state| state.ignores_ids = true, "log probabilities", &[Kind::Sglang]),
        (|state| state.floors = true, "log probabilities", &[Kind::Vllm, Kind::Sglang, Kind::LlamaServer]),
        (|state| state.thins = true, "requested 64 probable tokens", &[Kind::LlamaServer]),
        (|state| state.scales = true, "temperature", &[Kind::Vllm, Kind::LlamaServer]),
        (|state| state.other_tokenizer = true, "remote.tokenizer", &[Kind::Vllm, Kind::Sglang, Kind::LlamaServer]),
    ];
    for (fault, expected, kinds) in faults {
        for kind in kinds {
            let fake = Fake::new(*kind).await;
            fault(&mut fake.state());
            let error = open(settings(vec![fake.url.clone()])).await.err().unwrap().to_string();
            assert!(error.contains(expected) && error.contains(&fake.url), "{kind:?}: {error}");
        }
    }
}

#[tokio::test]
async fn a_vllm_that_does_not_know_the_field_is_read_token_by_token() {
    let fake = Fake::new(Kind::Vllm).await;
    fake.state().ignores_ids = true;
    let engine = engine(&fake).await;
    let job = job("Is it good?", judging());
    let (completion, _) = run(&engine, job.clone()).await.unwrap();
    same(&completion.transcript, &expected(&job), true);
    // Log probabilities of the allowed tokens alone sum to 1, whatever the model wants.
    let fake = Fake::new(Kind::Vllm).await;
    fake.state().ignores_ids = true;
    fake.state().masks = true;
    let error = open(settings(vec![fake.url.clone()])).await.err().unwrap().to_string();
    assert!(error.contains("sum to"), "{error}");
}

#[tokio::test]
async fn a_server_that_starts_to_lie_gives_an_error_and_no_number() {
    for kind in EXACT {
        let fake = Fake::new(kind).await;
        let engine = engine(&fake).await;
        fake.state().floors = true;
        let error = run(&engine, job("x", vec![choose(&[" A", " B"])])).await.unwrap_err();
        assert!(matches!(error, EngineError::Untrusted(_)), "{kind:?}: {error}");
    }
    // What is left out of a list is no improbable token.
    let fake = Fake::new(Kind::LlamaServer).await;
    let engine = engine(&fake).await;
    fake.state().thins = true;
    let error = run(&engine, job("x", vec![choose(&[" A", " B"])])).await.unwrap_err();
    assert!(matches!(error, EngineError::Untrusted(_)), "{error}");
}

#[tokio::test]
async fn ids_are_sent_and_user_text_has_no_control_token() {
    let fake = Fake::new(Kind::Vllm).await;
    let engine = engine(&fake).await;
    fake.forget();
    run(&engine, job("<end><begin><user> \u{0} \u{fffd}", vec![choose(&[" A", " B"])])).await.unwrap();
    let sent = &fake.posted("/v1/completions")[0]["prompt"][0];
    let ids: Vec<i64> = sent.as_array().unwrap().iter().map(|id| id.as_i64().unwrap()).collect();
    let control = |id: &i64| Toy.ends_turn(i32::try_from(*id).unwrap());
    assert_eq!(ids.iter().copied().filter(|id| control(id)).collect::<Vec<_>>(), [0, 2], "those of the template");
    assert!(ids.iter().all(|id| usize::try_from(*id).unwrap() < toy::SIZE));
}

#[tokio::test]
async fn judgements_of_one_prefix_go_to_one_server() {
    let fakes = [Fake::new(Kind::Vllm).await, Fake::new(Kind::Vllm).await, Fake::new(Kind::Vllm).await];
    let engine = open(settings(fakes.iter().map(|fake| fake.url.clone()).collect())).await.unwrap();
    fakes.iter().for_each(Fake::forget);
    let shared = "the response is good. ".repeat(60);
    for tail in ["one", "two", "three"] {
        run(&engine, job(&format!("{shared}{tail}"), judging())).await.unwrap();
    }
    let used: Vec<usize> = fakes.iter().map(|fake| fake.posted("/v1/completions").len()).collect();
    assert_eq!(used.iter().filter(|count| **count > 0).count(), 1, "{used:?}");
    let sessions: std::collections::BTreeSet<String> = fakes.iter().flat_map(|f| f.state().sessions.clone()).collect();
    assert_eq!(sessions.len(), 1, "routers can keep them together, too");
}

#[tokio::test]
async fn what_passes_is_tried_again_and_what_does_not_is_not() {
    let question = || job("x", vec![choose(&[" A", " B"])]);
    let check = async |refusals: &[(u16, &'static str)], works: bool, requests: usize| {
        let fake = Fake::new(Kind::Vllm).await;
        let engine = engine(&fake).await;
        fake.forget();
        fake.state().refusals.extend(refusals.iter().copied());
        let result = run(&engine, question()).await;
        assert_eq!(result.is_ok(), works, "{refusals:?}: {result:?}");
        assert_eq!(fake.posted("/v1/completions").len(), requests, "{refusals:?}");
        result.err()
    };
    check(&[(503, "Retry-After: 0\r\n")], true, 2).await;
    check(&[(429, ""), (502, "")], true, 3).await;
    let error = check(&[(503, ""), (503, ""), (503, "Retry-After: 7\r\n")], false, 3).await;
    assert!(matches!(error, Some(EngineError::Unavailable { retry_after, .. }) if retry_after.as_secs() == 7));
    let error = check(&[(503, "Retry-After: 3600\r\n")], false, 1).await;
    assert!(matches!(error, Some(EngineError::Unavailable { retry_after, .. }) if retry_after.as_secs() == 3600));
    let error = check(&[(400, "")], false, 1).await;
    assert!(matches!(error, Some(EngineError::Refused { status: 400, .. })), "{error:?}");
}

#[tokio::test]
async fn a_stream_that_breaks_off_shows_no_text_twice() {
    let fake = Fake::new(Kind::Vllm).await;
    let engine = engine(&fake).await;
    let job = job("Is it good?", judging());
    let expected = expected(&job);
    // Before the first token it is sent again; after it, it is an error.
    fake.state().cuts.extend([0]);
    let (completion, _) = run(&engine, job.clone()).await.unwrap();
    same(&completion.transcript, &expected, true);
    fake.forget();
    fake.state().cuts.extend([3]);
    let error = run(&engine, job).await.unwrap_err();
    assert!(matches!(error, EngineError::Unavailable { .. }), "{error:?}");
    assert_eq!(fake.posted("/v1/completions").len(), 1);
}

#[tokio::test]
async fn a_server_that_hangs_or_floods_is_an_error_in_time() {
    let fake = Fake::new(Kind::Vllm).await;
    let brief = Settings { queue: Duration::from_millis(200), retries: 0, ..settings(vec![fake.url.clone()]) };
    let engine = open(brief).await.unwrap();
    fake.state().hangs = true;
    let error = run(&engine, job("x", judging())).await.unwrap_err();
    assert!(matches!(&error, EngineError::Unavailable { why, .. } if why.contains("no byte for 0.2 s")), "{error:?}");
    fake.state().hangs = false;
    fake.state().floods = true;
    let error = run(&engine, job("x", vec![choose(&[" A", " B"])])).await.unwrap_err();
    assert!(matches!(&error, EngineError::Untrusted(why) if why.contains("longer than 16 MB")), "{error:?}");
}

/// It is tried again later; only a check that fails is a reason to refuse a server for good.
#[tokio::test]
async fn a_server_that_is_busy_while_it_is_examined_may_be_good_later() {
    for kind in EXACT {
        let fake = Fake::new(kind).await;
        let brief = || Settings { queue: Duration::from_millis(200), ..settings(vec![fake.url.clone()]) };
        fake.state().hangs = true;
        let error = open(brief()).await.err().unwrap();
        assert!(matches!(error, LoadError::Unreachable(_)), "{kind:?}: {error}");
        fake.state().hangs = false;
        fake.state().refusals.extend([(503, "")]);
        let error = open(brief()).await.err().unwrap();
        assert!(matches!(error, LoadError::Unreachable(_)), "{kind:?}: {error}");
        fake.state().refusals.clear();
        assert!(open(brief()).await.is_ok());
    }
    // The same when a server has changed.
    let fake = Fake::new(Kind::Vllm).await;
    let engine = engine(&fake).await;
    run(&engine, job("x", vec![choose(&[" A", " B"])])).await.unwrap();
    fake.state().fingerprint = "v2".into();
    // The read itself is answered.
    fake.state().refusals.extend([fake::ANSWERED, (503, "")]);
    let error = run(&engine, job("x", vec![choose(&[" A", " B"])])).await.unwrap_err();
    assert!(matches!(error, EngineError::Unavailable { .. }) && engine.alive(), "{error}");
    run(&engine, job("x", vec![choose(&[" A", " B"])])).await.unwrap();
}

#[tokio::test]
async fn the_server_is_told_when_the_caller_leaves() {
    let fake = Fake::new(Kind::Vllm).await;
    let engine = engine(&fake).await;
    fake.state().endless = true;
    let endless = Generate { max_tokens: 1_000_000, ..Generate::default() };
    let job = Job { prompt: job("x", Vec::new()).prompt, ..job("x", vec![Step::Generate(endless)]) };
    let large = Compiled::new(job.clone(), job.prompt.encode(&Toy), &Toy).unwrap();
    let (sender, mut shown) = tokio::sync::mpsc::unbounded_channel();
    let caller = tokio::spawn(engine.start(large).finish(move |delta| drop(sender.send(delta))));
    shown.recv().await.unwrap();
    caller.abort();
    fake.left.notified().await;
}

#[tokio::test]
async fn a_server_that_is_another_now_is_noticed() {
    let fake = Fake::new(Kind::Vllm).await;
    let engine = engine(&fake).await;
    run(&engine, job("x", vec![choose(&[" A", " B"])])).await.unwrap();
    // Another build, which does the same.
    fake.state().fingerprint = "v2".into();
    run(&engine, job("x", vec![choose(&[" A", " B"])])).await.unwrap();
    assert!(engine.alive());
    // Another build, with another tokenizer.
    fake.state().fingerprint = "v3".into();
    fake.state().other_tokenizer = true;
    let error = run(&engine, job("x", vec![choose(&[" A", " B"])])).await.unwrap_err();
    assert!(matches!(error, EngineError::Untrusted(_)), "{error:?}");
    assert!(!engine.alive(), "it is loaded anew");
    // Another file, which does the same: no verdict may have the digest of the first one.
    for steps in [vec![choose(&[" A", " B"])], judging()] {
        let fake = Fake::new(Kind::LlamaServer).await;
        let engine = self::engine(&fake).await;
        fake.state().model = "other".into();
        let error = run(&engine, job("x", steps)).await.unwrap_err();
        assert!(matches!(error, EngineError::Untrusted(_)), "{error:?}");
        assert!(!engine.alive(), "it is loaded anew");
    }
}

#[tokio::test]
async fn a_server_that_is_gone_makes_the_engine_unavailable() {
    let fake = Fake::new(Kind::Vllm).await;
    let engine = open(Settings { retries: 0, ..settings(vec![fake.url.clone()]) }).await.unwrap();
    assert!(engine.available());
    drop(fake);
    for _ in 0..5 {
        let error = run(&engine, job("x", vec![choose(&[" A", " B"])])).await.unwrap_err();
        assert!(matches!(error, EngineError::Unavailable { .. }), "{error:?}");
    }
    assert!(!engine.available() && engine.alive());
}

#[tokio::test]
async fn a_server_that_is_away_is_examined_when_it_comes_back() {
    let (here, away) = (Fake::new(Kind::Vllm).await, Fake::new(Kind::Vllm).await);
    away.state().down = true;
    let engine = open(settings(vec![here.url.clone(), away.url.clone()])).await.unwrap();
    let (servers, mut silent) = (&engine.servers, [0, 0]);
    let judged = async |text: &str| run(&engine, job(text, vec![choose(&[" A", " B"])])).await.is_ok();
    away.forget();
    for text in ["one", "two", "three", "four", "five"] {
        assert!(judged(text).await);
    }
    assert!(away.state().seen.is_empty(), "it was not examined yet");
    // It comes back as another one.
    (away.state().down, away.state().other_tokenizer) = (false, true);
    servers.look(&mut silent).await;
    assert!(servers.client.endpoints.is_barred(1));
    away.state().other_tokenizer = false;
    servers.look(&mut silent).await;
    assert!(!servers.client.endpoints.is_barred(1));
    here.state().down = true;
    servers.look(&mut silent).await;
    servers.look(&mut silent).await;
    assert!(servers.client.endpoints.is_barred(0));
    assert!(judged("one").await && engine.available());
    away.state().model = "other".into();
    servers.look(&mut silent).await;
    assert!(!engine.available());
    assert!(!engine.alive(), "it is loaded anew");
}

#[tokio::test]
async fn settings_that_do_not_fit_are_named() {
    let fake = Fake::new(Kind::Vllm).await;
    let check = async |settings: Settings, expected: &str| {
        let error = open(settings).await.err().unwrap().to_string();
        assert!(error.contains(expected), "{error}");
    };
    let base = || settings(vec![fake.url.clone()]);
    check(Settings { model: "other".into(), ..base() }, "no model `other`; it has: toy").await;
    check(Settings { context: 9000, ..base() }, "the server has 4096").await;
    check(Settings { urls: Vec::new(), ..base() }, "remote.urls: it is empty").await;
    check(Settings { urls: vec!["http://127.0.0.1:1".into()], ..base() }, "cannot connect").await;
    check(Settings { api_key: "a\nb".into(), ..base() }, "remote.api_key").await;
    check(Settings { ca_file: Some("/nowhere.pem".into()), ..base() }, "/nowhere.pem").await;
    fake.state().key = Some("Bearer right");
    check(Settings { api_key: "wrong".into(), ..base() }, "GAVEL_REMOTE__API_KEY").await;
    assert!(open(Settings { api_key: "right".into(), ..base() }).await.is_ok());
    fake.state().key = None;
    let other = Fake::new(Kind::Vllm).await;
    other.state().context = 512;
    check(settings(vec![fake.url.clone(), other.url.clone()]), "must be equal").await;
}

#[tokio::test]
async fn structured_output_is_the_servers() {
    let grammar = Grammar::object();
    let generate = Generate { grammar: Some(grammar), max_tokens: 5, ..Generate::default() };
    let field = |kind: Kind, body: &serde_json::Value| match kind {
        Kind::Vllm => body["structured_outputs"]["json"].clone(),
        Kind::Sglang => serde_json::from_str(body["sampling_params"]["json_schema"].as_str().unwrap()).unwrap(),
        _ => body["json_schema"].clone(),
    };
    for (kind, path) in
        [(Kind::Vllm, "/v1/completions"), (Kind::Sglang, "/generate"), (Kind::LlamaServer, "/completion")]
    {
        let fake = Fake::new(kind).await;
        let engine = engine(&fake).await;
        fake.forget();
        run(&engine, job("x", vec![Step::Generate(generate.clone())])).await.unwrap();
        assert_eq!(field(kind, &fake.posted(path)[0]), serde_json::json!({"type": "object"}), "{kind:?}");
    }
}

#[tokio::test]
async fn what_a_server_cannot_do_is_refused_before_it_is_queued() {
    let generates = |change: fn(&mut Generate)| {
        let mut limits = Generate { max_tokens: 5, ..Generate::default() };
        change(&mut limits);
        Step::Generate(limits)
    };
    let minimum = || generates(|limits| limits.min_tokens = 1);
    let grammar = || generates(|limits| limits.grammar = Some(Grammar::object()));
    let logprobs = || generates(|limits| limits.logprobs = Some(1));
    let sampled = |mut job: Job| {
        (job.sampling.temperature, job.sampling.top_k) = (0.7, 5);
        job
    };
    let branch = Step::Branch(vec![Script(vec![minimum()])]);
    let cases = [
        ("tells", job("x", vec![Step::PromptLogprobs(0)]), [true, true, false, false]),
        ("minimum", job("x", vec![minimum()]), [true, true, false, false]),
        ("minimum in a branch", job("x", vec![branch]), [true, true, false, false]),
        ("grammar", job("x", vec![grammar()]), [true, true, true, false]),
        ("logprobs", job("x", vec![logprobs()]), [false; 4]),
        ("sampled", sampled(job("x", judging())), [true, true, true, false]),
        ("sampled, but nothing is written", sampled(job("x", vec![choose(&[" A", " B"])])), [true; 4]),
        ("plain", job("x", judging()), [true; 4]),
    ];
    for (index, kind) in [Kind::Vllm, Kind::Sglang, Kind::LlamaServer, Kind::OpenaiCompletions].into_iter().enumerate()
    {
        let fake = Fake::new(kind).await;
        let engine = engine(&fake).await;
        for (name, job, able) in &cases {
            match engine.compile(job.clone()) {
                Ok(_) => assert!(able[index], "{name} on {kind:?}"),
                Err(error) => {
                    assert!(
                        !able[index] && matches!(error, EngineError::NotSupported { .. }),
                        "{name} on {kind:?}: {error}"
                    );
                }
            }
        }
    }
}
