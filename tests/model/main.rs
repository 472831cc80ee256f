//! Tests on the real test model. `gavel models pull smollm2-135m` gets it; `make test` does both.
#![cfg(feature = "llama-cpp")]
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a test fails by panicking, and shows what it measured")]

mod attacks;
mod engine;
mod service;
mod tokens;
#[cfg(feature = "vocabulary")]
mod vocabulary;
mod vocabulary_file;

use std::path::PathBuf;
use std::sync::Arc;

use gavel::app::model_store;
use gavel::config::Config;
use gavel::engine::Engine;
use gavel::engine::llama_cpp::{LlamaCpp, Settings};
use gavel::models::{JudgeTraits, Model};

const DEMO: &str = "smollm2-135m";

/// The test model's file, which must have been pulled before.
fn demo() -> Model {
    let config = Config::load(None, &[("offline", "true".into())]).unwrap();
    let path: PathBuf = model_store(&config).unwrap().path(DEMO).unwrap_or_else(|error| panic!("{error}"));
    Model {
        name: DEMO.into(),
        path,
        digest: "sha256:not checked here".into(),
        traits: JudgeTraits { prompt_set: Some("plain".into()), ..JudgeTraits::default() },
        eyes: None,
    }
}

fn settings() -> Settings {
    Settings {
        sequences: 4,
        kv_tokens: 32_768,
        prefix_tokens: 4096,
        step_tokens: 256,
        threads: 0,
        gpu_layers: 0,
        picture_tokens: 1024,
    }
}

fn engine(settings: Settings) -> Arc<dyn Engine> {
    Arc::new(LlamaCpp::load(&demo(), settings).unwrap())
}
