//! The metadata in a GGUF header, and its checks.

use std::collections::{HashMap, HashSet};

use super::fault::{Fault, wrong};

/// The key of the vocabulary.
pub(super) const TOKENS: &[u8] = b"tokenizer.ggml.tokens";
/// The beginning of the keys of the tokenizer.
pub(super) const OF_TOKENIZER: &[u8] = b"tokenizer.";
/// The default alignment of tensor data.
const DEFAULT_ALIGNMENT: u64 = 32;
/// llama.cpp's maximum; it aborts the process for more.
const MOST_LAYERS: u64 = 512;
const MOST_EXPERTS: u64 = 1024;
/// Known kinds of RoPE scaling.
const SCALINGS: [&[u8]; 4] = [b"none", b"linear", b"yarn", b"longrope"];

/// The values of a header by key.
#[derive(Debug, Default)]
pub(in crate::models) struct Metadata(HashMap<Vec<u8>, Value>);

/// A value, as far as it is used.
#[derive(Debug)]
pub(in crate::models) enum Value {
    Number(u64),
    Negative,
    Real(f64),
    Text(Vec<u8>),
    Texts(Vec<Vec<u8>>),
    Integers(Vec<i64>),
    Reals(Vec<f32>),
    /// A list that was skipped.
    List,
}

impl Value {
    pub(super) fn of_signed(number: impl TryInto<u64>) -> Self {
        number.try_into().map_or(Self::Negative, Self::Number)
    }
}

impl Metadata {
    pub(super) fn insert(&mut self, key: Vec<u8>, value: Value) -> Result<(), Fault> {
        match self.0.insert(key.clone(), value) {
            None => Ok(()),
            Some(_) => Err(wrong(format!("its metadata has {} twice", String::from_utf8_lossy(&key)))),
        }
    }

    /// The value of a key.
    pub(in crate::models) fn get(&self, key: &str) -> Option<&Value> {
        self.0.get(key.as_bytes())
    }

    /// The alignment of tensor data.
    pub(super) fn alignment(&self) -> Result<u64, Fault> {
        match self.0.get(&b"general.alignment"[..]) {
            None => Ok(DEFAULT_ALIGNMENT),
            // A larger alignment than its type can hold is invalid.
            Some(Value::Number(alignment)) if alignment.is_power_of_two() && *alignment <= 1 << 31 => Ok(*alignment),
            Some(other) => Err(wrong(format!("its alignment is {other:?}"))),
        }
    }

    /// Bytes of the keys and values of one token over all layers and KV heads, two bytes each. If layers differ, the
    /// header has a list of KV heads, and the result is the maximum.
    pub(super) fn kv_per_token(&self) -> Option<u64> {
        let number = |name: &str| self.number(name);
        let heads = number("attention.head_count");
        let by_width = || number("embedding_length")?.checked_div(heads?);
        let key = number("attention.key_length").or_else(by_width)?;
        let value = number("attention.value_length").or_else(by_width).unwrap_or(key);
        let kv_heads = number("attention.head_count_kv").or(heads)?;
        number("block_count")?.checked_mul(kv_heads)?.checked_mul(key.checked_add(value)?)?.checked_mul(2)
    }

    /// Checks the values that engines rely on without checks of their own.
    pub(super) fn check(&self) -> Result<(), Fault> {
        self.check_sizes()?;
        self.check_experts()?;
        self.check_positions()?;
        self.check_vocabulary()
    }

    fn check_sizes(&self) -> Result<(), Fault> {
        self.hold("block_count", |layers| (1..=MOST_LAYERS).contains(&layers))?;
        self.hold("context_length", |tokens| tokens > 0)?;
        let layers = self.number("block_count").unwrap_or(MOST_LAYERS);
        self.hold("nextn_predict_layers", |nextn| nextn <= layers)?;
        if let Some(heads) = self.number("attention.head_count") {
            self.hold("attention.head_count_kv", |kv| kv == 0 || heads.is_multiple_of(kv))?;
        }
        for name in ["layer_norm_rms_epsilon", "layer_norm_epsilon", "group_norm_epsilon"] {
            let name = format!("attention.{name}");
            if let Some(Value::Real(epsilon)) = self.of_model(&name)
                && !(epsilon.is_finite() && *epsilon >= 0.0)
            {
                return Err(wrong(format!("its {name} is {epsilon}")));
            }
        }
        Ok(())
    }

    fn check_experts(&self) -> Result<(), Fault> {
        // llama.cpp corrects these numbers itself.
        if matches!(self.0.get(&b"general.architecture"[..]), Some(Value::Text(name)) if name.starts_with(b"hunyuan")) {
            return Ok(());
        }
        let experts = self.number("expert_count").unwrap_or(0);
        self.hold("expert_count", |experts| experts <= MOST_EXPERTS)?;
        match (experts, self.of_model("expert_used_count")) {
            // Each layer may have its own number.
            (_, Some(Value::List)) => {}
            (1.., None) => return Err(wrong(format!("its expert_count is {experts}, and none is used"))),
            _ => self.hold("expert_used_count", |used| used <= experts && (used > 0 || experts == 0))?,
        }
        self.hold("expert_group_count", |groups| match (experts, groups) {
            (0, _) => groups == 0,
            (_, 0 | 1) => groups < experts,
            _ => groups < experts && experts.is_multiple_of(groups),
        })?;
        match self.number("expert_group_count") {
            Some(groups @ 2..) => self.hold("expert_group_used_count", |used| used > 0 && used < groups),
            _ => Ok(()),
        }
    }

    fn check_positions(&self) -> Result<(), Fault> {
        self.hold("rope.dimension_count", |dimensions| dimensions.is_multiple_of(2))?;
        if let Some(Value::Real(base)) = self.of_model("rope.freq_base")
            && !(base.is_finite() && *base > 0.0)
        {
            return Err(wrong(format!("its rope.freq_base is {base}")));
        }
        match self.of_model("rope.scaling.type") {
            Some(Value::Text(scaling)) if !SCALINGS.contains(&&scaling[..]) => {
                Err(wrong(format!("its rope.scaling.type is {}", String::from_utf8_lossy(scaling))))
            }
            _ => Ok(()),
        }
    }

    /// Checks that its tokens are different, and can encode any text.
    pub(super) fn check_vocabulary(&self) -> Result<(), Fault> {
        let kind = match self.0.get(&b"tokenizer.ggml.model"[..]) {
            Some(Value::Text(kind)) => &kind[..],
            _ => b"",
        };
        if [&b"none"[..], b"no_vocab"].contains(&kind) {
            return Err(wrong("it has no vocabulary"));
        }
        let Some(Value::Texts(tokens)) = self.0.get(TOKENS) else { return Ok(()) };
        if tokens.is_empty() {
            return Err(wrong("its vocabulary has no tokens"));
        }
        let mut seen: HashSet<&[u8]> = HashSet::with_capacity(tokens.len());
        // Empty tokens get generated names.
        for token in tokens.iter().filter(|token| !token.is_empty()) {
            if !seen.insert(token) {
                return Err(wrong(format!("its vocabulary has `{}` twice", String::from_utf8_lossy(token))));
            }
        }
        // Other text is encoded in bytes, so each byte needs a token.
        let written = |byte: u8| seen.contains(format!("<0x{byte:02X}>").as_bytes()) || seen.contains(&[byte][..]);
        match (0..=u8::MAX).find(|byte| !written(*byte)) {
            Some(missing) if kind == b"llama" => {
                Err(wrong(format!("its vocabulary has no token for the byte 0x{missing:02X}")))
            }
            _ => Ok(()),
        }
    }

    /// Fails if a number is present and `sound` rejects it.
    fn hold(&self, name: &str, sound: impl FnOnce(u64) -> bool) -> Result<(), Fault> {
        match self.of_model(name) {
            Some(Value::Number(number)) if !sound(*number) => Err(wrong(format!("its {name} is {number}"))),
            Some(Value::Negative) => Err(wrong(format!("its {name} is negative"))),
            _ => Ok(()),
        }
    }

    fn number(&self, name: &str) -> Option<u64> {
        match self.of_model(name) {
            Some(Value::Number(number)) => Some(*number),
            _ => None,
        }
    }

    /// The value of a key with the prefix of the architecture.
    fn of_model(&self, name: &str) -> Option<&Value> {
        let named = |key: &[u8]| key.splitn(2, |c| *c == b'.').nth(1) == Some(name.as_bytes());
        self.0.iter().find(|(key, _)| named(key)).map(|(_, value)| value)
    }
}
