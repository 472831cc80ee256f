//! Names that the user gives: which column is which field, and which label means what.

use std::collections::HashMap;
use std::str::FromStr;

use indexmap::IndexSet;
use serde_json::{Map, Value};

use super::item::{DataError, Row};
use crate::domain::Preference;

/// Which column each field is read from.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Mapping {
    /// Fields of ours, and the columns that they are in.
    fields: Vec<(String, String)>,
    /// What labels and votes mean.
    pub labels: Option<LabelNames>,
}

/// What the labels of a file mean.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LabelNames(HashMap<String, Preference>);

/// Why names are not understood.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidMapping {
    /// It is not `field=column`.
    #[error("`{0}` is not of the form field=column, such as response=answer")]
    NotAPair(String),
    /// Two columns for one field.
    #[error("`{0}` is named twice")]
    Twice(String),
    /// It is not `value=A`, `value=B` or `value=tie`.
    #[error("`{0}` is not of the form value=A, value=B or value=tie")]
    NotALabel(String),
}

fn pairs(text: &str) -> impl Iterator<Item = (&str, Option<(&str, &str)>)> {
    text.split(',').map(str::trim).filter(|part| !part.is_empty()).map(|part| {
        let sides = part.split_once('=').map(|(one, other)| (one.trim(), other.trim()));
        (part, sides.filter(|(one, other)| !one.is_empty() && !other.is_empty()))
    })
}

impl FromStr for Mapping {
    type Err = InvalidMapping;

    fn from_str(text: &str) -> Result<Self, InvalidMapping> {
        let mut fields: Vec<(String, String)> = Vec::new();
        for (part, sides) in pairs(text) {
            let (field, column) = sides.ok_or_else(|| InvalidMapping::NotAPair(part.to_owned()))?;
            if fields.iter().any(|(other, _)| other == field) {
                return Err(InvalidMapping::Twice(field.to_owned()));
            }
            fields.push((field.to_owned(), column.to_owned()));
        }
        Ok(Self { fields, labels: None })
    }
}

impl FromStr for LabelNames {
    type Err = InvalidMapping;

    fn from_str(text: &str) -> Result<Self, InvalidMapping> {
        let mut names = HashMap::new();
        for (part, sides) in pairs(text) {
            let wrong = || InvalidMapping::NotALabel(part.to_owned());
            let (name, label) = sides.ok_or_else(wrong)?;
            let label = match label {
                "A" => Preference::A,
                "B" => Preference::B,
                "tie" => Preference::Tie,
                _ => return Err(wrong()),
            };
            if names.insert(name.to_owned(), label).is_some() {
                return Err(InvalidMapping::Twice(name.to_owned()));
            }
        }
        Ok(Self(names))
    }
}

impl LabelNames {
    pub(super) fn get(&self, name: &str) -> Option<Preference> {
        self.0.get(name).copied()
    }
}

impl Mapping {
    /// The fields that are read from other columns.
    pub fn targets(&self) -> impl Iterator<Item = &str> {
        self.fields.iter().map(|(field, _)| field.as_str())
    }

    /// The column of a field that is read from another one.
    #[must_use]
    pub fn column(&self, field: &str) -> Option<&str> {
        self.fields.iter().find(|(name, _)| name == field).map(|(_, column)| column.as_str())
    }

    /// Gives fields their names. A column is a name, or a path such as `meta.label`. A row may lack one, as an empty cell
    /// of a table does.
    ///
    /// # Errors
    /// If no row has a column, with the names that there are.
    pub fn rename(&self, rows: &mut [Row]) -> Result<(), DataError> {
        for (_, column) in &self.fields {
            if let Some(first) = rows.first()
                && !rows.iter().any(|row| look_up(&row.fields, column).is_some())
            {
                let names = field_names(rows);
                let one = matches!(&names[..], [one] if one.contains([';', '\t']));
                let hint = if one { "; columns are separated by commas" } else { "" };
                let what = format!("has no `{column}`, which --map names; it has {}{hint}", names.join(", "));
                return Err(DataError::at(&first.place, what));
            }
        }
        rows.iter_mut().for_each(|row| self.apply(&mut row.fields));
        Ok(())
    }

    fn apply(&self, fields: &mut Map<String, Value>) {
        // All are looked up before any is changed, so that two columns can change places.
        let found = self
            .fields
            .iter()
            .filter_map(|(field, column)| look_up(fields, column).map(|value| (field, column, value.clone())));
        let found: Vec<_> = found.collect();
        found.iter().for_each(|(_, column, _)| drop(fields.shift_remove(*column)));
        found.into_iter().for_each(|(field, _, value)| drop(fields.insert(field.clone(), value)));
    }
}

/// The names of the fields that rows have, in the order in which they come.
#[must_use]
pub fn field_names(rows: &[Row]) -> Vec<&str> {
    let names: IndexSet<&str> = rows.iter().flat_map(|row| row.fields.keys().map(String::as_str)).collect();
    names.into_iter().collect()
}

fn look_up<'a>(fields: &'a Map<String, Value>, column: &str) -> Option<&'a Value> {
    fields.get(column).or_else(|| {
        let (first, rest) = column.split_once('.')?;
        look_up(fields.get(first)?.as_object()?, rest)
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn columns_get_the_names_of_fields() {
        let check = |mapping: &str, row: Value, expected: Result<Value, &str>| {
            let Value::Object(fields) = row else { panic!("an object") };
            let other = serde_json::from_value(json!({"n": 1})).unwrap();
            let row = |number, fields| Row { number, place: format!("file:{number}"), fields };
            let mut rows = [row(1, fields), row(2, other)];
            match (mapping.parse::<Mapping>().unwrap().rename(&mut rows), expected) {
                (Ok(()), Ok(expected)) => assert_eq!(Value::Object(rows[0].fields.clone()), expected, "{mapping}"),
                (Err(error), Err(word)) => assert!(error.to_string().contains(word), "{error}"),
                other => panic!("{mapping}: {other:?}"),
            }
        };
        check("", json!({"a": 1}), Ok(json!({"a": 1})));
        check("response=answer", json!({"answer": "So."}), Ok(json!({"response": "So."})));
        check("a=b, b=a", json!({"a": 1, "b": 2}), Ok(json!({"a": 2, "b": 1})));
        check(
            "label=meta.judge.label",
            json!({"meta": {"judge": {"label": "A"}}, "label": "B"}),
            Ok(json!({"meta": {"judge": {"label": "A"}}, "label": "A"})),
        );
        check("label=meta.label", json!({"meta.label": "A"}), Ok(json!({"label": "A"})));
        check(
            "response=answer",
            json!({"reply": "So."}),
            Err("file:1: has no `answer`, which --map names; it has reply, n"),
        );
    }

    #[test]
    fn what_is_no_mapping_is_refused() {
        let check = |text: &str, expected: InvalidMapping| assert_eq!(text.parse::<Mapping>(), Err(expected));
        check("response", InvalidMapping::NotAPair("response".into()));
        check("a=b,=c", InvalidMapping::NotAPair("=c".into()));
        check("a=b,a=c", InvalidMapping::Twice("a".into()));
        let check = |text: &str, expected: InvalidMapping| assert_eq!(text.parse::<LabelNames>(), Err(expected));
        check("1=first", InvalidMapping::NotALabel("1=first".into()));
        check("1=A,1=B", InvalidMapping::Twice("1".into()));
        let names: LabelNames = "model_a=A, model_b=B, tie (bothbad)=tie".parse().unwrap();
        assert_eq!((names.get("model_b"), names.get("tie (bothbad)")), (Some(Preference::B), Some(Preference::Tie)));
    }
}
