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

use std::collections::HashMap;
use std::path::Path;

use sha2::{Digest, Sha256};

pub use formats::as_request;
pub use item::{DataError, Labelled, LabelledFile, LabelledItem, Row};
pub use mapping::{InvalidMapping, LabelNames, Mapping};
pub use rows::rows;

/// Reads files of labelled items, whose ids are different over all of them.
///
/// # Errors
/// With the file and the line that is wrong.
pub fn read(paths: &[impl AsRef<Path>], mapping: &Mapping) -> Result<Vec<LabelledFile>, DataError> {
    let files: Vec<LabelledFile> = paths.iter().map(|path| file(path.as_ref(), mapping)).collect::<Result<_, _>>()?;
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

fn file(path: &Path, mapping: &Mapping) -> Result<LabelledFile, DataError> {
    let shown = path.display().to_string();
    let bytes = std::fs::read(path).map_err(|error| DataError::at(&shown, error.to_string()))?;
    let sha256 = format!("{:x}", Sha256::digest(&bytes));
    let stem = path.file_stem().map_or_else(|| shown.clone(), |stem| stem.to_string_lossy().into_owned());
    let (kind, rows) = rows(path, bytes)?;
    let table = kind.is_table();
    let (mut items, mut format) = (Vec::with_capacity(rows.len()), None);
    let mut numbers = labels::Numbers::default();
    for mut row in rows {
        let place = row.place.clone();
        let (found, item) = mapping
            .apply(&mut row.fields)
            .and_then(|()| formats::item(row, &stem, table, mapping.labels.as_ref(), &mut numbers))
            .map_err(|what| DataError::at(&place, what))?;
        format.get_or_insert(found);
        items.push(item);
    }
    numbers.check().map_err(|what| DataError::at(&shown, what))?;
    let Some(format) = format else { return Err(DataError::at(shown, "has no items")) };
    Ok(LabelledFile { path: shown, sha256, format: format!("{}{}", kind.prefix(), format.name()), items })
}

#[cfg(test)]
mod tests;
