//! Is this a whole GGUF file? Reads the header, never the weights.

use std::fs::File;
use std::io::{self, BufReader, Read};
use std::path::Path;

use super::error::ModelError;

/// Fails unless `path` is a GGUF file of a known version that is long enough for every tensor
/// that its header lists. Blocks the thread, shortly.
pub(super) fn check(path: &Path) -> Result<(), ModelError> {
    let file = File::open(path).map_err(ModelError::unreadable(path))?;
    let len = file.metadata().map_err(ModelError::unreadable(path))?.len();
    let mut header = Header { reader: BufReader::new(file), at: 0, len };
    let path = path.to_path_buf();
    let needed = match header.needed() {
        Ok(needed) | Err(Fault::EndsBefore(needed)) => needed,
        Err(Fault::Wrong(why)) => return Err(ModelError::NotGguf { path, why }),
        Err(Fault::Io(cause)) => return Err(ModelError::Unreadable { path, cause }),
    };
    if needed > len {
        return Err(ModelError::CutShort { path, needed, actual: len });
    }
    Ok(())
}

/// Tensor data begins at a multiple of this where the header names no other.
const DEFAULT_ALIGNMENT: u64 = 32;
/// As many as ggml has.
const MAX_DIMENSIONS: u32 = 4;

/// Kinds of metadata values that this reader must tell apart.
const U32: u32 = 4;
const STRING: u32 = 8;
const ARRAY: u32 = 9;

enum Fault {
    /// The header goes on to this byte, the file does not.
    EndsBefore(u64),
    Wrong(String),
    Io(io::Error),
}

struct Header {
    reader: BufReader<File>,
    at: u64,
    len: u64,
}

impl Header {
    /// The length that the file must have.
    fn needed(&mut self) -> Result<u64, Fault> {
        if &self.bytes::<4>()? != b"GGUF" {
            return Err(wrong("it does not begin with the letters GGUF"));
        }
        let version = self.u32()?;
        if !(2..=3).contains(&version) {
            return Err(wrong(format!("its version is {version}, not 2 or 3")));
        }
        let tensors = self.u64()?;
        let pairs = self.u64()?;
        let mut alignment = DEFAULT_ALIGNMENT;
        for _ in 0..pairs {
            let key = self.string()?;
            let kind = self.u32()?;
            if key == b"general.alignment" && kind == U32 {
                alignment = u64::from(self.u32()?);
            } else {
                self.skip_value(kind)?;
            }
        }
        if !alignment.is_power_of_two() {
            return Err(wrong(format!("its alignment is {alignment}")));
        }
        let mut end = 0;
        for _ in 0..tensors {
            end = end.max(self.tensor_end()?);
        }
        let data = self.at.next_multiple_of(alignment);
        data.checked_add(end).ok_or_else(absurd)
    }

    /// Reads one tensor's entry: where it ends, counted from the start of the data.
    fn tensor_end(&mut self) -> Result<u64, Fault> {
        let name_len = self.u64()?;
        self.skip(name_len)?;
        let dimensions = self.u32()?;
        if dimensions > MAX_DIMENSIONS {
            return Err(wrong(format!("a tensor has {dimensions} dimensions")));
        }
        let mut elements: u64 = 1;
        for _ in 0..dimensions {
            elements = elements.checked_mul(self.u64()?).ok_or_else(absurd)?;
        }
        let kind = self.u32()?;
        let offset = self.u64()?;
        // Of a type that is not in the table only the offset can be checked.
        let (per_block, block_bytes) = block(kind).unwrap_or((1, 0));
        let blocks = elements.div_ceil(per_block);
        let size = blocks.checked_mul(block_bytes).ok_or_else(absurd)?;
        offset.checked_add(size).ok_or_else(absurd)
    }

    fn skip_value(&mut self, kind: u32) -> Result<(), Fault> {
        match kind {
            STRING => {
                let len = self.u64()?;
                self.skip(len)
            }
            ARRAY => {
                let of = self.u32()?;
                let count = self.u64()?;
                match of {
                    STRING => (0..count).try_for_each(|_| self.skip_value(STRING)),
                    ARRAY => Err(wrong("its metadata has an array of arrays")),
                    _ => {
                        let bytes = count.checked_mul(fixed_size(of)?).ok_or_else(absurd)?;
                        self.skip(bytes)
                    }
                }
            }
            _ => self.skip(fixed_size(kind)?),
        }
    }

    fn string(&mut self) -> Result<Vec<u8>, Fault> {
        let len = self.u64()?;
        // Bounded by the file's length, so that a wrong header cannot ask for all memory.
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

    /// Moves on by `n` bytes, if the file has them.
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
        U32 | 5 | 6 => Ok(4),
        10..=12 => Ok(8),
        _ => Err(wrong(format!("its metadata has a value of kind {kind}"))),
    }
}

/// Elements and bytes of a block of a ggml tensor type, `None` for a type that is not known here.
fn block(kind: u32) -> Option<(u64, u64)> {
    Some(match kind {
        0 | 26 => (1, 4),      // F32, I32
        1 | 25 | 30 => (1, 2), // F16, I16, BF16
        24 => (1, 1),          // I8
        27 | 28 => (1, 8),     // I64, F64
        2 | 20 => (32, 18),    // Q4_0, IQ4_NL
        3 => (32, 20),         // Q4_1
        6 => (32, 22),         // Q5_0
        7 => (32, 24),         // Q5_1
        8 => (32, 34),         // Q8_0
        9 => (32, 36),         // Q8_1
        39 => (32, 17),        // MXFP4
        10 => (256, 84),       // Q2_K
        11 | 21 => (256, 110), // Q3_K, IQ3_S
        12 => (256, 144),      // Q4_K
        13 => (256, 176),      // Q5_K
        14 => (256, 210),      // Q6_K
        15 => (256, 292),      // Q8_K
        16 | 35 => (256, 66),  // IQ2_XXS, TQ2_0
        17 => (256, 74),       // IQ2_XS
        18 => (256, 98),       // IQ3_XXS
        19 => (256, 50),       // IQ1_S
        22 => (256, 82),       // IQ2_S
        23 => (256, 136),      // IQ4_XS
        29 => (256, 56),       // IQ1_M
        34 => (256, 54),       // TQ1_0
        _ => return None,
    })
}

fn wrong(why: impl Into<String>) -> Fault {
    Fault::Wrong(why.into())
}

fn absurd() -> Fault {
    wrong("a length in its header is absurd")
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
pub(super) mod tests {
    use super::*;

    fn text(out: &mut Vec<u8>, s: &str) {
        out.extend((s.len() as u64).to_le_bytes());
        out.extend(s.as_bytes());
    }

    fn tensor(out: &mut Vec<u8>, name: &str, dimensions: &[u64], kind: u32, offset: u64) {
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
        refused(24, &u64::MAX.to_le_bytes(), "absurd");
        refused(24, &(1u64 << 40).to_le_bytes(), "cut short");
        // The kind of the first value stands after its key's length and its twelve letters.
        refused(24 + 8 + 12, &99u32.to_le_bytes(), "kind 99");
    }
}
