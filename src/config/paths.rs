//! One path or several, where a setting takes either.

use std::path::PathBuf;

use serde::{Deserialize, Deserializer};

/// Paths that are written as one text or as a list; an empty text is none.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Paths(pub Vec<PathBuf>);

#[derive(Deserialize)]
#[serde(untagged, expecting = "must be a path, or a list of paths")]
enum Written {
    One(PathBuf),
    Many(Vec<PathBuf>),
}

impl<'de> Deserialize<'de> for Paths {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let paths = match Written::deserialize(from)? {
            Written::One(path) => vec![path],
            Written::Many(paths) => paths,
        };
        Ok(Self(paths.into_iter().filter(|path| !path.as_os_str().is_empty()).collect()))
    }
}
