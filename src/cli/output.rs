//! Where the results of a run go, by the name of `--out`.

use std::path::{Path, PathBuf};

use serde_json::{Map, Value};

use super::CliError;
use super::items::Item;
use super::outcomes;
use super::results::Results;
use super::tables::{Cells, Table, TableKind};

/// What to do if the file belongs to another run.
const REMEDY: &str = "use another file for --out";

/// Where results go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Output {
    /// JSON lines on standard output, as they come.
    Stdout,
    /// JSON lines in a file, which a later run goes on with.
    Lines(PathBuf),
    /// A table, which is made of JSON lines in a file beside it when the run ends.
    Table(PathBuf, TableKind),
}

impl Output {
    /// The output of this name.
    ///
    /// # Errors
    /// For the ending of what cannot be written.
    pub(super) fn of(path: &Path) -> Result<Self, CliError> {
        if path == Path::new("-") {
            return Ok(Self::Stdout);
        }
        let extension = path.extension().map(|extension| extension.to_string_lossy().to_ascii_lowercase());
        match extension.as_deref() {
            None | Some("jsonl" | "ndjson") => Ok(Self::Lines(path.to_owned())),
            Some("csv") => Ok(Self::Table(path.to_owned(), TableKind::Csv)),
            Some("parquet") => Ok(Self::Table(path.to_owned(), TableKind::Parquet)),
            Some(other) => Err(CliError::Usage(format!(
                "--out {}: `.{other}` cannot be written; use .jsonl, .csv or .parquet, or - for standard output",
                path.display()
            ))),
        }
    }

    /// Opens the results of the run.
    ///
    /// # Errors
    /// If another run is writing them, or the file is another one.
    pub(super) fn open(&self) -> Result<Results, CliError> {
        match self.lines() {
            Some(path) => Results::open(&path, REMEDY),
            None => Ok(Results::to_stdout()),
        }
    }

    /// The file of JSON lines.
    pub(super) fn lines(&self) -> Option<PathBuf> {
        match self {
            Self::Stdout => None,
            Self::Lines(path) => Some(path.clone()),
            Self::Table(path, _) => Some(run_of(path)),
        }
    }

    /// Its name, as messages have it.
    pub(super) fn shown(&self) -> String {
        match self {
            Self::Stdout => "standard output".to_owned(),
            Self::Lines(path) | Self::Table(path, _) => path.display().to_string(),
        }
    }

    /// Writes the table of a run, if it is one.
    ///
    /// # Errors
    /// If the results cannot be read, or the table cannot be written.
    pub(super) fn finish(&self, items: &[Item]) -> Result<(), CliError> {
        match self {
            Self::Table(path, kind) => verdicts(items, &run_of(path))?.write(path, *kind),
            Self::Stdout | Self::Lines(_) => Ok(()),
        }
    }
}

/// The file of JSON lines beside a file that is made of them.
pub(super) fn run_of(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".run.jsonl");
    name.into()
}

/// The columns of verdicts, behind the id and what was kept of the items.
const COLUMNS: [(&str, Cells); 13] = [
    ("score", Cells::Number),
    ("expected_score", Cells::Number),
    ("reward", Cells::Number),
    ("preference", Cells::Text),
    ("probability_a", Cells::Number),
    ("consistent", Cells::Flag),
    ("label_mass", Cells::Number),
    ("feedback", Cells::Text),
    ("finish", Cells::Text),
    ("rubric", Cells::Text),
    ("prompt", Cells::Text),
    ("model", Cells::Text),
    ("error", Cells::Text),
];

/// The table of a run, in the order of its items; those that were not tried are left out.
fn verdicts(items: &[Item], run: &Path) -> Result<Table, CliError> {
    let mut stored: std::collections::HashMap<String, Result<Value, Value>> =
        outcomes::read(run)?.into_iter().map(|stored| (stored.id, stored.value)).collect();
    let inputs = input_columns(items);
    let mut table = Table { columns: vec![("id".to_owned(), Cells::Text)], rows: Vec::new() };
    table.columns.extend(inputs.iter().map(|(name, cells)| (format!("input.{name}"), *cells)));
    table.columns.extend(COLUMNS.map(|(name, cells)| (name.to_owned(), cells)));
    for item in items {
        let Some(value) = stored.remove(&item.id) else { continue };
        let mut row = vec![Value::from(item.id.as_str())];
        let input = |(name, _): &(String, Cells)| item.input.as_ref().and_then(|input| input.get(name)).cloned();
        row.extend(inputs.iter().map(|column| input(column).unwrap_or_default()));
        let shown = cells(&value);
        row.extend(COLUMNS.iter().map(|(name, _)| shown.get(*name).cloned().unwrap_or_default()));
        table.rows.push(row);
    }
    Ok(table)
}

/// The fields of items that were kept, in the order in which they come up.
fn input_columns(items: &[Item]) -> Vec<(String, Cells)> {
    let mut columns: indexmap::IndexMap<&str, Cells> = indexmap::IndexMap::new();
    for (name, value) in items.iter().flat_map(|item| item.input.iter().flatten()) {
        let cells = match value {
            Value::Null => continue,
            Value::Number(_) => Cells::Number,
            Value::Bool(_) => Cells::Flag,
            _ => Cells::Text,
        };
        let known = columns.entry(name).or_insert(cells);
        if *known != cells {
            *known = Cells::Text;
        }
    }
    columns.into_iter().map(|(name, cells)| (name.to_owned(), cells)).collect()
}

/// A verdict or an error as cells.
fn cells(value: &Result<Value, Value>) -> Map<String, Value> {
    let mut cells = Map::new();
    match value {
        Ok(verdict) => {
            let plain =
                ["score", "expected_score", "reward", "preference", "probability_a", "consistent", "label_mass"];
            for name in plain.into_iter().chain(["feedback"]) {
                cells.insert(name.into(), verdict[name].clone());
            }
            for name in ["rubric", "prompt", "model"] {
                cells.insert(name.into(), verdict[name]["name"].clone());
            }
            let finish = if outcomes::is_cut(verdict) { "length" } else { "stop" };
            cells.insert("finish".into(), finish.into());
        }
        Err(problem) => {
            let text = |name: &str| problem[name].as_str().unwrap_or_default();
            cells.insert("error".into(), format!("{}: {}", text("code"), text("detail")).into());
        }
    }
    cells
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::cli::items::{KindArg, Route};

    #[test]
    fn the_ending_says_what_is_written() {
        let check = |name: &str, expected: Option<Output>| {
            assert_eq!(Output::of(Path::new(name)).ok(), expected, "{name}");
        };
        check("-", Some(Output::Stdout));
        check("a.jsonl", Some(Output::Lines("a.jsonl".into())));
        check("/dev/null", Some(Output::Lines("/dev/null".into())));
        check("a.CSV", Some(Output::Table("a.CSV".into(), TableKind::Csv)));
        check("a.parquet", Some(Output::Table("a.parquet".into(), TableKind::Parquet)));
        check("a.xlsx", None);
        check("a.json", None);
        assert_eq!(Output::of(Path::new("a.csv")).unwrap().lines(), Some("a.csv.run.jsonl".into()));
    }

    #[test]
    fn a_table_has_the_items_in_their_order() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("out.csv");
        let item = |id: &str, team: Value| Item {
            id: id.into(),
            route: Route::Grade(KindArg::Absolute),
            body: json!({}),
            input: json!({"team": team}).as_object().cloned(),
        };
        let verdict = json!({"score": 4, "reward": 0.75, "rubric": {"name": "honesty"}, "feedback": "Good,\nso."});
        let lines = [
            json!({"id": "b", "error": {"code": "context_overflow", "detail": "too long"}}),
            json!({"id": "a", "verdict": verdict}),
        ];
        std::fs::write(run_of(&path), lines.map(|line| format!("{line}\n")).concat()).unwrap();
        let items = [item("a", json!("red")), item("b", json!(7)), item("untried", json!(null))];
        Output::of(&path).unwrap().finish(&items).unwrap();
        let expected = "id,input.team,score,expected_score,reward,preference,probability_a,consistent,label_mass,\
                        feedback,finish,rubric,prompt,model,error\n\
                        a,red,4,,0.75,,,,,\"Good,\nso.\",stop,honesty,,,\n\
                        b,7,,,,,,,,,,,,,context_overflow: too long\n";
        assert_eq!(std::fs::read_to_string(&path).unwrap(), expected);
    }
}
