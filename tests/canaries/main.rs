//! The mistralrs engine on the real test model. `gavel models pull smollm2-135m` gets it; `make test` does both.
#![cfg(feature = "mistralrs")]
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a test fails by panicking, and shows what it measured")]

mod engine;
mod folder;
#[cfg(feature = "llama-cpp")]
mod parity;
mod structured;

use gavel::app::model_store;
use gavel::config::Config;
use gavel::engine::mistralrs::{MistralRs, Settings};
use gavel::models::{JudgeTraits, Model};

const DEMO: &str = "smollm2-135m";

/// The test model's file, which must have been pulled before.
fn demo() -> Model {
    let config = Config::load(None, &[("offline", "true".into())]).unwrap();
    let path = model_store(&config).unwrap().path(DEMO).unwrap_or_else(|error| panic!("{error}"));
    Model {
        name: DEMO.into(),
        path,
        digest: "sha256:not checked here".into(),
        traits: JudgeTraits { prompt_set: Some("plain".into()), ..JudgeTraits::default() },
        eyes: None,
    }
}

fn settings() -> Settings {
    Settings { sequences: 16, spread: 16, kv_tokens: 8192, isq: String::new() }
}

async fn engine() -> MistralRs {
    MistralRs::load(&demo(), settings()).await.unwrap()
}
