//! Writes GGUF files (version 3) with 32-bit floats.

/// A value of a file's metadata.
pub(crate) enum Value {
    U32(u32),
    F32(f32),
    Bool(bool),
    Text(String),
    I32s(Vec<i32>),
    F32s(Vec<f32>),
    Texts(Vec<String>),
}

/// A tensor: its size in each dimension, the innermost first, and its values.
pub(crate) struct Tensor {
    pub(crate) sizes: Vec<usize>,
    pub(crate) values: Vec<f32>,
}

/// A matrix of zeros that is filled in.
#[derive(Clone)]
pub(crate) struct Matrix {
    columns: usize,
    values: Vec<f32>,
}

impl Matrix {
    pub(crate) fn new(rows: usize, columns: usize) -> Self {
        Self { columns, values: vec![0.0; rows * columns] }
    }

    pub(crate) fn set(&mut self, row: usize, column: usize, value: f32) {
        self.values[row * self.columns + column] = value;
    }
}

impl From<Matrix> for Tensor {
    fn from(Matrix { columns, values }: Matrix) -> Self {
        Self { sizes: vec![columns, values.len() / columns], values }
    }
}

impl From<Vec<f32>> for Tensor {
    fn from(values: Vec<f32>) -> Self {
        Self { sizes: vec![values.len()], values }
    }
}

const ALIGNMENT: usize = 32;

/// The bytes of a file.
pub(crate) fn file(architecture: &str, fields: &[(&str, Value)], tensors: &[(String, Tensor)]) -> Vec<u8> {
    let mut file = b"GGUF".to_vec();
    file.extend(3_u32.to_le_bytes());
    count(&mut file, tensors.len());
    count(&mut file, fields.len() + 1);
    field(&mut file, "general.architecture", &Value::Text(architecture.to_owned()));
    fields.iter().for_each(|(key, value)| field(&mut file, key, value));
    let mut offset = 0;
    for (name, tensor) in tensors {
        text(&mut file, name);
        file.extend(u32::try_from(tensor.sizes.len()).unwrap().to_le_bytes());
        tensor.sizes.iter().for_each(|size| count(&mut file, *size));
        file.extend(0_u32.to_le_bytes());
        count(&mut file, offset);
        assert_eq!(tensor.sizes.iter().product::<usize>(), tensor.values.len(), "{name}");
        offset += (4 * tensor.values.len()).next_multiple_of(ALIGNMENT);
    }
    for (_, tensor) in tensors {
        file.resize(file.len().next_multiple_of(ALIGNMENT), 0);
        file.extend(tensor.values.iter().flat_map(|value| value.to_le_bytes()));
    }
    file.resize(file.len().next_multiple_of(ALIGNMENT), 0);
    file
}

fn count(file: &mut Vec<u8>, count: usize) {
    file.extend((count as u64).to_le_bytes());
}

fn text(file: &mut Vec<u8>, text: &str) {
    count(file, text.len());
    file.extend(text.as_bytes());
}

fn field(file: &mut Vec<u8>, key: &str, value: &Value) {
    const U32: u32 = 4;
    const I32: u32 = 5;
    const F32: u32 = 6;
    const BOOL: u32 = 7;
    const TEXT: u32 = 8;
    const LIST: u32 = 9;
    text(file, key);
    let kind = |file: &mut Vec<u8>, kind: u32| file.extend(kind.to_le_bytes());
    let list = |file: &mut Vec<u8>, of: u32, len: usize| {
        kind(file, LIST);
        kind(file, of);
        count(file, len);
    };
    match value {
        Value::U32(value) => {
            kind(file, U32);
            file.extend(value.to_le_bytes());
        }
        Value::F32(value) => {
            kind(file, F32);
            file.extend(value.to_le_bytes());
        }
        Value::Bool(value) => {
            kind(file, BOOL);
            file.push(u8::from(*value));
        }
        Value::Text(value) => {
            kind(file, TEXT);
            text(file, value);
        }
        Value::I32s(values) => {
            list(file, I32, values.len());
            values.iter().for_each(|value| file.extend(value.to_le_bytes()));
        }
        Value::F32s(values) => {
            list(file, F32, values.len());
            values.iter().for_each(|value| file.extend(value.to_le_bytes()));
        }
        Value::Texts(values) => {
            list(file, TEXT, values.len());
            values.iter().for_each(|value| text(file, value));
        }
    }
}
