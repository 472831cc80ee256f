//! Everything that reads what others wrote, on mutated inputs: it may refuse them, and must not panic, hang or take all
//! memory. A short run with fixed seeds belongs to the tests; `GAVEL_FUZZ_SECONDS=600 cargo test --test fuzz` looks for
//! that time in each target, with new seeds. An input that fails is printed, and kept in `corpus/TARGET/`: each run begins
//! with what is there.
#![cfg(feature = "vocabulary")]
#![allow(clippy::unwrap_used, clippy::print_stderr, reason = "a test fails by panicking, and says with what")]

use std::cell::Cell;
use std::net::{SocketAddr, TcpListener};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use gavel::app::App;
use gavel::config::Config;
use gavel::engine::scripted::Scripted;
use gavel::engine::vocabulary::ModelVocabulary;
use gavel::jobs::{Lines, line};
use gavel::labelled::{Mapping, read};
use gavel::models::GgufHeader;
use gavel::prompts::PromptLibrary;
use rand::rngs::SysRng;
use rand::{RngExt, SeedableRng, TryRng};
use rand_chacha::ChaCha8Rng;
use reqwest::StatusCode;
use serde_json::{Value, json};
use tempfile::TempDir;

#[path = "../model/vocabulary_file.rs"]
mod vocabulary_file;

/// Inputs of a short run.
const SHORT: u64 = 300;
/// The longest input that a mutation makes, in bytes.
const LONGEST: usize = 64 << 10;
/// Pieces that parsers look for.
const PIECES: [&[u8]; 18] = [
    b"\"",
    b"{",
    b"}",
    b"[",
    b"]",
    b":",
    b",",
    b"\n",
    b"\0",
    b"\xff",
    b"\\ud83d",
    b"null",
    b"-1",
    b"1e999",
    b"18446744073709551615",
    b"\xef\xbb\xbf",
    b"{{",
    b"{%",
];

/// Runs a target on its seeds, on its corpus, and on mutations of both. A target says whether it has accepted an input: it
/// has to accept each seed, or mutations would not get beyond its first check.
fn fuzz(name: &str, seeds: &[Vec<u8>], target: impl Fn(&[u8]) -> bool) {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fuzz/corpus").join(name);
    let kept =
        std::fs::read_dir(&corpus).into_iter().flatten().map(|file| std::fs::read(file.unwrap().path()).unwrap());
    let kept: Vec<Vec<u8>> = kept.collect();
    let run = |input: &[u8], seed: u64| match catch_unwind(AssertUnwindSafe(|| target(input))) {
        Ok(accepted) => accepted,
        Err(_) => {
            let path = corpus.join(seed.to_string());
            std::fs::create_dir_all(&corpus).and_then(|()| std::fs::write(&path, input)).unwrap();
            panic!("{name}: {} makes it panic: {:?}", path.display(), String::from_utf8_lossy(input));
        }
    };
    for seed in seeds {
        assert!(run(seed, 0), "{name}: a seed is refused: {:?}", String::from_utf8_lossy(seed));
    }
    for input in &kept {
        run(input, 0);
    }
    let seeds: Vec<Vec<u8>> = seeds.iter().cloned().chain(kept).collect();
    let seconds = std::env::var("GAVEL_FUZZ_SECONDS").ok().map(|seconds| seconds.parse().unwrap());
    let began = Instant::now();
    let first = if seconds.is_some() { SysRng.try_next_u64().unwrap() } else { 0 };
    let (mut tried, mut accepted) = (0, 0);
    while seconds.map_or(tried < SHORT, |seconds| began.elapsed() < Duration::from_secs(seconds)) {
        let seed = first.wrapping_add(tried);
        accepted += u64::from(run(&mutated(&seeds, seed), seed));
        tried += 1;
    }
    eprintln!("{name}: {tried} inputs, {accepted} of them accepted");
}

/// One of the inputs with a few changes.
fn mutated(seeds: &[Vec<u8>], seed: u64) -> Vec<u8> {
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    let mut input = seeds[random.random_range(0..seeds.len())].clone();
    for _ in 0..random.random_range(1..8) {
        let at = random.random_range(0..=input.len());
        let end = (at + random.random_range(0..16)).min(input.len());
        match random.random_range(0..7) {
            0 if at < input.len() => input[at] = random.random_range(0..=255),
            1 if at < input.len() => input[at] ^= 1 << random.random_range(0..8),
            2 => drop(input.splice(at..end, PIECES[random.random_range(0..PIECES.len())].iter().copied())),
            3 => drop(input.drain(at..end)),
            4 => {
                let piece = input[at..end].repeat(random.random_range(1..200));
                drop(input.splice(at..at, piece));
            }
            5 => input.truncate(at),
            _ => {
                let other = &seeds[random.random_range(0..seeds.len())];
                let from = random.random_range(0..=other.len());
                drop(input.splice(at..end, other[from..].iter().copied()));
            }
        }
    }
    input.truncate(LONGEST);
    input
}

/// A target that reads a file of this name.
fn of_file(name: &str, target: impl Fn(&Path) -> bool) -> impl Fn(&[u8]) -> bool {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join(name);
    move |input| {
        let _folder = &folder;
        std::fs::write(&path, input).unwrap();
        target(&path)
    }
}

/// A server with the scripted engine, on a port of its own.
fn server(folder: &Path) -> SocketAddr {
    let path = |name: &str| folder.join(name).display().to_string();
    let config =
        Config::without_environment(None, &[("data_dir", path("data")), ("cache_dir", path("cache"))]).unwrap();
    let app = App::build(config).unwrap();
    app.host(Arc::new(Scripted::fixed(Duration::ZERO)), None).unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(gavel::api::server(app, listener).unwrap());
    address
}

/// Routes that name the rubric in the query.
const RUBRIC_IN_QUERY: [&str; 2] = ["/get_reward", "/predict"];
/// Routes that the scripted engine has no vocabulary for.
const OF_TOKENS: [&str; 2] = ["/tokenize", "/detokenize"];

/// The routes that take JSON, each with the example of its body.
fn routes() -> Vec<(String, Vec<u8>)> {
    let document = serde_json::to_value(gavel::api::document()).unwrap();
    let paths = document["paths"].as_object().unwrap().iter();
    let with_body = paths.filter(|(path, _)| !OF_TOKENS.contains(&path.as_str())).filter_map(|(path, operations)| {
        let body = &operations["post"]["requestBody"]["content"]["application/json"]["schema"]["$ref"];
        let schema = body.as_str()?.rsplit('/').next()?;
        let example = document["components"]["schemas"][schema]["example"].to_string();
        let query = if RUBRIC_IN_QUERY.contains(&path.as_str()) { "?rubric=helpfulness" } else { "" };
        Some((path.replace("{rubric}", "helpfulness") + query, example.into_bytes()))
    });
    with_body.collect()
}

/// Bodies for each route, over HTTP. The first byte of an input chooses the route.
#[test]
fn requests() {
    let folder = TempDir::new().unwrap();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let address = runtime.block_on(async { server(folder.path()) });
    let client = reqwest::Client::new();
    let routes = routes();
    let graded = json!({"instruction": "Why?", "response": "So.", "score": 2, "feedback": "Thin."});
    let more = [
        (
            "/v1/preferences",
            json!({"instruction": "Why?", "responses": ["a", "b"], "rubric": "helpfulness",
            "examples": [graded], "method": "absolute", "judges": [{"annotator": "parent"}, {"annotator": "expert"}]}),
        ),
        (
            "/v1/rewards",
            json!({"items": [{"instruction": "Why?", "response": "So."}],
            "method": {"name": "checklist", "questions": ["Is it so?"], "gates": [0]}}),
        ),
    ];
    let more = more.map(|(path, body)| (path.to_owned(), body.to_string().into_bytes()));
    let seed = |(path, body): &(String, Vec<u8>)| {
        let at = routes.iter().position(|(known, _)| known == path).unwrap();
        [&[u8::try_from(at).unwrap()], body.as_slice()].concat()
    };
    let seeds: Vec<Vec<u8>> = routes.iter().chain(&more).map(seed).collect();
    fuzz("requests", &seeds, |input| {
        let Some((at, body)) = input.split_first() else { return false };
        let (path, _) = &routes[usize::from(*at) % routes.len()];
        let asked = client.post(format!("http://{address}{path}")).header("content-type", "application/json");
        let status = runtime.block_on(async {
            let reply = asked.body(body.to_vec()).send().await.unwrap();
            let status = reply.status();
            reply.bytes().await.unwrap();
            status
        });
        assert_ne!(status, StatusCode::INTERNAL_SERVER_ERROR);
        // A file, a batch or a review that is not there was asked for in a good body.
        let absent = status == StatusCode::NOT_FOUND && (path.contains("{id}") || path == "/v1/batches");
        status.is_success() || absent
    });
}

/// The files of a folder of the project, and of the folders in it.
fn files(folder: &str, ending: &str) -> Vec<(PathBuf, Vec<u8>)> {
    let (mut found, mut folders) = (Vec::new(), vec![Path::new(env!("CARGO_MANIFEST_DIR")).join(folder)]);
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            match path.is_dir() {
                true => folders.push(path),
                false if path.to_string_lossy().ends_with(ending) => {
                    found.push((path.clone(), std::fs::read(path).unwrap()))
                }
                false => {}
            }
        }
    }
    found.sort();
    found
}

#[test]
fn rubrics() {
    let seeds: Vec<_> = files("rubrics", ".toml").into_iter().map(|(_, text)| text).collect();
    fuzz("rubrics", &seeds, of_file("mine.toml", |path| gavel::rubrics::read(path).is_ok()));
}

#[test]
fn example_sets() {
    let folder = TempDir::new().unwrap();
    let sets = gavel::example_sets::ExampleSets::new(folder.path().to_owned());
    let seed = "scale = [1, 5]\n[[example]]\nresponse = \"So.\"\nscore = 2\nfeedback = \"Thin.\"\n\
                [[example.messages]]\nrole = \"user\"\ncontent = \"Why?\"\n[[example.context]]\ntext = \"It is.\"\n";
    fuzz("example_sets", &[seed.as_bytes().to_vec()], |input| {
        std::fs::write(folder.path().join("mine.toml"), input).unwrap();
        sets.named("mine").is_ok()
    });
}

/// A prompt set of the user's, one file of which is mutated. The first byte of an input chooses the file.
#[test]
fn prompt_sets() {
    let folder = TempDir::new().unwrap();
    let set = folder.path().join("mine");
    std::fs::create_dir(&set).unwrap();
    let originals = files("prompts/plain", "");
    let write = |path: &Path, text: &[u8]| std::fs::write(set.join(path.file_name().unwrap()), text).unwrap();
    originals.iter().for_each(|(path, text)| write(path, text));
    let seeds: Vec<Vec<u8>> = (0..).zip(&originals).map(|(at, (_, text))| [&[at], text.as_slice()].concat()).collect();
    fuzz("prompts", &seeds, |input| {
        let Some((at, text)) = input.split_first() else { return false };
        let (path, original) = &originals[usize::from(*at) % originals.len()];
        write(path, text);
        let accepted = PromptLibrary::load(Some(folder.path())).is_ok();
        write(path, original);
        accepted
    });
}

/// A header with a small vocabulary.
fn gguf() -> Vec<u8> {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("model.gguf");
    vocabulary_file::write(&path);
    std::fs::read(path).unwrap()
}

#[test]
fn gguf_headers_and_their_vocabularies() {
    fuzz(
        "gguf",
        &[gguf()],
        of_file("model.gguf", |path| {
            let header = GgufHeader::read(path);
            ModelVocabulary::load(path).is_ok() && header.is_ok()
        }),
    );
}

#[test]
fn tokenizers() {
    let vocabulary: serde_json::Map<String, Value> =
        ["a", "b", "ab", "<|im_end|>"].into_iter().map(str::to_owned).zip((0..).map(|id: u32| json!(id))).collect();
    let tokenizer = json!({
        "version": "1.0", "truncation": null, "padding": null, "normalizer": null, "post_processor": null,
        "pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": true},
        "decoder": {"type": "ByteLevel", "add_prefix_space": true, "trim_offsets": true, "use_regex": true},
        "added_tokens": [{"id": 3, "content": "<|im_end|>", "single_word": false, "lstrip": false, "rstrip": false, "normalized": false, "special": true}],
        "model": {"type": "BPE", "dropout": null, "unk_token": null, "continuing_subword_prefix": null, "end_of_word_suffix": null, "fuse_unk": false, "byte_fallback": false, "vocab": vocabulary, "merges": ["a b"]},
    });
    fuzz(
        "tokenizers",
        &[tokenizer.to_string().into_bytes()],
        of_file("tokenizer.json", |path| ModelVocabulary::load(path.parent().unwrap()).is_ok()),
    );
}

#[test]
fn lines_of_batches() {
    let good =
        json!({"custom_id": "a", "method": "POST", "url": "/v1/rank", "body": {"a": [1, null, "ü"]}}).to_string();
    fuzz("batches", &[format!("{good}\n{good}\r\n\n").into_bytes()], |input| {
        let text = String::from_utf8_lossy(input);
        let (half, rest) = text.split_at(text.floor_char_boundary(text.len() / 2));
        let mut lines = Lines::new(LONGEST);
        let refused = Cell::new(0);
        let read =
            |at: i64, text: &str| refused.set(refused.get() + i32::from(line(text, 0, at, "", |_| Ok(())).is_err()));
        let whole = lines.add(half, read).and_then(|()| lines.add(rest, read)).is_ok();
        if whole {
            lines.end(read);
        }
        whole && refused.get() == 0
    });
}

#[test]
fn labelled_files() {
    let csv = "id,instruction,response,label\na,Why?,\"So, \"\"there\"\".\",3\nb,When?,Now.,4\n";
    let lines =
        "{\"id\": \"a\", \"instruction\": \"Why?\", \"response_a\": \"x\", \"response_b\": \"y\", \"label\": \"A\"}\n";
    let list = format!("[{}]", lines.trim());
    for (name, seed) in [("items.csv", csv), ("items.jsonl", lines), ("items.json", &list)] {
        fuzz("labelled", &[seed.as_bytes().to_vec()], of_file(name, |path| read(&[path], &Mapping::default()).is_ok()));
    }
}
