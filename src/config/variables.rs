//! Environment variables: which are settings, and which were meant to be.

use std::collections::HashMap;
use std::path::Path;

use super::reference::DEFAULTS;
use crate::domain::spelling::nearest;

/// Prefix of environment variables.
const PREFIX: &str = "GAVEL_";

/// Gavel's variables, and those of Hugging Face's tools under our names; ours take precedence.
pub(super) fn variables(all: &HashMap<String, String>) -> HashMap<String, String> {
    let set = |name: &str| all.get(name).filter(|value| !value.is_empty());
    let below = |name: &str, path: &str| set(name).map(|folder| Path::new(folder).join(path).display().to_string());
    let cache = set("HF_HUB_CACHE").or(set("HUGGINGFACE_HUB_CACHE")).cloned();
    let cache = cache.or_else(|| below("HF_HOME", "hub")).or_else(|| below("XDG_CACHE_HOME", "huggingface/hub"));
    let hub = [
        ("GAVEL_HUB__ENDPOINT", set("HF_ENDPOINT").cloned()),
        ("GAVEL_HUB__TOKEN", set("HF_TOKEN").cloned()),
        ("GAVEL_HUB__CACHE_DIR", cache),
    ];
    let mut ours: HashMap<String, String> =
        hub.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?))).collect();
    ours.extend(all.iter().filter(|(name, _)| name.starts_with(PREFIX)).map(|(k, v)| (k.clone(), v.clone())));
    ours
}

/// The variable that a misspelt one may have been meant for.
#[must_use]
pub fn variable_meant(variable: &str) -> Option<String> {
    let all: Vec<String> = keys().iter().map(|key| variable_of(key)).collect();
    nearest(variable, all.iter().map(String::as_str)).map(str::to_owned)
}

/// The variable that sets a key such as `limits.queue`.
pub(super) fn variable_of(key: &str) -> String {
    format!("{PREFIX}{}", key.replace('.', "__").to_uppercase())
}

/// All keys, such as `limits.queue`.
pub(super) fn keys() -> Vec<String> {
    fn below(prefix: &str, value: &toml::Value, all: &mut Vec<String>) {
        match value {
            toml::Value::Table(table) => table.iter().for_each(|(key, value)| {
                below(&format!("{prefix}{}{key}", if prefix.is_empty() { "" } else { "." }), value, all);
            }),
            _ => all.push(prefix.to_owned()),
        }
    }
    let mut all = Vec::new();
    if let Ok(defaults) = toml::from_str(DEFAULTS) {
        below("", &defaults, &mut all);
    }
    all
}

/// Whether an environment variable names a key of `config.default.toml`.
pub(super) fn is_key(variable: &str) -> bool {
    let path = variable.trim_start_matches(PREFIX).to_lowercase();
    let mut at = toml::from_str::<toml::Value>(DEFAULTS).ok();
    for part in path.split("__") {
        at = at.and_then(|value| value.get(part).cloned());
    }
    // A list cannot be set by a variable.
    at.is_some_and(|value| !value.is_table() && !value.is_array())
}
