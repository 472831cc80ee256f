//! Vocabularies from files without weights: what is a token, what ends a turn, and that text comes back.
#![cfg(feature = "vocabulary")]
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::path::Path;

use gavel::engine::vocabulary::ModelVocabulary;
use gavel::script::{Token, Vocabulary};
use serde_json::{Map, Value, json};
use tempfile::TempDir;

use self::vocabulary_file::{INT32, STRING, UINT32, array, string, string_pair};

#[path = "model/vocabulary_file.rs"]
mod vocabulary_file;

/// GPT-2's characters of all bytes.
fn byte_characters() -> Vec<String> {
    let printable = |b: &u8| matches!(b, b'!'..=b'~' | 0xa1..=0xac | 0xae..=0xff);
    let plain = (0..=255u8).filter(printable).map(char::from);
    let moved = (0x100u32..).take(256 - plain.clone().count()).filter_map(char::from_u32);
    plain.chain(moved).map(String::from).collect()
}

/// Words after the bytes, each merged of two others.
const WORDS: [(&str, &str); 3] = [("Ġ", "t"), ("h", "e"), ("Ġt", "he")];
const WORD: Token = 258;
const END: Token = 259;
const THINK: Token = 260;

/// A header of a byte-level BPE vocabulary, whose tensors and weights are missing.
fn write_bpe(path: &Path) {
    let words = WORDS.iter().map(|(left, right)| format!("{left}{right}"));
    let mut tokens: Vec<(String, i32)> = byte_characters().into_iter().chain(words).map(|text| (text, 1)).collect();
    tokens.extend([("<|im_end|>".to_owned(), 3), ("<think>".to_owned(), 4)]);
    let mut file = b"GGUF".to_vec();
    file.extend(3_u32.to_le_bytes());
    file.extend(291_u64.to_le_bytes());
    file.extend(7_u64.to_le_bytes());
    string_pair(&mut file, "general.architecture", "qwen2");
    string_pair(&mut file, "tokenizer.ggml.model", "gpt2");
    string_pair(&mut file, "tokenizer.ggml.pre", "qwen2");
    array(&mut file, "tokenizer.ggml.tokens", STRING, tokens.len());
    tokens.iter().for_each(|(text, _)| string(&mut file, text));
    array(&mut file, "tokenizer.ggml.token_type", INT32, tokens.len());
    tokens.iter().for_each(|(_, kind)| file.extend(kind.to_le_bytes()));
    array(&mut file, "tokenizer.ggml.merges", STRING, WORDS.len());
    WORDS.iter().for_each(|(left, right)| string(&mut file, &format!("{left} {right}")));
    string(&mut file, "tokenizer.ggml.eos_token_id");
    file.extend(UINT32.to_le_bytes());
    file.extend(END.to_le_bytes());
    std::fs::write(path, file).unwrap();
}

/// The same vocabulary in a folder.
fn write_folder(folder: &Path) {
    let texts = byte_characters().into_iter().chain(WORDS.iter().map(|(left, right)| format!("{left}{right}")));
    let vocabulary: Map<String, Value> = texts.zip(0..).map(|(text, id)| (text, json!(id))).collect();
    let merges: Vec<String> = WORDS.iter().map(|(left, right)| format!("{left} {right}")).collect();
    let added = |id: Token, text: &str, special: bool| {
        json!({"id": id, "content": text, "single_word": false, "lstrip": false, "rstrip": false,
               "normalized": false, "special": special})
    };
    let bytes = json!({"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": true});
    let tokenizer = json!({
        "version": "1.0", "truncation": null, "padding": null, "normalizer": null, "post_processor": null,
        "added_tokens": [added(END, "<|im_end|>", true), added(THINK, "<think>", false)],
        "pre_tokenizer": bytes, "decoder": bytes,
        "model": {"type": "BPE", "dropout": null, "unk_token": null, "continuing_subword_prefix": null,
                  "end_of_word_suffix": null, "fuse_unk": false, "byte_fallback": false, "ignore_merges": false,
                  "vocab": vocabulary, "merges": merges},
    });
    std::fs::write(folder.join("tokenizer.json"), tokenizer.to_string()).unwrap();
    std::fs::write(folder.join("tokenizer_config.json"), json!({"eos_token": "<|im_end|>"}).to_string()).unwrap();
    // The second is a token that the vocabulary does not have.
    std::fs::write(folder.join("generation_config.json"), json!({"eos_token_id": [THINK, 9999]}).to_string()).unwrap();
    std::fs::write(folder.join("chat_template.jinja"), "{{ messages }}").unwrap();
}

fn in_folder(write: impl Fn(&Path)) -> (TempDir, std::path::PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("vocabulary.gguf");
    write(&path);
    (folder, path)
}

fn bytes_of(vocabulary: &ModelVocabulary, ids: &[Token]) -> String {
    String::from_utf8(ids.iter().flat_map(|id| vocabulary.piece(*id)).collect()).unwrap()
}

fn check_bpe(vocabulary: &ModelVocabulary) {
    assert_eq!(vocabulary.size(), 261);
    for text in ["", " the", "naïve\n\n the 12\t🦉", "<|im_end|>", "x<think> the"] {
        let ids = vocabulary.tokenize(text);
        assert_eq!(bytes_of(vocabulary, &ids), text);
        assert!(!ids.contains(&END), "no text becomes a control token: {text:?}");
        assert_eq!((ids.contains(&WORD), ids.contains(&THINK)), (text.contains(" the"), text.contains("<think>")));
    }
    assert_eq!((vocabulary.control("<|im_end|>"), vocabulary.control("<think>")), (Some(END), None));
    assert_eq!((vocabulary.begin(), vocabulary.adds_space()), (None, false));
    assert_eq!(vocabulary.chat_format().eos, "<|im_end|>");
}

#[test]
fn a_byte_level_vocabulary_of_a_header_alone() {
    let (_folder, path) = in_folder(write_bpe);
    let vocabulary = ModelVocabulary::load(&path).unwrap();
    check_bpe(&vocabulary);
    assert_eq!(vocabulary.ends(), [END]);
    // Whatever follows the metadata is not read.
    let header = std::fs::read(&path).unwrap();
    std::fs::write(&path, [&header[..], &[0xff; 5000]].concat()).unwrap();
    check_bpe(&ModelVocabulary::load(&path).unwrap());
    for len in [0, 3, 24, 400, header.len() - 1] {
        std::fs::write(&path, &header[..len]).unwrap();
        let error = ModelVocabulary::load(&path).err().unwrap();
        assert!(error.contains("is incomplete"), "{len}: {error}");
    }
}

#[test]
fn the_same_vocabulary_of_a_folder() {
    let folder = tempfile::tempdir().unwrap();
    write_folder(folder.path());
    let vocabulary = ModelVocabulary::load(folder.path()).unwrap();
    check_bpe(&vocabulary);
    assert_eq!(vocabulary.ends(), [END, THINK]);
    assert_eq!(vocabulary.chat_format().template.as_deref(), Some("{{ messages }}"));
}

#[test]
fn an_spm_vocabulary_of_a_header_alone() {
    let (_folder, path) = in_folder(vocabulary_file::write);
    let vocabulary = ModelVocabulary::load(&path).unwrap();
    assert_eq!((vocabulary.begin(), vocabulary.adds_space()), (Some(1), true));
    assert_eq!(vocabulary.ends(), [1, 2]);
    for text in ["the x\n\nA é\t.", "good. [RESULT] A", "</s>"] {
        let ids = vocabulary.tokenize(text);
        assert_eq!(bytes_of(&vocabulary, &ids).strip_prefix(' '), Some(text));
        assert!(!ids.contains(&2), "no text becomes a control token: {text:?}");
    }
    // Only two tokens that make a token are merged, and of `RESULT` no two letters do.
    let pieces: Vec<String> =
        vocabulary.tokenize("good. [RESULT] A").iter().map(|id| bytes_of(&vocabulary, &[*id])).collect();
    assert_eq!(pieces, [" ", "g", "o", "o", "d", ".", " [", "R", "E", "S", "U", "L", "T", "]", " A"]);
}

#[test]
fn vocabularies_that_would_tokenise_wrongly_are_refused() {
    let (_folder, path) = in_folder(write_bpe);
    let header = std::fs::read(&path).unwrap();
    let refused = |from: &[u8], to: &[u8], why: &str| {
        let at = header.windows(from.len()).position(|window| window == from).unwrap();
        std::fs::write(&path, [&header[..at], to, &header[at + from.len()..]].concat()).unwrap();
        let error = ModelVocabulary::load(&path).err().unwrap();
        assert!(error.contains(why), "{error}");
    };
    refused(b"gpt2", b"bert", "`llama` and `gpt2` can be read");
    let pre = |name: &str| [b"ggml.pre\x08\0\0\0\x05\0\0\0\0\0\0\0", name.as_bytes()].concat();
    refused(&pre("qwen2"), &pre("qwen9"), "its pre-tokenizer `qwen9`");
    refused(b"GGUF\x03", b"GGUF\x01", "version is 1");
}
