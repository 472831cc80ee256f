//! The rubric library: built-in rubrics and the user's own, reloaded when a file changes.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

use include_dir::{Dir, include_dir};
use notify::{RecursiveMode, Watcher};
use tokio::sync::watch;

use crate::calibrations::{self, CalibrationError};
use crate::domain::calibration::CalibrationObject;
use crate::domain::spelling::suggestion;
use crate::domain::{NamedRubric, Rubric, RubricSource};

static BUILT_IN: Dir<'_> = include_dir!("$CARGO_MANIFEST_DIR/rubrics");

/// A rubric of the library.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LibraryEntry {
    /// The name in requests: the file's name without `.toml`.
    pub name: String,
    /// Criterion, scale and descriptions.
    pub rubric: Arc<Rubric>,
    /// The user's file; `None` for a built-in rubric.
    pub file: Option<PathBuf>,
}

/// An invalid rubric file.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}{}: {reason}", file.display(), line.map(|line| format!(":{line}")).unwrap_or_default())]
pub struct RefusedFile {
    /// The file.
    pub file: PathBuf,
    /// The line of the error, from 1; `None` if the file cannot be read.
    pub line: Option<usize>,
    /// The reason.
    pub reason: String,
}

/// Errors of the library.
#[derive(Debug, thiserror::Error)]
pub enum LibraryError {
    /// The rubric does not exist.
    #[error("there is no rubric `{name}`{}; there are: {known}", suggestion(name, known.split(", ")))]
    Unknown {
        /// The name.
        name: String,
        /// The known names.
        known: String,
    },
    /// Its file is invalid.
    #[error("the rubric `{name}` has an invalid file{}: {reason}", line.map(|line| format!(" (line {line})")).unwrap_or_default())]
    Invalid {
        /// The name.
        name: String,
        /// The line of the error, from 1.
        line: Option<usize>,
        /// The reason.
        reason: String,
    },
    /// An invalid name.
    #[error("`{0}` is not a valid rubric name; use at most 64 letters, digits, `_` and `-`, and not `inline`")]
    Name(String),
    /// Built-in rubrics are not files.
    #[error("`{0}` is built in and cannot be removed; PUT a rubric of this name to replace it")]
    BuiltIn(String),
    /// The folder cannot be written.
    #[error("{path} cannot be written: {cause}")]
    Write {
        /// The file.
        path: String,
        /// The error of the operating system.
        cause: std::io::Error,
    },
}

/// All rubrics by name. Files are the source of truth: writing a rubric writes its file.
pub struct RubricLibrary {
    folder: PathBuf,
    entries: RwLock<BTreeMap<String, LibraryEntry>>,
    refused: RwLock<Vec<RefusedFile>>,
    changed: watch::Sender<u64>,
    /// Held while the folder is read or written, so that the last read wins.
    folder_access: Mutex<()>,
    watcher: Mutex<Option<notify::RecommendedWatcher>>,
}

impl RubricLibrary {
    /// The built-in rubrics, and those in `folder`, which replace built-in ones of the same name.
    #[must_use]
    pub fn load(folder: PathBuf) -> Arc<Self> {
        let library = Self {
            folder,
            entries: RwLock::new(built_in()),
            refused: RwLock::default(),
            changed: watch::Sender::new(0),
            folder_access: Mutex::default(),
            watcher: Mutex::default(),
        };
        library.reload();
        Arc::new(library)
    }

    /// Reloads the folder when it changes, as long as the library lives.
    ///
    /// # Errors
    /// If the folder cannot be created or watched.
    pub fn watch(self: &Arc<Self>) -> Result<(), notify::Error> {
        std::fs::create_dir_all(&self.folder).map_err(notify::Error::io)?;
        let library = Arc::downgrade(self);
        let mut watcher = notify::recommended_watcher(move |event: Result<notify::Event, notify::Error>| {
            let touched = event.is_ok_and(|event| !event.kind.is_access());
            if let (true, Some(library)) = (touched, library.upgrade()) {
                library.reload();
            }
        })?;
        watcher.watch(&self.folder, RecursiveMode::NonRecursive)?;
        *self.watcher.lock().unwrap_or_else(PoisonError::into_inner) = Some(watcher);
        // Picks up changes before the watch started.
        self.reload();
        Ok(())
    }

    /// A counter of reloads.
    #[must_use]
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.changed.subscribe()
    }

    /// Reads the folder. If a file is invalid, the last valid version of its rubric stays in use, if there is one, or the
    /// built-in rubric of its name. Blocks the thread.
    pub fn reload(&self) {
        self.read_folder(&self.access());
    }

    fn access(&self) -> MutexGuard<'_, ()> {
        self.folder_access.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn read_folder(&self, _access: &MutexGuard<'_, ()>) {
        let mut fresh = built_in();
        let mut refused = Vec::new();
        let held = self.entries.read().unwrap_or_else(PoisonError::into_inner).clone();
        for file in toml_files(&self.folder) {
            let name = stem(&file);
            match read(&file) {
                Ok(rubric) => {
                    fresh.insert(name.clone(), LibraryEntry { name, rubric: Arc::new(rubric), file: Some(file) });
                }
                Err(error) => {
                    if let Some(last_good) = held.get(&name).filter(|entry| entry.file.is_some()) {
                        fresh.insert(name, last_good.clone());
                    }
                    refused.push(error);
                }
            }
        }
        let mut before = self.refused.write().unwrap_or_else(PoisonError::into_inner);
        for error in refused.iter().filter(|error| !before.contains(error)) {
            let instead = match fresh.get(&stem(&error.file)) {
                Some(LibraryEntry { file: Some(_), .. }) => "its last valid version stays in use",
                Some(LibraryEntry { file: None, .. }) => "the built-in rubric of its name stays in use",
                None => "there is no rubric of its name until it is valid",
            };
            tracing::warn!(%error, "a rubric file is invalid; {instead}");
        }
        *before = refused;
        drop(before);
        *self.entries.write().unwrap_or_else(PoisonError::into_inner) = fresh;
        self.changed.send_modify(|count| *count += 1);
    }

    /// The files that are currently invalid.
    #[must_use]
    pub fn refused(&self) -> Vec<RefusedFile> {
        self.refused.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Every rubric, by name.
    #[must_use]
    pub fn list(&self) -> Vec<LibraryEntry> {
        self.entries.read().unwrap_or_else(PoisonError::into_inner).values().cloned().collect()
    }

    /// The rubric of this name.
    ///
    /// # Errors
    /// [`LibraryError::Unknown`], with the known names, or [`LibraryError::Invalid`].
    pub fn get(&self, name: &str) -> Result<LibraryEntry, LibraryError> {
        let entries = self.entries.read().unwrap_or_else(PoisonError::into_inner);
        if let Some(entry) = entries.get(name) {
            return Ok(entry.clone());
        }
        let known = entries.keys().map(String::as_str).collect::<Vec<_>>().join(", ");
        drop(entries);
        let name = name.to_owned();
        Err(match self.refused().into_iter().find(|refused| stem(&refused.file) == name) {
            Some(RefusedFile { line, reason, .. }) => LibraryError::Invalid { name, line, reason },
            None => LibraryError::Unknown { name, known },
        })
    }

    /// The rubric of this name, for a request.
    ///
    /// # Errors
    /// [`LibraryError::Unknown`] or [`LibraryError::Invalid`].
    pub fn named(&self, name: &str) -> Result<NamedRubric, LibraryError> {
        self.get(name).map(|entry| NamedRubric { name: entry.name, rubric: entry.rubric })
    }

    /// Writes a rubric's file; returns the written rubric, and whether the name is new. Blocks the thread.
    ///
    /// # Errors
    /// If the name is invalid, or the file cannot be written.
    pub fn put(&self, name: &str, rubric: Rubric) -> Result<(LibraryEntry, bool), LibraryError> {
        let path = self.path(name)?;
        let access = self.access();
        let new = self.get(name).is_err();
        write_atomically(&path, rubric.to_toml().as_bytes())
            .map_err(|cause| LibraryError::Write { path: path.display().to_string(), cause })?;
        self.read_folder(&access);
        Ok((LibraryEntry { name: name.to_owned(), rubric: Arc::new(rubric), file: Some(path) }, new))
    }

    /// Deletes a rubric's file; a built-in rubric of the same name is used again. Blocks the thread.
    ///
    /// # Errors
    /// If the rubric does not exist or is built in, or the file cannot be deleted.
    pub fn remove(&self, name: &str) -> Result<(), LibraryError> {
        let access = self.access();
        let entry = self.get(name)?;
        let path = entry.file.ok_or_else(|| LibraryError::BuiltIn(name.to_owned()))?;
        let removed = std::fs::remove_file(&path);
        // Reload in any case: the folder is the source of truth.
        self.read_folder(&access);
        removed.map_err(|cause| LibraryError::Write { path: path.display().to_string(), cause })
    }

    fn path(&self, name: &str) -> Result<PathBuf, LibraryError> {
        let plain = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
        if name.is_empty() || name.len() > 64 || name == "inline" || !name.chars().all(plain) {
            return Err(LibraryError::Name(name.to_owned()));
        }
        Ok(self.folder.join(format!("{name}.toml")))
    }
}

/// Writes a temporary file and renames it, so that no reader sees half of it.
fn write_atomically(path: &Path, text: &[u8]) -> std::io::Result<()> {
    let folder = path.parent().unwrap_or(Path::new("."));
    std::fs::create_dir_all(folder)?;
    let partial = folder.join(format!(".{}.partial", ulid::Ulid::new()));
    let written = std::fs::File::create_new(&partial).and_then(|mut file| {
        file.write_all(text)?;
        file.sync_all()
    });
    let renamed = written.and_then(|()| std::fs::rename(&partial, path));
    if renamed.is_err() {
        // It may not exist; the error above is the relevant one.
        let _ = std::fs::remove_file(&partial);
    }
    renamed
}

/// Reads one rubric file, and the calibrations and fits that it names; their paths are relative to its folder.
///
/// # Errors
/// With file, line and reason.
pub fn read(file: &Path) -> Result<Rubric, RefusedFile> {
    let refuse = |line, reason| RefusedFile { file: file.to_owned(), line, reason };
    let text = std::fs::read_to_string(file).map_err(|error| refuse(None, error.to_string()))?;
    let source = RubricSource::from_toml(&text).map_err(|(line, reason)| refuse(Some(line), reason))?;
    let folder = file.parent().unwrap_or(Path::new("."));
    let named = [
        (&source.fits, CalibrationObject::Fit, "fit"),
        (&source.calibrations, CalibrationObject::Calibration, "calibration"),
    ];
    let mut read = Vec::new();
    for (paths, object, key) in named {
        for path in paths {
            let path = folder.join(path);
            let own = calibrations::read(&path, object).and_then(|own| {
                let checked = own.check_rubric(source.rubric.digest());
                checked.map_err(|error| CalibrationError::mismatch(&path, error)).map(|()| own)
            });
            let line = text.lines().position(|line| line.trim_start().starts_with(key)).map_or(1, |index| index + 1);
            read.push(Arc::new(own.map_err(|error| refuse(Some(line), error.to_string()))?));
        }
    }
    Ok(source.rubric.with_calibrations(read))
}

fn built_in() -> BTreeMap<String, LibraryEntry> {
    let files = BUILT_IN.files().filter(|file| file.path().extension().is_some_and(|e| e == "toml"));
    files
        .map(|file| {
            let text = file.contents_utf8().expect("built-in rubrics are UTF-8");
            let rubric = Rubric::from_toml(text).expect("a test loads every built-in rubric");
            let name = stem(file.path());
            (name.clone(), LibraryEntry { name, rubric: Arc::new(rubric), file: None })
        })
        .collect()
}

/// The rubric files of a folder, sorted.
#[must_use]
pub fn toml_files(folder: &Path) -> Vec<PathBuf> {
    let Ok(entries) = std::fs::read_dir(folder) else { return Vec::new() };
    let paths = entries.flatten().map(|entry| entry.path());
    let mut files: Vec<PathBuf> = paths.filter(|path| path.extension().is_some_and(|e| e == "toml")).collect();
    files.sort();
    files
}

fn stem(path: &Path) -> String {
    path.file_stem().map(|stem| stem.to_string_lossy().into_owned()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "criterion = \"Is it good?\"\n[descriptions]\n1 = \"no\"\n2 = \"yes\"\n";

    #[test]
    fn the_built_in_rubrics_load() {
        let library = RubricLibrary::load(PathBuf::from("/nowhere"));
        let names: Vec<String> = library.list().into_iter().map(|entry| entry.name).collect();
        for name in ["helpfulness", "harmlessness", "honesty", "factual_validity", "reasoning", "correctness"] {
            assert!(names.contains(&name.to_owned()), "{names:?}");
        }
        assert!(names.len() >= 12);
        assert_eq!(library.get("correctness").unwrap().rubric.scale().highest(), 1);
    }

    #[test]
    fn a_bad_file_is_refused_while_the_last_good_one_stays() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("mine.toml");
        std::fs::write(&file, GOOD).unwrap();
        let library = RubricLibrary::load(folder.path().to_owned());
        let good = library.get("mine").unwrap();
        std::fs::write(&file, GOOD.replace("2 =", "4 =")).unwrap();
        // Invalid from the start, so that there is nothing to keep.
        std::fs::write(folder.path().join("new.toml"), "criterion = 3").unwrap();
        std::fs::write(folder.path().join("honesty.toml"), "criterion = 3").unwrap();
        library.reload();
        assert_eq!(library.get("mine").unwrap(), good);
        assert_eq!(library.get("honesty").unwrap().file, None, "the built-in one is used");
        let error = library.get("new").unwrap_err().to_string();
        assert!(error.starts_with("the rubric `new` has an invalid file (line 1): "), "{error}");
        for name in ["new.toml", "honesty.toml"] {
            std::fs::remove_file(folder.path().join(name)).unwrap();
        }
        library.reload();
        assert_eq!(
            library.refused(),
            [RefusedFile {
                file: file.clone(),
                line: Some(2),
                reason: "levels are consecutive integers; level 2 is missing".into()
            }]
        );
        std::fs::remove_file(&file).unwrap();
        library.reload();
        assert!(library.get("mine").is_err() && library.refused().is_empty());
    }

    #[test]
    fn files_are_the_source_of_truth() {
        let folder = tempfile::tempdir().unwrap();
        let library = RubricLibrary::load(folder.path().join("rubrics"));
        let rubric = Rubric::from_toml(GOOD).unwrap();
        let (entry, new) = library.put("mine", rubric.clone()).unwrap();
        assert_eq!((library.get("mine").unwrap(), new), (entry, true));
        assert!(!library.put("helpfulness", rubric.clone()).unwrap().1, "replaces the built-in one");
        let again = RubricLibrary::load(folder.path().join("rubrics"));
        assert_eq!(*again.get("helpfulness").unwrap().rubric, rubric);
        library.remove("helpfulness").unwrap();
        assert_ne!(*library.get("helpfulness").unwrap().rubric, rubric, "the built-in one is back");
        assert!(matches!(library.remove("helpfulness"), Err(LibraryError::BuiltIn(_))));
        assert!(matches!(library.remove("nothing"), Err(LibraryError::Unknown { .. })));
        for name in ["", "../x", "a/b", "inline", &"x".repeat(65)] {
            assert!(matches!(library.put(name, rubric.clone()), Err(LibraryError::Name(_))), "{name}");
        }
    }

    #[test]
    fn many_writers_and_readers_at_once() {
        let folder = tempfile::tempdir().unwrap();
        let library = RubricLibrary::load(folder.path().to_owned());
        let rubric = Rubric::from_toml(GOOD).unwrap();
        std::thread::scope(|scope| {
            for writer in 0..8 {
                let (library, rubric) = (&library, &rubric);
                scope.spawn(move || {
                    let own = format!("of-{writer}");
                    for _ in 0..40 {
                        library.put(&own, rubric.clone()).unwrap();
                        library.put("shared", rubric.clone()).unwrap();
                        assert!(library.get(&own).is_ok(), "what was written is there");
                        library.remove(&own).unwrap();
                        assert!(library.get(&own).is_err(), "what was removed is gone");
                    }
                });
                // As the watcher does.
                scope.spawn(move || (0..40).for_each(|_| library.reload()));
            }
        });
        let left: Vec<_> = std::fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert_eq!(left, ["shared.toml"], "nothing else is left");
    }

    #[tokio::test]
    async fn a_file_that_changes_is_read_again() {
        let folder = tempfile::tempdir().unwrap();
        let library = RubricLibrary::load(folder.path().to_owned());
        library.watch().unwrap();
        let mut changes = library.changes();
        std::fs::write(folder.path().join("mine.toml"), GOOD).unwrap();
        changes.wait_for(|_| library.get("mine").is_ok()).await.unwrap();
    }
}
