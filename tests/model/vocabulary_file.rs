//! Writes a vocabulary-only GGUF file with a small SPM vocabulary, such as Llama 2 and Mistral have, since the demo
//! model's is a byte-level BPE.

use std::collections::BTreeSet;
use std::io::Write;
use std::path::Path;

pub(crate) const UINT32: u32 = 4;
pub(crate) const INT32: u32 = 5;
const FLOAT32: u32 = 6;
pub(crate) const STRING: u32 = 8;
const ARRAY: u32 = 9;

/// Token types of the format.
const NORMAL: i32 = 1;
const UNKNOWN: i32 = 2;
const CONTROL: i32 = 3;
const BYTE: i32 = 6;

/// Words of the vocabulary; `▁` is the space.
const WORDS: [&str; 26] = [
    "▁", "▁x", "x", ".", "▁[", "[", "]", "R", "E", "S", "U", "L", "T", "RES", "ULT", "RESULT", "▁A", "▁B", "A", "B",
    "▁good", "g", "▁the", "t", "INST", "/",
];

pub(crate) fn write(path: &Path) {
    let mut tokens: Vec<(String, f32, i32)> =
        vec![("<unk>".into(), 0.0, UNKNOWN), ("<s>".into(), 0.0, CONTROL), ("</s>".into(), 0.0, CONTROL)];
    tokens.extend((0..256).map(|byte| (format!("<0x{byte:02X}>"), 0.0, BYTE)));
    // Longer words have higher scores, so that merges prefer them; digits stand alone, as in Llama's vocabulary.
    let digits = ("0123456789").chars().map(|c| c.to_string());
    let letters = "abcdefghijklmnopqrsuvwyz".chars().map(|c| c.to_string());
    let words: BTreeSet<String> = WORDS.iter().map(|w| (*w).to_owned()).chain(digits).chain(letters).collect();
    let mut words: Vec<String> = words.into_iter().collect();
    words.sort_by_key(|word| std::cmp::Reverse(word.chars().count()));
    tokens.extend(words.into_iter().enumerate().map(|(rank, word)| (word, -(rank as f32) - 1.0, NORMAL)));

    let mut file = Vec::new();
    let pairs: u64 = 9;
    file.write_all(b"GGUF").unwrap();
    file.extend(3_u32.to_le_bytes());
    file.extend(0_u64.to_le_bytes());
    file.extend(pairs.to_le_bytes());
    string_pair(&mut file, "general.architecture", "llama");
    string_pair(&mut file, "tokenizer.ggml.model", "llama");
    array(&mut file, "tokenizer.ggml.tokens", STRING, tokens.len());
    tokens.iter().for_each(|(text, ..)| string(&mut file, text));
    array(&mut file, "tokenizer.ggml.scores", FLOAT32, tokens.len());
    tokens.iter().for_each(|(_, score, _)| file.extend(score.to_le_bytes()));
    array(&mut file, "tokenizer.ggml.token_type", INT32, tokens.len());
    tokens.iter().for_each(|(.., kind)| file.extend(kind.to_le_bytes()));
    for (key, id) in [
        ("tokenizer.ggml.bos_token_id", 1_u32),
        ("tokenizer.ggml.eos_token_id", 2),
        ("tokenizer.ggml.unknown_token_id", 0),
        ("llama.context_length", 2048),
    ] {
        string(&mut file, key);
        file.extend(UINT32.to_le_bytes());
        file.extend(id.to_le_bytes());
    }
    std::fs::write(path, file).unwrap();
}

pub(crate) fn string(file: &mut Vec<u8>, text: &str) {
    file.extend((text.len() as u64).to_le_bytes());
    file.extend(text.as_bytes());
}

pub(crate) fn string_pair(file: &mut Vec<u8>, key: &str, value: &str) {
    string(file, key);
    file.extend(STRING.to_le_bytes());
    string(file, value);
}

pub(crate) fn array(file: &mut Vec<u8>, key: &str, kind: u32, len: usize) {
    string(file, key);
    file.extend(ARRAY.to_le_bytes());
    file.extend(kind.to_le_bytes());
    file.extend((len as u64).to_le_bytes());
}
