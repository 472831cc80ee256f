//! Folders of safetensors, as Hugging Face's tools write them.

use std::path::{Path, PathBuf};

use serde_json::Value;
use sha2::{Digest, Sha256};

use super::error::ModelError;
use super::known::KnownDigests;
use super::reference::name_of;
use super::{JudgeTraits, Model};

/// Required files beside the weights.
const NEEDED: [&str; 2] = ["config.json", "tokenizer.json"];
/// Optional files that change prompts or the end of answers.
const READ: [&str; 3] = ["tokenizer_config.json", "chat_template.jinja", "generation_config.json"];

/// The model in a folder, with the folder's name. Hashes the files, and blocks the thread.
pub(super) fn model(path: PathBuf, known: &KnownDigests) -> Result<Model, ModelError> {
    let weights = safetensors(&path)?;
    let read = READ.iter().map(|name| path.join(name)).filter(|file| file.is_file());
    // In the format of `sha256sum`, so that users can verify it. The names make missing files visible.
    let mut sums = String::new();
    for file in NEEDED.iter().map(|name| path.join(name)).chain(read).chain(weights) {
        let name = file.file_name().unwrap_or_default().to_string_lossy();
        sums.push_str(&format!("{}  {name}\n", known.of_file(&file)?));
    }
    let name = name_of(&path.canonicalize().map_err(ModelError::unreadable(&path))?.to_string_lossy());
    let digest = format!("sha256:{:x}", Sha256::digest(sums));
    Ok(Model { name, digest, path, traits: JudgeTraits::default(), eyes: None })
}

/// Bytes of its weights.
pub(super) fn weights(path: &Path) -> Result<u64, ModelError> {
    let files = safetensors(path)?;
    Ok(files.iter().filter_map(|file| std::fs::metadata(file).ok()).map(|file| file.len()).sum())
}

/// KV cache bytes of one token in half precision, if config.json has the sizes.
pub(super) fn kv_per_token(path: &Path) -> Result<Option<u64>, ModelError> {
    let file = path.join("config.json");
    let text = std::fs::read_to_string(&file).map_err(ModelError::unreadable(&file))?;
    let config: Value = serde_json::from_str(&text).map_err(|error| not_a_model(path, error.to_string()))?;
    let number = |name: &str| config[name].as_u64();
    let per_token = || {
        let heads = number("num_attention_heads")?;
        let width = number("head_dim").or(number("hidden_size")?.checked_div(heads))?;
        let kv_heads = number("num_key_value_heads").unwrap_or(heads);
        // Keys and values, two bytes each.
        number("num_hidden_layers")?.checked_mul(kv_heads)?.checked_mul(width)?.checked_mul(4)
    };
    Ok(per_token())
}

/// Its weight files, sorted by name.
fn safetensors(path: &Path) -> Result<Vec<PathBuf>, ModelError> {
    if let Some(missing) = NEEDED.iter().find(|name| !path.join(name).is_file()) {
        return Err(not_a_model(path, format!("it has no {missing}")));
    }
    let entries = std::fs::read_dir(path).map_err(ModelError::unreadable(path))?;
    let files = entries.filter_map(Result::ok).map(|entry| entry.path());
    let mut files: Vec<PathBuf> = files.filter(|file| file.extension().is_some_and(|e| e == "safetensors")).collect();
    files.sort();
    if files.is_empty() { Err(not_a_model(path, "it has no *.safetensors".into())) } else { Ok(files) }
}

fn not_a_model(path: &Path, why: String) -> ModelError {
    ModelError::NotAModelFolder { path: path.to_path_buf(), why }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_is_a_model_when_all_is_there() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("judge-7b");
        std::fs::create_dir(&path).unwrap();
        let known = KnownDigests::new(folder.path().join("digests"));
        let model = |path: PathBuf| model(path, &known);
        let refused = |why: &str| {
            let error = model(path.clone()).unwrap_err().to_string();
            assert!(error.contains(why), "{error}");
        };
        refused("config.json");
        let config = r#"{"num_hidden_layers":2,"num_attention_heads":4,"num_key_value_heads":1,"hidden_size":32}"#;
        std::fs::write(path.join("config.json"), config).unwrap();
        std::fs::write(path.join("tokenizer.json"), "{}").unwrap();
        refused("safetensors");
        std::fs::write(path.join("model-2.safetensors"), [0; 10]).unwrap();
        std::fs::write(path.join("model-1.safetensors"), [1; 5]).unwrap();
        let found = model(path.clone()).unwrap();
        assert_eq!((found.name.as_str(), found.digest.len()), ("judge-7b", 7 + 64));
        assert_eq!((weights(&path).unwrap(), kv_per_token(&path).unwrap()), (15, Some(2 * 8 * 4)));
        std::fs::write(path.join("model-1.safetensors"), [2; 5]).unwrap();
        assert_ne!(model(path).unwrap().digest, found.digest);
    }

    #[test]
    fn whatever_decides_a_prompt_or_its_answer_shows_in_the_digest() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("judge");
        std::fs::create_dir(&path).unwrap();
        let known = KnownDigests::new(folder.path().join("digests"));
        for name in ["config.json", "tokenizer.json", "model.safetensors"] {
            std::fs::write(path.join(name), "{}").unwrap();
        }
        let digest = || model(path.clone(), &known).unwrap().digest;
        let mut seen = vec![digest()];
        std::fs::write(path.join("README.md"), "not read").unwrap();
        assert_eq!(digest(), seen[0]);
        for name in ["tokenizer_config.json", "chat_template.jinja", "generation_config.json"] {
            for text in ["{}", "{ }"] {
                std::fs::write(path.join(name), text).unwrap();
                let now = digest();
                assert!(!seen.contains(&now), "{name} {text}");
                seen.push(now);
            }
            std::fs::remove_file(path.join(name)).unwrap();
            assert_eq!(digest(), seen[0]);
        }
        // What `sha256sum` would write of the two bytes.
        let sum = "44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a";
        let lines = format!("{sum}  config.json\n{sum}  tokenizer.json\n{sum}  model.safetensors\n");
        assert_eq!(seen[0], format!("sha256:{:x}", Sha256::digest(lines)));
    }
}
