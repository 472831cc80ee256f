//! JSON files with a digest of their own content, so that a changed one is noticed and a verdict can name the one behind it.

use std::fmt::Write;

use serde::de::DeserializeOwned;
use serde_json::Value;
use sha2::{Digest, Sha256};

/// Why a file is refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Fault {
    /// It is not in the format.
    Format(String),
    /// The format has another version.
    Version(u32),
    /// It was changed after it was made.
    Digest {
        /// What it says.
        said: String,
        /// What it is.
        found: String,
    },
}

/// Reads the text of a file, strictly: its content, and the digest that it says it has.
///
/// # Errors
/// With the place of what is wrong.
pub(super) fn opened(text: &str, version: u32) -> Result<(Value, String), Fault> {
    let format = |reason: String| Fault::Format(reason);
    let mut value: Value = serde_json::from_str(text).map_err(|error| format(error.to_string()))?;
    let members = value.as_object_mut().ok_or_else(|| format("it must be an object".into()))?;
    if let Some(other) = members.get("version").and_then(Value::as_u64).filter(|v| *v != u64::from(version)) {
        return Err(Fault::Version(u32::try_from(other).unwrap_or(u32::MAX)));
    }
    let said = members.shift_remove("digest").ok_or_else(|| format("missing field `digest`".into()))?;
    let said = said.as_str().ok_or_else(|| format("/digest must be a text".into()))?.to_owned();
    Ok((value, said))
}

/// Compares the digest that a file says it has with that of its content.
///
/// # Errors
/// [`Fault::Digest`].
pub(super) fn compare(said: String, found: &str) -> Result<(), Fault> {
    if said == found { Ok(()) } else { Err(Fault::Digest { said, found: found.to_owned() }) }
}

/// Rounds the numbers of a content to the digits that a file keeps, and gives `sha256:<hex>` of it but for `created`: keys
/// in order, numbers with twelve digits.
pub(super) fn sealed(content: &mut Value) -> String {
    round(content);
    digest(content)
}

/// A content as its type.
///
/// # Errors
/// With the path of what is wrong.
pub(super) fn content<T: DeserializeOwned>(value: Value) -> Result<T, String> {
    serde_path_to_error::deserialize(value).map_err(|error| {
        let path = error.path().to_string();
        format!("{path}: {}", error.into_inner())
    })
}

/// Rounds every number to twelve digits: few enough that all readers of JSON read them alike.
fn round(value: &mut Value) {
    match value {
        Value::Number(number) if number.is_f64() => {
            let rounded = number.as_f64().and_then(|number| twelve_digits(number).parse().ok());
            if let Some(rounded) = rounded.and_then(serde_json::Number::from_f64) {
                *number = rounded;
            }
        }
        Value::Array(values) => values.iter_mut().for_each(round),
        Value::Object(members) => members.values_mut().for_each(round),
        _ => {}
    }
}

fn twelve_digits(number: f64) -> String {
    // Not -0, which is 0.
    format!("{:.11e}", number + 0.0)
}

fn digest(content: &Value) -> String {
    let mut text = String::new();
    let Value::Object(members) = content else { return text };
    let kept = members.iter().filter(|(name, _)| *name != "created");
    canonical(&Value::Object(kept.map(|(name, value)| (name.clone(), value.clone())).collect()), &mut text);
    format!("sha256:{:x}", Sha256::digest(text))
}

fn canonical(value: &Value, text: &mut String) {
    match value {
        Value::Number(number) => text.push_str(&twelve_digits(number.as_f64().unwrap_or_default())),
        Value::Array(values) => {
            text.push('[');
            for value in values {
                canonical(value, text);
                text.push(',');
            }
            text.push(']');
        }
        Value::Object(members) => {
            let mut names: Vec<&String> = members.keys().collect();
            names.sort();
            text.push('{');
            for name in names {
                // Writing to a text does not fail.
                let _ = write!(text, "{}:", Value::from(name.as_str()));
                canonical(&members[name], text);
                text.push(',');
            }
            text.push('}');
        }
        other => {
            let _ = write!(text, "{other}");
        }
    }
}
