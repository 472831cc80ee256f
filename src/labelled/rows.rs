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
    pub(super) fn is_table(self) -> bool {
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

/// The rows of a file's bytes. Its name tells what it is written in: `.csv`, `.parquet`, `.json` for an array of objects
/// (or for lines of them), and anything else for one object a line.
///
/// # Errors
/// With the line that is wrong.
pub fn rows(path: &Path, bytes: Vec<u8>) -> Result<(FileKind, Vec<Row>), DataError> {
    let shown = path.display().to_string();
    if bytes.starts_with(&[0xff, 0xfe]) || bytes.starts_with(&[0xfe, 0xff]) {
        return Err(DataError::at(shown, "is in UTF-16; save it in UTF-8"));
    }
    let extension = path.extension().map(|extension| extension.to_string_lossy().to_ascii_lowercase());
    match extension.as_deref() {
        Some("csv") => Ok((FileKind::Csv, csv_rows(&shown, &bytes)?)),
        Some("parquet") => Ok((FileKind::Parquet, columnar::rows(&shown, bytes)?)),
        Some("json") if is_array(&bytes) => Ok((FileKind::Json, array_rows(&shown, &bytes)?)),
        _ => Ok((FileKind::Json, line_rows(&shown, &bytes)?)),
    }
}

fn is_array(bytes: &[u8]) -> bool {
    let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
    bytes.iter().find(|byte| !byte.is_ascii_whitespace()) == Some(&b'[')
}

/// One JSON object a line; empty lines are left out.
fn line_rows(shown: &str, bytes: &[u8]) -> Result<Vec<Row>, DataError> {
    let mut rows = Vec::new();
    for (index, line) in bytes.split(|byte| *byte == b'\n').enumerate() {
        let place = format!("{shown}:{}", index + 1);
        let wrong = |what: String| DataError::at(&place, what);
        let line = std::str::from_utf8(line).map_err(|error| wrong(format!("is not UTF-8: {error}")))?;
        let line = readable(line);
        if line.trim().is_empty() {
            continue;
        }
        let fields = serde_json::from_str(&line).map_err(|error| wrong(error.to_string()))?;
        rows.push(Row { number: index + 1, place, fields });
    }
    Ok(rows)
}

/// An array of JSON objects.
fn array_rows(shown: &str, bytes: &[u8]) -> Result<Vec<Row>, DataError> {
    let text = std::str::from_utf8(bytes).map_err(|error| DataError::at(shown, format!("is not UTF-8: {error}")))?;
    let items: Vec<Value> = serde_json::from_str(&readable(text))
        .map_err(|error| DataError::at(format!("{shown}:{}", error.line()), error.to_string()))?;
    let row = |(index, item): (usize, Value)| {
        let (number, place) = (index + 1, format!("{shown}: item {}", index + 1));
        match item {
            Value::Object(fields) => Ok(Row { number, place, fields }),
            _ => Err(DataError::at(place, "is not a JSON object")),
        }
    };
    items.into_iter().enumerate().map(row).collect()
}

/// Rows of a table whose first line names its columns. Cells are texts; empty ones are left out.
fn csv_rows(shown: &str, bytes: &[u8]) -> Result<Vec<Row>, DataError> {
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
    for record in reader.records() {
        let record = record.map_err(wrong)?;
        let line = lines.at(record.position().map_or(0, csv::Position::byte));
        let cells = names.iter().zip(&record).filter(|(_, cell)| !cell.is_empty());
        let fields = cells.map(|(name, cell)| (name.to_owned(), Value::from(cell))).collect();
        rows.push(Row { number: rows.len() + 1, place: format!("{shown}:{line}"), fields });
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
