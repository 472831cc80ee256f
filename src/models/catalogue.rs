//! `models.toml`: the models that have a name.

use serde::Deserialize;

use super::error::ModelError;

/// Every model that has an alias, in the file's order.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Catalogue {
    #[serde(rename = "model")]
    pub(super) entries: Vec<Entry>,
}

/// One model of the catalogue.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Entry {
    pub(super) name: String,
    pub(super) summary: String,
    pub(super) licence: String,
    pub(super) prompt_set: String,
    pub(super) context: u32,
    /// Hexadecimal digest of the source's GGUF file.
    pub(super) sha256: String,
    pub(super) source: Source,
    /// What is made of the source's file before anyone loads it; `None`: nothing.
    pub(super) convert: Option<Convert>,
}

/// A file that is made of the source's file, on this disk.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Convert {
    pub(super) to: Precision,
    /// The file's name, beside the source's file.
    pub(super) file: String,
    /// Hexadecimal digest of the result.
    pub(super) sha256: String,
}

/// What weights are widened to.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Precision {
    /// Half precision.
    F16,
}

/// Where a model's file comes from.
#[derive(Debug, Clone, Deserialize)]
#[serde(tag = "kind", rename_all = "lowercase")]
pub(super) enum Source {
    /// A file inside a wheel.
    Pypi(PypiFile),
}

/// One file in one version of a PyPI package.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct PypiFile {
    pub(super) package: String,
    pub(super) version: String,
    /// The member's path inside the wheel.
    pub(super) file: String,
}

impl Catalogue {
    /// The catalogue that was compiled in.
    pub(super) fn built_in() -> Result<Self, ModelError> {
        Self::parse(include_str!("../../models.toml"))
    }

    /// Reads a catalogue and checks what its types cannot.
    pub(super) fn parse(text: &str) -> Result<Self, ModelError> {
        let catalogue: Self = toml::from_str(text).map_err(|e| wrong(e.to_string()))?;
        for (i, entry) in catalogue.entries.iter().enumerate() {
            let name = &entry.name;
            if catalogue.entries[..i].iter().any(|e| &e.name == name) {
                return Err(wrong(format!("`{name}` stands there twice")));
            }
            // The name becomes a folder in the cache.
            if !is_plain(name) {
                return Err(wrong(format!("`{name}` is no name for a folder")));
            }
            let result = entry.convert.as_ref();
            if let Some(Convert { file, .. }) = result
                && (!is_plain(file) || file == entry.source_file_name())
            {
                return Err(wrong(format!("`{file}` is no name for what `{name}` is converted to")));
            }
            let hex = |c: char| matches!(c, '0'..='9' | 'a'..='f');
            for sha256 in [Some(&entry.sha256), result.map(|c| &c.sha256)].into_iter().flatten() {
                if sha256.len() != 64 || !sha256.chars().all(hex) {
                    return Err(wrong(format!("a sha256 of `{name}` is not 64 lower-case hexadecimal digits")));
                }
            }
        }
        Ok(catalogue)
    }

    /// The entry with this name, or an error that lists the known ones.
    pub(super) fn get(&self, name: &str) -> Result<&Entry, ModelError> {
        let found = self.entries.iter().find(|e| e.name == name);
        found.ok_or_else(|| ModelError::UnknownAlias {
            name: name.to_owned(),
            known: self.entries.iter().map(|e| e.name.as_str()).collect::<Vec<_>>().join(", "),
        })
    }
}

impl Entry {
    /// The hexadecimal digest of the file that is loaded.
    pub(super) fn model_sha256(&self) -> &str {
        self.convert.as_ref().map_or(&self.sha256, |c| &c.sha256)
    }

    /// The name of the file that is loaded.
    pub(super) fn file_name(&self) -> &str {
        self.convert.as_ref().map_or_else(|| self.source_file_name(), |c| &c.file)
    }

    /// The name of the source's file, without folders.
    pub(super) fn source_file_name(&self) -> &str {
        let Source::Pypi(PypiFile { file, .. }) = &self.source;
        file.rsplit('/').next().unwrap_or(file)
    }
}

/// Whether a name can be that of a file or folder anywhere, and of none elsewhere.
fn is_plain(name: &str) -> bool {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    name.chars().all(plain) && name.starts_with(|c: char| c.is_ascii_alphanumeric())
}

fn wrong(why: String) -> ModelError {
    ModelError::Catalogue { why }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn the_catalogue_that_ships_is_right() {
        let catalogue = Catalogue::built_in().unwrap();
        let demo = catalogue.get("smollm2-135m").unwrap();
        assert_eq!(demo.prompt_set, "plain");
        assert_eq!(demo.source_file_name(), "SmolLM2-135M-Instruct.Q4_1.gguf");
        assert_eq!(demo.file_name(), "SmolLM2-135M-Instruct.F16.gguf");
        assert!(demo.sha256.starts_with("b179c952"));
        assert!(demo.model_sha256().starts_with("fea43f3f"));
    }

    #[test]
    fn mistakes_are_refused() {
        let good = include_str!("../../models.toml");
        let refused = |text: String, why: &str| {
            let error = Catalogue::parse(&text).unwrap_err().to_string();
            assert!(error.contains(why), "{error}");
        };
        refused(format!("{good}mirror = \"x\"\n"), "mirror");
        refused(good.replace("licence =", "license ="), "license");
        refused(good.replace("\"pypi\"", "\"ftp\""), "ftp");
        refused(good.replace("\"smollm2-135m\"", "\"../x\""), "folder");
        refused(good.replace("b179c9", "B179C9"), "hexadecimal");
        refused(good.replace("fea43f3f", "XX"), "hexadecimal");
        refused(good.replace("to = \"f16\"", "to = \"q4_1\""), "f16");
        refused(good.replace("to = \"f16\"", "to = \"f16\"\nlevel = 1"), "level");
        refused(good.replace("SmolLM2-135M-Instruct.F16.gguf", "../x.gguf"), "converted");
        refused(good.replace("SmolLM2-135M-Instruct.F16.gguf", "SmolLM2-135M-Instruct.Q4_1.gguf"), "converted");
        let entry = &good[good.find("[[model]]").unwrap()..];
        refused(format!("{good}\n{entry}"), "twice");
    }

    #[test]
    fn an_unknown_alias_names_the_known_ones() {
        let error = Catalogue::built_in().unwrap().get("gpt-9").unwrap_err();
        assert!(error.to_string().contains("known: smollm2-135m"), "{error}");
    }
}
