//! Stored reports about judges: what `gavel agree --json` and `gavel redteam --json` have printed, in a folder.
//!
//! The folder is read at every request, so that a change counts at once. A file is parsed again only when its size or
//! its time has changed; summaries are kept, and never texts.

use std::collections::BTreeMap;
use std::fs::{File, Metadata};
use std::io::{ErrorKind, Read};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::SystemTime;

use serde::Deserialize;
use serde::de::DeserializeOwned;

use crate::domain::agreement::report::{Absolute, Model, Named, Report};
use crate::domain::redteam::RedteamReport;

/// The largest report, in bytes.
pub const LARGEST: u64 = 8 << 20;
/// The most reports of a folder that are listed.
pub const MOST: usize = 200;

/// A folder of reports.
#[derive(Debug)]
pub struct ReportFolder {
    folder: PathBuf,
    /// What the files had that were read last, by name.
    read: Mutex<BTreeMap<String, (Stamp, Content)>>,
}

/// What a report is about, or why a file is no report.
pub type Content = Result<ReportSummary, String>;

/// Size and time of a file, by which a change is noticed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Stamp {
    bytes: u64,
    modified: Option<SystemTime>,
}

/// A file of the folder.
#[derive(Debug, Clone)]
pub struct ReportEntry {
    /// The name of the file without `.json`.
    pub name: String,
    /// The size of the file.
    pub bytes: u64,
    /// When it was written, if the file system says.
    pub modified: Option<SystemTime>,
    /// What the report is about, or why the file is no report.
    pub content: Content,
}

/// What a report is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReportSummary {
    /// `agreement` or `redteam`.
    pub object: &'static str,
    /// The version of Gavel that made it.
    pub version: String,
    /// The judges, in the order of the report.
    pub judges: Vec<ReportedJudge>,
}

/// A judge of a report.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReportedJudge {
    /// The name in the report.
    pub name: String,
    /// The model that judged, if the report says.
    pub model: Option<Model>,
    /// The prompt set, if the report says.
    pub prompt: Option<Named>,
}

/// The reports of a folder by name.
#[derive(Debug, Clone, Default)]
pub struct ReportListing {
    /// The first [`MOST`] by name.
    pub entries: Vec<ReportEntry>,
    /// How many more files there are.
    pub left_out: usize,
}

/// Why there is no report.
#[derive(Debug, thiserror::Error)]
pub enum ReportError {
    /// The folder has no file of this name.
    #[error("there is no report `{0}`; `GET /v1/reports` lists the reports")]
    Unknown(String),
    /// The file is no report.
    #[error("the file of the report `{name}` cannot be used: {reason}")]
    Invalid {
        /// The name of the report.
        name: String,
        /// The reason.
        reason: String,
    },
    /// The folder cannot be read.
    #[error("{path} cannot be read: {cause}")]
    Read {
        /// The folder.
        path: String,
        /// What the system says.
        cause: std::io::Error,
    },
}

impl ReportFolder {
    /// The reports in `folder`, which need not exist.
    #[must_use]
    pub fn new(folder: PathBuf) -> Self {
        Self { folder, read: Mutex::default() }
    }

    /// Every report, by name. Blocks the thread.
    ///
    /// # Errors
    /// If the folder cannot be read.
    pub fn list(&self) -> Result<ReportListing, ReportError> {
        let mut files = self.files()?;
        let left_out = files.len().saturating_sub(MOST);
        files.truncate(MOST);
        let mut read = self.read.lock().unwrap_or_else(PoisonError::into_inner);
        read.retain(|name, _| files.iter().any(|(known, ..)| known == name));
        let entry = |(name, path, stamp): (String, PathBuf, Stamp)| {
            let known = read.get(&name).filter(|(known, _)| *known == stamp).map(|(_, content)| content.clone());
            let content = known.unwrap_or_else(|| text(&path).and_then(|text| summary(&text)));
            read.insert(name.clone(), (stamp, content.clone()));
            ReportEntry { name, bytes: stamp.bytes, modified: stamp.modified, content }
        };
        Ok(ReportListing { entries: files.into_iter().map(entry).collect(), left_out })
    }

    /// The JSON of a report, as it is stored. Blocks the thread.
    ///
    /// # Errors
    /// If there is none of that name, or its file is no report.
    pub fn get(&self, name: &str) -> Result<String, ReportError> {
        // By the names of the folder, so that no spelling of a name leads out of it.
        let found = self.files()?.into_iter().find(|(known, ..)| known == name);
        let (name, path, _) = found.ok_or_else(|| ReportError::Unknown(name.to_owned()))?;
        let checked = text(&path).and_then(|text| summary(&text).map(|_| text));
        checked.map_err(|reason| ReportError::Invalid { name, reason })
    }

    /// The files `*.json` of the folder by name, without hidden ones.
    fn files(&self) -> Result<Vec<(String, PathBuf, Stamp)>, ReportError> {
        let failed = |cause| ReportError::Read { path: self.folder.display().to_string(), cause };
        let entries = match std::fs::read_dir(&self.folder) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
            entries => entries.map_err(failed)?,
        };
        let mut files = Vec::new();
        for entry in entries {
            let path = entry.map_err(failed)?.path();
            let name = path.file_stem().and_then(|stem| stem.to_str()).unwrap_or_default().to_owned();
            let is_json = path.extension().is_some_and(|extension| extension == "json");
            // Follows links: the files of a mounted Kubernetes volume are links. A file that is gone is no file.
            let metadata = std::fs::metadata(&path).ok().filter(Metadata::is_file);
            if let (true, Some(metadata)) = (is_json && !name.starts_with('.') && !name.is_empty(), metadata) {
                files.push((name, path, Stamp { bytes: metadata.len(), modified: metadata.modified().ok() }));
            }
        }
        files.sort_by(|one, other| one.0.cmp(&other.0));
        Ok(files)
    }
}

/// The text of a file that is not too large.
fn text(path: &Path) -> Result<String, String> {
    let file = File::open(path).map_err(|error| error.to_string())?;
    let mut bytes = Vec::new();
    file.take(LARGEST + 1).read_to_end(&mut bytes).map_err(|error| error.to_string())?;
    if bytes.len() as u64 > LARGEST {
        return Err(format!("it is larger than {} MiB", LARGEST >> 20));
    }
    String::from_utf8(bytes).map_err(|_| "it is not UTF-8".to_owned())
}

/// What a text is a report about.
fn summary(text: &str) -> Result<ReportSummary, String> {
    #[derive(Deserialize)]
    struct Head {
        object: String,
    }
    if text.trim().is_empty() {
        return Err("it is empty; the command that writes it may still be at work".to_owned());
    }
    match parsed::<Head>(text)?.object.as_str() {
        "agreement" => {
            let report: Report = parsed(text)?;
            let shapes = report.judges.iter().filter_map(|judge| judge.absolute.as_ref()).find_map(misshapen);
            shapes.map_or(Ok(()), Err)?;
            let judges = report.judges.into_iter();
            let judges =
                judges.map(|judge| ReportedJudge { name: judge.name, model: judge.model, prompt: judge.prompt });
            Ok(ReportSummary { object: "agreement", version: report.version, judges: judges.collect() })
        }
        "redteam" => {
            let RedteamReport { version, model, prompt, .. } = parsed(text)?;
            let name = model.as_ref().map_or_else(|| "judge".to_owned(), |model| model.name.clone());
            Ok(ReportSummary { object: "redteam", version, judges: vec![ReportedJudge { name, model, prompt }] })
        }
        other => {
            let object: String = other.chars().take(40).collect();
            Err(format!("its `object` is `{object}`; store what `gavel agree --json` or `gavel redteam --json` prints"))
        }
    }
}

fn parsed<T: DeserializeOwned>(text: &str) -> Result<T, String> {
    let mut read = serde_json::Deserializer::from_str(text);
    let value =
        serde_path_to_error::deserialize(&mut read).map_err(|error| match error.path().to_string().as_str() {
            "." => error.inner().to_string(),
            path => format!("{path}: {}", error.inner()),
        })?;
    read.end().map_err(|error| error.to_string())?;
    Ok(value)
}

/// What is wrong with the tables of scores: they have a row and a column for each score of the scale.
fn misshapen(absolute: &Absolute) -> Option<String> {
    let [lowest, highest] = absolute.scale;
    let levels = usize::try_from(i64::from(highest) - i64::from(lowest) + 1).unwrap_or_default();
    let histogram = &absolute.histogram;
    let rows = [absolute.confusion.len(), histogram.label.len(), histogram.judge.len()];
    let columns = absolute.confusion.iter().map(Vec::len);
    let is_sound = levels > 1 && rows.into_iter().chain(columns).all(|length| length == levels);
    (!is_sound).then(|| format!("its tables do not have the scores {lowest} to {highest}"))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use super::*;

    const AGREEMENT: &str = include_str!("../tests/agreement/report.json");
    const REDTEAM: &str = r#"{"object":"redteam","version":"0.1.0","seed":0,"model":null,"prompt":null,"data":[],"reward":null,"attacks":[]}"#;

    #[test]
    fn a_text_is_a_report_or_says_why_not() {
        let check = |text: &str, expected: Result<&str, &str>| match (summary(text), expected) {
            (Ok(summary), Ok(object)) => assert_eq!(summary.object, object),
            (Err(reason), Err(part)) => assert!(reason.contains(part), "{reason}"),
            (found, _) => panic!("{text:.80}: {found:?}"),
        };
        check(AGREEMENT, Ok("agreement"));
        check(REDTEAM, Ok("redteam"));
        check(" \n", Err("is empty"));
        check("{", Err("EOF"));
        check("[]", Err("expected"));
        check(r#"{"object": "gavel.calibration"}"#, Err("its `object` is `gavel.calibration`"));
        check(r#"{"object": "agreement"}"#, Err("missing field"));
        check(&AGREEMENT.replacen("0.4594", "1e999", 1), Err("out of range"));
        check(&AGREEMENT.replacen("\"n\": 240", "\"n\": -1", 1), Err("judges[0].absolute"));
        check(&format!("{REDTEAM} {REDTEAM}"), Err("trailing"));
        let scale = "\"scale\": [\n     1,\n     5\n    ]";
        assert!(AGREEMENT.contains(scale));
        for (lowest, highest) in [(1, 6), (5, 1), (i32::MIN, i32::MAX)] {
            let other = AGREEMENT.replacen(scale, &format!("\"scale\": [{lowest}, {highest}]"), 1);
            check(&other, Err("its tables do not have the scores"));
        }
    }

    #[test]
    fn the_folder_is_read_as_it_is_now() {
        let outside = tempfile::tempdir().unwrap();
        let folder = outside.path().join("reports");
        let reports = ReportFolder::new(folder.clone());
        assert!(reports.list().unwrap().entries.is_empty(), "there is no folder");
        std::fs::create_dir(&folder).unwrap();
        std::fs::write(outside.path().join("secret.json"), REDTEAM).unwrap();
        std::fs::write(folder.join("b.json"), REDTEAM).unwrap();
        std::fs::write(folder.join("a name.json"), "").unwrap();
        for other in [".hidden.json", "notes.txt"] {
            std::fs::write(folder.join(other), REDTEAM).unwrap();
        }
        std::fs::create_dir(folder.join("folder.json")).unwrap();
        let listed = || {
            let entries = reports.list().unwrap().entries.into_iter();
            entries.map(|entry| (entry.name, entry.content.map(|found| found.object).ok())).collect::<Vec<_>>()
        };
        assert_eq!(listed(), [("a name".to_owned(), None), ("b".to_owned(), Some("redteam"))]);
        std::fs::write(folder.join("a name.json"), AGREEMENT).unwrap();
        assert_eq!(listed()[0], ("a name".to_owned(), Some("agreement")));
        assert_eq!(reports.get("a name").unwrap(), AGREEMENT);
        std::fs::remove_file(folder.join("b.json")).unwrap();
        assert_eq!(listed().len(), 1);
        for name in ["b", "../secret", "..", "", ".hidden", "notes", "notes.txt"] {
            assert!(matches!(reports.get(name), Err(ReportError::Unknown(_))), "{name}");
        }
    }

    #[test]
    fn what_is_too_large_or_too_much_is_said() {
        let folder = tempfile::tempdir().unwrap();
        let reports = ReportFolder::new(folder.path().to_owned());
        let large = File::create(folder.path().join("0.json")).unwrap();
        large.set_len(LARGEST + 1).unwrap();
        assert!(reports.get("0").unwrap_err().to_string().contains("larger than 8 MiB"));
        for name in 1..=MOST {
            std::fs::write(folder.path().join(format!("{name}.json")), REDTEAM).unwrap();
        }
        let listing = reports.list().unwrap();
        assert_eq!((listing.entries.len(), listing.left_out), (MOST, 1));
        assert!(listing.entries[0].content.is_err());
    }
}
