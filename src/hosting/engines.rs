//! Which engine runs a model, and how it is opened.

use std::sync::Arc;

use crate::config::{EngineChoice, LlamaCppConfig, MistralRsConfig};
use crate::engine::{Engine, LoadError};
use crate::models::Model;

/// Sizes of the engines that run model files.
#[derive(Debug, Clone)]
pub struct Sizes {
    /// Those of llama-cpp.
    pub llama_cpp: LlamaCppConfig,
    /// Those of mistralrs.
    pub mistralrs: MistralRsConfig,
}

/// Whether this build runs the mistralrs engine on a GPU.
const GPU: bool = cfg!(any(feature = "cuda", feature = "metal"));

impl Sizes {
    /// Tokens whose keys and values an engine may hold in memory.
    #[must_use]
    pub fn tokens_in_memory(&self, engine: EngineChoice) -> u64 {
        match engine {
            EngineChoice::Mistralrs => self.mistralrs.kv_tokens as u64,
            _ => self.llama_cpp.tokens_in_memory(),
        }
    }
}

/// The engine that `asked` comes to: of itself, mistralrs on a GPU and for folders of safetensors, else llama-cpp.
#[must_use]
pub(super) fn chosen(asked: EngineChoice, folder: bool) -> EngineChoice {
    let mistralrs = cfg!(feature = "mistralrs") && (GPU || folder || !cfg!(feature = "llama-cpp"));
    match asked {
        EngineChoice::Auto if mistralrs => EngineChoice::Mistralrs,
        EngineChoice::Auto => EngineChoice::LlamaCpp,
        named => named,
    }
}

/// Checks that this build has an engine.
///
/// # Errors
/// [`LoadError::NotBuilt`].
pub fn check_built(engine: EngineChoice) -> Result<(), LoadError> {
    let missing = |name: &str, hint| Err(LoadError::NotBuilt(name.into(), hint));
    match engine {
        EngineChoice::LlamaCpp if !cfg!(feature = "llama-cpp") => {
            missing("llama-cpp", "build it with the feature `llama-cpp`, which is the default")
        }
        EngineChoice::Mistralrs if !cfg!(feature = "mistralrs") => {
            missing("mistralrs", "build it with the feature `mistralrs`, or `cuda` or `metal` for a GPU")
        }
        EngineChoice::Remote => missing("remote", "it is not part of this version yet"),
        _ => Ok(()),
    }
}

/// Loads a model into the engine that `asked` comes to.
///
/// # Errors
/// When this build has no such engine, or it cannot load the model.
pub async fn open(asked: EngineChoice, model: Model, sizes: &Sizes) -> Result<Arc<dyn Engine>, LoadError> {
    let folder = model.path.is_dir();
    let engine = chosen(asked, folder);
    check_built(engine)?;
    match engine {
        EngineChoice::Mistralrs => {
            // Where mistralrs gets wrong what it runs together, llama.cpp's own GPU build is faster than one at a time.
            let other = asked == EngineChoice::Auto && cfg!(feature = "llama-cpp-cuda") && !folder;
            match mistralrs(&model, &sizes.mistralrs, other).await? {
                Some(engine) => Ok(engine),
                None => llama_cpp(model, &sizes.llama_cpp).await,
            }
        }
        _ if folder => Err(LoadError::Model {
            path: model.path.display().to_string(),
            reason: "llama-cpp loads GGUF files; for a folder of safetensors take --engine mistralrs".into(),
        }),
        _ => llama_cpp(model, &sizes.llama_cpp).await,
    }
}

/// Opens the model, and makes sure that sequences may run together; if not, one at a time runs, or nothing where there
/// is another engine.
#[cfg(feature = "mistralrs")]
async fn mistralrs(model: &Model, sizes: &MistralRsConfig, other: bool) -> Result<Option<Arc<dyn Engine>>, LoadError> {
    use crate::engine::canaries;
    use crate::engine::mistralrs::{MistralRs, Settings};
    let settings = Settings {
        sequences: sizes.sequences,
        spread: sizes.spread,
        kv_tokens: sizes.kv_tokens,
        isq: sizes.isq.clone(),
    };
    let engine = MistralRs::load(model, settings).await?;
    if engine.info().sequences > 1
        && let Err(found) = canaries::together(&engine).await
    {
        tracing::warn!(found, "this device gets sequences wrong that run together; `gavel doctor` shows more");
        return Ok(if other { None } else { Some(Arc::new(engine.limited(1))) });
    }
    Ok(Some(Arc::new(engine)))
}

#[cfg(not(feature = "mistralrs"))]
#[allow(clippy::unused_async, reason = "as the one above")]
async fn mistralrs(_: &Model, _: &MistralRsConfig, _: bool) -> Result<Option<Arc<dyn Engine>>, LoadError> {
    check_built(EngineChoice::Mistralrs).map(|()| None)
}

#[cfg(feature = "llama-cpp")]
async fn llama_cpp(model: Model, sizes: &LlamaCppConfig) -> Result<Arc<dyn Engine>, LoadError> {
    use crate::engine::llama_cpp::{LlamaCpp, Settings};
    let settings = Settings {
        sequences: sizes.sequences,
        kv_tokens: sizes.kv_tokens,
        prefix_tokens: sizes.cached_tokens,
        step_tokens: sizes.step_tokens,
        threads: sizes.threads,
        gpu_layers: sizes.gpu_layers,
    };
    let path = model.path.display().to_string();
    let engine = tokio::task::spawn_blocking(move || LlamaCpp::load(&model, settings)).await;
    let engine = engine.map_err(|panic| LoadError::Model { path, reason: panic.to_string() })??;
    Ok(Arc::new(engine))
}

#[cfg(not(feature = "llama-cpp"))]
#[allow(clippy::unused_async, reason = "as the one above")]
async fn llama_cpp(_: Model, _: &LlamaCppConfig) -> Result<Arc<dyn Engine>, LoadError> {
    check_built(EngineChoice::LlamaCpp)?;
    unreachable!("this build has no llama-cpp")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_auto_comes_to() {
        let expected = match (cfg!(feature = "llama-cpp"), cfg!(feature = "mistralrs"), GPU) {
            (_, true, true) | (false, true, _) => EngineChoice::Mistralrs,
            _ => EngineChoice::LlamaCpp,
        };
        assert_eq!(chosen(EngineChoice::Auto, false), expected);
        let folder = if cfg!(feature = "mistralrs") { EngineChoice::Mistralrs } else { EngineChoice::LlamaCpp };
        assert_eq!(chosen(EngineChoice::Auto, true), folder);
        assert_eq!(chosen(EngineChoice::Scripted, true), EngineChoice::Scripted);
    }
}
