//! Parquet, without the columns of Arrow.

use std::fmt::Write;
use std::sync::Arc;

use parquet::basic::Compression;
use parquet::data_type::{BoolType, ByteArray, ByteArrayType, DataType, DoubleType};
use parquet::errors::ParquetError;
use parquet::file::properties::WriterProperties;
use parquet::file::writer::{SerializedFileWriter, SerializedRowGroupWriter};
use parquet::schema::parser::parse_message_type;
use parquet::schema::types::Type;
use serde_json::Value;

use super::table::{Cells, Table, text};

type Group<'a> = SerializedRowGroupWriter<'a, Vec<u8>>;

/// The bytes of a file.
pub(super) fn bytes(table: &Table) -> Result<Vec<u8>, ParquetError> {
    let schema = Arc::new(schema(table)?);
    let properties = WriterProperties::builder().set_compression(Compression::SNAPPY).build();
    let mut writer = SerializedFileWriter::new(Vec::new(), schema, Arc::new(properties))?;
    let mut group = writer.next_row_group()?;
    for (at, (_, cells)) in table.columns.iter().enumerate() {
        let values = || table.rows.iter().map(|row| &row[at]);
        match cells {
            Cells::Text => {
                optional::<ByteArrayType>(&mut group, values(), |value| Some(ByteArray::from(text(value).as_str())))?;
            }
            Cells::Number => optional::<DoubleType>(&mut group, values(), Value::as_f64)?,
            Cells::Flag => optional::<BoolType>(&mut group, values(), Value::as_bool)?,
            Cells::Messages => {
                messages(&mut group, values(), "role")?;
                messages(&mut group, values(), "content")?;
            }
        }
    }
    group.close()?;
    writer.into_inner()
}

/// Its columns, under placeholders: a name of the user's may hold anything.
fn schema(table: &Table) -> Result<Type, ParquetError> {
    let mut schema = String::from("message rows {");
    for (at, (_, cells)) in table.columns.iter().enumerate() {
        let column = match cells {
            Cells::Text => format!("optional binary c{at} (STRING);"),
            Cells::Number => format!("optional double c{at};"),
            Cells::Flag => format!("optional boolean c{at};"),
            Cells::Messages => format!(
                "required group c{at} (LIST) {{ repeated group list {{ required group element {{ required binary role \
                 (STRING); required binary content (STRING); }} }} }}"
            ),
        };
        write!(schema, " {column}").expect("writing to a string does not fail");
    }
    let parsed = parse_message_type(&(schema + " }"))?;
    let named =
        parsed.get_fields().iter().zip(&table.columns).map(|(field, (name, _))| Ok(Arc::new(renamed(field, name)?)));
    Type::group_type_builder("rows").with_fields(named.collect::<Result<_, ParquetError>>()?).build()
}

fn renamed(field: &Type, name: &str) -> Result<Type, ParquetError> {
    let info = field.get_basic_info();
    let (repetition, logical) = (info.repetition(), info.logical_type_ref().cloned());
    if field.is_primitive() {
        let of = Type::primitive_type_builder(name, field.get_physical_type());
        return of
            .with_repetition(repetition)
            .with_logical_type(logical)
            .with_converted_type(info.converted_type())
            .build();
    }
    let fields = field.get_fields().to_vec();
    let of = Type::group_type_builder(name).with_fields(fields).with_repetition(repetition);
    of.with_logical_type(logical).with_converted_type(info.converted_type()).build()
}

/// Writes a column whose values may be null.
fn optional<'a, T: DataType>(
    group: &mut Group<'_>,
    values: impl Iterator<Item = &'a Value>,
    read: impl Fn(&Value) -> Option<T::T>,
) -> Result<(), ParquetError> {
    let values: Vec<Option<T::T>> = values.map(|value| if value.is_null() { None } else { read(value) }).collect();
    let levels: Vec<i16> = values.iter().map(|value| i16::from(value.is_some())).collect();
    let values: Vec<T::T> = values.into_iter().flatten().collect();
    column::<T>(group, &values, &levels, None)
}

/// Writes one field of the turns of conversations.
fn messages<'a>(
    group: &mut Group<'_>,
    conversations: impl Iterator<Item = &'a Value>,
    field: &str,
) -> Result<(), ParquetError> {
    let (mut texts, mut defined, mut repeated) = (Vec::new(), Vec::new(), Vec::new());
    for conversation in conversations {
        let turns = conversation.as_array().map(Vec::as_slice).unwrap_or_default();
        for (nth, turn) in turns.iter().enumerate() {
            texts.push(ByteArray::from(turn[field].as_str().unwrap_or_default()));
            defined.push(1);
            repeated.push(i16::from(nth > 0));
        }
        if turns.is_empty() {
            defined.push(0);
            repeated.push(0);
        }
    }
    column::<ByteArrayType>(group, &texts, &defined, Some(&repeated))
}

fn column<T: DataType>(
    group: &mut Group<'_>,
    values: &[T::T],
    defined: &[i16],
    repeated: Option<&[i16]>,
) -> Result<(), ParquetError> {
    let next = group.next_column()?;
    let mut column = next.ok_or_else(|| ParquetError::General("the schema has too few columns".into()))?;
    column.typed::<T>().write_batch(values, Some(defined), repeated)?;
    column.close()
}
