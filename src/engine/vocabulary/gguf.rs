//! The vocabulary of a GGUF file.

use std::path::Path;

use tokenizers::Tokenizer;
use tokenizers::models::bpe::{BPE, Vocab};
use tokenizers::pre_tokenizers::PreTokenizerWrapper;
use tokenizers::pre_tokenizers::byte_level::ByteLevel;
use tokenizers::pre_tokenizers::sequence::Sequence;
use tokenizers::pre_tokenizers::split::{Split, SplitPattern};
use tokenizers::tokenizer::SplitDelimiterBehavior;

use super::kind::{Kind, byte_of};
use super::parts::{Encoder, Parts};
use super::spm::Spm;
use crate::models::GgufHeader;
use crate::script::Token;

/// Patterns of pre-tokenizers, as in the training of the models.
const GPT2: &str = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+";
const ONE_DIGIT: &str = r"\p{N}";
const LLAMA3: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";
const QWEN2: &str =
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";
const TEKKEN: &str = r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+";

/// The meaning of `tokenizer.ggml.pre`.
struct Rules {
    cuts: &'static [&'static str],
    /// Whether a piece that is a token is used without merging.
    whole: bool,
    /// Whether sequences begin with a BOS token, if the file does not say.
    begins: bool,
}

fn rules(name: &str) -> Option<Rules> {
    let (cuts, whole, begins): (&[&str], bool, bool) = match name {
        "gpt-2" | "phi-2" => (&[GPT2], false, false),
        "smollm" | "starcoder" | "refact" | "command-r" => (&[ONE_DIGIT, GPT2], false, false),
        "llama-bpe" | "llama3" | "llama-v3" | "falcon3" => (&[LLAMA3], true, true),
        "qwen2" | "deepseek-r1-qwen" => (&[QWEN2], false, false),
        "tekken" => (&[TEKKEN], true, true),
        _ => return None,
    };
    Some(Rules { cuts, whole, begins })
}

pub(super) fn read(path: &Path) -> Result<Parts, String> {
    let metadata = Metadata(GgufHeader::read(path).map_err(|error| error.to_string())?);
    match metadata.0.text("tokenizer.ggml.model").as_deref() {
        Some("llama") => spm(&metadata),
        Some("gpt2") => bpe(&metadata),
        other => Err(format!("its tokenizer is of the kind {other:?}; `llama` and `gpt2` can be read")),
    }
}

fn spm(metadata: &Metadata) -> Result<Parts, String> {
    let tokens = metadata.tokens()?;
    let key = "tokenizer.ggml.scores";
    let scores = metadata.0.reals(key).ok_or_else(|| no_list(key))?.to_vec();
    let adds_space = metadata.flag("tokenizer.ggml.add_space_prefix").unwrap_or(true);
    let encoder = Encoder::Spm(Spm::new(&tokens, scores, adds_space));
    Ok(metadata.parts(encoder, tokens, false, adds_space, true))
}

fn bpe(metadata: &Metadata) -> Result<Parts, String> {
    let tokens = metadata.tokens()?;
    let name = metadata.0.text("tokenizer.ggml.pre").unwrap_or_else(|| "default".to_owned());
    let Some(rules) = rules(&name) else {
        return Err(format!(
            "its pre-tokenizer `{name}` is not supported: use a folder with its tokenizer.json, or the engine \
             llama-cpp"
        ));
    };
    let merges: Option<Vec<(String, String)>> = (metadata.texts("tokenizer.ggml.merges")?.iter())
        .map(|merge| merge.split_once(' ').map(|(left, right)| (left.to_owned(), right.to_owned())))
        .collect();
    let merges = merges.ok_or("its list `tokenizer.ggml.merges` has an entry that is not a pair")?;
    let vocabulary: Vocab = tokens.iter().zip(0..).map(|((text, _), id)| (text.clone(), id)).collect();
    let model = BPE::builder().vocab_and_merges(vocabulary, merges).ignore_merges(rules.whole).build();
    let model = model.map_err(|error| error.to_string())?;
    let encoder = Encoder::Library(Box::new(library(model, rules.cuts).map_err(|error| error.to_string())?));
    Ok(metadata.parts(encoder, tokens, true, false, rules.begins))
}

fn library(model: BPE, cuts: &[&str]) -> tokenizers::Result<Tokenizer> {
    let mut steps = Vec::new();
    for cut in cuts {
        let pattern = SplitPattern::Regex((*cut).to_owned());
        steps.push(PreTokenizerWrapper::Split(Split::new(pattern, SplitDelimiterBehavior::Isolated, false)?));
    }
    steps.push(PreTokenizerWrapper::ByteLevel(ByteLevel::new(false, false, false)));
    let mut tokenizer = Tokenizer::new(model);
    tokenizer.with_pre_tokenizer(Some(Sequence::new(steps)));
    Ok(tokenizer)
}

/// A file's metadata.
struct Metadata(GgufHeader);

impl Metadata {
    fn flag(&self, key: &str) -> Option<bool> {
        self.0.number(key).map(|flag| flag != 0)
    }

    fn id(&self, key: &str) -> Option<Token> {
        self.0.number(key).and_then(|id| Token::try_from(id).ok())
    }

    fn texts(&self, key: &str) -> Result<Vec<String>, String> {
        self.0.texts(key).ok_or_else(|| no_list(key))
    }

    fn tokens(&self) -> Result<Vec<(String, Kind)>, String> {
        let texts = self.texts("tokenizer.ggml.tokens")?;
        // Without types, every token is plain text, as the format defines.
        let kinds = self.0.integers("tokenizer.ggml.token_type").unwrap_or_default();
        let kinds = kinds.iter().copied().chain(std::iter::repeat(1));
        Ok(texts.into_iter().zip(kinds).map(|(text, kind)| kind_of(text, kind)).collect())
    }

    fn parts(
        &self,
        encoder: Encoder,
        tokens: Vec<(String, Kind)>,
        byte_level: bool,
        adds_space: bool,
        begins: bool,
    ) -> Parts {
        let bos = self.id("tokenizer.ggml.bos_token_id");
        let begins = self.flag("tokenizer.ggml.add_bos_token").unwrap_or(begins);
        Parts {
            encoder,
            tokens,
            byte_level,
            adds_space,
            begin: bos.filter(|_| begins),
            bos,
            eos: self.id("tokenizer.ggml.eos_token_id"),
            ends: ["eot", "eom"].iter().filter_map(|n| self.id(&format!("tokenizer.ggml.{n}_token_id"))).collect(),
            template: self.0.text("tokenizer.chat_template"),
        }
    }
}

fn no_list(key: &str) -> String {
    format!("its header has no list `{key}`")
}

/// The kind of a token type number of the format.
fn kind_of(text: String, kind: i64) -> (String, Kind) {
    let kind = match kind {
        2 => Kind::Unknown,
        3 => Kind::Control,
        4 => Kind::UserDefined,
        6 => byte_of(&text).map_or(Kind::Plain, Kind::Byte),
        _ => Kind::Plain,
    };
    (text, kind)
}
