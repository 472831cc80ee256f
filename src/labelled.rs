//! Labelled data: items that people have judged, in the formats that they come in.
//!
//! A file is a list of rows (JSON lines, a JSON array, CSV or Parquet), and a row is an item in one of the known forms.
//! docs/agreement.md describes them.

mod columnar;
mod formats;
mod item;
mod labels;
mod mapping;
mod rows;

use std::collections::{HashMap, HashSet};
use std::path::Path;

use sha2::{Digest, Sha256};

pub use formats::{as_request, from_trl};
pub use item::{DataError, Labelled, LabelledFile, LabelledItem, Row};
pub use mapping::{InvalidMapping, LabelNames, Mapping, field_names};
use rows::FileKind;
pub use rows::{Rows, rows};

/// Reads files of labelled items, whose ids are different over all of them. Items without a label are left out.
///
/// # Errors
/// With the file and the line that is wrong; if no item of a file has a label.
pub fn read(paths: &[impl AsRef<Path>], mapping: &Mapping) -> Result<Vec<LabelledFile>, DataError> {
    let one = |path: &Path| match file(path, mapping, |bytes| rows(path, bytes), |_| true)? {
        Some(file) if file.items.is_empty() => Err(without_labels(&file)),
        Some(file) => Ok(file),
        None => Err(DataError::at(path.display().to_string(), "has no items")),
    };
    let files: Vec<LabelledFile> = paths.iter().map(|path| one(path.as_ref())).collect::<Result<_, _>>()?;
    let mut seen: HashMap<&str, &str> = HashMap::new();
    for item in files.iter().flat_map(|file| &file.items) {
        if let Some(first) = seen.insert(&item.id, &item.place) {
            let what = format!(
                "has the id `{}` of {first}; ids must be unique, because they connect verdicts with items",
                item.id
            );
            return Err(DataError::at(&item.place, what));
        }
    }
    Ok(files)
}

fn without_labels(file: &LabelledFile) -> DataError {
    let what = match file.unlabelled {
        1 => "its item has no label".to_owned(),
        count => format!("none of its {count} items has a label"),
    };
    DataError::at(&file.path, format!("{what}; if labels have another name, use --map label=NAME"))
}

/// Reads those items of a file that have a label and one of these ids; `None` if none has. Of several rows of an id, it
/// is the first, and rows that cannot be read have no id.
///
/// # Errors
/// With the line that is wrong.
pub fn read_labelled(
    path: &Path,
    mapping: &Mapping,
    mut ids: HashSet<&str>,
) -> Result<Option<LabelledFile>, DataError> {
    let has = |row: &Row, name: &str| row.fields.get(name).is_some_and(|value| !value.is_null());
    let labelled = |row: &Row| has(row, "label") || (has(row, "labels") && !has(row, "response_a"));
    let stem = stem(path);
    let readable = |bytes| Rows::of(path, bytes).map(|read| (read.kind, read.rows));
    let file = file(path, mapping, readable, |row| ids.remove(row.id(&stem).as_str()) && labelled(row))?;
    Ok(file.filter(|file| !file.items.is_empty()))
}

/// The name of a file, without its ending.
fn stem(path: &Path) -> String {
    path.file_stem().map_or_else(|| path.display().to_string(), |stem| stem.to_string_lossy().into_owned())
}

/// The wanted rows of a file as items; `None` if there are none.
fn file(
    path: &Path,
    mapping: &Mapping,
    read: impl FnOnce(Vec<u8>) -> Result<(FileKind, Vec<Row>), DataError>,
    mut wanted: impl FnMut(&Row) -> bool,
) -> Result<Option<LabelledFile>, DataError> {
    let (shown, stem) = (path.display().to_string(), stem(path));
    let bytes = std::fs::read(path).map_err(|error| DataError::at(&shown, error.to_string()))?;
    let sha256 = format!("{:x}", Sha256::digest(&bytes));
    let (kind, mut rows) = read(bytes)?;
    mapping.rename(&mut rows)?;
    let table = kind.is_table();
    let (mut items, mut unlabelled, mut format) = (Vec::with_capacity(rows.len()), 0, None);
    let mut numbers = labels::Numbers::default();
    for row in rows.into_iter().filter(|row| wanted(row)) {
        let place = row.place.clone();
        let (found, item) = formats::item(row, &stem, table, mapping.labels.as_ref(), &mut numbers)
            .map_err(|what| DataError::at(&place, what))?;
        format.get_or_insert(found);
        match item {
            Some(item) => items.push(item),
            None => unlabelled += 1,
        }
    }
    numbers.check().map_err(|what| DataError::at(&shown, what))?;
    let format = format.map(|format| format!("{}{}", kind.prefix(), format.name()));
    Ok(format.map(|format| LabelledFile { path: shown, sha256, format, items, unlabelled }))
}

#[cfg(test)]
mod tests;
