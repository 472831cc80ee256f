//! Label sets by name: the built-in ones, and the user's own.

use std::collections::BTreeMap;
use std::path::Path;

use include_dir::{Dir, include_dir};

use crate::domain::LabelSet;
use crate::domain::spelling::suggestion;

static BUILT_IN: Dir<'_> = include_dir!("$CARGO_MANIFEST_DIR/labels");

/// All label sets, by name.
pub struct LabelSets(BTreeMap<String, LabelSet>);

/// The label set does not exist.
#[derive(Debug, thiserror::Error)]
#[error("there is no label set `{name}`{}; there are: {known}", suggestion(name, known.split(", ")))]
pub struct UnknownLabels {
    /// The name.
    pub name: String,
    /// The known names.
    pub known: String,
}

impl LabelSets {
    /// The built-in sets, and those of the files in `folder`, which replace built-in ones of the same name. A file that
    /// is invalid is left out, and the log says why.
    #[must_use]
    pub fn load(folder: &Path) -> Self {
        let mut sets = built_in();
        for file in std::fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path()) {
            let (Some(name), true) = (stem(&file), file.extension().is_some_and(|extension| extension == "toml"))
            else {
                continue;
            };
            let text = std::fs::read_to_string(&file).map_err(|error| error.to_string());
            match text.and_then(|text| LabelSet::from_toml(name, &text)) {
                Ok(set) => drop(sets.insert(name.to_owned(), set)),
                Err(error) => tracing::warn!(file = %file.display(), error, "a label set is invalid, and is left out"),
            }
        }
        Self(sets)
    }

    /// The set of this name.
    ///
    /// # Errors
    /// [`UnknownLabels`], with the known names.
    pub fn named(&self, name: &str) -> Result<&LabelSet, UnknownLabels> {
        let known = || self.0.keys().map(String::as_str).collect::<Vec<_>>().join(", ");
        self.0.get(name).ok_or_else(|| UnknownLabels { name: name.to_owned(), known: known() })
    }
}

fn built_in() -> BTreeMap<String, LabelSet> {
    let set = |file: &include_dir::File<'_>| {
        let name = stem(file.path())?;
        let set = LabelSet::from_toml(name, file.contents_utf8()?).expect("a test reads every built-in set");
        Some((name.to_owned(), set))
    };
    BUILT_IN.files().filter_map(set).collect()
}

fn stem(file: &Path) -> Option<&str> {
    file.file_stem()?.to_str()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn built_in_sets_say_what_their_labels_mean() {
        let sets = built_in();
        assert_eq!(sets.keys().collect::<Vec<_>>(), ["hallucination", "user_feedback"]);
        for set in sets.values() {
            assert!(set.labels.iter().all(|label| label.meaning.is_some()), "{}", set.name);
        }
        assert!(sets["hallucination"].labels.iter().all(|label| label.reward.is_some()));
    }

    #[test]
    fn own_sets_replace_built_in_ones_and_invalid_ones_are_left_out() {
        let folder = tempfile::tempdir().unwrap();
        let own = "[[label]]\nname = \"yes\"\n[[label]]\nname = \"no\"\n";
        for (name, text) in [("user_feedback.toml", own), ("mine.toml", own), ("bad.toml", "x"), ("notes.txt", own)] {
            std::fs::write(folder.path().join(name), text).unwrap();
        }
        let sets = LabelSets::load(folder.path());
        assert_eq!(sets.named("user_feedback").unwrap().labels.len(), 2);
        let unknown = sets.named("hallucinations").unwrap_err().to_string();
        assert!(
            unknown.contains("did you mean") && unknown.contains("hallucination, mine, user_feedback"),
            "{unknown}"
        );
    }
}
