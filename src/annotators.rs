//! The library of annotators: built-in profiles, and the user's own files. A file is read when a request names it, so
//! that a change counts with the next request.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use include_dir::{Dir, include_dir};
use serde::Deserialize;

use crate::domain::spelling::{nearest, suggestion};
use crate::domain::{Annotator, is_blank};

static BUILT_IN: Dir<'_> = include_dir!("$CARGO_MANIFEST_DIR/annotators");

/// Maximum number of bytes of a profile.
const LONGEST: usize = 16 << 10;

/// The annotators by name.
#[derive(Debug)]
pub struct AnnotatorLibrary {
    folder: PathBuf,
}

/// Why there is no annotator.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AnnotatorError {
    /// A name that is not in the library, but close to one that is.
    #[error(
        "there is no annotator `{name}`{}; there are: {known}. To describe an annotator yourself, use more than one word",
        suggestion(name, known.split(", "))
    )]
    Unknown {
        /// The name.
        name: String,
        /// The known names.
        known: String,
    },
    /// An invalid file.
    #[error("{}: {reason}", file.display())]
    File {
        /// The file.
        file: PathBuf,
        /// The reason.
        reason: String,
    },
}

/// An annotator of the library.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AnnotatorEntry {
    /// Its name.
    pub name: String,
    /// Who judges.
    pub profile: String,
    /// The user's own file; `None` for a built-in one.
    pub file: Option<PathBuf>,
}

/// A file of an annotator.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ProfileFile {
    profile: String,
}

impl AnnotatorLibrary {
    /// The built-in annotators, and those in `folder`, which replace built-in ones of the same name.
    #[must_use]
    pub fn new(folder: PathBuf) -> Self {
        Self { folder }
    }

    /// The annotator of a request: the one of the library with this name, or else a text that describes one.
    ///
    /// # Errors
    /// If it seems to be a misspelt name, or the file of the annotator is invalid.
    pub fn find(&self, text: &str) -> Result<Annotator, AnnotatorError> {
        if !is_name(text) {
            return Ok(text.into());
        }
        if let Some(profile) = self.profile(text)? {
            return Ok(Annotator { name: Some(text.to_owned()), profile });
        }
        let known = self.names();
        match nearest(text, known.iter().map(String::as_str)) {
            None => Ok(text.into()),
            Some(_) => Err(AnnotatorError::Unknown { name: text.to_owned(), known: known.join(", ") }),
        }
    }

    /// The names of all annotators.
    #[must_use]
    pub fn names(&self) -> Vec<String> {
        let built_in = BUILT_IN.files().map(|file| file.path().to_owned());
        let own = std::fs::read_dir(&self.folder).into_iter().flatten().flatten().map(|entry| entry.path());
        let files = built_in.chain(own).filter(|path| path.extension().is_some_and(|extension| extension == "toml"));
        let names = files.filter_map(|path| Some(path.file_stem()?.to_str()?.to_owned()));
        names.filter(|name| is_name(name)).collect::<BTreeSet<_>>().into_iter().collect()
    }

    /// Every annotator, by name.
    ///
    /// # Errors
    /// At the first invalid file.
    pub fn list(&self) -> Result<Vec<AnnotatorEntry>, AnnotatorError> {
        let entry = |name: String| {
            let profile = self.profile(&name)?.unwrap_or_default();
            let file = Some(self.folder.join(format!("{name}.toml"))).filter(|file| file.exists());
            Ok(AnnotatorEntry { name, profile, file })
        };
        self.names().into_iter().map(entry).collect()
    }

    /// Checks every file.
    ///
    /// # Errors
    /// At the first invalid one.
    pub fn check(&self) -> Result<(), AnnotatorError> {
        self.list().map(drop)
    }

    fn profile(&self, name: &str) -> Result<Option<String>, AnnotatorError> {
        let file = self.folder.join(format!("{name}.toml"));
        let refuse = |reason: String| AnnotatorError::File { file: file.clone(), reason };
        match std::fs::read_to_string(&file) {
            Ok(text) => read(&text).map(Some).map_err(refuse),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                let built_in = BUILT_IN.get_file(Path::new(name).with_extension("toml"));
                built_in.and_then(|file| file.contents_utf8()).map(read).transpose().map_err(refuse)
            }
            Err(error) => Err(refuse(error.to_string())),
        }
    }
}

fn read(text: &str) -> Result<String, String> {
    let ProfileFile { profile } = toml::from_str(text).map_err(|error| error.to_string().trim().to_owned())?;
    let profile = profile.trim().to_owned();
    match () {
        () if is_blank(&profile) => Err("`profile` is empty; say who judges, and what they look at".into()),
        () if profile.len() > LONGEST => Err(format!("`profile` has more than {LONGEST} bytes")),
        () => Ok(profile),
    }
}

/// Whether a text can be the name of an annotator: one word of at most 64 letters, digits, `_` and `-`.
fn is_name(text: &str) -> bool {
    let plain = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
    !text.is_empty() && text.len() <= 64 && text.chars().all(plain)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_of_the_library_or_a_text() {
        let folder = tempfile::tempdir().unwrap();
        let library = AnnotatorLibrary::new(folder.path().join("annotators"));
        let check = |text: &str, expected: Result<Option<&str>, &str>| {
            let found = library.find(text).map(|annotator| annotator.name);
            match (found, expected) {
                (Err(error), Err(part)) => assert!(error.to_string().contains(part), "{error}"),
                (Ok(name), expected) => assert_eq!(Ok(name.as_deref()), expected),
                (Err(error), Ok(_)) => panic!("{error}"),
            }
        };
        check("parent", Ok(Some("parent")));
        check("paremt", Err("did you mean `parent`?); there are: expert, newcomer, parent."));
        check("Parent", Err("did you mean `parent`?"));
        check("pirate", Ok(None));
        check("A parent of two.", Ok(None));
        check("../parent", Ok(None));
        std::fs::create_dir(folder.path().join("annotators")).unwrap();
        let own = folder.path().join("annotators/parent.toml");
        std::fs::write(&own, "profile = \"\"\"\nOurs.\n\"\"\"").unwrap();
        assert_eq!(library.find("parent").unwrap().profile, "Ours.", "replaces the built-in one at once");
        std::fs::write(folder.path().join("annotators/pirate.toml"), "profile = \"Arr.\"").unwrap();
        check("pirate", Ok(Some("pirate")));
        assert_eq!(library.names(), ["expert", "newcomer", "parent", "pirate"]);
        assert_eq!(library.check(), Ok(()));
        let files: Vec<bool> = library.list().unwrap().iter().map(|entry| entry.file.is_some()).collect();
        assert_eq!(files, [false, false, true, true]);
        for wrong in ["profile = 3", "profile = \" \"", "", "profile = \"a\"\nname = \"b\""] {
            std::fs::write(&own, wrong).unwrap();
            check("parent", Err("parent.toml: "));
        }
        assert!(library.check().is_err());
    }

    #[test]
    fn the_built_in_annotators_can_be_read() {
        let library = AnnotatorLibrary::new(PathBuf::from("/nowhere"));
        assert_eq!(library.names(), ["expert", "newcomer", "parent"]);
        assert_eq!(library.check(), Ok(()));
    }
}
