//! Converts the weights of a quantised GGUF file to half precision.
//!
//! Everything else stays the same: the metadata (except `general.file_type`), and the tensors' names, dimensions and
//! order. The same source gives the same bytes on every machine.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use half::f16;
use half::slice::HalfFloatSliceExt;
use sha2::{Digest, Sha256};

use super::atomic_file;
use super::catalogue::Precision;
use super::error::ModelError;
use super::gguf::{self, F16, F32, Layout, Q4_0, Q4_1, Q8_0, Tensor};

/// Number of values in memory at once, a multiple of every block size.
const VALUES: usize = 1 << 18;
/// Number of bytes to copy at once.
const COPIED: usize = 1 << 20;

/// Writes the values of one block.
type Decoder = fn(&[u8], &mut [f32]);

/// A possible conversion.
pub(super) struct Plan {
    source: PathBuf,
    layout: Layout,
    to: Precision,
    /// The conversion of each tensor.
    steps: Vec<TensorStep>,
    /// The list of tensors of the result.
    list: Vec<u8>,
    bytes: u64,
}

/// The conversion of a tensor.
struct TensorStep {
    /// `None`: the tensor is copied.
    decode: Option<Decoder>,
    /// Bytes in the source and in the result.
    from: u64,
    to: u64,
    /// Values and bytes of a block in the source.
    block: (usize, usize),
}

impl Plan {
    /// Reads the header of `source`. Blocks the thread briefly.
    pub(super) fn new(source: PathBuf, to: Precision) -> Result<Self, ModelError> {
        let layout = gguf::read(&source)?;
        let (mut steps, mut list, mut data) = (Vec::new(), Vec::new(), 0u64);
        for tensor in &layout.tensors {
            let step = TensorStep::new(tensor, to).map_err(|why| unconvertible(&source, tensor, &why))?;
            let kind = if step.decode.is_some() { to.kind() } else { tensor.kind };
            list.extend((tensor.name.len() as u64).to_le_bytes());
            list.extend(&tensor.name);
            list.extend((tensor.dimensions.len() as u32).to_le_bytes());
            list.extend(tensor.dimensions.iter().flat_map(|n| n.to_le_bytes()));
            list.extend(kind.to_le_bytes());
            list.extend(data.to_le_bytes());
            data += step.to.next_multiple_of(layout.alignment);
            steps.push(step);
        }
        let header = layout.list + list.len() as u64;
        let bytes = header.next_multiple_of(layout.alignment) + data;
        Ok(Self { source, layout, to, steps, list, bytes })
    }

    /// The length of the result.
    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Writes the result to `to`, atomically and only with this digest, and reports finished bytes to `advance`. Blocks
    /// the thread. The caller holds the model's lock.
    pub(super) fn carry_out(&self, to: &Path, sha256: &str, advance: impl FnMut(u64)) -> Result<(), ModelError> {
        atomic_file::write_atomically(to, |unfinished| {
            let actual = self.write(unfinished, advance)?;
            if actual == sha256 {
                return Ok(());
            }
            let why = format!("the result has the digest sha256:{actual}, not sha256:{sha256}");
            Err(ModelError::Unconvertible { path: self.source.clone(), why })
        })
    }

    /// Writes and syncs the result, and returns its hexadecimal SHA-256.
    fn write(&self, to: &Path, advance: impl FnMut(u64)) -> Result<String, ModelError> {
        let file = File::open(&self.source).map_err(ModelError::unreadable(&self.source))?;
        let mut source = SourceFile { file, path: &self.source };
        let file = File::create(to).map_err(ModelError::cache(to))?;
        let mut out = Out { file, path: to, hasher: Sha256::new(), at: 0, advance };

        let Layout { file_type, alignment, list, .. } = self.layout;
        if let Some(at) = file_type {
            source.copy(0, at, &mut out)?;
            out.put(&self.to.file_type().to_le_bytes())?;
        }
        source.copy(out.at, list - out.at, &mut out)?;
        out.put(&self.list)?;
        out.pad(alignment)?;
        for (tensor, step) in self.layout.tensors.iter().zip(&self.steps) {
            let at = self.layout.data + tensor.offset;
            match step.decode {
                None => source.copy(at, step.from, &mut out)?,
                Some(decode) => {
                    source.seek(at)?;
                    self.widen(&mut source, tensor, step, decode, &mut out)?;
                }
            }
            out.pad(alignment)?;
        }
        out.file.sync_all().map_err(ModelError::cache(to))?;
        Ok(format!("{:x}", out.hasher.finalize()))
    }

    fn widen(
        &self,
        source: &mut SourceFile<'_>,
        tensor: &Tensor,
        step: &TensorStep,
        decode: Decoder,
        out: &mut Out<'_, impl FnMut(u64)>,
    ) -> Result<(), ModelError> {
        let (values, bytes) = step.block;
        let at_once = VALUES / values;
        let mut blocks = vec![0; at_once * bytes];
        let mut wide = vec![0.0; at_once * values];
        let mut halves = vec![f16::ZERO; at_once * values];
        let mut result = Vec::with_capacity(at_once * values * 2);
        let mut left = step.from;
        while left > 0 {
            let read = blocks.len().min(usize::try_from(left).unwrap_or(usize::MAX));
            source.fill(&mut blocks[..read])?;
            left -= read as u64;
            let n = read / bytes * values;
            for (block, values) in blocks[..read].chunks_exact(bytes).zip(wide.chunks_exact_mut(values)) {
                decode(block, values);
            }
            // Round to nearest, ties to even, with or without hardware support.
            halves[..n].convert_from_f32_slice(&wide[..n]);
            if !halves[..n].iter().all(|half| half.is_finite()) {
                return Err(unconvertible(&self.source, tensor, "has a value that half precision cannot hold"));
            }
            result.clear();
            result.extend(halves[..n].iter().flat_map(|half| half.to_le_bytes()));
            out.put(&result)?;
        }
        Ok(())
    }
}

impl TensorStep {
    /// The conversion of `tensor`, or why it is not possible.
    fn new(tensor: &Tensor, to: Precision) -> Result<Self, String> {
        let Some(block) = gguf::block(tensor.kind) else {
            return Err(format!("has the unknown ggml type {}", tensor.kind));
        };
        // Its rows are whole blocks, which was checked with the header.
        let from = tensor.elements / block.elements * block.bytes;
        let decode: Option<Decoder> = match tensor.kind {
            // A vector is small, and its precision matters most.
            _ if tensor.dimensions.len() <= 1 => None,
            kind if kind == to.kind() => None,
            F32 => Some(f32_value),
            Q4_0 => Some(q4_0),
            Q4_1 => Some(q4_1),
            Q8_0 => Some(q8_0),
            kind => return Err(format!("has the ggml type {} ({kind}), which cannot be converted", block.name)),
        };
        let to = if decode.is_some() { tensor.elements.checked_mul(2) } else { Some(from) };
        let to = to.ok_or("is too large")?;
        // No block is larger than a few hundred bytes.
        Ok(Self { decode, from, to, block: (block.elements as usize, block.bytes as usize) })
    }
}

impl Precision {
    /// The ggml type of the tensors.
    fn kind(self) -> u32 {
        match self {
            Self::F16 => F16,
        }
    }

    /// The `general.file_type` of a file whose tensors are mostly of this kind.
    fn file_type(self) -> u32 {
        match self {
            Self::F16 => 1,
        }
    }
}

fn f32_value(block: &[u8], values: &mut [f32]) {
    values[0] = f32::from_le_bytes([block[0], block[1], block[2], block[3]]);
}

/// A scale and 16 bytes: their low halves are the first values, each less 8.
fn q4_0(block: &[u8], values: &mut [f32]) {
    let scale = half_at(block, 0);
    let (low, high) = values.split_at_mut(16);
    for ((byte, low), high) in block[2..].iter().zip(low).zip(high) {
        *low = (f32::from(byte & 15) - 8.0) * scale;
        *high = (f32::from(byte >> 4) - 8.0) * scale;
    }
}

/// A scale, a minimum and 16 bytes: their low halves are the first values.
fn q4_1(block: &[u8], values: &mut [f32]) {
    let (scale, minimum) = (half_at(block, 0), half_at(block, 2));
    let (low, high) = values.split_at_mut(16);
    for ((byte, low), high) in block[4..].iter().zip(low).zip(high) {
        *low = f32::from(byte & 15) * scale + minimum;
        *high = f32::from(byte >> 4) * scale + minimum;
    }
}

/// A scale and a signed byte for each value.
fn q8_0(block: &[u8], values: &mut [f32]) {
    let scale = half_at(block, 0);
    for (byte, value) in block[2..].iter().zip(values) {
        *value = f32::from(byte.cast_signed()) * scale;
    }
}

fn half_at(block: &[u8], at: usize) -> f32 {
    f16::from_le_bytes([block[at], block[at + 1]]).to_f32()
}

fn unconvertible(source: &Path, tensor: &Tensor, why: &str) -> ModelError {
    let name = String::from_utf8_lossy(&tensor.name);
    ModelError::Unconvertible { path: source.to_path_buf(), why: format!("its tensor `{name}` {why}") }
}

/// The file that is read.
struct SourceFile<'a> {
    file: File,
    path: &'a Path,
}

impl SourceFile<'_> {
    fn seek(&mut self, to: u64) -> Result<(), ModelError> {
        self.file.seek(SeekFrom::Start(to)).map(drop).map_err(ModelError::unreadable(self.path))
    }

    fn fill(&mut self, bytes: &mut [u8]) -> Result<(), ModelError> {
        self.file.read_exact(bytes).map_err(ModelError::unreadable(self.path))
    }

    /// Hands on `n` bytes from `at` on.
    fn copy(&mut self, at: u64, n: u64, out: &mut Out<'_, impl FnMut(u64)>) -> Result<(), ModelError> {
        self.seek(at)?;
        let mut left = n;
        let mut block = vec![0; COPIED.min(usize::try_from(n).unwrap_or(COPIED))];
        while left > 0 {
            let read = block.len().min(usize::try_from(left).unwrap_or(usize::MAX));
            self.fill(&mut block[..read])?;
            out.put(&block[..read])?;
            left -= read as u64;
        }
        Ok(())
    }
}

/// The file that is written.
struct Out<'a, F> {
    file: File,
    path: &'a Path,
    hasher: Sha256,
    at: u64,
    advance: F,
}

impl<F: FnMut(u64)> Out<'_, F> {
    fn put(&mut self, bytes: &[u8]) -> Result<(), ModelError> {
        self.file.write_all(bytes).map_err(ModelError::cache(self.path))?;
        self.hasher.update(bytes);
        self.at += bytes.len() as u64;
        (self.advance)(bytes.len() as u64);
        Ok(())
    }

    /// Zeros up to the next multiple of `alignment`.
    fn pad(&mut self, alignment: u64) -> Result<(), ModelError> {
        let missing = self.at.next_multiple_of(alignment) - self.at;
        self.put(&vec![0; missing as usize])
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
pub(super) mod tests {
    use super::gguf::tests::{sample, tensor, text};
    use super::gguf::{STRING, U32};
    use super::*;

    /// Values of the matrix of type F32, and their halves: ties, subnormal ones, the largest.
    const ROUNDED: [(f32, u16); 6] = [
        (1.0 + 1.0 / 2048.0, 0x3c00),
        (1.0 + 3.0 / 2048.0, 0x3c02),
        (1.0 / 33_554_432.0, 0x0000),
        (3.0 / 33_554_432.0, 0x0002),
        (65_519.0, 0x7bff),
        (-2.0, 0xc000),
    ];
    /// Names, dimensions, types and bytes.
    const TENSORS: [(&str, &[u64], u32, usize); 6] = [
        ("q4_1", &[64, 2], Q4_1, 80),
        ("norm", &[5], F32, 20),
        ("q8_0", &[32, 3], Q8_0, 102),
        ("q4_0", &[32, 2], Q4_0, 36),
        ("f16", &[3, 3], F16, 18),
        ("f32", &[2, 3], F32, 24),
    ];

    /// A file with every type that can be converted, aligned to 64.
    pub(in crate::models) fn convertible() -> Vec<u8> {
        let mut out = b"GGUF".to_vec();
        out.extend(2u32.to_le_bytes());
        out.extend((TENSORS.len() as u64).to_le_bytes());
        out.extend(3u64.to_le_bytes());
        for (key, value) in [("general.file_type", 3u32), ("general.alignment", 64)] {
            text(&mut out, key);
            out.extend(U32.to_le_bytes());
            out.extend(value.to_le_bytes());
        }
        text(&mut out, "general.name");
        out.extend(STRING.to_le_bytes());
        text(&mut out, "tiny");
        let mut data = Vec::new();
        for (name, dimensions, kind, bytes) in TENSORS {
            tensor(&mut out, name, dimensions, kind, data.len() as u64);
            let mut noise = (data.len() as u32..).map(|i| (i.wrapping_mul(2_654_435_761) >> 13) as u8);
            match name {
                "f32" => data.extend(ROUNDED.iter().flat_map(|(value, _)| value.to_le_bytes())),
                "norm" => data.extend(noise.by_ref().take(bytes)),
                _ => {
                    let block = gguf::block(kind).unwrap().bytes as usize;
                    for at in 0..bytes {
                        let byte = noise.next().unwrap();
                        // Scales and minima of moderate size: their exponent's highest bit is off.
                        let scale = at % block == 1 || kind == Q4_1 && at % block == 3;
                        data.push(if scale { byte & 0xbf } else { byte });
                    }
                }
            }
            data.resize(data.len().next_multiple_of(64), 0);
        }
        out.resize(out.len().next_multiple_of(64), 0);
        [out, data].concat()
    }

    /// What [`convertible`] becomes.
    pub(in crate::models) fn converted() -> Vec<u8> {
        convert(&convertible()).unwrap()
    }

    fn convert(source: &[u8]) -> Result<Vec<u8>, ModelError> {
        let folder = tempfile::tempdir().unwrap();
        let (from, to) = (folder.path().join("from.gguf"), folder.path().join("to.gguf"));
        std::fs::write(&from, source).unwrap();
        let plan = Plan::new(from, Precision::F16)?;
        let mut told = 0;
        plan.write(&to, |bytes| told += bytes)?;
        let result = std::fs::read(&to).unwrap();
        assert_eq!((result.len() as u64, told), (plan.bytes(), plan.bytes()));
        Ok(result)
    }

    fn layout(bytes: &[u8]) -> Layout {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), bytes).unwrap();
        gguf::read(file.path()).unwrap()
    }

    fn data<'a>(file: &'a [u8], layout: &Layout, i: usize, bytes: usize) -> &'a [u8] {
        let at = (layout.data + layout.tensors[i].offset) as usize;
        &file[at..at + bytes]
    }

    /// The value at `i`, by the words of the format.
    fn value(kind: u32, data: &[u8], i: usize) -> f32 {
        let bytes = gguf::block(kind).unwrap().bytes as usize;
        let block = &data[i / 32 * bytes..];
        let half = |at: usize| f16::from_bits(u16::from(block[at]) | u16::from(block[at + 1]) << 8).to_f32();
        let nibble = |start: usize| (block[start + i % 16] >> (i % 32 / 16 * 4) & 15) as f32;
        match kind {
            Q4_1 => half(0) * nibble(4) + half(2),
            Q4_0 => half(0) * (nibble(2) - 8.0),
            _ => half(0) * block[2 + i % 32] as i8 as f32,
        }
    }

    #[test]
    fn values_are_those_of_the_blocks_rounded_to_half_precision() {
        let (source, result) = (convertible(), converted());
        let (before, after) = (layout(&source), layout(&result));
        for (i, (name, dimensions, kind, bytes)) in TENSORS.into_iter().enumerate() {
            let tensor = &after.tensors[i];
            assert_eq!((tensor.name.as_slice(), tensor.dimensions.as_slice()), (name.as_bytes(), dimensions));
            assert_eq!(tensor.offset % 64, 0);
            assert_eq!(tensor.kind, if name == "norm" { F32 } else { F16 });
            let old = data(&source, &before, i, bytes);
            if matches!(name, "norm" | "f16") {
                assert_eq!(data(&result, &after, i, bytes), old, "{name}");
                continue;
            }
            let n = tensor.elements as usize;
            let new = data(&result, &after, i, n * 2).chunks_exact(2);
            let expected = (0..n).map(|i| match name {
                "f32" => ROUNDED[i].1,
                _ => f16::from_f32_const(value(kind, old, i)).to_bits(),
            });
            assert!(new.map(|b| u16::from_le_bytes([b[0], b[1]])).eq(expected), "{name}");
        }
        assert_eq!((after.alignment, after.data % 64, result.len() % 64), (64, 0, 0));
    }

    #[test]
    fn metadata_stays_but_for_the_file_type() {
        let mut source = convertible();
        let result = converted();
        let Layout { list, file_type, .. } = layout(&source);
        let at = file_type.unwrap() as usize;
        assert_eq!(source[at..at + 4], 3u32.to_le_bytes());
        source[at] = 1;
        let list = list as usize;
        assert_eq!(result[..list], source[..list]);

        // A file without one gets none, and a second conversion changes nothing.
        source[at - 5] = b'E'; // The key's last letter, before the value's kind.
        assert_eq!(convert(&source).unwrap()[..list], source[..list]);
        assert_eq!(convert(&result).unwrap(), result);
    }

    #[test]
    fn what_cannot_be_converted_is_refused() {
        let whole = convertible();
        let error = convert(&whole[..whole.len() - 64]).unwrap_err();
        assert!(matches!(error, ModelError::CutShort { .. }), "{error}");

        let refused = |source: &[u8], why: &str| {
            let error = convert(source).unwrap_err();
            assert!(matches!(error, ModelError::Unconvertible { .. }), "{error}");
            assert!(error.to_string().contains(why), "{error}");
        };
        refused(&sample().0, "its tensor `new` has the unknown ggml type 1000");
        // The type stands after the name, the number of dimensions and two dimensions.
        let at = whole.windows(4).position(|w| w == b"q8_0").unwrap() + 4 + 4 + 16;
        let with = |at: usize, bytes: &[u8]| {
            let mut source = whole.clone();
            source[at..at + bytes.len()].copy_from_slice(bytes);
            source
        };
        refused(&with(at, &[6]), "its tensor `q8_0` has the ggml type Q5_0 (6), which cannot be converted");
        let error = convert(&with(at - 16, &[31])).unwrap_err();
        assert!(matches!(error, ModelError::NotGguf { .. }), "{error}");
        let last = whole.len() - 64;
        refused(&with(last, &65_520f32.to_le_bytes()), "`f32` has a value that half precision cannot hold");
    }

    #[test]
    fn a_result_with_another_digest_is_not_left_behind() {
        let folder = tempfile::tempdir().unwrap();
        let (from, to) = (folder.path().join("from.gguf"), folder.path().join("to.gguf"));
        std::fs::write(&from, convertible()).unwrap();
        let error = Plan::new(from, Precision::F16).unwrap().carry_out(&to, "ab", |_| ()).unwrap_err();
        assert!(matches!(error, ModelError::Unconvertible { .. }), "{error}");
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
    }
}
