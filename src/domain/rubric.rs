//! Rubrics: a criterion and a description for each score of a scale.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use sha2::{Digest, Sha256};

use super::calibration::{CalibrationFile, Calibrations};
use super::scale::{InvalidScale, Scale};

/// A criterion with a description for every score of its scale.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "StoredRubric", into = "StoredRubric")]
pub struct Rubric {
    criterion: String,
    scale: Scale,
    descriptions: Vec<String>,
    digest: String,
    calibrations: Calibrations,
}

/// A rubric with its name; inline rubrics are called `inline`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NamedRubric {
    /// The name in the library, or `inline`.
    pub name: String,
    /// Criterion, scale and descriptions.
    #[serde(serialize_with = "serialize_shared", deserialize_with = "deserialize_shared")]
    pub rubric: Arc<Rubric>,
}

/// Why a rubric is invalid.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidRubric {
    /// The criterion is empty.
    #[error("the criterion is empty; write the question by which the response is judged")]
    NoCriterion,
    /// A key of `descriptions` is not an integer.
    #[error("`{0}` is not a score; the keys of `descriptions` are consecutive integers")]
    NotAScore(String),
    /// The levels do not form a scale.
    #[error("{0}")]
    Scale(#[from] InvalidScale),
    /// Two keys of `descriptions` are the same score, such as `1` and `01`.
    #[error("`{0}` and `{1}` are the same score; describe each score once")]
    SameScore(String, String),
    /// A level has an empty description.
    #[error("level {0} has no description; every score of the scale needs one")]
    NoDescription(i32),
}

/// The format that is written.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct RubricText {
    criterion: String,
    descriptions: BTreeMap<String, String>,
}

/// A rubric as a part of a stored task: its text, and its calibrations as they are written in files.
#[derive(Serialize, Deserialize)]
struct StoredRubric {
    #[serde(flatten)]
    text: RubricText,
    calibrations: Vec<String>,
}

/// A rubric as it is written in a file, with the files of its own that it names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RubricSource {
    /// The rubric itself.
    pub rubric: Rubric,
    /// The paths of its calibrations, as they are written.
    pub calibrations: Vec<String>,
    /// The paths of its fits.
    pub fits: Vec<String>,
}

/// The form of files: what requests have, and the paths of calibrations and fits.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct FileText {
    criterion: String,
    descriptions: BTreeMap<String, String>,
    #[serde(default)]
    calibration: Paths,
    #[serde(default)]
    fit: Paths,
}

/// One path or a list of paths.
#[derive(Debug, Deserialize)]
#[serde(untagged, expecting = "must be a path, or a list of paths")]
enum Paths {
    One(String),
    Many(Vec<String>),
}

impl Default for Paths {
    fn default() -> Self {
        Self::Many(Vec::new())
    }
}

impl From<Paths> for Vec<String> {
    fn from(paths: Paths) -> Self {
        match paths {
            Paths::One(path) => vec![path],
            Paths::Many(paths) => paths,
        }
    }
}

impl Rubric {
    /// Builds a rubric from its criterion and a description for each score.
    ///
    /// # Errors
    /// When the criterion is empty, a key is not an integer, two keys are the same one, the scores are not 2 to 11
    /// consecutive integers, or a description is empty.
    pub fn new(criterion: &str, descriptions: &BTreeMap<String, String>) -> Result<Self, InvalidRubric> {
        if criterion.trim().is_empty() {
            return Err(InvalidRubric::NoCriterion);
        }
        let mut levels = BTreeMap::new();
        for (key, description) in descriptions {
            let level: i32 = key.trim().parse().map_err(|_| InvalidRubric::NotAScore(key.clone()))?;
            if description.trim().is_empty() {
                return Err(InvalidRubric::NoDescription(level));
            }
            if let Some((first, _)) = levels.insert(level, (key, description.trim().to_owned())) {
                return Err(InvalidRubric::SameScore(first.clone(), key.clone()));
            }
        }
        let scale = Scale::from_levels(&levels.keys().copied().collect::<Vec<_>>())?;
        let criterion = criterion.trim().to_owned();
        let descriptions: Vec<String> = levels.into_values().map(|(_, description)| description).collect();
        let digest = digest(&criterion, &descriptions, scale);
        Ok(Self { criterion, scale, descriptions, digest, calibrations: Calibrations::default() })
    }

    /// [`Rubric::new`], with the scores as numbers.
    ///
    /// # Errors
    /// Those of [`Rubric::new`].
    pub fn with_scores<T: Into<String>>(
        criterion: &str,
        descriptions: impl IntoIterator<Item = (i32, T)>,
    ) -> Result<Self, InvalidRubric> {
        let mut by_score = BTreeMap::new();
        for (score, description) in descriptions {
            let key = score.to_string();
            if by_score.insert(key.clone(), description.into()).is_some() {
                return Err(InvalidRubric::SameScore(key.clone(), key));
            }
        }
        Self::new(criterion, &by_score)
    }

    /// What the response is judged by.
    #[must_use]
    pub fn criterion(&self) -> &str {
        &self.criterion
    }

    /// The scale of its scores.
    #[must_use]
    pub fn scale(&self) -> Scale {
        self.scale
    }

    /// The description of each score, lowest first.
    pub fn descriptions(&self) -> impl Iterator<Item = (i32, &str)> {
        self.scale.scores().map(|score| score.value()).zip(self.descriptions.iter().map(String::as_str))
    }

    /// `sha256:<hex>` of the rubric's content, independent of its source.
    #[must_use]
    pub fn digest(&self) -> &str {
        &self.digest
    }

    /// The calibrations and fits of its own.
    #[must_use]
    pub fn calibrations(&self) -> &[Arc<CalibrationFile>] {
        &self.calibrations.0
    }

    /// The same rubric with calibrations and fits of its own, which its digest does not count.
    #[must_use]
    pub fn with_calibrations(self, files: Vec<Arc<CalibrationFile>>) -> Self {
        Self { calibrations: Calibrations(files), ..self }
    }

    /// Bytes of its texts.
    #[must_use]
    pub fn text_len(&self) -> usize {
        self.criterion.len() + self.descriptions.iter().map(String::len).sum::<usize>()
    }

    fn text(&self) -> RubricText {
        RubricText {
            criterion: self.criterion.clone(),
            descriptions: self.descriptions().map(|(score, text)| (score.to_string(), text.to_owned())).collect(),
        }
    }

    /// Reads the TOML form of rubric files.
    ///
    /// # Errors
    /// With the line of the error in the file.
    pub fn from_toml(text: &str) -> Result<Self, (usize, String)> {
        RubricSource::from_toml(text).map(|source| source.rubric)
    }

    /// The TOML form that [`Rubric::from_toml`] reads back, without calibrations.
    #[must_use]
    pub fn to_toml(&self) -> String {
        toml::to_string(&self.text()).expect("strings always serialise to TOML")
    }
}

impl From<Rubric> for StoredRubric {
    fn from(rubric: Rubric) -> Self {
        Self { text: rubric.text(), calibrations: rubric.calibrations().iter().map(|file| file.to_json()).collect() }
    }
}

impl TryFrom<StoredRubric> for Rubric {
    type Error = String;

    fn try_from(StoredRubric { text, calibrations }: StoredRubric) -> Result<Self, String> {
        let rubric = Self::new(&text.criterion, &text.descriptions).map_err(|error| error.to_string())?;
        let files = calibrations.iter().map(|text| CalibrationFile::parse(text).map(Arc::new));
        Ok(rubric.with_calibrations(files.collect::<Result<_, _>>().map_err(|error| error.to_string())?))
    }
}

// serde reads and writes what is shared only with a feature of its own.
fn serialize_shared<S: Serializer>(rubric: &Arc<Rubric>, serializer: S) -> Result<S::Ok, S::Error> {
    rubric.as_ref().serialize(serializer)
}

fn deserialize_shared<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Arc<Rubric>, D::Error> {
    Rubric::deserialize(deserializer).map(Arc::new)
}

impl RubricSource {
    /// Reads the TOML form of rubric files.
    ///
    /// # Errors
    /// With the line where the file is wrong, or the line of the table that does not hold together.
    pub fn from_toml(text: &str) -> Result<Self, (usize, String)> {
        let line_of = |offset: usize| text[..offset.min(text.len())].matches('\n').count() + 1;
        let parsed: FileText = toml::from_str(text)
            .map_err(|error| (line_of(error.span().map_or(0, |span| span.start)), error.message().trim().to_owned()))?;
        let rubric = Rubric::new(&parsed.criterion, &parsed.descriptions).map_err(|error| {
            let needle = match &error {
                InvalidRubric::NoCriterion => "criterion".to_owned(),
                InvalidRubric::NotAScore(key) | InvalidRubric::SameScore(_, key) => key.clone(),
                InvalidRubric::NoDescription(level) => format!("\n{level}"),
                InvalidRubric::Scale(_) => "[descriptions]".to_owned(),
            };
            let at = text.find(&needle).map_or(0, |at| at + usize::from(needle.starts_with('\n')));
            (line_of(at), error.to_string())
        })?;
        Ok(Self { rubric, calibrations: parsed.calibration.into(), fits: parsed.fit.into() })
    }
}

fn digest(criterion: &str, descriptions: &[String], scale: Scale) -> String {
    let mut hash = Sha256::new();
    for text in std::iter::once(criterion).chain(descriptions.iter().map(String::as_str)) {
        hash.update((text.len() as u64).to_le_bytes());
        hash.update(text);
    }
    hash.update(scale.lowest().to_le_bytes());
    format!("sha256:{:x}", hash.finalize())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn levels(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect()
    }

    #[test]
    fn every_level_is_described() {
        let check = |pairs: &[(&str, &str)], expected: Option<InvalidRubric>| {
            assert_eq!(Rubric::new("Is it good?", &levels(pairs)).err(), expected, "{pairs:?}");
        };
        check(&[("1", "bad"), ("2", "good")], None);
        check(&[("0", "bad"), ("1", "good")], None);
        check(&[("1", "bad"), ("3", "good")], Some(InvalidRubric::Scale(InvalidScale::Gap(2))));
        check(&[("1", "bad"), ("2", " ")], Some(InvalidRubric::NoDescription(2)));
        check(&[("1", "bad"), ("two", "good")], Some(InvalidRubric::NotAScore("two".into())));
        check(&[("01", "bad"), ("1", "fair"), ("2", "good")], Some(InvalidRubric::SameScore("01".into(), "1".into())));
        check(&[(" 1", "bad"), ("1", "fair"), ("2", "good")], Some(InvalidRubric::SameScore(" 1".into(), "1".into())));
        check(&[("+2", "bad"), ("1", "fair"), ("2", "good")], Some(InvalidRubric::SameScore("+2".into(), "2".into())));
        check(&[("1", "bad")], Some(InvalidRubric::Scale(InvalidScale::Size(1))));
        let twelve: Vec<String> = (1..=12).map(|n| n.to_string()).collect();
        let twelve: Vec<(&str, &str)> = twelve.iter().map(|n| (n.as_str(), "x")).collect();
        check(&twelve, Some(InvalidRubric::Scale(InvalidScale::Size(12))));
        assert_eq!(Rubric::new(" ", &levels(&[])).err(), Some(InvalidRubric::NoCriterion));
    }

    #[test]
    fn scores_as_numbers_make_the_same_rubric() {
        let (bad, good) = (("1", "bad"), ("2", "good"));
        assert_eq!(Rubric::with_scores("?", [(2, "good"), (1, "bad")]), Rubric::new("?", &levels(&[bad, good])));
        let twice = Rubric::with_scores("?", [(1, "bad"), (1, "good"), (2, "good")]);
        assert_eq!(twice, Err(InvalidRubric::SameScore("1".into(), "1".into())));
    }

    #[test]
    fn levels_sort_as_numbers_and_toml_round_trips() {
        let ten: Vec<(String, String)> = (1..=10).map(|n| (n.to_string(), format!("level {n}"))).collect();
        let rubric = Rubric::new("Is it good?", &ten.into_iter().collect()).unwrap();
        assert_eq!(rubric.descriptions().nth(1), Some((2, "level 2")));
        let back = Rubric::from_toml(&rubric.to_toml()).unwrap();
        assert_eq!((back.digest(), &back), (rubric.digest(), &rubric));
    }

    #[test]
    fn a_bad_file_names_its_line() {
        let check = |text: &str, line: usize, word: &str| {
            let (at, reason) = Rubric::from_toml(text).unwrap_err();
            assert_eq!(at, line, "{text}: {reason}");
            assert!(reason.contains(word), "{reason}");
        };
        check("criterion = \"x\"\n[descriptions]\n1 = \"a\"\n3 = \"b\"\n", 2, "level 2 is missing");
        check("criterion = \"x\"\n[descriptions]\n1 = \"a\"\n2 = \"\"\n", 4, "level 2");
        check("criterion = \"x\"\ncriteria = 2\n", 2, "unknown field");
        check("criterion = \"x\n", 1, "");
    }
}
