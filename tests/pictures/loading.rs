//! Loading of eyes: what is refused, and how.

use std::path::{Path, PathBuf};

use gavel::engine::Engine;
use gavel::engine::llama_cpp::{LlamaCpp, Settings};
use gavel::models::{EyesFile, JudgeTraits, Model};

use crate::files::written;

fn load(judge: &Path, eyes: Option<PathBuf>) -> Result<LlamaCpp, String> {
    let model = Model {
        name: "judge".into(),
        path: judge.to_path_buf(),
        digest: "sha256:not checked here".into(),
        traits: JudgeTraits::default(),
        eyes: eyes.map(|path| EyesFile { path, digest: "sha256:of the eyes".into() }),
    };
    let settings = Settings {
        sequences: 2,
        kv_tokens: 4096,
        prefix_tokens: 1024,
        step_tokens: 64,
        threads: 1,
        gpu_layers: 0,
        picture_tokens: 1024,
    };
    LlamaCpp::load(&model, settings).map_err(|error| error.to_string())
}

#[test]
fn eyes_belong_to_their_model() {
    let (folder, [judge, eyes]) = written();
    let seeing = load(&judge, Some(eyes.clone())).unwrap();
    assert_eq!(seeing.eyes().unwrap().digest, "sha256:of the eyes");
    assert_eq!(load(&judge, None).unwrap().eyes(), None);
    let refused = |eyes: PathBuf| load(&judge, Some(eyes)).err().unwrap();
    assert!(refused(judge.clone()).contains("no multimodal projector"), "a model is not eyes");
    let missing = folder.path().join("missing.gguf");
    assert!(refused(missing).contains("missing.gguf"));
}
