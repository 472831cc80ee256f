//! Rows of a file, whatever it is written in.

use std::path::Path;

use serde_json::Value;

use super::columnar;
use super::item::{DataError, Row};
use crate::json_text::readable;

/// What a file is written in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FileKind {
    /// JSON, one object a line or an array of them.
    Json,
    /// Comma-separated values with a line of names.
    Csv,
    /// Apache Parquet.
    Parquet,
}

impl FileKind {
    /// Whether its rows have the columns of a table, not the fields of an object.
    #[must_use]
    pub fn is_table(self) -> bool {
        self != Self::Json
    }

    pub(super) fn prefix(self) -> &'static str {
        match self {
            Self::Json => "",
            Self::Csv => "csv:",
            Self::Parquet => "parquet:",
        }
    }
}

/// The rows of a file, with those that cannot be read.
#[derive(Debug)]
pub struct Rows {
    /// What the file is written in.
    pub kind: FileKind,
    /// The rows that can be read, in their order.
    pub rows: Vec<Row>,
    /// Why others cannot, by the number of the row.
    pub wrong: Vec<(usize, DataError)>,
}

impl Rows {
    /// The rows of a file's bytes. Its name tells what it is written in: `.csv`, `.parquet`, `.json` for an array of
    /// objects (or for lines of them), and anything else for one object a line.
    ///
    /// # Errors
    /// If it has no rows that could be told apart.
    pub fn of(path: &Path, bytes: Vec<u8>) -> Result<Self, DataError> {
        let shown = path.display().to_string();
        if bytes.starts_with(&[0xff, 0xfe]) || bytes.starts_with(&[0xfe, 0xff]) {
            return Err(DataError::at(shown, "is in UTF-16; save it in UTF-8"));
        }
        let extension = path.extension().map(|extension| extension.to_string_lossy().to_ascii_lowercase());
        let (kind, rows) = match extension.as_deref() {
            Some("csv") => (FileKind::Csv, csv_rows(&shown, &bytes)?),
            Some("parquet") => (FileKind::Parquet, columnar::rows(&shown, bytes)?.into_iter().map(Ok).collect()),
            Some("json") if is_array(&bytes) => (FileKind::Json, array_rows(&shown, &bytes)?),
            _ => (FileKind::Json, line_rows(&shown, &bytes)),
        };
        let mut read = Self { kind, rows: Vec::with_capacity(rows.len()), wrong: Vec::new() };
        for row in rows {
            match row {
                Ok(row) => read.rows.push(row),
                Err(wrong) => read.wrong.push(wrong),
            }
        }
        Ok(read)
    }
}

/// A row, or its number and why it cannot be read.
type Read = Result<Row, (usize, DataError)>;

/// The same, where every row must be readable.
///
/// # Errors
/// With the line that is wrong.
pub fn rows(path: &Path, bytes: Vec<u8>) -> Result<(FileKind, Vec<Row>), DataError> {
    let Rows { kind, rows, wrong } = Rows::of(path, bytes)?;
    wrong.into_iter().next().map_or(Ok((kind, rows)), |(_, error)| Err(error))
}

fn is_array(bytes: &[u8]) -> bool {
    let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
    bytes.iter().find(|byte| !byte.is_ascii_whitespace()) == Some(&b'[')
}

/// One JSON object a line; empty lines are left out.
fn line_rows(shown: &str, bytes: &[u8]) -> Vec<Read> {
    let row = |(index, line): (usize, &[u8])| {
        let (number, place) = (index + 1, format!("{shown}:{}", index + 1));
        let wrong = |what: String| (number, DataError::at(&place, what));
        let line = match std::str::from_utf8(line) {
            Ok(line) => readable(line),
            Err(error) => return Some(Err(wrong(format!("is not UTF-8: {error}")))),
        };
        if line.trim().is_empty() {
            return None;
        }
        let fields = serde_json::from_str(&line).map_err(|error| wrong(error.to_string()));
        Some(fields.map(|fields| Row { number, place, fields }))
    };
    bytes.split(|byte| *byte == b'\n').enumerate().filter_map(row).collect()
}

/// An array of JSON objects.
fn array_rows(shown: &str, bytes: &[u8]) -> Result<Vec<Read>, DataError> {
    let text = std::str::from_utf8(bytes).map_err(|error| DataError::at(shown, format!("is not UTF-8: {error}")))?;
    let items: Vec<Value> = serde_json::from_str(&readable(text))
        .map_err(|error| DataError::at(format!("{shown}:{}", error.line()), error.to_string()))?;
    let row = |(index, item): (usize, Value)| {
        let (number, place) = (index + 1, format!("{shown}: item {}", index + 1));
        match item {
            Value::Object(fields) => Ok(Row { number, place, fields }),
            _ => Err((number, DataError::at(place, "is not a JSON object"))),
        }
    };
    Ok(items.into_iter().enumerate().map(row).collect())
}

/// Rows of a table whose first line names its columns. Cells are texts; empty ones are left out.
fn csv_rows(shown: &str, bytes: &[u8]) -> Result<Vec<Read>, DataError> {
    let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
    let (mut reader, lines) = (csv::ReaderBuilder::new().from_reader(bytes), Lines::of(bytes));
    let wrong = |error: csv::Error| {
        let line = error.position().map_or_else(String::new, |position| format!(":{}", lines.at(position.byte())));
        let what = match error.kind() {
            csv::ErrorKind::UnequalLengths { expected_len, len, .. } => {
                format!("has {len} cells, and the first line names {expected_len} columns")
            }
            _ => error.to_string(),
        };
        DataError::at(format!("{shown}{line}"), what)
    };
    let names = reader.headers().map_err(wrong)?.clone();
    if let Some(twice) = names.iter().enumerate().find(|(at, name)| names.iter().take(*at).any(|other| other == *name))
    {
        return Err(DataError::at(format!("{shown}:1"), format!("has two columns named `{}`", twice.1)));
    }
    let mut rows = Vec::new();
    for (index, record) in reader.records().enumerate() {
        let number = index + 1;
        let read = record.map_err(|error| (number, wrong(error))).map(|record| {
            let line = lines.at(record.position().map_or(0, csv::Position::byte));
            let cells = names.iter().zip(&record).filter(|(_, cell)| !cell.is_empty());
            let fields = cells.map(|(name, cell)| (name.to_owned(), Value::from(cell))).collect();
            Row { number, place: format!("{shown}:{line}"), fields }
        });
        rows.push(read);
    }
    Ok(rows)
}

/// The lines of a text. The reader's own numbers are off by one where lines end in a carriage return and a line feed.
struct Lines<'a> {
    bytes: &'a [u8],
    ends: Vec<usize>,
}

impl<'a> Lines<'a> {
    fn of(bytes: &'a [u8]) -> Self {
        let ends = bytes.iter().enumerate().filter(|(_, byte)| **byte == b'\n').map(|(at, _)| at).collect();
        Self { bytes, ends }
    }

    /// The line of the record that begins there, or after the rest of a line's end.
    fn at(&self, byte: u64) -> usize {
        let from = usize::try_from(byte).map_or(self.bytes.len(), |byte| byte.min(self.bytes.len()));
        let begins = from + self.bytes[from..].iter().take_while(|byte| b"\r\n".contains(byte)).count();
        self.ends.partition_point(|end| *end < begins) + 1
    }
}
