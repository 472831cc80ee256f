//! References to the Hugging Face hub: `hf:owner/name/file.gguf@revision`, `owner/name:Q4_K_M`.

use std::path::Path;

use super::error::ModelError;

/// The default branch.
const DEFAULT_REVISION: &str = "main";

/// A model in a repository of the hub.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Reference {
    /// `owner/name`.
    pub(super) repo: String,
    /// A branch, a tag or a commit.
    pub(super) revision: String,
    /// The choice of its files.
    pub(super) pick: Pick,
}

/// The choice of a repository's files.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Pick {
    /// This file; for a shard, all shards.
    File(String),
    /// The only file of this quantisation, such as `Q4_K_M`.
    Quantisation(String),
    /// The only GGUF file.
    Only,
    /// No model, but the files of its tokenizer.
    Tokenizer,
}

/// The files that decide how a prompt becomes tokens and how an answer ends, as far as a repository has them; it must
/// have the first.
pub(super) const TOKENIZER_FILES: [&str; 6] = [
    "tokenizer.json",
    "tokenizer_config.json",
    "chat_template.jinja",
    "special_tokens_map.json",
    "generation_config.json",
    "config.json",
];

impl Reference {
    /// Parses a reference; `None` if it is not one. `hf:` is optional before a quantisation.
    pub(super) fn parse(text: &str) -> Option<Result<Self, ModelError>> {
        let (rest, marked) = text.strip_prefix("hf:").map_or((text, false), |rest| (rest, true));
        let is_gguf = rest.to_ascii_lowercase().ends_with(".gguf");
        if !marked && (is_gguf || !rest.split_once('/').is_some_and(|(_, name)| name.contains(':'))) {
            return None;
        }
        let (place, revision) = rest.rsplit_once('@').unwrap_or((rest, DEFAULT_REVISION));
        let (place, quantisation) = place.split_once(':').map_or((place, None), |(p, q)| (p, Some(q)));
        let mut parts = place.splitn(3, '/');
        let (owner, name, file) = (parts.next().unwrap_or_default(), parts.next(), parts.next());
        let pick = match (file, quantisation) {
            (Some(file), None) => Pick::File(file.to_owned()),
            (None, Some(quantisation)) => Pick::Quantisation(quantisation.to_owned()),
            (None, None) => Pick::Only,
            (Some(_), Some(_)) => return Some(Err(unusable(text))),
        };
        let reference = name.and_then(|name| Self::new(format!("{owner}/{name}"), revision.to_owned(), pick));
        Some(reference.ok_or_else(|| unusable(text)))
    }

    /// Parses a repository as a whole, `owner/name` with an optional `hf:` before it and `@revision` after it; `None` if
    /// it is not one.
    pub(super) fn repository(text: &str) -> Option<Self> {
        let rest = text.strip_prefix("hf:").unwrap_or(text);
        let (repo, revision) = rest.rsplit_once('@').unwrap_or((rest, DEFAULT_REVISION));
        let reference = Self::new(repo.to_owned(), revision.to_owned(), Pick::Tokenizer);
        reference.filter(|_| !repo.to_ascii_lowercase().ends_with(".gguf"))
    }

    /// A reference with valid parts, because they become paths and URLs.
    pub(super) fn new(repo: String, revision: String, pick: Pick) -> Option<Self> {
        let plain = |part: &str| {
            let known = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
            !part.is_empty() && !part.starts_with('.') && part.chars().all(known)
        };
        let all_plain = |path: &str| path.split('/').all(plain);
        let picked = match &pick {
            Pick::File(file) => all_plain(file) && file.to_ascii_lowercase().ends_with(".gguf"),
            Pick::Quantisation(quantisation) => plain(quantisation),
            Pick::Only | Pick::Tokenizer => true,
        };
        let sound = repo.split('/').count() == 2 && all_plain(&repo) && all_plain(&revision) && picked;
        sound.then_some(Self { repo, revision, pick })
    }

    /// The name of the model: the file's name without its extension, or the repository's name with the quantisation.
    pub(super) fn name(&self) -> String {
        let repo = self.repo.rsplit('/').next().unwrap_or(&self.repo);
        match &self.pick {
            Pick::File(file) => stem(file.rsplit('/').next().unwrap_or(file)).0.to_owned(),
            Pick::Quantisation(quantisation) => format!("{repo}:{quantisation}"),
            Pick::Only | Pick::Tokenizer => repo.to_owned(),
        }
    }

    /// Whether it names a commit, which never changes.
    pub(super) fn is_commit(&self) -> bool {
        is_commit(&self.revision)
    }

    /// The files of the model in its repository, the first shard first.
    pub(super) fn choose(&self, files: &[String]) -> Result<Vec<String>, ModelError> {
        let missing = |why: String| {
            let (repo, revision) = (self.repo.clone(), self.revision.clone());
            let mut files: Vec<_> = files.iter().filter(|f| is_model(f)).cloned().collect();
            files.sort();
            let files = if files.is_empty() { "none".to_owned() } else { files.join(", ") };
            Err(ModelError::HubFile { repo, revision, why, files })
        };
        if self.pick == Pick::Tokenizer {
            let here = TOKENIZER_FILES.iter().filter(|name| files.iter().any(|file| file == *name));
            let here: Vec<String> = here.map(|name| (*name).to_owned()).collect();
            let whole = here.first().is_some_and(|first| first == TOKENIZER_FILES[0]);
            return if whole { Ok(here) } else { missing(format!("no {}", TOKENIZER_FILES[0])) };
        }
        let fits = |file: &&String| match &self.pick {
            Pick::File(wanted) => stem(file).0 == stem(wanted).0,
            Pick::Quantisation(quantisation) => is_model(file) && has_quantisation(file, quantisation),
            Pick::Only | Pick::Tokenizer => is_model(file),
        };
        let mut fitting: Vec<&String> = files.iter().filter(fits).collect();
        match &self.pick {
            // The file itself, even if there are shards of this name.
            Pick::File(wanted) if stem(wanted).1.is_none() => fitting.retain(|f| f == &wanted),
            Pick::File(_) => fitting.retain(|f| stem(f).1.is_some()),
            _ if fitting.iter().any(|f| stem(f).1.is_none()) => fitting.retain(|f| stem(f).1.is_none()),
            _ => {}
        }
        fitting.sort();
        let Some(first) = fitting.first() else {
            return missing(match &self.pick {
                Pick::File(file) => format!("no file {file}"),
                Pick::Quantisation(quantisation) => format!("no GGUF file of the quantisation {quantisation}"),
                Pick::Only | Pick::Tokenizer => "no GGUF file".to_owned(),
            });
        };
        let of_shards = stem(first).1;
        if fitting.iter().any(|f| stem(f).0 != stem(first).0) {
            return missing("several matching files; name the file, or its quantisation".to_owned());
        }
        if let Some((_, count)) = of_shards
            && fitting.len() != count
        {
            return missing(format!("{} of {count} shards of {}", fitting.len(), stem(first).0));
        }
        Ok(fitting.into_iter().cloned().collect())
    }
}

pub(super) fn is_commit(revision: &str) -> bool {
    revision.len() == 40 && revision.chars().all(|c| c.is_ascii_hexdigit())
}

/// The name of a model: the alias, or the file's name without its extension.
#[must_use]
pub fn name_of(asked: &str) -> String {
    match Reference::parse(asked) {
        Some(Ok(reference)) => reference.name(),
        None if is_path(asked) => {
            let name = Path::new(asked).file_name().unwrap_or_default().to_string_lossy();
            stem(&name).0.to_owned()
        }
        _ => asked.to_owned(),
    }
}

/// Whether a name is a path: it has a separator or ends in `.gguf`.
pub(super) fn is_path(name: &str) -> bool {
    let gguf = Path::new(name).extension();
    name.contains(['/', std::path::MAIN_SEPARATOR]) || gguf.is_some_and(|e| e.eq_ignore_ascii_case("gguf"))
}

fn unusable(text: &str) -> ModelError {
    ModelError::HubReference { text: text.to_owned() }
}

/// Whether a file can be a model, or a shard of one.
fn is_model(file: &str) -> bool {
    let name = file.rsplit('/').next().unwrap_or(file).to_ascii_lowercase();
    // `mmproj` files are the image encoders of multimodal models.
    name.ends_with(".gguf") && !name.starts_with("mmproj")
}

fn has_quantisation(file: &str, quantisation: &str) -> bool {
    let path = stem(file).0.to_ascii_uppercase();
    let wanted = quantisation.to_ascii_uppercase();
    let named = path.strip_suffix(&wanted).is_some_and(|before| before.ends_with(['-', '.', '_']));
    named || path.rsplit_once('/').is_some_and(|(folder, _)| folder.rsplit('/').next() == Some(&wanted))
}

/// A file's path without its extension, its shard number and the number of shards: `x-00001-of-00002.gguf`.
pub(super) fn stem(file: &str) -> (&str, Option<(usize, usize)>) {
    let whole = file.get(..file.len().saturating_sub(5)).filter(|_| file.to_ascii_lowercase().ends_with(".gguf"));
    let whole = whole.unwrap_or(file);
    let numbers = |(name, shard): (&str, &str)| {
        let (index, count) = shard.split_once("-of-")?;
        let number = |text: &str| (text.len() == 5).then(|| text.parse().ok()).flatten();
        Some((name.len(), (number(index)?, number(count)?)))
    };
    let shard = whole.len().checked_sub(15).filter(|at| whole.is_char_boundary(*at)).map(|at| whole.split_at(at));
    match shard.and_then(|(name, shard)| numbers((name, shard.strip_prefix('-')?))) {
        Some((length, shard)) => (&whole[..length], Some(shard)),
        None => (whole, None),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn parsed(text: &str) -> Reference {
        Reference::parse(text).unwrap().unwrap()
    }

    fn chosen(text: &str, files: &[&str]) -> Result<Vec<String>, String> {
        let files: Vec<String> = files.iter().map(|f| (*f).to_owned()).collect();
        parsed(text).choose(&files).map_err(|error| error.to_string())
    }

    #[test]
    fn references_name_repository_revision_and_file() {
        let reference = parsed("hf:o/n/sub/judge.Q8_0.gguf@v1.0");
        assert_eq!((reference.repo.as_str(), reference.revision.as_str()), ("o/n", "v1.0"));
        assert_eq!(reference.pick, Pick::File("sub/judge.Q8_0.gguf".into()));
        assert_eq!(reference.name(), "judge.Q8_0");
        let reference = parsed("o/n-GGUF:Q4_K_M");
        assert_eq!((reference.revision.as_str(), reference.name().as_str()), ("main", "n-GGUF:Q4_K_M"));
        assert_eq!(reference.pick, Pick::Quantisation("Q4_K_M".into()));
        assert_eq!(parsed("hf:o/n:Q4_0@refs/pr/1").revision, "refs/pr/1");
        assert_eq!((parsed("hf:o/n").pick, parsed("hf:o/n").name()), (Pick::Only, "n".into()));
        assert_eq!(parsed("hf:o/n/x-00001-of-00002.gguf").name(), "x");
        assert!(parsed(&format!("hf:o/n/x.gguf@{}", "a".repeat(40))).is_commit());
    }

    #[test]
    fn paths_and_aliases_are_no_references() {
        for other in ["smollm2-135m", "./judge.gguf", "models/judge.gguf", "/a/b:c.gguf", "C:\\x\\y.gguf", "a/b"] {
            assert!(Reference::parse(other).is_none(), "{other}");
        }
        let broken =
            ["hf:", "hf:n", "hf:o/../x.gguf", "hf:o/n/x.bin", "hf:o/n/x.gguf:Q4", "hf:o/n@", "hf:o/n:Q 4", "o/n:"];
        for broken in broken {
            let error = Reference::parse(broken).unwrap().unwrap_err().to_string();
            assert!(error.contains("hf:owner/name/file.gguf"), "{broken}: {error}");
        }
    }

    #[test]
    fn a_quantisation_picks_the_one_file_that_has_it() {
        let files = ["README.md", "m-Q4_K_M.gguf", "m-IQ4_K_M.gguf", "m.Q8_0.gguf", "mmproj-Q8_0.gguf"];
        assert_eq!(chosen("o/n:q4_k_m", &files).unwrap(), ["m-Q4_K_M.gguf"]);
        assert_eq!(chosen("o/n:Q8_0", &files).unwrap(), ["m.Q8_0.gguf"]);
        assert_eq!(chosen("o/n:BF16", &["BF16/m.gguf", "m.Q8_0.gguf"]).unwrap(), ["BF16/m.gguf"]);
        let error = chosen("o/n:Q2_K", &files).unwrap_err();
        assert!(error.contains("Q2_K") && error.contains("m.Q8_0.gguf") && !error.contains("README"), "{error}");
        let error = chosen("hf:o/n", &files).unwrap_err();
        assert!(error.contains("several matching files"), "{error}");
        assert_eq!(chosen("hf:o/n", &["a.txt", "m.gguf"]).unwrap(), ["m.gguf"]);
        assert!(chosen("hf:o/n/x.gguf", &files).unwrap_err().contains("no file x.gguf"));
    }

    #[test]
    fn shards_come_together_and_in_order() {
        let shards = ["m-q4-00002-of-00002.gguf", "m-q4-00001-of-00002.gguf", "m-q8.gguf"];
        let both = ["m-q4-00001-of-00002.gguf", "m-q4-00002-of-00002.gguf"];
        assert_eq!(chosen("o/n:Q4", &shards).unwrap(), both);
        assert_eq!(chosen("hf:o/n/m-q4-00001-of-00002.gguf", &shards).unwrap(), both);
        assert!(chosen("o/n:Q4", &shards[1..]).unwrap_err().contains("1 of 2 shards"));
        assert_eq!(chosen("o/n:Q4", &[both[0], both[1], "m-q4.gguf"]).unwrap(), ["m-q4.gguf"]);
        assert_eq!(stem("x-0001-of-0002.gguf"), ("x-0001-of-0002", None));
    }
}
