//! The vocabulary of a folder in the format of Hugging Face's tools.

use std::path::Path;

use serde_json::Value;
use tokenizers::Tokenizer;

use super::kind::{Kind, byte_of};
use super::parts::{Encoder, Parts};
use crate::script::Token;

pub(super) fn read(folder: &Path) -> Result<Parts, String> {
    let path = folder.join("tokenizer.json");
    let text = std::fs::read_to_string(&path).map_err(|error| format!("tokenizer.json: {error}"))?;
    let description: Value = serde_json::from_str(&text).map_err(|error| format!("tokenizer.json: {error}"))?;
    let mut tokenizer: Tokenizer = text.parse().map_err(|error| format!("tokenizer.json: {error}"))?;
    let begin = begin(&tokenizer);
    // Judged text never becomes a control token.
    tokenizer.set_encode_special_tokens(true);
    let byte_level = ["pre_tokenizer", "decoder"].iter().any(|part| mentions(&description[*part], "ByteLevel"));
    let tokens = tokens(&tokenizer, byte_level);
    let settings = optional(folder, "tokenizer_config.json")?;
    let named = |key: &str| {
        let text = settings[key].as_str().or_else(|| settings[key]["content"].as_str())?;
        Token::try_from(tokenizer.token_to_id(text)?).ok()
    };
    let (bos, eos) = (named("bos_token"), named("eos_token"));
    let wanted = settings["add_bos_token"].as_bool().unwrap_or(true);
    let adds_space = adds_space(&tokenizer);
    Ok(Parts {
        encoder: Encoder::Library(Box::new(tokenizer)),
        tokens,
        byte_level,
        adds_space,
        begin: begin.filter(|_| wanted),
        bos,
        eos,
        ends: ends(&optional(folder, "generation_config.json")?["eos_token_id"]),
        template: template(folder, &settings["chat_template"]),
    })
}

/// An optional JSON file.
fn optional(folder: &Path, name: &str) -> Result<Value, String> {
    match std::fs::read_to_string(folder.join(name)) {
        Ok(text) => serde_json::from_str(&text).map_err(|error| format!("{name}: {error}")),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Value::Null),
        Err(error) => Err(format!("{name}: {error}")),
    }
}

/// The BOS token, if the tokenizer adds one.
fn begin(tokenizer: &Tokenizer) -> Option<Token> {
    let encoding = tokenizer.encode_fast("a", true).ok()?;
    let plain = tokenizer.encode_fast("a", false).ok()?;
    let first = *encoding.get_ids().first()?;
    (plain.get_ids().first() != Some(&first)).then_some(first).and_then(|id| Token::try_from(id).ok())
}

fn adds_space(tokenizer: &Tokenizer) -> bool {
    let first = tokenizer.encode_fast("a", false).ok().and_then(|encoding| encoding.get_tokens().first().cloned());
    first.is_some_and(|token| token.starts_with('▁'))
}

fn tokens(tokenizer: &Tokenizer, byte_level: bool) -> Vec<(String, Kind)> {
    let added = tokenizer.get_added_tokens_decoder();
    let size = tokenizer.get_vocab(true).values().max().map_or(0, |most| most + 1);
    let kind = |id: u32, text: &str| match added.get(&id) {
        Some(token) if token.special => Kind::Control,
        // The library handles these itself.
        Some(_) => Kind::Plain,
        None if byte_level => Kind::Plain,
        None => byte_of(text).map_or(Kind::Plain, Kind::Byte),
    };
    let text = |id: u32| tokenizer.id_to_token(id).unwrap_or_default();
    (0..size).map(|id| (text(id), id)).map(|(text, id)| (text.clone(), kind(id, &text))).collect()
}

fn ends(ids: &Value) -> Vec<Token> {
    let list = ids.as_array().cloned().unwrap_or_else(|| vec![ids.clone()]);
    list.iter().filter_map(|id| Token::try_from(id.as_i64()?).ok()).collect()
}

/// The chat template: the one called `default` of several, or that of a separate file.
fn template(folder: &Path, listed: &Value) -> Option<String> {
    let named = |entry: &&Value| entry["name"] == "default";
    let of_list = || listed.as_array()?.iter().find(named)?["template"].as_str();
    let own = || std::fs::read_to_string(folder.join("chat_template.jinja")).ok();
    listed.as_str().or_else(of_list).map(str::to_owned).or_else(own)
}

/// Whether a part of the tokenizer's description has a component of this type.
fn mentions(part: &Value, kind: &str) -> bool {
    match part {
        Value::Object(fields) => {
            fields.get("type").is_some_and(|t| t == kind) || fields.values().any(|v| mentions(v, kind))
        }
        Value::Array(items) => items.iter().any(|item| mentions(item, kind)),
        _ => false,
    }
}
