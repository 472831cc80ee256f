//! Settings that are one of some names. An unknown one is an error with all of them, which the reader of files and
//! variables has not by itself.

use serde::de::value::StrDeserializer;
use serde::de::{DeserializeOwned, Deserializer, Error};
use serde::{Deserialize, de};

/// Reads a name.
///
/// # Errors
/// With the known names.
pub(super) fn one<'de, T: DeserializeOwned, D: Deserializer<'de>>(from: D) -> Result<T, D::Error> {
    named(&String::deserialize(from)?)
}

/// Reads a name that may be left out.
///
/// # Errors
/// With the known names.
pub(super) fn maybe<'de, T: DeserializeOwned, D: Deserializer<'de>>(from: D) -> Result<Option<T>, D::Error> {
    Option::<String>::deserialize(from)?.map(|name| named(&name)).transpose()
}

fn named<T: DeserializeOwned, E: Error>(name: &str) -> Result<T, E> {
    T::deserialize(StrDeserializer::<de::value::Error>::new(name)).map_err(E::custom)
}
