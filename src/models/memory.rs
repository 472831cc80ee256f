//! Memory needs of models (weights, keys and values), and free memory.

use std::path::{Path, PathBuf};

use super::error::ModelError;
use super::reference::stem;
use super::{folder, gguf};

/// Bytes that a GGUF file (the first shard) or a folder of safetensors needs, with keys and values of this number of
/// tokens in half precision. An estimate: it leaves out other memory of the engine (at most some hundred megabytes),
/// and the keys and values if the header does not have their sizes.
///
/// # Errors
/// If the file's header cannot be read. Blocks the thread briefly.
pub fn needed(path: &Path, tokens: u64) -> Result<u64, ModelError> {
    let (weights, per_token) = if path.is_dir() {
        (folder::weights(path)?, folder::kv_per_token(path)?)
    } else {
        (weights(path), gguf::read(path)?.kv_per_token)
    };
    Ok(weights + per_token.unwrap_or(0).saturating_mul(tokens))
}

/// Bytes of the keys and values of one token over all layers, in half precision; `None` if the header of the GGUF file
/// (the first shard) does not say.
///
/// # Errors
/// If the file's header cannot be read. Blocks the thread briefly.
pub fn kv_per_token(path: &Path) -> Result<Option<u64>, ModelError> {
    Ok(gguf::read(path)?.kv_per_token)
}

/// Bytes of free memory; in a container, within its limit.
#[must_use]
pub fn available() -> u64 {
    let mut system = sysinfo::System::new();
    system.refresh_memory();
    let container = system.cgroup_limits().map_or(u64::MAX, |limits| limits.free_memory);
    system.available_memory().min(container)
}

/// Total size of a model's files, in bytes.
pub(super) fn weights(path: &Path) -> u64 {
    shards(path).iter().filter_map(|shard| std::fs::metadata(shard).ok()).map(|m| m.len()).sum()
}

/// All files of a GGUF model whose first one is `path`.
#[must_use]
pub fn shards(path: &Path) -> Vec<PathBuf> {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    match stem(&name) {
        (stem, Some((_, count))) => {
            (1..=count).map(|index| path.with_file_name(format!("{stem}-{index:05}-of-{count:05}.gguf"))).collect()
        }
        (_, None) => vec![path.to_path_buf()],
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::models::gguf::tests::with_architecture;

    #[test]
    fn weights_and_pool_are_counted() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("m.gguf");
        // 2 layers, 3 KV heads of 8 values each: key and value of two bytes.
        let bytes =
            with_architecture(&[("block_count", 2), ("attention.head_count_kv", 3), ("attention.key_length", 8)]);
        std::fs::write(&path, &bytes).unwrap();
        assert_eq!(needed(&path, 100).unwrap(), bytes.len() as u64 + 100 * 2 * 3 * (8 + 8) * 2);
        assert_eq!(kv_per_token(&path).unwrap(), Some(2 * 3 * (8 + 8) * 2));
        let heads = [("block_count", 2), ("attention.head_count", 4), ("embedding_length", 64)];
        let bytes = with_architecture(&heads);
        std::fs::write(&path, &bytes).unwrap();
        assert_eq!(needed(&path, 1).unwrap(), bytes.len() as u64 + 2 * 4 * (16 + 16) * 2);
        let bytes = with_architecture(&[("block_count", 2)]);
        std::fs::write(&path, &bytes).unwrap();
        assert_eq!(needed(&path, 1).unwrap(), bytes.len() as u64);
    }

    #[test]
    fn shards_are_counted_together() {
        let folder = tempfile::tempdir().unwrap();
        for shard in 1..=2 {
            std::fs::write(folder.path().join(format!("m-0000{shard}-of-00002.gguf")), vec![0; 10 * shard]).unwrap();
        }
        assert_eq!(weights(&folder.path().join("m-00001-of-00002.gguf")), 30);
    }
}
