//! Rows of a Parquet file.

use parquet::file::reader::{FileReader, SerializedFileReader};
use serde_json::Value;

use super::item::{DataError, Row};

/// Every row, with its columns as JSON; nulls are left out.
pub(super) fn rows(shown: &str, bytes: Vec<u8>) -> Result<Vec<Row>, DataError> {
    let wrong = |error: parquet::errors::ParquetError| DataError::at(shown, error.to_string());
    let reader = SerializedFileReader::new(bytes::Bytes::from(bytes)).map_err(wrong)?;
    let mut rows = Vec::new();
    for row in reader.get_row_iter(None).map_err(wrong)? {
        let number = rows.len() + 1;
        let place = format!("{shown}: row {number}");
        let fields = match row.map_err(wrong)?.to_json_value() {
            Value::Object(fields) => fields.into_iter().filter(|(_, value)| !value.is_null()).collect(),
            _ => return Err(DataError::at(place, "is not a row of named columns")),
        };
        rows.push(Row { number, place, fields });
    }
    Ok(rows)
}
