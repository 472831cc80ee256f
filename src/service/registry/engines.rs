//! Chooses the engine of a model and loads the model into it.

use std::sync::Arc;

use crate::config::{EngineChoice, LlamaCppConfig, MistralRsConfig, RemoteConfig};
use crate::engine::{Engine, LoadError, conformance};
use crate::models::Model;

/// The sizing of the engines that run model files: context, batch and memory.
#[derive(Debug, Clone)]
pub struct EngineSizes {
    /// Sizes of llama-cpp.
    pub llama_cpp: LlamaCppConfig,
    /// Sizes of mistralrs.
    pub mistralrs: MistralRsConfig,
    /// The servers of remote.
    pub remote: RemoteConfig,
}

/// Whether this build runs the mistralrs engine on a GPU.
const GPU: bool = cfg!(any(feature = "cuda", feature = "metal"));

impl EngineSizes {
    /// Tokens whose keys and values an engine may hold in memory.
    #[must_use]
    pub fn tokens_in_memory(&self, engine: EngineChoice) -> u64 {
        match engine {
            EngineChoice::Mistralrs => self.mistralrs.kv_tokens as u64,
            _ => self.llama_cpp.tokens_in_memory(),
        }
    }
}

/// The engine that `asked` stands for. `Auto` is mistralrs on a GPU and for folders of safetensors, else llama-cpp.
#[must_use]
pub(super) fn chosen(asked: EngineChoice, folder: bool) -> EngineChoice {
    let mistralrs = cfg!(feature = "mistralrs") && (GPU || folder || !cfg!(feature = "llama-cpp"));
    match asked {
        EngineChoice::Auto if mistralrs => EngineChoice::Mistralrs,
        EngineChoice::Auto => EngineChoice::LlamaCpp,
        named => named,
    }
}

/// Whether the weights of such a model are in the memory of an NVIDIA GPU. Metal uses main memory.
#[must_use]
pub(super) fn in_gpu_memory(asked: EngineChoice, sizes: &EngineSizes) -> bool {
    match chosen(asked, false) {
        EngineChoice::Mistralrs => cfg!(feature = "cuda"),
        EngineChoice::LlamaCpp => cfg!(feature = "llama-cpp-cuda") && sizes.llama_cpp.gpu_layers > 0,
        _ => false,
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
        EngineChoice::Remote if !cfg!(feature = "remote") => {
            missing("remote", "build it with the feature `remote`, which is a default one")
        }
        _ => Ok(()),
    }
}

/// Loads a model into the engine that `asked` stands for. On a GPU, mistralrs is probed before it serves.
///
/// # Errors
/// When this build has no such engine, or it cannot load the model.
pub(super) async fn open(asked: EngineChoice, model: Model, sizes: &EngineSizes) -> Result<Arc<dyn Engine>, LoadError> {
    let folder = model.path.is_dir();
    let engine = chosen(asked, folder);
    if engine != EngineChoice::Mistralrs {
        return open_unchecked(engine, model, sizes).await;
    }
    // If mistralrs is rejected, llama.cpp's GPU build is faster than one sequence at a time.
    let other = asked == EngineChoice::Auto && cfg!(feature = "llama-cpp-cuda") && !folder;
    match mistralrs(&model, &sizes.mistralrs, Some(other)).await {
        Ok(Some(engine)) => return Ok(engine),
        Ok(None) => {}
        Err(error) if other => tracing::warn!(%error, "mistralrs cannot load this model; trying llama-cpp"),
        Err(error) => return Err(error),
    }
    llama_cpp(model, &sizes.llama_cpp).await
}

/// Loads a model into an engine without the conformance probe, for tools that report what the engine gets wrong.
///
/// # Errors
/// When this build has no such engine, or it cannot load the model.
pub async fn open_unchecked(
    engine: EngineChoice,
    model: Model,
    sizes: &EngineSizes,
) -> Result<Arc<dyn Engine>, LoadError> {
    check_built(engine)?;
    match engine {
        EngineChoice::Mistralrs => {
            let opened = mistralrs(&model, &sizes.mistralrs, None).await?;
            opened.ok_or_else(|| LoadError::NotBuilt("mistralrs".into(), "build it with the feature `mistralrs`"))
        }
        _ if model.path.is_dir() => Err(LoadError::Model {
            path: model.path.display().to_string(),
            reason: "llama-cpp loads GGUF files; for a folder of safetensors take --engine mistralrs".into(),
        }),
        _ => llama_cpp(model, &sizes.llama_cpp).await,
    }
}

/// How an engine may be used, by its probe.
#[derive(Debug, PartialEq, Eq)]
#[cfg_attr(not(feature = "mistralrs"), allow(dead_code, reason = "only that engine is probed"))]
enum ProbeVerdict {
    Concurrent,
    Sequential,
    /// Not at all, because another engine can load the model.
    Rejected,
}

/// Probes an engine that runs sequences in batches. If batches come out wrong it is used for one sequence at a time, or
/// rejected where there is an `other` engine; where there is one, any other failed check rejects it, too.
#[cfg_attr(not(feature = "mistralrs"), allow(dead_code, reason = "only that engine is probed"))]
async fn probe(engine: &dyn Engine, other: bool) -> ProbeVerdict {
    if engine.info().sequences <= 1 {
        return ProbeVerdict::Concurrent;
    }
    if let Err(found) = conformance::together(engine).await {
        tracing::warn!(
            found,
            "mistralrs gives wrong results for sequences that run together on this device, so it runs one at a time; `gavel doctor` has details"
        );
        return if other { ProbeVerdict::Rejected } else { ProbeVerdict::Sequential };
    }
    if !other {
        return ProbeVerdict::Concurrent;
    }
    for (check, finding) in [
        ("departure", conformance::departure(engine).await),
        ("failure", conformance::failure(engine).await),
        ("reuse", conformance::reuse(engine).await),
    ] {
        if let Err(found) = finding {
            tracing::warn!(
                check,
                found,
                "a self-test of mistralrs fails, so llama-cpp is used; `gavel doctor` has details"
            );
            return ProbeVerdict::Rejected;
        }
    }
    ProbeVerdict::Concurrent
}

/// Loads the model. `probing` asks for the probe and says whether there is another engine; the result is `None` where
/// the probe rejects this one.
#[cfg(feature = "mistralrs")]
async fn mistralrs(
    model: &Model,
    sizes: &MistralRsConfig,
    probing: Option<bool>,
) -> Result<Option<Arc<dyn Engine>>, LoadError> {
    use crate::engine::mistralrs::{MistralRs, Settings};
    let settings = Settings {
        sequences: sizes.sequences,
        spread: sizes.spread,
        kv_tokens: sizes.kv_tokens,
        isq: sizes.isq.clone(),
    };
    let engine = MistralRs::load(model, settings).await?;
    let used = match probing {
        Some(other) => probe(&engine, other).await,
        None => ProbeVerdict::Concurrent,
    };
    Ok(match used {
        ProbeVerdict::Concurrent => Some(Arc::new(engine)),
        ProbeVerdict::Sequential => Some(Arc::new(engine.limited(1))),
        ProbeVerdict::Rejected => {
            // The other engine needs the memory.
            engine.shut_down().await;
            None
        }
    })
}

#[cfg(not(feature = "mistralrs"))]
#[allow(clippy::unused_async, reason = "as the one above")]
async fn mistralrs(_: &Model, _: &MistralRsConfig, _: Option<bool>) -> Result<Option<Arc<dyn Engine>>, LoadError> {
    check_built(EngineChoice::Mistralrs).map(|()| None)
}

#[cfg(feature = "llama-cpp")]
async fn llama_cpp(model: Model, sizes: &LlamaCppConfig) -> Result<Arc<dyn Engine>, LoadError> {
    use crate::engine::llama_cpp::{LlamaCpp, Settings};
    use crate::models::{EyesFile, ModelError};
    let settings = Settings {
        sequences: sizes.sequences,
        kv_tokens: sizes.kv_tokens,
        prefix_tokens: sizes.cached_tokens,
        step_tokens: sizes.step_tokens,
        threads: sizes.threads,
        gpu_layers: sizes.gpu_layers,
        picture_tokens: sizes.picture_tokens,
    };
    let path = model.path.display().to_string();
    let eyes = sizes.eyes.clone();
    let load = move || {
        let mut model = model;
        if !eyes.as_os_str().is_empty() {
            let unusable = |error: ModelError| LoadError::Eyes(error.to_string());
            model.eyes = Some(EyesFile::own(eyes).map_err(unusable)?);
        } else if cfg!(not(feature = "vision")) && model.eyes.take().is_some() {
            // Nobody asked for them, and texts are judged without them.
            tracing::warn!(model = model.name, "this build has no feature `vision`, so the model refuses pictures");
        }
        LlamaCpp::load(&model, settings)
    };
    let engine = tokio::task::spawn_blocking(load).await;
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
    use crate::engine::Job;
    use crate::engine::scripted::{Answer, Scripted};

    #[test]
    fn auto_is_mistralrs_on_a_gpu_and_for_folders_if_it_is_built() {
        let expected = match (cfg!(feature = "llama-cpp"), cfg!(feature = "mistralrs"), GPU) {
            (_, true, true) | (false, true, _) => EngineChoice::Mistralrs,
            _ => EngineChoice::LlamaCpp,
        };
        assert_eq!(chosen(EngineChoice::Auto, false), expected);
        let folder = if cfg!(feature = "mistralrs") { EngineChoice::Mistralrs } else { EngineChoice::LlamaCpp };
        assert_eq!(chosen(EngineChoice::Auto, true), folder);
        assert_eq!(chosen(EngineChoice::Scripted, true), EngineChoice::Scripted);
    }

    #[tokio::test]
    async fn a_probe_limits_or_rejects_an_engine() {
        // What one sequence gets wrong beside others, and what a prompt with an unknown token comes to.
        let engine = |muddled: bool, fails: bool| {
            Scripted::new(move |job: &Job| {
                let masses = (muddled && !job.deterministic).then(|| vec![0.9, 0.0, 0.0, 0.0, 0.0]);
                let fail = (fails && job.prompt.text().contains("a dog")).then(|| "unknown token".to_owned());
                Answer { masses, fail, ..Answer::default() }
            })
        };
        assert_eq!(probe(&engine(false, true), false).await, ProbeVerdict::Concurrent);
        assert_eq!(probe(&engine(false, true), true).await, ProbeVerdict::Concurrent);
        assert_eq!(probe(&engine(true, true), false).await, ProbeVerdict::Sequential);
        assert_eq!(probe(&engine(true, true), true).await, ProbeVerdict::Rejected);
        assert_eq!(probe(&engine(false, false), false).await, ProbeVerdict::Concurrent);
        assert_eq!(probe(&engine(false, false), true).await, ProbeVerdict::Rejected);
    }
}
