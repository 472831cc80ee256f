//! Folders of safetensors, as Hugging Face's tools write them.

use std::path::{Path, PathBuf};

use serde_json::Value;

use super::error::ModelError;
use super::{Model, digest, name_of};

/// What has to be there beside the weights.
const NEEDED: [&str; 2] = ["config.json", "tokenizer.json"];

/// The model that a folder holds, under the folder's name. Blocks the thread for as long as hashing it takes.
pub(super) fn model(path: PathBuf) -> Result<Model, ModelError> {
    let files = NEEDED.iter().map(|name| path.join(name)).chain(safetensors(&path)?);
    let digests = files.map(|file| digest::of_file(&file)).collect::<Result<Vec<_>, _>>()?;
    let name = name_of(&path.canonicalize().map_err(ModelError::unreadable(&path))?.to_string_lossy());
    Ok(Model { name, digest: format!("sha256:{}", digest::of_all(&digests)), path, prompt_set: None, agreement: None })
}

/// Bytes of its weights.
pub(super) fn weights(path: &Path) -> Result<u64, ModelError> {
    let files = safetensors(path)?;
    Ok(files.iter().filter_map(|file| std::fs::metadata(file).ok()).map(|file| file.len()).sum())
}

/// Bytes that each token takes in the KV pool, in half precision, if its config.json says enough.
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

/// Its files of weights, in the order of their names.
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
}
