//! Tables of results: JSON lines, CSV and Parquet.

mod columnar;
mod table;

use std::path::Path;

use serde_json::Value;

use self::table::text;
pub(super) use self::table::{Cells, Table};
use super::CliError;

/// What a table is written in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum TableKind {
    /// JSON, an object a line; nulls are left out.
    Lines,
    Csv,
    Parquet,
}

impl Table {
    /// Writes the table in place of a file.
    ///
    /// # Errors
    /// Those of the file.
    pub(super) fn write(&self, path: &Path, kind: TableKind) -> Result<(), CliError> {
        let bytes = match kind {
            TableKind::Lines => Ok(self.lines()),
            TableKind::Csv => self.csv(),
            TableKind::Parquet => columnar::bytes(self).map_err(|error| error.to_string()),
        };
        let bytes = bytes.map_err(|error| CliError::because(path.display(), error))?;
        replace(path, &bytes)
    }

    fn lines(&self) -> Vec<u8> {
        let line = |row: &Vec<Value>| {
            let cells = self.columns.iter().zip(row).filter(|(_, value)| !value.is_null());
            let fields = cells.map(|((name, _), value)| (name.clone(), value.clone()));
            format!("{}\n", Value::Object(fields.collect()))
        };
        self.rows.iter().map(line).collect::<String>().into_bytes()
    }

    fn csv(&self) -> Result<Vec<u8>, String> {
        let mut writer = csv::Writer::from_writer(Vec::new());
        let written = writer.write_record(self.columns.iter().map(|(name, _)| name)).and_then(|()| {
            self.rows.iter().try_for_each(|row| {
                writer.write_record(row.iter().map(|value| if value.is_null() { String::new() } else { text(value) }))
            })
        });
        written.map_err(|error| error.to_string())?;
        writer.into_inner().map_err(|error| error.to_string())
    }
}

/// Checks that the folder of a file is there: a file that cannot be written should not cost a run.
///
/// # Errors
/// If it is not.
pub(super) fn check_folder(flag: &str, path: &Path) -> Result<(), CliError> {
    match path.parent() {
        Some(folder) if folder != Path::new("") && !folder.is_dir() => {
            Err(CliError::Failed(format!("{flag}: {} is not a folder; create it first", folder.display())))
        }
        _ => Ok(()),
    }
}

/// Writes a file whole or not at all.
///
/// # Errors
/// Those of the file.
pub(super) fn replace(path: &Path, bytes: &[u8]) -> Result<(), CliError> {
    let mut partial = path.as_os_str().to_owned();
    partial.push(".partial");
    std::fs::write(&partial, bytes)
        .and_then(|()| std::fs::rename(&partial, path))
        .map_err(|error| CliError::because(path.display(), error))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::labelled;

    fn table() -> Table {
        let columns =
            [("id", Cells::Text), ("reward", Cells::Number), ("good", Cells::Flag), ("chosen", Cells::Messages)];
        let turns = json!([{"role": "user", "content": "Why,\n\"so\"?"}, {"role": "assistant", "content": "Ünd so."}]);
        Table {
            columns: columns.map(|(name, cells)| (name.to_owned(), cells)).to_vec(),
            rows: vec![
                vec![json!("a"), json!(0.5), json!(true), turns],
                vec![json!(7), Value::Null, Value::Null, json!([])],
                vec![json!("c"), json!(1), json!(false), json!([{"role": "user", "content": "?"}])],
            ],
        }
    }

    #[test]
    fn a_parquet_file_is_read_back() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.parquet");
        table().write(&path, TableKind::Parquet).unwrap();
        let rows = labelled::rows(&path, std::fs::read(&path).unwrap()).unwrap().1;
        let found: Vec<Value> = rows.into_iter().map(|row| Value::Object(row.fields)).collect();
        let turns = table().rows[0][3].clone();
        assert_eq!(found[0], json!({"id": "a", "reward": 0.5, "good": true, "chosen": turns}));
        assert_eq!(found[1], json!({"id": "7", "chosen": []}));
        assert_eq!(found[2]["chosen"], json!([{"role": "user", "content": "?"}]));
        let empty = Table { rows: Vec::new(), ..table() };
        empty.write(&path, TableKind::Parquet).unwrap();
        assert!(labelled::rows(&path, std::fs::read(&path).unwrap()).unwrap().1.is_empty());
    }

    #[test]
    fn lines_leave_nulls_out() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.jsonl");
        table().write(&path, TableKind::Lines).unwrap();
        let text = std::fs::read_to_string(&path).unwrap();
        assert_eq!(text.lines().nth(1), Some(r#"{"id":7,"chosen":[]}"#));
    }

    #[test]
    fn a_csv_file_is_read_back() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.csv");
        table().write(&path, TableKind::Csv).unwrap();
        let rows = labelled::rows(&path, std::fs::read(&path).unwrap()).unwrap().1;
        assert_eq!((&rows[0].fields["reward"], &rows[0].fields["good"]), (&json!("0.5"), &json!("true")));
        let turns: Value = serde_json::from_str(rows[0].fields["chosen"].as_str().unwrap()).unwrap();
        assert_eq!(turns, table().rows[0][3]);
        assert!(!rows[1].fields.contains_key("reward"));
    }
}
