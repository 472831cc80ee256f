//! Folders of safetensors: tiny models of Mistral's and Mixtral's shapes with random weights, made here.

use std::path::Path;

use gavel::engine::mistralrs::{MistralRs, Settings};
use gavel::engine::{Engine, Job, LoadError};
use gavel::models::{JudgeTraits, Model};
use gavel::script::{Generate, Outcome, Prompt, SamplerSettings, Script, Segment, Step};
use serde_json::{Map, Value, json};

use super::settings;

const WIDTH: usize = 64;
const INNER: usize = 128;
const VOCABULARY: usize = 320;
const EXPERTS: usize = 2;

/// Bytes as GPT-2 spells them, after two control tokens.
fn tokenizer() -> Value {
    let printable = |b: &u8| matches!(b, b'!'..=b'~' | 0xa1..=0xac | 0xae..=0xff);
    let plain = (0..=255u8).filter(printable).map(char::from);
    let moved = (0x100u32..).take(256 - plain.clone().count()).filter_map(char::from_u32);
    let control = ["<s>", "</s>"];
    let characters = plain.chain(moved).map(String::from);
    let vocabulary: Map<String, Value> =
        control.map(str::to_owned).into_iter().chain(characters).zip(0..).map(|(t, id)| (t, json!(id))).collect();
    let added = |id: usize| {
        json!({"id": id, "content": control[id], "single_word": false, "lstrip": false, "rstrip": false,
               "normalized": false, "special": true})
    };
    let bytes = json!({"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": true});
    json!({
        "version": "1.0", "truncation": null, "padding": null, "added_tokens": [added(0), added(1)],
        "normalizer": null, "pre_tokenizer": bytes, "post_processor": null, "decoder": bytes,
        "model": {"type": "BPE", "dropout": null, "unk_token": null, "continuing_subword_prefix": null,
                  "end_of_word_suffix": null, "fuse_unk": false, "byte_fallback": false, "ignore_merges": false,
                  "vocab": vocabulary, "merges": []},
    })
}

fn tensors(mixtral: bool) -> Vec<(String, Vec<usize>)> {
    let mut all = vec![
        ("model.embed_tokens.weight".to_owned(), vec![VOCABULARY, WIDTH]),
        ("model.norm.weight".to_owned(), vec![WIDTH]),
        ("lm_head.weight".to_owned(), vec![VOCABULARY, WIDTH]),
    ];
    for layer in 0..2 {
        let mut add =
            |name: &str, shape: &[usize]| all.push((format!("model.layers.{layer}.{name}.weight"), shape.into()));
        add("input_layernorm", &[WIDTH]);
        add("post_attention_layernorm", &[WIDTH]);
        add("self_attn.q_proj", &[WIDTH, WIDTH]);
        add("self_attn.k_proj", &[WIDTH / 2, WIDTH]);
        add("self_attn.v_proj", &[WIDTH / 2, WIDTH]);
        add("self_attn.o_proj", &[WIDTH, WIDTH]);
        if mixtral {
            add("block_sparse_moe.gate", &[EXPERTS, WIDTH]);
            for expert in 0..EXPERTS {
                add(&format!("block_sparse_moe.experts.{expert}.w1"), &[INNER, WIDTH]);
                add(&format!("block_sparse_moe.experts.{expert}.w2"), &[WIDTH, INNER]);
                add(&format!("block_sparse_moe.experts.{expert}.w3"), &[INNER, WIDTH]);
            }
        } else {
            add("mlp.gate_proj", &[INNER, WIDTH]);
            add("mlp.up_proj", &[INNER, WIDTH]);
            add("mlp.down_proj", &[WIDTH, INNER]);
        }
    }
    all
}

/// Writes a model's folder, its weights in the safetensors format: a header in JSON, then the values.
fn write(folder: &Path, mixtral: bool) {
    let (architecture, kind) =
        if mixtral { ("MixtralForCausalLM", "mixtral") } else { ("MistralForCausalLM", "mistral") };
    let config = json!({
        "architectures": [architecture], "model_type": kind, "vocab_size": VOCABULARY, "hidden_size": WIDTH,
        "intermediate_size": INNER, "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2,
        "hidden_act": "silu", "max_position_embeddings": 512, "rms_norm_eps": 1e-5, "rope_theta": 10000.0,
        "sliding_window": null, "tie_word_embeddings": false, "bos_token_id": 0, "eos_token_id": 1,
        "torch_dtype": "float32", "num_experts_per_tok": 2, "num_local_experts": EXPERTS, "use_cache": true,
        "attention_dropout": 0.0, "initializer_range": 0.02, "output_router_logits": false,
        "router_aux_loss_coef": 0.02,
    });
    let template = "{% for m in messages %}[{{ m.role }}] {{ m.content }}{% endfor %}";
    let settings = json!({"bos_token": "<s>", "eos_token": "</s>", "chat_template": template});
    for (name, value) in [("config", config), ("tokenizer", tokenizer()), ("tokenizer_config", settings)] {
        std::fs::write(folder.join(format!("{name}.json")), value.to_string()).unwrap();
    }
    let (mut header, mut data, mut seed) = (Map::new(), Vec::new(), 1u64);
    for (name, shape) in tensors(mixtral) {
        let begin = data.len();
        for _ in 0..shape.iter().product::<usize>() {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let noise = (seed >> 40) as f32 / (1u64 << 24) as f32 - 0.5;
            let value = if shape.len() == 1 { 1.0 } else { noise * 0.4 };
            data.extend(value.to_le_bytes());
        }
        header.insert(name, json!({"dtype": "F32", "shape": shape, "data_offsets": [begin, data.len()]}));
    }
    let header = Value::Object(header).to_string();
    let length = u64::try_from(header.len()).unwrap().to_le_bytes();
    std::fs::write(folder.join("model.safetensors"), [&length, header.as_bytes(), &data].concat()).unwrap();
}

async fn load(folder: &Path, isq: &str) -> Result<MistralRs, LoadError> {
    let model = Model {
        name: "tiny".into(),
        path: folder.into(),
        digest: "sha256:none".into(),
        traits: JudgeTraits::default(),
        eyes: None,
    };
    MistralRs::load(&model, Settings { isq: isq.into(), ..settings() }).await
}

async fn probabilities(engine: &MistralRs) -> Vec<f64> {
    let sampling = SamplerSettings { temperature: 0.0, top_p: 1.0, top_k: 0, min_p: 0.0, seed: 0 };
    let generate = Generate { stop: vec!["[RESULT]".into()], max_tokens: 8, min_tokens: 8, ..Generate::default() };
    let options = (1..=5).map(|score| format!(" {score}")).collect();
    let script = Script(vec![Step::Say(" [RESULT]".into()), Step::Choose(options), Step::Generate(generate)]);
    let prompt = Prompt(vec![Segment::Text("user: naïve\n\ntext </s>".into())]);
    let compiled = engine.compile(Job { prompt, script, sampling, deterministic: false }).unwrap();
    assert_eq!(compiled.encoded.ids.iter().filter(|id| **id == 1).count(), 0, "no text becomes a control token");
    let transcript = engine.start(compiled).finish(|_| ()).await.unwrap().transcript;
    let Outcome::Chosen { log_masses, .. } = &transcript.outcomes[1] else { panic!("{transcript:?}") };
    log_masses.iter().map(|mass| mass.exp()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn folders_are_loaded_as_they_are_or_quantised() {
    for mixtral in [false, true] {
        let folder = tempfile::tempdir().unwrap();
        write(folder.path(), mixtral);
        let whole = load(folder.path(), "").await.unwrap();
        assert_eq!(whole.info().context, 512);
        assert_eq!(whole.chat_format().eos, "</s>");
        let (first, again) = (probabilities(&whole).await, probabilities(&whole).await);
        assert_eq!(first, again);
        let quantised = probabilities(&load(folder.path(), "q8_0").await.unwrap()).await;
        assert_ne!(first, quantised, "quantising changes a little");
        let furthest = first.iter().zip(&quantised).map(|(a, b)| (a - b).abs() / a).fold(0.0, f64::max);
        assert!(furthest < 0.1, "mixtral: {mixtral}: {first:?}, {quantised:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn mistakes_say_what_to_do() {
    let folder = tempfile::tempdir().unwrap();
    write(folder.path(), false);
    let error = load(folder.path(), "q17").await.err().unwrap().to_string();
    assert!(error.contains("mistralrs.isq"), "{error}");
    std::fs::remove_file(folder.path().join("tokenizer.json")).unwrap();
    let error = load(folder.path(), "").await.err().unwrap().to_string();
    assert!(error.contains("tokenizer.json"), "{error}");
}
