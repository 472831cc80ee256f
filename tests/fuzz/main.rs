//! Everything that reads what others wrote, on mutated inputs: it may refuse them, and must not panic, hang or take all
//! memory. A short run with fixed seeds belongs to the tests; `GAVEL_FUZZ_SECONDS=600 cargo test --test fuzz` looks for
//! that time in each target, with new seeds. An input that fails is printed, and belongs into `corpus/TARGET/` once it is
//! mended: each run begins with what is there.
#![cfg(feature = "vocabulary")]
#![allow(clippy::unwrap_used, clippy::print_stderr, reason = "a test fails by panicking, and says with what")]

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use gavel::api::local;
use gavel::app::App;
use gavel::config::Config;
use gavel::domain::Kind;
use gavel::engine::scripted::Scripted;
use gavel::engine::vocabulary::ModelVocabulary;
use gavel::jobs::{Lines, line};
use gavel::labelled::{Mapping, read};
use gavel::models::GgufHeader;
use gavel::prompts::PromptLibrary;
use rand::rngs::SysRng;
use rand::{RngExt, SeedableRng, TryRng};
use rand_chacha::ChaCha8Rng;
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

/// Runs a target on its seeds, on its corpus, and on mutations of both.
fn fuzz(name: &str, seeds: &[Vec<u8>], target: impl Fn(&[u8])) {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fuzz/corpus").join(name);
    let kept = std::fs::read_dir(corpus).into_iter().flatten().map(|file| std::fs::read(file.unwrap().path()).unwrap());
    let seeds: Vec<Vec<u8>> = seeds.iter().cloned().chain(kept).collect();
    let run = |input: &[u8], seed: u64| {
        if catch_unwind(AssertUnwindSafe(|| target(input))).is_err() {
            panic!("{name}, seed {seed}: {:?}", String::from_utf8_lossy(input));
        }
    };
    seeds.iter().for_each(|seed| run(seed, 0));
    let seconds = std::env::var("GAVEL_FUZZ_SECONDS").ok().map(|seconds| seconds.parse().unwrap());
    let began = Instant::now();
    let first = if seconds.is_some() { SysRng.try_next_u64().unwrap() } else { 0 };
    let mut tried = 0;
    while seconds.map_or(tried < SHORT, |seconds| began.elapsed() < Duration::from_secs(seconds)) {
        let seed = first.wrapping_add(tried);
        run(&mutated(&seeds, seed), seed);
        tried += 1;
    }
    eprintln!("{name}: {tried} inputs");
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
fn of_file(name: &str, target: impl Fn(&Path)) -> impl Fn(&[u8]) {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join(name);
    move |input| {
        let _folder = &folder;
        std::fs::write(&path, input).unwrap();
        target(&path);
    }
}

#[test]
fn request_bodies() {
    let folder = TempDir::new().unwrap();
    let path = |name: &str| folder.path().join(name).display().to_string();
    let config =
        Config::without_environment(None, &[("data_dir", path("data")), ("cache_dir", path("cache"))]).unwrap();
    let app = App::build(config).unwrap();
    app.host(Arc::new(Scripted::fixed(Duration::ZERO)), None).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let document = serde_json::to_value(gavel::api::document()).unwrap();
    let example = |schema: &str| document["components"]["schemas"][schema]["example"].to_string().into_bytes();
    let graded = json!({"instruction": "Why?", "response": "So.", "score": 2, "feedback": "Thin."});
    let of_jury = json!({"instruction": "Why?", "responses": ["a", "b"], "rubric": "helpfulness", "examples": [graded],
                         "method": "absolute", "judges": [{"annotator": "parent"}, {"annotator": "expert"}]});
    let checked = json!({"items": [{"instruction": "Why?", "response": "So."}],
                         "method": {"name": "checklist", "questions": ["Is it so?"], "gates": [0]}});
    let seeds = ["AbsoluteBody", "RelativeBody", "RankBody", "PreferencesBody", "RewardsBody"].map(example);
    let seeds: Vec<Vec<u8>> =
        seeds.into_iter().chain([of_jury, checked].map(|body| body.to_string().into_bytes())).collect();
    fuzz("requests", &seeds, |input| {
        runtime.block_on(async {
            drop(local::grade(&app, Kind::Absolute, input).await);
            drop(local::grade(&app, Kind::Relative, input).await);
            drop(local::rank(&app, input).await);
            drop(local::preferences(&app, input).await);
            drop(local::rewards(&app, input).await);
        });
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
    fuzz("rubrics", &seeds, of_file("mine.toml", |path| drop(gavel::rubrics::read(path))));
}

#[test]
fn example_sets() {
    let folder = TempDir::new().unwrap();
    let sets = gavel::example_sets::ExampleSets::new(folder.path().to_owned());
    let seed = "scale = [1, 5]\n[[example]]\nresponse = \"So.\"\nscore = 2\nfeedback = \"Thin.\"\n\
                [[example.messages]]\nrole = \"user\"\ncontent = \"Why?\"\n[[example.context]]\ntext = \"It is.\"\n";
    fuzz("example_sets", &[seed.as_bytes().to_vec()], |input| {
        std::fs::write(folder.path().join("mine.toml"), input).unwrap();
        drop(sets.named("mine"));
    });
}

/// A prompt set of the user's, one file of which is mutated.
#[test]
fn prompt_sets() {
    let folder = TempDir::new().unwrap();
    let set = folder.path().join("mine");
    std::fs::create_dir(&set).unwrap();
    let originals = files("prompts/plain", "");
    let write = |path: &Path, text: &[u8]| std::fs::write(set.join(path.file_name().unwrap()), text).unwrap();
    for (path, text) in &originals {
        write(path, text);
    }
    for (path, text) in &originals {
        fuzz("prompts", std::slice::from_ref(text), |input| {
            write(path, input);
            drop(PromptLibrary::load(Some(folder.path())));
        });
        write(path, text);
    }
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
            drop(GgufHeader::read(path));
            drop(ModelVocabulary::load(path));
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
        of_file("tokenizer.json", |path| {
            drop(ModelVocabulary::load(path.parent().unwrap()));
        }),
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
        let read = |at: i64, text: &str| drop(line(text, 0, at, "", |_| Ok(())));
        if lines.add(half, read).and_then(|()| lines.add(rest, read)).is_ok() {
            lines.end(read);
        }
    });
}

#[test]
fn labelled_files() {
    let csv = "id,instruction,response,label\na,Why?,\"So, \"\"there\"\".\",3\nb,When?,Now.,4\n";
    let lines =
        "{\"id\": \"a\", \"instruction\": \"Why?\", \"response_a\": \"x\", \"response_b\": \"y\", \"label\": \"A\"}\n";
    let list = format!("[{}]", lines.trim());
    for (name, seed) in [("items.csv", csv), ("items.jsonl", lines), ("items.json", &list)] {
        fuzz("labelled", &[seed.as_bytes().to_vec()], of_file(name, |path| drop(read(&[path], &Mapping::default()))));
    }
}
