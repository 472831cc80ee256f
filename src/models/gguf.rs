//! GGUF headers: checks that a file is complete and valid, and locates its contents. Never reads the weights.
//!
//! llama.cpp aborts the process for some invalid files. So everything that it relies on is checked here first.

pub(super) mod fault;
pub(super) mod metadata;

use std::fs::File;
use std::io::{BufReader, Read, Seek};
use std::path::Path;

use self::fault::{Fault, absurd, wrong};
use self::metadata::{Metadata, Value};
use super::error::ModelError;

/// Fails unless `path` is a GGUF file of a known version that is long enough for every tensor in its header. Blocks the
/// thread briefly.
pub(super) fn check(path: &Path) -> Result<(), ModelError> {
    read(path).map(drop)
}

/// Reads and checks the header, as [`check`] does. Blocks the thread briefly.
pub(super) fn read(path: &Path) -> Result<Layout, ModelError> {
    let (file, len) = open(path)?;
    let mut header = Header { reader: BufReader::new(file), at: 0, len, lists: Lists::Tokens };
    let layout = header.layout().and_then(|layout| match layout.end <= len {
        true => Ok(layout),
        false => Err(Fault::EndsBefore(layout.end)),
    });
    layout.map_err(|fault| fault.of_file(path, len))
}

/// Opens a file, and tells its length.
pub(super) fn open(path: &Path) -> Result<(File, u64), ModelError> {
    let file = File::open(path).map_err(ModelError::unreadable(path))?;
    let len = file.metadata().map_err(ModelError::unreadable(path))?.len();
    Ok((file, len))
}

/// Reads the metadata, with the lists of the tokenizer, and its number of bytes, of which there may be `most`. Checks
/// the vocabulary. Needs nothing after the metadata.
pub(super) fn metadata_of(source: impl Read + Seek, len: u64, most: u64) -> Result<(Metadata, u64), Fault> {
    let mut header = Header { reader: BufReader::new(source), at: 0, len: len.min(most), lists: Lists::OfTokenizer };
    let read = header.begin().and_then(|(_, pairs)| header.metadata(pairs));
    let (metadata, _) = read.map_err(|fault| match fault {
        Fault::EndsBefore(needed) if needed > most => wrong(format!("its metadata has more than {most} bytes")),
        other => other,
    })?;
    metadata.check_vocabulary()?;
    Ok((metadata, header.at))
}

/// The layout of a GGUF file.
#[derive(Debug)]
pub(super) struct Layout {
    /// Offset of the value of `general.file_type`, if there is one.
    pub(super) file_type: Option<u64>,
    /// The alignment of tensor data.
    pub(super) alignment: u64,
    /// End of the metadata and start of the tensor list.
    pub(super) list: u64,
    /// The tensors, in the list's order.
    pub(super) tensors: Vec<Tensor>,
    /// Bytes of the keys and values of one token in half precision, if the header has the sizes.
    pub(super) kv_per_token: Option<u64>,
    /// Start of the data.
    pub(super) data: u64,
    /// End of the data.
    end: u64,
}

/// One tensor of the list.
#[derive(Debug)]
pub(super) struct Tensor {
    /// Its name, usually UTF-8.
    pub(super) name: Vec<u8>,
    /// Its dimensions, the fastest-varying first.
    pub(super) dimensions: Vec<u64>,
    /// Its number of values.
    pub(super) elements: u64,
    /// Its ggml type.
    pub(super) kind: u32,
    /// Its offset from the start of the data.
    pub(super) offset: u64,
}

/// The layout of a ggml type.
#[derive(Debug, Clone, Copy)]
pub(super) struct Block {
    /// The name of the type in ggml.
    pub(super) name: &'static str,
    /// Number of values in a block.
    pub(super) elements: u64,
    /// Number of bytes of a block.
    pub(super) bytes: u64,
}

/// ggml types by number.
pub(super) const F32: u32 = 0;
pub(super) const F16: u32 = 1;
pub(super) const Q4_0: u32 = 2;
pub(super) const Q4_1: u32 = 3;
pub(super) const Q8_0: u32 = 8;
/// The range of types that are integers or double precision.
const I8: u32 = 24;
const F64: u32 = 28;
const BF16: u32 = 30;

/// As many as ggml has.
const MAX_DIMENSIONS: u32 = 4;

/// Most values of a list of the tokenizer; the largest vocabularies have some hundred thousand tokens and merges.
const MOST_VALUES: u64 = 1 << 21;

/// Kinds of metadata values that this reader distinguishes.
pub(super) const U32: u32 = 4;
const I32: u32 = 5;
const REAL: u32 = 6;
pub(super) const STRING: u32 = 8;
const ARRAY: u32 = 9;

struct Header<R> {
    reader: BufReader<R>,
    at: u64,
    /// Bytes that may be read.
    len: u64,
    lists: Lists,
}

/// The lists of the metadata that are read; others are skipped.
#[derive(Clone, Copy, PartialEq)]
enum Lists {
    /// The texts of the tokens.
    Tokens,
    /// Everything about the tokenizer.
    OfTokenizer,
}

impl<R: Read + Seek> Header<R> {
    /// Reads the numbers of tensors and of pairs of metadata.
    fn begin(&mut self) -> Result<(u64, u64), Fault> {
        if &self.bytes::<4>()? != b"GGUF" {
            return Err(wrong("it does not begin with the letters GGUF"));
        }
        let version = self.u32()?;
        if !(2..=3).contains(&version) {
            return Err(wrong(format!("its version is {version}, not 2 or 3")));
        }
        Ok((self.u64()?, self.u64()?))
    }

    /// Reads the metadata, and the offset of the value of `general.file_type`.
    fn metadata(&mut self, pairs: u64) -> Result<(Metadata, Option<u64>), Fault> {
        let (mut metadata, mut file_type) = (Metadata::default(), None);
        for _ in 0..pairs {
            let key = self.string()?;
            let kind = self.u32()?;
            if (kind, &key[..]) == (U32, b"general.file_type") {
                file_type = Some(self.at);
            }
            let value = self.value(kind, &key)?;
            metadata.insert(key, value)?;
        }
        Ok((metadata, file_type))
    }

    fn layout(&mut self) -> Result<Layout, Fault> {
        let (count, pairs) = self.begin()?;
        let (metadata, file_type) = self.metadata(pairs)?;
        let list = self.at;
        let alignment = metadata.alignment()?;
        metadata.check()?;
        let (mut furthest, mut tensors) = (0, Vec::new());
        for _ in 0..count {
            let tensor = self.tensor()?;
            tensor.check(alignment)?;
            furthest = furthest.max(tensor.end()?);
            tensors.push(tensor);
        }
        let data = self.at.next_multiple_of(alignment);
        let end = data.checked_add(furthest).ok_or_else(absurd)?;
        Ok(Layout { file_type, alignment, list, tensors, kv_per_token: metadata.kv_per_token(), data, end })
    }

    /// Reads one tensor's entry in the list.
    fn tensor(&mut self) -> Result<Tensor, Fault> {
        let name = self.string()?;
        let dimensions = self.u32()?;
        if dimensions > MAX_DIMENSIONS {
            return Err(wrong(format!("a tensor has {dimensions} dimensions")));
        }
        let dimensions = (0..dimensions).map(|_| self.u64()).collect::<Result<Vec<_>, _>>()?;
        let elements = dimensions.iter().try_fold(1u64, |product, n| product.checked_mul(*n)).ok_or_else(absurd)?;
        Ok(Tensor { name, dimensions, elements, kind: self.u32()?, offset: self.u64()? })
    }

    /// Reads a metadata value, as far as it is used.
    fn value(&mut self, kind: u32, key: &[u8]) -> Result<Value, Fault> {
        Ok(match kind {
            STRING => Value::Text(self.string()?),
            ARRAY => {
                let (of, count) = (self.u32()?, self.u64()?);
                let wanted = match self.lists {
                    Lists::Tokens => key == metadata::TOKENS,
                    Lists::OfTokenizer => key.starts_with(metadata::OF_TOKENIZER),
                };
                if self.lists == Lists::OfTokenizer && wanted && count > MOST_VALUES {
                    return Err(wrong(format!("its {} has {count} values", String::from_utf8_lossy(key))));
                }
                // Each value takes at least four bytes of the file, so an invalid count cannot exhaust memory.
                match of {
                    STRING if wanted => Value::Texts((0..count).map(|_| self.string()).collect::<Result<_, _>>()?),
                    U32 if wanted => {
                        Value::Integers((0..count).map(|_| self.u32().map(i64::from)).collect::<Result<_, _>>()?)
                    }
                    I32 if wanted => {
                        let each = |_| self.bytes().map(|bytes| i64::from(i32::from_le_bytes(bytes)));
                        Value::Integers((0..count).map(each).collect::<Result<_, _>>()?)
                    }
                    REAL if wanted => Value::Reals(
                        (0..count).map(|_| self.bytes().map(f32::from_le_bytes)).collect::<Result<_, _>>()?,
                    ),
                    STRING => {
                        for _ in 0..count {
                            let len = self.u64()?;
                            self.skip(len)?;
                        }
                        Value::List
                    }
                    ARRAY => return Err(wrong("its metadata has an array of arrays")),
                    _ => {
                        let bytes = count.checked_mul(fixed_size(of)?).ok_or_else(absurd)?;
                        self.skip(bytes)?;
                        Value::List
                    }
                }
            }
            0 | 7 => Value::Number(u64::from(self.bytes::<1>()?[0])),
            1 => Value::of_signed(i8::from_le_bytes(self.bytes()?)),
            2 => Value::Number(u64::from(u16::from_le_bytes(self.bytes()?))),
            3 => Value::of_signed(i16::from_le_bytes(self.bytes()?)),
            U32 => Value::Number(u64::from(self.u32()?)),
            I32 => Value::of_signed(i32::from_le_bytes(self.bytes()?)),
            REAL => Value::Real(f64::from(f32::from_le_bytes(self.bytes()?))),
            10 => Value::Number(self.u64()?),
            11 => Value::of_signed(i64::from_le_bytes(self.bytes()?)),
            12 => Value::Real(f64::from_le_bytes(self.bytes()?)),
            _ => return Err(wrong(format!("its metadata has a value of kind {kind}"))),
        })
    }

    fn string(&mut self) -> Result<Vec<u8>, Fault> {
        let len = self.u64()?;
        // Limited by the file's length, so that an invalid header cannot exhaust memory.
        self.claim(len)?;
        let mut text = Vec::new();
        let reader = self.reader.by_ref();
        reader.take(len).read_to_end(&mut text).map_err(Fault::Io)?;
        Ok(text)
    }

    fn u32(&mut self) -> Result<u32, Fault> {
        self.bytes().map(u32::from_le_bytes)
    }

    fn u64(&mut self) -> Result<u64, Fault> {
        self.bytes().map(u64::from_le_bytes)
    }

    fn bytes<const N: usize>(&mut self) -> Result<[u8; N], Fault> {
        self.claim(N as u64)?;
        let mut bytes = [0; N];
        self.reader.read_exact(&mut bytes).map_err(Fault::Io)?;
        Ok(bytes)
    }

    fn skip(&mut self, n: u64) -> Result<(), Fault> {
        self.claim(n)?;
        let n = i64::try_from(n).map_err(|_| absurd())?;
        self.reader.seek_relative(n).map_err(Fault::Io)
    }

    /// Skips `n` bytes, if the file has them.
    fn claim(&mut self, n: u64) -> Result<(), Fault> {
        let end = self.at.checked_add(n).ok_or_else(absurd)?;
        if end > self.len {
            return Err(Fault::EndsBefore(end));
        }
        self.at = end;
        Ok(())
    }
}

/// Bytes of a metadata value whose size is fixed.
fn fixed_size(kind: u32) -> Result<u64, Fault> {
    match kind {
        0 | 1 | 7 => Ok(1),
        2 | 3 => Ok(2),
        U32 | I32 | REAL => Ok(4),
        10..=12 => Ok(8),
        _ => Err(wrong(format!("its metadata has a value of kind {kind}"))),
    }
}

/// Weights that engines multiply with: numbers, not indexes.
const MULTIPLIED: [&[u8]; 10] = [
    b"token_embd.weight",
    b"output.weight",
    b"attn_q.weight",
    b"attn_k.weight",
    b"attn_v.weight",
    b"attn_qkv.weight",
    b"attn_output.weight",
    b"ffn_gate.weight",
    b"ffn_up.weight",
    b"ffn_down.weight",
];

impl Tensor {
    /// Checks what engines rely on.
    fn check(&self, alignment: u64) -> Result<(), Fault> {
        let named = || String::from_utf8_lossy(&self.name).into_owned();
        if !self.offset.is_multiple_of(alignment) {
            return Err(wrong(format!(
                "the tensor {} begins at {}, not a multiple of {alignment}",
                named(),
                self.offset
            )));
        }
        let Some(block) = block(self.kind) else { return Ok(()) };
        let row = self.dimensions.first().copied().unwrap_or(1);
        if !row.is_multiple_of(block.elements) {
            let (name, kind, elements) = (named(), block.name, block.elements);
            return Err(wrong(format!(
                "the tensor {name} has rows of {row} values, and {kind} has blocks of {elements}"
            )));
        }
        let of_layer = self.name.strip_prefix(b"blk.").and_then(|rest| rest.splitn(2, |c| *c == b'.').nth(1));
        let plain = matches!(self.kind, F32 | F16 | BF16);
        let multiplied = MULTIPLIED.contains(&of_layer.unwrap_or(&self.name));
        if multiplied && (I8..=F64).contains(&self.kind) {
            return Err(wrong(format!("the weights {} are of the type {}", named(), block.name)));
        }
        if self.name.ends_with(b"_norm.weight") && !plain {
            return Err(wrong(format!("the norm {} is of the type {}", named(), block.name)));
        }
        Ok(())
    }

    /// Its end, relative to the start of the data.
    fn end(&self) -> Result<u64, Fault> {
        // For an unknown type, only the offset can be checked.
        let size = match block(self.kind) {
            Some(block) => self.elements.div_ceil(block.elements).checked_mul(block.bytes),
            None => Some(0),
        };
        size.and_then(|size| self.offset.checked_add(size)).ok_or_else(absurd)
    }
}

/// The layout of a ggml type; `None` for an unknown type.
pub(super) fn block(kind: u32) -> Option<Block> {
    let (name, elements, bytes) = match kind {
        F32 => ("F32", 1, 4),
        F16 => ("F16", 1, 2),
        Q4_0 => ("Q4_0", 32, 18),
        Q4_1 => ("Q4_1", 32, 20),
        6 => ("Q5_0", 32, 22),
        7 => ("Q5_1", 32, 24),
        Q8_0 => ("Q8_0", 32, 34),
        9 => ("Q8_1", 32, 36),
        10 => ("Q2_K", 256, 84),
        11 => ("Q3_K", 256, 110),
        12 => ("Q4_K", 256, 144),
        13 => ("Q5_K", 256, 176),
        14 => ("Q6_K", 256, 210),
        15 => ("Q8_K", 256, 292),
        16 => ("IQ2_XXS", 256, 66),
        17 => ("IQ2_XS", 256, 74),
        18 => ("IQ3_XXS", 256, 98),
        19 => ("IQ1_S", 256, 50),
        20 => ("IQ4_NL", 32, 18),
        21 => ("IQ3_S", 256, 110),
        22 => ("IQ2_S", 256, 82),
        23 => ("IQ4_XS", 256, 136),
        I8 => ("I8", 1, 1),
        25 => ("I16", 1, 2),
        26 => ("I32", 1, 4),
        27 => ("I64", 1, 8),
        F64 => ("F64", 1, 8),
        29 => ("IQ1_M", 256, 56),
        BF16 => ("BF16", 1, 2),
        34 => ("TQ1_0", 256, 54),
        35 => ("TQ2_0", 256, 66),
        39 => ("MXFP4", 32, 17),
        _ => return None,
    };
    Some(Block { name, elements, bytes })
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
pub(super) mod tests {
    use proptest::prelude::{any, proptest};

    use super::*;

    pub(in crate::models) fn text(out: &mut Vec<u8>, s: &str) {
        out.extend((s.len() as u64).to_le_bytes());
        out.extend(s.as_bytes());
    }

    pub(in crate::models) fn tensor(out: &mut Vec<u8>, name: &str, dimensions: &[u64], kind: u32, offset: u64) {
        text(out, name);
        out.extend((dimensions.len() as u32).to_le_bytes());
        dimensions.iter().for_each(|d| out.extend(d.to_le_bytes()));
        out.extend(kind.to_le_bytes());
        out.extend(offset.to_le_bytes());
    }

    /// A GGUF file with every shape of metadata and three tensors, and where its header ends.
    pub(in crate::models) fn sample() -> (Vec<u8>, usize) {
        let mut out = b"GGUF".to_vec();
        out.extend(3u32.to_le_bytes());
        out.extend(3u64.to_le_bytes());
        out.extend(5u64.to_le_bytes());
        text(&mut out, "general.name");
        out.extend(STRING.to_le_bytes());
        text(&mut out, "tiny");
        text(&mut out, "general.alignment");
        out.extend(U32.to_le_bytes());
        out.extend(64u32.to_le_bytes());
        text(&mut out, "tokens");
        out.extend(ARRAY.to_le_bytes());
        out.extend(STRING.to_le_bytes());
        out.extend(2u64.to_le_bytes());
        text(&mut out, "a");
        text(&mut out, "");
        text(&mut out, "scores");
        out.extend(ARRAY.to_le_bytes());
        out.extend(6u32.to_le_bytes());
        out.extend(2u64.to_le_bytes());
        out.extend([0; 8]);
        text(&mut out, "flag");
        out.extend(7u32.to_le_bytes());
        out.push(1);
        tensor(&mut out, "weight", &[64, 2], 3, 0); // Q4_1: 128 / 32 * 20 = 80 bytes
        tensor(&mut out, "new", &[64], 1000, 128); // not known: its offset only
        tensor(&mut out, "bias", &[3], 0, 128); // F32: 12 bytes, to 140
        let header = out.len();
        out.resize(header.next_multiple_of(64) + 140, 0);
        (out, header)
    }

    /// A GGUF file without tensors, whose header has these numbers of the architecture `judge`.
    pub(in crate::models) fn with_architecture(numbers: &[(&str, u32)]) -> Vec<u8> {
        let mut out = b"GGUF".to_vec();
        out.extend(3u32.to_le_bytes());
        out.extend(0u64.to_le_bytes());
        out.extend((numbers.len() as u64).to_le_bytes());
        for (name, number) in numbers {
            text(&mut out, &format!("judge.{name}"));
            out.extend(U32.to_le_bytes());
            out.extend(number.to_le_bytes());
        }
        out.resize(out.len().next_multiple_of(32), 0);
        out
    }

    fn verdict(bytes: &[u8]) -> Result<(), ModelError> {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), bytes).unwrap();
        check(file.path())
    }

    #[test]
    fn a_whole_file_passes_and_every_truncation_fails() {
        let (whole, header) = sample();
        verdict(&whole).unwrap();
        let mut longer = whole.clone();
        longer.extend([0; 100]);
        verdict(&longer).unwrap();
        for len in 0..whole.len() {
            match verdict(&whole[..len]) {
                Err(ModelError::CutShort { needed, actual, .. }) => {
                    assert_eq!(actual, len as u64);
                    assert!(needed > actual, "{len}");
                    if len >= header {
                        assert_eq!(needed, whole.len() as u64);
                    }
                }
                other => panic!("{len} bytes: {other:?}"),
            }
        }
    }

    /// A value of metadata as it stands in a file: its kind and its bytes.
    fn put(out: &mut Vec<u8>, key: &str, kind: u32, bytes: &[u8]) {
        text(out, key);
        out.extend(kind.to_le_bytes());
        out.extend(bytes);
    }

    fn texts<'a>(of: impl IntoIterator<Item = &'a str>) -> Vec<u8> {
        let of: Vec<&str> = of.into_iter().collect();
        let mut out = STRING.to_le_bytes().to_vec();
        out.extend((of.len() as u64).to_le_bytes());
        of.into_iter().for_each(|word| text(&mut out, word));
        out
    }

    /// A list of texts under a key.
    pub(in crate::models) fn array_of_texts(out: &mut Vec<u8>, key: &str, words: &[&str]) {
        put(out, key, ARRAY, &texts(words.iter().copied()));
    }

    fn one_text(word: &str) -> Vec<u8> {
        let mut out = Vec::new();
        text(&mut out, word);
        out
    }

    /// A small model as llama.cpp takes it, but for one value of its metadata and one tensor in place of its own.
    fn model(value: Option<(&str, u32, Vec<u8>)>, other: Option<(&str, &[u64], u32, u64)>) -> Vec<u8> {
        let number = |n: u32| n.to_le_bytes().to_vec();
        let mut values = vec![
            ("general.architecture", STRING, one_text("llama")),
            ("llama.block_count", U32, number(2)),
            ("llama.context_length", U32, number(512)),
            ("llama.embedding_length", U32, number(64)),
            ("llama.attention.head_count", U32, number(4)),
            ("llama.attention.head_count_kv", U32, number(2)),
            ("llama.attention.layer_norm_rms_epsilon", 6, 1e-5_f32.to_le_bytes().to_vec()),
            ("llama.rope.freq_base", 6, 1e4_f32.to_le_bytes().to_vec()),
            ("llama.rope.dimension_count", U32, number(16)),
            ("llama.rope.scaling.type", STRING, one_text("linear")),
            ("tokenizer.ggml.model", STRING, one_text("gpt2")),
            ("tokenizer.ggml.tokens", ARRAY, texts(["a", "b", ""])),
        ];
        if let Some((key, kind, bytes)) = value {
            values.retain(|(name, ..)| *name != key);
            values.push((key, kind, bytes));
        }
        let tensors = [("token_embd.weight", &[64, 3][..], F32, 0), ("blk.0.attn_norm.weight", &[64][..], F32, 768)];
        let tensors = tensors.map(|own| other.filter(|other| other.0 == own.0).unwrap_or(own));
        let mut out = b"GGUF".to_vec();
        out.extend(3u32.to_le_bytes());
        out.extend((tensors.len() as u64).to_le_bytes());
        out.extend((values.len() as u64).to_le_bytes());
        values.iter().for_each(|(key, kind, bytes)| put(&mut out, key, *kind, bytes));
        tensors.iter().for_each(|(name, dimensions, kind, offset)| tensor(&mut out, name, dimensions, *kind, *offset));
        out.resize(out.len().next_multiple_of(32) + 4096, 0);
        out
    }

    #[test]
    fn what_would_end_the_process_in_the_engine_is_refused() {
        verdict(&model(None, None)).unwrap();
        let refused = |bytes: &[u8], why: &str| {
            let error = verdict(bytes).unwrap_err().to_string();
            assert!(error.contains("not a usable GGUF model") && error.contains(why), "{error}");
        };
        let value = |key: &str, kind: u32, bytes: &[u8], why: &str| {
            refused(&model(Some((key, kind, bytes.to_vec())), None), why);
        };
        let number = |key: &str, n: u32| value(key, U32, &n.to_le_bytes(), key.split_once('.').unwrap().1);
        for layers in [0, 513, u32::MAX] {
            number("llama.block_count", layers);
        }
        number("llama.nextn_predict_layers", 3);
        number("llama.context_length", 0);
        number("llama.expert_count", 1025);
        number("llama.expert_count", 8);
        number("llama.expert_used_count", 1);
        number("llama.attention.head_count_kv", 3);
        number("llama.rope.dimension_count", 15);
        number("general.alignment", 0);
        number("general.alignment", 48);
        let real = |key: &str, n: f32| value(key, 6, &n.to_le_bytes(), key.split_once('.').unwrap().1);
        for epsilon in [-1e-5, f32::NAN, f32::INFINITY] {
            real("llama.attention.layer_norm_rms_epsilon", epsilon);
        }
        real("llama.rope.freq_base", 0.0);
        real("llama.rope.freq_base", f32::NAN);
        value("llama.rope.scaling.type", STRING, &one_text("lineas"), "rope.scaling.type");
        value("tokenizer.ggml.model", STRING, &one_text("none"), "no vocabulary");
        value("tokenizer.ggml.tokens", ARRAY, &texts(["a", "b", "a"]), "`a` twice");
        value("tokenizer.ggml.tokens", ARRAY, &texts([]), "no tokens");
        // An SPM vocabulary falls back to bytes.
        value("tokenizer.ggml.model", STRING, &one_text("llama"), "byte 0x00");
        let tensor = |name: &str, dimensions: &[u64], kind: u32, offset: u64, why: &str| {
            refused(&model(None, Some((name, dimensions, kind, offset))), why);
        };
        tensor("token_embd.weight", &[64, 3], 26, 0, "I32");
        tensor("token_embd.weight", &[64, 3], F32, 8, "multiple of 32");
        tensor("token_embd.weight", &[48, 4], Q8_0, 0, "blocks of 32");
        tensor("blk.0.attn_norm.weight", &[64], Q8_0, 768, "Q8_0");
    }

    proptest! {
        #[test]
        fn a_damaged_header_is_read_or_refused(at in 4..600_usize, bytes in proptest::collection::vec(any::<u8>(), 1..9)) {
            let mut file = model(None, None);
            file[at..at + bytes.len()].copy_from_slice(&bytes);
            // No panic and no unlimited memory; other tests check the messages.
            let _ = verdict(&file);
            let _ = metadata_of(std::io::Cursor::new(&file), file.len() as u64, 1 << 20);
        }
    }

    #[test]
    fn metadata_is_read_without_what_follows_and_within_its_bound() {
        let (whole, header) = sample();
        let read = |bytes: &[u8], most: u64| {
            metadata_of(std::io::Cursor::new(bytes), bytes.len() as u64, most).map(|(_, bytes)| bytes)
        };
        let end = read(&whole, 1 << 20).ok().unwrap();
        assert!(end < header as u64);
        let alone = &whole[..usize::try_from(end).unwrap()];
        assert_eq!(read(alone, end).ok(), Some(end));
        for len in 0..alone.len() {
            assert!(matches!(read(&alone[..len], end), Err(Fault::EndsBefore(_))), "{len}");
            assert!(matches!(read(&whole, len as u64), Err(Fault::Wrong(why)) if why.contains("more than")), "{len}");
        }
    }

    #[test]
    fn other_files_and_wrong_headers_are_refused() {
        let (whole, _) = sample();
        let refused = |at: usize, bytes: &[u8], why: &str| {
            let mut file = whole.clone();
            file[at..at + bytes.len()].copy_from_slice(bytes);
            let error = verdict(&file).unwrap_err().to_string();
            assert!(error.contains(why), "{error}");
        };
        refused(0, b"PK\x03\x04", "letters GGUF");
        refused(4, &1u32.to_le_bytes(), "version is 1");
        refused(4, &3u32.to_be_bytes(), "version is 50331648");
        refused(24, &u64::MAX.to_le_bytes(), "impossible");
        refused(24, &(1u64 << 40).to_le_bytes(), "incomplete");
        // The kind of the first value stands after its key's length and its twelve letters.
        refused(24 + 8 + 12, &99u32.to_le_bytes(), "kind 99");
    }
}
