//! Loading a model into mistral.rs.

use std::num::NonZeroUsize;
use std::path::Path;
use std::sync::Arc;

use candle_core::quantized::gguf_file::Content;
use mistralrs::core::{
    DefaultSchedulerMethod, DeviceMapSetting, GGUFLoaderBuilder, GGUFSpecificConfig, Loader, MemoryGpuConfig,
    MistralRs, MistralRsBuilder, ModelDType, NormalLoaderBuilder, NormalSpecificConfig, PagedAttentionConfig,
    PagedCacheType, SchedulerConfig, TokenSource, paged_attn_supported, parse_isq_value,
};
use mistralrs::{Device, IsqType, best_device};

use super::settings::Settings;

/// Block size of the KV pool of a GPU, in tokens.
const BLOCK: usize = 32;

/// A loaded model.
pub(super) struct Loaded {
    pub(super) runner: Arc<MistralRs>,
    pub(super) device: Device,
    /// Maximum number of tokens of all sequences together.
    pub(super) tokens: usize,
}

/// Loads a GGUF file or a folder of safetensors on the best device of this build, and warms it up.
pub(super) async fn load(path: &Path, settings: &Settings) -> Result<Loaded, String> {
    let device = best_device(false).map_err(|error| error.to_string())?;
    let folder = path.is_dir();
    let isq = quantisation(&settings.isq, folder, &device)?;
    // Paged attention is for GPUs; its pool would hold 4,096 tokens by default.
    let pool = MemoryGpuConfig::ContextSize(settings.kv_tokens + unusable(settings.sequences));
    let paged = (!device.is_cpu() && paged_attn_supported())
        .then(|| PagedAttentionConfig::new(Some(BLOCK), pool, PagedCacheType::Auto))
        .transpose()
        .map_err(|error| format!("{error:#}"))?;
    let (owned, on) = (path.to_path_buf(), device.clone());
    let pipeline = tokio::task::spawn_blocking(move || {
        let loader = if folder { of_folder(&owned)? } else { of_file(&owned)? };
        // Half precision is slow on CPUs.
        let dtype = if on.is_cpu() { ModelDType::F32 } else { ModelDType::Auto };
        let mapping = DeviceMapSetting::dummy();
        let loaded = loader.load_model_from_hf(None, TokenSource::None, &dtype, &on, true, mapping, isq, paged);
        loaded.map_err(|error| format!("{error:#}"))
    });
    let pipeline = pipeline.await.map_err(|panic| panic.to_string())??;
    let cache = pipeline.lock().await.get_metadata().cache_config.clone();
    // The pool can be smaller than requested, especially on a Mac.
    let tokens = cache.as_ref().map_or(settings.kv_tokens, |cache| {
        (cache.num_gpu_blocks * cache.block_size).saturating_sub(unusable(settings.sequences)).min(settings.kv_tokens)
    });
    let scheduler = match cache {
        Some(config) => SchedulerConfig::PagedAttentionMeta { max_num_seqs: settings.sequences, config },
        None => SchedulerConfig::DefaultScheduler {
            method: DefaultSchedulerMethod::Fixed(NonZeroUsize::new(settings.sequences).unwrap_or(NonZeroUsize::MIN)),
        },
    };
    // Its prefix cache is never emptied on a CPU, and can contain wrong data on a GPU.
    let builder = MistralRsBuilder::new(pipeline, scheduler, false, None).with_no_prefix_cache(true);
    // A prompt of several turns holds tokens that end a turn, and a part of it may be forced; so no token ends a
    // request but the one that is chosen for that.
    let runner = builder.with_disable_eos_stop(true).build().await;
    Ok(Loaded { runner, device, tokens })
}

/// Tokens of the pool that sequences cannot use: its first block, a part of the last block of every sequence, and the
/// loss from rounding the pool to whole megabytes.
fn unusable(sequences: usize) -> usize {
    BLOCK * (sequences + 2)
}

fn of_file(path: &Path) -> Result<Box<dyn Loader>, String> {
    check_positions(path)?;
    let folder = path.parent().unwrap_or(Path::new(".")).display().to_string();
    let files = crate::models::shards(path);
    let names = files.iter().filter_map(|file| Some(file.file_name()?.to_string_lossy().into_owned())).collect();
    Ok(GGUFLoaderBuilder::new(None, None, folder, names, GGUFSpecificConfig::default(), false, None).build())
}

/// Refuses a GGUF file with RoPE scaling (Llama 3.1 and other models with long contexts): mistral.rs 0.8 ignores it for
/// such files, and its answers are subtly wrong.
fn check_positions(path: &Path) -> Result<(), String> {
    let mut file = std::fs::File::open(path).map_err(|error| error.to_string())?;
    let content = Content::read(&mut file).map_err(|error| error.to_string())?;
    let factors = content.tensor_infos.keys().any(|name| name.starts_with("rope_f"));
    let kind = content.metadata.iter().find(|(key, _)| key.ends_with(".rope.scaling.type"));
    let scaled = kind.and_then(|(_, kind)| kind.to_string().ok()).is_some_and(|kind| kind != "none");
    if factors || scaled {
        let why = "it uses RoPE scaling, which mistral.rs supports for folders of safetensors only: use such a folder, \
                   or --engine llama-cpp";
        return Err(why.into());
    }
    Ok(())
}

fn of_folder(path: &Path) -> Result<Box<dyn Loader>, String> {
    let folder = Some(path.display().to_string());
    let builder = NormalLoaderBuilder::new(NormalSpecificConfig::default(), None, None, folder, false, None);
    builder.build(None).map_err(|error| format!("{error:#}"))
}

fn quantisation(name: &str, folder: bool, device: &Device) -> Result<Option<IsqType>, String> {
    match (name, folder) {
        ("", _) => Ok(None),
        (_, false) => Err("mistralrs.isq is for folders of safetensors; a GGUF file is quantised already".into()),
        (name, true) => parse_isq_value(name, Some(device)).map(Some).map_err(|why| format!("mistralrs.isq: {why}")),
    }
}
