//! Items of a file: what is asked about each row, with the options of the command line.

mod fields;
mod kinds;
mod options;
mod skipped;

use std::collections::HashMap;
use std::path::Path;

use serde_json::{Map, Value, json};

pub(super) use self::fields::Asks;
use self::fields::Strictness;
pub(super) use self::kinds::{KindArg, MethodArg, ModeArg, Route};
pub(super) use self::options::{ItemOptions, ItemSettings};
pub(super) use self::skipped::Skipped;
use super::CliError;
use crate::domain::agreement::{instruction_key, key};
use crate::labelled::{self, DataError, Row, Rows};

/// An item to ask about.
pub(super) struct Item {
    pub(super) id: String,
    pub(super) route: Route,
    pub(super) body: Value,
    /// The row as it was read, if it is to be kept.
    pub(super) input: Option<Map<String, Value>>,
}

impl Item {
    /// Stands for its instruction: equal for items on the same one.
    pub(super) fn instruction(&self) -> u64 {
        match &self.body["instruction"] {
            Value::String(text) => instruction_key(text),
            _ => key(&[&self.body["messages"].to_string()]),
        }
    }
}

/// How rows become items.
pub(super) struct Reader<'a> {
    pub(super) asks: Asks,
    /// The kind of all items; each one's own if there is none.
    pub(super) kind: Option<KindArg>,
    pub(super) options: &'a ItemOptions,
    pub(super) settings: &'a ItemSettings,
    /// Whether items keep their rows.
    pub(super) keep_input: bool,
}

impl Reader<'_> {
    /// Reads a file of items: JSON lines, a JSON array, CSV or Parquet, by its name; with `--skip-invalid`, those of its
    /// rows that can be used.
    ///
    /// # Errors
    /// With the first row that is wrong; if all are.
    pub(super) fn read(&self, data: &Path) -> Result<(Vec<Item>, Skipped), CliError> {
        let bytes = std::fs::read(data).map_err(|error| CliError::because(data.display(), error))?;
        let documents = self.settings.documents()?;
        let stem = data.file_stem().map_or_else(String::new, |stem| stem.to_string_lossy().into_owned());
        let Rows { kind, mut rows, mut wrong } = Rows::of(data, bytes)?;
        if !self.settings.skip_invalid && !wrong.is_empty() {
            return Err(wrong.remove(0).1.into());
        }
        fields::check_targets(self.settings.map.targets(), self.asks).map_err(CliError::Usage)?;
        self.settings.map.rename(&mut rows)?;
        let strictness = match (self.settings.ignore_unknown, kind.is_table()) {
            (true, _) => Strictness::Nothing,
            (false, true) => Strictness::Misspelt,
            (false, false) => Strictness::All,
        };
        let (mut items, mut seen) = (Vec::with_capacity(rows.len()), HashMap::new());
        for row in rows {
            let (id, spot) = (row.id(&stem), row.spot());
            let Row { number, place, mut fields } = row;
            let input = self.keep_input.then(|| fields.clone());
            if kind.is_table() {
                fields::typed(&mut fields);
            }
            let item = match seen.get(&id) {
                Some(first) => Err(format!(
                    "has the id `{id}` of {first}; ids must be unique, because they identify finished items"
                )),
                None => self.item(id.clone(), fields, strictness, &documents),
            };
            match item {
                Ok(item) => {
                    seen.insert(id, spot);
                    items.push(Item { input, ..item });
                }
                Err(what) if self.settings.skip_invalid => wrong.push((number, DataError::at(place, what))),
                Err(what) => return Err(DataError::at(place, what).into()),
            }
        }
        let skipped = Skipped::of(wrong);
        match skipped.message() {
            Some(message) if items.is_empty() => {
                Err(CliError::Failed(format!("{}: no row can be used; {message}", data.display())))
            }
            _ => Ok((items, skipped)),
        }
    }

    /// Converts a row into a request.
    fn item(
        &self,
        id: String,
        mut fields: Map<String, Value>,
        strictness: Strictness,
        documents: &[Value],
    ) -> Result<Item, String> {
        labelled::from_trl(&mut fields)?;
        let has = |name: &str| fields.get(name).is_some_and(|value| !value.is_null());
        let names = || fields.keys().map(String::as_str).collect::<Vec<_>>().join(", ");
        let missing = |what: &str, name: &str| match self.settings.map.column(name) {
            Some(column) => format!("has no {what}: its `{column}` is empty; --skip-invalid leaves such rows out"),
            None if fields.contains_key(name) => {
                format!("has no {what}: its `{name}` is empty; --skip-invalid leaves such rows out")
            }
            None => format!("has no {what}: map the field with --map {name}=FIELD; it has {}", names()),
        };
        let route = match (self.asks, self.kind, has("response_a")) {
            (Asks::Grade, Some(KindArg::Absolute), true) => {
                return Err("has response_a, but --kind is absolute".into());
            }
            (Asks::Grade, Some(KindArg::Relative), false) => {
                return Err("has no response_a, but --kind is relative".into());
            }
            (Asks::Grade, _, true) => Route::Grade(KindArg::Relative),
            (Asks::Grade, _, false) => Route::Grade(KindArg::Absolute),
            (Asks::Reward, ..) => Route::Reward,
            (Asks::Rank, ..) => Route::Rank,
            (Asks::Preferences, ..) => Route::Preferences,
        };
        if !has("instruction") && !has("messages") {
            return Err(missing("instruction", "instruction"));
        }
        match route {
            Route::Grade(KindArg::Absolute) | Route::Reward if !has("response") => {
                return Err(missing("response", "response"));
            }
            Route::Rank | Route::Preferences if !fields.get("responses").is_some_and(Value::is_array) => {
                return Err(missing("list of responses", "responses"));
            }
            _ => {}
        }
        labelled::as_request(&mut fields);
        fields::check(&mut fields, self.asks, strictness)?;
        // Labelled data has conversations in the place of the instruction.
        if let Some(turns) = fields.get("instruction").filter(|value| value.is_array()).cloned() {
            fields.shift_remove("instruction");
            fields.insert("messages".into(), turns);
        }
        let mut context = fields.shift_remove("context").map(fields::documents).unwrap_or_default();
        context.extend_from_slice(documents);
        if !context.is_empty() {
            fields.insert("context".into(), Value::Array(context));
        }
        self.options.put(&mut fields);
        self.settings.put(&mut fields);
        if self.settings.no_swap && route == Route::Grade(KindArg::Relative) {
            fields.insert("swap".into(), json!(false));
        }
        if !fields.contains_key("rubric") {
            return Err("has no rubric; name one with --rubric".into());
        }
        Ok(Item { id, route, body: Value::Object(fields), input: None })
    }
}

/// The body for `/v1/rewards` of one item, which holds what it is asked with as well.
pub(super) fn reward_request(item: &Value) -> Value {
    const OF_ITEM: [&str; 6] = ["instruction", "messages", "response", "reference_answer", "context", "annotator"];
    let (mut one, mut settings) = (Map::new(), Map::new());
    for (name, value) in item.as_object().into_iter().flatten() {
        let side = if OF_ITEM.contains(&name.as_str()) { &mut one } else { &mut settings };
        side.insert(name.clone(), value.clone());
    }
    settings.insert("items".into(), json!([one]));
    settings.insert("include".into(), json!(["verdicts"]));
    Value::Object(settings)
}

#[cfg(test)]
mod tests;
