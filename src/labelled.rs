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
pub use rows::{Rows, rows};

/// Reads files of labelled items, whose ids are different over all of them. Items without a label are left out.
///
/// # Errors
/// With the file and the line that is wrong; if no item of a file has a label.
pub fn read(paths: &[impl AsRef<Path>], mapping: &Mapping) -> Result<Vec<LabelledFile>, DataError> {
    let one = |path: &Path| match file(path, mapping, false, |_| true)? {
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

/// Reads those items of a file that have a label; `None` if none has one. `skip_invalid` leaves out rows that cannot be
/// read, and those that have the id of an earlier one.
///
/// # Errors
/// With the line that is wrong.
pub fn read_labelled(path: &Path, mapping: &Mapping, skip_invalid: bool) -> Result<Option<LabelledFile>, DataError> {
    let has = |row: &Row, name: &str| row.fields.get(name).is_some_and(|value| !value.is_null());
    let labelled = |row: &Row| has(row, "label") || (has(row, "labels") && !has(row, "response_a"));
    let file = file(path, mapping, skip_invalid, labelled)?;
    Ok(file.filter(|file| !file.items.is_empty()))
}

/// The wanted rows of a file as items; `None` if there are none.
fn file(
    path: &Path,
    mapping: &Mapping,
    skip_invalid: bool,
    wanted: impl Fn(&Row) -> bool,
) -> Result<Option<LabelledFile>, DataError> {
    let shown = path.display().to_string();
    let bytes = std::fs::read(path).map_err(|error| DataError::at(&shown, error.to_string()))?;
    let sha256 = format!("{:x}", Sha256::digest(&bytes));
    let stem = path.file_stem().map_or_else(|| shown.clone(), |stem| stem.to_string_lossy().into_owned());
    let Rows { kind, mut rows, wrong } = Rows::of(path, bytes)?;
    if let Some((_, error)) = wrong.into_iter().next().filter(|_| !skip_invalid) {
        return Err(error);
    }
    mapping.rename(&mut rows)?;
    let table = kind.is_table();
    let (mut items, mut unlabelled, mut format) = (Vec::with_capacity(rows.len()), 0, None);
    let mut numbers = labels::Numbers::default();
    for row in rows.into_iter().filter(wanted) {
        let place = row.place.clone();
        match formats::item(row, &stem, table, mapping.labels.as_ref(), &mut numbers) {
            Ok((found, item)) => {
                format.get_or_insert(found);
                match item {
                    Some(item) => items.push(item),
                    None => unlabelled += 1,
                }
            }
            Err(_) if skip_invalid => {}
            Err(what) => return Err(DataError::at(&place, what)),
        }
    }
    numbers.check().map_err(|what| DataError::at(&shown, what))?;
    if skip_invalid {
        let mut seen = HashSet::new();
        items.retain(|item: &LabelledItem| seen.insert(item.id.clone()));
    }
    let format = format.map(|format| format!("{}{}", kind.prefix(), format.name()));
    Ok(format.map(|format| LabelledFile { path: shown, sha256, format, items, unlabelled }))
}

#[cfg(test)]
mod tests;
